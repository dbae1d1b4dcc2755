/* SPDX-License-Identifier: ISC */
/*
 * watch: see watch.h.  Main thread, but for the two `work` functions of the slow desk.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/keys/key_inside.h"
#include "smtpd/setup/keys/watch.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define LOOK_MS     5000           /* of looks in one job: others wait at the slow desk, too */
#define FIRST_S     60             /* after the start a key by hand is looked at */
#define AGAIN_S     300            /* after a step that failed */
#define PAUSE_MS    50             /* between two jobs */
#define TIMER_MOST  ((uint64_t)3600 * 1000)

/* A managed domain (no selector), or a key by hand.  Its own memory. */
struct item {
	struct item *next;
	char        *domain, *selector, *said;
	bool         wanted;           /* by the newest generation */
	bool         signs, troubled;
	int64_t      due;
	/* what a verb asked for */
	struct control_call *call;
	enum step_wish       wish;
	bool                 hasty;
};

struct key_watch {
	struct server    *server;
	struct loop_timer timer;
	struct item      *items;
	struct round     *round;       /* out at the slow desk; NULL: none */
	bool              stopped;
	bool              behind;      /* keys were made that the ring does not have yet */
};

struct round {
	struct job         job;
	struct key_watch  *watch;
	struct item       *item;
	struct control_call *call;     /* who asked for it; NULL: the calendar */
	struct generation *g;          /* one user more, while this is out */
	struct arena       arena;
	enum err           result;
	str                why;
	struct step        step;       /* of a managed domain */
	struct life_key    key;        /* of a key by hand … */
	struct key_look    look;       /* … and what was seen of it */
};

/* ---- items ------------------------------------------------------------------------------- */

static struct item *item_find(struct key_watch *w, str domain, str selector)
{
	for (struct item *i = w->items; i != NULL; i = i->next)
		if (str_is(domain, i->domain) && (i->selector != NULL ? str_is(selector, i->selector) : selector.n == 0))
			return i;
	return NULL;
}

static char *copy(str s)
{
	char *p = strndup(s.p != NULL ? s.p : "", s.n);

	must(p != NULL);
	return p;
}

static void item_want(struct key_watch *w, str domain, str selector, int64_t due)
{
	struct item *i = item_find(w, domain, selector), **at = &w->items;

	if (i == NULL) {
		i = calloc(1, sizeof(*i));
		must(i != NULL);
		i->domain = copy(domain);
		i->selector = selector.n > 0 ? copy(selector) : NULL;
		i->signs = selector.n > 0;
		i->due = due;
		while (*at != NULL)
			at = &(*at)->next;
		*at = i;
	}
	i->wanted = true;
	if (selector.n == 0)
		i->due = 0;            /* its plan may be another now */
}

static void item_free(struct item *i)
{
	free(i->domain);
	free(i->selector);
	free(i->said);
	free(i);
}

/* What is out at the desk or was asked for by a verb goes later. */
static void drop_unwanted(struct key_watch *w)
{
	struct item **at = &w->items;

	while (*at != NULL) {
		struct item *i = *at;

		if (i->wanted || i->call != NULL || (w->round != NULL && w->round->item == i)) {
			at = &i->next;
			continue;
		}
		*at = i->next;
		item_free(i);
	}
}

static void want_domain(struct key_watch *w, const struct config *c, const struct domain_section *d, int64_t now)
{
	if (d->keys.head.given)
		item_want(w, d->name, STR_NONE, 0);
	for (size_t k = 0; k < d->dkim.n; k++) {
		const struct dkim_section *s = d->dkim.v[k];
		int64_t look = (int64_t)(s->look_ms / 1000);

		if (key_gate_by_hand(c, d, s) != NULL)
			item_want(w, d->name, s->head.title, now + (look < FIRST_S ? look : FIRST_S));
	}
}

/* ---- the timer ------------------------------------------------------------------------------ */

static struct item *next_item(struct key_watch *w)
{
	struct item *best = NULL;

	for (struct item *i = w->items; i != NULL; i = i->next) {
		if (!i->wanted && i->call == NULL)
			continue;
		if (best == NULL || (best->call == NULL && i->call != NULL) || ((best->call != NULL) == (i->call != NULL) && i->due < best->due))
			best = i;
	}
	return best;
}

static void wind(struct key_watch *w)
{
	const struct item *i = next_item(w);
	int64_t now = clock_wall();
	uint64_t ms = PAUSE_MS;

	if (w->stopped || w->round != NULL || i == NULL)
		return;
	if (i->call == NULL && i->due > now)
		ms = (uint64_t)(i->due - now) < TIMER_MOST / 1000 ? (uint64_t)(i->due - now) * 1000 : TIMER_MOST;
	loop_timer_set(&w->timer, ms);
}

/* ---- at the slow desk -------------------------------------------------------------------------- */

