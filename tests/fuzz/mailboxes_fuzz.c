/* SPDX-License-Identifier: ISC */
/* mailboxes and from: whatever stands there, a good From has one clean domain,
 * and every usable address in it has that one. */
#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/field.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct field     f = { .name = STR("From"), .value = { (const char *)data, size } };
	struct fields    fields = { &f, 1, 1 };
	struct mailboxes m;
	struct arena     a;
	struct from      from;

	arena_init(&a, (size_t)64 << 20);
	mailboxes_parse(&a, f.value, &m);
	for (size_t i = 0; i < m.n; i++) {
		must(m.malformed || m.v[i].usable);
		if (!m.v[i].usable)
			continue;
		must(m.v[i].path.is_literal || domain_valid(m.v[i].path.domain));
		must(!str_holds(m.v[i].path.text, '\0') && !str_holds(m.v[i].path.text, '\n'));
	}
	from_judge(&a, &fields, &from);
	must((from.state == FROM_GOOD) == (from.why == NULL));
	must((from.state == FROM_GOOD) == (from.domain.n != 0));
	if (from.state == FROM_GOOD) {
		must(!m.malformed && !str_holds(f.value, '\0') && m.n > 0);
		for (size_t i = 0; i < m.n; i++)
			must(m.v[i].usable && str_eq(m.v[i].path.domain, from.domain));
	}
	arena_fini(&a);
	return 0;
}
