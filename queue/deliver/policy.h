/* SPDX-License-Identifier: ISC */
/*
 * policy: which TLS a host must show before it gets a message.
 *
 * Found for one host of one route, before it is dialled; what one message asks
 * for comes on top.  The order of those who may ask (RFC 7672, RFC 8461 2):
 *
 *     the operator      a hop's `tls`, or relay's `policy` for the domain
 *     DANE              usable TLSA records, when DNSSEC reaches MX and host
 *     MTA-STS           where no usable TLSA record decides
 *     nobody            TLS if it is offered, whosoever
 *
 * What fails to be proved defers and never falls back: a host is refused for
 * now, the next one is looked at, and when none is left the message waits.
 * `TLS-Required: No` puts what the domain publishes out of force, not what the
 * operator wants; REQUIRETLS asks for a verified host whoever else asks for
 * less (RFC 8689).  Loop thread; policy_decide is pure.
 */
#ifndef QUEUE_DELIVER_POLICY_H
#define QUEUE_DELIVER_POLICY_H

#include "queue/deliver/dane.h"
#include "queue/deliver/sts.h"

enum policy_level {
	POLICY_CLEAR,          /* no STARTTLS, even if it is offered */
	POLICY_MAY,            /* if it is offered; in the clear after a handshake that failed */
	POLICY_ENCRYPT,        /* or not at all */
	POLICY_VERIFY,         /* the certificate must be the host's, too */
};

enum policy_source { BY_NOBODY, BY_OPERATOR, BY_STS, BY_DANE };

/* relay { policy "DOMAIN" { tls = … } } */
enum policy_word { WORD_AUTO, WORD_NONE, WORD_MAY, WORD_ENCRYPT, WORD_VERIFY, WORD_DANE };

struct policy_section {
	struct conf_head head;         /* title: "example.net", or ".example.net" for all below it */
	int tls;                       /* enum policy_word */
};
extern const struct conf_section policy_section;
enum policy_word policy_word_for(const struct conf_list *sections, str domain);

struct policy {
	enum policy_level  level;
	enum policy_source source;     /* who asks for that level */
	enum policy_level  floor;      /* what the operator asks for, whatever the domain does */
	bool   name_is_good;           /* who named the host can be believed: DNSSEC, MTA-STS, the operator */
	bool   testing;                /* MTA-STS in testing: its faults are reported and nothing else */
	bool   outside;                /* … and this host is none of the policy's */
	struct tls_expect expect;      /* whom to meet there */
	/* this host gets nothing now */
	bool   refused;
	str    status, said;
	const char *result;            /* RFC 8460 4.3 */
	/* for reports */
	str    domain;                 /* whose policy */
	enum policy_kind { KIND_NONE, KIND_TLSA, KIND_STS } kind;
	struct strs lines, mx;         /* the policy in its own words */
};

struct policy_facts {
	const struct route *route;
	enum policy_word    word;
	str                 host;      /* the name; empty when the route names an address */
	struct dns_facts    mx;        /* of the domain (ROUTE_MX) */
	bool                implicit;  /* the host is the domain itself */
	const struct dane  *dane;
	const struct sts_policy *sts;  /* mode STS_NONE: none */
};

void policy_decide(const struct policy_facts *, struct arena *, struct policy *out);

/* Mail that asks for more or less than the rest to the same place has a line and
 * connections of its own: what keeps the one waiting says nothing about the other. */
void policy_mark_route(struct route *, unsigned message_flags, struct arena *);

/* What one message makes of it; MESSAGE_REQUIRETLS, MESSAGE_TLS_OPTIONAL. */
enum policy_level policy_level_for(const struct policy *, unsigned message_flags);
bool policy_refuses(const struct policy *, unsigned message_flags);
/* "MTA-STS of example.org", "the TLSA records of mx.example.org", … */
str  policy_words(const struct policy *, unsigned message_flags, struct arena *);

/* What the host has shown, in a word:
 *     dane, sts, pkix   it is who it should be: by its TLSA records, by the MTA-STS
 *                       policy, by an authority for a name that is proved
 *     host              the certificate holds for the MX host's name, as `tls = verify`
 *                       asks; nothing proves that DNS has named the right host
 *     no                neither, or nobody has asked for it */
const char *policy_verified(const struct policy *, enum policy_level asked, const struct tls_state *);

/* ---- finding it ------------------------------------------------------------------------ */

struct policy_look {                   /* embedded in the asker; zeroed before first use */
	struct policy policy;          /* the answer, for host `host` */
	str          host;
	struct dane  dane;
	struct sts_policy sts;
	void        *user;
	/* policy_look.c's own from here */
	void (*known)(struct policy_look *);
	struct loop  *loop;
	struct arena *arena;
	struct tls_client *tls;
	struct sts   *sts_of;
	const struct hosts *hosts;
	struct policy_facts facts;
	struct dane_look dane_look;
	struct sts_ask   sts_ask;
	struct loop_call later;
	bool   sts_known;
};

/* Once an attempt; the arena holds all answers. */
void policy_look_begin(struct policy_look *, struct loop *, struct arena *, struct tls_client *, struct sts *,
                       void (*known)(struct policy_look *), void *user);
/* For the host that `hosts` is at.  `known` fires later, once, never inside; at
 * once again for the same host's next address. */
void policy_look(struct policy_look *, const struct hosts *);
void policy_look_stop(struct policy_look *);   /* harmless twice and when zeroed */

#endif
