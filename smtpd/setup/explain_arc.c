/* SPDX-License-Identifier: ISC */
/*
 * explain_arc: the chain, set by set, newest first: who sealed, what they said
 * that they saw, and which signature breaks it.
 */
#include <stdio.h>

#include "modules/arc/arc.h"
#include "smtpd/setup/explain.h"

#define SETS_TOLD 10

static const char *check_word(enum arc_check c)
{
	static const char *const words[] = {
		[ARC_UNTRIED] = "not looked at",
		[ARC_VALID] = "holds",
		[ARC_BROKEN] = "does not hold",
	};

	return words[c];
}

static void signer_tell(struct story *st, const char *what, const struct dkim_signature *sig,
			const char *state, str why)
{
	fprintf(st->out, "    %s", what);
	if (sig->domain.n > 0)
		fprintf(st->out, " of d=%.*s s=%.*s", STR_ARG(sig->domain), STR_ARG(sig->selector));
	fprintf(st->out, ": %s", state);
	if (why.n > 0)
		fprintf(st->out, " (%s)", explain_shown(st->arena, why, 300));
	putc('\n', st->out);
}

static void set_tell(struct story *st, const struct arc_chain *c, unsigned i)
{
	const struct arc_set *s = &c->sets[i - 1];

	fprintf(st->out, "  set %u", i);
	if (s->seal != NULL)
		fprintf(st->out, ", cv=%s", arc_cv_word(s->cv));
	putc('\n', st->out);
	if (s->seal != NULL)
		signer_tell(st, "seal", &s->seal_sig, check_word(s->seal_check),
			    str_of(s->seal_sig.fault));
	if (s->message != NULL)
		signer_tell(st, "message signature", &s->message_sig, check_word(s->message_check),
			    s->message_why);
	if (s->results != NULL)
		fprintf(st->out, "    saw: %s\n",
		       explain_shown(st->arena, field_unfold(st->arena, s->payload), 400));
}

static void oldest_tell(struct story *st, const struct arc_chain *c)
{
	if (!c->has_oldest)
		return;
	if (c->oldest_pass == 0)
		fprintf(st->out, "  the message is as the first sealer sent it (oldest-pass=0)\n");
	else
		fprintf(st->out, "  the message was changed before set %u was made: older message signatures "
		       "no longer hold (oldest-pass=%u)\n",
		       c->oldest_pass, c->oldest_pass);
}

static void advice(struct story *st, const struct arc_chain *c)
{
	if (c->result == ARC_PASS && !c->whole)
		fprintf(st->out, "  note: its newest message signature leaves From or some of the body "
		       "unsigned, so it vouches for nobody\n");
	if (c->result == ARC_PASS && c->whole)
		fprintf(st->out, "  what it is worth: nothing, unless a trust entry names its sealers "
		       "(arc-sealer)\n");
	if (c->result == ARC_FAIL && c->temporary)
		fprintf(st->out, "  to change it: try again when DNS answers; a server has to take this for "
		       "a broken chain (RFC 8617 5.2.1)\n");
	else if (c->result == ARC_FAIL && !c->ended)
		fprintf(st->out, "  what usually happens: a server behind the newest sealer changed the "
		       "message, or a field of the chain, "
		       "and did not seal it anew\n");
}

void explain_arc(struct story *st)
{
	const struct arc_chain *c = arc_state_chain(chain_msg(st->conn, &arc_module));

	if (c == NULL)
		return;
	fprintf(st->out, "\nARC\n");
	if (c->result == ARC_NONE) {
		fprintf(st->out, "  the message has no chain\n");
		return;
	}
	for (unsigned i = c->length, told = 0; c->sets != NULL && i > 0; i--, told++) {
		if (told == SETS_TOLD) {
			fprintf(st->out, "  and %u older sets\n", i);
			break;
		}
		set_tell(st, c, i);
	}
	fprintf(st->out, "  arc=%s, %u set%s\n", arc_result_word(c->result), c->length,
	       c->length == 1 ? "" : "s");
	if (c->reason.n > 0)
		fprintf(st->out, "  reason: %s\n", explain_shown(st->arena, c->reason, 500));
	oldest_tell(st, c);
	advice(st, c);
}
