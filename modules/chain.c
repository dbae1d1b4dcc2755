/* SPDX-License-Identifier: ISC */
/*
 * chain: asks modules in the order of their `after`, waits for those that
 * wait, and keeps the strongest verdict.
 *
 * A stage is a set of modules that are TODO, WAITING or FINISHED.  step() asks
 * every TODO whose prerequisites have finished; mod_go only notes the answer
 * and has step() run at the loop's next turn, so neither a module nor the
 * asker is ever called back inside its own call.  Because modules are sorted,
 * one pass asks all that can be asked.
 *
 * SAY_QUARANTINE sticks: said before MAIL it holds for the connection, said
 * later for the message.  A reject in an early stage spares the modules not
 * yet asked (no question to DNS for a client that is turned away) unless the
 * connection is thorough.
 *
 * While a module holds the others, they are not asked at connect, HELO and
 * MAIL; each is owed those stages and is asked them at the RCPT that lets go,
 * before its own.  An objection that a trust entry excuses, or that a trial
 * only writes down, does not count.  Loop thread.
 */
#include <string.h>

#include "modules/chain_inside.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

/* ---- one connection ------------------------------------------------------- */

static void seat_log(struct seat *s, const struct log *log)
{
	s->log.id = log != NULL ? log->id : STR_NONE;
	s->log.module = str_of(s->mod.module->name);
	s->mod.log = &s->log;
}

/* Who does not sit at connections has a seat while there is a message, in that one's arena. */
static bool sits(const struct chain *c, size_t i)
{
	return (c->sits & chain_bit(i)) != 0;
}

static void seat_take(struct chain_conn *c, size_t i, struct arena *a, const struct log *log)
{
	struct seat         *s = ARENA_NEW(a, struct seat);
	const struct module *m = c->chain->modules[i];

	c->seats[i] = s;
	if (s == NULL)
		return;
	s->mod = (struct mod){
		.conf = c->chain->confs[i],
		.conn = m->conn_size ? arena_alloc(c->arena, m->conn_size) : NULL,
		.peer = c->peer,
		.arena = a,
		.conn_arena = c->arena,
		.dns = c->dns,
		.loop = c->loop,
		.stats = c->chain->stats[i],
		.trust = c->chain->trust,
		.module = m,
		.chain = c,
		.index = (unsigned)i,
	};
	seat_log(s, log);
}

/* Those who sit, and are not excused yet. */
static void excuse_by_address(struct chain_conn *c)
{
	const struct sockaddr    *sa = &c->peer->addr.sa;
	const struct trust       *t = c->chain->trust;
	const struct trust_entry *e = trust_client(t, sa);

	for (; e != NULL; e = trust_client_next(t, e, sa))
		for (size_t i = 0; i < c->chain->n; i++)
			if (c->seats[i] != NULL && c->seats[i]->conn_excuse == NULL &&
			    trust_skips(e, c->chain->modules[i]->name))
				c->seats[i]->conn_excuse = e;
}

struct chain_conn *chain_open(const struct chain *chain, struct loop *loop, struct peer *peer,
                              struct arena *conn_arena, const struct log *log)
{
	struct chain_conn *c = ARENA_NEW(conn_arena, struct chain_conn);

	if (c == NULL)
		return NULL;
	c->chain = chain;
	c->peer = peer;
	c->loop = loop;
	c->dns = loop != NULL ? loop->dns : NULL;
	c->arena = conn_arena;
	c->seats = ARENA_ARRAY(conn_arena, struct seat *, chain->n);
	for (size_t i = 0; c->seats != NULL && i < chain->n; i++)
		if (sits(chain, i))
			seat_take(c, i, conn_arena, log);
	c->thorough = chain->trial;
	if (conn_arena->spent)
		return NULL;
	excuse_by_address(c);
	return c;
}

void chain_use_dns(struct chain_conn *c, struct dns *dns)
{
	c->dns = dns;
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i] != NULL)
			c->seats[i]->mod.dns = dns;
}

void chain_thorough(struct chain_conn *c, bool on)
{
	c->thorough = on;
}

static void abandon_stage(struct chain_conn *c)
{
	loop_undefer(&c->call);
	c->stage = NO_STAGE;
	c->todo = c->waiting = 0;
}

void chain_close(struct chain_conn *c)
{
	chain_end(c);
	abandon_stage(c);
	for (size_t i = c->chain->n; i-- > 0;)
		if (c->chain->modules[i]->gone != NULL)
			c->chain->modules[i]->gone(&c->seats[i]->mod);
}

