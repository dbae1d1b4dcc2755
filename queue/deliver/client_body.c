/* SPDX-License-Identifier: ISC */
/*
 * The message on its way out: the head, then the content, dots stuffed
 * (RFC 5321 4.5.2), a window at a time and never more than the peer takes.
 *
 * Content that is not in memory is read by the disk desk, so the loop never
 * waits for a disk.  A message that cannot be read to its end is cut off by
 * closing the connection: there is no final dot.  Loop thread.
 */
#include "queue/deliver/client_inside.h"

#include <stdlib.h>

static void write_piece(void *arg, str piece)
{
	struct client *c = arg;

	conn_write(c->conn, piece);
}

static void feed(struct client *c, str s)
{
	dot_out_feed(&c->dot, s, write_piece, c);
}

static void unreadable(struct client *c, enum err e)
{
	str said;
	enum fate fate = lease_unreadable(client_arena(c), e, &said);

	client_drop(c);
	client_fail_rest(c, fate, STR("4.3.0"), said);
}

/* ---- windows ------------------------------------------------------------------------------- */

static void read_window(struct job *j)                             /* disk desk */
{
	struct client *c = SUPER(j, struct client, job);
	const struct queue_entry *e = c->lease->entry;
	uint64_t left = e->bytes - c->at;

	c->got = 0;
	c->read_error = queue_read(c->house->queue, e->id, e->in_file, c->at, c->window,
	                           left < WINDOW ? (size_t)left : WINDOW, &c->got);
}

static void window_came(struct baton *b)
{
	struct client *c = SUPER(SUPER(b, struct job, baton), struct client, job);

	c->reading = false;
	if (c->abandoned) {
		client_window_home(c);
		return;
	}
	if (c->read_error != OK || c->got == 0) {
		unreadable(c, c->read_error != OK ? c->read_error : ERR_BAD);
		return;
	}
	c->at += c->got;
	feed(c, (str){ c->window, c->got });
	client_body_more(c);
}

static void ask_for_window(struct client *c)
{
	if (c->window == NULL)
		c->window = malloc(WINDOW);
	if (c->window == NULL) {
		unreadable(c, ERR_MEMORY);
		return;
	}
	c->reading = true;
	c->job.work = read_window;
	c->job.baton.home = c->loop->mbox;
	c->job.baton.arrived = window_came;
	desk_submit_anyway(c->house->disk, &c->job);
}

/* ---- sending --------------------------------------------------------------------------------- */

static void message_ended(struct client *c)
{
	conn_write(c->conn, dot_out_end(&c->dot));
	client_enter(c, ST_FINAL);
}

void client_body_say(struct client *c)
{
	c->at = 0;
	dot_out_init(&c->dot);
	feed(c, c->head);
	feed(c, lease_head(c->lease));
	client_body_more(c);
}

void client_body_more(struct client *c)
{
	const struct queue_entry *e = c->lease->entry;

	conn_deadline(c->conn, client_wait_ms(c, WAIT_DATA));
	while (c->at < e->bytes && conn_unsent(c->conn) < UNSENT_MOST) {
		str piece;

		if (e->content.p == NULL) {
			ask_for_window(c);
			return;
		}
		piece = str_head(str_skip(e->content, c->at), WINDOW);
		c->at += piece.n;
		feed(c, piece);
	}
	if (c->at >= e->bytes)
		message_ended(c);
}

/* An answer before the final dot: the peer has stopped listening.  A refusal is
 * taken at its word; nothing else can be true. */
enum state_id client_body_heard(struct client *c, const struct reply *r)
{
	struct arena *a = client_arena(c);
	bool refused = r->code >= 500;

	client_drop(c);
	if (r->code == 421)
		c->lease->unreachable = true;
	for (size_t i = 0; i < c->nround; i++)
		if (c->accepted[i])
			lease_settle(c->lease, c->round[i], refused ? FATE_BOUNCED : FATE_DEFERRED,
			             r->code >= 400 ? client_reply_status(a, r) : STR("4.5.0"), client_reply_said(a, r));
	client_fail_rest(c, FATE_DEFERRED, STR("4.4.2"),
	                 arena_printf(a, "%s broke off in the middle of the message", c->host));
	return ST_DONE;
}

void client_body_forget(struct client *c)
{
	free(c->window);
	c->window = NULL;
}
