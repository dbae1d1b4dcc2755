/* SPDX-License-Identifier: ISC */
/*
 * intake: a message's bytes on their way in.
 *
 *   dot or BDAT count ─▶ field splitter ─▶ taps ─▶ spool
 *                                          ├─ body hashes
 *                                          └─ modules
 *
 * Bytes are looked at once, as they come.  Fields are kept byte for byte or
 * left out (forged ones of our kind; Bcc at submission), the body is never
 * changed.  The first fault latches: from then on the message is read to its
 * end and forgotten, and the answer waits there.  Loop thread.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/mail/own.h"
#include "smtpd/session/internal.h"

#define BITS_BLOCK 256

/* ---- refusing ----------------------------------------------------------------- */

void intake_drop(struct txn *t)
{
	if (t->spool != NULL)
		spool_drop(t->spool);
	t->spool = NULL;
	t->blocked = false;
}

void txn_refuse(struct txn *t, int code, const char *esc, const char *reason, const char *format,
		...)
{
	char    text[REPLY_LINE_MAX];
	va_list args;

	if (t->refusal.code != 0)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	t->refusal = (struct answer){ .code = code, .esc = esc, .reason = reason,
		                      .text = str_keep(&t->arena, str_of(text)) };
	intake_drop(t);
}

static void refuse_for_room(struct txn *t, const char *reason)
{
	txn_refuse(t, 452, "4.3.1", reason, "No room for this message now, try again later");
}

static void look_at_size(struct txn *t)
{
	uint64_t most = t->setup->limits->message_size;

	if (t->bytes > most && t->in.origin != FROM_OURSELVES)
		txn_refuse(t, 552, "5.3.4", "size",
			   "The message is larger than %llu octets, the most that is taken here",
			   (unsigned long long)most);
}

/* A CR or LF that is no line end, or a NUL: what others take for the end of a
 * line or of the message is never passed on. */
static void look_at_faults(struct txn *t)
{
	unsigned faults = t->dot.faults;

	if (faults == 0)
		return;
	txn_refuse(t, 554, "5.6.0", "octets",
		   "The message holds %s, which RFC 5321 2.3.8 forbids: lines end in CR LF",
		   faults & DOT_NUL	  ? "a NUL"
		   : faults & DOT_BARE_CR ? "a CR without LF"
					  : "a LF without CR");
}

static void look_at_header(struct txn *t)
{
	const struct limits_conf *l = t->setup->limits;

	switch (t->split.over) {
	case SPLIT_OK:
		break;
	case SPLIT_BYTES:
		txn_refuse(t, 554, "5.6.0", "header", "The header is larger than %llu octets",
			   (unsigned long long)l->header_size);
		break;
	case SPLIT_FIELD:
		txn_refuse(t, 554, "5.6.0", "header", "A header field is larger than %llu octets",
			   (unsigned long long)l->field_size);
		break;
	case SPLIT_FIELDS:
		txn_refuse(t, 554, "5.6.0", "header", "The header has more than %llu fields",
			   (unsigned long long)l->fields);
		break;
	case SPLIT_MEMORY:
		refuse_for_room(t, "memory");
		break;
	}
}

static void look_at_hops(struct txn *t)
{
	size_t hops = fields_count(&t->split.fields, "Received");

	if (hops > t->setup->limits->received_fields)
		txn_refuse(t, 554, "5.4.6", "loop",
			   "The message went through %zu servers: it goes in circles", hops);
}

static void look_at_memory(struct txn *t)
{
	if (t->arena.spent || (!t->split.done && !txn_reserve_more(t)))
		refuse_for_room(t, "memory");
	else
		txn_reserve_anyway(t);
}

/* ---- the taps ------------------------------------------------------------------ */

static void store(struct txn *t, str s)
{
	if (t->spool == NULL || s.n == 0)
		return;
	if (!spool_add(t->spool, s))
		t->blocked = true;
	if (spool_error(t->spool) != OK)
		refuse_for_room(t, "spool");
}

static bool left_out(struct txn *t, const struct field *f)
{
	if (t->in.origin == FROM_OURSELVES)
		return false;
	if (own_is(f))
		return true;
	if (t->in.origin == FROM_LOGIN &&                         /* RFC 5322 3.6.3, 3.6.6 */
	    (field_is(f, "Bcc") || field_is(f, "Resent-Bcc")))
		return true;
	return authn_forged(&t->arena, f, t->in.authserv_id, t->in.host);
}

