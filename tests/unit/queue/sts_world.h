/* SPDX-License-Identifier: ISC */
/*
 * sts_world: a cache of policies, a name server and a web server that are tables,
 * and a clock that the test sets.
 */
#ifndef TESTS_STS_WORLD_H
#define TESTS_STS_WORLD_H

#include "tests/unit/queue/house.h"

#include "queue/deliver/sts_inside.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_local.h"

#define DAY   86400
#define START 1800000000

#define ENFORCE "version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 604800\n"
#define TESTING "version: STSv1\nmode: testing\nmx: *.example.test\nmax_age: 604800\n"
#define SHORT   "version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 1000\n"
#define TXT(id) "_mta-sts.example.test TXT v=STSv1; id=" id "\n"
#define WEB     "mta-sts.example.test A 192.0.2.80\nmta-sts.example.test AAAA 2001:db8::80\n"

/* ---- a web server that is a table --------------------------------------------------------- */

struct fake {
	struct fetcher    fetcher;
	struct loop      *loop;
	const char       *file;
	enum fetch_result result;
	bool              hold;
	int               fetches;
	struct fetch     *out[20];
	size_t            n;
	struct loop_call  later;
	char              asked[300];
};

static inline void fake_answers(struct loop_call *c)
{
	struct fake *f = SUPER(c, struct fake, later);
	struct fetch *out[COUNT(f->out)];
	size_t n = f->n;

	memcpy(out, f->out, sizeof(out));
	f->n = 0;
	for (size_t i = 0; i < n; i++) {
		out[i]->result = f->result;
		out[i]->text = str_of(f->file);
		out[i]->why = STR("the reason");
		out[i]->done(out[i]);
	}
}

static inline void fake_begin(struct fetcher *fetcher, struct fetch *x)
{
	struct fake *f = SUPER(fetcher, struct fake, fetcher);

	f->fetches++;
	snprintf(f->asked, sizeof(f->asked), "%.*s:%u%.*s at %.*s, %.*s, %zu, %llu", STR_ARG(x->host), x->port,
	         STR_ARG(x->path), STR_ARG(x->addresses), STR_ARG(x->type), x->most, (unsigned long long)x->timeout_ms);
	assert_true(f->n < COUNT(f->out));
	f->out[f->n++] = x;
	if (!f->hold && f->later.at == NULL)
		loop_defer(f->loop, &f->later, fake_answers);
}

static inline void fake_stop(struct fetcher *fetcher, struct fetch *x)
{
	struct fake *f = SUPER(fetcher, struct fake, fetcher);

	for (size_t i = 0; i < f->n; i++)
		if (f->out[i] == x)
			f->out[i] = f->out[--f->n];
}

static inline void fake_trust(struct fetcher *f, str ca)
{
	(void)f, (void)ca;
}

static inline void fake_end(struct fetcher *f)
{
	(void)f;
}

/* ---- the world ------------------------------------------------------------------------------- */

struct world {
	struct house h;
	struct loop *l;
	struct sts  *sts;
	struct fake  fake;
	bool         kept;             /* has a store */
};

static inline void now_is(int64_t t)
{
	clock_fix(START + t);
}

static inline void zone(struct world *w, const char *text)
{
	if (w->l->dns != NULL)
		dns_free(w->l->dns);
	w->l->dns = dns_with(dns_local_source(text), w->l, 2000);
}

static inline void tick(struct loop_timer *t)
{
	(void)t;
}

static inline void turn(struct world *w)
{
	struct loop_timer t;

	loop_timer_init(&t, w->l, "tick", tick);
	loop_timer_set(&t, 10);
	ev_run(w->l->ev, EVRUN_ONCE);
	loop_timer_stop(&t);
}

static inline void begin(struct world *w)
{
	const struct sts_conf conf = { .port = 443 };

	w->l = loop_new(0, NULL);
	w->fake.fetcher = (struct fetcher){ fake_begin, fake_stop, fake_trust, fake_end, fake_end };
	w->fake.loop = w->l;
	w->sts = sts_with(w->l, w->kept ? w->h.q : NULL, w->h.disk, &w->fake.fetcher, &conf);
	sts_begin(w->sts);
}

static inline void end(struct world *w)
{
	sts_end(w->sts);
	loop_undefer(&w->fake.later);
	dns_free(w->l->dns);
	if (w->kept)
		house_close(&w->h);            /* what the desk and the committer have comes home */
	loop_free(w->l);
	sts_free(w->sts);
}

static inline void open_world(struct world *w, bool kept)
{
	*w = (struct world){ .kept = kept, .fake = { .file = ENFORCE } };
	now_is(0);
	if (kept) {
		house_open(&w->h);
		house_start(&w->h);
	}
	begin(w);
	zone(w, TXT("1") WEB);
}

static inline void close_world(struct world *w)
{
	end(w);
	if (w->kept)
		house_burn(&w->h);
}

struct asked { struct sts_ask ask; struct arena arena; bool done; char text[600]; };

static inline void answered(struct sts_ask *ask, const struct sts_policy *p)
{
	struct asked *a = SUPER(ask, struct asked, ask);
	size_t n;

	assert_false(a->done);
	a->done = true;
	n = (size_t)snprintf(a->text, sizeof(a->text), "%s %.*s", sts_mode_text(p->mode), STR_ARG(p->id));
	for (size_t i = 0; i < p->mx.n; i++)
		n += (size_t)snprintf(a->text + n, sizeof(a->text) - n, " %.*s", STR_ARG(p->mx.v[i]));
	n += (size_t)snprintf(a->text + n, sizeof(a->text) - n, "%s%.*s", ask->fault.n ? " " : "", STR_ARG(ask->fault));
	if (ask->memory)
		snprintf(a->text + n, sizeof(a->text) - n, " memory");
	if (ask->fault.n > 0)
		assert_true(ask->why.n > 10);
}

static inline void begin_ask(struct world *w, struct asked *a, const char *domain)
{
	*a = (struct asked){ 0 };
	arena_init(&a->arena, 1 << 20);
	sts_find(w->sts, w->l, &a->arena, str_of(domain), &a->ask, answered);
	assert_false(a->done);                 /* never inside */
}

static const char *end_ask(struct world *w, struct asked *a)
{
	uint64_t until = clock_ms() + 10000;

	while (!a->done) {
		assert_true(clock_ms() < until);
		turn(w);
	}
	arena_fini(&a->arena);
	return a->text;
}

static inline void want(struct world *w, const char *domain, const char *text, int fetches)
{
	struct asked a;
	const char *got;

	begin_ask(w, &a, domain);
	got = end_ask(w, &a);
	if (strcmp(got, text) != 0)
		fail_msg("%s: \"%s\", not \"%s\"", domain, got, text);
	if (w->fake.fetches != fetches)
		fail_msg("%s: %d fetches, not %d", domain, w->fake.fetches, fetches);
}

static inline void settle(struct world *w)
{
	while (w->sts->looks > 0 && !w->fake.hold)
		turn(w);
}

#define IN_FORCE "enforce 1 mx.example.test"

#endif
