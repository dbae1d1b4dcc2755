/* SPDX-License-Identifier: ISC */
/* reply: written within 512 octets, read from any peer in any pieces. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/reply.h"

static void replies_are_written(void **state)
{
	static const struct { int code; const char *esc; str text; const char *want; } cases[] = {
		{ 250, "2.1.0", STR("OK"), "250 2.1.0 OK\r\n" },
		{ 354, NULL, STR("Go ahead"), "354 Go ahead\r\n" },
		{ 250, "", STR("a.test\nSIZE 10\nHELP"), "250-a.test\r\n250-SIZE 10\r\n250 HELP\r\n" },
		{ 550, "5.7.1", STR("a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n" },
		{ 550, "5.7.1", STR("a\r\nb\n"), "550-5.7.1 a\r\n550 5.7.1 b\r\n" },
		{ 550, "5.7.1", STR(""), "550 5.7.1\r\n" },
		{ 250, NULL, STR(""), "250 \r\n" },
		{ 250, "2.0.0", STR("a\tb\rc\0d\xc3\xbc\x7f"), "250 2.0.0 a b?c?d???\r\n" },
	};
	struct buf out;

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		buf_clear(&out);
		reply_write(&out, cases[i].code, cases[i].esc, cases[i].text);
		if (!str_is(buf_str(&out), cases[i].want))
			fail_msg("case %zu: %.*s", i, STR_ARG(buf_str(&out)));
	}
	buf_fini(&out);
}

/* Whatever is written: lines of at most 512, printable, and it reads back. */
static void assert_reads_back(str wire, int code, const char *esc, struct arena *a, struct reply *got)
{
	struct reply_reader r;
	str                 rest = wire, line;
	bool                done, bad;

	while (str_cut(&rest, '\n', &line) && rest.p != NULL)
		assert_true(line.n + 1 <= REPLY_LINE_MAX);
	for (size_t i = 0; i < wire.n; i++)
		assert_true((wire.p[i] >= ' ' && wire.p[i] <= '~') || wire.p[i] == '\r' || wire.p[i] == '\n');
	reply_reader_init(&r);
	assert_int_equal(reply_read(&r, a, wire, got, &done, &bad), wire.n);
	assert_true(done && !bad);
	assert_int_equal(got->code, code);
	assert_true(str_is(got->esc, esc));
	reply_reader_fini(&r);
}

static void long_texts_become_lines(void **state)
{
	struct arena a;
	struct buf   out;
	struct reply got;
	char         text[5000], joined[5000];

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 11 == 10 ? ' ' : 'x';
	reply_write(&out, 554, "5.6.0", (str){ text, sizeof(text) });
	assert_reads_back(buf_str(&out), 554, "5.6.0", &a, &got);
	memcpy(joined, got.text.p, got.text.n);
	for (size_t i = 0; i < got.text.n; i++)
		if (joined[i] == '\n')
			joined[i] = ' ';
	assert_true(str_eq((str){ joined, got.text.n }, str_trim((str){ text, sizeof(text) })));
	buf_clear(&out);
	memset(text, 'x', sizeof(text));
	reply_write(&out, 554, "5.6.0", (str){ text, sizeof(text) });
	assert_reads_back(buf_str(&out), 554, "5.6.0", &a, &got);
	assert_int_equal(got.text.n, sizeof(text) + sizeof(text) / 500 - (sizeof(text) % 500 == 0));
	buf_fini(&out);
	arena_fini(&a);
}

