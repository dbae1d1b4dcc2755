/* SPDX-License-Identifier: ISC */
/*
 * explain_dmarc: which records were found on the way up, what aligned and what
 * did not, and the policy that follows.
 */
#include <stdio.h>

#include "modules/dmarc/dmarc.h"
#include "smtpd/setup/explain.h"

static void steps_tell(struct story *st, const struct dmarc_outcome *o)
{
	for (size_t i = 0; i < o->nsteps; i++) {
		const struct dmarc_step *s = &o->steps[i];

		fprintf(st->out, "  asked %.*s -> %s", STR_ARG(s->name), dns_status_text(s->status));
		if (s->records > 1)
			fprintf(st->out, ": %zu DMARC records, so none counts", s->records);
		else if (s->records == 1)
			fprintf(st->out, ": %s", explain_shown(st->arena, s->record, 200));
		else if (s->status == DNS_FOUND && str_starts(s->name, "_dmarc."))
			fprintf(st->out, ": no DMARC record");
		putc('\n', st->out);
	}
}

/* Why it is not aligned: it is not identical, or of another organization. */
static void misalignment_tell(struct story *st, const struct dmarc_outcome *o, const struct dmarc_identifier *id)
{
	bool strict = o->parsed != NULL && (id->dkim ? o->parsed->adkim_strict : o->parsed->aspf_strict);

	if (strict)
		fprintf(st->out, ": the record asks for the very name (%s=s), and this is another", id->dkim ? "adkim" : "aspf");
	else if (id->org.n > 0 && o->org_domain.n > 0)
		fprintf(st->out, ": its Organizational Domain is %s, the author's is %s", explain_shown(st->arena, id->org, 255),
		       explain_shown(st->arena, o->org_domain, 255));
	else if (o->result == DMARC_NONE)
		fprintf(st->out, ": no record applies, so nothing is compared");
	else
		fprintf(st->out, ": it is of another organization than the author's");
}

static void identifiers_tell(struct story *st, const struct dmarc_outcome *o)
{
	static const char *const words[] = {
		[DMARC_UNALIGNED] = "not aligned", [DMARC_ALIGNED] = "aligned", [DMARC_ALIGN_UNKNOWN] = "not known for now",
	};

	for (size_t i = 0; i < o->nids && i < 20; i++) {
		const struct dmarc_identifier *id = &o->ids[i];

		fprintf(st->out, "  %s %s %.*s: %s", id->dkim ? "DKIM" : "SPF", id->open ? "left open for" : "passed for",
		       STR_ARG(id->domain), words[id->align]);
		if (id->align == DMARC_UNALIGNED)
			misalignment_tell(st, o, id);
		putc('\n', st->out);
	}
	if (o->nids == 0 && o->from_domain.n > 0)
		fprintf(st->out, "  neither SPF nor a signature passed, so nothing could align\n");
}

static void dmarc_advice(struct story *st, const struct dmarc_outcome *o)
{
	if (o->result == DMARC_NONE)
		fprintf(st->out, "  to change it: the owner of %.*s publishes a record at _dmarc.%.*s\n", STR_ARG(o->from_domain),
		       STR_ARG(o->from_domain));
	if (o->result != DMARC_FAIL)
		return;
	fprintf(st->out, "  to change it: mail from %.*s is signed with d=%.*s%s, or sent with a MAIL FROM of that domain whose SPF passes\n",
	       STR_ARG(o->from_domain), STR_ARG(o->from_domain),
	       o->parsed != NULL && o->parsed->adkim_strict ? " exactly (adkim=s)" : " or another domain of the same organization");
}

void explain_dmarc(struct story *st)
{
	const void *state = chain_msg(st->conn, &dmarc_module);
	const struct dmarc_outcome *o = dmarc_state_outcome(state);

	if (o == NULL)
		return;
	fprintf(st->out, "\nDMARC\n");
	if (o->from_domain.n > 0)
		fprintf(st->out, "  the Author Domain is %s\n", explain_shown(st->arena, o->from_domain, 255));
	steps_tell(st, o);
	if (o->policy_domain.n > 0)
		fprintf(st->out, "  the record of %.*s applies", STR_ARG(o->policy_domain));
	if (o->policy_domain.n > 0 && o->has_policy)
		fprintf(st->out, ": policy %s%s", dmarc_policy_word(o->published), o->testing ? ", in testing (t=y: one level down)" : "");
	if (o->policy_domain.n > 0)
		putc('\n', st->out);
	if (o->org_domain.n > 0)
		fprintf(st->out, "  the Organizational Domain is %.*s\n", STR_ARG(o->org_domain));
	identifiers_tell(st, o);
	fprintf(st->out, "  dmarc=%s, disposition %s\n", dmarc_result_word(o->result), dmarc_policy_word(o->disposition));
	if (o->reason.n > 0)
		fprintf(st->out, "  reason: %s\n", explain_shown(st->arena, o->reason, 500));
	if (dmarc_override_word(dmarc_state_override(state)) != NULL)
		fprintf(st->out, "  softened: %s\n", dmarc_override_word(dmarc_state_override(state)));
	dmarc_advice(st, o);
}
