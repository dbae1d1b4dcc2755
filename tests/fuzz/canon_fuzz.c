/* SPDX-License-Identifier: ISC */
/* canon: pieces of any size give the same bytes, and canonical text stays as
 * it is when made canonical again. */
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/canon.h"

static void sink(void *arg, str piece)
{
	must(piece.n > 0);
	buf_add(arg, piece);
}

static void made(enum canon kind, str in, size_t step, struct buf *out)
{
	struct canon_body b;

	buf_clear(out);
	canon_body_init(&b, kind);
	for (; in.n; in = str_skip(in, step))
		canon_body_feed(&b, str_head(in, step), sink, out);
	canon_body_end(&b, sink, out);
}

static void bodies(str in)
{
	struct buf whole, other;

	buf_init(&whole, BUF_UNBOUNDED);
	buf_init(&other, BUF_UNBOUNDED);
	for (int kind = 0; kind < 3; kind++) {
		made((enum canon)kind, in, in.n ? in.n : 1, &whole);
		must(whole.n == 0 ? kind != CANON_SIMPLE : memcmp(whole.p + whole.n - 2, "\r\n", 2) == 0);
		for (size_t step = 1; step < 6; step++) {
			made((enum canon)kind, in, step, &other);
			must(str_eq(buf_str(&whole), buf_str(&other)));
		}
		made((enum canon)kind, buf_str(&whole), 1000, &other);
		must(str_eq(buf_str(&whole), buf_str(&other)));
	}
	buf_fini(&whole);
	buf_fini(&other);
}

/* The splitter ends a field at a CRLF that is no fold. */
static bool is_one_field(str in)
{
	const char *at;

	for (; in.n > 2 && (at = memmem(in.p, in.n - 2, "\r\n", 2)) != NULL; in = str_skip(in, (size_t)(at - in.p) + 2))
		if (!is_wsp(at[2]))
			return false;
	return true;
}

static void fields(str in)
{
	struct buf out, again;

	buf_init(&out, BUF_UNBOUNDED);
	buf_init(&again, BUF_UNBOUNDED);
	for (int kind = 0; kind < 3; kind++) {
		buf_clear(&out);
		canon_signature_field((enum canon)kind, in, &out);
		must(out.n <= in.n);
		buf_clear(&out);
		buf_clear(&again);
		canon_field((enum canon)kind, in, &out);
		canon_field((enum canon)kind, buf_str(&out), &again);
		must(!is_one_field(in) || str_eq(buf_str(&out), buf_str(&again)));
	}
	buf_fini(&out);
	buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bodies((str){ (const char *)data, size });
	fields((str){ (const char *)data, size });
	return 0;
}
