/* SPDX-License-Identifier: ISC */
/*
 * records: those that the configuration calls for (wanted.c), and how what DNS shows
 * is held against them (check_records.c).
 */
#ifndef SETUP_DOCTOR_RECORDS_H
#define SETUP_DOCTOR_RECORDS_H

#include "smtpd/setup/doctor/facts.h"

enum dns_type record_type(const char *word);          /* SRV, too, which dns.h does not know */
const char   *record_type_word(enum dns_type);

/* The domain's servers, asked for everything that any check of it wants. */
const struct servers_seen *exam_servers(struct exam *);
const struct shown        *servers_shown(const struct servers_seen *, str name, enum dns_type);   /* NULL: not known */

/* How much of a record called for is there. */
enum record_sight {
	RECORD_THERE,        /* as called for */
	RECORD_OTHER,        /* something else of its kind, which `seen` is */
	RECORD_MISSING,
	RECORD_UNKNOWN,      /* DNS did not say */
	RECORD_WAITS,        /* it is being asked */
};
enum record_sight record_look(struct exam *, const struct wanted *, str *seen);
/* Mail is refused or not believed without it; the others are good to have. */
bool record_is_needed(const struct wanted *);

/* What `postern dns` prints for these domains.  OK, or the sentence in *why. */
struct key_files;
enum err wanted_make(const struct config *, const struct strs *domains, const struct strs *addresses, struct arena *,
                     const struct wanted **, size_t *n, str *why);

#endif
