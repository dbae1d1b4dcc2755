/* SPDX-License-Identifier: ISC */
/*
 * dkim: DomainKeys Identified Mail (RFC 6376, 8301, 8463, 8616), as values.
 *
 * dkim_signature_parse, dkim_key_parse, dkim_verify_header and dkim_sign know no
 * module and no session: the module, ARC and the verbs share them.
 */
#ifndef MODULES_DKIM_H
#define MODULES_DKIM_H

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/bodyhash.h"
#include "smtpd/mail/field.h"

enum dkim_result { DKIM_NOT_DONE, DKIM_NONE, DKIM_PASS, DKIM_FAIL, DKIM_POLICY, DKIM_NEUTRAL, DKIM_TEMPERROR, DKIM_PERMERROR };
const char *dkim_result_word(enum dkim_result);    /* RFC 8601 2.7.1 */

enum dkim_algorithm { DKIM_RSA_SHA256, DKIM_ED25519_SHA256, DKIM_RSA_SHA1, DKIM_UNKNOWN_ALGORITHM };

/* ARC: no v=, i= is a number that the caller reads, h= may be empty and need not
 * hold From but must not hold ARC-Seal (RFC 8617 4.1.2); a seal has neither h=
 * nor bh= nor c= (4.1.3). */
enum dkim_kind { DKIM_SIGNATURE, DKIM_ARC_MESSAGE, DKIM_ARC_SEAL };

struct dkim_signature {            /* a DKIM-Signature, ARC-Message-Signature or ARC-Seal field, read */
	const struct field *field;
	enum dkim_kind kind;
	str  domain, selector, identity;      /* d= lower case A-labels; s=; i= or "@d" */
	str  algorithm_text;                  /* a= as written */
	enum dkim_algorithm algorithm;
	enum canon header_canon, body_canon;
	str  b, bh;                           /* decoded */
	str  b_text;                          /* as written, squeezed: header.b is its beginning */
	str *h;                               /* names, in order */
	size_t nh;
	bool has_length, has_expiry, has_time;
	uint64_t length;                      /* l= */
	int64_t expiry, time;                 /* x=, t= */
	const char *fault;                    /* NULL: well formed; else a sentence: permerror */
};

/* Caps that hold before anything is asked or hashed. */
#define DKIM_H_MAX        500             /* names in h= */
#define DKIM_KEY_MAX      ((size_t)16 << 10) /* octets of a key record: an 8,192-bit key takes 1,500 */
#define DKIM_BITS_MAX     8192

/* Never fails: what is wrong is out->fault, and domain and selector are empty
 * unless they are names that DNS can be asked for. */
void dkim_signature_parse(struct arena *, const struct field *, enum dkim_kind, struct dkim_signature *out);
/* One domain name as d=, s= and i= may hold it: letters, digits, '-', '_' and
 * dots, or U-labels (RFC 8616 4), nothing else. */
bool dkim_name_read(struct arena *, str text, bool one_label, str *out);

struct dkim_verdict {              /* one signature, judged */
	enum dkim_result result;
	struct dkim_signature sig;
	unsigned key_bits;
	bool testing;                         /* t=y in the key */
	bool partial;                         /* l= leaves body uncovered */
	str  reason;                          /* a sentence a person can act on; empty for a plain pass */
};

/* A key record (RFC 6376 3.6.1).  result is DKIM_PASS when `key` can be used;
 * else what a signature by it gets, with the reason. */
struct dkim_key {
	enum dkim_result result;
	const char *reason;
	struct key *key;                      /* owned: dkim_key_drop */
	bool testing, same_domain;            /* t=y, t=s */
	size_t records;                       /* TXT records at the name */
};
void dkim_key_parse(struct arena *, str record, enum dkim_algorithm, struct dkim_key *out);
/* The one record of an answer that fits best; errors of DNS included. */
void dkim_key_choose(struct arena *, const struct dns_answer *, enum dkim_algorithm, struct dkim_key *out);
void dkim_key_drop(struct dkim_key *);    /* harmless twice */
str  dkim_key_name(struct arena *, const struct dkim_signature *);  /* S._domainkey.D */

/* The fields of a message, so that h= is served bottom-up in linear time. */
struct dkim_index;
struct dkim_index *dkim_index_new(struct arena *, const struct fields *, bool with_omitted);
size_t dkim_index_count(const struct dkim_index *, str name);
/* Calls sink with the canonical header that `sig` covers, its own field last. */
void dkim_header_bytes(struct dkim_index *, const struct dkim_signature *, canon_sink *, void *arg);

struct dkim_evidence {             /* all that a judgement needs */
	struct arena *arena;
	struct dkim_index *index;
	const struct dkim_key *key;
	str      body_hash;
	uint64_t body_length;                 /* of the whole canonical body */
	unsigned minimum_bits;
};
/* The rules about the key itself (RFC 8301 3.2): false and a sentence. */
bool dkim_key_acceptable(const struct dkim_key *, unsigned minimum_bits, struct arena *, str *why);
/* Judges v->sig, which has no fault and has not expired. */
void dkim_judge(const struct dkim_evidence *, struct dkim_verdict *v);
/* x= (RFC 6376 3.5) against the clock of this evaluation. */
bool dkim_expired(const struct dkim_signature *, int64_t now);

/* As Authentication-Results has them: the first `most`, the others as a number. */
struct authres;
void dkim_results_write(const struct dkim_verdict *, size_t n, size_t most, struct arena *, struct authres *);

