/* SPDX-License-Identifier: ISC */
/* canon: bodies and fields in their canonical forms, whole and split anywhere. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/canon.h"

struct expect {
	const char *name;
	str         in;
	str         simple, relaxed, nofws;
};

static const struct expect bodies[] = {
	{ "empty", STR(""), STR("\r\n"), STR(""), STR("") },
	{ "one line", STR("abc\r\n"), STR("abc\r\n"), STR("abc\r\n"), STR("abc\r\n") },
	{ "final CRLF missing", STR("abc"), STR("abc\r\n"), STR("abc\r\n"), STR("abc\r\n") },
	{ "one CRLF", STR("\r\n"), STR("\r\n"), STR(""), STR("") },
	{ "only CRLFs", STR("\r\n\r\n\r\n"), STR("\r\n"), STR(""), STR("") },
	{ "empty lines at the end", STR("a\r\n\r\n\r\n"), STR("a\r\n"), STR("a\r\n"), STR("a\r\n") },
	{ "empty lines in front", STR("\r\n\r\na\r\n"), STR("\r\n\r\na\r\n"), STR("\r\n\r\na\r\n"), STR("\r\n\r\na\r\n") },
	{ "empty lines inside", STR("a\r\n\r\nb"), STR("a\r\n\r\nb\r\n"), STR("a\r\n\r\nb\r\n"), STR("a\r\n\r\nb\r\n") },
	/* RFC 6376 3.4.5, example 1's body */
	{ "the RFC's example", STR(" C \r\nD \t E\r\n\r\n\r\n"), STR(" C \r\nD \t E\r\n"), STR(" C\r\nD E\r\n"), STR("C\r\nDE\r\n") },
	{ "white space at the end", STR("a \t\r\n"), STR("a \t\r\n"), STR("a\r\n"), STR("a\r\n") },
	{ "and no CRLF", STR("a \t"), STR("a \t\r\n"), STR("a\r\n"), STR("a\r\n") },
	{ "a lone tab inside", STR("a\tb\r\n"), STR("a\tb\r\n"), STR("a b\r\n"), STR("ab\r\n") },
	{ "lines of white space at the end", STR("a\r\n \r\n\t\r\n"), STR("a\r\n \r\n\t\r\n"), STR("a\r\n"), STR("a\r\n") },
	{ "only white space", STR(" \t "), STR(" \t \r\n"), STR(""), STR("") },
	{ "only lines of white space", STR(" \r\n \r\n"), STR(" \r\n \r\n"), STR(""), STR("") },
	{ "white space line inside", STR("a\r\n  \r\nb\r\n"), STR("a\r\n  \r\nb\r\n"), STR("a\r\n\r\nb\r\n"), STR("a\r\n\r\nb\r\n") },
	{ "white space in front", STR("  a\r\n"), STR("  a\r\n"), STR(" a\r\n"), STR("a\r\n") },
	{ "NUL and 8 bit", STR("\0\xff \xc3\xbc\r\n"), STR("\0\xff \xc3\xbc\r\n"), STR("\0\xff \xc3\xbc\r\n"), STR("\0\xff\xc3\xbc\r\n") },
	{ "bare CR", STR("a\rb\r\n"), STR("a\rb\r\n"), STR("a\rb\r\n"), STR("ab\r\n") },
	{ "bare LF", STR("a\nb\r\n"), STR("a\nb\r\n"), STR("a\nb\r\n"), STR("ab\r\n") },
	{ "CR CR LF", STR("a\r\r\n"), STR("a\r\r\n"), STR("a\r\r\n"), STR("a\r\n") },
	{ "CR at the end", STR("a\r"), STR("a\r\r\n"), STR("a\r\r\n"), STR("a\r\n") },
	{ "CRLF CR at the end", STR("a\r\n\r"), STR("a\r\n\r\r\n"), STR("a\r\n\r\r\n"), STR("a\r\n") },
	{ "only CR", STR("\r"), STR("\r\r\n"), STR("\r\r\n"), STR("") },
	{ "LF CR", STR("a\n\r"), STR("a\n\r\r\n"), STR("a\n\r\r\n"), STR("a\r\n") },
	{ "space CR, no LF", STR("a \rb"), STR("a \rb\r\n"), STR("a \rb\r\n"), STR("ab\r\n") },
	{ "CR space LF", STR("a\r \nb"), STR("a\r \nb\r\n"), STR("a\r \nb\r\n"), STR("ab\r\n") },
	{ "spaces, CR, spaces, CRLF", STR("a  \r  \r\n"), STR("a  \r  \r\n"), STR("a \r\r\n"), STR("a\r\n") },
	{ "a long line of blocks",
	  STR("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
	      "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789  x\t\r\n\r\n"),
	  STR("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
	      "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789  x\t\r\n"),
	  STR("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
	      "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 x\r\n"),
	  STR("0123456789012345678901234567890123456789012345678901234567890123456789"
	      "012345678901234567890123456789012345678901234567890123456789x\r\n") },
};