static void step_now(struct job *j)
{
	struct round *r = SUPER(j, struct round, job);

	r->result = step_take(&r->step, &r->why);
}

static void look_now(struct job *j)
{
	struct round *r = SUPER(j, struct round, job);
	struct key_plan plan = { .domain = r->step.domain->name };
	struct direct_conf conf;
	struct dns_conf resolver;
	struct direct *d;

	direct_conf_of(r->g->config, &conf, &resolver);
	d = direct_open(&conf, &r->arena, &r->why);
	r->result = d != NULL ? OK : ERR_BUSY;
	if (d == NULL)
		return;
	key_look(d, &plan, &r->key, &r->arena, &r->look);
	direct_close(d);
}

/* ---- what came of it ------------------------------------------------------------------------------ */

static void remember(struct item *i, str said, bool signs, bool troubled)
{
	free(i->said);
	i->said = copy(said);
	i->signs = signs;
	i->troubled = troubled;
}

static void log_news(const struct step *s)
{
	for (size_t i = 0; i < s->told.n; i++) {
		const struct life_news *n = &s->told.v[i];

		log_event(NULL, n->event == LIFE_NEWS_DRIFT ? LOG_WARN : LOG_NOTICE, life_event_word(n->event), KV("domain", s->plan.domain),
		          KV("selector", n->selector), KV("what", n->text));
	}
	if (s->changed > 0)
		log_event(NULL, LOG_NOTICE, "key.records-written", KV("domain", s->plan.domain), KV("server", s->plan.update->server),
		          KV_N("records", s->changed));
	if (s->trouble.n > 0)
		log_event(NULL, LOG_ERROR, "key.failed", KV("domain", s->plan.domain), KV("why", s->trouble));
}

static void set_gates(const struct step *s)
{
	for (size_t i = 0; i < s->book.n; i++) {
		const struct life_key *k = &s->book.keys[i];
		struct dkim_gate *gate = key_gate(s->plan.domain, k->selector, false);

		if (gate != NULL)
			gate->open = life_signs(&s->book, k);
	}
}

static void step_failed(struct round *r)
{
	struct item *i = r->item;

	log_event(NULL, LOG_ERROR, "key.failed", KV_C("domain", i->domain), KV("why", r->why.n > 0 ? r->why : str_of(err_text(r->result))));
	remember(i, r->why, i->signs, true);
	i->due = clock_wall() + AGAIN_S;
}

/* Never at once but for looks that are left: what could not be done now cannot be
 * done a moment later. */
static int64_t when_again(const struct step *s)
{
	int64_t next = s->next > s->now ? s->next : s->now + 1;

	if (s->trouble.n > 0)
		return next > s->now + AGAIN_S ? s->now + AGAIN_S : next < s->now + FIRST_S ? s->now + FIRST_S : next;
	return s->more ? s->now : next;
}

static void step_done(struct key_watch *w, struct round *r)
{
	struct step *s = &r->step;
	struct item *i = r->item;
	bool signed_before = i->signs, signs = life_any_signs(&s->book), troubled = life_troubled(&s->plan.life, &s->book, s->now);
	str said = life_summary(&s->plan.life, &s->book, s->now, &r->arena), why = STR_NONE;

	log_news(s);
	set_gates(s);
	if (i->said == NULL || !str_is(said, i->said))
		log_event(NULL, troubled ? LOG_WARN : LOG_NOTICE, "keys.seen", KV_C("domain", i->domain), KV("what", said));
	remember(i, said, signs, troubled);
	i->due = when_again(s);
	w->behind = w->behind || s->made;
	if (w->behind && !w->server->stopping) {
		w->behind = server_reload(w->server, &why) != OK;
		if (w->behind)
			log_event(NULL, LOG_ERROR, "configuration.refused", KV_C("file", w->server->file), KV("why", why),
			          KV_C("means", "the new keys cannot sign yet: mend it and reload"));
	}
	if (signs && !signed_before)
		server_release_unsigned(w->server, s->plan.domain);
}

static void look_done(struct key_watch *w, struct round *r)
{
	struct item *i = r->item;
	struct dkim_gate *gate = key_gate(str_of(i->domain), str_of(i->selector), true);
	bool other = r->result == OK && r->look.sight == LIFE_OTHER, shown = r->result == OK && r->look.sight == LIFE_SHOWN;

	if (gate == NULL)
		return;
	if (other && (gate->open || i->said == NULL || !str_is(r->look.said, i->said)))
		log_event(NULL, LOG_WARN, "key.drifted", KV_C("domain", i->domain), KV_C("selector", i->selector), KV("what", r->look.said),
		          KV_C("next", "it does not sign until DNS shows its record again; `postern key show` prints that"));
	if (shown && !gate->open)
		log_event(NULL, LOG_NOTICE, "key.mended", KV_C("domain", i->domain), KV_C("selector", i->selector),
		          KV_C("what", "DNS shows its record: it signs again"));
	if (other || shown)
		gate->open = shown;
	remember(i, r->look.said, gate->open, other || (i->troubled && !shown));
	if (shown && !w->server->stopping)
		server_release_unsigned(w->server, str_of(i->domain));
}

