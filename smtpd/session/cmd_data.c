/* SPDX-License-Identifier: ISC */
/*
 * DATA and BDAT: the message itself.
 *
 * Bytes go into the intake as they come; when it is full the connection pauses
 * until its disk has caught up.  A message that is refused is read to its true
 * end all the same, so that the session goes on behind it and nothing of it is
 * ever taken for a command.  Loop thread.
 */
#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

static void data_take(struct session *, str *in);
static void chunk_take(struct session *, str *in);

/* ---- the end --------------------------------------------------------------------- */

static enum step answer(struct session *s, const struct answer *a)
{
	s->idle_commands = 0;
	if (a->code == 250) {
		s->errors = 0;
		s->taken++;
	}
	return tell(s, a->code, a->esc, "%.*s", STR_ARG(a->text));
}

/* Also called for a ghost, and for a session that is just ending. */
void data_answered(struct session *s, const struct answer *a)
{
	if (s->ghost || s->closing) {
		session_forget_message(s);
		return;
	}
	s->doing = "DATA";
	answer(s, a);
	session_forget_message(s);
	session_next(s);
}

static void data_complete(struct session *s)
{
	session_wait(s);
	intake_end(s->txn);
	/* A last piece may still be on its way to the disk: then data_ready goes on. */
	if (!s->txn->blocked)
		accept_message(s->txn);
}

static bool is_complete(const struct session *s)
{
	return s->phase == CHUNKS ? s->chunk_last && s->chunk_left == 0 : s->txn->dot.done;
}

static void chunk_complete(struct session *s)
{
	const struct answer *a = &s->txn->refusal;

	s->take = session_take_lines;
	if (a->code != 0)
		tell(s, a->code, a->esc, "%.*s", STR_ARG(a->text));
	else
		tell(s, 250, "2.0.0", "%llu octets so far", (unsigned long long)s->txn->bytes);
}

/* The intake may go on. */
void data_ready(struct txn *t)
{
	struct session *s = t->owner;

	if (s->closing)
		return;
	if (t->ended) {
		accept_message(t);
	} else if (is_complete(s)) {
		data_complete(s);
	} else {
		if (s->take == chunk_take && s->chunk_left == 0)
			chunk_complete(s);
		session_next(s);
	}
}

/* ---- pace ------------------------------------------------------------------------- */

/* Whoever sends a little all the time would hold a place for ever. */
static bool crawls(struct session *s, uint64_t bytes)
{
	const struct limits_conf *l = s->setup->limits;
	uint64_t now = clock_ms(), took = now - s->crawl_ms;

	if (s->crawl_ms != 0 && took < l->crawl_ms)
		return false;
	if (s->crawl_ms != 0 && bytes - s->crawl_bytes < l->crawl_bytes * (took / 1000)) {
		count(TIMEOUTS);
		s->why = "crawls";
		farewell(s, 421, "4.4.2", "The message comes too slowly, good-bye");
		session_close(s, NULL, true);
		return true;
	}
	s->crawl_ms = now;
	s->crawl_bytes = bytes;
	return false;
}

/* What was refused is read on to its end, but not for ever. */
static bool goes_on_for_ever(struct session *s)
{
	uint64_t most = s->setup->limits->message_size;

	if (s->txn->refusal.code == 0 || s->txn->bytes / 2 <= most)
		return false;
	s->why = "refused, and goes on";
	tell(s, s->txn->refusal.code, s->txn->refusal.esc, "%.*s", STR_ARG(s->txn->refusal.text));
	farewell(s, 421, "4.7.0", "The message was refused, and has no end: good-bye");
	session_close(s, NULL, true);
	return true;
}

/* ---- DATA --------------------------------------------------------------------------- */

static void data_take(struct session *s, str *in)
{
	struct txn *t = s->txn;

	s->doing = "DATA";
	session_await(s, s->setup->limits->data_timeout_ms);
	while (in->n > 0 && !t->dot.done) {
		str piece = dot_next(&t->dot, in);

		if (piece.n > 0 && !intake_feed(t, piece)) {
			session_wait(s);
			return;
		}
	}
	if (t->dot.done)
		data_complete(s);
	else if (!goes_on_for_ever(s))
		crawls(s, t->bytes);
}

