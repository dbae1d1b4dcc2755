/* SPDX-License-Identifier: ISC */
/*
 * base64 and the keys that come in it: what strict decoding takes encodes to
 * the same text, loose takes it too, and no bytes make a broken key.
 */
#include <stdint.h>
#include <stdlib.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_keys(str der)
{
	struct key *rsa = key_public_rsa(der), *ed25519 = key_public_ed25519(der);

	if (rsa != NULL) {
		must(key_kind(rsa) == KEY_RSA);
		key_verify(rsa, DIGEST_SHA256, STR("01234567890123456789012345678901"), der);
	}
	must(ed25519 == NULL || key_kind(ed25519) == KEY_ED25519);
	key_free(rsa);
	key_free(ed25519);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str          text = { (const char *)data, n }, strict, loose;
	struct arena a;
	bool         is_strict;

	arena_init(&a, 1 << 20);
	is_strict = base64_decode(&a, text, false, &strict);
	if (base64_decode(&a, text, true, &loose))
		try_keys(loose);
	else
		must(!is_strict);
	must(!is_strict || (str_eq(strict, loose) && str_eq(base64_encode(&a, strict), text)));
	try_keys(text);
	arena_fini(&a);
	return 0;
}
