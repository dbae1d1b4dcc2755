/* SPDX-License-Identifier: ISC */
/* verifier: what is read is written and read again the same. */
#include <string.h>

#include "auth/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct verifier v, again;
	struct arena a;

	arena_init(&a, ARENA_UNBOUNDED);
	if (verifier_parse(&a, (str){ (const char *)data, n }, &v)) {
		must(v.iterations > 0 && v.salt.n > 0 && v.salt.n <= SALT_MAX);
		must(verifier_parse(&a, verifier_text(&a, &v), &again));
		must(again.iterations == v.iterations && str_eq(again.salt, v.salt));
		must(memcmp(again.stored, v.stored, 32) == 0 && memcmp(again.server, v.server, 32) == 0);
	}
	arena_fini(&a);
	return 0;
}
