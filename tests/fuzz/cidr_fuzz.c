/* SPDX-License-Identifier: ISC */
/* Networks as text: what is read is written and read again the same. */
#include <stdlib.h>

#include "smtpd/base/cidr.h"
#include "smtpd/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cidr  c, again;
	struct arena a;
	str          why = STR_NONE, text;

	arena_init(&a, 64 << 10);
	if (cidr_parse((str){ (const char *)data, n }, &c, &a, &why)) {
		text = cidr_text(&a, &c);
		must(cidr_parse(text, &again, &a, &why));
		must(cidr_eq(&c, &again));
	} else {
		must(why.n > 0);
	}
	arena_fini(&a);
	return 0;
}
