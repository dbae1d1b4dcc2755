/* SPDX-License-Identifier: ISC */
/*
 * dns_records: the records that a configuration calls for.  Pure: configuration,
 * keys, certificates and addresses in, a list out; `postern dns` prints it, doctor
 * compares DNS with it.  record_forms.h has the forms.
 */
#ifndef SETUP_DNS_RECORDS_H
#define SETUP_DNS_RECORDS_H

#include "smtpd/setup/autoconfig.h"
#include "smtpd/setup/key_files.h"

struct key_record;

struct dns_record {
	str         name;        /* without root dot */
	const char *type;        /* "MX", "TXT", … */
	str         value;       /* as a zone file has it; TXT: the text, neither quoted nor cut */
	str         note;        /* what it is for, what to look out for */
	str         ask_of;      /* it belongs into somebody else's zone: whom to ask for it; empty: into this one */
};

struct dns_records {
	struct dns_record *v;
	size_t             n, room;
	struct strs        todo;         /* what no record can say */
};

struct dns_wanted {                      /* what is known besides the configuration */
	const struct key_files  *keys;
	struct strs              addresses;  /* of this host, public ones */
	const struct key_record *managed;    /* keys with a life, of the domain in question; they go before `keys` */
	size_t                   n_managed;
	struct strs              tlsa;       /* SHA-256 of the public keys that the MX host shows, in hexadecimal */
};

/* `domain`: one of the configuration's.  ERR_MEMORY: the arena is spent. */
enum err dns_records_make(const struct config *, str domain, const struct dns_wanted *, struct arena *,
                          struct dns_records *out);

/* Section `dmarc` inside domain: struct dmarc_section. */
extern const struct conf_section config_dmarc;
/* The DMARC record that it asks for. */
str      dns_dmarc_text(const struct domain_section *, struct arena *);

/* dns_wanted.c: addresses of this host (relay { source } where it is set) and the
 * certificates' keys. */
void     dns_wanted_addresses(const struct config *, struct arena *, struct strs *out);
void     dns_wanted_tlsa(const struct config *, struct arena *, struct strs *out);

#endif