static bool can_begin(struct session *s, enum step *step)
{
	struct txn *t = s->txn;

	if (queue_room(s->setup->queue, t->declared) != OK)
		*step = refuse_kindly(
			s, 452, "4.3.1",
			"The disk has no room for another message now, try again later");
	else if (!intake_begin(t))
		*step = refuse_kindly(s, 452, "4.3.1",
				      "No memory for another message now, try again later");
	else
		return true;
	return false;
}

enum step cmd_data(struct session *s, str args)
{
	enum step step;

	(void)args;
	if (!can_begin(s, &step))
		return step;
	s->take = data_take;
	s->crawl_ms = 0;
	return tell(s, 354, NULL, "Send it, end with <CR><LF>.<CR><LF>");
}

/* ---- BDAT (RFC 3030) ------------------------------------------------------------------ */

static void chunk_take(struct session *s, str *in)
{
	struct txn *t = s->txn;
	size_t n = in->n < s->chunk_left ? in->n : (size_t)s->chunk_left;
	str chunk = str_head(*in, n), rest = chunk;

	s->doing = "BDAT";
	session_await(s, s->setup->limits->data_timeout_ms);
	while (rest.n > 0) {
		str piece = dot_pass(&t->dot, &rest);

		if (piece.n > 0 && !intake_feed(t, piece))
			break;
	}
	n = chunk.n - rest.n;
	*in = str_skip(*in, n);
	s->chunk_left -= n;
	if (t->blocked)
		session_wait(s);
	else if (is_complete(s))
		data_complete(s);
	else if (s->chunk_left == 0)
		chunk_complete(s);
	else if (!goes_on_for_ever(s))
		crawls(s, t->bytes);
}

static void skip_take(struct session *s, str *in)
{
	size_t n = in->n < s->chunk_left ? in->n : (size_t)s->chunk_left;

	session_await(s, s->setup->limits->data_timeout_ms);
	*in = str_skip(*in, n);
	s->chunk_left -= n;
	if (s->chunk_left == 0)
		s->take = session_take_lines;
	else
		crawls(s, UINT64_MAX - s->chunk_left);
}

static bool read_bdat(str args, uint64_t *n, bool *last)
{
	str count = str_head(args, str_find(args, ' ')), word = str_trim(str_skip(args, count.n));

	*last = str_is_nocase(word, "LAST");
	return str_to_u64(count, n) && (word.n == 0 || *last);
}

/* The octets come whatever the answer was.  Without their number nobody can tell
 * where the next command begins: that ends the connection. */
enum step bdat_skip(struct session *s, str args, enum step refused)
{
	bool last;

	if (refused == STEP_CLOSE)
		return STEP_CLOSE;
	if (!read_bdat(args, &s->chunk_left, &last)) {
		s->chunk_left = 0;
		s->why = args.n > 0 ? "octets without a number" : NULL;
		return args.n > 0 ? STEP_CLOSE : STEP_DONE;
	}
	if (s->chunk_left / 2 > s->setup->limits->message_size) {
		s->why = "refused, and would go on";
		return farewell(s, 421, "4.7.0", "A chunk of that size is not read here: good-bye");
	}
	s->crawl_ms = 0;
	if (s->chunk_left > 0)
		s->take = skip_take;
	return STEP_DONE;
}

/* A chunk that would make the message too large is not worth reading into it. */
static void look_at_chunk_size(struct session *s)
{
	struct txn *t = s->txn;
	uint64_t most = s->setup->limits->message_size;

	if (s->chunk_left > most || t->bytes > most - s->chunk_left)
		txn_refuse(t, 552, "5.3.4", "size",
			   "The message is larger than %llu octets, the most that is taken here",
			   (unsigned long long)most);
}

enum step cmd_bdat(struct session *s, str args)
{
	enum step step;
	uint64_t n;
	bool last;

	if (!read_bdat(args, &n, &last))
		return bdat_skip(s, args, refuse(s, 501, "5.5.4", "Syntax: BDAT OCTETS [LAST]"));
	if (s->phase == RCPT && !can_begin(s, &step))
		return bdat_skip(s, args, step);
	s->phase = CHUNKS;
	s->chunk_left = n;
	s->chunk_last = last;
	s->crawl_ms = 0;
	look_at_chunk_size(s);
	s->take = chunk_take;
	if (n > 0)
		return STEP_DONE;
	if (last)
		data_complete(s);
	else
		chunk_complete(s);
	return STEP_DONE;
}
