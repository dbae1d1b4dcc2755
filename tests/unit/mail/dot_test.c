/* SPDX-License-Identifier: ISC */
/* dot: where DATA ends, and where it does not, at every split point. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/dot.h"

#define CR DOT_BARE_CR
#define LF DOT_BARE_LF

static const struct expect {
	const char *name;
	str         in;
	str         text;
	str         rest;        /* behind the final dot; p NULL: it never came */
	unsigned    faults;
} cases[] = {
	{ "plain", STR("abc\r\n.\r\nQUIT\r\n"), STR("abc\r\n"), STR("QUIT\r\n"), 0 },
	{ "empty message", STR(".\r\n"), STR(""), STR(""), 0 },
	{ "one empty line", STR("\r\n.\r\n"), STR("\r\n"), STR(""), 0 },
	{ "stuffed dots", STR("..a\r\n...\r\n..\r\n.\r\n"), STR(".a\r\n..\r\n.\r\n"), STR(""), 0 },
	{ "a dot that was not stuffed", STR(".a\r\nb\r\n.\r\n"), STR("a\r\nb\r\n"), STR(""), 0 },
	{ "dots inside", STR("a.b\r\n c.\r\n.\r\n"), STR("a.b\r\n c.\r\n"), STR(""), 0 },
	{ "LF dot LF", STR("a\n.\nb\r\n.\r\n"), STR("a\n.\nb\r\n"), STR(""), LF },
	{ "CRLF dot LF", STR("a\r\n.\nb\r\n.\r\n"), STR("a\r\n\nb\r\n"), STR(""), LF },
	{ "LF dot CRLF", STR("a\n.\r\nb\r\n.\r\n"), STR("a\n.\r\nb\r\n"), STR(""), LF },
	{ "CR dot CR", STR("a\r.\rb\r\n.\r\n"), STR("a\r.\rb\r\n"), STR(""), CR },
	{ "CRLF dot CR", STR("a\r\n.\rb\r\n.\r\n"), STR("a\r\n\rb\r\n"), STR(""), CR },
	{ "CR dot CRLF", STR("a\r.\r\nb\r\n.\r\n"), STR("a\r.\r\nb\r\n"), STR(""), CR },
	{ "CRLF dot CR CRLF", STR("a\r\n.\r\r\n.\r\n"), STR("a\r\n\r\r\n"), STR(""), CR },
	{ "CR CRLF dot CRLF", STR("a\r\r\n.\r\n"), STR("a\r\r\n"), STR(""), CR },
	{ "LF CR dot", STR("a\n\r.\r\n\r\n.\r\n"), STR("a\n\r.\r\n\r\n"), STR(""), LF | CR },
	{ "dot CR dot CRLF", STR(".\r.\r\nx\r\n.\r\n"), STR("\r.\r\nx\r\n"), STR(""), CR },
	{ "NUL dot", STR("a\r\n\0.\r\n.\r\n"), STR("a\r\n\0.\r\n"), STR(""), DOT_NUL },
	{ "dot NUL", STR("a\r\n.\0\r\n.\r\n"), STR("a\r\n\0\r\n"), STR(""), DOT_NUL },
	{ "dot space", STR("a\r\n. \r\n.\r\n"), STR("a\r\n \r\n"), STR(""), 0 },
	{ "no end", STR("abc\r\n."), STR("abc\r\n"), STR_NONE, 0 },
	{ "no end behind CR", STR("abc\r\n.\r"), STR("abc\r\n"), STR_NONE, 0 },
	{ "LF first", STR("\n.\r\n\r\n.\r\n"), STR("\n.\r\n\r\n"), STR(""), LF },
	{ "8 bit", STR("\xff\xfe\r\n.\r\n"), STR("\xff\xfe\r\n"), STR(""), 0 },
};

static const struct {
	const char *name;
	str         in, text;
	unsigned    faults;
	bool        repaired;
} repairs[] = {
	{ "nothing to do", STR("a\r\n.\r\n"), STR("a\r\n"), 0, false },
	{ "bare LF", STR("a\nb\n\nc\r\n.\r\n"), STR("a\r\nb\r\n\r\nc\r\n"), 0, true },
	{ "LF dot LF is text", STR("a\n.\nb\r\n.\r\n"), STR("a\r\n.\r\nb\r\n"), 0, true },
	{ "LF dot CRLF is text", STR("a\n.\r\nb\r\n.\r\n"), STR("a\r\n.\r\nb\r\n"), 0, true },
	{ "CRLF dot LF is text", STR("a\r\n.\nb\r\n.\r\n"), STR("a\r\n\r\nb\r\n"), 0, true },
	{ "LF at a line's start", STR("\n\na\r\n\n.\r\n\r\n.\r\n"), STR("\r\n\r\na\r\n\r\n.\r\n\r\n"), 0, true },
	{ "bare CR stays a fault", STR("a\rb\nc\r\n.\r\n"), STR("a\rb\r\nc\r\n"), CR, true },
	{ "CR CRLF", STR("a\r\r\n\n.\r\n\r\n.\r\n"), STR("a\r\r\n\r\n.\r\n\r\n"), CR, true },
};

