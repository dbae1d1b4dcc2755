/* SPDX-License-Identifier: ISC */
/*
 * look: what the authoritative servers show of one key.  Blocks.
 */
#include "smtpd/mail/tags.h"
#include "smtpd/setup/keys/key_inside.h"

#define SAID_MOST 600

static enum life_sight sight_of(enum gate_sight sight)
{
	static const enum life_sight of[] = {
		[GATE_SHOWN] = LIFE_SHOWN, [GATE_OTHER] = LIFE_OTHER, [GATE_SILENT] = LIFE_SILENT, [GATE_NOWHERE] = LIFE_NOWHERE,
	};

	return of[sight];
}

static void look_for_it(struct direct *d, const struct life_key *k, str name, struct arena *a, struct key_look *out)
{
	struct gate_look look = { .sight = GATE_SILENT };
	enum err e = gate_look(d, name, k->record, a, &look);

	out->sight = e == OK ? sight_of(look.sight) : LIFE_SILENT;
	if (e == OK && look.same_key && k->set == 0)
		out->sight = LIFE_SHOWN;       /* a key by hand: its record may be in other words */
	out->said = look.said.n > 0 ? look.said : str_of(err_text(e));
	out->silent = e != OK || look.answered == 0;
}

/* ---- what must not be there any more ------------------------------------------------------ */

enum rest { REST_NONE, REST_EMPTY, REST_KEY };

static enum rest rest_of(const struct direct_reply *r, struct arena *a)
{
	enum rest rest = REST_NONE;

	if (r->cname.n > 0)
		return REST_KEY;               /* who knows what lies there */
	for (size_t i = 0; i < r->n; i++) {
		struct tags tags;
		str p;

		tags_parse(a, r->records[i], &tags);
		if (tags_get(&tags, "p", &p) && tags_squeeze(a, p).n > 0)
			return REST_KEY;
		rest = REST_EMPTY;
	}
	return rest;
}

static bool has_answered(const struct direct_reply *r)
{
	return r->authoritative && (r->status == DNS_FOUND || r->status == DNS_NODATA || r->status == DNS_NXDOMAIN);
}

/* Two replies a server, over UDP and TCP. */
static void judge_rest(const struct direct_zone *z, const struct direct_reply *v, size_t n, struct arena *a, struct key_look *out)
{
	size_t answered = 0, empty = 0;

	for (size_t i = 0; i < n; i++) {
		const struct direct_reply *r = &v[i];
		enum rest rest;

		if (!has_answered(r))
			continue;
		rest = rest_of(r, a);
		if (rest == REST_KEY) {
			out->sight = LIFE_OTHER;
			out->said = arena_printf(a, "%.*s (%.*s) still shows it", STR_ARG(r->server->name), STR_ARG(r->server->address));
			return;
		}
		empty += rest == REST_EMPTY;
		answered += i % 2 == 0 || !has_answered(&v[i - 1]);
	}
	out->sight = answered * 2 < z->n || answered == 0 ? LIFE_SILENT : empty > 0 ? LIFE_EMPTY : LIFE_GONE;
	out->silent = answered == 0;
	out->said = out->sight == LIFE_SILENT ? arena_printf(a, "%zu of %zu servers answer", answered, z->n)
	          : empty > 0 ? STR("it is revoked (p=)") : STR("no server shows it");
}

static void look_for_the_end(struct direct *d, str name, struct arena *a, struct key_look *out)
{
	struct direct_zone zone;
	struct direct_reply *replies;
	size_t n;
	str why = STR_NONE;
	enum err e = direct_zone_of(d, name, a, &zone, &why);

	*out = (struct key_look){ .sight = LIFE_GONE, .said = STR("the domain is not delegated") };
	if (e == ERR_ABSENT)
		return;
	if (e == OK)
		e = direct_ask(d, &zone, name, DNS_TXT, a, &replies, &n);
	if (e == OK)
		judge_rest(&zone, replies, n, a, out);
	else
		*out = (struct key_look){ .sight = LIFE_SILENT, .said = why.n > 0 ? why : str_of(err_text(e)), .silent = true };
}

/* What a server said may hold anything and be of any length; it goes to terminals
 * and into the book. */
static str plain(str s, struct arena *a)
{
	char *p;

	s = str_head(s, SAID_MOST);
	p = arena_alloc(a, s.n);
	for (size_t i = 0; p != NULL && i < s.n; i++)
		p[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
	return p != NULL ? (str){ p, s.n } : STR_NONE;
}

void key_look(struct direct *d, const struct key_plan *p, const struct life_key *k, struct arena *a, struct key_look *out)
{
	str name = arena_printf(a, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(p->domain));

	if (k->state >= LIFE_REVOKED)
		look_for_the_end(d, name, a, out);
	else
		look_for_it(d, k, name, a, out);
	out->said = plain(out->said, a);
}
