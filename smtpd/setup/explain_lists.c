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

static void deny_tell(struct judge *j)
{
	const struct deny_hit *hit = deny_state_hit(chain_connstate(j->conn, &deny_module),
						    chain_msg(j->conn, &deny_module));

	if (hit == NULL)
		return;
	printf("  denied by \"%s\": ", explain_shown(&j->arena, hit->name, 100));
	printf("%s %s; in the server nobody else would be asked about it, and all but postmaster "
	       "and abuse hear %d\n",
	       deny_kind_word(hit->kind), explain_shown(&j->arena, hit->value, 320), hit->code);
}

static void trust_tell(struct judge *j)
{
	for (size_t i = 0; j->modules[i] != NULL; i++) {
		const struct trust_entry *e = chain_excused(j->conn, j->modules[i]);

		if (e != NULL)
			printf("  trust \"%s\" excuses it from %s\n",
			       explain_shown(&j->arena, trust_name(e), 100), j->modules[i]->name);
	}
}

static void zones_tell(struct judge *j)
{
	static const char *const then[] = {
		[DNSBL_MARK] = "which is only noted",
		[DNSBL_QUARANTINE] = "which speaks for quarantine",
		[DNSBL_REJECT] = "which speaks for a refusal",
		[DNSBL_ACCEPT] = "so no other zone objects",
	};
	size_t n;
	const struct dnsbl_finding *v =
		dnsbl_findings(chain_connstate(j->conn, &dnsbl_module),
			       chain_msg(j->conn, &dnsbl_module), &j->arena, &n);

	for (size_t i = 0; i < n; i++) {
		const char *zone = explain_shown(&j->arena, v[i].zone, 255);

		if (!v[i].asked)
			printf("  %s was not asked: there is nothing here that it lists\n", zone);
		else if (!v[i].listed)
			printf("  %s: not listed%s%s\n", zone,
			       v[i].reason.n > 0 ? ", or it does not count: " : "",
			       explain_shown(&j->arena, v[i].reason, 300));
		else
			printf("  %s lists %s with %s, %s%s%s\n", zone,
			       explain_shown(&j->arena, v[i].subject, 255),
			       explain_shown(&j->arena, v[i].answer, 20), then[v[i].action],
			       v[i].reason.n > 0 ? ": " : "",
			       explain_shown(&j->arena, v[i].reason, 300));
	}
}

static void sender_tell(struct judge *j)
{
	const struct sender_outcome *o = sender_state_outcome(chain_msg(j->conn, &sender_module));

	if (o == NULL)
		return;
	if (o->result == SENDER_GOOD)
		printf("  the sender's domain %s takes mail\n",
		       explain_shown(&j->arena, o->domain, 255));
	else
		printf("  %s (the server tells that to a recipient)\n",
		       explain_shown(&j->arena, o->reason, 400));
}

static void local_sender_tell(struct judge *j)
{
	const struct localsender_outcome *o = localsender_state_outcome(chain_msg(j->conn, &localsender_module));

	if (o != NULL && o->result == LOCALSENDER_PROVEN)
		printf("  the sender's domain is served here, and %s\n", explain_shown(&j->arena, o->reason, 100));
	else if (o != NULL)
		printf("  %s\n", explain_shown(&j->arena, o->reason, 400));
}

void explain_lists(struct judge *j)
{
	deny_tell(j);
	sender_tell(j);
	local_sender_tell(j);
	zones_tell(j);
	trust_tell(j);
}
