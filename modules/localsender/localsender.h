/* SPDX-License-Identifier: ISC */
/*
 * local-sender: mail from outside whose envelope sender is one of ours.
 *
 * People here send by submission, so a stranger who names one of our domains in
 * MAIL FROM must show that he may: SPF passes for it, or the message carries a
 * valid signature of that very domain and so began here (somebody's forwarding
 * brought it back).
 */
#ifndef MODULES_LOCALSENDER_H
#define MODULES_LOCALSENDER_H

#include "smtpd/base/str.h"

enum localsender_result {
	LOCALSENDER_NOT_DONE,     /* the sender is not of ours, or SPF was not evaluated */
	LOCALSENDER_PROVEN,
	LOCALSENDER_UNPROVEN,
	LOCALSENDER_TEMPERROR,    /* DNS could not tell */
};
const char *localsender_result_word(enum localsender_result);     /* "pass", "unproven", "temperror"; NULL */

struct localsender_outcome {
	enum localsender_result result;
	str reason;                   /* a sentence that says what to do; for a pass, what passed */
};

extern const struct module localsender_module;
const struct localsender_outcome *localsender_state_outcome(const void *msg);   /* NULL: not asked, or open */

#endif