/* The module's state, for dmarc, verify, explain. */
extern const struct module dkim_module;
const struct dkim_verdict *dkim_state_verdicts(const void *msg, size_t *n);   /* in order of appearance */
/* Says whether a verdict may vouch for its domain: passed, and not partial unless the option allows it. */
bool dkim_state_counts(const void *msg, const struct dkim_verdict *);
bool dkim_state_judged(const void *msg);              /* evaluated, signatures or not */
/* What DNS said about a verdict's key and what the body hashed to, for explain; may be NULL, empty. */
const struct dns_answer *dkim_state_answer(const void *msg, const struct dkim_verdict *);
str dkim_state_body_hash(const void *msg, const struct dkim_verdict *);

/* Signing. */

/* Whether a key may sign now.  Lives as long as the process; main opens and
 * closes it, loops look at each message. */
struct dkim_gate { _Atomic bool open; };

struct dkim_signer {
	str  domain, selector;
	const struct key *key;
	enum canon header_canon, body_canon;
	const struct strs *headers;           /* names; NULL: the default list with oversigning */
	str  identity;                        /* i=; empty: left out */
	int64_t expire_s;                     /* x= is this after the moment it may leave first; 0: none */
	const struct dkim_gate *gate;         /* NULL: always open */
};
/* Before the body: the wish whose result dkim_sign needs. */
int dkim_sign_wish(const struct dkim_signer *, struct bodyhash *);
/* The DKIM-Signature field, folded, with CRLF, over the fields not omitted. */
enum err dkim_sign(const struct dkim_signer *, const struct fields *, str body_hash, int64_t now, struct arena *, str *field);
/* The same as an ARC-Message-Signature (RFC 8617 4.1.2): i= is the instance, the
 * default list holds the DKIM-Signatures, too. */
enum err dkim_sign_arc(const struct dkim_signer *, unsigned instance, const struct fields *, str body_hash, int64_t now,
                       struct arena *, str *field);

/* Keys that sign for a domain, one generation's: given to the module by conf. */
struct dkim_keyring;
struct dkim_keyring *dkim_keyring_new(struct arena *);
enum err dkim_keyring_add(struct dkim_keyring *, const struct dkim_signer *);   /* copied; the key stays the caller's */
const struct dkim_signer *dkim_keyring_find(const struct dkim_keyring *, str domain, size_t *at); /* next from *at; NULL: no more */

/* How a domain's mail is signed, by who wrote it and where it goes.  The first
 * rule that fits counts; what it does not say is as the key has it. */
struct dkim_rule {
	const struct strs *from;              /* "alice@example.org", "@example.org"; NULL, empty: anybody */
	const struct strs *to;                /* "example.net", ".example.net" for all below it; every recipient fits one; NULL, empty: anywhere */
	const struct strs *selectors;         /* one '*' stands for any text; NULL, empty: all */
	const struct strs *headers;           /* NULL, empty: as the key has it */
	bool       has_canon, has_expire, has_identity;
	enum canon header_canon, body_canon;
	int64_t    expire_s;
	bool       author;                    /* i= is the author's address */
};
enum err dkim_keyring_rule(struct dkim_keyring *, str domain, const struct dkim_rule *);   /* copied but for the lists */
/* What becomes of mail while no key of the domain is out: held, or (the default)
 * sent unsigned.  A domain with a policy and no keys has none out. */
enum err dkim_keyring_policy(struct dkim_keyring *, str domain, bool hold);

#define DKIM_SIGNERS_MAX 8                    /* keys that sign one message */
struct dkim_choice {
	bool   found;                         /* a domain of the ring signs for this author: his own, or the nearest above */
	str    domain;                        /* that one */
	bool   hold;                          /* its policy */
	size_t known;                         /* its keys, out or not */
	struct dkim_signer *v;                /* those that sign by the rule, out or not, as it wants them */
	size_t n;
};
/* `author` is the first address of From, or has no more than a domain.  A rule
 * whose selectors are not there (any more) or not out leaves all of them. */
void dkim_keyring_choose(const struct dkim_keyring *, const struct path *author, const struct path *rcpts, size_t n,
                         struct arena *, struct dkim_choice *out);
bool dkim_signer_is_out(const struct dkim_signer *);

/* A message that leaves late, signed anew from what was kept of it. */
struct dkim_late {
	str    head;                          /* the fields in front of it, signatures among them */
	str    header;                        /* its own, as they will be sent */
	const str *hashes;                    /* of its body, by enum canon: simple, relaxed; empty: not known */
	const struct path *rcpts;
	size_t nrcpts;
	int64_t now;
	/* the answer */
	str    fresh;                         /* the head with new signatures instead of the old ones */
	int64_t until;                        /* when the first of them runs out; INT64_MAX: never */
	str    domain;
	bool   hold;                          /* no key is out, and the policy says that it waits */
	str    why;                           /* not OK: a sentence */
};
/* ERR_ABSENT: no key is out.  The head is as it was unless OK. */
enum err dkim_sign_late(const struct dkim_keyring *, struct arena *, struct dkim_late *);
/* The module's verify/signing settings; `keyring` is filled in by the main thread after reading. */
struct dkim_conf {
	struct conf_head head;
	bool      verify;
	uint64_t  max_signatures;             /* 8 */
	uint64_t  minimum_bits;               /* 1024 */
	bool      partial_counts;             /* l= with uncovered body may count for DMARC; default no */
	int       on_fail, on_temperror, on_permerror, on_none;  /* enum dkim_action, when nothing passed */
	struct dkim_keyring *keyring;
};
enum dkim_action { DKIM_MARK, DKIM_QUARANTINE, DKIM_DEFER, DKIM_REJECT };

/* A key record's text for DNS: "v=DKIM1; k=rsa; p=…". */
enum err dkim_key_record(const struct key *, struct arena *, str *record);

#endif
