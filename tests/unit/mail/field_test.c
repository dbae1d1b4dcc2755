/* SPDX-License-Identifier: ISC */
/* field: headers split whole, at every byte, and past every limit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/field.h"

struct expect {
	const char *name;
	str         in;
	str         fields;     /* "name|value|" of each; '~' behind the name of a spaced one */
	str         body;       /* what the splitter leaves or gives back */
	bool        no_blank;
};

static const struct expect cases[] = {
	{ "two fields", STR("A: 1\r\nB: 2\r\n\r\nbody"), STR("A| 1|B| 2|"), STR("body"), false },
	{ "folds", STR("A: 1\r\n 2\r\n\t3\r\nB:\r\n x\r\n\r\n"), STR("A| 1\r\n 2\r\n\t3|B|\r\n x|"), STR(""), false },
	{ "a fold of white space alone", STR("A: 1\r\n \r\nB: 2\r\n\r\nx"), STR("A| 1\r\n |B| 2|"), STR("x"), false },
	{ "no fields", STR("\r\nbody"), STR(""), STR("body"), false },
	{ "nothing", STR(""), STR(""), STR(""), true },
	{ "no empty line, no body", STR("A: 1\r\n"), STR("A| 1|"), STR(""), true },
	{ "cut inside a value", STR("A: 1\r\nB: 2"), STR("A| 1|B| 2|"), STR(""), true },
	{ "cut behind CR", STR("A: 1\r\nB: 2\r"), STR("A| 1|B| 2\r|"), STR(""), true },
	{ "cut inside a name", STR("A: 1\r\nBcd"), STR("A| 1|"), STR("Bcd"), true },
	{ "cut behind the name", STR("A: 1\r\nBcd \t"), STR("A| 1|"), STR("Bcd \t"), true },
	{ "cut inside the empty line", STR("A: 1\r\n\r"), STR("A| 1|"), STR("\r"), true },
	{ "space before the colon", STR("From : a\r\nTo\t : b\r\n\r\n"), STR("From~| a|To~| b|"), STR(""), false },
	{ "a line that is no field", STR("A: 1\r\nhello there\r\nB: 2\r\n\r\n"), STR("A| 1|"), STR("hello there\r\nB: 2\r\n\r\n"), true },
	{ "an mbox line", STR("From a@b Sat\r\nA: 1\r\n\r\n"), STR(""), STR("From a@b Sat\r\nA: 1\r\n\r\n"), true },
	{ "name without a colon", STR("A: 1\r\nword\r\n\r\n"), STR("A| 1|"), STR("word\r\n\r\n"), true },
	{ "fold before the colon", STR("From\r\n : x\r\n\r\n"), STR(""), STR("From\r\n : x\r\n\r\n"), true },
	{ "leading space", STR(" From: a\r\nB: 1\r\n\r\n"), STR(""), STR(" From: a\r\nB: 1\r\n\r\n"), true },
	{ "no name", STR(": a\r\n\r\n"), STR(""), STR(": a\r\n\r\n"), true },
	{ "NUL in a name", STR("A: 1\r\nFr\0om: a\r\n\r\n"), STR("A| 1|"), STR("Fr\0om: a\r\n\r\n"), true },
	{ "8 bit in a name", STR("A: 1\r\nFr\xf6m: a\r\n\r\n"), STR("A| 1|"), STR("Fr\xf6m: a\r\n\r\n"), true },
	{ "NUL and 8 bit in a value", STR("A: 1\0\xff\r\n\r\n"), STR("A| 1\0\xff|"), STR(""), false },
	{ "any printable name", STR("!#$%&'*+-./09=?@[\\]^_`{|}~\"(),;<>: x\r\n\r\n"), STR("!#$%&'*+-./09=?@[\\]^_`{|}~\"(),;<>| x|"), STR(""), false },
	{ "bare LF is no line end", STR("A: 1\nB: 2\r\n\r\n"), STR("A| 1\nB: 2|"), STR(""), false },
	{ "bare CR is no line end", STR("A: 1\rB: 2\r\r\n\r\n"), STR("A| 1\rB: 2\r|"), STR(""), false },
	{ "LF at the line's start", STR("A: 1\r\n\nB: 2\r\n\r\n"), STR("A| 1|"), STR("\nB: 2\r\n\r\n"), true },
	{ "CR at the line's start", STR("A: 1\r\n\rB: 2\r\n\r\n"), STR("A| 1|"), STR("\rB: 2\r\n\r\n"), true },
	{ "CR CR LF", STR("A: 1\r\n\r\r\n"), STR("A| 1|"), STR("\r\r\n"), true },
	{ "empty values", STR("A:\r\nB: \r\n\r\n"), STR("A||B| |"), STR(""), false },
	{ "colons in a value", STR("A: b:c\r\n\r\n"), STR("A| b:c|"), STR(""), false },
	{ "LF first in a value", STR("A:\n\r\n\r\n"), STR("A|\n|"), STR(""), false },
};

