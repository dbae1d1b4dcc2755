/* SPDX-License-Identifier: ISC */
/*
 * arc_help: chains made and judged in memory, for the units of ARC.
 */
#ifndef TESTS_ARC_HELP_H
#define TESTS_ARC_HELP_H

#include <stdio.h>

#include "modules/arc/arc.h"
#include "tests/unit/modules/dkim_help.h"

#define ARC_FROM "From: Ann <ann@author.test>\r\nTo: bob@here.test\r\nSubject: Hello\r\n"
#define ARC_BODY "Hi Bob.\r\n"
#define ARC_MAIL ARC_FROM "\r\n" ARC_BODY

/* "fwd.test; dmarc=pass header.from=author.test" */
#define ARC_PASSED "fwd.test; dmarc=pass header.from=author.test"

/* The chain of a message, its signatures verified with this one key. */
static inline struct arc_chain arc_help_judge(struct mail *m, const struct key *key, int64_t now)
{
	struct arc_chain c;
	struct dkim_key k = { .result = DKIM_PASS };
	struct arc_proof proofs[ARC_SETS_MAX] = { { .seal_key = NULL } };
	struct bodyhash *h = bodyhash_new(&m->arena);
	str record;

	arc_read(&m->arena, m->fields, &c);
	assert_int_equal(dkim_key_record(key, &m->arena, &record), OK);
	dkim_key_parse(&m->arena, record, key_kind(key) == KEY_ED25519 ? DKIM_ED25519_SHA256 : DKIM_RSA_SHA256, &k);
	for (unsigned i = 1; i <= c.length && c.result == ARC_NOT_DONE; i++) {
		const struct dkim_signature *sig = &c.sets[i - 1].message_sig;

		proofs[i - 1].seal_key = &k;
		if (!arc_wants_message(&c, i) || sig->fault != NULL)
			continue;
		proofs[i - 1].message_key = &k;
		proofs[i - 1].wish = bodyhash_wish(h, sig->body_canon, DIGEST_SHA256, sig->has_length ? sig->length : BODYHASH_WHOLE);
	}
	bodyhash_feed(h, m->body);
	bodyhash_end(h);
	const struct arc_evidence e = { .arena = &m->arena, .fields = m->fields, .hashes = h, .proofs = proofs,
		                        .minimum_bits = 1024, .now = now };

	arc_judge(&e, &c);
	bodyhash_drop(h);
	dkim_key_drop(&k);
	return c;
}

/* One more set in front of `text` (which is freed); NULL when it may not be. */
static inline char *arc_help_seal(char *text, const char *domain, const char *payload, const struct key *key)
{
	struct dkim_signer s = { .domain = str_of(domain), .selector = STR("s"), .key = key,
		                 .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED };
	struct mail m;
	struct arc_sealed made;
	uint64_t whole;
	char *out = NULL;

	mail_read(&m, str_of(text));
	struct arc_chain c = arc_help_judge(&m, key, 1700000000);
	str hash = mail_hash(&m, CANON_RELAXED, BODYHASH_WHOLE, &whole);

	if (arc_seal(&s, &c, m.fields, str_of(payload), hash, 1700000000, &m.arena, &made) == OK)
		assert_true(asprintf(&out, "%.*s%.*s%.*s%s", STR_ARG(made.seal), STR_ARG(made.message), STR_ARG(made.results),
		                     text) > 0);
	mail_drop(&m);
	free(text);
	return out;
}

/* A message with so many sets, sealed by "fwd.test". */
static inline char *arc_help_chain(unsigned sets, const struct key *key)
{
	char *text = strdup(ARC_MAIL);

	while (sets-- > 0 && text != NULL)
		text = arc_help_seal(text, "fwd.test", ARC_PASSED, key);
	return text;
}

#endif
