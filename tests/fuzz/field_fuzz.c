/* SPDX-License-Identifier: ISC */
/* field: split at any place the header is the same, and no byte is lost. */
#include "smtpd/base/err.h"
#include "smtpd/mail/field.h"

struct seen {
	struct arena    arena;
	struct splitter s;
	struct buf      all;     /* raw fields, the empty line, the body */
};

static void body(struct seen *v, str bytes)
{
	buf_add(&v->all, bytes);
}

static void fed(struct seen *v, str piece, struct buf *rest)
{
	bool   before = v->s.done;
	str    back;
	size_t used = splitter_feed(&v->s, piece, &back);

	must(used <= piece.n && (!before || used == 0) && (v->s.done || used == piece.n));
	buf_add(rest, back);
	buf_add(rest, str_skip(piece, used));
}

static void split(struct seen *v, str in, size_t step)
{
	struct buf rest;
	str        back;

	arena_init(&v->arena, (size_t)64 << 20);
	buf_init(&v->all, BUF_UNBOUNDED);
	buf_init(&rest, BUF_UNBOUNDED);
	splitter_init(&v->s, &v->arena, SIZE_MAX, SIZE_MAX, SIZE_MAX);
	for (str left = in; left.n; left = str_skip(left, step))
		fed(v, str_head(left, step), &rest);
	splitter_end(&v->s, &back);
	buf_add(&rest, back);
	for (size_t i = 0; i < v->s.fields.n; i++) {
		const struct field *f = &v->s.fields.v[i];

		must(f->name.n && f->raw.n > f->name.n && !str_holds(f->name, ':'));
		body(v, f->raw);
	}
	if (!v->s.no_blank)
		body(v, STR("\r\n"));
	must(v->s.bytes == v->all.n);
	body(v, buf_str(&rest));
	buf_fini(&rest);
	must(v->s.done && str_eq(buf_str(&v->all), in));
}

static void ended(struct seen *v)
{
	splitter_fini(&v->s);
	buf_fini(&v->all);
	arena_fini(&v->arena);
}

static bool reads_on(str in, size_t step)
{
	struct read_on r = { 0 };
	bool           found = false;

	for (; in.n > 0; in = str_skip(in, step))
		found = read_on_feed(&r, str_head(in, step));
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str             in = { (const char *)data, size };
	struct seen     whole;
	struct splitter small;
	struct arena    a;
	str             back;

	split(&whole, in, size ? size : 1);
	for (size_t step = 1; step < 8 && size < 4096; step++) {
		struct seen pieces;

		split(&pieces, in, step);
		must(pieces.s.fields.n == whole.s.fields.n && pieces.s.no_blank == whole.s.no_blank);
		for (size_t i = 0; i < whole.s.fields.n; i++)
			must(str_eq(pieces.s.fields.v[i].raw, whole.s.fields.v[i].raw) &&
			     str_eq(pieces.s.fields.v[i].value, whole.s.fields.v[i].value));
		ended(&pieces);
		must(reads_on(in, step) == reads_on(in, size ? size : 1));
	}
	ended(&whole);
	arena_init(&a, 2048);
	splitter_init(&small, &a, 100, 30, 3);
	splitter_feed(&small, in, &back);
	splitter_end(&small, &back);
	must(small.done && small.fields.n <= 3);
	splitter_fini(&small);
	arena_fini(&a);
	return 0;
}
