/* SPDX-License-Identifier: ISC */
/*
 * senderid_pra: whose mail this purports to be (RFC 4407 2).  One pass over the
 * fields; any thread.
 */
#include "modules/senderid/senderid.h"

#define SENDER_MAX ((size_t)8 << 10)   /* of a field with one address and a name */

static bool is_empty(const struct field *f)
{
	return str_trim(f->value).n == 0;
}

/* The non-empty fields of each name: the first, and how many. */
struct seen { const struct field *first; size_t n; };

struct header {
	struct seen resent_sender, resent_from, sender, from;
	bool        trace_between;   /* trace fields part Resent-From from Resent-Sender */
};

static void count(struct seen *s, const struct field *f)
{
	if (s->n++ == 0)
		s->first = f;
}

static void header_read(const struct fields *fields, struct header *h)
{
	for (size_t i = 0; i < fields->n; i++) {
		const struct field *f = &fields->v[i];

		if (is_empty(f))
			continue;
		if (field_is(f, "Resent-Sender"))
			count(&h->resent_sender, f);
		else if (field_is(f, "Resent-From"))
			count(&h->resent_from, f);
		else if (field_is(f, "Sender"))
			count(&h->sender, f);
		else if (field_is(f, "From"))
			count(&h->from, f);
		else if ((field_is(f, "Received") || field_is(f, "Return-Path")) &&
		         h->resent_from.n > 0 && h->resent_sender.n == 0)
			h->trace_between = true;
	}
}

/* Steps 1 to 4. */
static const struct field *select_field(const struct header *h, struct senderid_pra *out)
{
	const struct field *rf = h->resent_from.first, *rs = h->resent_sender.first;

	if (rs != NULL && !(rf != NULL && rf < rs && h->trace_between)) {
		out->header = "Resent-Sender";
		return rs;
	}
	if (rf != NULL) {
		out->header = "Resent-From";
		return rf;
	}
	out->header = h->sender.n > 0 ? "Sender" : "From";
	if (h->sender.n > 1 || (h->sender.n == 0 && h->from.n > 1)) {
		out->fault = "the field with the sender's address stands there several times";
		return NULL;
	}
	if (h->sender.n == 0 && h->from.n == 0) {
		out->fault = "no field says who sent the message";
		return NULL;
	}
	return h->sender.n > 0 ? h->sender.first : h->from.first;
}

/* Step 5: exactly one, with a domain; NULL when it is not so. */
static const struct mailbox *only_address(struct arena *a, const struct field *f,
					  const struct mailboxes *read)
{
	struct mailboxes *list = ARENA_NEW(a, struct mailboxes);

	if (read == NULL && list != NULL && f->value.n <= SENDER_MAX) {
		mailboxes_parse(a, f->value, list);
		read = list;
	}
	if (read == NULL || read->n != 1 || read->malformed || !read->v[0].usable ||
	    read->v[0].path.is_literal || read->v[0].path.text.n > SENDER_MAX)
		return NULL;
	return &read->v[0];
}

void senderid_pra_find(struct arena *a, const struct fields *fields, const struct from *from,
		       struct senderid_pra *out)
{
	const struct mailbox *only;
	struct header h = { 0 };

	*out = (struct senderid_pra){ 0 };
	header_read(fields, &h);
	out->field = select_field(&h, out);
	if (out->field == NULL)
		return;
	only = only_address(a, out->field,
			    out->field == fields_first(fields, "From") ? from->mailboxes : NULL);
	if (only != NULL)
		out->path = only->path;
	else
		out->fault = "the field with the sender's address does not hold exactly one with a "
			     "domain";
}
