/* SPDX-License-Identifier: ISC */
/*
 * dkim_out: our own mail is signed, at the queue hook by the loop, or, when it
 * leaves later than its signatures hold, once more by the disk desk.
 *
 * Whose keys are out is looked at when the signatures are made, not before: the
 * hashes of all forms that a key of the domain might want are there by then.
 */
#include "modules/dkim/dkim_inside.h"

#include <string.h>

struct path dkim_author(const struct from *from)
{
	const struct mailboxes *list = from->mailboxes;
	struct path author = { .domain = from->domain, .is_literal = from->is_literal };

	if (list != NULL && list->n > 0 && list->v[0].usable)
		author = list->v[0].path;
	return author;
}

/* Any form is as good as another: the one that was hashed is taken. */
static enum err sign_one(const struct dkim_signer *s, const struct fields *fields, const str hashes[SIGNING_HASHES],
                         int64_t now, int64_t later, struct arena *a, str *out)
{
	struct dkim_signer own = *s;

	if (hashes[own.body_canon].n == 0)
		own.body_canon = own.body_canon == CANON_SIMPLE ? CANON_RELAXED : CANON_SIMPLE;
	if (hashes[own.body_canon].n == 0)
		return ERR_MEMORY;
	if (own.expire_s > 0)
		own.expire_s += later;
	return dkim_sign(&own, fields, hashes[own.body_canon], now, a, out);
}

enum err dkim_sign_all(const struct dkim_choice *c, const struct fields *fields, const str hashes[SIGNING_HASHES],
                       int64_t now, int64_t not_before, struct arena *a, str out[DKIM_SIGNERS_MAX], size_t *n,
                       int64_t *until)
{
	int64_t later = not_before > now ? not_before - now : 0;
	enum err first = OK;

	*n = 0;
	*until = INT64_MAX;
	for (size_t i = 0; i < c->n && *n < DKIM_SIGNERS_MAX; i++) {
		const struct dkim_signer *s = &c->v[i];
		enum err e;

		if (!dkim_signer_is_out(s))
			continue;
		e = sign_one(s, fields, hashes, now, later, a, &out[*n]);
		if (e != OK) {
			first = first == OK ? e : first;
			continue;
		}
		++*n;
		if (s->expire_s > 0 && now + later + s->expire_s < *until)
			*until = now + later + s->expire_s;
	}
	if (*n > 0)
		return OK;
	return first != OK ? first : ERR_ABSENT;
}

/* ---- on the way in ---------------------------------------------------------------- */

void dkim_out_begin(struct mod *m, const struct dkim_keyring *ring, struct dkim_out *o)
{
	const struct message *in = m->in;
	struct path author;

	o->wish[CANON_SIMPLE] = o->wish[CANON_RELAXED] = -1;
	if (in->from.state != FROM_GOOD)
		return;
	author = dkim_author(&in->from);
	dkim_keyring_choose(ring, &author, in->rcpts, in->nrcpts, m->arena, &o->choice);
	for (size_t i = 0; i < o->choice.n; i++) {
		enum canon form = o->choice.v[i].body_canon;

		if (o->wish[form] < 0)
			o->wish[form] = dkim_sign_wish(&o->choice.v[i], in->hashes);
	}
	if (o->choice.found && o->choice.n == 0)     /* for the keys to come */
		o->wish[CANON_RELAXED] = bodyhash_wish(in->hashes, CANON_RELAXED, DIGEST_SHA256, BODYHASH_WHOLE);
}

/* The fields as they will be sent: what other modules put in front, then the
 * message's own. */
static bool fields_joined(struct mod *m, const struct added *add, struct fields *out)
{
	const struct fields *own = m->in->fields;

	*out = (struct fields){ .v = ARENA_ARRAY(m->arena, struct field, add->n + own->n + 1) };
	if (out->v == NULL)
		return false;
	for (size_t i = add->n; i-- > 0;) {
		str raw = add->v[i];
		size_t colon = str_find(raw, ':');

		out->v[out->n++] = (struct field){ .name = str_trim(str_head(raw, colon)), .raw = raw,
		                                   .value = str_trim(str_skip(raw, colon + 1)) };
	}
	if (own->n > 0)
		memcpy(&out->v[out->n], own->v, own->n * sizeof(own->v[0]));
	out->n += own->n;
	return true;
}

static enum say could_not_sign(struct mod *m, const struct dkim_out *o, enum err e, struct signing *s)
{
	if (e == ERR_MEMORY) {
		mod_reply(m, 451, "4.3.0", STR("The message could not be signed now; try again later"));
		return SAY_DEFER;
	}
	s->missing = e == ERR_ABSENT;
	s->hold = s->missing && o->choice.hold;
	s->until = s->missing ? m->in->now : INT64_MAX;
	log_event(m->log, LOG_WARN, "dkim.unsigned", KV("domain", o->choice.domain),
	          KV_C("why", !s->missing ? err_text(e) : "no key of the domain is out: `postern key list` says what is missing"),
	          KV_C("does", s->hold ? "it is held until one is" : "it is sent unsigned"));
	return SAY_NEXT;
}

enum say dkim_out_sign(struct mod *m, struct dkim_out *o, struct added *add, size_t *signatures)
{
	struct signing *s = &add->signing;
	struct fields fields;
	str signature[DKIM_SIGNERS_MAX];
	size_t n = 0;
	enum err e;

	if (!o->choice.found)
		return SAY_NEXT;
	if (!fields_joined(m, add, &fields))
		return SAY_DEFER;
	*s = (struct signing){ .on = true, .author = m->in->from.domain };
	for (size_t i = 0; i < SIGNING_HASHES; i++)
		s->hashes[i] = o->wish[i] < 0 ? STR_NONE : bodyhash_result(m->in->hashes, o->wish[i]);
	e = dkim_sign_all(&o->choice, &fields, s->hashes, m->in->now, m->in->not_before, m->arena, signature, &n, &s->until);
	if (e != OK)
		return could_not_sign(m, o, e, s);
	*signatures += n;
	while (n > 0)           /* the last added stands first: keep the keyring's order */
		added_field(add, signature[--n]);
	return SAY_NEXT;
}
