/* SPDX-License-Identifier: ISC */
/*
 * explain_historic: DomainKeys, Sender ID and ADSP, which decide nothing.
 */
#include <stdio.h>

#include "modules/adsp/adsp.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/senderid/senderid.h"
#include "smtpd/setup/explain.h"

static void answer_tell(struct story *st, const char *what, str name, const struct dns_answer *a)
{
	if (a == NULL)
		return;
	fprintf(st->out, "  %s: TXT %s -> %s", what, explain_shown(st->arena, name, 255),
	       dns_status_text(a->status));
	if (a->status == DNS_FOUND)
		fprintf(st->out, ": %s", explain_shown(st->arena, a->rr[0].txt, 200));
	putc('\n', st->out);
}

static void reason_tell(struct story *st, str reason)
{
	if (reason.n > 0)
		fprintf(st->out, "  reason: %s\n", explain_shown(st->arena, reason, 500));
}

static void domainkeys_tell(struct story *st)
{
	const struct domainkeys_outcome *o =
		domainkeys_state_outcome(chain_msg(st->conn, &domainkeys_module));

	if (o == NULL)
		return;
	fprintf(st->out, "\nDOMAINKEYS (historic; decides nothing)\n");
	if (o->sender->domain.n > 0)
		fprintf(st->out, "  the sending address is of %s, in %s\n",
		       explain_shown(st->arena, o->sender->domain, 255), o->sender->header);
	fprintf(st->out, "  %s", domainkeys_result_word(o->result));
	if (o->selector.n > 0)
		fprintf(st->out, ", d=%.*s s=%.*s", STR_ARG(o->domain), STR_ARG(o->selector));
	if (o->key_bits > 0)
		fprintf(st->out, ", key of %u bits", o->key_bits);
	fprintf(st->out, "%s\n", o->signatures == 0 ? ": the message has no DomainKey-Signature" : "");
	answer_tell(st, "key", o->key_name, o->key);
	answer_tell(st, "policy", o->policy_name, o->policy);
	reason_tell(st, o->reason);
}

static void sender_id_tell(struct story *st)
{
	const struct senderid_outcome *o =
		senderid_state_outcome(chain_msg(st->conn, &senderid_module));

	if (o == NULL)
		return;
	fprintf(st->out, "\nSENDER ID (historic; decides nothing)\n");
	if (o->spf != NULL)
		fprintf(st->out, "  the Purported Responsible Address is %s, in %s\n",
		       explain_shown(st->arena, o->pra->path.text, 255), o->pra->header);
	fprintf(st->out, "  PRA: %s", spf_result_word(o->result));
	if (o->spf != NULL && o->spf->mechanism.n > 0)
		fprintf(st->out, ", matched by %s", explain_shown(st->arena, o->spf->mechanism, 200));
	putc('\n', st->out);
	reason_tell(st, o->reason);
	if (o->mfrom != NULL)
		fprintf(st->out, "  MAIL FROM: %s for %s\n", spf_result_word(o->mfrom->result),
		       explain_shown(st->arena, o->mfrom->domain, 255));
}

static void adsp_tell(struct story *st)
{
	const struct adsp_outcome *o = adsp_state_outcome(chain_msg(st->conn, &adsp_module));

	if (o == NULL)
		return;
	fprintf(st->out, "\nADSP (historic; decides nothing)\n  %s", adsp_result_word(o->result));
	if (o->domain.n > 0)
		fprintf(st->out, " for %s", explain_shown(st->arena, o->domain, 255));
	putc('\n', st->out);
	answer_tell(st, "practices", o->record_name, o->record);
	reason_tell(st, o->reason);
}

void explain_historic(struct story *st)
{
	domainkeys_tell(st);
	sender_id_tell(st);
	adsp_tell(st);
}
