/* SPDX-License-Identifier: ISC */
/* reply: a peer's bytes in any pieces give the same replies; what we write is
 * short printable lines that read back. */
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/reply.h"

static void printable(str s)
{
	for (size_t i = 0; i < s.n; i++)
		must((unsigned char)s.p[i] >= ' ' || s.p[i] == '\n');
}

/* All replies in `in`, written down one after the other. */
static void read_all(str in, size_t step, struct buf *out)
{
	struct reply_reader r;
	struct arena        a;
	struct reply        got;
	bool                done, bad = false;
	size_t              at = 0;

	arena_init(&a, (size_t)64 << 20);
	reply_reader_init(&r);
	while (at < in.n && !bad) {
		size_t used = reply_read(&r, &a, str_head(str_skip(in, at), step), &got, &done, &bad);

		must(used > 0 && used <= step && at + used <= in.n && !(done && bad));
		at += used;
		if (!done)
			continue;
		must(got.code >= 200 && got.code <= 599 && got.first.n <= got.text.n);
		printable(got.text);
		buf_addf(out, "%d %.*s %.*s\n", got.code, STR_ARG(got.esc), STR_ARG(got.text));
	}
	buf_addf(out, "%d", bad);
	reply_reader_fini(&r);
	arena_fini(&a);
}

static void written(str text, const char *esc)
{
	struct buf out, back;
	str        rest, line;

	buf_init(&out, BUF_UNBOUNDED);
	buf_init(&back, BUF_UNBOUNDED);
	reply_write(&out, 550, esc, text);
	rest = buf_str(&out);
	while (str_cut(&rest, '\n', &line) && rest.p != NULL && rest.n)
		must(line.n + 1 <= REPLY_LINE_MAX && line.p[line.n - 1] == '\r' && line.p[3] == '-');
	must(line.n + 1 <= REPLY_LINE_MAX);
	for (size_t i = 0; i < out.n; i++)
		must((out.p[i] >= ' ' && out.p[i] <= '~') || out.p[i] == '\r' || out.p[i] == '\n');
	if (out.n < REPLY_TOTAL_MAX / 2) {
		read_all(buf_str(&out), out.n, &back);
		must(back.p[back.n - 1] == '0' && memcmp(back.p, "550 ", 4) == 0);
	}
	buf_fini(&out);
	buf_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str        in = { (const char *)data, size };
	struct buf whole, pieces;

	buf_init(&whole, BUF_UNBOUNDED);
	buf_init(&pieces, BUF_UNBOUNDED);
	read_all(in, size ? size : 1, &whole);
	for (size_t step = 1; step < 4; step++) {
		buf_clear(&pieces);
		read_all(in, step, &pieces);
		must(str_eq(buf_str(&whole), buf_str(&pieces)));
	}
	buf_fini(&whole);
	buf_fini(&pieces);
	written(in, NULL);
	written(in, "5.7.26");
	return 0;
}
