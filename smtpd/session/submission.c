/* SPDX-License-Identifier: ISC */
/*
 * submission: what a message from a login must show in its header, and what it
 * is given (RFC 6409 6.1, 8).
 *
 * Every address in From and Sender belongs to the login.  Date and Message-ID
 * are added where they are missing: they stand in front of the stored message
 * and at the end of the list of fields, where signers look.  So are the MIME
 * fields of text beyond ASCII that came with none.  Loop thread.
 */
#include <string.h>

#include "smtpd/mail/trace.h"
#include "smtpd/session/internal.h"

static void look_at_owner(struct txn *t, const char *field, const struct mailbox *m)
{
	str login = t->peer->login;

	if (!m->usable)
		txn_refuse(t, 550, "5.7.1", "rights",
			   "%s holds an address that cannot be read: correct it", field);
	else if (!peer_may_send_as(t->setup, &t->arena, t->peer, &m->path))
		txn_refuse(t, 550, "5.7.1", "rights",
			   "%.*s may not send as %.*s, which stands in %s", STR_ARG(login),
			   STR_ARG(m->path.text), field);
}

static void look_at_owners(struct txn *t, const char *field, const struct mailboxes *list)
{
	for (size_t i = 0; list != NULL && i < list->n; i++)
		look_at_owner(t, field, &list->v[i]);
}

static void look_at_from(struct txn *t)
{
	const struct from *from = &t->in.from;

	if (from->state != FROM_GOOD)
		txn_refuse(t, 550, "5.7.1", "from", "%s",
			   from->why != NULL ? from->why : "From cannot be read");
	else
		look_at_owners(t, "From", from->mailboxes);
}

static void look_at_senders(struct txn *t)
{
	const struct fields *f = &t->split.fields;

	for (size_t i = 0; i < f->n && t->refusal.code == 0; i++) {
		struct mailboxes list;

		if (!field_is(&f->v[i], "Sender"))
			continue;
		mailboxes_parse(&t->arena, f->v[i].value, &list);
		look_at_owners(t, "Sender", &list);
	}
}

static bool room_for_field(struct txn *t)
{
	struct fields *f = &t->split.fields;
	struct field  *v;

	if (f->n < f->room)
		return true;
	v = ARENA_ARRAY(&t->arena, struct field, f->n + 2);
	if (v == NULL)
		return false;
	if (f->n > 0)
		memcpy(v, f->v, f->n * sizeof(*v));
	f->v = v;
	f->room = f->n + 2;
	return true;
}

static void field_given(struct txn *t, str raw)
{
	struct fields *f = &t->split.fields;
	size_t colon = str_find(raw, ':');

	if (raw.n == 0 || !room_for_field(t))
		return;                        /* the arena is spent, which the intake looks at */
	f->v[f->n] = (struct field){.name = str_head(raw, colon),
				    .raw = raw,
				    .value = str_head(str_skip(raw, colon + 1), raw.n - colon - 3)};
	t->walked = ++f->n;
	t->given[t->ngiven++] = raw;
}

/* While modules still look at fields. */
static void field_given_early(struct txn *t, str raw)
{
	size_t n = t->split.fields.n;

	field_given(t, raw);
	if (t->split.fields.n > n)
		chain_header(t->chain, &t->split.fields.v[n]);
}

void submission_check(struct txn *t)
{
	look_at_from(t);
	look_at_senders(t);
	if (t->refusal.code != 0)
		return;
	if (fields_first(&t->split.fields, "Date") == NULL)
		field_given_early(t, trace_date(&t->arena, t->in.now));
	if (fields_first(&t->split.fields, "Message-ID") == NULL)
		field_given_early(t, trace_message_id(&t->arena, t->log.id, t->in.host));
}

/* ---- text beyond ASCII --------------------------------------------------------- */

/* RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF. */
static void character_begins(struct txn *t, unsigned char c)
{
	t->utf8.least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	t->utf8.most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	t->utf8.left = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	if (c >= 0x80 && (c < 0xc2 || c > 0xf4))
		t->utf8.bad = true;
}

/* How many octets at the beginning are ASCII, by words. */
static size_t ascii_head(str s)
{
	size_t   n = 0;
	uint64_t word;

	for (; s.n - n >= sizeof(word); n += sizeof(word)) {
		memcpy(&word, s.p + n, sizeof(word));
		if (word & 0x8080808080808080u)
			break;
	}
	return n;
}

/* Pieces end anywhere, also within a character. */
void submission_body(struct txn *t, str piece)
{
	for (size_t i = 0; i < piece.n && !t->utf8.bad; i++) {
		unsigned char c;

		if (t->utf8.left == 0)
			i += ascii_head(str_skip(piece, i));
		if (i == piece.n)
			break;
		c = (unsigned char)piece.p[i];
		t->utf8.seen |= c >= 0x80;
		if (t->utf8.left == 0) {
			character_begins(t, c);
		} else if (c < t->utf8.least || c > t->utf8.most) {
			t->utf8.bad = true;
		} else {
			t->utf8.left--;
			t->utf8.least = 0x80;
			t->utf8.most = 0xbf;
		}
	}
}

static bool says_what_it_is(const struct fields *f)
{
	return fields_first(f, "MIME-Version") != NULL || fields_first(f, "Content-Type") != NULL ||
	       fields_first(f, "Content-Transfer-Encoding") != NULL;
}

/* RFC 6409 8 leaves this to the site; RFC 1428 3 has the name of what is unknown. */
void submission_end(struct txn *t)
{
	int how = t->setup->submission != NULL ? t->setup->submission->unmarked : UNMARKED_MARK;
	bool utf8 = !t->utf8.bad && t->utf8.left == 0;

	if (!t->utf8.seen || how == UNMARKED_PASS || says_what_it_is(&t->split.fields))
		return;
	if (how == UNMARKED_REFUSE) {
		txn_refuse(t, 554, "5.6.0", "8bit", "The text holds octets beyond ASCII, and no field says what they "
		           "are: send it with MIME-Version, Content-Type and Content-Transfer-Encoding");
		return;
	}
	field_given(t, STR("MIME-Version: 1.0\r\n"));
	field_given(t, utf8 ? STR("Content-Type: text/plain; charset=utf-8\r\n")
	                    : STR("Content-Type: text/plain; charset=unknown-8bit\r\n"));
	field_given(t, STR("Content-Transfer-Encoding: 8bit\r\n"));
}
