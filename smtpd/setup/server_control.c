/* SPDX-License-Identifier: ISC */
/*
 * What the running server answers on its control socket: reload, status,
 * accounts (look again), queue.  Main thread; store reads go to the disk desk.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "queue/report.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/base/stat.h"
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

/* ---- status ----------------------------------------------------------------------- */

struct figures {
	struct queue_figures queue;
	struct timetable_figures way_out;
	uint64_t sessions, loop_longest_ms;
	int64_t up_s;
};

static void gather(const struct server *s, struct figures *f)
{
	*f = (struct figures){ .up_s = clock_wall() - s->started };
	queue_figures(s->queue, &f->queue);
	timetable_figures(s->timetable, &f->way_out);
	for (size_t i = 0; i < s->nloops; i++) {
		f->sessions += front_sessions(s->fronts[i]);
		if (loop_longest(s->loops[i]) > f->loop_longest_ms)
			f->loop_longest_ms = loop_longest(s->loops[i]);
	}
}

static char *status_json(const struct server *s, const struct figures *f)
{
	struct json *j = json_new_object(), *counters;

	json_set_c(j, "version", POSTERN_VERSION);
	json_set(j, "hostname", s->now->config->hostname);
	json_set_num(j, "up_seconds", f->up_s);
	json_set_num(j, "sessions", (int64_t)f->sessions);
	json_set_num(j, "queued", (int64_t)f->way_out.messages);
	json_set_num(j, "waiting", (int64_t)f->way_out.waiting);
	json_set_num(j, "held", (int64_t)f->way_out.held);
	json_set_num(j, "aside", (int64_t)f->way_out.aside);
	json_set_num(j, "leased", (int64_t)f->way_out.leased);
	json_set_num(j, "delivered", (int64_t)f->way_out.delivered);
	json_set_num(j, "deferred", (int64_t)f->way_out.deferred);
	json_set_num(j, "bounced", (int64_t)f->way_out.bounced);
	json_set_num(j, "oldest", (int64_t)f->way_out.oldest);
	json_set_num(j, "stored", (int64_t)f->queue.puts);
	json_set_num(j, "commits", (int64_t)f->queue.commits);
	json_set_num(j, "batch_longest", (int64_t)f->queue.batch_longest);
	json_set_num(j, "store_used", (int64_t)f->queue.map_used);
	json_set_num(j, "store_size", (int64_t)f->queue.map_size);
	json_set_num(j, "loop_longest_ms", (int64_t)f->loop_longest_ms);
	json_set_num(j, "log_dropped", (int64_t)log_dropped());
	counters = json_set_object(j, "counters");
	for (unsigned i = 0; i < stat_count(); i++)
		json_set_num(counters, stat_name(i), (int64_t)stat_sum(i));
	return json_text(j);
}

static str span_text(struct arena *a, int64_t s)
{
	if (s < 120)
		return arena_printf(a, "%" PRId64 " s", s);
	if (s < 7200)
		return arena_printf(a, "%" PRId64 " min", s / 60);
	if (s < 2 * 86400)
		return arena_printf(a, "%" PRId64 " h", s / 3600);
	return arena_printf(a, "%" PRId64 " days", s / 86400);
}

static str aside_text(struct arena *a, uint64_t n)
{
	if (n == 0)
		return STR("");
	return arena_printf(a, "           %" PRIu64 " message%s set aside, which the server does not trust: see \"postern queue list\"\n",
	                    n, n == 1 ? "" : "s");
}