/* ---- a stage -------------------------------------------------------------- */

static enum say ask(struct chain_conn *c, enum stage stage, const struct module *m, struct mod *mod)
{
	switch (stage) {
	case CONNECT:
		return m->connect != NULL ? m->connect(mod) : SAY_NEXT;
	case HELO:
		return m->helo != NULL ? m->helo(mod, stage == c->stage ? c->name : c->peer->helo)
				       : SAY_NEXT;
	case MAIL:
		return m->mail != NULL ? m->mail(mod, &c->in->sender) : SAY_NEXT;
	case RCPT:
		return m->rcpt != NULL ? m->rcpt(mod, c->path) : SAY_NEXT;
	case MESSAGE:
		return m->message != NULL ? m->message(mod) : SAY_NEXT;
	case QUEUE:
		return m->queue != NULL ? m->queue(mod, c->added) : SAY_NEXT;
	case NO_STAGE:
		break;
	}
	return SAY_NEXT;
}

/* The queue stage has accepted already: there is no way back but "later". */
static enum say allowed_here(const struct chain_conn *c, enum say say)
{
	if (c->stage != QUEUE)
		return say;
	return say >= SAY_DEFER ? SAY_DEFER : SAY_NEXT;
}

static bool turned_away(const struct chain_conn *c)
{
	if (c->thorough || c->stage > RCPT)
		return false;
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i] != NULL && c->seats[i]->say == SAY_REJECT)
			return true;
	return false;
}

static bool held_back(const struct chain_conn *c)
{
	return c->held && !c->thorough && c->stage <= MAIL;
}

/* What it was held back from comes first. */
static enum stage next_to_ask(const struct chain_conn *c, const struct seat *s)
{
	for (enum stage stage = CONNECT; stage <= MAIL && c->stage > MAIL; stage++)
		if (s->owed & 1u << stage)
			return stage;
	return c->stage;
}

static void heard(struct chain_conn *c, struct seat *s, enum say say)
{
	say = allowed_here(c, say);
	if (say > s->say)
		s->say = say;
	if (s->asking != c->stage)
		c->todo |= chain_bit(s->mod.index);
}

static void ask_one(struct chain_conn *c, size_t i)
{
	struct seat *s = c->seats[i];
	enum say     say;

	c->todo &= ~chain_bit(i);
	s->asking = next_to_ask(c, s);
	s->owed &= (uint8_t)~(1u << s->asking);
	s->inside = true;
	say = ask(c, s->asking, c->chain->modules[i], &s->mod);
	s->inside = false;
	if (say == SAY_WAIT)
		c->waiting |= chain_bit(i);
	else
		heard(c, s, say);
}

static void ask_all_that_can_be(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n && c->todo != 0; i++) {
		if (c->chain->needs[i] & (c->todo | c->waiting))
			continue;
		while (c->todo & chain_bit(i)) {
			if (turned_away(c)) {
				c->todo = 0;
			} else if (held_back(c)) {
				c->seats[i]->owed |= (uint8_t)(1u << c->stage);
				c->todo &= ~chain_bit(i);
			} else {
				ask_one(c, i);
			}
		}
	}
}

static void end_stage(struct chain_conn *c)
{
	chain_weigh(c);
	c->stage = NO_STAGE;
}

static bool step(struct chain_conn *c)
{
	ask_all_that_can_be(c);
	if (c->todo != 0 || c->waiting != 0)
		return false;
	end_stage(c);
	return true;
}

static void step_later(struct loop_call *call)
{
	struct chain_conn *c = SUPER(call, struct chain_conn, call);

	if (step(c))
		c->done(c, c->user);
}

static enum say open_stage(struct chain_conn *c, enum stage stage, chain_done *done, void *user)
{
	must(c->stage == NO_STAGE);
	c->stage = stage;
	c->todo = 0;
	c->waiting = 0;
	c->done = done;
	c->user = user;
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i] != NULL) {
			c->todo |= chain_bit(i);
			c->seats[i]->say = SAY_NEXT;
		}
	return step(c) ? c->verdict.say : SAY_WAIT;
}

void mod_go(struct mod *m, enum say say)
{
	struct chain_conn *c = m->chain;
	struct seat       *s = c->seats[m->index];

	must(!s->inside);
	must(c->waiting & chain_bit(m->index));
	must(say != SAY_WAIT);
	c->waiting &= ~chain_bit(m->index);
	heard(c, s, say);
	if (c->call.at == NULL)
		loop_defer(c->loop, &c->call, step_later);
}

