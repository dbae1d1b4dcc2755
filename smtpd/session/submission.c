/* SPDX-License-Identifier: ISC */
/*
 * submission: what a message from a login must show in its header, and what it
 * is given (RFC 6409 6.1, 8).
 *
 * Every address in From and Sender belongs to the login.  Date and Message-ID
 * are added where they are missing: they stand in front of the stored message
 * and at the end of the list of fields, where signers look.  Loop thread.
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
	else if (!may_send_as(t->setup, &t->arena, login, &m->path))
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
	chain_header(t->chain, &f->v[f->n++]);
	t->walked = f->n;
	t->given[t->ngiven++] = raw;
}

void submission_check(struct txn *t)
{
	look_at_from(t);
	look_at_senders(t);
	if (t->refusal.code != 0)
		return;
	if (fields_first(&t->split.fields, "Date") == NULL)
		field_given(t, trace_date(&t->arena, t->in.now));
	if (fields_first(&t->split.fields, "Message-ID") == NULL)
		field_given(t, trace_message_id(&t->arena, t->log.id, t->in.host));
}
