/* SPDX-License-Identifier: ISC */
/*
 * checks: every check there is, and what they share.  Each is a function of the
 * facts; table.c puts them in the order in which a person reads them.
 */
#ifndef SETUP_DOCTOR_CHECKS_H
#define SETUP_DOCTOR_CHECKS_H

#include "smtpd/base/conn.h"
#include "smtpd/setup/doctor/facts.h"
#include "smtpd/setup/doctor/host.h"

/* check_host.c */
void check_clock(struct exam *);
void check_disk(struct exam *);
void check_limits(struct exam *);
void check_files(struct exam *);
void check_accounts(struct exam *);
void check_devices(struct exam *);
void check_relay(struct exam *);
/* check_tls.c */
void check_certificate(struct exam *);
void check_tls(struct exam *);
void check_ports(struct exam *);
/* check_names.c */
void check_resolver(struct exam *);
void check_hostname(struct exam *);
void check_reverse(struct exam *);
/* check_lists.c */
void check_blocklists(struct exam *);
/* outside.c */
void check_outgoing(struct exam *);
void check_arrival(struct exam *);
void check_asker(struct exam *);
/* check_servers.c */
void check_servers(struct exam *);
void check_records(struct exam *);
void check_dkim(struct exam *);
/* check_domain.c */
void check_mx(struct exam *);
void check_dnssec(struct exam *);
void check_spf(struct exam *);
/* check_dmarc.c */
void check_dmarc(struct exam *);
void check_dmarc_reports(struct exam *);
void check_tls_reports(struct exam *);
/* check_transport.c */
void check_mta_sts(struct exam *);
void check_tlsa(struct exam *);

/* ---- shared: common.c ------------------------------------------------------------------- */

const struct host_facts *exam_host(const struct exam *);
/* The answer could not be had: an unknown finding, and true. */
bool exam_failed(struct exam *, str about, const struct dns_answer *);
/* All that a name has, IPv4 first, at `port`; false while answers are on their way.
 * One that failed is left out, and *failed is it. */
struct addresses { struct sockaddr_storage v[32]; size_t n; bool secure; const struct dns_answer *failed, *first; };
bool exam_addresses(struct exam *, str name, uint16_t port, struct addresses *);
bool addresses_have(struct arena *, const struct addresses *, str address);
/* This host's, and those that its name has: behind a NAT these are all that is known. */
bool exam_own_addresses(struct exam *, struct addresses *);
socklen_t address_length(const struct sockaddr_storage *);
str  address_text(struct arena *, const struct sockaddr_storage *);
bool address_parse(str text, uint16_t port, struct sockaddr_storage *);
/* The only TXT record of that version ("v=DMARC1"); how many there are. */
size_t txt_records(const struct dns_answer *, const char *version, str *first);
str  words_joined(struct arena *, const struct strs *, const char *between);
bool is_same_or_below(str name, str above);
/* "3 days", "5 hours". */
str  days_text(struct arena *, int64_t seconds);

#endif
