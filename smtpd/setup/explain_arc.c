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

static void signer_tell(struct judge *j, const char *what, const struct dkim_signature *sig,
			const char *state, str why)
{
	printf("    %s", what);
	if (sig->domain.n > 0)
		printf(" of d=%.*s s=%.*s", STR_ARG(sig->domain), STR_ARG(sig->selector));
	printf(": %s", state);
	if (why.n > 0)
		printf(" (%s)", explain_shown(&j->arena, why, 300));
	putchar('\n');
}

static void set_tell(struct judge *j, const struct arc_chain *c, unsigned i)
{
	const struct arc_set *s = &c->sets[i - 1];

	printf("  set %u", i);
	if (s->seal != NULL)
		printf(", cv=%s", arc_cv_word(s->cv));
	putchar('\n');
	if (s->seal != NULL)
		signer_tell(j, "seal", &s->seal_sig, check_word(s->seal_check),
			    str_of(s->seal_sig.fault));
	if (s->message != NULL)
		signer_tell(j, "message signature", &s->message_sig, check_word(s->message_check),
			    s->message_why);
	if (s->results != NULL)
		printf("    saw: %s\n",
		       explain_shown(&j->arena, field_unfold(&j->arena, s->payload), 400));
}

static void oldest_tell(const struct arc_chain *c)
{
	if (!c->has_oldest)
		return;
	if (c->oldest_pass == 0)
		printf("  the message is as the first sealer sent it (oldest-pass=0)\n");
	else
		printf("  the message was changed before set %u was made: older message signatures "
		       "no longer hold (oldest-pass=%u)\n",
		       c->oldest_pass, c->oldest_pass);
}

static void advice(const struct arc_chain *c)
{
	if (c->result == ARC_PASS && !c->whole)
		printf("  note: its newest message signature leaves From or some of the body "
		       "unsigned, so it vouches for nobody\n");
	if (c->result == ARC_PASS && c->whole)
		printf("  what it is worth: nothing, unless a trust entry names its sealers "
		       "(arc-sealer)\n");
	if (c->result == ARC_FAIL && c->temporary)
		printf("  to change it: try again when DNS answers; a server has to take this for "
		       "a broken chain (RFC 8617 5.2.1)\n");
	else if (c->result == ARC_FAIL && !c->ended)
		printf("  what usually happens: a server behind the newest sealer changed the "
		       "message, or a field of the chain, "
		       "and did not seal it anew\n");
}

void explain_arc(struct judge *j)
{
	const struct arc_chain *c = arc_state_chain(chain_msg(j->conn, &arc_module));

	if (c == NULL)
		return;
	printf("\nARC\n");
	if (c->result == ARC_NONE) {
		printf("  the message has no chain\n");
		return;
	}
	for (unsigned i = c->length, told = 0; c->sets != NULL && i > 0; i--, told++) {
		if (told == SETS_TOLD) {
			printf("  and %u older sets\n", i);
			break;
		}
		set_tell(j, c, i);
	}
	printf("  arc=%s, %u set%s\n", arc_result_word(c->result), c->length,
	       c->length == 1 ? "" : "s");
	if (c->reason.n > 0)
		printf("  reason: %s\n", explain_shown(&j->arena, c->reason, 500));
	oldest_tell(c);
	advice(c);
}
