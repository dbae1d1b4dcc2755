/* SPDX-License-Identifier: ISC */
/*
 * postern seal: a message in, the same message with one more ARC set in front
 * out (RFC 8617 5.1).  The chain that is there goes through the server's own
 * module, on a loop of its own; the results that are sealed are those that the
 * message carries under --authserv-id.
 */
#include <unistd.h>

#include "modules/arc/arc.h"
#include "modules/chain.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/loop.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/sign_options.h"
#include "smtpd/setup/verbs.h"

struct sealing {
	struct sign_options options;
	struct arena        arena;
	struct dns_conf     dns;
	struct message_in   in;
	struct message      msg;
	struct peer         peer;
	struct path         nobody;
	struct log          log;
	struct loop        *loop;
	struct chain_conn  *conn;
};

static const struct module *const only_arc[] = { &arc_module, NULL };

/* ---- settings ----------------------------------------------------------------- */

static int configuration_read(struct sealing *s, const char *file)
{
	int status = EXIT_DONE;
	struct config *c = verb_config("seal", file, &s->arena, &status);

	if (c == NULL)
		return status;
	s->dns.forward = c->resolver.forward;
	s->dns.trust_anchor = config_trust_anchor(c);
	s->dns.timeout_ms = c->resolver.timeout_ms;
	return EXIT_DONE;
}

static int settings_read(struct sealing *s)
{
	const struct sign_options *o = &s->options;
	struct endpoint at;

	s->dns.timeout_ms = 5000;
	if (o->resolver == NULL) {
		const char *file = o->file != NULL ? o->file : CONFIG_FILE;

		if (o->file == NULL && access(CONFIG_FILE, R_OK) != 0)
			return EXIT_DONE;
		return configuration_read(s, file);
	}
	if (!endpoint_parse(str_of(o->resolver), 53, &at) || at.is_name || at.is_unix)
		return verb_misused("seal", "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300",
				    o->resolver);
	s->dns.only = str_of(o->resolver);
	s->dns.local_special = true;
	return EXIT_DONE;
}

/* ---- the set -------------------------------------------------------------------- */

static int refused(const struct arc_chain *c)
{
	if (c->temporary)
		return verb_fail(EXIT_LATER, "seal",
				 "the chain cannot be judged now: %.*s: try again later",
				 STR_ARG(c->reason));
	return verb_fail(EXIT_FINDING, "seal",
			 "the chain has %u sets, and no more are allowed (RFC 8617 4.2.1)",
			 c->length);
}

static int set_write(struct sealing *s, const struct arc_chain *c, str body_hash)
{
	const struct sign_options *o = &s->options;
	struct arc_sealed made;
	str payload = arc_results_gather(&s->arena, s->msg.fields, str_of(o->authserv_id));
	enum err e = arc_seal(&o->signer, c, s->msg.fields, payload, body_hash, o->when, &s->arena,
			      &made);

	if (e != OK)
		return verb_fail(e == ERR_MEMORY ? EXIT_LATER : EXIT_FINDING, "seal",
				 "the message cannot be sealed: %s",
				 e == ERR_BAD ? "its header has more fields than h= can name"
					      : err_text(e));
	message_out(stdout, &s->in, made.seal);
	message_out(stdout, &s->in, made.message);
	message_out(stdout, &s->in, made.results);
	return EXIT_DONE;
}

/* What ended with cv=fail goes on as it came (RFC 8617 5.1). */
static int message_seal(struct sealing *s, int wish)
{
	const struct arc_chain *c = arc_state_chain(chain_msg(s->conn, &arc_module));
	int status = EXIT_DONE;

	if (c == NULL || wish < 0 || s->arena.spent)
		return verb_fail(EXIT_LATER, "seal", "no memory: try again later");
	if (c->ended)
		verb_fail(EXIT_DONE, "seal",
			  "nothing was added: %.*s, and such a chain is never lengthened",
			  STR_ARG(c->reason));
	else if (!arc_may_seal(c))
		status = refused(c);
	else
		status = set_write(s, c, bodyhash_result(s->msg.hashes, wish));
	if (status == EXIT_DONE)
		fwrite(s->in.raw.p + s->in.raw.head, 1, s->in.raw.n, stdout);
	return status;
}

