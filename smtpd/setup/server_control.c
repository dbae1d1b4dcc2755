/* SPDX-License-Identifier: ISC */
/*
 * What the running server answers on its control socket: reload, accounts (look
 * again), queue; status.c has the status.  Main thread; the store is read on a desk.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "queue/report.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/base/stat.h"
#include "smtpd/setup/keys/watch.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

str server_control_path(const struct config *c, struct arena *a)
{
	return arena_printf(a, "%.*s/control", STR_ARG(c->state));
}

static void say_line(struct control_call *call, str text)
{
	control_say(call, text);
	control_say(call, STR("\n"));
}

/* About call->words[2]. */
static str no_such_message(struct control_call *call)
{
	return arena_printf(&call->arena, "no message %.*s is in the queue: `postern queue list` shows what is there",
	                    STR_ARG(call->nwords > 2 ? call->words[2] : STR_NONE));
}

static void finish(struct control_call *call, enum err e, str why)
{
	if (e != OK)
		say_line(call, why.n > 0 ? why : str_of(err_text(e)));
	control_end(call, e == OK ? EXIT_DONE : EXIT_FINDING);
}

/* "Done" is said when every loop uses what was loaded. */
static void in_use(struct server *s, void *call)
{
	(void)s;
	control_end(call, EXIT_DONE);
}

static void reload_asked(struct control_call *call)
{
	str why = STR_NONE;
	enum err e = server_reload(call->house, &why);

	if (e == OK)
		server_when_all_turned(call->house, in_use, call);
	else
		finish(call, e, why);
}

static void accounts_asked(struct control_call *call)
{
	server_look_again(call->house);
	server_when_all_turned(call->house, in_use, call);
}

static void deny_asked(struct control_call *call)
{
	server_look_at_denied(call->house);
	control_end(call, EXIT_DONE);
}

/* ---- queue list, show -------------------------------------------------------------- */

struct looking {                       /* a report being made on the slow desk, a piece at a time */
	struct job           job;
	struct control_call *call;
	struct server       *server;
	uint64_t             id;        /* of the one to show; 0: the list … */
	struct queue_list    list;      /* … whose words are the call's */
	struct buf           text;
	enum err             result;
};

static void look_now(struct job *j)
{
	struct looking *l = SUPER(j, struct looking, job);
	struct queue *q = l->server->queue;

	l->result = l->id != 0 ? queue_report_show(q, l->id, l->list.look.json, &l->text)
	                       : queue_report_list(q, &l->list, &l->text);
}

static void end_look(struct looking *l)
{
	finish(l->call, l->result, l->result == ERR_ABSENT ? no_such_message(l->call) : STR_NONE);
	buf_fini(&l->text);
	free(l);
}

/* The next piece is made when this one has been read. */
static void look_on(struct control_call *call)
{
	struct looking *l = call->work;

	if (call->ghost)
		end_look(l);
	else
		desk_submit_anyway(l->server->slow, &l->job);
}

static void looked(struct baton *b)
{
	struct looking *l = SUPER(SUPER(b, struct job, baton), struct looking, job);
	bool over = l->id != 0 || l->list.over || l->result != OK;

	if (l->result == OK)
		control_say(l->call, buf_str(&l->text));
	buf_eat(&l->text, l->text.n);
	if (over)
		end_look(l);
	else
		control_when_read(l->call, look_on);
}

static void report_asked(struct control_call *call, uint64_t id, const struct queue_look *look)
{
	struct server *s = call->house;
	struct looking *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		finish(call, ERR_MEMORY, STR_NONE);
		return;
	}
	l->call = call;
	l->server = s;
	l->id = id;
	l->list.look = *look;
	call->work = l;
	buf_init(&l->text, 256 << 20);
	l->job.work = look_now;
	l->job.baton.home = s->main->mbox;
	l->job.baton.arrived = looked;
	desk_submit_anyway(s->slow, &l->job);
}

/* ---- queue retry, hold, release, remove ---------------------------------------------- */

/* One command: the wishes that it comes to, one after the other. */
struct wishing {
	struct job           job;       /* finds the ids, on the slow desk */
	struct queue_wish    wish;
	struct control_call *call;
	struct server       *server;
	struct queue_filter  filter;
	uint64_t            *ids;
	size_t               n, at, touched;
	enum err             found;
};

