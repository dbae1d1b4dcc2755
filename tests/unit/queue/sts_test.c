/* SPDX-License-Identifier: ISC */
/* When a policy is asked for, fetched, believed, kept, refreshed and forgotten. */
#include "tests/unit/queue/house.h"

#include <pthread.h>
#include <stdatomic.h>

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

static void fake_answers(struct loop_call *c)
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

static void fake_begin(struct fetcher *fetcher, struct fetch *x)
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

static void fake_stop(struct fetcher *fetcher, struct fetch *x)
{
	struct fake *f = SUPER(fetcher, struct fake, fetcher);

	for (size_t i = 0; i < f->n; i++)
		if (f->out[i] == x)
			f->out[i] = f->out[--f->n];
}

static void fake_trust(struct fetcher *f, str ca)
{
	(void)f, (void)ca;
}

static void fake_end(struct fetcher *f)
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

static void now_is(int64_t t)
{
	clock_fix(START + t);
}

static void zone(struct world *w, const char *text)
{
	if (w->l->dns != NULL)
		dns_free(w->l->dns);
	w->l->dns = dns_with(dns_local_source(text), w->l, 2000);
}

static void tick(struct loop_timer *t)
{
	(void)t;
}

static void turn(struct world *w)
{
	struct loop_timer t;

	loop_timer_init(&t, w->l, "tick", tick);
	loop_timer_set(&t, 10);
	ev_run(w->l->ev, EVRUN_ONCE);
	loop_timer_stop(&t);
}

static void begin(struct world *w)
{
	const struct sts_conf conf = { .port = 443 };

	w->l = loop_new(0, NULL);
	w->fake.fetcher = (struct fetcher){ fake_begin, fake_stop, fake_trust, fake_end, fake_end };
	w->fake.loop = w->l;
	w->sts = sts_with(w->l, w->kept ? w->h.q : NULL, w->h.disk, &w->fake.fetcher, &conf);
	sts_begin(w->sts);
}

static void end(struct world *w)
{
	sts_end(w->sts);
	loop_undefer(&w->fake.later);
	dns_free(w->l->dns);
	if (w->kept)
		house_close(&w->h);            /* what the desk and the committer have comes home */
	loop_free(w->l);
	sts_free(w->sts);
}

static void open_world(struct world *w, bool kept)
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

static void close_world(struct world *w)
{
	end(w);
	if (w->kept)
		house_burn(&w->h);
}

struct asked { struct sts_ask ask; struct arena arena; bool done; char text[600]; };

static void answered(struct sts_ask *ask, const struct sts_policy *p)
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

static void begin_ask(struct world *w, struct asked *a, const char *domain)
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

static void want(struct world *w, const char *domain, const char *text, int fetches)
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

static void settle(struct world *w)
{
	while (w->sts->looks > 0 && !w->fake.hold)
		turn(w);
}

#define IN_FORCE "enforce 1 mx.example.test"

/* ---- tests ---------------------------------------------------------------------------------------- */

static void domains_without_a_policy(void **state)
{
	static const char *const domains[] = {
		"example.test", "two.test", "spf.test", "bad.test", "fail.test", "absent.test",
		"[192.0.2.1]", "", ".", "a b.test", "a/b.test", "example.test.", "@", "user@example.test",
	};
	struct world w;

	(void)state;
	open_world(&w, false);
	zone(&w, "_mta-sts.two.test TXT v=STSv1; id=1\n_mta-sts.two.test TXT v=STSv1; id=2\n"
	         "_mta-sts.spf.test TXT v=spf1 -all\n_mta-sts.bad.test TXT v=STSv1; id=a-b\n_mta-sts.fail.test TXT SERVFAIL\n");
	for (size_t i = 0; i < COUNT(domains); i++)
		want(&w, domains[i], "none ", 0);
	close_world(&w);
}

static void a_policy_is_fetched_once(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	assert_string_equal(w.fake.asked, "mta-sts.example.test:443/.well-known/mta-sts.txt at "
	                    "192.0.2.80,[2001:db8::80], text/plain, 65536, 60000");
	want(&w, "EXAMPLE.test", IN_FORCE, 1);
	now_is(DAY / 2);
	want(&w, "example.test", IN_FORCE, 1);
	close_world(&w);
}

static void an_alias_and_strange_records_beside_it(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	zone(&w, "_mta-sts.example.test CNAME _sts.provider.test\n_sts.provider.test TXT v=STSv1; id=1\n"
	         "_sts.provider.test TXT google-site=1\nmta-sts.example.test CNAME web.provider.test\nweb.provider.test A 192.0.2.81\n");
	want(&w, "example.test", IN_FORCE, 1);
	close_world(&w);
}

