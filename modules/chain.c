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
 * connection is thorough.  Loop thread.
 */
#include "modules/chain.h"

#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

#define MODULES_MOST 64       /* bits of a set */

typedef uint64_t set;         /* of modules, by index */

struct chain {
	size_t                n;
	const struct module **modules;   /* sorted */
	const void          **confs;
	set                  *needs;     /* all that must have finished before, near and far */
	unsigned             *stats;
};

enum stage { NO_STAGE, CONNECT, HELO, MAIL, RCPT, MESSAGE, QUEUE };

struct said {                            /* a module's reply, for its objections */
	int         code;
	const char *esc;
	str         text;
	bool        of_message;          /* the text lives in the message's arena */
};

struct seat {                            /* one module at one connection */
	struct mod  mod;
	struct log  log;
	enum say    say;
	struct said said;
	bool        inside;              /* its hook is running */
};

struct chain_conn {
	const struct chain *chain;
	struct peer        *peer;
	struct loop        *loop;
	struct arena       *arena;
	struct seat        *seats;
	bool                thorough;

	struct message     *in;          /* NULL: no message */
	struct arena       *msg_arena;

	enum stage          stage;       /* NO_STAGE: none is open */
	set                 todo, waiting;
	str                 name;        /* what the stage is about */
	const struct path  *path;
	struct added       *added;
	chain_done         *done;
	void               *user;
	struct loop_call    call;

	struct verdict      verdict, conn_mark, msg_mark;
};

static set bit(size_t i) { return (set)1 << i; }

/* ---- one generation ------------------------------------------------------- */

static struct { const struct module *module; unsigned first; } counted[MODULES_MOST];
static size_t ncounted;

static unsigned counters_of(const struct module *m)
{
	for (size_t i = 0; i < ncounted; i++)
		if (counted[i].module == m)
			return counted[i].first;
	if (m->nstats == 0)
		return 0;
	must(ncounted < MODULES_MOST);
	counted[ncounted].module = m;
	counted[ncounted].first = stat_register(m->name, m->stats, m->nstats);
	return counted[ncounted++].first;
}

void chain_counters(const struct module *const *modules)
{
	for (; *modules != NULL; modules++)
		counters_of(*modules);
}

/* Whether `m` wants to stand behind `other`. */
static bool stands_after(const struct module *m, const struct module *other)
{
	for (const char *const *name = m->after; name != NULL && *name != NULL; name++)
		if (strcmp(*name, other->name) == 0)
			return true;
	return false;
}

/* Which of the n modules may come next: nothing that is left stands before it. */
static size_t next_free(const struct module *const *modules, size_t n, set left)
{
	for (size_t i = 0; i < n; i++) {
		bool held = !(left & bit(i));

		for (size_t j = 0; j < n && !held; j++)
			held = (left & bit(j)) && stands_after(modules[i], modules[j]);
		if (!held)
			return i;
	}
	return n;
}

static str circle_text(const struct module *const *modules, size_t n, set left, struct arena *a)
{
	str names = STR_NONE;

	for (size_t i = 0; i < n; i++)
		if (left & bit(i))
			names = arena_printf(a, "%.*s%s%s", STR_ARG(names), names.n ? ", " : "",
			                     modules[i]->name);
	return arena_printf(a, "modules wait for each other in a circle: %.*s: "
	                    "correct their `after`", STR_ARG(names));
}

static void take_place(struct chain *c, size_t place, const struct module *m, const void *conf)
{
	c->modules[place] = m;
	c->confs[place] = conf;
	c->stats[place] = counters_of(m);
	for (size_t j = 0; j < place; j++)
		if (stands_after(m, c->modules[j]))
			c->needs[place] |= bit(j) | c->needs[j];
}

static bool sort_by_after(struct chain *c, const struct module *const *modules,
                          const void *const *confs, struct arena *a, str *why)
{
	set left = c->n == MODULES_MOST ? ~(set)0 : bit(c->n) - 1;

	for (size_t place = 0; place < c->n; place++) {
		size_t i = next_free(modules, c->n, left);

		if (i == c->n) {
			*why = circle_text(modules, c->n, left, a);
			return false;
		}
		take_place(c, place, modules[i], confs != NULL ? confs[i] : NULL);
		left &= ~bit(i);
	}
	return true;
}

static bool set_up(const struct chain *c, struct arena *a, str *why)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct module *m = c->modules[i];
		str                  reason = STR_NONE;
		enum err             e = m->setup != NULL ? m->setup(c->confs[i], a, &reason) : OK;

		if (e == OK)
			continue;
		if (reason.n == 0)
			reason = str_of(err_text(e));
		*why = arena_printf(a, "module %s could not be set up: %.*s", m->name, STR_ARG(reason));
		return false;
	}
	return true;
}

