/* SPDX-License-Identifier: ISC */
/*
 * domainkeys: DomainKeys (RFC 4870, historic), verified and never signed.
 *
 * Its result is written down for who wants to know and decides nothing.  What
 * is signed is one digest over header and body, so it is made while the body
 * comes by.  The parsers know no module.
 */
#ifndef MODULES_DOMAINKEYS_H
#define MODULES_DOMAINKEYS_H

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns.h"
#include "smtpd/mail/canon.h"
#include "smtpd/mail/field.h"

enum domainkeys_result {
	DOMAINKEYS_NOT_DONE, DOMAINKEYS_NONE, DOMAINKEYS_PASS, DOMAINKEYS_FAIL, DOMAINKEYS_POLICY,
	DOMAINKEYS_TEMPERROR, DOMAINKEYS_PERMERROR,
};
const char *domainkeys_result_word(enum domainkeys_result);

struct domainkeys_signature {          /* a DomainKey-Signature field, read (RFC 4870 3.3) */
	const struct field *field;
	str        domain, selector;   /* lower case; empty unless DNS can be asked for them */
	enum canon canon;              /* CANON_SIMPLE or CANON_NOFWS */
	str        b;                  /* decoded */
	bool       has_h;
	str       *h;                  /* names; the message's order is the digest's */
	size_t     nh;
	const char *fault;             /* NULL: well formed */
};
void domainkeys_signature_parse(struct arena *, const struct field *,
                                struct domainkeys_signature *out);
bool domainkeys_signature_covers(const struct domainkeys_signature *, const char *name);

/* A key record (RFC 4870 3.2.3).  PASS: `key` can be used, and is to be freed. */
struct domainkeys_key {
	enum domainkeys_result result;
	const char *reason;
	struct key *key;
	bool        testing;           /* t=y */
	str         granularity;       /* g=: the one local part that may use it; empty: any */
};
void domainkeys_key_parse(struct arena *, str record, struct domainkeys_key *out);
void domainkeys_key_drop(struct domainkeys_key *);           /* harmless twice */

/* The policy record at _domainkey.DOMAIN (RFC 4870 3.6). */
struct domainkeys_policy { bool signs_all, testing; };       /* o=-, t=y */
/* false: it is none */
bool domainkeys_policy_parse(struct arena *, str record, struct domainkeys_policy *out);

/* The sending address: Sender's first, else From's first (RFC 4870 2.3, 3.8).
 * `from` is what was read of From already. */
struct domainkeys_sender {
	const struct field *field;     /* NULL: there is none */
	const char *header;            /* "Sender" or "From" */
	str         local, domain;
	const char *fault;             /* NULL: it can be used */
};
void domainkeys_sender_find(struct arena *, const struct fields *, const struct from *,
                            struct domainkeys_sender *out);

/* One digest over the fields behind the signature's own, and the body. */
struct domainkeys_hash {
	struct digest     digest;
	struct canon_body body;
	bool              open, any, ending;
};
bool   domainkeys_hash_begin(struct domainkeys_hash *, const struct fields *,
                             const struct domainkeys_signature *);
void   domainkeys_hash_body(struct domainkeys_hash *, str chunk);
size_t domainkeys_hash_end(struct domainkeys_hash *, unsigned char out[static DIGEST_MAX]);
void   domainkeys_hash_drop(struct domainkeys_hash *);       /* harmless twice */

struct domainkeys_outcome {
	enum domainkeys_result result;
	str  domain, selector;         /* of the signature; without one the sending address's */
	str  reason;
	const struct domainkeys_sender *sender;
	size_t   signatures;           /* fields in the message */
	unsigned key_bits;
	str      key_name, policy_name;              /* what was asked; empty: nothing */
	const struct dns_answer *key, *policy;       /* NULL: not asked */
};

struct domainkeys_conf {
	struct conf_head head;
	bool enable;                   /* evaluated and written */
	bool evaluate;                 /* no option: verify and explain want it in any case */
};

extern const struct module domainkeys_module;
/* NULL: open, or not evaluated */
const struct domainkeys_outcome *domainkeys_state_outcome(const void *msg);

#endif