/* ---- the chain -------------------------------------------------------------------- */

static void stage_done(struct chain_conn *c, void *user)
{
	(void)c;
	loop_stop(user);
}

static void stage(struct sealing *s, enum say say)
{
	if (say == SAY_WAIT)
		loop_run(s->loop);
}

static int message_through(struct sealing *s)
{
	struct message *m = &s->msg;
	int wish;

	stage(s, chain_mail(s->conn, m, &s->arena, &s->log, stage_done, s->loop));
	m->fields = &s->in.splitter.fields;
	for (size_t i = 0; i < m->fields->n; i++)
		chain_header(s->conn, &m->fields->v[i]);
	from_judge(&s->arena, m->fields, &m->from);
	wish = dkim_sign_wish(&s->options.signer, m->hashes);
	chain_body_next(s->conn);
	bodyhash_feed(m->hashes, s->in.body_front);
	bodyhash_feed(m->hashes, s->in.body);
	bodyhash_end(m->hashes);
	stage(s, chain_message(s->conn, stage_done, s->loop));
	return message_seal(s, wish);
}

static int judge_and_seal(struct sealing *s)
{
	static const void *const no_settings[] = { NULL };
	str why = STR_NONE;
	struct chain *chain = chain_new(only_arc, no_settings, &s->arena, &why);
	int status;

	if (chain == NULL)
		return verb_fail(EXIT_FINDING, "seal", "%.*s", STR_ARG(why));
	s->nobody = (struct path){ .text = STR(""), .is_null = true };
	s->msg = (struct message){
		.id = STR("seal"),
		.origin = FROM_STRANGER,
		.sender = s->nobody,
		.now = s->options.when,
		.host = str_of(s->options.authserv_id),
		.authserv_id = str_of(s->options.authserv_id),
		.hashes = bodyhash_new(&s->arena),
	};
	s->conn = chain_open(chain, s->loop, &s->peer, &s->arena, &s->log);
	if (s->conn == NULL || s->msg.hashes == NULL)
		return verb_fail(EXIT_LATER, "seal", "no memory: try again later");
	status = message_through(s);
	bodyhash_drop(s->msg.hashes);
	chain_close(s->conn);
	return status;
}

static int seal_on_a_loop(struct sealing *s)
{
	str why = STR_NONE;
	int status;

	s->loop = loop_new(0, NULL);
	if (s->loop == NULL)
		return verb_fail(EXIT_LATER, "seal", "no memory: try again later");
	s->loop->dns = dns_new(&s->dns, s->loop, &s->arena, &why);
	if (s->loop->dns == NULL) {
		status = verb_fail(EXIT_LATER, "seal", "%.*s", STR_ARG(why));
	} else {
		status = judge_and_seal(s);
		dns_free(s->loop->dns);
	}
	loop_free(s->loop);
	return status;
}

static int read_and_seal(struct sealing *s)
{
	const char *why = NULL;
	int status;

	if (!message_in_read(&s->in, STDIN_FILENO, &why)) {
		status = verb_fail(EXIT_LATER, "seal", "standard input could not be read: %s", why);
	} else {
		message_in_split(&s->in, &s->arena);
		if (s->in.splitter.over != SPLIT_OK)
			status = verb_fail(
				EXIT_FINDING, "seal",
				"the header is larger than any server takes: it was not sealed");
		else if (fields_first(&s->in.splitter.fields, "From") == NULL)
			status = verb_fail(
				EXIT_FINDING, "seal",
				"the message has no From field: a signature has to cover it");
		else
			status = seal_on_a_loop(s);
	}
	message_in_fini(&s->in);
	return status;
}

int verb_seal(int argc, char **argv)
{
	struct sealing s = { .conn = NULL };
	int status;

	crypt_setup();
	arena_init(&s.arena, ARENA_UNBOUNDED);
	s.log = (struct log){ .id = STR("seal") };
	status = sign_options_read(&s.options, "seal", true, argc, argv, &s.arena);
	if (status == EXIT_DONE)
		status = settings_read(&s);
	if (status == EXIT_DONE)
		status = read_and_seal(&s);
	sign_options_drop(&s.options);
	arena_fini(&s.arena);
	return status;
}