static void fields_came(struct txn *t)
{
	for (; t->walked < t->split.fields.n && t->refusal.code == 0; t->walked++) {
		struct field *f = &t->split.fields.v[t->walked];

		f->omitted = left_out(t, f);
		chain_header(t->chain, f);
		if (!f->omitted)
			store(t, f->raw);
	}
}

/* The stored header always ends with an empty line, whatever the wire had. */
static void end_stored_header(struct txn *t)
{
	const struct fields *f = &t->split.fields;
	str raw = f->n > 0 ? f->v[f->n - 1].raw : STR("\r\n");

	if (raw.p[raw.n - 1] != '\n')
		store(t, STR("\r\n"));
	store(t, STR("\r\n"));
	t->header_bytes = t->spool != NULL ? spool_bytes(t->spool) : 0;
}

static void header_complete(struct txn *t)
{
	look_at_hops(t);
	end_stored_header(t);
	t->flags = tls_required_flags(&t->split.fields, t->flags);
	from_judge(&t->arena, &t->split.fields, &t->in.from);
	t->in.hashes = bodyhash_new(&t->arena);
	if (t->in.hashes == NULL)
		refuse_for_room(t, "memory");
	if (t->in.origin == FROM_LOGIN && t->refusal.code == 0)
		submission_check(t);
	if (t->refusal.code == 0)
		chain_body_next(t->chain);
}

/* We stopped at a line that is no field; who skips it would show other fields
 * than those that were judged. */
static void look_behind_header(struct txn *t, str piece)
{
	if (t->split.no_blank && t->in.origin != FROM_OURSELVES && read_on_feed(&t->read_on, piece))
		txn_refuse(t, 554, "5.6.0", "header",
		           "The header ends at a line that is no field, and more fields follow: put an empty line "
		           "behind the header, or mend that line");
}

static void body_came(struct txn *t, str piece)
{
	if (piece.n == 0 || t->refusal.code != 0)
		return;
	look_behind_header(t, piece);
	if (t->refusal.code != 0)
		return;
	bodyhash_feed(t->in.hashes, piece);
	chain_body(t->chain, piece);
	if (t->in.origin == FROM_LOGIN)
		submission_body(t, piece);
	if (t->reflector != NULL)
		reflector_body(t, piece);
	store(t, piece);
	t->in.body_bytes += piece.n;
}

static str header_came(struct txn *t, str piece)
{
	str    back = STR_NONE;
	size_t n = splitter_feed(&t->split, piece, &back);

	fields_came(t);
	look_at_header(t);
	if (t->split.done && t->refusal.code == 0) {
		header_complete(t);
		body_came(t, back);
	}
	return str_skip(piece, n);
}

/* A block at a time, so that compilers make vector code of it. */
static unsigned char all_bits(str s)
{
	unsigned char bits = 0;
	size_t        i = 0;

	for (; s.n - i >= BITS_BLOCK; i += BITS_BLOCK)
		for (size_t k = 0; k < BITS_BLOCK; k++)
			bits |= (unsigned char)s.p[i + k];
	for (; i < s.n; i++)
		bits |= (unsigned char)s.p[i];
	return bits;
}

/* ---- the face ------------------------------------------------------------------- */

static void spool_ready(void *arg)
{
	struct txn *t = arg;

	t->blocked = false;
	t->ready(t);
}

bool intake_begin(struct txn *t)
{
	t->spool = spool_new(t->setup->queue, t->loop->mbox);
	if (t->spool == NULL)
		return false;
	spool_on_ready(t->spool, spool_ready, t);
	dot_init(&t->dot, t->in.origin == FROM_LOGIN);
	t->begun = true;
	return true;
}

bool intake_feed(struct txn *t, str piece)
{
	t->bytes += piece.n;
	look_at_size(t);
	look_at_faults(t);
	if (t->refusal.code != 0)
		return true;
	t->high |= all_bits(piece);
	if (!t->split.done)
		piece = header_came(t, piece);
	body_came(t, piece);
	look_at_memory(t);
	return !t->blocked;
}

void intake_end(struct txn *t)
{
	str back = STR_NONE;

	t->ended = true;
	if (!t->dot.done)               /* BDAT */
		dot_end(&t->dot);
	look_at_faults(t);
	if (t->refusal.code == 0 && !t->split.done) {
		splitter_end(&t->split, &back);
		fields_came(t);
		look_at_header(t);
		if (t->refusal.code == 0)
			header_complete(t);
		body_came(t, back);
	}
	if (t->refusal.code == 0 && t->in.origin == FROM_LOGIN)
		submission_end(t);
	if (t->refusal.code == 0)
		bodyhash_end(t->in.hashes);
}
