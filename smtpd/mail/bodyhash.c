/* SPDX-License-Identifier: ISC */
/*
 * bodyhash: one canonical form at most of each kind, one digest for each
 * distinct wish.  A wish's number is its place in the table, so equal wishes
 * get equal numbers.  Belongs to one message, on its loop.
 */
#include "smtpd/mail/bodyhash.h"

#include "smtpd/base/err.h"

#define WISHES_MAX 64
#define KINDS      3

struct wish {
	enum canon       canon;
	enum digest_kind kind;
	uint64_t         length;      /* octets wanted */
	uint64_t         taken;
	struct digest    digest;
	bool             open;
	unsigned char    result[DIGEST_MAX];
	size_t           result_n;
};

struct form {
	bool              wanted;
	struct canon_body canon;
	enum canon        kind;
	uint64_t          bytes;
	struct bodyhash  *hashes;
};

struct bodyhash {
	struct form  forms[KINDS];
	struct wish *wishes[WISHES_MAX];
	size_t       n;
	struct arena *arena;
	bool         begun, ended;
};

struct bodyhash *bodyhash_new(struct arena *a)
{
	struct bodyhash *h = ARENA_NEW(a, struct bodyhash);

	if (h == NULL)
		return NULL;
	h->arena = a;
	for (size_t i = 0; i < KINDS; i++) {
		h->forms[i].kind = (enum canon)i;
		h->forms[i].hashes = h;
		canon_body_init(&h->forms[i].canon, (enum canon)i);
	}
	return h;
}

int bodyhash_wish(struct bodyhash *h, enum canon canon, enum digest_kind kind, uint64_t length)
{
	struct wish *w;

	for (size_t i = 0; i < h->n; i++)
		if (h->wishes[i]->canon == canon && h->wishes[i]->kind == kind &&
		    h->wishes[i]->length == length)
			return (int)i;
	if (h->begun || h->n == WISHES_MAX)
		return -1;
	w = ARENA_NEW(h->arena, struct wish);
	if (w == NULL || digest_begin(&w->digest, kind) != OK)
		return -1;
	w->canon = canon;
	w->kind = kind;
	w->length = length;
	w->open = true;
	h->forms[canon].wanted = true;
	h->wishes[h->n] = w;
	return (int)h->n++;
}

/* canon_sink */
static void hash_piece(void *arg, str piece)
{
	struct form     *f = arg;
	struct bodyhash *h = f->hashes;

	f->bytes += piece.n;
	for (size_t i = 0; i < h->n; i++) {
		struct wish *w = h->wishes[i];
		uint64_t     left = w->length - w->taken;
		str          part = left < piece.n ? str_head(piece, (size_t)left) : piece;

		if (w->canon != f->kind || part.n == 0)
			continue;
		digest_add(&w->digest, part);
		w->taken += part.n;
	}
}

void bodyhash_feed(struct bodyhash *h, str chunk)
{
	if (chunk.n == 0 || h->ended)
		return;
	h->begun = true;
	for (size_t i = 0; i < KINDS; i++)
		if (h->forms[i].wanted)
			canon_body_feed(&h->forms[i].canon, chunk, hash_piece, &h->forms[i]);
}

void bodyhash_end(struct bodyhash *h)
{
	if (h->ended)
		return;
	h->begun = true;
	h->ended = true;
	for (size_t i = 0; i < KINDS; i++)
		if (h->forms[i].wanted)
			canon_body_end(&h->forms[i].canon, hash_piece, &h->forms[i]);
	for (size_t i = 0; i < h->n; i++) {
		struct wish *w = h->wishes[i];

		if (w->open)
			w->result_n = digest_end(&w->digest, w->result);
		w->open = false;
	}
}

str bodyhash_result(const struct bodyhash *h, int wish)
{
	const struct wish *w;

	if (wish < 0 || (size_t)wish >= h->n || !h->ended)
		return STR_NONE;
	w = h->wishes[wish];
	return (str){ (const char *)w->result, w->result_n };
}

uint64_t bodyhash_length(const struct bodyhash *h, int wish)
{
	if (wish < 0 || (size_t)wish >= h->n)
		return 0;
	return h->forms[h->wishes[wish]->canon].bytes;
}

void bodyhash_drop(struct bodyhash *h)
{
	if (h == NULL)
		return;
	for (size_t i = 0; i < h->n; i++) {
		if (h->wishes[i]->open)
			digest_drop(&h->wishes[i]->digest);
		h->wishes[i]->open = false;
	}
	h->ended = true;
}
