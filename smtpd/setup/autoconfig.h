/* SPDX-License-Identifier: ISC */
/*
 * autoconfig: what mail programs and other servers are told of a domain, as
 * documents.  Pure: a configuration in, texts out; `postern dns` prints them,
 * web.c serves them.
 *
 *     Thunderbird and many others   config-v1.1.xml
 *     Outlook                       autodiscover.xml, as an answer to a POST
 *     other mail servers            mta-sts.txt (RFC 8461 3.2)
 */
#ifndef SETUP_AUTOCONFIG_H
#define SETUP_AUTOCONFIG_H

#include "smtpd/setup/config.h"

struct autoconfig_server { str host; uint16_t port; };    /* port 0: there is none */

struct autoconfig {
	str domain, hostname;
	struct autoconfig_server imap;          /* TLS from the first octet */
	struct autoconfig_server submissions;   /* the same */
	struct autoconfig_server submission;    /* STARTTLS */
	int      sts;                           /* enum web_sts */
	uint64_t sts_max_age_s;
	struct strs sts_mx;
	bool     served;                        /* web {} has an address */
};

/* `domain`: one of the configuration's, as A-labels. */
void autoconfig_of(const struct config *, str domain, struct arena *, struct autoconfig *);

/* Empty: the arena is spent. */
str autoconfig_thunderbird(const struct autoconfig *, struct arena *);
/* `address`: whose program asks, a checked mail address; empty: nobody's in particular. */
str autoconfig_outlook(const struct autoconfig *, str address, struct arena *);
str autoconfig_policy(const struct autoconfig *, struct arena *);         /* CRLF */
/* Changes when the policy does, and only then. */
str autoconfig_policy_id(const struct autoconfig *, struct arena *);

/* The address in Outlook's question, a stranger's XML.  False: none, or not one. */
bool autodiscover_address(str body, struct arena *, struct path *out);

#endif
