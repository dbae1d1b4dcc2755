/* SPDX-License-Identifier: ISC */
/*
 * dkim_key: any bytes as a key record, for both kinds of key.
 */
#include "modules/dkim/dkim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	struct dkim_key k;
	char signature[256] = "";

	arena_init(&a, (size_t)64 << 20);
	for (int alg = DKIM_RSA_SHA256; alg <= DKIM_ED25519_SHA256; alg++) {
		dkim_key_parse(&a, (str){ (const char *)data, n }, alg, &k);
		must((k.result == DKIM_PASS) == (k.key != NULL));
		must(k.result == DKIM_PASS || k.reason != NULL);
		/* As the judge does: no arithmetic with what policy refuses. */
		if (k.key != NULL && (key_kind(k.key) != KEY_RSA ||
		                      (key_bits(k.key) <= DKIM_BITS_MAX && key_exponent_odd_32(k.key))))
			key_verify(k.key, DIGEST_SHA256, (str){ signature, 32 }, (str){ signature, sizeof(signature) });
		dkim_key_drop(&k);
	}
	arena_fini(&a);
	return 0;
}
