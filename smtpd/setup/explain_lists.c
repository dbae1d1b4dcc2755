/* SPDX-License-Identifier: ISC */
/*
 * explain_lists: what lists say about who sends: deny, trust, block lists, and
 * whether the sender's domain takes mail.
 */
#include <stdio.h>

#include "modules/dnsbl/dnsbl.h"
#include "modules/localsender/localsender.h"
#include "modules/sender/sender.h"
#include "smtpd/setup/explain.h"

static void deny_tell(struct story *st)
{
	const struct deny_hit *hit = deny_state_hit(chain_connstate(st->conn, &deny_module),
						    chain_msg(st->conn, &deny_module));

	if (hit == NULL)
		return;
	fprintf(st->out, "  denied by \"%s\": ", explain_shown(st->arena, hit->name, 100));
	fprintf(st->out, "%s %s; in the server nobody else would be asked about it, and all but postmaster "
	       "and abuse hear %d\n",
	       deny_kind_word(hit->kind), explain_shown(st->arena, hit->value, 320), hit->code);
}

static void trust_tell(struct story *st)
{
	for (size_t i = 0; st->modules != NULL && st->modules[i] != NULL; i++) {
		const struct trust_entry *e = chain_excused(st->conn, st->modules[i]);

		if (e != NULL)
			fprintf(st->out, "  trust \"%s\" excuses it from %s\n",
			       explain_shown(st->arena, trust_name(e), 100), st->modules[i]->name);
	}
}

static void zones_tell(struct story *st)
{
	static const char *const then[] = {
		[DNSBL_MARK] = "which is only noted",
		[DNSBL_QUARANTINE] = "which speaks for quarantine",
		[DNSBL_REJECT] = "which speaks for a refusal",
		[DNSBL_ACCEPT] = "so no other zone objects",
	};
	size_t n;
	const struct dnsbl_finding *v =
		dnsbl_findings(chain_connstate(st->conn, &dnsbl_module),
			       chain_msg(st->conn, &dnsbl_module), st->arena, &n);

	for (size_t i = 0; i < n; i++) {
		const char *zone = explain_shown(st->arena, v[i].zone, 255);

		if (!v[i].asked)
			fprintf(st->out, "  %s was not asked: there is nothing here that it lists\n", zone);
		else if (!v[i].listed)
			fprintf(st->out, "  %s: not listed%s%s\n", zone,
			       v[i].reason.n > 0 ? ", or it does not count: " : "",
			       explain_shown(st->arena, v[i].reason, 300));
		else
			fprintf(st->out, "  %s lists %s with %s, %s%s%s\n", zone,
			       explain_shown(st->arena, v[i].subject, 255),
			       explain_shown(st->arena, v[i].answer, 20), then[v[i].action],
			       v[i].reason.n > 0 ? ": " : "",
			       explain_shown(st->arena, v[i].reason, 300));
	}
}

static void sender_tell(struct story *st)
{
	const struct sender_outcome *o = sender_state_outcome(chain_msg(st->conn, &sender_module));

	if (o == NULL)
		return;
	if (o->result == SENDER_GOOD)
		fprintf(st->out, "  the sender's domain %s takes mail\n",
		       explain_shown(st->arena, o->domain, 255));
	else
		fprintf(st->out, "  %s (the server tells that to a recipient)\n",
		       explain_shown(st->arena, o->reason, 400));
}

static void local_sender_tell(struct story *st)
{
	const struct localsender_outcome *o = localsender_state_outcome(chain_msg(st->conn, &localsender_module));

	if (o != NULL && o->result == LOCALSENDER_PROVEN)
		fprintf(st->out, "  the sender's domain is served here, and %s\n", explain_shown(st->arena, o->reason, 100));
	else if (o != NULL)
		fprintf(st->out, "  %s\n", explain_shown(st->arena, o->reason, 400));
}

void explain_lists(struct story *st)
{
	deny_tell(st);
	sender_tell(st);
	local_sender_tell(st);
	zones_tell(st);
	trust_tell(st);
}
