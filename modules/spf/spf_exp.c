/* SPDX-License-Identifier: ISC */
/*
 * spf_exp: the explanation of a fail (RFC 7208 6.2).  The result stands when
 * this begins; whatever goes wrong here only means that there is none, and no
 * question of it counts against a limit (4.6.4).  The loop's thread.
 */
#include "modules/spf/spf_inside.h"

static void explanation_expanded(struct spf_check *c)
{
	if (spf_needs_names(c, c->explain)) {
		spf_names_find(c, explanation_expanded);
		return;
	}
	c->out.explanation = spf_explanation(c, c->frame->domain, c->explain);
	spf_note_outcome(c, c->modifier_entry,
	                 c->out.explanation.n > 0 ? STR("used") : STR("ignored: not an explanation"));
	spf_finish(c, SPF_FAIL);
}

static void explanation_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;

	if (a->status != DNS_FOUND || a->n != 1) {
		spf_note_outcome(c, c->modifier_entry, STR("ignored: not exactly one text"));
		spf_finish(c, SPF_FAIL);
		return;
	}
	c->explain = a->rr[0].txt;
	if (spf_macro_fault(c->explain, SPF_MACROS_ALL) != NULL)
		c->explain = STR_NONE;
	explanation_expanded(c);
}

void spf_explain(struct spf_check *c)
{
	struct spf_frame *f = c->frame;
	str               spec = f->modifiers.exp, name, text;

	if (spf_unmatchable(c, spec) || spf_late(c)) {
		spf_finish(c, SPF_FAIL);
		return;
	}
	if (spf_needs_names(c, spec)) {
		spf_names_find(c, spf_explain);
		return;
	}
	text = arena_printf(&c->scratch, "exp=%.*s", STR_ARG(str_head(spec, 128)));
	c->modifier_entry = spf_note(c, text, f->domain, f->depth);
	name = spf_target(c, f, spec);
	spf_ask(c, &c->ask, name, DNS_TXT, explanation_arrived);
}