static str status_text(const struct server *s, const struct figures *f, struct arena *a)
{
	int64_t oldest = f->way_out.oldest ? clock_wall() - (int64_t)f->way_out.oldest : 0;

	return arena_printf(a,
		"postern %s on %.*s, up %.*s\n"
		"sessions   %" PRIu64 " now\n"
		"queue      %" PRIu64 " message%s, oldest %.*s; %" PRIu64 " recipient%s waiting, %" PRIu64 " held, %" PRIu64 " being delivered\n"
		"%.*s"
		"so far     %" PRIu64 " stored, %" PRIu64 " delivered, %" PRIu64 " put off, %" PRIu64 " bounced\n"
		"store      %" PRIu64 " MiB of %" PRIu64 " MiB used, %" PRIu64 " commits, %" PRIu64 " messages in the largest\n"
		"loops      longest turn %" PRIu64 " ms\n",
		POSTERN_VERSION, STR_ARG(s->now->config->hostname), STR_ARG(span_text(a, f->up_s)), f->sessions,
		f->way_out.messages, f->way_out.messages == 1 ? "" : "s", STR_ARG(span_text(a, oldest)),
		f->way_out.waiting, f->way_out.waiting == 1 ? "" : "s", f->way_out.held,
		f->way_out.leased, STR_ARG(aside_text(a, f->way_out.aside)), f->queue.puts, f->way_out.delivered, f->way_out.deferred, f->way_out.bounced,
		f->queue.map_used >> 20, f->queue.map_size >> 20, f->queue.commits, f->queue.batch_longest,
		f->loop_longest_ms);
}

static bool wants_json(const struct control_call *call)
{
	for (size_t i = 1; i < call->nwords; i++)
		if (str_is(call->words[i], "--json"))
			return true;
	return false;
}

static void status_asked(struct control_call *call)
{
	const struct server *s = call->house;
	struct figures f;

	gather(s, &f);
	if (wants_json(call)) {
		char *text = status_json(s, &f);

		say_line(call, str_of(text));
		free(text);
	} else {
		control_say(call, status_text(s, &f, &call->arena));
	}
	control_end(call, EXIT_DONE);
}

/* ---- queue list, show -------------------------------------------------------------- */

struct looking {                       /* a report being made on the disk desk */
	struct job           job;
	struct control_call *call;
	struct queue        *queue;
	bool                 one;
	struct queue_look    look;      /* its words are the call's */
	uint64_t             id;
	struct buf           text;
	enum err             result;
};

static void look_now(struct job *j)
{
	struct looking *l = SUPER(j, struct looking, job);

	l->result = l->one ? queue_report_show(l->queue, l->id, l->look.json, &l->text)
	                   : queue_report_list(l->queue, &l->look, &l->text);
}

static void looked(struct baton *b)
{
	struct looking *l = SUPER(SUPER(b, struct job, baton), struct looking, job);

	if (l->result == OK)
		control_say(l->call, buf_str(&l->text));
	finish(l->call, l->result, l->result == ERR_ABSENT ? no_such_message(l->call) : STR_NONE);
	buf_fini(&l->text);
	free(l);
}

static void report_asked(struct control_call *call, bool one, uint64_t id, const struct queue_look *look)
{
	struct server *s = call->house;
	struct looking *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		finish(call, ERR_MEMORY, STR_NONE);
		return;
	}
	l->call = call;
	l->queue = s->queue;
	l->one = one;
	l->id = id;
	l->look = *look;
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

static bool wish_asked(struct control_call *call, uint64_t id, const struct queue_filter *filter)
{
	struct server *s = call->house;

	for (size_t i = 0; i < COUNT(wishes); i++) {
		struct wishing *w;

		if (!str_is(call->words[1], wishes[i].word))
			continue;
		w = calloc(1, sizeof(*w));
		must(w != NULL);
		w->call = call;
		w->server = s;
		w->filter = *filter;
		w->wish.what = (int)wishes[i].what;
		w->wish.id = id;
		w->wish.baton.home = s->main->mbox;
		w->wish.baton.arrived = wish_came_home;
		w->job.work = find_ids;
		w->job.baton.home = s->main->mbox;
		w->job.baton.arrived = ids_found;
		if (queue_filter_is_empty(filter))
			timetable_wish(s->timetable, &w->wish);
		else
			desk_submit_anyway(s->slow, &w->job);
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
		report_asked(call, false, 0, &look);
	else if (str_is(verb, "show") && id != 0)
		report_asked(call, true, id, &look);
	else if (!wish_asked(call, id, &look.filter))
		finish(call, ERR_BAD, STR("the running server does not know that command: restart it, so that it is the program that asks"));
}

const struct control_verb server_control_verbs[] = {
	{ "reload", reload_asked },
	{ "status", status_asked },
	{ "accounts", accounts_asked },
	{ "queue", queue_asked },
	{ "deny", deny_asked },
	{ NULL, NULL },
};
