/* SPDX-License-Identifier: ISC */
/*
 * postern explain: a verdict told step by step to a person.
 *
 * Who talks, what SPF's terms did, what each signature covers and why it
 * failed, which DMARC records were found on the way up, where alignment failed,
 * what the owner of the domain would have to change, and every question to DNS.
 */
#include <stdio.h>
#include <string.h>

#include "modules/dmarc/dmarc.h"
#include "modules/iprev/iprev.h"
#include "modules/spf/spf.h"
#include "smtpd/setup/explain.h"
#include "smtpd/setup/verbs.h"

/* C0 and C1 controls, and what is no UTF-8: a terminal may act on them. */
static bool is_safe(str s, size_t i, bool utf8)
{
	unsigned char c = (unsigned char)s.p[i], next = i + 1 < s.n ? (unsigned char)s.p[i + 1] : 0;

	if (c < 0x80)
		return c >= ' ' && c != 0x7f;
	return utf8 && !(c == 0xc2 && next < 0xa0);
}

const char *explain_shown(struct arena *a, str s, size_t most)
{
	char *p = arena_alloc(a, most + 4);
	bool utf8 = utf8_valid(s);
	size_t n = 0;

	if (p == NULL)
		return "";
	for (; n < s.n && n < most; n++)
		p[n] = is_safe(s, n, utf8) ? s.p[n] : '?';
	memcpy(p + n, s.n > most ? "..." : "", s.n > most ? 4 : 1);
	return p;
}

/* ---- the connection ------------------------------------------------------- */

static void connection_tell(struct judge *j)
{
	const void *conn = chain_connstate(j->conn, &iprev_module);
	const struct iprev_outcome *o = conn == NULL ? NULL : iprev_state_outcome(conn);

	printf("CLIENT\n  address %s, HELO %s\n", j->ip, explain_shown(&j->arena, j->peer.helo, 200));
	if (o == NULL || o->result == IPREV_NOT_DONE)
		return;
	printf("  iprev=%s", iprev_result_word(o->result));
	if (o->name.n > 0)
		printf(": its name is %s%s", explain_shown(&j->arena, o->name, 200),
		       o->result == IPREV_PASS ? o->helo_matches ? ", the same as in HELO" : ", another than in HELO" : "");
	if (o->reason.n > 0)
		printf(" (%s)", explain_shown(&j->arena, o->reason, 300));
	putchar('\n');
}

/* ---- SPF ------------------------------------------------------------------ */

static void spf_advice(struct judge *j, const struct spf_outcome *o)
{
	const char *domain = explain_shown(&j->arena, o->domain, 255);

	if (o->result == SPF_FAIL || o->result == SPF_SOFTFAIL || o->result == SPF_NEUTRAL)
		printf("  to change it: if %s may send for %s, its owner adds it to the record (ip4: or ip6:, a, mx, include)\n",
		       j->ip, domain);
	else if (o->result == SPF_NONE)
		printf("  to change it: the owner of %s publishes a TXT record that begins with v=spf1\n", domain);
	else if (o->result == SPF_PERMERROR)
		printf("  to change it: the owner of %s mends the record\n", domain);
}

static void spf_outcome_tell(struct judge *j, const char *what, const struct spf_outcome *o)
{
	if (o == NULL)
		return;
	printf("  %s: %s for %s", what, spf_result_word(o->result), explain_shown(&j->arena, o->domain, 255));
	if (o->mechanism.n > 0)
		printf(", matched by %s", explain_shown(&j->arena, o->mechanism, 200));
	printf(" (%u look-ups of 10, %u void)\n", o->lookups, o->voids);
	for (size_t i = 0; i < o->nterms; i++) {
		const struct spf_term *t = &o->terms[i];

		printf("    %*s%s: %s -> %s\n", (int)(2 * t->depth), "", explain_shown(&j->arena, t->domain, 255),
		       explain_shown(&j->arena, t->text, 200), explain_shown(&j->arena, t->outcome, 200));
	}
	if (o->reason.n > 0)
		printf("  reason: %s\n", explain_shown(&j->arena, o->reason, 500));
	if (o->explanation.n > 0)
		printf("  the domain's own explanation: %s\n", explain_shown(&j->arena, o->explanation, 500));
	spf_advice(j, o);
}

static void spf_tell(struct judge *j)
{
	const void *state = chain_msg(j->conn, &spf_module);

	if (state == NULL)
		return;
	printf("\nSPF\n");
	spf_outcome_tell(j, j->msg.sender.is_null ? "MAIL FROM <>, so HELO" : "MAIL FROM", spf_state_mfrom(state));
	if (!j->msg.sender.is_null)
		spf_outcome_tell(j, "HELO", spf_state_helo(state));
}

/* ---- DMARC ---------------------------------------------------------------- */

static void steps_tell(struct judge *j, const struct dmarc_outcome *o)
{
	for (size_t i = 0; i < o->nsteps; i++) {
		const struct dmarc_step *s = &o->steps[i];

		printf("  asked %.*s -> %s", STR_ARG(s->name), dns_status_text(s->status));
		if (s->records > 1)
			printf(": %zu DMARC records, so none counts", s->records);
		else if (s->records == 1)
			printf(": %s", explain_shown(&j->arena, s->record, 200));
		else if (s->status == DNS_FOUND && str_starts(s->name, "_dmarc."))
			printf(": no DMARC record");
		putchar('\n');
	}
}