static void wish_next(struct wishing *);

static void wish_end(struct wishing *w, enum err e)
{
	if (e == OK)
		say_line(w->call, arena_printf(&w->call->arena, "%zu message%s", w->touched, w->touched == 1 ? "" : "s"));
	finish(w->call, e, e == ERR_ABSENT ? no_such_message(w->call) : STR_NONE);
	free(w->ids);
	free(w);
}

/* What finished between being found and being asked for is no fault. */
static void wish_came_home(struct baton *b)
{
	struct wishing *w = SUPER(SUPER(b, struct queue_wish, baton), struct wishing, wish);
	enum err e = w->wish.result;

	w->touched += w->wish.touched;
	if (w->ids == NULL || (e != OK && e != ERR_ABSENT))
		wish_end(w, e);
	else
		wish_next(w);
}

static void wish_next(struct wishing *w)
{
	if (w->at == w->n) {
		wish_end(w, OK);
		return;
	}
	w->wish.id = w->ids[w->at++];
	timetable_wish(w->server->timetable, &w->wish);
}

static void find_ids(struct job *j)
{
	struct wishing *w = SUPER(j, struct wishing, job);

	w->found = queue_select(w->server->queue, &w->filter, &w->ids, &w->n);
}

static void ids_found(struct baton *b)
{
	struct wishing *w = SUPER(SUPER(b, struct job, baton), struct wishing, job);

	if (w->found != OK || w->n == 0)
		wish_end(w, w->found);
	else
		wish_next(w);
}

static const struct { const char *word; int what; } wishes[] = {
	{ "retry", WISH_RETRY }, { "flush", WISH_RETRY }, { "hold", WISH_HOLD },
	{ "release", WISH_RELEASE }, { "remove", WISH_REMOVE },
};

static void wish_begin(struct control_call *call, int what, uint64_t id, const struct queue_filter *filter)
{
	struct server *s = call->house;
	struct wishing *w = calloc(1, sizeof(*w));

	must(w != NULL);
	w->call = call;
	w->server = s;
	w->filter = *filter;
	w->wish.what = what;
	w->wish.id = id;
	w->wish.as_is = filter->login.n == 0;       /* an account's release says nothing of signatures */
	w->wish.early = id != 0;
	w->wish.baton.home = s->main->mbox;
	w->wish.baton.arrived = wish_came_home;
	w->job.work = find_ids;
	w->job.baton.home = s->main->mbox;
	w->job.baton.arrived = ids_found;
	if (queue_filter_is_empty(filter))
		timetable_wish(s->timetable, &w->wish);
	else
		desk_submit_anyway(s->slow, &w->job);
}

static bool wish_asked(struct control_call *call, uint64_t id, const struct queue_filter *filter)
{

	for (size_t i = 0; i < COUNT(wishes); i++)
		if (str_is(call->words[1], wishes[i].word)) {
			wish_begin(call, wishes[i].what, id, filter);
			return true;
		}
	return false;
}

/* words: queue VERB [ID] [--json] [--width N] [--to T] [--from T] [--older T] [--state S];
 * without an id or a filter all are meant, so what is none must not pass for that. */
static bool read_words(const struct control_call *call, struct queue_look *look, uint64_t *id)
{
	const char *why;
	uint64_t width;

	for (size_t i = 2; i < call->nwords; i++) {
		str word = call->words[i], value = i + 1 < call->nwords ? call->words[i + 1] : STR_NONE;

		if (str_is(word, "--json")) {
			look->json = true;
		} else if (str_is(word, "--width") && str_to_u64(value, &width)) {
			look->width = width;
			i++;
		} else if (str_starts(word, "--")) {
			if (!queue_filter_take(&look->filter, word, value, &why))
				return false;
			i++;
		} else if (i != 2 || !queue_id_parse(word, id)) {
			return false;
		}
	}
	return true;
}

