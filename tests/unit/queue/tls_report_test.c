/* SPDX-License-Identifier: ISC */
/* Sessions are added up by day, domain and policy, and outlive a restart. */
#include "tests/unit/queue/house.h"

#include "queue/deliver/tls_report.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"

#define NOON 1800014400        /* 2027-01-15 12:00 UTC */

static str tlsa_line = { "3 1 1 00ff", 10 }, sts_lines[] = { { "version: STSv1", 14 }, { "mode: enforce", 13 } },
	sts_mx = { "*.b.test", 8 };

static struct tls_result result(const char *domain, enum policy_kind kind, const char *failure, const char *host)
{
	struct tls_result r = {
		.domain = str_of(domain), .policy_domain = kind == KIND_TLSA ? str_of(host) : str_of(domain), .kind = kind,
		.failure = failure, .host = str_of(host), .from = STR("192.0.2.1"), .to = STR("192.0.2.99"),
	};

	if (kind == KIND_TLSA)
		r.lines = (struct strs){ &tlsa_line, 1 };
	if (kind == KIND_STS) {
		r.lines = (struct strs){ sts_lines, 2 };
		r.mx = (struct strs){ &sts_mx, 1 };
	}
	return r;
}

static void add(struct tls_report *t, struct tls_result r)
{
	tls_report_add(t, &r);
}

static void finish(struct house *h, struct tls_report *t)
{
	tls_report_tick(t, true);
	for (bool home = false; !home;) {
		run_all(h->home);
		home = tls_report_out(t) == 0;
	}
}

/* ---- what is kept --------------------------------------------------------------------- */

struct kept { struct json *v[20]; char keys[20][80]; size_t n; };

static bool keep(void *arg, str key, str value)
{
	struct kept *k = arg;

	assert_true(k->n < COUNT(k->v));
	snprintf(k->keys[k->n], sizeof(k->keys[0]), "%.*s", STR_ARG(key));
	k->v[k->n] = json_read(value);
	assert_non_null(k->v[k->n++]);
	return true;
}

static void read_notes(struct house *h, struct kept *k)
{
	memset(k, 0, sizeof(*k));
	queue_notes_each(h->q, STR("tlsrpt:"), keep, k);
}

static void kept_free(struct kept *k)
{
	for (size_t i = 0; i < k->n; i++)
		json_free(k->v[i]);
}

static const struct json *note_of(const struct kept *k, const char *domain, const char *kind)
{
	for (size_t i = 0; i < k->n; i++) {
		str d, w;

		assert_true(json_get_text(json_at(k->v[i], "domain"), &d));
		assert_true(json_get_text(json_at(k->v[i], "policy-type"), &w));
		if (str_is(d, domain) && str_is(w, kind))
			return k->v[i];
	}
	fail_msg("no note of %s, %s", domain, kind);
	return NULL;
}

static void assert_count(const struct json *j, const char *key, int64_t want)
{
	int64_t got = -1;

	assert_true(json_get_whole(json_at(j, key), &got));
	assert_int_equal(got, want);
}

static void assert_text(const struct json *j, const char *want)
{
	str got;

	assert_true(json_get_text(j, &got));
	assert_str(got, str_of(want));
}

/* ---- the tests --------------------------------------------------------------------------- */

