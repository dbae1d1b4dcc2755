/* SPDX-License-Identifier: ISC */
/*
 * What the files of dnsbl share; nobody else's.
 */
#ifndef MODULES_DNSBL_INSIDE_H
#define MODULES_DNSBL_INSIDE_H

#include "modules/dnsbl/dnsbl.h"
#include "smtpd/base/err.h"

extern const struct conf_section dnsbl_section;
enum err dnsbl_setup(const void *conf, struct arena *, str *why);

bool dnsbl_exempts_client(const struct dnsbl_zone *, const struct sockaddr *);
bool dnsbl_exempts_name(const struct dnsbl_zone *, str name);     /* itself or what it lies below */

/* Logged once a zone and generation: its answer can mean nothing. */
void dnsbl_report(const struct dnsbl_zone *, struct in_addr);

#endif