/* ---- the stages ----------------------------------------------------------- */

enum say chain_connect(struct chain_conn *c, chain_done *done, void *user)
{
	return open_stage(c, CONNECT, done, user);
}

enum say chain_helo(struct chain_conn *c, str name, chain_done *done, void *user)
{
	c->name = name;
	return open_stage(c, HELO, done, user);
}

static bool seat_message(struct chain_conn *c, size_t i, const struct log *log)
{
	size_t       size = c->chain->modules[i]->msg_size;
	struct seat *s;

	if (c->seats[i] == NULL)
		seat_take(c, i, c->msg_arena, log);
	s = c->seats[i];
	if (s == NULL)
		return false;
	s->mod.in = c->in;
	s->mod.arena = c->msg_arena;
	s->mod.msg = size ? arena_alloc(c->msg_arena, size) : NULL;
	seat_log(s, log);
	return s->mod.msg != NULL || size == 0;
}

static void unseat_message(struct chain_conn *c, size_t i)
{
	struct seat *s = c->seats[i];

	if (s == NULL || !sits(c->chain, i)) {
		c->seats[i] = NULL;
		return;
	}
	s->msg_excuse = NULL;
	s->tried = false;
	s->msg_mark = NULL;
	s->owed &= (uint8_t)~(1u << MAIL);

	s->mod.in = NULL;
	s->mod.msg = NULL;
	s->mod.arena = c->arena;
	if (s->said != NULL && s->said->of_message)
		s->said = NULL;
}

static void forget_message(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n; i++)
		unseat_message(c, i);
	c->in = NULL;
	c->msg_arena = NULL;
	c->fragile = STR_NONE;
	c->msg_would = NULL;
	c->verdict = (struct verdict){ 0 };
}

enum say chain_mail(struct chain_conn *c, struct message *in, struct arena *arena,
                    const struct log *log, chain_done *done, void *user)
{
	bool fits = true;

	must(c->in == NULL && c->stage == NO_STAGE);
	c->in = in;
	c->msg_arena = arena;
	for (size_t i = 0; i < c->chain->n; i++)
		fits = seat_message(c, i, log) && fits;
	if (!fits) {
		forget_message(c);
		c->verdict = (struct verdict){ SAY_DEFER, 452, "4.3.1",
		                               STR("No memory for another message now"), "chain" };
		return SAY_DEFER;
	}
	excuse_by_address(c);
	return open_stage(c, MAIL, done, user);
}

enum say chain_rcpt(struct chain_conn *c, const struct path *to, chain_done *done, void *user)
{
	must(c->in != NULL);
	c->path = to;
	return open_stage(c, RCPT, done, user);
}

void chain_header(struct chain_conn *c, const struct field *f)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i]->header != NULL)
			c->chain->modules[i]->header(&c->seats[i]->mod, f);
}

void chain_body_next(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i]->body_next != NULL)
			c->chain->modules[i]->body_next(&c->seats[i]->mod);
}

void chain_body(struct chain_conn *c, str chunk)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i]->body != NULL)
			c->chain->modules[i]->body(&c->seats[i]->mod, chunk);
}

enum say chain_message(struct chain_conn *c, chain_done *done, void *user)
{
	must(c->in != NULL);
	return open_stage(c, MESSAGE, done, user);
}

enum say chain_queue(struct chain_conn *c, struct added *added, chain_done *done, void *user)
{
	must(c->in != NULL);
	c->added = added;
	return open_stage(c, QUEUE, done, user);
}

void chain_results(struct chain_conn *c, struct authres *out)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i] != NULL && c->chain->modules[i]->results != NULL)
			c->chain->modules[i]->results(&c->seats[i]->mod, out);
}

void chain_judged(struct chain_conn *c, struct judged *out)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i] != NULL && c->chain->modules[i]->judged != NULL)
			c->chain->modules[i]->judged(&c->seats[i]->mod, out);
}

void chain_end(struct chain_conn *c)
{
	if (c->in == NULL)
		return;
	abandon_stage(c);
	for (size_t i = c->chain->n; i-- > 0;)
		if (c->chain->modules[i]->done != NULL)
			c->chain->modules[i]->done(&c->seats[i]->mod);
	forget_message(c);
}

