/* SPDX-License-Identifier: ISC */
/*
 * A header with ARC fields: structure, every signature against a fixed key, and
 * what its results vouch for.  The first byte says what key DNS gave.
 */
#include <stdlib.h>

#include "modules/arc/arc.h"

static bool anybody(void *user, str sealer)
{
	(void)user;
	return sealer.n > 0;
}

static struct dkim_key *keys(void)
{
	static struct dkim_key k[2];
	static struct arena a;

	if (k[0].key == NULL) {
		crypt_setup();
		arena_init(&a, ARENA_UNBOUNDED);
		dkim_key_parse(&a, STR("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
		               DKIM_ED25519_SHA256, &k[0]);
		k[1] = (struct dkim_key){ .result = DKIM_TEMPERROR, .reason = "no answer" };
	}
	return k;
}

static void judge(struct arena *a, const struct fields *fields, str body, struct dkim_key *key)
{
	struct arc_proof proofs[ARC_SETS_MAX] = { { .seal_key = NULL } };
	struct bodyhash *h = bodyhash_new(a);
	struct arc_chain c;

	arc_read(a, fields, &c);
	if (c.length > ARC_SETS_MAX || (c.result == ARC_NOT_DONE && c.length == 0))
		abort();
	for (unsigned i = 1; i <= c.length && c.result == ARC_NOT_DONE; i++) {
		const struct dkim_signature *sig = &c.sets[i - 1].message_sig;

		proofs[i - 1].seal_key = key;
		if (arc_wants_message(&c, i) && sig->fault == NULL) {
			proofs[i - 1].message_key = key;
			proofs[i - 1].wish = bodyhash_wish(h, sig->body_canon, DIGEST_SHA256,
			                                   sig->has_length ? sig->length : BODYHASH_WHOLE);
		}
	}
	bodyhash_feed(h, body);
	bodyhash_end(h);
	arc_judge(&(struct arc_evidence){ .arena = a, .fields = fields, .hashes = h, .proofs = proofs, .minimum_bits = 1024 }, &c);
	if (c.result == ARC_NOT_DONE || (c.result == ARC_FAIL && c.reason.n == 0))
		abort();
	if (arc_vouches(&c, a, STR("author.test"), anybody, NULL) > c.length)
		abort();
	arc_results_gather(a, fields, STR("fwd.test"));
	bodyhash_drop(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str in = { (const char *)data, n }, back = STR_NONE;
	struct splitter s;
	struct arena a;

	if (n == 0)
		return 0;
	arena_init(&a, (size_t)16 << 20);
	splitter_init(&s, &a, (size_t)1 << 20, (size_t)256 << 10, 2000);
	size_t used = splitter_feed(&s, str_skip(in, 1), &back);

	if (!s.done)
		splitter_end(&s, &back);
	judge(&a, &s.fields, str_skip(in, 1 + used), &keys()[data[0] & 1]);
	for (size_t i = 0; i < s.fields.n; i++)
		arc_results_vouch(&a, s.fields.v[i].value, STR("author.test"));
	splitter_fini(&s);
	arena_fini(&a);
	return 0;
}
