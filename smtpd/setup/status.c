/* SPDX-License-Identifier: ISC */
/*
 * `postern status`: one screen of what goes on.
 *
 * Figures are read at once; destinations in trouble are asked of the timetable,
 * and the answer is written when that comes home.  Main thread.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/base/stat.h"
#include "smtpd/setup/keys/watch.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

struct figures {
	struct queue_figures queue;
	struct timetable_figures way_out;
	uint64_t sessions, loop_longest_ms, memory, refused;      /* bytes of our own, without mapped files */
	int64_t up_s;
	double stored, delivered, deferred, bounced;     /* a minute, of late */
};

struct asking { struct control_call *call; struct server *server; bool json; };

/* ---- gathering ------------------------------------------------------------------------------ */

static struct pace pace_now(const struct queue_figures *q, const struct timetable_figures *w)
{
	return (struct pace){ clock_ms(), q->puts, w->delivered, w->deferred, w->bounced };
}

void server_note_pace(struct server *s)
{
	struct queue_figures q;
	struct timetable_figures w;

	queue_figures(s->queue, &q);
	timetable_figures(s->timetable, &w);
	s->pace[0] = s->pace[1].at_ms != 0 ? s->pace[1] : pace_now(&q, &w);
	s->pace[1] = pace_now(&q, &w);
}

/* Since the minute before the last one began: one to two minutes. */
static void gather_pace(const struct server *s, struct figures *f)
{
	const struct pace *then = &s->pace[0], now = pace_now(&f->queue, &f->way_out);
	double minutes = (double)(now.at_ms - then->at_ms) / 60000;

	if (minutes < 1)
		minutes = 1;            /* after a start: what there was, not what there might have been */
	f->stored = (double)(now.stored - then->stored) / minutes;
	f->delivered = (double)(now.delivered - then->delivered) / minutes;
	f->deferred = (double)(now.deferred - then->deferred) / minutes;
	f->bounced = (double)(now.bounced - then->bounced) / minutes;
}

