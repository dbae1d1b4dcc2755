/* SPDX-License-Identifier: ISC */
/*
 * SPF records as anybody may publish them.  A record that was found good is
 * read to its end without a fault, and all views stay inside it.
 */
#include <stddef.h>
#include <stdint.h>

#include "modules/spf/spf_record.h"
#include "smtpd/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(str whole, str part)
{
	must(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str                  txt = { (const char *)data, size }, terms, bad = STR_NONE;
	struct spf_modifiers m;
	struct spf_parsed    t;
	const char          *why = NULL;
	enum spf_read        got;
	bool                 good;

	spf_record_is(txt, "spf2.0/pra", &terms);
	if (!spf_record_is(txt, NULL, &terms))
		terms = txt;
	good = spf_terms_check(terms, &m, &bad, &why);
	must(good || why != NULL);
	inside(txt, bad);
	inside(txt, m.exp);
	inside(txt, m.redirect);
	while ((got = spf_term_read(&terms, &t, &why)) == SPF_READ_TERM) {
		must(t.bits4 <= 32 && t.bits6 <= 128);
		inside(txt, t.text);
		inside(txt, t.spec);
	}
	must(!good || got == SPF_READ_END);
	return 0;
}
