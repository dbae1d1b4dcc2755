/* SPDX-License-Identifier: ISC */
/*
 * judge: one message from standard input through the same chain of modules as
 * in the server, for verify and explain.
 */
#ifndef SETUP_JUDGE_H
#define SETUP_JUDGE_H

#include "modules/chain.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/knowledge.h"
#include "smtpd/setup/dns_seen.h"
#include "smtpd/setup/message_in.h"

struct judge {
	/* from the command line */
	const char *verb, *ip, *helo, *mail_from, *rcpt_to, *authserv_id, *resolver, *now, *file, *canonical;
	bool        json;

	const struct module *const *modules;
	const void **confs;
	struct knowledge   knowledge;  /* of the configuration, if there is one */
	struct deny_live   denied;
	struct arena       arena;
	struct dns_conf    dns_conf;
	str                host, authserv;
	struct peer        peer;
	struct path        rcpt;
	struct message_in  in;
	struct message     msg;
	struct loop       *loop;
	struct log         log;
	struct chain      *chain;
	struct chain_conn *conn;
	struct dns_seen    seen;       /* explain: each question and its answer */

	/* what came of it; strings live in the arena */
	struct verdict verdict;        /* the strongest of all stages */
	str            reason;         /* for action_reason */
	str            field;          /* Authentication-Results, with CRLF */
};

/* Reads options and standard input and judges; then `show` looks at the chain
 * while it is open.  Returns the exit status. */
int judge_run(struct judge *, const char *verb, int argc, char **argv, const struct module *const *modules,
              void (*show)(struct judge *));

const char *judge_action(const struct judge *);   /* "accept", "quarantine", "reject", "defer" */
void        judge_print_json(struct judge *);

#endif
