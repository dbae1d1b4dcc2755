/* SPDX-License-Identifier: ISC */
/*
 * step: see step.h.  Blocks; the slow desk or a verb.
 *
 * A crash at any point leaves a book that is as it was: a key file that it does not
 * name, or a record that is written again, is all that can remain.
 */
#include <stdlib.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/clock.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/key_inside.h"

/* ---- making keys -------------------------------------------------------------------------- */

static struct key *generate(enum life_algorithm algorithm)
{
	static const unsigned bits[LIFE_ALGORITHMS] = {
		[LIFE_RSA_1024] = 1024, [LIFE_RSA_2048] = 2048, [LIFE_RSA_3072] = 3072, [LIFE_RSA_4096] = 4096,
	};

	return algorithm == LIFE_ED25519 ? key_generate(KEY_ED25519, 0) : key_generate(KEY_RSA, bits[algorithm]);
}

static void take(struct strs *taken, str selector, struct arena *a)
{
	str *v = ARENA_ARRAY(a, str, taken->n + 1);

	if (v == NULL)
		return;
	for (size_t i = 0; i < taken->n; i++)
		v[i] = taken->v[i];
	v[taken->n++] = selector;
	taken->v = v;
}

/* A file that no book names, of a step that was cut off or of a person: its name
 * is not used again. */
static enum err keep(struct step *s, const struct life_want *want, struct key *key, str *why)
{
	struct key_file file = { .domain = s->plan.domain, .key = key };
	str record;
	enum err e = dkim_key_record(key, s->arena, &record);

	for (unsigned tries = 0; e == OK && tries < 1000; tries++) {
		file.selector = life_selector(&s->book, &s->plan.taken, want->algorithm, want->set, s->now, s->arena);
		e = key_file_write(s->config->state, &file, s->arena, why);
		if (e != ERR_EXISTS)
			break;
		take(&s->plan.taken, file.selector, s->arena);
		e = OK;
	}
	if (e == OK && life_add(&s->book, want, file.selector, record, s->now, &s->told) == NULL)
		e = ERR_MEMORY;
	return e;
}

static enum err make_wanted(struct step *s, bool more, str *why)
{
	struct life_want *want;
	size_t n = life_wanted(&s->plan.life, &s->book, more, s->arena, &want);
	enum err e = OK;

	for (size_t i = 0; e == OK && i < n; i++) {
		struct key *key = generate(want[i].algorithm);

		if (key == NULL) {
			*why = STR("OpenSSL made no key: try again");
			return ERR_MEMORY;
		}
		e = keep(s, &want[i], key, why);
		key_free(key);
		s->made = true;
	}
	return e;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Of those that are due the one that matters most: what signs, then what is to sign
 * soonest. */
static struct life_key *next_due(struct step *s)
{
	static const int rank[LIFE_STATES] = { [LIFE_ACTIVE] = 0, [LIFE_PUBLISHED] = 1, [LIFE_PREPARED] = 2, [LIFE_RETIRING] = 3,
	                                       [LIFE_REVOKED] = 4, [LIFE_REMOVED] = 5 };
	struct life_key *best = NULL;