struct chain *chain_new(const struct module *const *modules, const void *const *confs,
                        struct arena *a, str *why)
{
	struct chain *c = ARENA_NEW(a, struct chain);
	size_t        n = 0;

	while (modules[n] != NULL)
		n++;
	must(n <= MODULES_MOST);
	if (c != NULL) {
		c->n = n;
		c->modules = ARENA_ARRAY(a, const struct module *, n);
		c->confs = ARENA_ARRAY(a, const void *, n);
		c->needs = ARENA_ARRAY(a, set, n);
		c->stats = ARENA_ARRAY(a, unsigned, n);
	}
	if (a->spent) {
		*why = STR("no memory for the modules");
		return NULL;
	}
	if (!sort_by_after(c, modules, confs, a, why) || !set_up(c, a, why))
		return NULL;
	return c;
}

/* ---- one connection ------------------------------------------------------- */

static void seat_log(struct seat *s, const struct log *log)
{
	s->log.id = log != NULL ? log->id : STR_NONE;
	s->log.module = str_of(s->mod.module->name);
	s->mod.log = &s->log;
}

static void seat_take(struct chain_conn *c, size_t i, const struct log *log)
{
	struct seat         *s = &c->seats[i];
	const struct module *m = c->chain->modules[i];

	s->mod = (struct mod){
		.conf = c->chain->confs[i],
		.conn = m->conn_size ? arena_alloc(c->arena, m->conn_size) : NULL,
		.peer = c->peer,
		.arena = c->arena,
		.conn_arena = c->arena,
		.dns = c->loop != NULL ? c->loop->dns : NULL,
		.loop = c->loop,
		.stats = c->chain->stats[i],
		.module = m,
		.chain = c,
		.index = (unsigned)i,
	};
	seat_log(s, log);
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
	c->arena = conn_arena;
	c->seats = ARENA_ARRAY(conn_arena, struct seat, chain->n);
	for (size_t i = 0; c->seats != NULL && i < chain->n; i++)
		seat_take(c, i, log);
	return conn_arena->spent ? NULL : c;
}

void chain_use_dns(struct chain_conn *c, struct dns *dns)
{
	for (size_t i = 0; i < c->chain->n; i++)
		c->seats[i].mod.dns = dns;
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
			c->chain->modules[i]->gone(&c->seats[i].mod);
}

/* ---- a stage -------------------------------------------------------------- */

static enum say ask(struct chain_conn *c, const struct module *m, struct mod *mod)
{
	switch (c->stage) {
	case CONNECT:
		return m->connect != NULL ? m->connect(mod) : SAY_NEXT;
	case HELO:
		return m->helo != NULL ? m->helo(mod, c->name) : SAY_NEXT;
	case MAIL:
		return m->mail != NULL ? m->mail(mod, c->path) : SAY_NEXT;
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
		if (c->seats[i].say == SAY_REJECT)
			return true;
	return false;
}

static void ask_one(struct chain_conn *c, size_t i)
{
	struct seat *s = &c->seats[i];
	enum say     say;

	c->todo &= ~bit(i);
	s->inside = true;
	say = ask(c, c->chain->modules[i], &s->mod);
	s->inside = false;
	if (say == SAY_WAIT)
		c->waiting |= bit(i);
	else
		s->say = allowed_here(c, say);
}

static void ask_all_that_can_be(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n && c->todo != 0; i++) {
		if (!(c->todo & bit(i)) || (c->chain->needs[i] & (c->todo | c->waiting)))
			continue;
		if (turned_away(c))
			c->todo = 0;
		else
			ask_one(c, i);
	}
}

/* The reply that a module gave fits its objection, or there is none. */
static struct verdict verdict_of(const struct seat *s)
{
	struct verdict v = { .say = s->say, .module = s->mod.module->name };
	int            class = s->say == SAY_REJECT ? 5 : s->say == SAY_DEFER ? 4 : 2;

	if (s->said.code / 100 == class) {
		v.code = s->said.code;
		v.esc = s->said.esc;
		v.text = s->said.text;
	}
	return v;
}

/* The strongest; of equals the first in order. */
static struct verdict strongest(const struct chain_conn *c)
{
	struct verdict v = { .say = SAY_NEXT };

	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i].say > v.say)
			v = verdict_of(&c->seats[i]);
	return v;
}