static void show(const struct splitter *s, struct buf *out)
{
	for (size_t i = 0; i < s->fields.n; i++) {
		const struct field *f = &s->fields.v[i];

		buf_add(out, f->name);
		if (f->spaced)
			buf_add_char(out, '~');
		buf_add_char(out, '|');
		buf_add(out, f->value);
		buf_add_char(out, '|');
	}
}

/* Feeds `in` in pieces of these sizes, the last piece being the rest. */
static void split(struct splitter *s, str in, size_t a, size_t b, struct buf *body)
{
	const str pieces[] = { str_head(in, a), str_head(str_skip(in, a), b), str_skip(str_skip(in, a), b) };
	str       back;

	for (size_t i = 0; i < COUNT(pieces); i++) {
		bool   before = s->done;
		size_t used = splitter_feed(s, pieces[i], &back);

		assert_true(!before || used == 0);
		assert_true(s->done || used == pieces[i].n);
		buf_add(body, back);
		buf_add(body, str_skip(pieces[i], used));
	}
	splitter_end(s, &back);
	buf_add(body, back);
}

static void headers_split_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct expect *c = &cases[i];

		for (size_t a = 0; a <= c->in.n; a++)
			for (size_t b = 0; b <= c->in.n - a; b++) {
				struct arena    arena;
				struct splitter s;
				struct buf      body, shown;

				arena_init(&arena, ARENA_UNBOUNDED);
				buf_init(&body, BUF_UNBOUNDED);
				buf_init(&shown, BUF_UNBOUNDED);
				splitter_init(&s, &arena, 1000, 1000, 100);
				split(&s, c->in, a, b, &body);
				show(&s, &shown);
				if (!str_eq(buf_str(&shown), c->fields) || !str_eq(buf_str(&body), c->body) ||
				    s.no_blank != c->no_blank || !s.done || s.over ||
				    s.bytes != c->in.n - c->body.n)
					fail_msg("%s, split at %zu, %zu: fields \"%.*s\" body \"%.*s\" bytes %zu", c->name,
					         a, b, STR_ARG(buf_str(&shown)), STR_ARG(buf_str(&body)), s.bytes);
				splitter_fini(&s);
				buf_fini(&body);
				buf_fini(&shown);
				arena_fini(&arena);
			}
	}
}

static void raw_fields_give_the_header_back(void **state)
{
	static const str in = STR("A : 1\r\n 2\r\nB: 2\r\nc:\r\n\r\nx");
	struct arena     arena;
	struct splitter  s;
	struct buf       raw;
	str              back;

	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	buf_init(&raw, BUF_UNBOUNDED);
	splitter_init(&s, &arena, 1000, 1000, 100);
	assert_int_equal(splitter_feed(&s, in, &back), in.n - 1);
	for (size_t i = 0; i < s.fields.n; i++)
		buf_add(&raw, s.fields.v[i].raw);
	assert_true(str_eq(buf_str(&raw), str_head(in, in.n - 3)));
	assert_int_equal(fields_count(&s.fields, "a"), 1);
	assert_ptr_equal(fields_first(&s.fields, "C"), &s.fields.v[2]);
	assert_null(fields_first(&s.fields, "D"));
	splitter_fini(&s);
	buf_fini(&raw);
	arena_fini(&arena);
}

