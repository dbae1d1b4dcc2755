/* SPDX-License-Identifier: ISC */
/* dot: only CRLF dot CRLF ends; pieces of any size agree; what dot_out sends
 * comes back; repaired text holds no bare LF. */
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/dot.h"

static void sink(void *arg, str piece)
{
	must(piece.n > 0);
	buf_add(arg, piece);
}

/* How much of `in` was used when it came in steps of this size. */
static size_t received(struct dot *d, str in, size_t step, struct buf *out)
{
	size_t used = 0;

	while (used < in.n && !d->done) {
		str piece = str_head(str_skip(in, used), step), left = piece, text;

		while ((text = dot_next(d, &left)).n)
			buf_add(out, text);
		must(left.n == 0 || d->done);
		used += piece.n - left.n;
	}
	return used;
}

/* The end by the letter of RFC 5321 4.1.1.4, or in.n + 1. */
static size_t true_end(str in)
{
	const char *end;

	if (str_starts(in, ".\r\n"))
		return 3;
	end = in.n ? memmem(in.p, in.n, "\r\n.\r\n", 5) : NULL;
	return end != NULL ? (size_t)(end - in.p) + 5 : in.n + 1;
}

static void back_and_forth(str in)
{
	struct buf     wire, text;
	struct dot_out o;
	struct dot     d;

	buf_init(&wire, BUF_UNBOUNDED);
	buf_init(&text, BUF_UNBOUNDED);
	dot_out_init(&o);
	dot_out_feed(&o, str_head(in, in.n / 2), sink, &wire);
	dot_out_feed(&o, str_skip(in, in.n / 2), sink, &wire);
	buf_add(&wire, dot_out_end(&o));
	dot_init(&d, false);
	must(received(&d, buf_str(&wire), 7, &text) == wire.n && d.done);
	must(str_eq(str_head(buf_str(&text), in.n), in) && text.n - in.n <= 2);
	buf_fini(&wire);
	buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str        in = { (const char *)data, size };
	struct buf whole, pieces;
	struct dot d, e;

	buf_init(&whole, BUF_UNBOUNDED);
	buf_init(&pieces, BUF_UNBOUNDED);
	for (int repair = 0; repair < 2; repair++) {
		size_t used;

		buf_clear(&whole);
		dot_init(&d, repair);
		used = received(&d, in, size ? size : 1, &whole);
		must(d.done ? used == true_end(in) : true_end(in) > in.n);
		for (size_t step = 1; step < 6; step++) {
			buf_clear(&pieces);
			dot_init(&e, repair);
			must(received(&e, in, step, &pieces) == used);
			must(str_eq(buf_str(&whole), buf_str(&pieces)) && e.faults == d.faults);
		}
		for (size_t i = 0; repair && i < whole.n; i++)
			must(whole.p[whole.head + i] != '\n' || (i && whole.p[whole.head + i - 1] == '\r'));
		if (d.done && !repair && !(d.faults & DOT_BARE_LF))
			for (size_t i = 0; i < whole.n; i++)
				must(whole.p[whole.head + i] != '\n' || (i && whole.p[whole.head + i - 1] == '\r'));
	}
	buf_fini(&whole);
	buf_fini(&pieces);
	back_and_forth(in);
	return 0;
}
