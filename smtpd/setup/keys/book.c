/* SPDX-License-Identifier: ISC */
/*
 * book: reading, writing, locking.  Any thread; a book is changed under its lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "smtpd/base/json.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/signing.h"
#include "smtpd/setup/verbs.h"

#define BOOK_VERSION 1
#define BOOK_MOST    ((size_t)1 << 20)

/* ---- the plan -------------------------------------------------------------------------- */

const struct domain_section *config_domain_of(const struct config *c, str domain)
{
	for (size_t i = 0; i < c->domains.n; i++)
		if (str_eq_nocase(((const struct domain_section *)c->domains.v[i])->name, domain))
			return c->domains.v[i];
	return NULL;
}

/* As long as a signature holds, the longest that the domain makes, and a day for
 * slow receivers and clocks that differ: so long after its last one a key is looked for. */
static int64_t tail_of(const struct config *c, const struct domain_section *d)
{
	int64_t longest = signing_expire_s(c, STR("auto"));

	for (size_t i = 0; i < d->signings.n; i++) {
		int64_t s = signing_expire_s(c, ((const struct signing_section *)d->signings.v[i])->expire);

		longest = s > longest ? s : longest;
	}
	return longest + 86400;
}

bool key_plan_of(const struct config *c, const struct domain_section *d, struct arena *a, struct key_plan *out)
{
	const struct keys_section *k = &d->keys;

	*out = (struct key_plan){ .domain = d->name, .hold = k->unsigned_mail == UNSIGNED_HOLD };
	if (!k->head.given)
		return false;
	out->folder = arena_printf(a, "%.*s/keys/%.*s", STR_ARG(c->state), STR_ARG(d->name));
	out->update = k->update.server.n > 0 ? &k->update : NULL;
	out->life = (struct life_plan){
		.prepare = (unsigned)k->prepare, .rotate = (int64_t)(k->rotate_ms / 1000), .look = (int64_t)(k->look_ms / 1000),
		.first_look = (int64_t)(k->first_look_ms / 1000), .tail = tail_of(c, d), .revoke = k->revoke, .publish = k->publish,
		/* Answers from a file of our own are no evidence of what the world sees. */
		.gate = k->gate && c->resolver.records.n == 0, .update = out->update != NULL,
	};
	for (size_t i = 0; i < k->algorithms.n && i < LIFE_ALGORITHMS; i++)
		if (life_algorithm_of(k->algorithms.v[i], &out->life.algorithms[out->life.nalgorithms]))
			out->life.nalgorithms++;
	out->taken.v = ARENA_ARRAY(a, str, d->dkim.n + 1);
	for (size_t i = 0; out->taken.v != NULL && i < d->dkim.n; i++)
		out->taken.v[out->taken.n++] = ((const struct dkim_section *)d->dkim.v[i])->head.title;
	return !a->spent;
}

str book_key_path(const struct key_plan *p, str selector, struct arena *a)
{
	return arena_printf(a, "%.*s/%.*s.pem", STR_ARG(p->folder), STR_ARG(selector));
}

static str book_path(const struct key_plan *p, struct arena *a)
{
	return arena_printf(a, "%.*s/book.json", STR_ARG(p->folder));
}

/* ---- reading ------------------------------------------------------------------------------ */

static int word_index(const struct json *j, const char *name, const char *(*word)(int), int n)
{
	str text;

	if (!json_get_text(json_at(j, name), &text))
		return -1;
	for (int i = 0; i < n; i++)
		if (str_is(text, word(i)))
			return i;
	return -1;
}

static const char *state_of(int i)     { return life_state_word((enum life_state)i); }
static const char *sight_of(int i)     { return life_sight_word((enum life_sight)i); }
static const char *algorithm_of(int i) { return life_algorithm_word((enum life_algorithm)i); }
static const char *record_of(int i)    { return life_record_word((enum life_record)i); }
static const char *private_of(int i)   { return life_private_word((enum life_private)i); }

static int64_t number(const struct json *j, const char *name)
{
	int64_t n = 0;

	return json_get_whole(json_at(j, name), &n) && n > 0 ? n : 0;
}

static bool text_at(const struct json *j, const char *name, struct arena *a, str *out)
{
	str s;

	if (!json_get_text(json_at(j, name), &s))
		return false;
	*out = str_keep(a, s);
	return true;
}

static bool key_of(const struct json *j, struct arena *a, struct life_key *k)
{
	int state = word_index(j, "state", state_of, LIFE_STATES), algorithm = word_index(j, "algorithm", algorithm_of, LIFE_ALGORITHMS);
	int sight = word_index(j, "sight", sight_of, LIFE_SIGHTS), written = word_index(j, "written", record_of, LIFE_RECORDS);
	int private_part = word_index(j, "private", private_of, LIFE_PRIVATES);

	*k = (struct life_key){ .set = (unsigned)number(j, "set"), .signed_last = number(j, "signed_last"),
		                .looked = number(j, "looked"), .good = number(j, "good"), .bad = number(j, "bad") };
	if (state < 0 || algorithm < 0 || sight < 0 || written < 0 || private_part < 0 || k->set == 0 ||
	    !json_get_bool(json_at(j, "out"), &k->out) || !text_at(j, "selector", a, &k->selector) ||
	    !domain_valid(k->selector) || !text_at(j, "record", a, &k->record) || !text_at(j, "said", a, &k->said))
		return false;
	k->state = (enum life_state)state;
	k->algorithm = (enum life_algorithm)algorithm;
	k->sight = (enum life_sight)sight;
	k->written = (enum life_record)written;
	k->private_part = (enum life_private)private_part;
	for (int i = 0; i < LIFE_STATES; i++)
		k->at[i] = number(j, state_of(i));
	return true;
}

