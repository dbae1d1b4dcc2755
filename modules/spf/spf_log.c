/* SPDX-License-Identifier: ISC */
/*
 * spf_log: what was evaluated, in words.  Collected in scratch, copied to the
 * asker once, at the end, in pieces of exactly the right size; a text is cut so
 * that two hundred terms of a hostile record stay small.
 */
#include <string.h>

#include "modules/spf/spf_inside.h"

#define TEXT_MAX  128
#define SHOWN_MAX 100

const char *spf_type_word(enum dns_type t)
{
	switch (t) {
	case DNS_A:
		return "A";
	case DNS_AAAA:
		return "AAAA";
	case DNS_MX:
		return "MX";
	case DNS_PTR:
		return "PTR";
	default:
		return "TXT";
	}
}

str spf_shown(struct spf_check *c, str peer_text)
{
	str   s = str_head(peer_text, SHOWN_MAX);
	char *p = arena_alloc(c->arena, s.n + 1);

	for (size_t i = 0; p != NULL && i < s.n; i++)
		p[i] = s.p[i] >= 0x20 && s.p[i] <= 0x7e ? s.p[i] : '?';
	return p != NULL ? (str){ p, s.n } : STR_NONE;
}

static bool room_for_one(struct spf_check *c)
{
	size_t           room = c->terms_room ? 2 * c->terms_room : 16;
	struct spf_term *v;

	if (c->nterms == SPF_TERMS_MAX)
		return false;
	if (c->nterms < c->terms_room)
		return true;
	v = ARENA_ARRAY(&c->scratch, struct spf_term, room);
	if (v == NULL)
		return false;
	if (c->nterms > 0)
		memcpy(v, c->terms, c->nterms * sizeof(*v));
	c->terms = v;
	c->terms_room = room;
	return true;
}

size_t spf_note(struct spf_check *c, str text, str domain, unsigned depth)
{
	if (!room_for_one(c))
		return SPF_NO_ENTRY;
	c->terms[c->nterms] = (struct spf_term){
		.text = str_head(text, TEXT_MAX), .domain = domain, .depth = depth,
	};
	return c->nterms++;
}

void spf_note_outcome(struct spf_check *c, size_t entry, str outcome)
{
	if (entry >= c->nterms)
		return;
	c->terms[entry].outcome = outcome;
	c->terms[entry].lookups = c->out.lookups;
}

/* Neighbours mostly stand in one record: its name is copied once. */
static str keep_domain(struct spf_check *c, const struct spf_term *to, size_t i)
{
	if (i > 0 && str_eq(c->terms[i].domain, c->terms[i - 1].domain))
		return to[i - 1].domain;
	return str_keep(c->arena, c->terms[i].domain);
}

void spf_keep_outcome(struct spf_check *c)
{
	struct spf_term *v = NULL;

	if (c->nterms > 0)
		v = ARENA_ARRAY(c->arena, struct spf_term, c->nterms);
	for (size_t i = 0; v != NULL && i < c->nterms; i++) {
		v[i] = c->terms[i];
		v[i].text = str_keep(c->arena, v[i].text);
		v[i].domain = keep_domain(c, v, i);
		v[i].outcome = str_keep(c->arena, v[i].outcome);
	}
	c->out.terms = v;
	c->out.nterms = v != NULL ? c->nterms : 0;
	c->out.mechanism = str_keep(c->arena, str_head(c->out.mechanism, TEXT_MAX));
}