static void end_stage(struct chain_conn *c)
{
	struct verdict *mark = c->in != NULL ? &c->msg_mark : &c->conn_mark;

	c->verdict = strongest(c);
	if (c->verdict.say == SAY_QUARANTINE && mark->say == SAY_NEXT)
		*mark = c->verdict;
	if (c->verdict.say == SAY_NEXT)
		c->verdict = c->msg_mark.say != SAY_NEXT ? c->msg_mark : c->conn_mark;
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
	c->todo = c->chain->n == MODULES_MOST ? ~(set)0 : bit(c->chain->n) - 1;
	c->waiting = 0;
	c->done = done;
	c->user = user;
	for (size_t i = 0; i < c->chain->n; i++)
		c->seats[i].say = SAY_NEXT;
	return step(c) ? c->verdict.say : SAY_WAIT;
}

void mod_go(struct mod *m, enum say say)
{
	struct chain_conn *c = m->chain;
	struct seat       *s = &c->seats[m->index];

	must(!s->inside);
	must(c->waiting & bit(m->index));
	must(say != SAY_WAIT);
	c->waiting &= ~bit(m->index);
	s->say = allowed_here(c, say);
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
	struct seat *s = &c->seats[i];
	size_t       size = c->chain->modules[i]->msg_size;

	s->mod.in = c->in;
	s->mod.arena = c->msg_arena;
	s->mod.msg = size ? arena_alloc(c->msg_arena, size) : NULL;
	seat_log(s, log);
	return s->mod.msg != NULL || size == 0;
}

static void unseat_message(struct chain_conn *c, size_t i)
{
	struct seat *s = &c->seats[i];

	s->mod.in = NULL;
	s->mod.msg = NULL;
	s->mod.arena = c->arena;
	if (s->said.of_message)
		s->said = (struct said){ 0 };
}

static void forget_message(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n; i++)
		unseat_message(c, i);
	c->in = NULL;
	c->msg_arena = NULL;
	c->msg_mark = c->verdict = (struct verdict){ 0 };
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
	c->path = &in->sender;
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
			c->chain->modules[i]->header(&c->seats[i].mod, f);
}

void chain_body_next(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i]->body_next != NULL)
			c->chain->modules[i]->body_next(&c->seats[i].mod);
}

void chain_body(struct chain_conn *c, str chunk)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i]->body != NULL)
			c->chain->modules[i]->body(&c->seats[i].mod, chunk);
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
		if (c->chain->modules[i]->results != NULL)
			c->chain->modules[i]->results(&c->seats[i].mod, out);
}

void chain_end(struct chain_conn *c)
{
	if (c->in == NULL)
		return;
	abandon_stage(c);
	for (size_t i = c->chain->n; i-- > 0;)
		if (c->chain->modules[i]->done != NULL)
			c->chain->modules[i]->done(&c->seats[i].mod);
	forget_message(c);
}

/* ---- what modules and askers look at -------------------------------------- */

const struct verdict *chain_verdict(const struct chain_conn *c)
{
	return &c->verdict;
}

static const struct mod *seat_of(const struct chain_conn *c, const struct module *m)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i] == m)
			return &c->seats[i].mod;
	return NULL;
}

const void *chain_msg(const struct chain_conn *c, const struct module *m)
{
	const struct mod *mod = seat_of(c, m);

	return mod != NULL ? mod->msg : NULL;
}

const void *chain_connstate(const struct chain_conn *c, const struct module *m)
{
	const struct mod *mod = seat_of(c, m);

	return mod != NULL ? mod->conn : NULL;
}

const void *mod_other_msg(const struct mod *m, const struct module *other)
{
	return chain_msg(m->chain, other);
}

const void *mod_other_conn(const struct mod *m, const struct module *other)
{
	return chain_connstate(m->chain, other);
}

void mod_reply(struct mod *m, int code, const char *esc, str text)
{
	m->chain->seats[m->index].said = (struct said){
		.code = code,
		.esc = esc,
		.text = str_keep(m->arena, text),
		.of_message = m->arena != m->conn_arena,
	};
}

void mod_set_ptr(struct mod *m, str confirmed_name)
{
	m->chain->peer->ptr = str_keep(m->conn_arena, confirmed_name);
}

void added_field(struct added *a, str field)
{
	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 8;
		str   *v = ARENA_ARRAY(a->arena, str, room);

		if (v == NULL)
			return;          /* the arena is spent, and its owner looks at that */
		if (a->n)
			memcpy(v, a->v, a->n * sizeof(*v));
		a->v = v;
		a->room = room;
	}
	a->v[a->n++] = str_keep(a->arena, field);
}
