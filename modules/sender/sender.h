/* SPDX-License-Identifier: ISC */
/*
 * sender: could anybody answer to the envelope sender?  A domain with neither
 * MX nor address, or with a null MX (RFC 7505), is no sender.
 */
#ifndef MODULES_SENDER_H
#define MODULES_SENDER_H

#include "smtpd/base/str.h"

enum sender_result {
	SENDER_NOT_DONE,
	SENDER_GOOD,
	SENDER_MISSING,
	SENDER_NULL_MX,
	SENDER_TEMPERROR
};
const char *sender_result_word(
	enum sender_result); /* "pass", "missing", "null-mx", "temperror"; NULL */

struct sender_outcome {
	enum sender_result result;
	str domain;
	str reason;                   /* a sentence; empty for a pass */
};

extern const struct module sender_module;
const struct sender_outcome *sender_state_outcome(const void *msg);   /* NULL: not asked, or open */

#endif
