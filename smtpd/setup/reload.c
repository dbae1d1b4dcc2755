/* SPDX-License-Identifier: ISC */
/*
 * Generations come and go.
 *
 * A reload with a fault changes nothing.  What cannot change without a restart
 * (state, user, loops, resolver, queue size) is named in the log.  Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/keeper.h"
#include "smtpd/setup/drop.h"
#include "smtpd/setup/doctor/watch.h"
#include "smtpd/setup/keys/watch.h"
#include "smtpd/setup/notify.h"
#include "smtpd/setup/reflect.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

/* ---- handing a generation out -------------------------------------------------- */

void server_let_go(struct generation *old)
{
	if (old != NULL && --old->users == 0)
		generation_free(old);
}

struct swap {
	struct front_swap swap;
	struct generation *old;
};

static void loop_let_go(struct baton *b)
{
	struct front_swap *f = SUPER(b, struct front_swap, baton);
	struct swap *w = SUPER(f, struct swap, swap);

	server_let_go(w->old);
	free((void *)(uintptr_t)f->listeners);
	free((void *)(uintptr_t)f->fds);
	free(w);
}

static void timetable_let_go(struct baton *b)
{
	struct setup_swap *w = SUPER(b, struct setup_swap, baton);

	server_let_go(SUPER(w->old_setup, struct generation, deliver));
	free(w);
}

struct sts_conf server_sts_conf(const struct config *c)
{
	return (struct sts_conf){ .ca = c->relay.ca, .port = (uint16_t)c->relay.sts_port };
}

/* The sockets of web {}: main's loop alone watches them. */
static void show_web(struct server *s, struct generation *g)
{
	const struct strs *address = &g->config->web.address;
	int *fds = calloc(address->n + 1, sizeof(*fds));
	size_t n = 0;

	must(fds != NULL);
	for (size_t i = 0; i < address->n; i++) {
		const struct opened *o = server_find_opened(s, address->v[i]);

		if (o != NULL)
			fds[n++] = o->fd;
	}
	web_use(s->web, g, fds, n);
	free(fds);
}

void server_use(struct server *s, struct generation *next)
{
	const struct sts_conf sts = server_sts_conf(next->config);
	struct generation *old = s->now == next ? NULL : s->now;

	if (old != NULL)
		sts_reconfigure(s->sts, &sts);
	next->deliver.sts = s->sts;
	next->session.breaker = s->breaker;
	next->session.reflectors = &next->config->reflectors;
	next->session.reflect = reflect_report;
	server_lends_cancel(s, &next->session);
	next->users = (unsigned)s->nloops + 1;
	server_end_zone_tests(s);
	if (old != NULL)
		dnsbl_inherit(generation_zones(next), generation_zones(old));
	s->now = next;
	server_test_zones(s);
	show_web(s, next);
	key_watch_use(s->keys, next);
	doctor_watch_use(s->doctor);
	drops_use(s->drops, next->config);
	for (size_t i = 0; i < s->nloops; i++) {
		struct swap *w = calloc(1, sizeof(*w));

		must(w != NULL);
		w->old = old;
		w->swap.baton.home = s->main->mbox;
		w->swap.baton.arrived = loop_let_go;
		w->swap.front = s->fronts[i];
		w->swap.setup = &next->session;
		server_listeners_for(s, next->config, &w->swap);
		front_swap(&w->swap);
	}
	if (old != NULL) {
		struct setup_swap *w = calloc(1, sizeof(*w));

		must(w != NULL);
		w->baton.home = s->main->mbox;
		w->baton.arrived = timetable_let_go;
		w->new_setup = &next->deliver;
		w->old_setup = &old->deliver;
		timetable_reconfigure(s->timetable, w);
	}
}

/* ---- behind all loops -------------------------------------------------------------- */

/* A post to every loop; when all have come home, all loops have taken a turn. */
struct fence {
	struct server *server;
	size_t left;
	void (*then)(struct server *, void *arg);
	void *arg;
};
struct fence_post { struct baton baton; struct fence *fence; };