/* Why it is not aligned: it is not identical, or of another organization. */
static void misalignment_tell(struct judge *j, const struct dmarc_outcome *o, const struct dmarc_identifier *id)
{
	bool strict = o->parsed != NULL && (id->dkim ? o->parsed->adkim_strict : o->parsed->aspf_strict);

	if (strict)
		printf(": the record asks for the very name (%s=s), and this is another", id->dkim ? "adkim" : "aspf");
	else if (id->org.n > 0 && o->org_domain.n > 0)
		printf(": its Organizational Domain is %s, the author's is %s", explain_shown(&j->arena, id->org, 255),
		       explain_shown(&j->arena, o->org_domain, 255));
	else if (o->result == DMARC_NONE)
		printf(": no record applies, so nothing is compared");
	else
		printf(": it is of another organization than the author's");
}

static void identifiers_tell(struct judge *j, const struct dmarc_outcome *o)
{
	static const char *const words[] = {
		[DMARC_UNALIGNED] = "not aligned", [DMARC_ALIGNED] = "aligned", [DMARC_ALIGN_UNKNOWN] = "not known for now",
	};

	for (size_t i = 0; i < o->nids && i < 20; i++) {
		const struct dmarc_identifier *id = &o->ids[i];

		printf("  %s %s %.*s: %s", id->dkim ? "DKIM" : "SPF", id->open ? "left open for" : "passed for",
		       STR_ARG(id->domain), words[id->align]);
		if (id->align == DMARC_UNALIGNED)
			misalignment_tell(j, o, id);
		putchar('\n');
	}
	if (o->nids == 0 && o->from_domain.n > 0)
		printf("  neither SPF nor a signature passed, so nothing could align\n");
}

static void dmarc_advice(const struct dmarc_outcome *o)
{
	if (o->result == DMARC_NONE)
		printf("  to change it: the owner of %.*s publishes a record at _dmarc.%.*s\n", STR_ARG(o->from_domain),
		       STR_ARG(o->from_domain));
	if (o->result != DMARC_FAIL)
		return;
	printf("  to change it: mail from %.*s is signed with d=%.*s%s, or sent with a MAIL FROM of that domain whose SPF passes\n",
	       STR_ARG(o->from_domain), STR_ARG(o->from_domain),
	       o->parsed != NULL && o->parsed->adkim_strict ? " exactly (adkim=s)" : " or another domain of the same organization");
}

static void dmarc_tell(struct judge *j)
{
	const void *state = chain_msg(j->conn, &dmarc_module);
	const struct dmarc_outcome *o = dmarc_state_outcome(state);

	if (o == NULL)
		return;
	printf("\nDMARC\n");
	if (o->from_domain.n > 0)
		printf("  the Author Domain is %s\n", explain_shown(&j->arena, o->from_domain, 255));
	steps_tell(j, o);
	if (o->policy_domain.n > 0)
		printf("  the record of %.*s applies", STR_ARG(o->policy_domain));
	if (o->policy_domain.n > 0 && o->has_policy)
		printf(": policy %s%s", dmarc_policy_word(o->published), o->testing ? ", in testing (t=y: one level down)" : "");
	if (o->policy_domain.n > 0)
		putchar('\n');
	if (o->org_domain.n > 0)
		printf("  the Organizational Domain is %.*s\n", STR_ARG(o->org_domain));
	identifiers_tell(j, o);
	printf("  dmarc=%s, disposition %s\n", dmarc_result_word(o->result), dmarc_policy_word(o->disposition));
	if (o->reason.n > 0)
		printf("  reason: %s\n", explain_shown(&j->arena, o->reason, 500));
	if (dmarc_override_word(dmarc_state_override(state)) != NULL)
		printf("  softened: %s\n", dmarc_override_word(dmarc_state_override(state)));
	dmarc_advice(o);
}

static void action_tell(struct judge *j)
{
	printf("\nACTION\n  %s", judge_action(j));
	if (j->verdict.code > 0)
		printf(" with %d %s", j->verdict.code, j->verdict.esc != NULL ? j->verdict.esc : "");
	if (j->reason.n > 0)
		printf(": %s", explain_shown(&j->arena, j->reason, 600));
	putchar('\n');
}

static void show(struct judge *j)
{
	if (j->json) {
		judge_print_json(j);
		return;
	}
	connection_tell(j);
	explain_lists(j);
	spf_tell(j);
	explain_dkim(j);
	explain_arc(j);
	dmarc_tell(j);
	explain_historic(j);
	explain_dns(j);
	action_tell(j);
	putchar('\n');
	message_out(stdout, &(struct message_in){ .crlf = false }, j->field);
}

int verb_explain(int argc, char **argv, const struct module *const *modules)
{
	struct judge j;

	return judge_run(&j, "explain", argc, argv, modules, show);
}