static str taken(struct dot *d, str in, struct buf *text)
{
	for (;;) {
		str piece = dot_next(d, &in);

		if (piece.n == 0)
			break;
		buf_add(text, piece);
	}
	assert_true(d->done || in.n == 0);
	return in;
}

/* What is left over when `in` came in pieces of a and b bytes and the rest. */
static str feed(struct dot *d, str in, size_t a, size_t b, struct buf *text)
{
	const str pieces[] = { str_head(in, a), str_head(str_skip(in, a), b), str_skip(str_skip(in, a), b) };
	size_t    used = 0;

	for (size_t i = 0; i < COUNT(pieces); i++)
		used += pieces[i].n - taken(d, pieces[i], text).n;
	return str_skip(in, used);
}

static void messages_split_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct expect *c = &cases[i];

		for (size_t a = 0; a <= c->in.n; a++)
			for (size_t b = 0; b <= c->in.n - a; b++) {
				struct dot d;
				struct buf text;
				str        rest;

				buf_init(&text, BUF_UNBOUNDED);
				dot_init(&d, false);
				rest = feed(&d, c->in, a, b, &text);
				if (!str_eq(buf_str(&text), c->text) || d.done != (c->rest.p != NULL) ||
				    !str_eq(rest, c->rest) || d.faults != c->faults || d.repaired)
					fail_msg("%s at %zu, %zu: text \"%.*s\" done %d faults %u", c->name, a,
					         b, STR_ARG(buf_str(&text)), d.done, d.faults);
				buf_fini(&text);
			}
	}
}

static void line_ends_are_repaired(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(repairs); i++)
		for (size_t a = 0; a <= repairs[i].in.n; a++)
			for (size_t b = 0; b <= repairs[i].in.n - a; b++) {
				struct dot d;
				struct buf text;

				buf_init(&text, BUF_UNBOUNDED);
				dot_init(&d, true);
				feed(&d, repairs[i].in, a, b, &text);
				if (!str_eq(buf_str(&text), repairs[i].text) || !d.done ||
				    d.faults != repairs[i].faults || d.repaired != repairs[i].repaired)
					fail_msg("%s at %zu, %zu: text \"%.*s\" faults %u", repairs[i].name, a, b,
					         STR_ARG(buf_str(&text)), d.faults);
				buf_fini(&text);
			}
}

static const struct {
	const char *name;
	str         in, text;
	bool        repair;
	unsigned    faults;
} chunks[] = {
	{ "dots are text", STR(".\r\n..\r\nabc"), STR(".\r\n..\r\nabc"), false, 0 },
	{ "CR at the end", STR("abc\r"), STR("abc\r"), false, CR },
	{ "bare LF", STR("a\nb"), STR("a\nb"), false, LF },
	{ "LF repaired", STR("\na\n.\n"), STR("\r\na\r\n.\r\n"), true, 0 },
	{ "NUL", STR("a\0b\r\n"), STR("a\0b\r\n"), true, DOT_NUL },
};

static void chunks_pass(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(chunks); i++)
		for (size_t a = 0; a <= chunks[i].in.n; a++) {
			str        in[] = { str_head(chunks[i].in, a), str_skip(chunks[i].in, a) };
			struct dot d;
			struct buf text;

			buf_init(&text, BUF_UNBOUNDED);
			dot_init(&d, chunks[i].repair);
			for (size_t j = 0; j < COUNT(in); j++)
				while (in[j].n)
					buf_add(&text, dot_pass(&d, &in[j]));
			dot_end(&d);
			if (!str_eq(buf_str(&text), chunks[i].text) || d.faults != chunks[i].faults)
				fail_msg("%s at %zu: text \"%.*s\" faults %u", chunks[i].name, a,
				         STR_ARG(buf_str(&text)), d.faults);
			buf_fini(&text);
		}
}

static str read_on(struct dot *d, str *in, bool dots)
{
	return dots ? dot_next(d, in) : dot_pass(d, in);
}

/* The same bytes at once and one by one, where no block is ever looked at. */
static void agrees_with_single_octets(str in, bool repair, bool dots)
{
	struct dot whole, single;
	struct buf a, b;
	str        left = in, piece;
	size_t     used = 0;

	buf_init(&a, BUF_UNBOUNDED);
	buf_init(&b, BUF_UNBOUNDED);
	dot_init(&whole, repair);
	dot_init(&single, repair);
	while (left.n > 0 && (piece = read_on(&whole, &left, dots)).n > 0)
		buf_add(&a, piece);
	for (; used < in.n && !single.done; used++)
		for (str one = { in.p + used, 1 }; one.n > 0 && (piece = read_on(&single, &one, dots)).n > 0;)
			buf_add(&b, piece);
	dot_end(&whole);
	dot_end(&single);
	if (!str_eq(buf_str(&a), buf_str(&b)) || whole.faults != single.faults || whole.done != single.done ||
	    whole.repaired != single.repaired || left.n != in.n - used)
		fail_msg("repair %d dots %d: \"%.*s\": faults %u, singly %u", repair, dots, STR_ARG(in), whole.faults, single.faults);
	buf_fini(&a);
	buf_fini(&b);
}