static void gather(const struct server *s, struct figures *f)
{
	*f = (struct figures){ .up_s = clock_wall() - s->started, .memory = server_memory(), .refused = auth_refused_now(s->auth) };
	queue_figures(s->queue, &f->queue);
	timetable_figures(s->timetable, &f->way_out);
	for (size_t i = 0; i < s->nloops; i++) {
		f->sessions += front_sessions(s->fronts[i]);
		if (loop_longest(s->loops[i]) > f->loop_longest_ms)
			f->loop_longest_ms = loop_longest(s->loops[i]);
	}
	gather_pace(s, f);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void json_troubles(struct json *j, const struct troubles_ask *t)
{
	struct json *list = json_set_array(j, "troubles");

	for (size_t i = 0; i < t->n; i++) {
		struct json *one = json_add_object(list);

		json_set(one, "destination", t->v[i].destination);
		json_set(one, "why", t->v[i].why);
		json_set_num(one, "until", t->v[i].until);
		json_set_num(one, "times", t->v[i].times);
		json_set_num(one, "parts", (int64_t)t->v[i].parts);
	}
	json_set_num(j, "troubled", (int64_t)t->all);
}

static void json_figures(struct json *j, const struct figures *f)
{
	const struct { const char *name; uint64_t value; } table[] = {
		{ "sessions", f->sessions }, { "queued", f->way_out.messages }, { "waiting", f->way_out.waiting },
		{ "held", f->way_out.held }, { "aside", f->way_out.aside }, { "leased", f->way_out.leased },
		{ "delivered", f->way_out.delivered }, { "deferred", f->way_out.deferred },
		{ "bounced", f->way_out.bounced }, { "oldest", f->way_out.oldest }, { "stored", f->queue.puts },
		{ "commits", f->queue.commits }, { "batch_longest", f->queue.batch_longest },
		{ "store_used", f->queue.map_used }, { "store_size", f->queue.map_size },
		{ "memory", f->memory }, { "loop_longest_ms", f->loop_longest_ms }, { "log_dropped", log_dropped() },
		{ "refused", f->refused },
	};
	struct json *pace;

	for (size_t i = 0; i < COUNT(table); i++)
		json_set_num(j, table[i].name, (int64_t)table[i].value);
	pace = json_set_object(j, "a_minute");
	json_set_num(pace, "stored", (int64_t)(f->stored + 0.5));
	json_set_num(pace, "delivered", (int64_t)(f->delivered + 0.5));
	json_set_num(pace, "deferred", (int64_t)(f->deferred + 0.5));
	json_set_num(pace, "bounced", (int64_t)(f->bounced + 0.5));
}

static void json_one_shut(void *arg, const struct breaker_shut *b)
{
	struct json *one = json_add_object(arg);

	json_set(one, "account", b->account);
	json_set_c(one, "state", b->state == BREAKER_LOCKED ? "locked" : "held");
	if (b->since > 0)
		json_set_num(one, "since", b->since);
	else
		json_set_null(one, "since");
	json_set(one, "why", b->why.n > 0 ? b->why : STR_NONE);
	json_set(one, "next", STR("postern account release, drop or lock decides"));
}

static void say_json(struct asking *a, const struct figures *f, const struct troubles_ask *t)
{
	struct json *j = json_new_object(), *counters;
	char *text;

	json_set_c(j, "version", POSTERN_VERSION);
	json_set(j, "hostname", a->server->now->config->hostname);
	json_set_num(j, "up_seconds", f->up_s);
	json_figures(j, f);
	json_troubles(j, t);
	breaker_each_shut(a->server->breaker, json_one_shut, json_set_array(j, "accounts_held"));
	key_watch_json(a->server, j);
	counters = json_set_object(j, "counters");
	for (unsigned i = 0; i < stat_count(); i++)
		json_set_num(counters, stat_name(i), (int64_t)stat_sum(i));
	text = json_text(j);
	control_say(a->call, str_of(text));
	control_say(a->call, STR("\n"));
	free(text);
}

/* ---- in words ------------------------------------------------------------------------------------- */

static str span_text(struct arena *a, int64_t s)
{
	if (s < 120)
		return arena_printf(a, "%" PRId64 " s", s < 0 ? 0 : s);
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

static str figures_text(const struct server *s, const struct figures *f, struct arena *a)
{
	int64_t oldest = f->way_out.oldest ? clock_wall() - (int64_t)f->way_out.oldest : 0;

	return arena_printf(a,
		"postern %s on %.*s, up %.*s\n"
		"sessions   %" PRIu64 " now\n"
		"queue      %" PRIu64 " message%s, oldest %.*s; %" PRIu64 " recipient%s waiting, %" PRIu64 " held, %" PRIu64 " being delivered\n"
		"%.*s"
		"a minute   %.0f stored, %.0f delivered, %.0f put off, %.0f bounced\n"
		"so far     %" PRIu64 " stored, %" PRIu64 " delivered, %" PRIu64 " put off, %" PRIu64 " bounced\n"
		"store      %" PRIu64 " MiB of %" PRIu64 " MiB used, %" PRIu64 " commit%s, %" PRIu64 " message%s in the largest\n"
		"memory     %" PRIu64 " MiB; loops: longest turn %" PRIu64 " ms\n"
		"guessers   %" PRIu64 " address%s or network%s refused\n",
		POSTERN_VERSION, STR_ARG(s->now->config->hostname), STR_ARG(span_text(a, f->up_s)), f->sessions,
		f->way_out.messages, f->way_out.messages == 1 ? "" : "s", STR_ARG(span_text(a, oldest)),
		f->way_out.waiting, f->way_out.waiting == 1 ? "" : "s", f->way_out.held,
		f->way_out.leased, STR_ARG(aside_text(a, f->way_out.aside)), f->stored, f->delivered, f->deferred, f->bounced,
		f->queue.puts, f->way_out.delivered, f->way_out.deferred, f->way_out.bounced,
		f->queue.map_used >> 20, f->queue.map_size >> 20, f->queue.commits,
		f->queue.commits == 1 ? "" : "s", f->queue.batch_longest, f->queue.batch_longest == 1 ? "" : "s",
		f->memory >> 20, f->loop_longest_ms, f->refused, f->refused == 1 ? "" : "es",
		f->refused == 1 ? "" : "s");
}

/* What a peer said may hold anything. */
static str plain(struct arena *a, str s)
{
	char *p = arena_alloc(a, s.n);

	for (size_t i = 0; p != NULL && i < s.n; i++)
		p[i] = (unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] >= 0x7f ? '?' : s.p[i];
	return p != NULL ? (str){ p, s.n } : STR_NONE;
}

static void say_troubles(struct asking *a, const struct troubles_ask *t)
{
	struct arena *arena = &a->call->arena;

	for (size_t i = 0; i < t->n; i++) {
		const struct trouble *v = &t->v[i];
		str next = v->until == 0 ? STR("being tried") : arena_printf(arena, "next in %.*s", STR_ARG(span_text(arena, v->until - clock_wall())));

		control_say(a->call, arena_printf(arena, "%s%.*s (%zu waiting, %.*s): %.*s\n", i == 0 ? "trouble    " : "           ",
		                                  STR_ARG(plain(arena, v->destination)), v->parts, STR_ARG(next),
		                                  STR_ARG(plain(arena, str_head(v->why, 160)))));
	}
	if (t->all > t->n)
		control_say(a->call, arena_printf(arena, "           and %zu more\n", t->all - t->n));
}

static void say_one_shut(void *arg, const struct breaker_shut *b)
{
	struct asking *a = arg;
	struct arena *arena = &a->call->arena;
	str since = b->since > 0 ? arena_printf(arena, " for %.*s", STR_ARG(span_text(arena, clock_wall() - b->since))) : STR("");

	control_say(a->call, arena_printf(arena, "account    %.*s is %s%.*s: %.*s; `postern account release`, drop or lock decides\n",
	                                  STR_ARG(plain(arena, b->account)), b->state == BREAKER_LOCKED ? "locked" : "held",
	                                  STR_ARG(since), STR_ARG(plain(arena, b->why))));
}

/* ---- asked --------------------------------------------------------------------------------------------- */

static void troubles_came(struct baton *b)
{
	struct troubles_ask *t = SUPER(b, struct troubles_ask, baton);
	struct asking *a = t->user;
	struct figures f;

	gather(a->server, &f);
	if (a->json) {
		say_json(a, &f, t);
	} else {
		control_say(a->call, figures_text(a->server, &f, &a->call->arena));
		breaker_each_shut(a->server->breaker, say_one_shut, a);
		say_troubles(a, t);
		key_watch_say(a->server, a->call);
	}
	control_end(a->call, EXIT_DONE);
	troubles_ask_free(t);
	free(a);
}

static bool wants_json(const struct control_call *call)
{
	for (size_t i = 1; i < call->nwords; i++)
		if (str_is(call->words[i], "--json"))
			return true;
	return false;
}

void server_status_asked(struct control_call *call)
{
	struct server *s = call->house;
	struct asking *a = calloc(1, sizeof(*a));
	struct troubles_ask *t = troubles_ask_new();

	if (a == NULL || t == NULL) {
		free(a);
		if (t != NULL)
			troubles_ask_free(t);
		control_say(call, STR("out of memory\n"));
		control_end(call, EXIT_FINDING);
		return;
	}
	*a = (struct asking){ .call = call, .server = s, .json = wants_json(call) };
	t->user = a;
	t->baton.home = s->main->mbox;
	t->baton.arrived = troubles_came;
	timetable_troubles(s->timetable, t);
}
