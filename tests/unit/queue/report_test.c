/* SPDX-License-Identifier: ISC */
/* What a person and a program are shown of the queue. */
#include <jansson.h>

#include "queue/report.h"
#include "tests/unit/queue/house.h"

static const char content[] =
	"From: Anna <anna@example.org>\r\nSubject: =?utf-8?q?A?= long\r\n subject\r\nTo: bob@office.test\r\n\r\nHello\r\n";

static uint64_t put_text(struct house *h, size_t nrcpts, const char *sender, unsigned flags)
{
	struct spool *s = spool_new(h->q, h->home);
	struct path from = path_at(sender);
	struct putting w;

	spool_add(s, str_of(content));
	put_begin(h, &w, s, nrcpts, flags);
	queue_put_from(w.put, &from, flags, STR_NONE, STR("anna"));
	queue_put_header_bytes(w.put, (uint64_t)(strstr(content, "\r\n\r\n") - content + 4));
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(h, &w), OK);
	return w.id;
}

/* Both ways: while the server runs, and on its files. */
static char *report(struct house *h, bool files, bool json, uint64_t id, enum err want)
{
	const struct queue_conf conf = house_conf(h);
	struct queue_list list = { .look.json = json };
	struct queue *q = h->q;
	str why = STR_NONE;
	struct buf out;
	char *text;

	if (files)
		q = queue_open_reading(&conf, &h->arena, &why);
	if (q == NULL)
		fail_msg("%.*s", STR_ARG(why));
	buf_init(&out, BUF_UNBOUNDED);
	do
		assert_int_equal(id ? queue_report_show(q, id, json, &out) : queue_report_list(q, &list, &out), want);
	while (!id && !list.over);
	text = calloc(1, out.n + 1);
	memcpy(text, out.p ? out.p + out.head : "", out.n);
	buf_fini(&out);
	if (files)
		queue_close(q);
	return text;
}

static void assert_holds(const char *text, const char *want)
{
	if (strstr(text, want) == NULL)
		fail_msg("\"%s\" is not in:\n%s", want, text);
}

static void assert_lacks(const char *text, const char *what)
{
	if (strstr(text, what) != NULL)
		fail_msg("\"%s\" is in:\n%s", what, text);
}

static void defer(struct house *h, uint64_t id, uint32_t rcpt, const char *said)
{
	assert_int_equal(settle_one(h, id, (struct queue_fate){ .rcpt = rcpt, .fate = FATE_DEFERRED, .tries = 4,
	                 .next = clock_wall() + 3600 * 5 + 30, .said = str_of(said) }, NULL), OK);
}

static void an_empty_queue(void **state)
{
	struct house h = { 0 };
	char *text;

	(void)state;
	house_open(&h);
	text = report(&h, false, false, 0, OK);
	assert_string_equal(text, "The queue is empty.\n");
	free(text);
	text = report(&h, false, true, 0, OK);
	assert_string_equal(text, "[]\n");
	free(text);
	free(report(&h, false, false, 12345, ERR_ABSENT));
	house_close(&h);
	house_burn(&h);
}

static void in_columns(struct house *h, bool files, const char *id)
{
	char *text = report(h, files, false, 0, OK);

	assert_holds(text, "ID              AGE      SIZE  FROM                          TO                            TRIES  NEXT       LAST ANSWER\n");
	assert_holds(text, id);
	assert_holds(text, "anna@example.org              user0@office.test                 4  in 5 h     451 4.7.1 not ?[31myet\n"
	                   "                                                             user2@office.test                 0  now\n");
	assert_holds(text, "and 2 more\n");
	assert_holds(text, "  <>  ");
	assert_holds(text, "2 messages, 9 recipients to go, ");
	assert_lacks(text, "\033");
	free(text);
}

static void one_story(struct house *h, bool files, uint64_t id)
{
	char *text = report(h, files, false, id, OK);

	assert_holds(text, "id          ");
	assert_holds(text, "sender      anna@example.org\n");
	assert_holds(text, "login       anna\n");
	assert_holds(text, ", submitted here\n");
	assert_holds(text, "From        Anna <anna@example.org>\n");
	assert_holds(text, "Subject     =?utf-8?q?A?= long subject\n");
	assert_holds(text, "\nuser0@office.test\n    waiting, next try 2");
	assert_holds(text, "4 tries so far");
	assert_holds(text, "  451 4.7.1 not ?[31myet\n    what to do: ");
	assert_holds(text, "\nuser1@office.test\n    delivered");
	assert_holds(text, "first addressed to: rfc822;user@office.test\n");
	assert_lacks(text, "\033");
	free(text);
}

static json_t *parsed(char *text)
{
	json_error_t e;
	json_t *j = json_loads(text, 0, &e);

	if (j == NULL)
		fail_msg("%s in:\n%s", e.text, text);
	free(text);
	return j;
}

