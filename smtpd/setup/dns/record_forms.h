/* SPDX-License-Identifier: ISC */
/*
 * record_forms: one record in each form in which a person pastes it:
 *
 *   zone    a line of a zone file, long texts cut into strings
 *   line    NAME TYPE VALUE, as dig writes it
 *   form    what goes into the fields of a provider's web form: the host part, the
 *           exact value, its length, and where it has to be cut
 */
#ifndef SETUP_RECORD_FORMS_H
#define SETUP_RECORD_FORMS_H

#include <stdio.h>

#include "smtpd/base/json.h"
#include "smtpd/setup/dns/dns_records.h"

#define RECORD_STRING_MOST 255          /* octets of one string of a TXT record: RFC 1035 3.3 */
#define RECORD_TTL         3600

bool dns_record_is_txt(const struct dns_record *);
/* The name as many forms want it, without the zone; "@" is the zone itself.  A name
 * of another zone stays whole. */
str  dns_record_host(const struct dns_record *, str zone, struct arena *);
str  dns_record_zone(const struct dns_record *, struct arena *);
str  dns_record_line(const struct dns_record *, struct arena *);
void dns_record_print_form(const struct dns_record *, str zone, struct arena *, FILE *);
/* All three: name, type, ttl, value, note, zone, line, host, fields, length, strings. * */
void dns_record_json(const struct dns_record *, str zone, struct arena *, struct json *object);

#endif