static void a_new_id_is_fetched_before_the_answer(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	zone(&w, TXT("2") WEB);
	w.fake.file = TESTING;
	want(&w, "example.test", "testing 2 *.example.test", 2);
	want(&w, "example.test", "testing 2 *.example.test", 2);
	close_world(&w);
}

/* RFC 8461 3.3: what DNS says now does not end what was promised. */
static void a_policy_counts_to_its_max_age(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	zone(&w, "other.test A 192.0.2.1\n");                   /* the record is gone */
	now_is(6 * DAY);
	want(&w, "example.test", IN_FORCE, 1);
	zone(&w, "_mta-sts.example.test TXT SERVFAIL\n");
	want(&w, "example.test", IN_FORCE, 1);
	now_is(7 * DAY - 1);
	want(&w, "example.test", IN_FORCE, 1);
	now_is(7 * DAY);
	want(&w, "example.test", "none ", 1);
	close_world(&w);
}

static void failures_have_names_and_rest(void **state)
{
	static const struct { enum fetch_result result; const char *file, *want; } cases[] = {
		{ FETCH_UNREACHABLE, "", "none  sts-policy-fetch-error" },
		{ FETCH_TIMEOUT, "", "none  sts-policy-fetch-error" },
		{ FETCH_STATUS, ENFORCE, "none  sts-policy-fetch-error" },
		{ FETCH_OURS, "", "none  sts-policy-fetch-error" },
		{ FETCH_CERTIFICATE, "", "none  sts-webpki-invalid" },
		{ FETCH_TYPE, ENFORCE, "none  sts-policy-invalid" },
		{ FETCH_LARGE, "", "none  sts-policy-invalid" },
		{ FETCH_OK, "<html>", "none  sts-policy-invalid" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world w;

		open_world(&w, false);
		w.fake.result = cases[i].result;
		w.fake.file = cases[i].file;
		want(&w, "example.test", cases[i].want, 1);
		now_is(STS_FAILED_S - 1);
		want(&w, "example.test", cases[i].want, 1);      /* remembered */
		now_is(STS_FAILED_S);
		want(&w, "example.test", cases[i].want, 2);
		zone(&w, TXT("2") WEB);                          /* mended, says the domain */
		w.fake.result = FETCH_OK;
		w.fake.file = ENFORCE;
		want(&w, "example.test", "enforce 2 mx.example.test", 3);
		close_world(&w);
	}
}

static void a_web_server_without_address(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	zone(&w, TXT("1"));
	want(&w, "example.test", "none  sts-policy-fetch-error", 0);
	close_world(&w);
}

static void what_cannot_be_fetched_anew_stays(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	zone(&w, TXT("2") WEB);
	w.fake.result = FETCH_CERTIFICATE;
	want(&w, "example.test", IN_FORCE " sts-webpki-invalid", 2);
	want(&w, "example.test", IN_FORCE " sts-webpki-invalid", 2);
	now_is(7 * DAY - 1);
	want(&w, "example.test", IN_FORCE " sts-webpki-invalid", 3);
	now_is(8 * DAY);
	want(&w, "example.test", "none  sts-webpki-invalid", 4);
	close_world(&w);
}

static void modes(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	w.fake.file = "version: STSv1\nmode: none\nmax_age: 604800\n";
	want(&w, "example.test", "none 1", 1);
	want(&w, "example.test", "none 1", 1);
	close_world(&w);
}

/* A day later: the answer comes from what is there, the fetch after it. */
static void nobody_waits_for_a_refresh(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	now_is(DAY);
	w.fake.hold = true;
	want(&w, "example.test", IN_FORCE, 1);
	while (w.fake.fetches == 1)
		turn(&w);
	want(&w, "example.test", IN_FORCE, 2);         /* while it is out */
	w.fake.hold = false;
	fake_answers(&w.fake.later);
	settle(&w);
	now_is(7 * DAY + 100);
	zone(&w, TXT("1"));                            /* the web server is gone */
	want(&w, "example.test", IN_FORCE, 2);         /* a day more than the first fetch gave */
	settle(&w);
	close_world(&w);
}

static void refreshed_by_itself(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 1);           /* too early */
	for (int day = 1; day <= 40; day++) {
		now_is(day * DAY);
		sts_refresh(w.sts);
		settle(&w);
	}
	assert_int_equal(w.fake.fetches, 30);          /* nobody wrote there for a month: enough */
	assert_null(w.sts->first->kept);               /* and a week later it was forgotten */
	close_world(&w);
}

/* max_age below two days: in the middle of its life. */
static void a_short_life_is_refreshed_in_time(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	w.fake.file = SHORT;
	want(&w, "example.test", IN_FORCE, 1);
	now_is(400);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 1);
	now_is(501);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 2);
	close_world(&w);
}

