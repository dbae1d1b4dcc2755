/* SPDX-License-Identifier: ISC */
/*
 * arc: the Authenticated Received Chain (RFC 8617), validated and lengthened.
 *
 * arc_read, arc_judge and arc_seal know no module and no session: the module
 * and the verbs share them.  What a chain says counts only for who trusts its
 * sealers: arc_vouches() is the one question that a trust may ask.
 */
#ifndef MODULES_ARC_H
#define MODULES_ARC_H

#include "modules/dkim/dkim.h"
#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"

/* Caps that hold before anything is asked or hashed. */
#define ARC_SETS_MAX  50                  /* RFC 8617 4.2.1 */
#define ARC_BYTES_MAX ((size_t)512 << 10) /* of all ARC fields; a talkative set takes 4 KiB */
#define ARC_OLDER_MAX 8                   /* older message signatures that are tried */

enum arc_result { ARC_NOT_DONE, ARC_NONE, ARC_PASS, ARC_FAIL };
const char *arc_result_word(enum arc_result);          /* RFC 8617 10.1; NULL for NOT_DONE */

enum arc_cv { ARC_CV_NONE, ARC_CV_PASS, ARC_CV_FAIL };
const char *arc_cv_word(enum arc_cv);

enum arc_check { ARC_UNTRIED, ARC_VALID, ARC_BROKEN };

struct arc_set {                                       /* one instance */
	const struct field    *results, *message, *seal; /* AAR, AMS, AS; NULL when missing */
	str                    payload;     /* of the AAR: all behind "i=N;", authserv-id first */
	struct dkim_signature  message_sig, seal_sig; /* the sealer is seal_sig.domain */
	enum arc_cv            cv;
	enum arc_check         message_check, seal_check;
	str                    message_why; /* of a broken one */
};

struct arc_chain {
	enum arc_result result;      /* NOT_DONE after arc_read: keys are needed */
	unsigned        length;      /* the highest instance; 0: none that can be read */
	struct arc_set *sets;        /* sets[i - 1] */
	str             reason;      /* a sentence; empty for pass and none */
	bool            temporary;   /* DNS left it open: a fail all the same (RFC 8617 5.2.1) */
	bool            ended;       /* the newest seal says cv=fail: nobody may add to it */
	bool            has_oldest;  /* oldest_pass is known */
	unsigned        oldest_pass; /* RFC 8617 5.2: 0 when all message signatures pass */
	bool            whole;       /* its newest signature covers From and all of the body */
};

/* Collects the sets of a header and checks their structure: result is NONE,
 * FAIL, or NOT_DONE when signatures have to be verified. */
void arc_read(struct arena *, const struct fields *, struct arc_chain *out);
/* Which message signatures arc_judge looks at: the newest and a few below. */
bool arc_wants_message(const struct arc_chain *, unsigned instance);

struct arc_proof {                                     /* of one set */
	const struct dkim_key *seal_key, *message_key; /* message_key NULL: not tried */
	int                    wish;                   /* of the message signature */
};
struct arc_evidence {
	struct arena           *arena;
	const struct fields    *fields;                /* as they arrived */
	const struct bodyhash  *hashes;
	const struct arc_proof *proofs;                /* proofs[i - 1] */
	unsigned                minimum_bits;
	int64_t                 now;
};
/* Verifies a chain whose result is NOT_DONE (RFC 8617 5.2). */
void arc_judge(const struct arc_evidence *, struct arc_chain *);

/* Whether a trusted sealer's results may stand in for a broken DMARC: the chain
 * passes and covers From and the body, every sealer from some instance to the
 * newest is trusted, and the ARC-Authentication-Results of one of these says
 * dmarc=pass for that domain.  Returns the instance, or 0. */
typedef bool arc_trusts(void *user, str sealer);
unsigned arc_vouches(const struct arc_chain *, struct arena *, str from_domain, arc_trusts *,
                     void *user);

/* ---- ARC-Authentication-Results as text (arc_results.c) -------------------- */

/* Instance and payload of an ARC-Authentication-Results (RFC 8617 4.1.1). */
bool arc_results_read(str value, unsigned *instance, str *payload);
/* dmarc=pass, no other result of dmarc, and header.from, if it is told, this domain. */
bool arc_results_vouch(struct arena *, str payload, str from_domain);
/* The payload for a new set: all Authentication-Results of that authserv-id in
 * the header, joined in order; "ID; none" without any. */
str  arc_results_gather(struct arena *, const struct fields *, str authserv_id);

/* ---- sealing --------------------------------------------------------------- */

/* Not ended, fewer than 50 sets, not left open by DNS. */
bool arc_may_seal(const struct arc_chain *);

struct arc_sealed { str results, message, seal; };     /* fields with CRLF; the seal stands first */
/* The next set behind a judged chain.  `payload` is the authserv-id and results;
 * `fields` are those that will be sent.  ERR_BAD when the chain may not be
 * lengthened or h= would be too long. */
enum err arc_seal(const struct dkim_signer *, const struct arc_chain *, const struct fields *fields,
                  str payload, str body_hash, int64_t now, struct arena *, struct arc_sealed *out);

/* ---- the module ------------------------------------------------------------ */

struct arc_conf {
	struct conf_head head;
	bool     verify;
	uint64_t minimum_bits;
	bool     seal;
	str      domain, selector, key;     /* key: a PEM file, read by the main thread */
	const struct dkim_signer *signer;   /* filled in by it; NULL: nothing is sealed */
};

extern const struct module arc_module;
const struct arc_chain *arc_state_chain(const void *msg);   /* NULL: not evaluated */
/* Of the message that `m` (any module behind arc) is at: the instance whose
 * results may stand in for a broken DMARC by the trust of this server, or 0. */
struct mod;
unsigned arc_trusted_results(const struct mod *);

#endif
