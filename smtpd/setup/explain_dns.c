/* SPDX-License-Identifier: ISC */
/*
 * explain_dns: every question that the judgement asked, and what came back.
 */
#include <stdio.h>

#include "smtpd/setup/explain.h"

static void sight_tell(struct judge *j, const struct dns_sight *s)
{
	printf("  %s %s -> %s%s", dns_seen_type(s->type), explain_shown(&j->arena, s->name, 255),
	       dns_status_text(s->status), s->secure ? ", by DNSSEC" : "");
	if (s->canonical.n > 0)
		printf(", an alias of %s", explain_shown(&j->arena, s->canonical, 255));
	if (s->why.n > 0)
		printf(" (%s)", explain_shown(&j->arena, s->why, 200));
	putchar('\n');
	for (size_t i = 0; i < s->n; i++)
		printf("    %s\n", explain_shown(&j->arena, s->records[i], 500));
	if (s->more > 0)
		printf("    and %zu more\n", s->more);
}

void explain_dns(struct judge *j)
{
	if (j->seen.n == 0)
		return;
	printf("\nDNS\n");
	for (size_t i = 0; i < j->seen.n; i++)
		sight_tell(j, &j->seen.v[i]);
	if (j->seen.more > 0)
		printf("  and %zu more questions\n", j->seen.more);
}