static void a_refresh_that_fails_is_tried_hourly(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	w.fake.result = FETCH_TIMEOUT;
	for (int i = 0; i <= 180; i++) {
		now_is(DAY + i * 60);
		sts_refresh(w.sts);
		settle(&w);
	}
	assert_int_equal(w.fake.fetches, 1 + 4);
	close_world(&w);
}

/* DNS that does not answer is no reason to let a policy run out. */
static void refreshed_without_dns(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	zone(&w, "_mta-sts.example.test TXT SERVFAIL\n" WEB);
	now_is(DAY);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 2);
	now_is(8 * DAY - 1);
	want(&w, "example.test", IN_FORCE, 2);
	settle(&w);
	zone(&w, "other.test A 192.0.2.1\n");          /* while a record that is gone is one */
	now_is(9 * DAY);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 3);
	close_world(&w);
}

static void many_ask_at_once(void **state)
{
	struct asked a[5];
	struct world w;

	(void)state;
	open_world(&w, false);
	for (size_t i = 0; i < COUNT(a); i++)
		begin_ask(&w, &a[i], "example.test");
	turn(&w);
	sts_stop(&a[2].ask);
	sts_stop(&a[2].ask);
	for (size_t i = 0; i < COUNT(a); i++)
		if (i != 2)
			assert_string_equal(end_ask(&w, &a[i]), IN_FORCE);
	assert_false(a[2].done);
	arena_fini(&a[2].arena);
	assert_int_equal(w.fake.fetches, 1);
	close_world(&w);
}

static void an_arena_that_is_spent_is_said(void **state)
{
	struct asked a = { 0 };
	struct world w;

	(void)state;
	open_world(&w, false);
	arena_init(&a.arena, 8);
	sts_find(w.sts, w.l, &a.arena, STR("example.test"), &a.ask, answered);
	assert_string_equal(end_ask(&w, &a), "none  memory");
	close_world(&w);
}

static void who_waits_at_the_end_hears_it(void **state)
{
	struct asked a, b;
	struct world w;

	(void)state;
	open_world(&w, false);
	w.fake.hold = true;
	begin_ask(&w, &a, "example.test");
	while (w.fake.fetches == 0)
		turn(&w);
	begin_ask(&w, &b, "other.test");               /* not even received */
	sts_stop(&b.ask);
	arena_fini(&b.arena);
	sts_end(w.sts);
	assert_string_equal(end_ask(&w, &a), "none  memory");
	assert_int_equal(w.fake.n, 0);
	close_world(&w);
	assert_false(b.done);
}

static void memory_is_bounded(void **state)
{
	char domain[40];
	struct world w;

	(void)state;
	open_world(&w, false);
	for (int i = 0; i < STS_KEPT + 200; i += 200) {
		static struct asked a[200];

		for (int k = 0; k < 200; k++) {
			snprintf(domain, sizeof(domain), "d%d.test", i + k);
			begin_ask(&w, &a[k], domain);
		}
		for (int k = 0; k < 200; k++)
			assert_string_equal(end_ask(&w, &a[k]), "none ");
	}
	want(&w, "last.test", "none ", 0);
	assert_int_equal(w.sts->entries.n, STS_KEPT);
	assert_null(map_get(&w.sts->entries, STR("d0.test")));
	assert_non_null(map_get(&w.sts->entries, STR("last.test")));
	close_world(&w);
}

/* ---- notes ---------------------------------------------------------------------------------------- */

static void again(struct world *w, int64_t t)
{
	end(w);
	house_open(&w->h);
	house_start(&w->h);
	now_is(t);
	w->fake = (struct fake){ .file = ENFORCE, .result = FETCH_UNREACHABLE };
	begin(w);
	zone(w, "other.test A 192.0.2.1\n");
}

static void a_restart_forgets_nothing(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, true);
	want(&w, "example.test", IN_FORCE, 1);
	want(&w, "other.test", "none ", 1);
	again(&w, DAY / 2);
	want(&w, "example.test", IN_FORCE, 0);
	zone(&w, TXT("1") WEB);
	want(&w, "example.test", IN_FORCE, 0);         /* its id is kept, too */
	again(&w, 7 * DAY);
	want(&w, "example.test", "none ", 0);
	again(&w, 1);                                  /* its note is gone, not only its life over */
	want(&w, "example.test", "none ", 0);
	close_world(&w);
}

