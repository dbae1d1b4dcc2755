/* SPDX-License-Identifier: ISC */
/*
 * postern explain: a verdict told step by step to a person.
 *
 * Who talks, what SPF's terms did, what each signature covers and why it
 * failed, which DMARC records were found on the way up, where alignment failed,
 * what the owner of the domain would have to change, and every question to DNS.
 */
#include <limits.h>
#include <stdio.h>

#include "smtpd/setup/explain.h"
#include "smtpd/setup/verbs.h"

static void action_tell(struct judge *j)
{
	printf("\nACTION\n  %s", judge_action(j));
	if (j->verdict.code > 0)
		printf(" with %d %s", j->verdict.code, j->verdict.esc != NULL ? j->verdict.esc : "");
	if (j->reason.n > 0)
		printf(": %s", explain_shown(&j->arena, j->reason, 600));
	putchar('\n');
}

void explain_story(struct story *st)
{
	explain_client(st);
	explain_lists(st);
	explain_spf(st);
	explain_dkim(st);
	explain_arc(st);
	explain_dmarc(st);
	explain_historic(st);
}

static void show(struct judge *j)
{
	if (j->json) {
		judge_print_json(j);
		return;
	}
	explain_story(&(struct story){
		.out = stdout, .arena = &j->arena, .conn = j->conn, .modules = j->modules, .peer = &j->peer, .msg = &j->msg,
		.in = &j->in, .bodies = UINT_MAX, .canonical = j->canonical,
	});
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