static void sessions_are_added_up(void **state)
{
	struct house h = { 0 };
	struct tls_report *t;
	struct kept k;
	const struct json *j, *f;

	(void)state;
	clock_fix(NOON);
	house_open(&h);
	house_start(&h);
	t = tls_report_new(h.q, h.home);
	tls_report_load(t);
	assert_true(tls_report_next_ms(t) == UINT64_MAX);
	for (unsigned i = 0; i < 3; i++)
		add(t, result("a.test", KIND_TLSA, NULL, "mx.a.test"));
	add(t, result("a.test", KIND_TLSA, "validation-failure", "mx.a.test"));
	add(t, result("a.test", KIND_TLSA, "validation-failure", "mx.a.test"));
	add(t, result("a.test", KIND_TLSA, "starttls-not-supported", "mx.a.test"));
	add(t, result("b.test", KIND_STS, "certificate-expired", "mx.b.test"));
	add(t, result("c.test", KIND_NONE, NULL, "mx.c.test"));
	assert_true(tls_report_next_ms(t) > clock_ms() && tls_report_next_ms(t) <= clock_ms() + 60000);
	tls_report_tick(t, false);                 /* not yet time */
	assert_int_equal(tls_report_out(t), 0);
	finish(&h, t);
	assert_true(tls_report_next_ms(t) == UINT64_MAX);

	read_notes(&h, &k);
	assert_int_equal(k.n, 3);
	assert_memory_equal(k.keys[0], "tlsrpt:2027-01-15:", 18);
	j = note_of(&k, "a.test", "tlsa");
	assert_count(j, "successful", 3);
	assert_count(j, "failed", 3);
	assert_text(json_at(j, "policy-domain"), "mx.a.test");
	assert_text(json_nth(json_at(j, "policy-string"), 0), "3 1 1 00ff");
	assert_int_equal(json_count(json_at(j, "failures")), 2);
	f = json_nth(json_at(j, "failures"), 1);
	assert_text(json_at(f, "result-type"), "validation-failure");
	assert_text(json_at(f, "receiving-mx-hostname"), "mx.a.test");
	assert_text(json_at(f, "sending-mta-ip"), "192.0.2.1");
	assert_text(json_at(f, "receiving-ip"), "192.0.2.99");
	assert_count(f, "failed-session-count", 2);
	j = note_of(&k, "b.test", "sts");
	assert_int_equal(json_count(json_at(j, "policy-string")), 2);
	assert_text(json_nth(json_at(j, "mx-host"), 0), "*.b.test");
	assert_count(note_of(&k, "c.test", "no-policy-found"), "successful", 1);
	kept_free(&k);

	/* A restart goes on where the last life ended. */
	tls_report_free(t);
	t = tls_report_new(h.q, h.home);
	tls_report_load(t);
	add(t, result("a.test", KIND_TLSA, "validation-failure", "mx.a.test"));
	add(t, result("a.test", KIND_TLSA, NULL, "mx.a.test"));
	finish(&h, t);
	read_notes(&h, &k);
	assert_int_equal(k.n, 3);
	j = note_of(&k, "a.test", "tlsa");
	assert_count(j, "successful", 4);
	assert_count(j, "failed", 4);
	assert_int_equal(json_count(json_at(j, "failures")), 2);
	kept_free(&k);

	/* Another day has sums of its own, and after three days the old ones go. */
	clock_fix(NOON + 86400);
	add(t, result("a.test", KIND_TLSA, NULL, "mx.a.test"));
	finish(&h, t);
	read_notes(&h, &k);
	assert_int_equal(k.n, 4);
	kept_free(&k);
	clock_fix(NOON + 4 * 86400);
	finish(&h, t);
	read_notes(&h, &k);
	assert_int_equal(k.n, 1);
	assert_memory_equal(k.keys[0], "tlsrpt:2027-01-16:", 18);
	kept_free(&k);
	tls_report_free(t);

	/* Old ones of a life long ago go at the first look. */
	clock_fix(NOON + 40 * 86400);
	t = tls_report_new(h.q, h.home);
	tls_report_load(t);
	finish(&h, t);
	read_notes(&h, &k);
	assert_int_equal(k.n, 0);
	tls_report_free(t);
	house_close(&h);
	house_burn(&h);
}

/* Whatever a domain publishes, a note stays within its bounds. */
static void hostile_names_stay_in_bounds(void **state)
{
	struct house h = { 0 };
	struct tls_report *t;
	struct kept k;
	char host[256], line[4000];
	str lines[10];

	(void)state;
	clock_fix(NOON);
	house_open(&h);
	house_start(&h);
	t = tls_report_new(h.q, h.home);
	memset(line, '"', sizeof(line));
	for (size_t i = 0; i < COUNT(lines); i++)
		lines[i] = (str){ line, sizeof(line) };
	for (unsigned i = 0; i < 500; i++) {
		struct tls_result r = result("d.test", KIND_STS, "certificate-expired", "");

		memset(host, 1, sizeof(host));
		snprintf(host, 12, "%u", i);
		host[strlen(host)] = 1;
		r.host = (str){ host, 253 };
		r.lines = (struct strs){ lines, COUNT(lines) };
		add(t, r);
	}
	finish(&h, t);
	read_notes(&h, &k);
	assert_int_equal(k.n, 1);
	assert_count(k.v[0], "failed", 500);
	assert_true(json_count(json_at(k.v[0], "failures")) > 10);
	assert_int_equal(json_count(json_at(k.v[0], "policy-string")), 2);
	kept_free(&k);
	tls_report_free(t);
	house_close(&h);
	house_burn(&h);
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sessions_are_added_up),
		cmocka_unit_test(hostile_names_stay_in_bounds),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
