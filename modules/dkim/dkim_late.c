/* SPDX-License-Identifier: ISC */
/*
 * dkim_late: a message that leaves later than its signatures hold is signed anew.
 *
 * Its own header and the fields in front of it are as they were; of those in
 * front, all of which we wrote, the old signatures are left out and the new ones
 * stand first.  The body is not needed: its hashes were kept.  Any thread.
 */
#include "modules/dkim/dkim_inside.h"

#include <string.h>

#define HEADER_MOST ((size_t)64 << 20)     /* what was taken in is within the limits of then */
#define FIELDS_MOST 100000

/* Marks the old signatures among those in front. */
static void omit_old(struct fields *f, size_t front)
{
	size_t at = 0;

	for (size_t i = 0; i < f->n && at < front; i++) {
		at += f->v[i].raw.n;
		f->v[i].omitted = field_is(&f->v[i], "DKIM-Signature");
	}
}

static bool split(struct splitter *s, const struct dkim_late *w)
{
	str back;

	splitter_feed(s, w->head, &back);
	if (!s->done)
		splitter_feed(s, w->header, &back);
	splitter_end(s, &back);
	return s->over == SPLIT_OK;
}

static str join(struct arena *a, const struct dkim_late *w, const struct fields *f, const str *signatures, size_t n)
{
	struct buf out;
	size_t at = 0;
	str text;

	buf_init(&out, BUF_UNBOUNDED);
	for (size_t i = 0; i < n; i++)
		buf_add(&out, signatures[i]);
	for (size_t i = 0; i < f->n && at < w->head.n; i++) {
		at += f->v[i].raw.n;
		if (!f->v[i].omitted)
			buf_add(&out, f->v[i].raw);
	}
	text = out.failed ? STR_NONE : str_keep(a, buf_str(&out));
	buf_fini(&out);
	return text;
}

static enum err sign_fields(const struct dkim_keyring *ring, struct arena *a, struct dkim_late *w, struct fields *f)
{
	str signatures[DKIM_SIGNERS_MAX];
	struct dkim_choice choice;
	struct path author;
	struct from from;
	size_t n;
	enum err e;

	omit_old(f, w->head.n);
	from_judge(a, f, &from);
	if (from.state != FROM_GOOD)
		return ERR_BAD;
	author = dkim_author(&from);
	dkim_keyring_choose(ring, &author, w->rcpts, w->nrcpts, a, &choice);
	w->domain = choice.found ? choice.domain : from.domain;
	w->hold = choice.found && choice.hold;
	if (choice.known == 0)
		return ERR_ABSENT;
	e = dkim_sign_all(&choice, f, w->hashes, w->now, 0, a, signatures, &n, &w->until);
	if (e != OK)
		return e;
	w->fresh = join(a, w, f, signatures, n);
	return w->fresh.p == NULL || a->spent ? ERR_MEMORY : OK;
}

enum err dkim_sign_late(const struct dkim_keyring *ring, struct arena *a, struct dkim_late *w)
{
	struct splitter s;
	enum err e = ERR_BAD;

	w->fresh = STR_NONE;
	w->hold = false;
	splitter_init(&s, a, HEADER_MOST, HEADER_MOST, FIELDS_MOST);
	if (split(&s, w))
		e = sign_fields(ring, a, w, &s.fields);
	splitter_fini(&s);
	if (e == ERR_ABSENT)
		w->why = arena_printf(a, "no DKIM key of %.*s is out", STR_ARG(w->domain));
	else if (e == ERR_BAD)
		w->why = STR("its header cannot be signed");
	else if (e != OK)
		w->why = str_of(err_text(e));
	w->hold = w->hold && e == ERR_ABSENT;
	return e;
}
