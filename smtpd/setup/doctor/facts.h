/* SPDX-License-Identifier: ISC */
/*
 * facts: what has been asked, and what came back.  Each fact once, whoever wants
 * it.  A function below returns NULL while its fact is on its way; then the exam
 * counts one more that it waits for, and is looked at again later.  An exam asks
 * for all that it can name before it gives up its turn.
 */
#ifndef SETUP_DOCTOR_FACTS_H
#define SETUP_DOCTOR_FACTS_H

#include "modules/spf/spf.h"
#include "queue/deliver/sts_policy.h"
#include "smtpd/base/tls.h"
#include "smtpd/setup/dns/direct.h"
#include "smtpd/setup/dns/spf_tree.h"
#include "smtpd/setup/doctor/doctor.h"

/* ---- what the authoritative servers of a domain show ------------------------------------ */

struct shown_wish {                    /* one record set that they are asked for */
	str           name;
	enum dns_type type;
	str           wanted;          /* a DKIM key's record, for the gate's eyes; empty: it is only compared */
};
struct shown {                         /* what came back */
	struct shown_wish    wish;
	enum err             e;        /* of the question */
	struct direct_reply *replies;
	size_t               n;
	struct gate_look     look;     /* when something was wanted */
};
struct servers_seen {
	enum err           e;          /* OK, or why there is no zone: `why` */
	str                why;
	struct direct_zone zone;
	struct shown      *v;          /* SOA, NS, then the wishes */
	size_t             n;
};

/* ---- a talk with a mail server, up to where a message would begin -------------------------- */

struct talk_wish {
	struct sockaddr_storage to;
	socklen_t  n;
	bool       implicit;           /* TLS from the first octet */
	str        name;               /* whom to expect there */
	const struct tls_tlsa *tlsa;   /* that must vouch for it; NULL: the CAs */
	size_t     ntlsa;
};
struct talk {
	bool  connected;               /* something listens there */
	bool  greeted;                 /* … and speaks SMTP */
	str   said;                    /* why it ended early */
	bool  starttls;
	struct tls_state tls;
	struct tls_cert certs[8];
	size_t ncerts;
};

struct sts_seen {
	struct sts_policy policy;      /* mode STS_NONE and no id: there is none */
	str fault, why;
};

/* ---- asking ----------------------------------------------------------------------------------- */

const struct dns_answer   *fact_dns(struct exam *, str name, enum dns_type);
const struct dns_answer   *fact_reverse(struct exam *, const struct sockaddr *);      /* PTR */
const struct spf_outcome  *fact_spf(struct exam *, str domain, const struct sockaddr *);  /* of postmaster@domain from there */
const struct spf_tree     *fact_spf_tree(struct exam *, str domain);
const struct sts_seen     *fact_sts(struct exam *, str domain);
const struct servers_seen *fact_servers(struct exam *, str domain, const struct shown_wish *, size_t n);
const struct talk         *fact_talk(struct exam *, const struct talk_wish *);

/* ---- the table --------------------------------------------------------------------------------- */

enum fact_kind { FACT_DNS, FACT_SPF, FACT_SPF_TREE, FACT_STS, FACT_SERVERS, FACT_TALK };

struct fact {
	struct fact   *next;
	struct doctor *doctor;
	enum fact_kind kind;
	str            name;           /* what it is about; with `number` its key */
	unsigned       number;         /* FACT_DNS: the type */
	struct sockaddr_storage from;  /* FACT_SPF: a sender's address */
	const void    *wish;           /* FACT_SERVERS: struct shown_list; FACT_TALK: struct talk_wish */
	bool           known;
	const void    *value;          /* by kind: one of the structs above */
	void          *work;           /* the source's own */
};
struct shown_list { const struct shown_wish *v; size_t n; };

/* Where facts come from: look.c, or a table in the units. */
struct fact_source {
	void (*begin)(struct fact *);          /* ends in fact_came, here or later */
	void (*stop)(struct fact *);           /* of one that was begun and has not come */
	void (*close)(struct doctor *);        /* after the last; what it keeps is freed */
};
extern const struct fact_source fact_source;

void fact_came(struct fact *, const void *value);
/* For units: known from the beginning. */
void fact_put(struct doctor *, enum fact_kind, str name, unsigned number, const void *value);
/* The name under which an address is a fact's. */
str  fact_address(struct arena *, const struct sockaddr *);     /* "192.0.2.1:25", "[2001:db8::1]:25" */

#endif