static void refreshed_after_a_restart(void **state)
{
	struct world w;
	uint64_t until = clock_ms() + 10000;

	(void)state;
	open_world(&w, true);
	want(&w, "example.test", IN_FORCE, 1);
	again(&w, DAY + 1);
	zone(&w, TXT("1") WEB);
	w.fake.result = FETCH_OK;
	while (w.sts->first == NULL && clock_ms() < until)
		turn(&w);                              /* all notes are read */
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 1);
	again(&w, 8 * DAY);
	want(&w, "example.test", IN_FORCE, 0);
	close_world(&w);
}

/* A note that nobody of ours wrote counts for nothing. */
static void strange_notes(void **state)
{
	static const char *const values[] = {
		"", "1", "1 1 1 1", "2 1800000000 1800000000 1\n" ENFORCE, "1 x 1800000000 1\n" ENFORCE,
		"1 1800000000 1800000000 \n" ENFORCE, "1 1800000000 1800000000 1\nmode: enforce\n",
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < COUNT(values); i++) {
		struct sts_entry *e;

		open_world(&w, true);
		zone(&w, "other.test A 192.0.2.1\n");
		e = sts_entry_get(w.sts, STR("example.test"));
		assert_non_null(e);
		{
			struct queue_note *n = queue_note_new();

			n->key = STR("sts:example.test");
			n->value = str_keep(&n->arena, str_of(values[i]));
			n->baton.home = w.h.home;
			n->baton.arrived = NULL;
			queue_note_put(w.h.q, n);
			while (mbox_count(w.h.home) == 0)
				turn(&w);
			mbox_take_all(w.h.home);
			queue_note_free(n);
		}
		want(&w, "example.test", "none ", 0);
		close_world(&w);
	}
}

/* ---- from another loop ----------------------------------------------------------------------------- */

struct far { struct world *w; struct loop *l; struct asked a[50]; _Atomic int left; struct loop_call go; };

static void far_answered(struct sts_ask *ask, const struct sts_policy *p)
{
	struct far *f = ask->user;

	answered(ask, p);
	if (atomic_fetch_sub(&f->left, 1) == 1)
		loop_stop(f->l);
}

static void far_asks(struct loop_call *c)
{
	struct far *f = SUPER(c, struct far, go);

	for (size_t i = 0; i < COUNT(f->a); i++) {
		arena_init(&f->a[i].arena, 1 << 20);
		f->a[i].ask.user = f;
		sts_find(f->w->sts, f->l, &f->a[i].arena, STR("example.test"), &f->a[i].ask, far_answered);
	}
	for (size_t i = 0; i < COUNT(f->a); i += 10) {
		sts_stop(&f->a[i].ask);
		atomic_fetch_sub(&f->left, 1);
	}
}

static void *far_thread(void *arg)
{
	loop_run(((struct far *)arg)->l);
	return NULL;
}

static void asked_from_another_loop(void **state)
{
	static struct far f;
	struct world w;
	pthread_t t;

	(void)state;
	open_world(&w, true);
	f = (struct far){ .w = &w, .l = loop_new(1, NULL), .left = (int)COUNT(f.a) };
	loop_defer(f.l, &f.go, far_asks);
	assert_int_equal(pthread_create(&t, NULL, far_thread, &f), 0);
	while (atomic_load(&f.left) > 0)
		turn(&w);
	pthread_join(t, NULL);
	for (size_t i = 0; i < COUNT(f.a); i++) {
		if (i % 10 != 0)
			assert_string_equal(f.a[i].text, IN_FORCE);
		else
			assert_false(f.a[i].done);
		arena_fini(&f.a[i].arena);
	}
	assert_int_equal(w.fake.fetches, 1);
	loop_free(f.l);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(domains_without_a_policy),
		cmocka_unit_test(a_policy_is_fetched_once),
		cmocka_unit_test(an_alias_and_strange_records_beside_it),
		cmocka_unit_test(a_new_id_is_fetched_before_the_answer),
		cmocka_unit_test(a_policy_counts_to_its_max_age),
		cmocka_unit_test(failures_have_names_and_rest),
		cmocka_unit_test(a_web_server_without_address),
		cmocka_unit_test(what_cannot_be_fetched_anew_stays),
		cmocka_unit_test(modes),
		cmocka_unit_test(nobody_waits_for_a_refresh),
		cmocka_unit_test(refreshed_by_itself),
		cmocka_unit_test(a_short_life_is_refreshed_in_time),
		cmocka_unit_test(a_refresh_that_fails_is_tried_hourly),
		cmocka_unit_test(refreshed_without_dns),
		cmocka_unit_test(many_ask_at_once),
		cmocka_unit_test(an_arena_that_is_spent_is_said),
		cmocka_unit_test(who_waits_at_the_end_hears_it),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(a_restart_forgets_nothing),
		cmocka_unit_test(refreshed_after_a_restart),
		cmocka_unit_test(strange_notes),
		cmocka_unit_test(asked_from_another_loop),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
