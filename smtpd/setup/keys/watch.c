/* SPDX-License-Identifier: ISC */
/*
 * watch: see watch.h.  What is watched, when its turn comes, what goes to the slow
 * desk, and what verbs ask.  Main thread, but for the two `work` functions there.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/keys/watch_inside.h"
#include "smtpd/setup/verbs.h"

#define LOOK_MS     5000           /* of looks in one job: others wait at the slow desk, too */
#define PAUSE_MS    50             /* between two jobs */
#define TIMER_MOST  ((uint64_t)3600 * 1000)

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
			item_want(w, d->name, s->head.title, now + (look < WATCH_FIRST_S ? look : WATCH_FIRST_S));
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

/* ---- who asked for it hears ---------------------------------------------------------------------- */

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

	if (w == NULL) {               /* the watch has gone: main's loop is being freed */
		free(r);
		return;
	}
	round_apply(w, r);             /* may use another generation from here on */
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