	for (size_t i = 0; i < s->book.n; i++) {
		struct life_key *k = &s->book.keys[i];

		if (life_look_due(&s->plan.life, &s->book, k) <= s->now &&
		    (best == NULL || rank[k->state] < rank[best->state] || (rank[k->state] == rank[best->state] && k->set < best->set)))
			best = k;
	}
	return best;
}

/* Where no server answers, it is not asked for every key. */
static void look(struct step *s, struct direct *d)
{
	uint64_t end = s->look_ms > 0 ? clock_ms() + s->look_ms : UINT64_MAX;
	struct key_look seen = { .silent = false };
	struct life_key *k;

	while ((k = next_due(s)) != NULL) {
		if (!seen.silent && clock_ms() >= end) {
			s->more = true;
			return;
		}
		if (!seen.silent)
			key_look(d, &s->plan, k, s->arena, &seen);
		life_looked(&s->plan.life, &s->book, k, seen.silent ? LIFE_SILENT : seen.sight, seen.said, s->now, &s->told);
		if (k->looked != s->now || life_look_due(&s->plan.life, &s->book, k) <= s->now)
			return;                /* it could not be noted: no memory */
	}
}

/* ---- the step ----------------------------------------------------------------------------------- */

static void tell_dns(struct step *s, struct direct *d)
{
	str why = STR_NONE;
	enum err e;

	if (s->plan.update == NULL)
		return;
	e = key_update(d, &s->plan, &s->book, s->now, s->arena, &s->changed, &why);
	if (e != OK)
		s->trouble = arena_printf(s->arena, "the records of %.*s could not be written to %.*s: %.*s", STR_ARG(s->plan.domain),
		                          STR_ARG(s->plan.update->server), STR_ARG(why.n > 0 ? why : str_of(err_text(e))));
}

static void tell_state(struct step *s)
{
	s->next = s->more ? s->now : life_next(&s->plan.life, &s->book, s->now);
}

/* Who asks for the next set wants to know what DNS shows of it now. */
static void look_at_next_set(struct life_book *b)
{
	unsigned set = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].set > b->set && b->keys[i].state <= LIFE_PUBLISHED && (set == 0 || b->keys[i].set < set))
			set = b->keys[i].set;
	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].set == set && b->keys[i].state <= LIFE_PUBLISHED)
			b->keys[i].looked = 0;
}

/* Keys before looks, so that they are seen as soon as they can be; records before
 * looks for the same reason, and once more for what has moved since. */
static enum err move(struct step *s, struct direct *d, str *why)
{
	enum err e = make_wanted(s, s->wish == STEP_PREPARE, why);
	str said = STR_NONE;

	if (e != OK)
		return e;
	if (s->wish == STEP_ROTATE)
		look_at_next_set(&s->book);
	tell_dns(s, d);
	if (s->plan.life.gate && d != NULL && !s->blind)
		look(s, d);
	life_turn(&s->plan.life, &s->book, s->now, &s->told);
	if (s->wish == STEP_ROTATE && !life_rotate(&s->plan.life, &s->book, s->now, s->hasty, s->arena, why, &s->told))
		e = ERR_DENIED;
	if (make_wanted(s, false, &said) == OK && s->trouble.n == 0)
		tell_dns(s, d);
	if (key_put_away(&s->plan, &s->book, s->now, s->arena, &said) != OK)
		s->trouble = arena_printf(s->arena, "a private key could not be put away: %.*s", STR_ARG(said));
	return e;
}

static enum err move_with_dns(struct step *s, str *why)
{
	struct direct_conf conf;
	struct dns_conf resolver;
	struct direct *d = NULL;
	enum err e;

	direct_conf_of(s->config, &conf, &resolver);
	if ((s->plan.life.gate && !s->blind) || s->plan.update != NULL)
		d = direct_open(&conf, s->arena, &s->trouble);
	e = move(s, d, why);
	if (d != NULL)
		direct_close(d);
	return e;
}

static enum err begin(struct step *s, str *why)
{
	s->told.arena = s->arena;
	if (key_plan_of(s->config, s->domain, s->arena, &s->plan))
		return OK;
	*why = arena_printf(s->arena, "domain \"%.*s\" has no section keys: add keys {} to it", STR_ARG(s->domain->name));
	return ERR_DENIED;
}

enum err step_take(struct step *s, str *why)
{
	enum err e = begin(s, why), written;
	str said = STR_NONE;
	int lock = -1;

	if (e == OK)
		e = book_lock(&s->plan, s->arena, &lock, why);
	if (e == OK)
		e = book_read(&s->plan, s->arena, &s->book, why);
	if (e == OK) {
		e = move_with_dns(s, why);
		written = s->arena->spent ? ERR_MEMORY : book_write(&s->plan, &s->book, s->arena, &said);
		if (written != OK) {
			*why = said.n > 0 ? said : str_of(err_text(written));
			e = written;
		}
	}
	if (lock >= 0)
		close(lock);
	tell_state(s);
	return e;
}

enum err step_look_at(struct step *s, str *why)
{
	enum err e = begin(s, why);

	if (e == OK)
		e = book_read(&s->plan, s->arena, &s->book, why);
	if (e == OK)
		tell_state(s);
	return e;
}
