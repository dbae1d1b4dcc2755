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
#include "smtpd/mail/bodyhash.h"
#include "smtpd/mail/field.h"

enum dkim_result { DKIM_NOT_DONE, DKIM_NONE, DKIM_PASS, DKIM_FAIL, DKIM_POLICY, DKIM_NEUTRAL, DKIM_TEMPERROR, DKIM_PERMERROR };
const char *dkim_result_word(enum dkim_result);    /* RFC 8601 2.7.1 */

enum dkim_algorithm { DKIM_RSA_SHA256, DKIM_ED25519_SHA256, DKIM_RSA_SHA1, DKIM_UNKNOWN_ALGORITHM };

struct dkim_signature {            /* a DKIM-Signature (or ARC-Message-Signature) field, read */
	const struct field *field;
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
	const char *fault;                    /* NULL: well formed; else a sentence: permerror (or neutral) */
};

struct dkim_verdict {              /* one signature, judged */
	enum dkim_result result;
	struct dkim_signature sig;
	unsigned key_bits;
	bool testing;                         /* t=y in the key */
	bool partial;                         /* l= leaves body uncovered */
	str  reason;                          /* a sentence a person can act on; empty for a plain pass */
};

/* The module's state, for dmarc, verify, explain. */
extern const struct module dkim_module;
const struct dkim_verdict *dkim_state_verdicts(const void *msg, size_t *n);   /* in order of appearance */

/* Signing. */
struct dkim_signer {
	str  domain, selector;
	const struct key *key;
	enum canon header_canon, body_canon;
	const struct strs *headers;           /* names; NULL: the default list with oversigning */
	str  identity;                        /* i=; empty: left out */
	int64_t expire_s;                     /* x= is now + this; 0: none */
};
/* Before the body: the wish whose result dkim_sign needs. */
int dkim_sign_wish(const struct dkim_signer *, struct bodyhash *);
/* The DKIM-Signature field, folded, with CRLF, over the fields not omitted. */
enum err dkim_sign(const struct dkim_signer *, const struct fields *, str body_hash, int64_t now, struct arena *, str *field);

/* Keys that sign for a domain, one generation's: given to the module by conf. */
struct dkim_keyring;
struct dkim_keyring *dkim_keyring_new(struct arena *);
enum err dkim_keyring_add(struct dkim_keyring *, const struct dkim_signer *);   /* copied; the key stays the caller's */
const struct dkim_signer *dkim_keyring_find(const struct dkim_keyring *, str domain, size_t *at); /* next from *at; NULL: no more */
/* The module's verify/signing settings; `keyring` is filled in by the main thread after reading. */
struct dkim_conf {
	struct conf_head head;
	bool      verify;
	uint64_t  max_signatures;             /* 8 */
	uint64_t  minimum_bits;               /* 1024 */
	bool      partial_counts;             /* l= with uncovered body may count for DMARC; default no */
	struct dkim_keyring *keyring;
};

/* A key record's text for DNS: "v=DKIM1; k=rsa; p=…". */
enum err dkim_key_record(const struct key *, struct arena *, str *record);

#endif
