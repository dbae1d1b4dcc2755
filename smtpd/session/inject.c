/* SPDX-License-Identifier: ISC */
/*
 * inject: mail that postern writes itself, taken in like any other.
 *
 * A letter is a message without a session: its text goes through the same
 * intake, modules and put.  The put that stores a bounce also settles the
 * recipients it speaks of.  The letter goes home with its result, whatever
 * happens.  Loop thread.
 */
#include <stdlib.h>

#include "smtpd/session/internal.h"

#define PIECE ((size_t)64 << 10)

struct injection {
	struct letter     *letter;
	struct front      *front;
	struct era        *era;
	struct chain_conn *chain;
	struct txn        *txn;
	struct peer        peer;     /* nobody: no address, no name */
	struct arena       arena;
	struct log         log;
	size_t             at;       /* octets of the text that are in */
};

static void send_home(struct letter *l, enum err result)
{
	l->result = result;
	count(result == OK ? LETTERS_STORED : LETTERS_FAILED);
	mbox_send(l->baton.home, &l->baton);
}

static void injection_end(struct injection *j, enum err result)
{
	struct letter *l = j->letter;
	struct front  *f = j->front;

	if (j->txn != NULL)
		l->id = j->txn->id;
	txn_free(j->txn);
	if (j->chain != NULL)
		chain_close(j->chain);
	arena_fini(&j->arena);
	era_leave(j->era);
	free(j);
	send_home(l, result);
	front_letter_gone(f);
}

static void finished(struct txn *t, const struct answer *a)
{
	injection_end(t->owner, a->code == 250 ? OK : a->code < 500 ? ERR_FULL : ERR_BAD);
}

/* ---- the text -------------------------------------------------------------------------- */

static void feed(struct injection *j)
{
	struct txn *t = j->txn;

	while (j->at < j->letter->text.n) {
		str piece = str_head(str_skip(j->letter->text, j->at), PIECE);

		j->at += piece.n;
		if (!intake_feed(t, piece))
			return;
	}
	if (!t->ended)
		intake_end(t);
	if (!t->blocked)
		accept_message(t);
}

static void ready(struct txn *t)
{
	feed(t->owner);
}

/* ---- the envelope ------------------------------------------------------------------------ */

/* An address that nobody has here is left to the delivery, which says so. */
static bool add_rcpt(struct txn *t, str address)
{
	struct directory_answer found = { 0 };
	struct path to;
	struct rcpt r = { .flags = RCPT_NOTIFY_NEVER };

	if (!path_of(&t->arena, address, &to))
		return false;
	directory_find(t->setup->directory, &t->arena, &to, &found);
	return txn_resolve(t, &to, &found, &r) && txn_add_rcpt(t, &to, &r);
}

static void mail_judged(struct chain_conn *c, void *user)
{
	struct injection *j = user;

	(void)c;
	if (!add_rcpt(j->txn, j->letter->rcpt))
		injection_end(j, j->txn->arena.spent ? ERR_MEMORY : ERR_BAD);
	else if (!intake_begin(j->txn))
		injection_end(j, ERR_MEMORY);
	else
		feed(j);
}

/* What is short of memory is tried again; only what can never be sent is bad. */
static enum err begin(struct injection *j)
{
	const struct letter *l = j->letter;
	struct txn *t;

	j->chain = chain_open(j->era->setup->chain, j->front->loop, &j->peer, &j->arena, &j->log);
	if (j->chain == NULL)
		return ERR_MEMORY;
	t = j->txn = txn_new(j->era->setup, j->front->loop, j->chain, &j->peer, FROM_OURSELVES, j);
	if (t == NULL)
		return ERR_MEMORY;
	t->letter = l;
	t->ready = ready;
	t->finished = finished;
	t->in.smtputf8 = l->utf8;
	t->flags = l->flags;
	t->in.sender.is_null = l->sender.n == 0;
	j->log.id = t->log.id;
	if (l->sender.n == 0 || path_of(&t->arena, l->sender, &t->in.sender))
		return OK;
	return t->arena.spent ? ERR_MEMORY : ERR_BAD;
}

void inject_letter(struct baton *b)
{
	struct letter    *l = SUPER(b, struct letter, baton);
	struct front     *f = front_here();
	struct injection *j = f != NULL && f->era != NULL ? calloc(1, sizeof(*j)) : NULL;
	enum err          e;

	if (j == NULL) {
		send_home(l, ERR_BUSY);
		return;
	}
	j->letter = l;
	j->front = f;
	j->era = f->era;
	j->era->users++;
	arena_init(&j->arena, (size_t)256 << 10);
	front_letter_came(f);
	e = begin(j);
	if (e != OK)
		injection_end(j, e);
	else if (chain_mail(j->chain, &j->txn->in, &j->txn->arena, &j->txn->log, mail_judged, j) !=
		 SAY_WAIT)
		mail_judged(j->chain, j);
}