static void say_line(struct control_call *call, str text)
{
	control_say(call, text);
	if (text.n == 0 || text.p[text.n - 1] != '\n')
		control_say(call, STR("\n"));
}

static void answer(struct round *r)
{
	struct control_call *call = r->call;

	r->call = NULL;
	if (call == NULL)
		return;
	if (r->result == OK)
		say_line(call, key_step_text(&r->step, &r->arena));
	else
		say_line(call, arena_printf(&r->arena, "%s: %.*s", r->item->domain, STR_ARG(r->why.n > 0 ? r->why : str_of(err_text(r->result)))));
	control_end(call, r->result == OK ? EXIT_DONE : EXIT_FINDING);
}

static void round_free(struct round *r)
{
	server_let_go(r->g);
	arena_fini(&r->arena);
	free(r);
}

static void came_home(struct baton *b)
{
	struct round *r = SUPER(SUPER(b, struct job, baton), struct round, job);
	struct key_watch *w = r->watch;
	struct item *i = r->item;

	if (w == NULL) {               /* the watch has gone: main's loop is being freed */
		free(r);
		return;
	}
	if (i->selector != NULL)
		look_done(w, r);
	else if (r->result == OK || r->result == ERR_DENIED)
		step_done(w, r);       /* may use another generation from here on */
	else
		step_failed(r);
	answer(r);
	w->round = NULL;
	round_free(r);
	drop_unwanted(w);
	wind(w);
}

/* ---- sending a job out ------------------------------------------------------------------------------- */

/* The record of a key by hand, of the ring's own copy of it. */
static bool know_key(struct round *r, const struct domain_section *d)
{
	const struct item *i = r->item;

	for (size_t k = 0; k < d->dkim.n; k++) {
		const struct dkim_section *s = d->dkim.v[k];
		struct dkim_keyring *ring = ((const struct dkim_conf *)config_module(r->g->config, &dkim_module))->keyring;
		const struct dkim_signer *signer;
		size_t at = 0;

		if (!str_is(s->head.title, i->selector))
			continue;
		r->item->due = clock_wall() + (int64_t)(s->look_ms / 1000);
		while ((signer = dkim_keyring_find(ring, d->name, &at)) != NULL)
			if (str_is(signer->selector, i->selector)) {
				r->key = (struct life_key){ .selector = str_of(i->selector), .state = LIFE_ACTIVE };
				return dkim_key_record(signer->key, &r->arena, &r->key.record) == OK;
			}
	}
	return false;
}

static void send_out(struct key_watch *w, struct item *i)
{
	struct server *s = w->server;
	const struct domain_section *d = config_domain_of(s->now->config, str_of(i->domain));
	struct round *r = calloc(1, sizeof(*r));

	must(r != NULL);
	arena_init(&r->arena, ARENA_UNBOUNDED);
	r->watch = w;
	r->item = i;
	r->g = s->now;
	r->g->users++;
	r->call = i->call;
	i->call = NULL;
	r->step = (struct step){ .config = s->now->config, .domain = d, .arena = &r->arena, .wish = r->call != NULL ? i->wish : STEP_TURN,
		                 .hasty = r->call != NULL && i->hasty, .now = clock_wall(), .look_ms = LOOK_MS };
	if (d == NULL || (i->selector != NULL && !know_key(r, d))) {
		i->due = INT64_MAX;
		r->result = ERR_ABSENT;
		answer(r);
		round_free(r);
		wind(w);
		return;
	}
	r->job.work = i->selector != NULL ? look_now : step_now;
	r->job.baton.home = s->main->mbox;
	r->job.baton.arrived = came_home;
	w->round = r;
	desk_submit_anyway(s->slow, &r->job);
}

static void rang(struct loop_timer *t)
{
	struct key_watch *w = SUPER(t, struct key_watch, timer);
	struct item *i = next_item(w);

	if (w->stopped || w->round != NULL || i == NULL)
		return;
	if (i->call != NULL || i->due <= clock_wall())
		send_out(w, i);
	else
		wind(w);
}

/* ---- its life -------------------------------------------------------------------------------------------- */

struct key_watch *key_watch_new(struct server *s)
{
	struct key_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->server = s;
	loop_timer_init(&w->timer, s->main, "keys", rang);
	return w;
}