static bool book_of(const struct json *j, struct life_book *b)
{
	const struct json *keys = json_at(j, "keys");
	size_t n = json_count(keys);

	b->set = (unsigned)number(j, "set");
	b->turned = number(j, "turned");
	b->keys = ARENA_ARRAY(b->arena, struct life_key, n + 1);
	b->room = n + 1;
	for (; b->keys != NULL && b->n < n; b->n++)
		if (!key_of(json_nth(keys, b->n), b->arena, &b->keys[b->n]))
			return false;
	return b->keys != NULL;
}

enum err book_read(const struct key_plan *p, struct arena *a, struct life_book *b, str *why)
{
	str path = book_path(p, a), text, said = STR_NONE;
	struct json *j;
	enum err e;

	*b = (struct life_book){ .domain = p->domain, .arena = a };
	e = file_read(verb_open_file, path, BOOK_MOST, a, &text, &said);
	if (e == ERR_ABSENT)
		return OK;
	if (e != OK) {
		*why = str_keep(a, said);
		return e;
	}
	j = json_read(text);
	if (number(j, "version") > BOOK_VERSION) {
		*why = arena_printf(a, "%.*s was written by a newer postern: start that one", STR_ARG(path));
		e = ERR_BAD;
	} else if (number(j, "version") != BOOK_VERSION || !book_of(j, b)) {
		*why = arena_printf(a, "%.*s is damaged: bring it back from a backup, or move it away and new keys are made", STR_ARG(path));
		e = ERR_BAD;
	}
	json_free(j);
	return e;
}

/* ---- writing ------------------------------------------------------------------------------- */

static void put_key(struct json *list, const struct life_key *k)
{
	struct json *j = json_add_object(list);

	json_set(j, "selector", k->selector);
	json_set_c(j, "algorithm", life_algorithm_word(k->algorithm));
	json_set_num(j, "set", k->set);
	json_set_c(j, "state", life_state_word(k->state));
	for (int i = 0; i < LIFE_STATES; i++)
		if (k->at[i] != 0)
			json_set_num(j, state_of(i), k->at[i]);
	json_set_bool(j, "out", k->out);
	json_set_num(j, "signed_last", k->signed_last);
	json_set_num(j, "looked", k->looked);
	json_set_num(j, "good", k->good);
	json_set_num(j, "bad", k->bad);
	json_set_c(j, "sight", life_sight_word(k->sight));
	json_set(j, "said", k->said.n > 0 ? k->said : STR(""));
	json_set_c(j, "written", life_record_word(k->written));
	json_set_c(j, "private", life_private_word(k->private_part));
	json_set(j, "record", k->record);
}

enum err book_write(const struct key_plan *p, const struct life_book *b, struct arena *a, str *why)
{
	struct json *j = json_new_object(), *keys;
	char *text;
	enum err e;

	json_set_num(j, "version", BOOK_VERSION);
	json_set(j, "domain", b->domain);
	json_set_num(j, "set", b->set);
	json_set_num(j, "turned", b->turned);
	keys = json_set_array(j, "keys");
	for (size_t i = 0; i < b->n; i++)
		put_key(keys, &b->keys[i]);
	text = json_text(j);
	if (text == NULL)
		return ERR_MEMORY;
	e = file_replace(book_path(p, a), 0600, str_of(text), a, why);
	free(text);
	return e;
}

enum err book_lock(const struct key_plan *p, struct arena *a, int *fd, str *why)
{
	char *path = str_cstr(a, arena_printf(a, "%.*s/book.lock", STR_ARG(p->folder)));
	enum err e = directory_create(p->folder, a, why);

	*fd = -1;
	if (e != OK || path == NULL)
		return e != OK ? e : ERR_MEMORY;
	*fd = file_lock(path);
	if (*fd >= 0)
		return OK;
	e = err_of_errno(errno);
	*why = arena_printf(a, "%s: %s: the server's user or root changes it", path, strerror(errno));
	return e;
}

/* ---- records ---------------------------------------------------------------------------------- */

static str note_of(const struct life_book *b, const struct life_key *k)
{
	switch (k->state) {
	case LIFE_PREPARED:
	case LIFE_PUBLISHED:
		return k->set <= b->set || b->set == 0 ? STR("DKIM: this key signs once DNS shows it") : STR("DKIM: this key signs when its turn comes");
	case LIFE_ACTIVE:
		return k->out ? STR("DKIM: this key signs") : STR("DKIM: this key does not sign, DNS does not show it everywhere");
	case LIFE_RETIRING:
		return STR("DKIM: this key has signed what is still under way");
	default:
		return STR("DKIM: this key is revoked");
	}
}

enum err key_records(const struct config *c, str domain, struct arena *a, struct key_record **out, size_t *n, str *why)
{
	const struct domain_section *d = config_domain_of(c, domain);
	struct life_book b;
	struct key_plan p;
	enum err e;

	*out = NULL;
	*n = 0;
	if (d == NULL || !key_plan_of(c, d, a, &p))
		return OK;
	e = book_read(&p, a, &b, why);
	if (e != OK)
		return e;
	*out = ARENA_ARRAY(a, struct key_record, b.n + 1);
	for (size_t i = 0; *out != NULL && i < b.n; i++) {
		const struct life_key *k = &b.keys[i];

		if (k->state == LIFE_REMOVED)
			continue;
		(*out)[(*n)++] = (struct key_record){
			.selector = k->selector, .state = k->state, .signs = life_signs(&b, k), .shown = k->sight == LIFE_SHOWN,
			.name = arena_printf(a, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(domain)),
			.value = life_record_text(&p.life, k), .note = note_of(&b, k),
		};
	}
	return *out != NULL ? OK : ERR_MEMORY;
}
