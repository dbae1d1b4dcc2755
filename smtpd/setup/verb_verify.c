/* SPDX-License-Identifier: ISC */
/*
 * postern verify: the Authentication-Results that the server would add, or all
 * results as one JSON document (CONTRACT: the shape is a promise).
 */
#include <stdio.h>

#include "modules/adsp/adsp.h"
#include "modules/arc/arc.h"
#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "modules/dnsbl/dnsbl.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/iprev/iprev.h"
#include "modules/senderid/senderid.h"
#include "modules/spf/spf.h"
#include "smtpd/setup/judge.h"
#include "smtpd/setup/verbs.h"

static str or_null(str s)
{
	return s.n > 0 ? s : STR_NONE;
}

static void spf_show(struct json *root, const char *key, const struct spf_outcome *o)
{
	struct json *j;

	if (o == NULL) {
		json_set_null(root, key);
		return;
	}
	j = json_set_object(root, key);
	json_set_c(j, "result", spf_result_word(o->result));
	json_set(j, "domain", or_null(o->domain));
	json_set_c(j, "scope", o->scope == SPF_HELO ? "helo" : "mfrom");
	json_set(j, "mechanism", or_null(o->mechanism));
	json_set(j, "explanation", or_null(o->explanation));
}

static void signature_show(struct json *j, const struct dkim_verdict *v)
{
	json_set_c(j, "result", dkim_result_word(v->result));
	json_set(j, "domain", or_null(v->sig.domain));
	json_set(j, "selector", or_null(v->sig.selector));
	json_set(j, "algorithm", or_null(v->sig.algorithm_text));
	json_set(j, "identity", or_null(v->sig.identity));
	if (v->key_bits > 0)
		json_set_num(j, "key_bits", v->key_bits);
	else
		json_set_null(j, "key_bits");
	json_set_bool(j, "testing", v->testing);
	json_set(j, "reason", or_null(v->reason));
}

static void dkim_show(struct json *root, const void *state)
{
	struct json *list;
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	if (!dkim_state_judged(state)) {
		json_set_null(root, "dkim");
		return;
	}
	list = json_set_array(root, "dkim");
	for (size_t i = 0; i < n; i++)
		signature_show(json_add_object(list), &v[i]);
}

/* true, false, or null where DNS left it open. */
static void alignment_show(struct json *j, const char *key, const struct dmarc_outcome *o, bool dkim, bool aligned)
{
	bool unknown = false;

	for (size_t i = 0; i < o->nids; i++)
		unknown = unknown || (o->ids[i].dkim == dkim && o->ids[i].align == DMARC_ALIGN_UNKNOWN);
	if (unknown && !aligned)
		json_set_null(j, key);
	else
		json_set_bool(j, key, aligned);
}

static void dmarc_show(struct json *root, const struct dmarc_outcome *o)
{
	struct json *j, *align;

	if (o == NULL) {
		json_set_null(root, "dmarc");
		return;
	}
	j = json_set_object(root, "dmarc");
	json_set_c(j, "result", dmarc_result_word(o->result));
	json_set(j, "from_domain", or_null(o->from_domain));
	json_set(j, "policy_domain", or_null(o->policy_domain));
	json_set(j, "org_domain", or_null(o->org_domain));
	json_set_c(j, "policy", o->policy_domain.n > 0 && o->has_policy ? dmarc_policy_word(o->published) : NULL);
	align = json_set_object(j, "alignment");
	alignment_show(align, "spf", o, false, o->spf_aligned);
	alignment_show(align, "dkim", o, true, o->dkim_aligned);
	json_set_c(j, "disposition", dmarc_policy_word(o->disposition));
	json_set(j, "reason", or_null(o->reason));
}

static void arc_show(struct json *root, const struct arc_chain *c)
{
	struct json *j;

	if (c == NULL) {
		json_set_null(root, "arc");
		return;
	}
	j = json_set_object(root, "arc");
	json_set_c(j, "result", arc_result_word(c->result));
	json_set_num(j, "chain", c->length);
	json_set(j, "sealer", c->length > 0 ? or_null(c->sets[c->length - 1].seal_sig.domain) : STR_NONE);
	json_set(j, "reason", or_null(c->reason));
}

