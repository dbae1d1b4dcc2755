/* SPDX-License-Identifier: ISC */
/*
 * update: key records written by us (RFC 2136), all that a domain needs in one
 * message.  Blocks; the slow desk or a verb.
 */
#include <string.h>

#include "smtpd/setup/generation.h"
#include "smtpd/setup/keys/key_inside.h"
#include "smtpd/setup/verbs.h"

#define TTL_S     3600
#define TELL_MS   10000
#define STRING    255                  /* of a TXT record: RFC 1035 3.3 */
#define AGAIN_S   (6 * 3600)           /* what was written and is still not shown is written again */

/* "…" "…", as a zone file has it; a key record holds neither quote nor backslash. */
static str strings_of(str text, struct arena *a)
{
	str out = STR("");

	do {
		str piece = str_head(text, STRING);

		out = arena_printf(a, "%.*s%s\"%.*s\"", STR_ARG(out), out.n > 0 ? " " : "", STR_ARG(piece));
		text = str_skip(text, piece.n);
	} while (text.n > 0);
	return out;
}

/* The secret alone, tsig-keygen's `secret "…";` or keymgr's `secret: …`. */
static str secret_in(str text)
{
	str rest = text, line;

	while (str_cut(&rest, '\n', &line)) {
		line = str_trim(line);
		for (size_t i = 0; i + 6 < line.n; i++)
			if (str_starts_nocase(str_skip(line, i), "secret")) {
				str value = str_skip(line, i + 6);

				while (value.n > 0 && strchr(" \t:=\"", value.p[0]) != NULL)
					value = str_skip(value, 1);
				while (value.n > 0 && strchr(" \t;\"}", value.p[value.n - 1]) != NULL)
					value = str_head(value, value.n - 1);
				return value;
			}
	}
	rest = text;
	while (str_cut(&rest, '\n', &line))
		if (str_trim(line).n > 0 && str_trim(line).p[0] != '#')
			return str_trim(line);
	return STR_NONE;
}

static bool is_behind(const struct key_plan *p, const struct life_key *k, int64_t now)
{
	enum life_record wanted = life_record_of(&p->life, k);

	if (k->state == LIFE_REMOVED)
		return false;
	if (k->written != wanted)
		return true;
	/* Somebody took it out behind our back. */
	return wanted == LIFE_RECORD_KEY && k->sight == LIFE_OTHER && k->bad != 0 && now - k->bad >= AGAIN_S &&
	       (now - k->bad) / AGAIN_S != (k->looked - k->bad) / AGAIN_S;
}

static void add_changes(const struct key_plan *p, const struct life_key *k, struct direct_change *v, size_t *n, struct arena *a)
{
	str name = arena_printf(a, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(p->domain));
	str text = life_record_text(&p->life, k);

	v[(*n)++] = (struct direct_change){ .name = name, .type = "TXT", .remove = true };
	if (text.n > 0)
		v[(*n)++] = (struct direct_change){ .name = name, .type = "TXT", .value = strings_of(text, a), .ttl_s = TTL_S };
}

static enum err tell(struct direct *d, const struct key_plan *p, const struct direct_change *v, size_t n, struct arena *a, str *why)
{
	const struct update_section *u = p->update;
	struct direct_update update = { .asker = d, .server = u->server, .key_name = u->key_name, .key_algorithm = u->key_algorithm };
	struct direct_zone zone;
	struct arena secret;
	str text;
	enum err e = direct_zone_of(d, p->domain, a, &zone, why);

	if (e != OK)
		return e;
	update.zone = zone.name;
	arena_init(&secret, 1 << 20);
	e = file_read(verb_open_file, u->key_file, 16 << 10, &secret, &text, why);
	if (e == OK) {
		update.key_secret = secret_in(text);
		e = direct_tell(&update, v, n, TELL_MS, a, why);
	} else {
		*why = str_keep(a, *why);
	}
	arena_wipe(&secret);
	return e;
}

enum err key_update(struct direct *d, const struct key_plan *p, struct life_book *b, int64_t now, struct arena *a, size_t *changed,
                    str *why)
{
	struct direct_change *v = ARENA_ARRAY(a, struct direct_change, 2 * b->n + 1);
	bool *behind = ARENA_ARRAY(a, bool, b->n + 1);
	size_t n = 0;
	enum err e;

	if (v == NULL || behind == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < b->n; i++)
		if ((behind[i] = is_behind(p, &b->keys[i], now)))
			add_changes(p, &b->keys[i], v, &n, a);
	if (n == 0)
		return OK;
	e = tell(d, p, v, n, a, why);
	for (size_t i = 0; e == OK && i < b->n; i++)
		if (behind[i]) {
			b->keys[i].written = life_record_of(&p->life, &b->keys[i]);
			b->keys[i].looked = 0;         /* what was seen before says nothing any more */
			(*changed)++;
		}
	return e;
}
