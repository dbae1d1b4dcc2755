/* SPDX-License-Identifier: ISC */
/*
 * senderid_pra: whose mail this purports to be (RFC 4407 2).  One pass over the
 * fields; any thread.
 */
#include "modules/senderid/senderid.h"

static bool is_empty(const struct field *f)
{
	return str_trim(f->value).n == 0;
}

/* The non-empty fields of each name: the first, and how many. */
struct seen { const struct field *first; size_t n; };

struct header {
	struct seen resent_sender, resent_from, sender, from;
	bool        trace_between;   /* Received or Return-Path between the first Resent-From and Resent-Sender */
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

void senderid_pra_find(struct arena *a, const struct fields *fields, struct senderid_pra *out)
{
	struct header h = { 0 };
	struct mailboxes list;

	*out = (struct senderid_pra){ 0 };
	header_read(fields, &h);
	out->field = select_field(&h, out);
	if (out->field == NULL)
		return;
	mailboxes_parse(a, out->field->value, &list);        /* step 5 */
	if (list.n == 1 && list.v[0].usable && !list.malformed && !list.v[0].path.is_literal)
		out->path = list.v[0].path;
	else
		out->fault = "the field with the sender's address does not hold exactly one with a domain";
}
