/* SPDX-License-Identifier: ISC */
/* Mail whose signatures run out before it leaves: signed anew on its way, or held. */
#include "tests/unit/queue/yard.h"

#include <pthread.h>
#include <signal.h>

#include "queue/report.h"

/* Who signs: what it was asked, what it says. Desks of several destinations ask at once. */
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;
static struct signer {
	_Atomic unsigned asked;
	_Atomic bool     out;        /* a key is */
	bool             hold;
	int64_t          lasts;
	char             header[200], hash[40];
	size_t           rcpts;
} signer;

static void sign_late(void *arg, struct late *l)
{
	struct signer *s = arg;

	pthread_mutex_lock(&asking);
	s->rcpts = l->entry->nrcpts;
	snprintf(s->header, sizeof(s->header), "%.*s", STR_ARG(l->header));
	snprintf(s->hash, sizeof(s->hash), "%.*s", STR_ARG(l->entry->signing.hashes[1]));
	if (s->out) {
		l->head = arena_printf(l->arena, "DKIM-Signature: number %u\r\nReceived: here\r\n", s->asked + 1);
		l->until = s->lasts == 0 ? 0 : l->now + s->lasts;
	} else {
		l->why = STR("no key is out");
		l->hold = s->hold;
	}
	s->asked++;
	pthread_mutex_unlock(&asking);
}

static void start(struct yard *y, struct peer *p, const struct script *script)
{
	yard_new(y);
	memset(&signer, 0, sizeof(signer));
	signer.out = true;
	peer_start(p, script, false);
	y->relay.port = p->port;
	y->relay.retry_first_ms = y->relay.retry_most_ms = 3600000;
	y->setup.sign_late = sign_late;
	y->setup.sign_late_arg = &signer;
	yard_domain(y, "us.test", NULL);
	directory_add_account(y->directory, STR("anna@us.test"));
	snprintf(y->zone, sizeof(y->zone), "far.test  MX 10 mx.test\nmx.test   A 127.0.0.1\n");
	yard_open(y, false);
}

static void finish(struct yard *y, struct peer *p)
{
	yard_close(y, 5000);
	yard_burn(y);
	peer_stop(p);
}

static uint64_t put(struct yard *y, const struct yard_rcpt *rcpts, size_t n, unsigned flags, int64_t until)
{
	const struct queue_signing signing = { .until = until, .author = STR("mail.us.test"), .hashes = { STR_NONE, STR("hash") } };
	struct path from = path_at("anna@us.test");
	struct spool *s = spool_new(y->h.q, y->h.home);
	struct putting w = { .id = queue_new_id(y->h.q) };

	spool_add(s, STR("Subject: late\r\n\r\nHello\r\n"));
	arena_init(&w.arena, ARENA_UNBOUNDED);
	w.put = queue_put_new(y->h.q, &w.arena, y->h.home, w.id);
	queue_put_from(w.put, &from, flags, STR_NONE, STR_NONE);
	for (size_t i = 0; i < n; i++) {
		struct path to = path_at(rcpts[i].address);

		queue_put_rcpt(w.put, &to, rcpts[i].flags, STR_NONE);
	}
	queue_put_signing(w.put, &signing);
	queue_put_field(w.put, STR("Received: here\r\n"));
	queue_put_field(w.put, STR("DKIM-Signature: old\r\n"));
	queue_put_header_bytes(w.put, 17);
	queue_put_body(w.put, s);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&y->h, &w), OK);
	return w.id;
}

static const struct yard_rcpt far[] = { { "x@far.test", 0 } };
static const struct yard_rcpt both[] = { { "x@far.test", 0 }, { "anna@us.test", RCPT_LOCAL } };

static bool mail_is(struct peer *p, const char *want)
{
	char *mail = peer_copy(p, &p->mail);
	size_t n = strlen(mail), k = strlen(want);
	bool is = n >= k && strcmp(mail + n - k, want) == 0;       /* the last of it */

	if (!is)
		print_message("got: %s\n", mail);
	free(mail);
	return is;
}

#define NUMBER(n) "DKIM-Signature: number " n "\r\nReceived: here\r\nSubject: late\r\n\r\nHello\r\n\f"
#define OLD "DKIM-Signature: old\r\nReceived: here\r\nSubject: late\r\n\r\nHello\r\n\f"

static void only_what_runs_out(void **state)
{
	static const struct { int64_t in; unsigned asked; const char *mail; } cases[] = {
		{ INT64_MAX / 2, 0, OLD },        /* … which stands for any time far off */
		{ 2 * 3600, 0, OLD },
		{ 1800, 1, NUMBER("1") },         /* before a try can end */
		{ -5, 1, NUMBER("1") },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct yard y;
		struct peer p;

		start(&y, &p, NULL);
		put(&y, far, 1, 0, clock_wall() + cases[i].in);
		until(left(&y) == 0);
		assert_int_equal(signer.asked, cases[i].asked);
		assert_true(mail_is(&p, cases[i].mail));
		finish(&y, &p);
	}
}

