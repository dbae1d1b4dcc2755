/* SPDX-License-Identifier: ISC */
/*
 * chain_help: a chain of four modules that do what the test's plan says; a journal
 * of two letters an event (what, who) shows what happened in which order.
 */
#ifndef TESTS_CHAIN_HELP_H
#define TESTS_CHAIN_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "modules/chain.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

enum { CONNECT, HELO, MAIL, RCPT, MESSAGE, QUEUE, STAGES };
#define MODULES 4

struct plan {
	enum say    say[STAGES];
	int         code;
	const char *text;
	struct mod *mod;           /* as seen last */
};

static struct plan plans[MODULES];
static char        journal[256];
static size_t      written;

static void note(char what, const struct mod *m)
{
	if (written + 3 < sizeof(journal)) {
		journal[written++] = what;
		journal[written++] = m->module->name[0];
		journal[written] = '\0';
	}
}

static enum say act(struct mod *m, int stage)
{
	struct plan *p = &plans[m->module->name[0] - 'a'];

	note("chmrdq"[stage], m);
	p->mod = m;
	if (p->code != 0 && p->say[stage] != SAY_NEXT)
		mod_reply(m, p->code, p->code >= 500 ? "5.7.1" : "4.7.1", str_of(p->text));
	return p->say[stage];
}

static enum say on_connect(struct mod *m) { return act(m, CONNECT); }
static enum say on_helo(struct mod *m, str name) { assert_true(str_is(name, "client.test")); return act(m, HELO); }
static enum say on_mail(struct mod *m, const struct path *p) { assert_ptr_equal(p, &m->in->sender); return act(m, MAIL); }
static enum say on_rcpt(struct mod *m, const struct path *p) { (void)p; return act(m, RCPT); }
static enum say on_message(struct mod *m) { return act(m, MESSAGE); }
static enum say on_queue(struct mod *m, struct added *a) { added_field(a, STR("X-A: b\r\n")); return act(m, QUEUE); }
static void     on_done(struct mod *m) { note('D', m); }
static void     on_gone(struct mod *m) { note('G', m); }

#define HOOKS                                                                                            \
	.connect = on_connect, .helo = on_helo, .mail = on_mail, .rcpt = on_rcpt, .message = on_message, \
	.queue = on_queue, .done = on_done, .gone = on_gone, .conn_size = 64, .msg_size = 32

static const char *const after_a[] = { "a", NULL };
static const char *const after_b[] = { "b", NULL };
static const char *const after_absent[] = { "zebra", NULL };

static const struct module mod_a = { .name = "a", .after = after_absent, HOOKS };
static const struct module mod_b = { .name = "b", .after = after_a, HOOKS };
static const struct module mod_c = { .name = "c", .after = after_b, HOOKS };
static const struct module mod_d = { .name = "d", HOOKS };                        /* needs nobody */

/* A stage for each test. */
struct scene {
	struct arena       arena, msg;
	struct loop       *loop;
	struct chain      *chain;
	struct chain_conn *conn;
	struct peer        peer;
	struct message     in;
	struct path        rcpt;
	unsigned           told;        /* times done was called */
	bool               end_in_done;
};

static void told(struct chain_conn *c, void *user)
{
	struct scene *s = user;

	s->told++;
	if (s->end_in_done)
		chain_end(c);
}

static void begin(struct scene *s, const struct module *const *modules)
{
	str why = STR_NONE;

	memset(s, 0, sizeof(*s));
	memset(plans, 0, sizeof(plans));
	written = 0;
	journal[0] = '\0';
	arena_init(&s->arena, 1 << 20);
	arena_init(&s->msg, 1 << 20);
	s->loop = loop_new(0, NULL);
	s->chain = chain_new(modules, NULL, &s->arena, &why);
	assert_non_null(s->chain);
	s->conn = chain_open(s->chain, s->loop, &s->peer, &s->arena, NULL);
	assert_non_null(s->conn);
}

static void end(struct scene *s)
{
	loop_free(s->loop);
	arena_fini(&s->msg);
	arena_fini(&s->arena);
}

static void turn(struct scene *s)
{
	ev_run(s->loop->ev, EVRUN_NOWAIT);
	ev_run(s->loop->ev, EVRUN_NOWAIT);
}

static enum say stage_run(struct scene *s, int stage)
{
	static struct added added;

	added = (struct added){ .arena = &s->msg };
	switch (stage) {
	case CONNECT: return chain_connect(s->conn, told, s);
	case HELO:    return chain_helo(s->conn, STR("client.test"), told, s);
	case MAIL:    return chain_mail(s->conn, &s->in, &s->msg, NULL, told, s);
	case RCPT:    return chain_rcpt(s->conn, &s->rcpt, told, s);
	case MESSAGE: return chain_message(s->conn, told, s);
	default:      return chain_queue(s->conn, &added, told, s);
	}
}

static void go(char module, enum say say)
{
	mod_go(plans[module - 'a'].mod, say);
}

static const struct module *const abcd[] = { &mod_c, &mod_d, &mod_b, &mod_a, NULL };  /* out of order on purpose */

#endif