static void gather(void *arg, str piece)
{
	assert_true(piece.n > 0);
	buf_add(arg, piece);
}

static void feed(enum canon kind, str in, size_t at, size_t at2, struct buf *out)
{
	struct canon_body b;

	buf_clear(out);
	canon_body_init(&b, kind);
	canon_body_feed(&b, str_head(in, at), gather, out);
	canon_body_feed(&b, str_head(str_skip(in, at), at2), gather, out);
	canon_body_feed(&b, str_skip(str_skip(in, at), at2), gather, out);
	canon_body_end(&b, gather, out);
}

static void bodies_split_anywhere(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	for (size_t i = 0; i < COUNT(bodies); i++) {
		const str want[] = { bodies[i].simple, bodies[i].relaxed, bodies[i].nofws };

		for (int kind = 0; kind < 3; kind++)
			for (size_t at = 0; at <= bodies[i].in.n; at++)
				for (size_t at2 = 0; at2 <= bodies[i].in.n - at; at2++) {
					feed((enum canon)kind, bodies[i].in, at, at2, &out);
					if (!str_eq(buf_str(&out), want[kind]))
						fail_msg("%s, form %d, split at %zu and %zu more: got \"%.*s\"",
						         bodies[i].name, kind, at, at2, STR_ARG(buf_str(&out)));
				}
	}
	buf_fini(&out);
}

/* RFC 6376 3.4.3 and 3.4.4 to the letter, one byte after the other. */
static void plain_canon(enum canon kind, str in, struct buf *out)
{
	bool any = false;

	buf_clear(out);
	while (in.n) {
		size_t end = 0;
		str    line;
		size_t from = out->n;
		bool   wsp = false;

		while (end + 1 < in.n && !(in.p[end] == '\r' && in.p[end + 1] == '\n'))
			end++;
		if (end + 1 >= in.n)
			end = in.n;
		line = str_head(in, end);
		in = str_skip(in, end + 2);
		for (size_t i = 0; i < line.n; i++) {
			char c = line.p[i];

			if (kind == CANON_SIMPLE) {
				buf_add_char(out, c);
				continue;
			}
			if (is_wsp(c) || (kind == CANON_NOFWS && (c == '\r' || c == '\n'))) {
				wsp = true;
				continue;
			}
			if (wsp && kind == CANON_RELAXED)
				buf_add_char(out, ' ');
			wsp = false;
			buf_add_char(out, c);
		}
		any |= out->n > from;
		buf_add(out, STR("\r\n"));
	}
	while (out->n >= 2 && (!any || out->n >= 4) &&
	       memcmp(out->p + out->n - 2, "\r\n", 2) == 0 &&
	       (!any || memcmp(out->p + out->n - 4, "\r\n", 2) == 0))
		out->n -= 2;
	if (!any && kind == CANON_SIMPLE)
		buf_add(out, STR("\r\n"));
}

static void random_bodies_agree_with_the_plain_form(void **state)
{
	static const char alphabet[] = "   \t\r\r\n\n\r\nabc";
	struct buf got, want;
	unsigned   seed = 7;
	char       text[3000];

	(void)state;
	buf_init(&got, BUF_UNBOUNDED);
	buf_init(&want, BUF_UNBOUNDED);
	for (int round = 0; round < 4000; round++) {
		size_t n = (size_t)rand_r(&seed) % (round % 20 ? 24 : sizeof(text));
		bool   dense = rand_r(&seed) % 2;

		for (size_t i = 0; i < n; i++) {
			int r = rand_r(&seed);

			text[i] = dense || r % 50 == 0 ? alphabet[(size_t)r / 50 % (sizeof(alphabet) - 1)] : 'x';
			if (r % 7 == 0 && i + 1 < n) {
				text[i++] = '\r';
				text[i] = '\n';
			}
		}
		for (int kind = 0; kind < 3; kind++) {
			size_t at = n ? (size_t)rand_r(&seed) % n : 0;

			plain_canon((enum canon)kind, (str){ text, n }, &want);
			feed((enum canon)kind, (str){ text, n }, at, (n - at) / 2, &got);
			if (!str_eq(buf_str(&got), buf_str(&want)))
				fail_msg("round %d, form %d: got \"%.*s\", want \"%.*s\"", round, kind,
				         STR_ARG(buf_str(&got)), STR_ARG(buf_str(&want)));
		}
	}
	buf_fini(&got);
	buf_fini(&want);
}