static const struct {
	str         in;
	bool        done, bad;
	int         code;
	const char *esc, *text, *first;
	size_t      left;
} reads[] = {
	{ STR("250 OK\r\n"), true, false, 250, "", "OK", "OK", 0 },
	{ STR("250 2.1.0 OK\r\nx"), true, false, 250, "2.1.0", "OK", "OK", 1 },
	{ STR("250\r\n"), true, false, 250, "", "", "", 0 },
	{ STR("250-a.test\r\n250-SIZE 1\r\n250 HELP\r\n354 x"), true, false, 250, "", "a.test\nSIZE 1\nHELP", "a.test", 5 },
	{ STR("550-5.1.1 No\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n"), true, false, 550, "5.1.1", "No\nsuch\nuser", "No", 0 },
	{ STR("550-No\r\n550 5.1.1\r\n"), true, false, 550, "5.1.1", "No\n", "No", 0 },
	{ STR("550 5.7.26 x\r\n"), true, false, 550, "5.7.26", "x", "x", 0 },
	{ STR("550 4.7.1 x\r\n"), true, false, 550, "", "4.7.1 x", "4.7.1 x", 0 },
	{ STR("550 5.7.1234 x\r\n"), true, false, 550, "", "5.7.1234 x", "5.7.1234 x", 0 },
	{ STR("550 5.7x x\r\n"), true, false, 550, "", "5.7x x", "5.7x x", 0 },
	{ STR("250 a\0b\x01\tc\r\n"), true, false, 250, "", "a?b? c", "a?b? c", 0 },
	{ STR("250 LF\n"), true, false, 250, "", "LF", "LF", 0 },
	{ STR("250 no end"), false, false, 0, NULL, NULL, NULL, 0 },
	{ STR("250-more\r\n"), false, false, 0, NULL, NULL, NULL, 0 },
	{ STR("250-a\r\n251 b\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
	{ STR("25 a\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
	{ STR("HTTP/1.1 400\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
	{ STR("199 a\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
	{ STR("600 a\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
	{ STR("250x\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
	{ STR("\r\n"), false, true, 0, NULL, NULL, NULL, 0 },
};

static void replies_are_read_in_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(reads); i++)
		for (size_t at = 0; at <= reads[i].in.n; at++) {
			struct reply_reader r;
			struct arena        a;
			struct reply        got;
			bool                done, bad;
			size_t              used;

			arena_init(&a, ARENA_UNBOUNDED);
			reply_reader_init(&r);
			used = reply_read(&r, &a, str_head(reads[i].in, at), &got, &done, &bad);
			if (!done && !bad) {
				assert_int_equal(used, at);
				used += reply_read(&r, &a, str_skip(reads[i].in, at), &got, &done, &bad);
			}
			if (done != reads[i].done || bad != reads[i].bad)
				fail_msg("case %zu at %zu: done %d bad %d", i, at, done, bad);
			if (done && (got.code != reads[i].code || !str_is(got.esc, reads[i].esc) ||
			             !str_is(got.text, reads[i].text) || !str_is(got.first, reads[i].first) ||
			             used != reads[i].in.n - reads[i].left))
				fail_msg("case %zu at %zu: %d %.*s %.*s", i, at, got.code, STR_ARG(got.esc), STR_ARG(got.text));
			reply_reader_fini(&r);
			arena_fini(&a);
		}
}

static void endless_peers_are_cut_off(void **state)
{
	static const char *const lines[] = { "250-\r\n", "250-abcdefgh\r\n", "x", "250-2.0.0\n" };

	(void)state;
	for (size_t i = 0; i < COUNT(lines); i++) {
		struct reply_reader r;
		struct arena        a;
		struct reply        got;
		bool                done = false, bad = false;
		size_t              fed = 0;

		arena_init(&a, ARENA_UNBOUNDED);
		reply_reader_init(&r);
		while (!bad && fed < 1 << 20) {
			fed += reply_read(&r, &a, str_of(lines[i]), &got, &done, &bad);
			assert_false(done);
		}
		assert_true(bad);
		assert_true(fed <= 3 * REPLY_TOTAL_MAX);
		reply_reader_fini(&r);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_written),
		cmocka_unit_test(long_texts_become_lines),
		cmocka_unit_test(replies_are_read_in_pieces),
		cmocka_unit_test(endless_peers_are_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