static void never_without_an_end(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	put(&y, far, 1, 0, 0);
	until(left(&y) == 0);
	assert_int_equal(signer.asked, 0);
	assert_true(mail_is(&p, OLD));
	finish(&y, &p);
}

/* Held, released, put off, tried again: each time by what holds then; the store keeps the old ones. */
static void anew_at_each_try(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_entry *e;
	uint64_t id;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	signer.lasts = 60;
	id = put(&y, far, 1, MESSAGE_HELD, clock_wall() + 60);
	until(figures(&y).held == 1);
	assert_int_equal(signer.asked, 0);
	yard_wish(&y, WISH_RELEASE, id, NULL);
	until(figures(&y).deferred == 1 && figures(&y).leased == 0);
	assert_int_equal(signer.asked, 1);
	assert_string_equal(signer.header, "Subject: late\r\n\r\n");
	assert_string_equal(signer.hash, "hash");
	assert_int_equal(queue_load(y.h.q, id, &e), OK);
	assert_true(str_starts(e->head, "DKIM-Signature: old") && e->fresh_head.p == NULL);
	queue_entry_free(e);
	peer_change(&p, STEP_RCPT, NULL);
	yard_wish(&y, WISH_RETRY, id, NULL);
	until(left(&y) == 0);
	assert_true(mail_is(&p, NUMBER("2")));
	finish(&y, &p);
}

/* Both ways out get the new head, from one signing; the Maildir's second step asks nobody. */
static void for_all_parts(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	for (int i = 0; i < 50; i++)
		put(&y, both, 2, 0, clock_wall() - 1);
	until(left(&y) == 0);
	assert_int_equal(yard_files(&y, "us.test/anna", "new"), 50);
	assert_int_equal(p.messages, 50);
	assert_int_equal(signer.rcpts, 2);
	assert_true(signer.asked >= 50 && signer.asked <= 100);
	finish(&y, &p);
}

static void sent_as_it_is(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	signer.out = false;
	put(&y, far, 1, MESSAGE_UNSIGNED, clock_wall());
	until(left(&y) == 0);
	assert_int_equal(signer.asked, 1);
	assert_true(mail_is(&p, OLD));
	finish(&y, &p);
}

static size_t selected(struct yard *y, const char *author)
{
	const struct queue_filter f = { .author = str_of(author), .states = STATE_UNSIGNED };
	uint64_t *ids;
	size_t n;

	assert_int_equal(queue_select(y->h.q, &f, &ids, &n), OK);
	free(ids);
	return n;
}

/* As it came, and when it was to leave: both are found, and released by a key; a
 * hold of the operator's is not. */
static void held_until_a_key_is_out(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t early, late, other;

	(void)state;
	start(&y, &p, NULL);
	signer.out = false;
	signer.hold = true;
	early = put(&y, far, 1, MESSAGE_HELD | MESSAGE_UNSIGNED, clock_wall());
	late = put(&y, far, 1, 0, clock_wall());
	other = put(&y, far, 1, MESSAGE_HELD, clock_wall());
	until(figures(&y).held == 3);
	assert_int_equal(yard_rcpt_of(&y, late, 0, &r, said), OK);
	assert_string_equal(said, QUEUE_WAITS_FOR_KEY "no key is out");
	assert_int_equal(selected(&y, "us.test"), 2);
	assert_int_equal(selected(&y, "mail.us.test"), 2);
	assert_int_equal(selected(&y, "s.test"), 0);
	assert_int_equal(selected(&y, "other.test"), 0);
	yard_wish(&y, WISH_RELEASE, early, NULL);            /* too early: back it goes */
	until(figures(&y).held == 3 && signer.asked == 2);
	assert_int_equal(selected(&y, "us.test"), 2);
	signer.out = true;
	yard_wish(&y, WISH_RELEASE, early, NULL);
	yard_wish(&y, WISH_RELEASE, late, NULL);
	until(left(&y) == 1);
	assert_int_equal(p.messages, 2);
	yard_wish(&y, WISH_REMOVE, other, NULL);
	until(left(&y) == 0);
	finish(&y, &p);
}

/* The operator's word goes before the policy. */
static void released_as_it_is(void **state)
{
	struct yard y;
	struct peer p;
	struct wishing w = { .wish = { .what = WISH_RELEASE, .as_is = true, .baton.arrived = wish_is_home } };

	(void)state;
	start(&y, &p, NULL);
	signer.out = false;
	signer.hold = true;
	w.wish.id = put(&y, far, 1, MESSAGE_HELD | MESSAGE_UNSIGNED, clock_wall());
	w.wish.baton.home = y.h.home;
	timetable_wish(y.t, &w.wish);
	run_home(&y.h, &w.done);
	until(left(&y) == 0);
	assert_int_equal(signer.asked, 1);
	assert_true(mail_is(&p, OLD));
	finish(&y, &p);
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	log_level_set(LOG_ERROR + 1);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_runs_out),
		cmocka_unit_test(never_without_an_end),
		cmocka_unit_test(anew_at_each_try),
		cmocka_unit_test(for_all_parts),
		cmocka_unit_test(sent_as_it_is),
		cmocka_unit_test(held_until_a_key_is_out),
		cmocka_unit_test(released_as_it_is),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
