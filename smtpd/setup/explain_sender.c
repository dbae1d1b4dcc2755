/* SPDX-License-Identifier: ISC */
/*
 * explain_sender: who talks, whether its address has a name, and what SPF's terms did.
 */
#include <stdio.h>
#include <string.h>

#include "modules/iprev/iprev.h"
#include "modules/spf/spf.h"
#include "smtpd/setup/explain.h"

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

void explain_client(struct story *st)
{
	const void *conn = chain_connstate(st->conn, &iprev_module);
	const struct iprev_outcome *o = conn == NULL ? NULL : iprev_state_outcome(conn);

	fprintf(st->out, "CLIENT\n  address %.*s, HELO %s\n", STR_ARG(st->peer->ip), explain_shown(st->arena, st->peer->helo, 200));
	if (o == NULL || o->result == IPREV_NOT_DONE)
		return;
	fprintf(st->out, "  iprev=%s", iprev_result_word(o->result));
	if (o->name.n > 0)
		fprintf(st->out, ": its name is %s%s", explain_shown(st->arena, o->name, 200),
		       o->result == IPREV_PASS ? o->helo_matches ? ", the same as in HELO" : ", another than in HELO" : "");
	if (o->reason.n > 0)
		fprintf(st->out, " (%s)", explain_shown(st->arena, o->reason, 300));
	putc('\n', st->out);
}

/* ---- SPF ------------------------------------------------------------------ */

static void spf_advice(struct story *st, const struct spf_outcome *o)
{
	const char *domain = explain_shown(st->arena, o->domain, 255);

	if (o->result == SPF_FAIL || o->result == SPF_SOFTFAIL || o->result == SPF_NEUTRAL)
		fprintf(st->out, "  to change it: if %.*s may send for %s, its owner adds it to the record (ip4: or ip6:, a, mx, include)\n",
		       STR_ARG(st->peer->ip), domain);
	else if (o->result == SPF_NONE)
		fprintf(st->out, "  to change it: the owner of %s publishes a TXT record that begins with v=spf1\n", domain);
	else if (o->result == SPF_PERMERROR)
		fprintf(st->out, "  to change it: the owner of %s mends the record\n", domain);
}

static void spf_outcome_tell(struct story *st, const char *what, const struct spf_outcome *o)
{
	if (o == NULL)
		return;
	fprintf(st->out, "  %s: %s for %s", what, spf_result_word(o->result), explain_shown(st->arena, o->domain, 255));
	if (o->mechanism.n > 0)
		fprintf(st->out, ", matched by %s", explain_shown(st->arena, o->mechanism, 200));
	fprintf(st->out, " (%u look-up%s of 10, %u void)\n", o->lookups, o->lookups == 1 ? "" : "s", o->voids);
	for (size_t i = 0; i < o->nterms; i++) {
		const struct spf_term *t = &o->terms[i];

		fprintf(st->out, "    %*s%s: %s -> %s\n", (int)(2 * t->depth), "", explain_shown(st->arena, t->domain, 255),
		       explain_shown(st->arena, t->text, 200), explain_shown(st->arena, t->outcome, 200));
	}
	if (o->reason.n > 0)
		fprintf(st->out, "  reason: %s\n", explain_shown(st->arena, o->reason, 500));
	if (o->explanation.n > 0)
		fprintf(st->out, "  the domain's own explanation: %s\n", explain_shown(st->arena, o->explanation, 500));
	spf_advice(st, o);
}

void explain_spf(struct story *st)
{
	const void *state = chain_msg(st->conn, &spf_module);

	if (state == NULL)
		return;
	fprintf(st->out, "\nSPF\n");
	spf_outcome_tell(st, st->msg->sender.is_null ? "MAIL FROM <>, so HELO" : "MAIL FROM", spf_state_mfrom(state));
	if (!st->msg->sender.is_null)
		spf_outcome_tell(st, "HELO", spf_state_helo(state));
}
