/* SPDX-License-Identifier: ISC */
/*
 * What the files of dnsbl share; nobody else's.
 */
#ifndef MODULES_DNSBL_INSIDE_H
#define MODULES_DNSBL_INSIDE_H

#include "modules/dnsbl/dnsbl.h"
#include "modules/iprev/iprev.h"
#include "modules/module.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

extern const struct conf_section dnsbl_section;
enum err dnsbl_setup(const void *conf, struct arena *, str *why);

bool dnsbl_exempts_client(const struct dnsbl_zone *, const struct sockaddr *);
bool dnsbl_exempts_name(const struct dnsbl_zone *, str name);     /* itself or what it lies below */

enum dnsbl_found { NOT_ASKED, OUT, NOT_LISTED, IS_LISTED, NO_ANSWER };

struct dnsbl_lookup {                           /* one zone, about one address or name */
	struct mod              *mod;
	const struct dnsbl_zone *zone;
	struct arena            *scratch, *keep;   /* answers; what is kept of them */
	struct dns_ask           address, text;
	enum dnsbl_found               found;
	str                      question, subject, answer, reason;
};

struct dnsbl_memory { struct arena *scratch, *keep; };
/* No question: nothing is asked and `found` stays NOT_ASKED.  Else OUT, until
 * dnsbl_looked_up, which is the module's. */
void dnsbl_ask(struct mod *, struct dnsbl_lookup *, const struct dnsbl_zone *, str question,
	       str subject, struct dnsbl_memory);
void dnsbl_looked_up(struct dnsbl_lookup *);
/* Of the zone, for the kind of address or name that is looked up. */
enum dnsbl_health dnsbl_health(const struct dnsbl_lookup *);
bool dnsbl_counts(const struct dnsbl_lookup *);       /* listed, by a zone that is fit */

/* What the module keeps of a connection and of a message; a set of lookups has one
 * for each zone. */
struct dnsbl_conn {
	struct mod        *mod;                    /* NULL: nothing was begun */
	struct arena       scratch;
	struct dnsbl_lookup *ip, *helo, *ptr;      /* NULL: not asked about */
	struct iprev_wait  ptr_wait;
	bool               ptr_out;
	size_t             out;                    /* lookups of connection and message */
	enum { NOBODY_WAITS, RCPT_WAITS, MESSAGE_WAITS } waiting;
	struct loop_timer  look;                   /* is the first test done? */
	uint64_t           look_until_ms;
};

struct dnsbl_msg {
	struct dnsbl_lookup *sender;
	bool                 refused;              /* a recipient was, for this */
};

static inline const struct conf_list *dnsbl_zones(const struct mod *m)     /* never NULL */
{
	static const struct conf_list none;

	return m->conf != NULL ? m->conf : &none;
}

/* ---- dnsbl_sum.c */

struct dnsbl_sum {
	enum say                   say;
	const struct dnsbl_lookup *because;        /* the heaviest */
	bool                       allowed, untested;
	uint64_t                   reject, quarantine;   /* weights */
};
/* Of what is known now, of the connection and of its message, if there is one. */
struct dnsbl_sum dnsbl_sum_up(const struct mod *);

#endif
