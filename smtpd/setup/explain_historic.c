/* SPDX-License-Identifier: ISC */
/*
 * explain_historic: DomainKeys, Sender ID and ADSP, which decide nothing.
 */
#include <stdio.h>

#include "modules/adsp/adsp.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/senderid/senderid.h"
#include "smtpd/setup/explain.h"

static void answer_tell(struct judge *j, const char *what, str name, const struct dns_answer *a)
{
	if (a == NULL)
		return;
	printf("  %s: TXT %s -> %s", what, explain_shown(&j->arena, name, 255),
	       dns_status_text(a->status));
	if (a->status == DNS_FOUND)
		printf(": %s", explain_shown(&j->arena, a->rr[0].txt, 200));
	putchar('\n');
}

static void reason_tell(struct judge *j, str reason)
{
	if (reason.n > 0)
		printf("  reason: %s\n", explain_shown(&j->arena, reason, 500));
}

static void domainkeys_tell(struct judge *j)
{
	const struct domainkeys_outcome *o =
		domainkeys_state_outcome(chain_msg(j->conn, &domainkeys_module));

	if (o == NULL)
		return;
	printf("\nDOMAINKEYS (historic; decides nothing)\n");
	if (o->sender->domain.n > 0)
		printf("  the sending address is of %s, in %s\n",
		       explain_shown(&j->arena, o->sender->domain, 255), o->sender->header);
	printf("  %s", domainkeys_result_word(o->result));
	if (o->selector.n > 0)
		printf(", d=%.*s s=%.*s", STR_ARG(o->domain), STR_ARG(o->selector));
	if (o->key_bits > 0)
		printf(", key of %u bits", o->key_bits);
	printf("%s\n", o->signatures == 0 ? ": the message has no DomainKey-Signature" : "");
	answer_tell(j, "key", o->key_name, o->key);
	answer_tell(j, "policy", o->policy_name, o->policy);
	reason_tell(j, o->reason);
}

static void sender_id_tell(struct judge *j)
{
	const struct senderid_outcome *o =
		senderid_state_outcome(chain_msg(j->conn, &senderid_module));

	if (o == NULL)
		return;
	printf("\nSENDER ID (historic; decides nothing)\n");
	if (o->spf != NULL)
		printf("  the Purported Responsible Address is %s, in %s\n",
		       explain_shown(&j->arena, o->pra->path.text, 255), o->pra->header);
	printf("  PRA: %s", spf_result_word(o->result));
	if (o->spf != NULL && o->spf->mechanism.n > 0)
		printf(", matched by %s", explain_shown(&j->arena, o->spf->mechanism, 200));
	putchar('\n');
	reason_tell(j, o->reason);
	if (o->mfrom != NULL)
		printf("  MAIL FROM: %s for %s\n", spf_result_word(o->mfrom->result),
		       explain_shown(&j->arena, o->mfrom->domain, 255));
}

static void adsp_tell(struct judge *j)
{
	const struct adsp_outcome *o = adsp_state_outcome(chain_msg(j->conn, &adsp_module));

	if (o == NULL)
		return;
	printf("\nADSP (historic; decides nothing)\n  %s", adsp_result_word(o->result));
	if (o->domain.n > 0)
		printf(" for %s", explain_shown(&j->arena, o->domain, 255));
	putchar('\n');
	answer_tell(j, "practices", o->record_name, o->record);
	reason_tell(j, o->reason);
}

void explain_historic(struct judge *j)
{
	domainkeys_tell(j);
	sender_id_tell(j);
	adsp_tell(j);
}