static void one_long_line(void **state)
{
	size_t     n = 10 << 20;
	char      *line = malloc(n);
	struct buf out;

	(void)state;
	assert_non_null(line);
	memset(line, 'x', n);
	buf_init(&out, BUF_UNBOUNDED);
	for (int kind = 0; kind < 3; kind++) {
		feed((enum canon)kind, (str){ line, n }, 12345, 54321, &out);
		assert_int_equal(out.n, n + 2);
		assert_memory_equal(out.p + out.n - 3, "x\r\n", 3);
	}
	for (size_t i = 0; i + 1 < n; i += 2)
		memcpy(line + i, "\r\n", 2);
	feed(CANON_RELAXED, (str){ line, n }, 12345, 54321, &out);
	assert_int_equal(out.n, 0);
	feed(CANON_SIMPLE, (str){ line, n }, 12345, 54321, &out);
	assert_int_equal(out.n, 2);
	line[n - 1] = 'x';
	feed(CANON_RELAXED, (str){ line, n }, 12345, 54321, &out);
	assert_int_equal(out.n, n + 2);
	buf_fini(&out);
	free(line);
}

static const struct {
	const char *name;
	str         raw;
	str         simple, relaxed, nofws;
} fields[] = {
	{ "plain", STR("A: X\r\n"), STR("A: X\r\n"), STR("a:X\r\n"), STR("A:X\r\n") },
	/* RFC 6376 3.4.5 */
	{ "the RFC's example", STR("B : Y\t\r\n\tZ  \r\n"), STR("B : Y\t\r\n\tZ  \r\n"), STR("b:Y Z\r\n"), STR("B:YZ\r\n") },
	{ "empty value", STR("Subject: \r\n"), STR("Subject: \r\n"), STR("subject:\r\n"), STR("Subject:\r\n") },
	{ "no value", STR("Subject:\r\n"), STR("Subject:\r\n"), STR("subject:\r\n"), STR("Subject:\r\n") },
	{ "a fold of white space", STR("S: a\r\n \r\n"), STR("S: a\r\n \r\n"), STR("s:a\r\n"), STR("S:a\r\n") },
	{ "colons in the value", STR("S: a:b : c\r\n"), STR("S: a:b : c\r\n"), STR("s:a:b : c\r\n"), STR("S:a:b:c\r\n") },
	{ "no CRLF", STR("S: a"), STR("S: a\r\n"), STR("s:a\r\n"), STR("S:a\r\n") },
	{ "8 bit and bare CR", STR("S: \xff\rb\r\n"), STR("S: \xff\rb\r\n"), STR("s:\xff\rb\r\n"), STR("S:\xff""b\r\n") },
};

static const struct {
	const char *name;
	str         raw;
	str         simple, relaxed;
} signatures[] = {
	{ "last", STR("D: v=1; b=abc\r\n\tdef\r\n"), STR("D: v=1; b="), STR("d:v=1; b=") },
	{ "inside", STR("D: v=1; b=abc\r\n\tdef ; d=x\r\n"), STR("D: v=1; b=; d=x"), STR("d:v=1; b=; d=x") },
	{ "first", STR("D:b=abc;bh=def;\r\n"), STR("D:b=;bh=def;"), STR("d:b=;bh=def;") },
	{ "bh alone", STR("D: bh=def\r\n"), STR("D: bh=def"), STR("d:bh=def") },
	{ "space before =", STR("D: v=1; b = abc; \r\n"), STR("D: v=1; b =; "), STR("d:v=1; b =;") },
	{ "folded name", STR("D: v=1;\r\n b=abc;\r\n c=d\r\n"), STR("D: v=1;\r\n b=;\r\n c=d"), STR("d:v=1; b=; c=d") },
	{ "folded value", STR("D: v=1; b=\r\n abc\r\n ; c=d\r\n"), STR("D: v=1; b=; c=d"), STR("d:v=1; b=; c=d") },
	{ "only the first", STR("D: b=1; b=2\r\n"), STR("D: b=; b=2"), STR("d:b=; b=2") },
	{ "B is another tag", STR("D: B=1; b=2\r\n"), STR("D: B=1; b="), STR("d:B=1; b=") },
};

static void fields_are_made_canonical(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	for (size_t i = 0; i < COUNT(fields); i++) {
		const str want[] = { fields[i].simple, fields[i].relaxed, fields[i].nofws };

		for (int kind = 0; kind < 3; kind++) {
			buf_clear(&out);
			canon_field((enum canon)kind, fields[i].raw, &out);
			if (!str_eq(buf_str(&out), want[kind]))
				fail_msg("%s, form %d: got \"%.*s\"", fields[i].name, kind, STR_ARG(buf_str(&out)));
		}
	}
	for (size_t i = 0; i < COUNT(signatures); i++) {
		const str want[] = { signatures[i].simple, signatures[i].relaxed };

		for (int kind = 0; kind < 2; kind++) {
			buf_clear(&out);
			canon_signature_field((enum canon)kind, signatures[i].raw, &out);
			if (!str_eq(buf_str(&out), want[kind]))
				fail_msg("%s, form %d: got \"%.*s\"", signatures[i].name, kind, STR_ARG(buf_str(&out)));
		}
	}
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_split_anywhere),
		cmocka_unit_test(random_bodies_agree_with_the_plain_form),
		cmocka_unit_test(one_long_line),
		cmocka_unit_test(fields_are_made_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