static void post_came_home(struct baton *b)
{
	struct fence_post *p = SUPER(b, struct fence_post, baton);
	struct fence *f = p->fence;

	free(p);
	if (--f->left > 0)
		return;
	f->then(f->server, f->arg);
	free(f);
}

static void post_passed(struct baton *b)
{
	b->arrived = post_came_home;
	mbox_send(b->home, b);
}

void server_when_all_turned(struct server *s, void (*then)(struct server *, void *arg), void *arg)
{
	struct fence *f = calloc(1, sizeof(*f));

	must(f != NULL);
	*f = (struct fence){ s, s->nloops, then, arg };
	for (size_t i = 0; i < s->nloops; i++) {
		struct fence_post *p = calloc(1, sizeof(*p));

		must(p != NULL);
		p->fence = f;
		p->baton.home = s->main->mbox;
		p->baton.arrived = post_passed;
		loop_send(s->loops[i], &p->baton);
	}
}

static void close_unwanted(struct server *s, void *arg)
{
	(void)arg;
	server_close_unwanted(s);
}

static void loaded(struct server *s, void *arg)
{
	close_unwanted(s, arg);
	log_event(NULL, LOG_NOTICE, "configuration.loaded", KV_C("file", s->file));
}

/* ---- reload -------------------------------------------------------------------------- */

static bool same_lists(const struct strs *a, const struct strs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!str_eq(a->v[i], b->v[i]))
			return false;
	return true;
}

static void name_what_waits(const struct config *now, const struct config *next)
{
	const struct { const char *option; bool changed; } table[] = {
		{ "state", !str_eq(now->state, next->state) },
		{ "sendmail { directory }", !str_eq(now->sendmail.directory, next->sendmail.directory) },
		{ "user", !str_eq(now->user, next->user) },
		{ "loops", now->loops != next->loops },
		{ "resolver", !same_lists(&now->resolver.forward, &next->resolver.forward) ||
		              !str_eq(now->resolver.trust_anchor, next->resolver.trust_anchor) ||
		              !str_eq(now->resolver.records, next->resolver.records) },
		{ "auth { backend }", now->auth.backend != next->auth.backend ||
		              !str_eq(now->auth.saslauthd, next->auth.saslauthd) ||
		              !str_eq(now->auth.auxprop, next->auth.auxprop) ||
		              !same_lists(&now->auth.auxprop_options, &next->auth.auxprop_options) },
		{ "queue", now->queue.map_bytes != next->queue.map_bytes ||
		           now->queue.keep_finished_ms != next->queue.keep_finished_ms },
	};

	for (size_t i = 0; i < COUNT(table); i++)
		if (table[i].changed)
			log_event(NULL, LOG_WARN, "configuration.waits", KV_C("option", table[i].option),
			          KV_C("why", "this option takes effect at the next start"));
}

static void keep_sentence(str *why)
{
	static char text[4096];
	size_t n = why->n < sizeof(text) ? why->n : sizeof(text);

	if (n > 0)
		memmove(text, why->p, n);
	*why = (str){ text, n };
}

static enum err faults_to_sentence(const struct conf_faults *faults, struct arena *a, str *why)
{
	for (size_t i = 0; i < faults->n; i++)
		log_event(NULL, LOG_ERROR, "configuration.fault", KV_C("file", faults->v[i].file),
		          KV_I("line", faults->v[i].line), KV("text", faults->v[i].text));
	if (faults->n > 0)
		*why = arena_printf(a, "%s:%d: %.*s (%zu fault%s in all): the running configuration stays",
		                    faults->v[0].file ? faults->v[0].file : "?", faults->v[0].line,
		                    STR_ARG(faults->v[0].text), faults->n, faults->n == 1 ? "" : "s");
	return ERR_BAD;
}