static void iprev_show(struct json *root, const struct iprev_outcome *o)
{
	struct json *j;

	if (o == NULL || o->result == IPREV_NOT_DONE) {
		json_set_null(root, "iprev");
		return;
	}
	j = json_set_object(root, "iprev");
	json_set_c(j, "result", iprev_result_word(o->result));
	json_set(j, "name", or_null(o->name));
}

static void domainkeys_show(struct json *root, const struct domainkeys_outcome *o)
{
	struct json *j;

	if (o == NULL) {
		json_set_null(root, "domainkeys");
		return;
	}
	j = json_set_object(root, "domainkeys");
	json_set_c(j, "result", domainkeys_result_word(o->result));
	json_set(j, "domain", or_null(o->domain));
	json_set(j, "selector", or_null(o->selector));
	json_set(j, "reason", or_null(o->reason));
}

/* The PRA's result; "mfrom" has the same test of the envelope sender. */
static void sender_id_show(struct json *root, const struct senderid_outcome *o)
{
	struct json *j, *mfrom;

	if (o == NULL) {
		json_set_null(root, "sender_id");
		return;
	}
	j = json_set_object(root, "sender_id");
	json_set_c(j, "result", spf_result_word(o->result));
	json_set(j, "domain", or_null(o->domain));
	json_set_c(j, "header", o->pra->field != NULL ? o->pra->header : NULL);
	json_set(j, "reason", or_null(o->reason));
	if (o->mfrom == NULL)
		return;
	mfrom = json_set_object(j, "mfrom");
	json_set_c(mfrom, "result", spf_result_word(o->mfrom->result));
	json_set(mfrom, "domain", or_null(o->mfrom->domain));
}

static void adsp_show(struct json *root, const struct adsp_outcome *o)
{
	struct json *j;

	if (o == NULL) {
		json_set_null(root, "adsp");
		return;
	}
	j = json_set_object(root, "adsp");
	json_set_c(j, "result", adsp_result_word(o->result));
	json_set(j, "reason", or_null(o->reason));
}

static void dnsbl_show(struct json *root, struct judge *j)
{
	size_t n;
	const struct dnsbl_finding *v = dnsbl_findings(chain_connstate(j->conn, &dnsbl_module),
	                                               chain_msg(j->conn, &dnsbl_module), &j->arena, &n);
	struct json *list;

	if (n == 0) {
		json_set_null(root, "dnsbl");
		return;
	}
	list = json_set_array(root, "dnsbl");
	for (size_t i = 0; i < n; i++) {
		struct json *one = json_add_object(list);

		json_set(one, "zone", v[i].zone);
		json_set_bool(one, "listed", v[i].listed);
		json_set(one, "reason", or_null(v[i].reason));
	}
}

void judge_print_json(struct judge *j)
{
	struct json *root = json_new_object();
	const void *spf = chain_msg(j->conn, &spf_module), *iprev = chain_connstate(j->conn, &iprev_module);

	spf_show(root, "spf", spf == NULL ? NULL : spf_state_mfrom(spf));
	spf_show(root, "spf_helo", spf == NULL ? NULL : spf_state_helo(spf));
	dkim_show(root, chain_msg(j->conn, &dkim_module));
	domainkeys_show(root, domainkeys_state_outcome(chain_msg(j->conn, &domainkeys_module)));
	sender_id_show(root, senderid_state_outcome(chain_msg(j->conn, &senderid_module)));
	arc_show(root, arc_state_chain(chain_msg(j->conn, &arc_module)));
	dmarc_show(root, dmarc_state_outcome(chain_msg(j->conn, &dmarc_module)));
	iprev_show(root, iprev == NULL ? NULL : iprev_state_outcome(iprev));
	adsp_show(root, adsp_state_outcome(chain_msg(j->conn, &adsp_module)));
	dnsbl_show(root, j);
	json_set_c(root, "action", judge_action(j));
	json_set(root, "action_reason", j->reason.n > 0 ? j->reason : STR(""));
	json_print(root, stdout);
}

static void show(struct judge *j)
{
	if (j->json)
		judge_print_json(j);
	else
		message_out(stdout, &(struct message_in){ .crlf = false }, j->field);
}

int verb_verify(int argc, char **argv, const struct module *const *modules)
{
	struct judge j;

	return judge_run(&j, "verify", argc, argv, modules, show);
}
