/* SPDX-License-Identifier: ISC */
/* tags: names are names, values are views into the text, repeats are seen. */
#include "smtpd/base/err.h"
#include "smtpd/mail/tags.h"

static void inside(str part, str whole)
{
	must(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str          in = { (const char *)data, size }, squeezed;
	struct arena a;
	struct tags  t;
	bool         twice = false;

	arena_init(&a, (size_t)16 << 20);
	tags_parse(&a, in, &t);
	must(t.n <= TAGS_MAX);
	for (size_t i = 0; i < t.n; i++) {
		must(t.v[i].name.n && is_alpha(t.v[i].name.p[0]));
		must(!str_holds(t.v[i].value, ';') && !str_holds(t.v[i].value, '\0'));
		inside(t.v[i].name, in);
		inside(t.v[i].value, in);
		squeezed = tags_squeeze(&a, t.v[i].value);
		must(squeezed.n <= t.v[i].value.n && !str_holds(squeezed, ' ') && !str_holds(squeezed, '\n'));
		for (size_t j = 0; j < i && i < 100; j++)
			twice |= str_eq(t.v[i].name, t.v[j].name);
	}
	must(!twice || t.duplicate.n != 0);
	must(t.n > 100 || twice == (t.duplicate.n != 0));
	arena_fini(&a);
	return 0;
}