static void as_json(struct house *h, bool files, uint64_t id, const char *id_text)
{
	json_t *all = parsed(report(h, files, true, 0, OK)), *one, *r;

	assert_int_equal(json_array_size(all), 2);
	one = json_array_get(all, 0);
	assert_string_equal(json_string_value(json_object_get(one, "id")), id_text);
	assert_string_equal(json_string_value(json_object_get(one, "sender")), "anna@example.org");
	assert_string_equal(json_string_value(json_object_get(one, "login")), "anna");
	assert_int_equal(json_integer_value(json_object_get(one, "size")),
	                 strlen(content) + strlen("DKIM-Signature: last, so first\r\nReceived: later\r\n"));
	assert_true(json_integer_value(json_object_get(one, "arrived")) > 1500000000);
	assert_true(json_is_integer(json_object_get(one, "age_seconds")));
	assert_int_equal(json_array_size(json_object_get(one, "recipients")), 3);
	r = json_array_get(json_object_get(one, "recipients"), 0);
	assert_string_equal(json_string_value(json_object_get(r, "address")), "user0@office.test");
	assert_string_equal(json_string_value(json_object_get(r, "state")), "waiting");
	assert_int_equal(json_integer_value(json_object_get(r, "tries")), 4);
	assert_true(json_integer_value(json_object_get(r, "next")) > 1500000000);
	assert_string_equal(json_string_value(json_object_get(r, "said")), "451 4.7.1 not \033[31myet");
	r = json_array_get(json_object_get(one, "recipients"), 1);
	assert_string_equal(json_string_value(json_object_get(r, "state")), "delivered");
	assert_true(json_is_null(json_object_get(r, "next")));
	assert_string_equal(json_string_value(json_object_get(json_array_get(all, 1), "sender")), "");
	json_decref(all);

	one = parsed(report(h, files, true, id, OK));
	assert_string_equal(json_string_value(json_object_get(one, "id")), id_text);
	assert_false(json_boolean_value(json_object_get(one, "damaged")));
	assert_string_equal(json_string_value(json_object_get(json_object_get(one, "header"), "Subject")), "=?utf-8?q?A?= long subject");
	json_decref(one);
}

static void all_of_it(void **state)
{
	struct house h = { 0 };
	char id_text[QUEUE_ID_TEXT];
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_text(&h, 3, "anna@example.org", MESSAGE_LOGIN);
	queue_id_text(id, id_text);
	put_text(&h, 7, "", MESSAGE_OWN);
	defer(&h, id, 0, "451 4.7.1 not \033[31myet");
	assert_int_equal(settle_one(&h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DELIVERED }, NULL), OK);
	in_columns(&h, false, id_text);
	one_story(&h, false, id);
	as_json(&h, false, id, id_text);
	queue_stop(h.q);
	run_all(h.news);
	store_close(h.q->store);                        /* one environment a process */
	h.q->store = NULL;
	in_columns(&h, true, id_text);
	one_story(&h, true, id);
	as_json(&h, true, id, id_text);
	house_close(&h);
	house_burn(&h);
}

/* A long queue comes in pieces that are bounded, and is whole. */
static void in_pieces(void **state)
{
	enum { MESSAGES = 100, MOST = (64 << 10) + 8000 };
	struct house h = { 0 };

	(void)state;
	house_open(&h);
	house_start(&h);
	for (int i = 0; i < MESSAGES; i++)
		put_text(&h, 10, "anna@example.org", 0);
	for (int json = 0; json < 2; json++) {
		struct queue_list list = { .look.json = json };
		struct buf whole, piece;
		size_t pieces = 0;

		buf_init(&whole, BUF_UNBOUNDED);
		buf_init(&piece, BUF_UNBOUNDED);
		for (; !list.over; pieces++) {
			assert_int_equal(queue_report_list(h.q, &list, &piece), OK);
			assert_in_range(piece.n, 1, MOST);
			buf_add(&whole, buf_str(&piece));
			buf_eat(&piece, piece.n);
		}
		assert_int_equal(list.messages, MESSAGES);
		assert_int_equal(list.recipients, json ? 0 : 10 * MESSAGES);
		assert_in_range(pieces, whole.n / MOST + 1, whole.n / (64 << 10) + 1);
		buf_add_char(&whole, '\0');
		if (json) {
			json_t *all = parsed(strdup(buf_str(&whole).p));
			uint64_t last = 0, id;

			assert_true(pieces > 2);
			assert_int_equal(json_array_size(all), MESSAGES);
			for (size_t i = 0; i < MESSAGES; i++) {
				assert_true(queue_id_parse(str_of(json_string_value(json_object_get(json_array_get(all, i), "id"))), &id));
				assert_true(id > last);
				last = id;
			}
			json_decref(all);
		} else {
			assert_holds(buf_str(&whole).p, "\n100 messages, 1000 recipients to go, ");
		}
		buf_fini(&whole);
		buf_fini(&piece);
	}
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_queue),
		cmocka_unit_test(all_of_it),
		cmocka_unit_test(in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