static void queue_asked(struct control_call *call)
{
	struct queue_look look = { .json = false };
	str verb = call->nwords > 1 ? call->words[1] : STR("");
	uint64_t id = 0;

	if (!read_words(call, &look, &id))
		finish(call, ERR_ABSENT, no_such_message(call));
	else if (str_is(verb, "list"))
		report_asked(call, 0, &look);
	else if (str_is(verb, "show") && id != 0)
		report_asked(call, id, &look);
	else if (!wish_asked(call, id, &look.filter))
		finish(call, ERR_BAD, STR("the running server does not know that command: restart it, so that it is the program that asks"));
}

/* ---- account release, drop, lock ---------------------------------------------------- */

static bool is_account(struct server *s, struct arena *a, str address)
{
	struct directory_answer found;
	struct path p;

	if (breaker_state(s->breaker, address) != BREAKER_OPEN)
		return true;
	if (!path_of(a, address, &p) || p.domain.n == 0)
		return false;
	directory_find(s->now->directory, a, &p, &found);
	return found.says == DIRECTORY_MAILBOX;
}

/* Who locked it wants it locked: throwing mail away does not open it. */
static void decide(struct control_call *call, enum breaker_state state, int what)
{
	struct server *s = call->house;
	const struct queue_filter held = { .login = call->words[2], .states = STATE_BREAKER };

	log_event(NULL, LOG_NOTICE, "account.decided", KV("account", held.login), KV("what", call->words[1]));
	if (!breaker_set(s->breaker, held.login, state))
		finish(call, ERR_MEMORY, STR_NONE);
	else
		wish_begin(call, what, 0, &held);
	server_write_allowances(s);
}

static void locked(struct server *s, void *call)
{
	server_when_all_turned(s, in_use, call);
}

/* It sends no more, neither what comes nor what still waits. */
static void lock(struct control_call *call)
{
	struct server *s = call->house;

	log_event(NULL, LOG_NOTICE, "account.decided", KV("account", call->words[2]), KV("what", call->words[1]));
	if (!breaker_set(s->breaker, call->words[2], BREAKER_LOCKED)) {
		finish(call, ERR_MEMORY, STR_NONE);
		return;
	}
	server_write_allowances(s);
	server_look_at_logins(s);
	server_hold_waiting(s, call->words[2], locked, call);
}

static void name_shut(void *arg, const struct breaker_shut *b)
{
	struct control_call *call = arg;

	say_line(call, arena_printf(&call->arena, "%s %lld %.*s %.*s", b->state == BREAKER_LOCKED ? "locked" : "held",
	                            (long long)b->since, STR_ARG(b->account), STR_ARG(b->why)));
}

/* words: account shut: "held|locked SINCE ADDRESS WHY", a line for each. */
static void shut_asked(struct control_call *call)
{
	struct server *s = call->house;

	breaker_each_shut(s->breaker, name_shut, call);
	control_end(call, EXIT_DONE);
}

/* words: account release|drop|lock ADDRESS, account shut */
static void account_asked(struct control_call *call)
{
	struct server *s = call->house;
	str what = call->nwords == 3 ? call->words[1] : STR("");

	if (call->nwords == 2 && str_is(call->words[1], "shut"))
		shut_asked(call);
	else if (call->nwords == 3 && !is_account(s, &call->arena, call->words[2]))
		finish(call, ERR_ABSENT, arena_printf(&call->arena, "%.*s is no account here: see `postern account list`",
		                                      STR_ARG(call->words[2])));
	else if (str_is(what, "release"))
		decide(call, BREAKER_OPEN, WISH_RELEASE);
	else if (str_is(what, "drop"))
		decide(call, breaker_state(s->breaker, call->words[2]) == BREAKER_LOCKED ? BREAKER_LOCKED : BREAKER_OPEN, WISH_REMOVE);
	else if (str_is(what, "lock"))
		lock(call);
	else
		finish(call, ERR_BAD, STR("the running server does not know that command: restart it, so that it is the program that asks"));
}

const struct control_verb server_control_verbs[] = {
	{ "reload", reload_asked },
	{ "status", server_status_asked },
	{ "accounts", accounts_asked },
	{ "account", account_asked },
	{ "queue", queue_asked },
	{ "deny", deny_asked },
	{ "key", key_watch_asked },
	{ NULL, NULL },
};