/* What is odd is found wherever it lies in a text that is looked at in blocks. */
static void odd_ones_in_long_texts(void **state)
{
	static const str odd[] = {
		STR("\n"), STR("\r"), STR("\r\r\n"), STR("\r\n."), STR("\r\n.."), STR("\n."), STR("\r."), STR("\r\n.\n"),
		STR("\r\n.\r"), STR("\r\n.\r\n"), STR("\r\n\r\n"), STR("\n\r"), STR("\n\n"), STR("\0"), STR("\r\n\0"), STR("\xff"), STR("."),
	};
	char text[430];

	(void)state;
	for (size_t k = 0; k < COUNT(odd); k++)
		for (size_t at = 0; at + odd[k].n <= sizeof(text); at++) {
			for (size_t i = 0; i < sizeof(text); i++)
				text[i] = "A line of 32 octets, like others\r\n"[i % 34];
			memcpy(text + at, odd[k].p, odd[k].n);
			for (unsigned way = 0; way < 4; way++)
				agrees_with_single_octets((str){ text, sizeof(text) }, way & 1, way & 2);
		}
}

static void sink(void *arg, str piece)
{
	assert_true(piece.n > 0);
	buf_add(arg, piece);
}

static void stuffed(str in, size_t at, struct buf *out)
{
	struct dot_out o;

	buf_clear(out);
	dot_out_init(&o);
	dot_out_feed(&o, str_head(in, at), sink, out);
	dot_out_feed(&o, str_skip(in, at), sink, out);
	buf_add(out, dot_out_end(&o));
}

static const struct { str in, wire; } outs[] = {
	{ STR(""), STR(".\r\n") },
	{ STR("."), STR("..\r\n.\r\n") },
	{ STR(".\r\n"), STR("..\r\n.\r\n") },
	{ STR("a\r\n.b\r\n..\r\n"), STR("a\r\n..b\r\n...\r\n.\r\n") },
	{ STR("a\r\n\r\n.\r\n\r\n"), STR("a\r\n\r\n..\r\n\r\n.\r\n") },
	{ STR("a.b\r\n c.\r\nd"), STR("a.b\r\n c.\r\nd\r\n.\r\n") },
	{ STR("a\r"), STR("a\r\r\n.\r\n") },
	{ STR("a\n.\n"), STR("a\n.\n\r\n.\r\n") },
	{ STR("a\r.\r"), STR("a\r.\r\r\n.\r\n") },
};

static void dots_are_stuffed(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	for (size_t i = 0; i < COUNT(outs); i++)
		for (size_t at = 0; at <= outs[i].in.n; at++) {
			stuffed(outs[i].in, at, &out);
			if (!str_eq(buf_str(&out), outs[i].wire))
				fail_msg("case %zu at %zu: got \"%.*s\"", i, at, STR_ARG(buf_str(&out)));
		}
	buf_fini(&out);
}

static void what_is_stuffed_comes_back(void **state)
{
	static const char alphabet[] = "..\r\n\r\na\n\0";
	struct buf wire, back;
	unsigned   seed = 3;

	(void)state;
	buf_init(&wire, BUF_UNBOUNDED);
	buf_init(&back, BUF_UNBOUNDED);
	for (int round = 0; round < 20000; round++) {
		char       text[40];
		size_t     n = (size_t)rand_r(&seed) % sizeof(text);
		struct dot d;
		str        rest;

		for (size_t i = 0; i < n; i++)
			text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		stuffed((str){ text, n }, n / 3, &wire);
		buf_clear(&back);
		dot_init(&d, false);
		rest = feed(&d, buf_str(&wire), wire.n / 2, wire.n / 4, &back);
		assert_true(d.done);
		assert_int_equal(rest.n, 0);
		if (n == 0 || (n >= 2 && memcmp(text + n - 2, "\r\n", 2) == 0)) {
			assert_true(str_eq(buf_str(&back), (str){ text, n }));
		} else {
			assert_int_equal(back.n, n + 2);
			assert_memory_equal(back.p, text, n);
		}
	}
	buf_fini(&wire);
	buf_fini(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_split_anywhere),
		cmocka_unit_test(line_ends_are_repaired),
		cmocka_unit_test(chunks_pass),
		cmocka_unit_test(odd_ones_in_long_texts),
		cmocka_unit_test(dots_are_stuffed),
		cmocka_unit_test(what_is_stuffed_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
