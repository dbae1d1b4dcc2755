/* SPDX-License-Identifier: ISC */
/* addr: what path_parse takes is clean, and reads back as the same path. */
#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"

static void clean(str s)
{
	must(!str_holds(s, '\0') && !str_holds(s, '\r') && !str_holds(s, '\n'));
}

static void check(struct arena *a, const struct path *p)
{
	struct path again;

	clean(p->text);
	clean(p->local);
	clean(p->domain);
	must(utf8_valid(p->local));
	if (p->is_null || p->domain.n == 0)
		return;
	must(p->is_literal || domain_valid(p->domain));
	must(path_of(a, p->text, &again) && path_eq(p, &again) && str_eq(p->text, again.text));
	must(again.is_literal == p->is_literal && again.is_utf8 == p->is_utf8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	struct path  p;
	str          in = { (const char *)data, size }, rest, shown, back;
	const char  *why;

	arena_init(&a, (size_t)16 << 20);
	for (int mode = 0; mode < 4; mode++) {
		if (path_parse(&a, in, mode & 1, mode & 2, &p, &rest, &why)) {
			must(why == NULL && (rest.n == 0 || rest.p[0] == ' '));
			must((mode & 1) || !p.was_utf8);
			check(&a, &p);
		} else {
			must(why != NULL);
		}
	}
	if (path_of(&a, in, &p))
		check(&a, &p);
	if (domain_to_ascii(&a, in, &back)) {
		must(domain_valid(back));
		shown = domain_to_unicode(&a, back);
		must(utf8_valid(shown) && domain_to_ascii(&a, shown, &shown) && str_eq(shown, back));
	}
	arena_fini(&a);
	return 0;
}