void key_watch_use(struct key_watch *w, struct generation *g)
{
	int64_t now = clock_wall();

	if (w == NULL)
		return;
	for (struct item *i = w->items; i != NULL; i = i->next)
		i->wanted = false;
	for (size_t i = 0; i < g->config->domains.n; i++)
		want_domain(w, g->config, g->config->domains.v[i], now);
	drop_unwanted(w);
	wind(w);
}

void key_watch_stop(struct key_watch *w)
{
	if (w == NULL)
		return;
	w->stopped = true;
	loop_timer_stop(&w->timer);
}

void key_watch_free(struct key_watch *w)
{
	if (w == NULL)
		return;
	if (w->round != NULL) {
		if (w->round->call != NULL)
			control_end(w->round->call, EXIT_LATER);
		w->round->watch = NULL;     /* its baton is in main's mailbox */
		server_let_go(w->round->g);
		arena_fini(&w->round->arena);
	}
	while (w->items != NULL) {
		struct item *next = w->items->next;

		if (w->items->call != NULL)
			control_end(w->items->call, EXIT_LATER);
		item_free(w->items);
		w->items = next;
	}
	free(w);
}

/* ---- asked -------------------------------------------------------------------------------------------------- */

static void refuse(struct control_call *call, str why)
{
	say_line(call, why);
	control_end(call, EXIT_FINDING);
}

/* `key step` without a domain: all of them, in their order. */
static void step_all(struct key_watch *w, struct control_call *call)
{
	size_t n = 0;

	for (struct item *i = w->items; i != NULL; i = i->next)
		if (i->selector == NULL) {
			i->due = 0;
			n++;
		}
	wind(w);
	if (n == 0) {
		refuse(call, STR("no domain has a section keys: add keys {} to one"));
		return;
	}
	say_line(call, arena_printf(&call->arena, "the server looks at the keys of %zu domain%s now: see `postern key list`", n, n == 1 ? "" : "s"));
	control_end(call, EXIT_DONE);
}

void key_watch_asked(struct control_call *call)
{
	struct server *s = call->house;
	str what = call->nwords > 1 ? call->words[1] : STR(""), domain = call->nwords > 2 ? call->words[2] : STR("");
	struct item *i;
	bool hasty = false;

	for (size_t k = 2; k < call->nwords; k++) {
		hasty = hasty || str_is(call->words[k], "--force");
		if (str_is(call->words[k], "--now")) {
			refuse(call, STR("the server runs, by its own clock: stop it first, or leave --now out"));
			return;
		}
	}
	if (str_is(what, "step") && domain.n == 0) {
		step_all(s->keys, call);
		return;
	}
	i = item_find(s->keys, domain, STR_NONE);
	if (!str_is(what, "step") && !str_is(what, "rotate") && !str_is(what, "prepare"))
		refuse(call, STR("the running server does not know that command: restart it, so that it is the program that asks"));
	else if (i == NULL)
		refuse(call, arena_printf(&call->arena, "%.*s has no section keys in the running configuration: add keys {} to it and reload", STR_ARG(domain)));
	else if (i->call != NULL || s->stopping)
		refuse(call, arena_printf(&call->arena, "somebody else has asked the same of the keys of %.*s: ask again in a moment", STR_ARG(domain)));
	else {
		i->call = call;
		i->hasty = hasty;
		i->wish = str_is(what, "rotate") ? STEP_ROTATE : str_is(what, "prepare") ? STEP_PREPARE : STEP_TURN;
		if (i->wish == STEP_TURN)
			i->due = 0;
		wind(s->keys);
	}
}

/* ---- status --------------------------------------------------------------------------------------------------- */

static bool is_shown(const struct item *i)
{
	return i->wanted && i->said != NULL && (i->selector == NULL || i->troubled);
}

void key_watch_say(struct server *s, struct control_call *call)
{
	bool first = true;

	for (const struct item *i = s->keys != NULL ? s->keys->items : NULL; i != NULL; i = i->next) {
		if (!is_shown(i))
			continue;
		control_say(call, i->selector == NULL
		            ? arena_printf(&call->arena, "%s%s: %s\n", first ? "keys       " : "           ", i->domain, i->said)
		            : arena_printf(&call->arena, "%s%s: %s %s: %s\n", first ? "keys       " : "           ", i->domain,
		                           i->selector, i->signs ? "signs" : "does not sign", i->said));
		first = false;
	}
}

void key_watch_json(struct server *s, struct json *root)
{
	struct json *list = json_set_array(root, "keys");

	for (const struct item *i = s->keys != NULL ? s->keys->items : NULL; i != NULL; i = i->next) {
		struct json *j;

		if (!i->wanted)
			continue;
		j = json_add_object(list);
		json_set_c(j, "domain", i->domain);
		json_set_c(j, "selector", i->selector);
		json_set_bool(j, "signs", i->signs);
		json_set_bool(j, "troubled", i->troubled);
		json_set_c(j, "said", i->said);
	}
}