static enum err next_generation(struct server *s, struct generation *g, str *why)
{
	const struct generation_needs needs = { keeper_open, s->auth, s->queue, s->secret, &s->denied };
	struct conf_faults faults;
	enum err e;

	if (keeper_reload() != OK)
		log_event(NULL, LOG_DEBUG, "keeper.refused", KV_C("file", s->file));
	e = config_read(s->file, keeper_open, &g->arena, &g->config, &faults, why);
	if (e == ERR_BAD)
		return faults_to_sentence(&faults, &g->arena, why);
	if (e == OK)
		e = auth_reconfigure(s->auth, &g->config->auth, &g->arena, why);
	if (e == OK)
		e = generation_build(g, &needs, why);
	if (e == OK)
		e = server_open_listeners(s, g->config, NULL, 0, why);
	return e;
}

/* Puts back what the attempt has touched. */
static void stay_as_it_was(struct server *s, struct generation *g, str *why)
{
	const struct config *before = s->now->config;
	str said = STR_NONE;

	keep_sentence(why);
	server_open_listeners(s, before, NULL, 0, &said);
	/* Not at once: a loop may still watch what an earlier reload gave up. */
	server_when_all_turned(s, close_unwanted, NULL);
	auth_reconfigure(s->auth, &before->auth, &g->arena, &said);
	generation_free(g);
}

static void loop_looks(struct baton *b)
{
	front_look_at_logins();
	free(b);
}

/* Who was removed is not served any longer. */
void server_look_at_logins(const struct server *s)
{
	for (size_t i = 0; i < s->nloops; i++) {
		struct baton *b = calloc(1, sizeof(*b));

		must(b != NULL);
		b->arrived = loop_looks;
		loop_send(s->loops[i], b);
	}
}

static enum err reload(struct server *s, str *why)
{
	struct generation *g = calloc(1, sizeof(*g));
	struct config *before = s->now->config;
	enum err e;

	if (g == NULL)
		return ERR_MEMORY;
	arena_init(&g->arena, ARENA_UNBOUNDED);
	e = next_generation(s, g, why);
	if (e != OK) {
		stay_as_it_was(s, g, why);
		return e;
	}
	name_what_waits(before, g->config);
	if (log_open(g->config->log.to == 2 ? LOG_TO_FILE : g->config->log.to == 1 ? LOG_TO_SYSLOG : LOG_TO_STDERR,
	             str_cstr(&g->arena, g->config->log.file), why) != OK)
		log_event(NULL, LOG_ERROR, "log.kept", KV("why", *why), KV_C("next", "the log goes on where it went before; "
		          "mend it and reload again"));
	log_level_set((enum log_level)g->config->log.level);
	server_use(s, g);
	server_look_at_logins(s);
	server_when_all_turned(s, loaded, NULL);   /* they have taken the swap by then */
	return OK;
}

enum err server_reload(struct server *s, str *why)
{
	enum err e;

	/* Fronts and timetable are going: there is nobody to hand it to. */
	if (s->stopping) {
		*why = STR("the server is stopping");
		return ERR_CLOSED;
	}
	notify_reloading();
	e = reload(s, why);
	notify_say("READY=1");
	return e;
}

void server_look_again(struct server *s)
{
	struct arena a;
	bool changed = false;
	str why = STR_NONE;

	arena_init(&a, 1 << 20);
	if (auth_look_again(s->auth, false, &changed, &a, &why) != OK)
		log_event(NULL, LOG_ERROR, "accounts.refused", KV("why", why));
	if (s->now->tls != NULL)
		tls_server_look_again(s->now->tls);
	if (generation_is_behind(s->now, keeper_open))
		changed = true;
	server_look_at_denied(s);
	server_test_zones(s);
	server_look_at_logins(s);               /* certificates may have been revoked, or have expired */
	if (changed && server_reload(s, &why) != OK)
		log_event(NULL, LOG_ERROR, "configuration.refused", KV_C("file", s->file), KV("why", why));
	arena_fini(&a);
}
