/* SPDX-License-Identifier: ISC */
/*
 * adsp: Author Domain Signing Practices (RFC 5617, historic): what the author's
 * domain says about mail that it did not sign with DKIM.
 *
 * Its result is written down for who wants to know and decides nothing.
 */
#ifndef MODULES_ADSP_H
#define MODULES_ADSP_H

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/dns.h"

enum adsp_result {
	ADSP_NOT_DONE, ADSP_NONE, ADSP_PASS, ADSP_UNKNOWN, ADSP_FAIL, ADSP_DISCARD, ADSP_NXDOMAIN,
	ADSP_TEMPERROR, ADSP_PERMERROR,
};
const char *adsp_result_word(enum adsp_result);      /* RFC 5617 5.4 */

enum adsp_practices { ADSP_NO_RECORD, ADSP_SAYS_UNKNOWN, ADSP_SAYS_ALL, ADSP_SAYS_DISCARDABLE };
/* RFC 5617 4.2.1, 4.1: what is no record by the grammar is ignored. */
enum adsp_practices adsp_record_parse(struct arena *, str record);

struct adsp_outcome {
	enum adsp_result result;
	str  domain;                          /* the Author Domain; empty when From names none */
	str  record_name;                     /* what was asked */
	str  reason;
	const struct dns_answer *existence, *record;   /* NULL: not asked */
};

struct adsp_conf {
	struct conf_head head;
	bool enable;                   /* evaluated and written */
	bool evaluate;                 /* no option: verify and explain want it in any case */
};

extern const struct module adsp_module;
const struct adsp_outcome *adsp_state_outcome(const void *msg);   /* NULL: open, or not evaluated */

#endif
