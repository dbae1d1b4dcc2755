/* SPDX-License-Identifier: ISC */
/*
 * dns_records: the records that a configuration calls for.  Pure: configuration,
 * keys and addresses in, a list out; `postern dns` prints it.
 */
#ifndef SETUP_DNS_RECORDS_H
#define SETUP_DNS_RECORDS_H

#include "smtpd/setup/autoconfig.h"
#include "smtpd/setup/key_files.h"

struct dns_record {
	str         name;        /* without root dot */
	const char *type;        /* "MX", "TXT", … */
	str         value;       /* as a zone file has it; TXT: the text, neither quoted nor cut */
	str         note;        /* what it is for, what to look out for */
};

struct dns_records {
	struct dns_record *v;
	size_t             n, room;
	struct strs        todo;         /* what no record of this zone can say, such as PTR */
};

struct dns_wanted {                      /* what is known besides the configuration */
	const struct key_files *keys;
	struct strs             addresses;  /* of this host, public ones */
};

/* `domain`: one of the configuration's.  ERR_MEMORY: the arena is spent. */
enum err dns_records_make(const struct config *, str domain, const struct dns_wanted *, struct arena *,
                          struct dns_records *out);

#endif