static void limits_stop_storing_not_reading(void **state)
{
	static const struct {
		const char *name;
		size_t      bytes, field, fields, budget;
		int         over;
		size_t      left;      /* fields kept */
	} limits[] = {
		{ "within all", 40, 13, 3, 65536, SPLIT_OK, 3 },
		{ "bytes", 20, 100, 10, 65536, SPLIT_BYTES, 1 },
		{ "field", 100, 12, 10, 65536, SPLIT_FIELD, 1 },
		{ "fields", 100, 100, 2, 65536, SPLIT_FIELDS, 2 },
		{ "memory", 100, 100, 10, 16, SPLIT_MEMORY, 0 },
	};
	static const str in = STR("Aa: 12345\r\nB: 1\r\n 3456\r\nC: 5678\r\n\r\nx");

	(void)state;
	for (size_t i = 0; i < COUNT(limits); i++)
		for (size_t at = 0; at < in.n; at++) {
			struct arena    arena;
			struct splitter s;
			str             back;
			size_t          used;

			arena_init(&arena, limits[i].budget);
			splitter_init(&s, &arena, limits[i].bytes, limits[i].field, limits[i].fields);
			used = splitter_feed(&s, str_head(in, at), &back);
			used += splitter_feed(&s, str_skip(in, at), &back);
			if (s.over != (unsigned)limits[i].over || used != in.n - 1 || !s.done || s.no_blank ||
			    s.fields.n != limits[i].left)
				fail_msg("%s at %zu: over %d, used %zu, fields %zu", limits[i].name, at, s.over, used,
				         s.fields.n);
			splitter_fini(&s);
			arena_fini(&arena);
		}
}

static void many_fields_and_a_large_one(void **state)
{
	struct arena    arena;
	struct splitter s;
	size_t          n = 1 << 20;
	char           *text = malloc(n);
	str             back;

	(void)state;
	assert_non_null(text);
	arena_init(&arena, ARENA_UNBOUNDED);
	splitter_init(&s, &arena, SIZE_MAX, SIZE_MAX, SIZE_MAX);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(splitter_feed(&s, STR("X: y\r\n"), &back), 6);
	memset(text, '\n', n);
	memcpy(text, "L:", 2);
	assert_int_equal(splitter_feed(&s, (str){ text, n }, &back), n);
	splitter_end(&s, &back);
	assert_int_equal(s.fields.n, 10001);
	assert_int_equal(s.fields.v[10000].value.n, n - 2);
	splitter_fini(&s);
	arena_fini(&arena);
	free(text);
}

static void values_are_unfolded(void **state)
{
	static const struct { str in; const char *want; } values[] = {
		{ STR(" a\r\n b\r\n\tc "), "a b\tc" },
		{ STR(" abc"), "abc" },
		{ STR("a\nb"), "a\nb" },
		{ STR("a\r\nb"), "a\r\nb" },
		{ STR(" \r\n "), "" },
		{ STR(""), "" },
	};
	struct arena arena;

	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(values); i++)
		assert_true(str_is(field_unfold(&arena, values[i].in), values[i].want));
	arena_fini(&arena);
}

/* Cut at every octet: the same answer. */
static void what_a_lenient_reader_would_take(void **state)
{
	static const struct { str in; bool want; } bodies[] = {
		{ STR("no field\r\nFrom: a\r\n\r\nx"), true },
		{ STR(" From: a\r\nSubject : b"), true },
		{ STR("x y\r\nSubject\t:"), true },
		{ STR("x y\n\nFrom: a\n"), false },
		{ STR("x y\r\n\r\nFrom: a\r\n"), false },
		{ STR("x y: z\r\n folded: b\r\n: c\r\n"), false },
		{ STR("x y\r\nFr\xc3\xb6m: a\r\n"), false },
		{ STR("x y\r\nname without colon\r\nFrom"), false },
		{ STR(""), false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(bodies); i++)
		for (size_t cut = 0; cut <= bodies[i].in.n; cut++) {
			struct read_on r = { 0 };
			bool first = read_on_feed(&r, str_head(bodies[i].in, cut));
			bool found = read_on_feed(&r, str_skip(bodies[i].in, cut));

			if (found != bodies[i].want || (first && !found))
				fail_msg("body %zu cut at %zu", i, cut);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_lenient_reader_would_take),
		cmocka_unit_test(headers_split_anywhere),
		cmocka_unit_test(raw_fields_give_the_header_back),
		cmocka_unit_test(limits_stop_storing_not_reading),
		cmocka_unit_test(many_fields_and_a_large_one),
		cmocka_unit_test(values_are_unfolded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
