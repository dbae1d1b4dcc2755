/* SPDX-License-Identifier: ISC */
/*
 * dns_verbs: what the verbs of this room share.
 */
#ifndef SETUP_DNS_VERBS_H
#define SETUP_DNS_VERBS_H

#include "smtpd/setup/dns/spf_tree.h"

/* argv[0] is "check" or "build". */
int verb_spf_check(int argc, char **argv);
int verb_spf_build(int argc, char **argv);

/* Reads a tree and waits for it; NULL: no memory. */
struct asking;
const struct spf_tree *spf_tree_wait(struct asking *, struct arena *, str domain, str instead);
/* name, host, type, value, length, then the zone line and the line. */
struct dns_record;
void record_print_forms(const struct dns_record *, str zone, struct arena *);
void spf_findings_print(const struct spf_tree *);
struct json;
void spf_findings_json(const struct spf_tree *, struct json *object);   /* "findings" */

#endif
