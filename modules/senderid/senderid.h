/* SPDX-License-Identifier: ISC */
/*
 * senderid: Sender ID (RFC 4406) for the Purported Responsible Address
 * (RFC 4407) and for MAIL FROM, over the evaluator of spf.
 *
 * Its result is written down for who wants to know and decides nothing.
 */
#ifndef MODULES_SENDERID_H
#define MODULES_SENDERID_H

#include "modules/spf/spf.h"
#include "smtpd/base/conf.h"
#include "smtpd/mail/field.h"

struct senderid_pra {
	const struct field *field;   /* that was selected; NULL: none, the message has no PRA */
	const char *header;          /* "Resent-Sender", "Resent-From", "Sender", "From" */
	struct path path;
	const char *fault;           /* NULL: path is the PRA */
};
/* RFC 4407 2.  Linear in the header; `from` is what was read of From already. */
void senderid_pra_find(struct arena *, const struct fields *, const struct from *,
                       struct senderid_pra *out);

struct senderid_outcome {
	enum spf_result            result;   /* of the PRA; permerror when there is none */
	str                        domain;
	const struct senderid_pra *pra;
	str                        reason;
	const struct spf_outcome  *spf;      /* how it came about; NULL when there is no PRA */
	const struct spf_outcome  *mfrom;    /* the same for MAIL FROM (HELO if it is null) */
};

struct senderid_conf {
	struct conf_head head;
	bool enable;                   /* evaluated and written */
	bool evaluate;                 /* no option: verify and explain want it in any case */
};

extern const struct module senderid_module;
/* NULL: open, or not evaluated */
const struct senderid_outcome *senderid_state_outcome(const void *msg);

#endif
