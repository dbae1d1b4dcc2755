/* SPDX-License-Identifier: ISC */
/*
 * domainkeys: any bytes as a DomainKey-Signature over a small message, as a key
 * record and as a policy.  A name that comes out is one that DNS can be asked for.
 */
#include "modules/domainkeys/domainkeys.h"
#include "smtpd/mail/addr.h"

static void signature(struct arena *a, str value)
{
	struct field v[] = {
		{ .name = STR("DomainKey-Signature"), .value = value, .raw = value },
		{ .name = STR("From"), .raw = STR("From: a@b.example\r\n"), .value = STR(" a@b.example") },
		{ .name = STR("to"), .raw = STR("to: x\r\n"), .value = STR(" x") },
	};
	struct fields fields = { .v = v, .n = COUNT(v) };
	struct domainkeys_signature sig;
	struct domainkeys_hash whole, split;
	unsigned char x[DIGEST_MAX], y[DIGEST_MAX];

	domainkeys_signature_parse(a, &v[0], &sig);
	must(sig.domain.n == 0 || domain_valid(sig.domain));
	must(sig.selector.n == 0 || domain_valid(sig.selector));
	if (sig.fault != NULL)
		return;
	must(domainkeys_hash_begin(&whole, &fields, &sig) && domainkeys_hash_begin(&split, &fields, &sig));
	domainkeys_hash_body(&whole, value);
	domainkeys_hash_body(&split, str_head(value, value.n / 2));
	domainkeys_hash_body(&split, str_skip(value, value.n / 2));
	must(domainkeys_hash_end(&whole, x) == 20 && domainkeys_hash_end(&split, y) == 20);
	must(crypt_equal(x, y, 20));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str in = { (const char *)data, n };
	struct domainkeys_policy policy;
	struct domainkeys_key key;
	struct arena a;

	crypt_setup();
	arena_init(&a, (size_t)64 << 20);
	signature(&a, in);
	domainkeys_key_parse(&a, in, &key);
	must((key.result == DOMAINKEYS_PASS) == (key.key != NULL));
	must(key.result == DOMAINKEYS_PASS || key.reason != NULL);
	domainkeys_key_drop(&key);
	domainkeys_policy_parse(&a, in, &policy);
	arena_fini(&a);
	return 0;
}
