/* SPDX-License-Identifier: ISC */
/* sts: when a policy is asked for, fetched, believed and forgotten. */
#include "tests/unit/queue/sts_world.h"

#include <pthread.h>
#include <stdatomic.h>

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
		cmocka_unit_test(many_ask_at_once),
		cmocka_unit_test(an_arena_that_is_spent_is_said),
		cmocka_unit_test(who_waits_at_the_end_hears_it),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(asked_from_another_loop),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
