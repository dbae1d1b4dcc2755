/* SPDX-License-Identifier: ISC */
/*
 * The accounts: Dovecot passwd-files made into an immutable table.
 *
 *   user:{SCRAM-SHA-256}iterations,salt,stored,server:uid:gid:gecos:home:shell:extra
 *
 * Lines with # in front and empty ones say nothing; behind the password only the
 * extra fields are looked at (fields.c).  A line with user=ACCOUNT among them is
 * a device password of that account, in whichever file it stands.  An account
 * with an empty password or one of a scheme that is not checked here receives
 * mail and cannot log in.  Everything else that is not as it should be is
 * damage, and damage makes no table at all: half a table would turn users away.
 *
 * Main thread makes and frees; whoever holds a seat reads.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define LOGIN_SCHEME "SCRAM-SHA-256"

bool accounts_key(struct arena *a, str name, str *key)
{
	struct path p;

	if (!path_of(a, name, &p) || p.domain.n == 0)
		return false;
	*key = str_keep_lower(a, p.text);
	return key->n > 0;
}

bool accounts_line(str line, str *name, str *password, str *rest)
{
	size_t colon;

	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	if (str_trim(line).n == 0 || line.p[0] == '#')
		return false;
	colon = str_find(line, ':');
	*name = str_head(line, colon);
	*rest = str_skip(line, colon + 1);
	colon = str_find(*rest, ':');
	*password = str_head(*rest, colon);
	*rest = str_skip(*rest, colon);
	return true;
}

/* Behind uid, gid, gecos, home and shell; it may hold colons of its own. */
str accounts_extra(str rest)
{
	for (int i = 0; i < 6 && rest.n > 0; i++)
		rest = str_skip(rest, str_find(rest, ':') + 1);
	return rest;
}

str accounts_scheme(str password)
{
	size_t end = str_find(password, '}');

	if (password.n == 0 || password.p[0] != '{' || end == password.n)
		return STR_NONE;
	return str_head(str_skip(password, 1), end - 1);
}

static bool scheme_good(str scheme)
{
	for (size_t i = 0; i < scheme.n; i++)
		if (!is_alnum(scheme.p[i]) && scheme.p[i] != '-' && scheme.p[i] != '.' &&
		    scheme.p[i] != '_')
			return false;
	return scheme.n > 0;
}

/* ---- one line ------------------------------------------------------------------ */

static const char unusable[] = "logins need a scheme that is checked here: set the password with "
                               "`postern account passwd`";

/* Who changes a password must be known to have changed it, whatever it is kept as. */
static bool mark_text(struct account *out)
{
	unsigned char mark[DIGEST_MAX];

	if (digest_of(DIGEST_SHA256, out->password, mark) != 32)
		return false;
	memcpy(out->verifier.stored, mark, 32);
	return true;
}

/* NULL, or what is wrong with it; *note: why it is of no use, though well-formed. */
static const char *take_other(struct accounts *t, str scheme, struct account *out,
			      const char **note)
{
	str value = str_skip(out->password, scheme.n + 2);
	const char *why = "out of memory: try again";

	*note = unusable;
	if (!scheme_known(scheme))
		return NULL;
	switch (scheme_parse(&t->arena, scheme, value, &out->other, &why)) {
	case OK:
		out->kept = out->other.cost.kind;
		out->can_log_in = mark_text(out);
		return out->can_log_in ? NULL : "out of memory: try again";
	case ERR_DENIED:
		*note = why;
		return NULL;
	default:
		return why;
	}
}

static const char *take_password(struct accounts *t, str password, struct account *out,
				 const char **note)
{
	str scheme = accounts_scheme(password);

	if (password.n == 0)
		return NULL;
	if (!scheme_good(scheme))
		return "the password has no {SCHEME} in front: set it anew with "
		       "`postern account passwd`";
	out->scheme = str_keep(&t->arena, scheme);
	out->password = str_keep(&t->arena, password);
	if (!str_is_nocase(scheme, LOGIN_SCHEME))
		return take_other(t, scheme, out, note);
	out->can_log_in = verifier_parse(&t->arena, password, &out->verifier);
	if (!out->can_log_in)
		return "the verifier is damaged: set the password anew with "
		       "`postern account passwd`";
	out->kept = KEPT_SCRAM;
	return NULL;
}

static const char *take_account(struct accounts *t, str name, str password, str rest,
                                struct account *out, const char **note)
{
	const char *wrong;
	struct path p;

	if (str_holds(name, '\0') || str_holds(password, '\0') || str_holds(rest, '\0'))
		return "there is a NUL byte in it: take the line out";
	if (!path_of(&t->arena, name, &p) || p.domain.n == 0)
		return "the line does not begin with an address such as user@example.org: mend it, "
		       "or put a # in front";
	out->address = p.text;
	out->key = str_keep_lower(&t->arena, p.text);
	out->owner = out;
	wrong = take_password(t, password, out, note);
	if (wrong == NULL)
		wrong = fields_parse(&t->arena, accounts_extra(rest), &out->fields);
	if (wrong == NULL && out->source == SOURCE_DEVICES && out->fields.user.n == 0)
		wrong = "a device password needs the field user= with its account's address: mend "
			"the line, or take it out";
	return wrong;
}

static void note_unusable(str file, const struct account *a, const char *why)
{
	log_event(NULL, LOG_NOTICE, "account.unusable", KV("account", a->address), KV("file", file),
	          KV_I("line", a->line), KV("scheme", a->scheme), KV_C("why", why));
}

static enum err add(struct accounts *t, str file, struct account *a, const char *note,
                    const char **wrong)
{
	if (accounts_find(t, a->key) != NULL) {
		*wrong = "this account has a line already, further up: take one of them out";
		return ERR_BAD;
	}
	if (t->arena.spent || !map_put(&t->by_key, a->key, a))
		return ERR_MEMORY;
	t->n++;
	if (note != NULL && a->scheme.n > 0 && !a->can_log_in)
		note_unusable(file, a, note);
	return OK;
}

static enum err damaged(str file, int line, const char *wrong, struct arena *a, str *why)
{
	*why = arena_printf(a, "%.*s:%d: %s", STR_ARG(file), line, wrong);
	return ERR_BAD;
}

static enum err parse(struct accounts *t, enum source source, str file, str text, struct arena *a,
                      str *why)
{
	str line, name, password, rest;
	int number = 0;

	while (str_cut(&text, '\n', &line)) {
		struct account *next = &t->v[t->n];
		const char *wrong, *note = NULL;
		enum err e = ERR_BAD;

		number++;
		if (!accounts_line(line, &name, &password, &rest))
			continue;
		*next = (struct account){ .line = number, .source = source };
		wrong = take_account(t, name, password, rest, next, &note);
		if (wrong == NULL)
			e = add(t, file, next, note, &wrong);
		if (e == ERR_BAD)
			return damaged(file, number, wrong, a, why);
		if (e != OK)
			return e;
	}
	return OK;
}

/* Enrolled TOTP secrets: ADDRESS:BASE32, what follows is for people. */
static enum err parse_codes(struct accounts *t, str file, str text, struct arena *a, str *why)
{
	str line, name, secret, rest, key;
	int number = 0;

	while (str_cut(&text, '\n', &line)) {
		struct account *of;
		str raw;

		number++;
		if (!accounts_line(line, &name, &secret, &rest))
			continue;
		if (!accounts_key(&t->arena, name, &key) ||
		    !code_secret_parse(&t->arena, secret, &raw))
			return damaged(file, number, "this is no enrolment such as "
			               "alice@example.org:SECRET: take the line out and enrol "
			               "again with `postern account totp enrol`", a, why);
		of = map_get(&t->by_key, key);
		if (of != NULL)
			of->code_secret = raw;
	}
	return t->arena.spent ? ERR_MEMORY : OK;
}

/* ---- what follows from all lines ------------------------------------------------- */

static void link_device(struct accounts *t, struct account *d)
{
	struct account *owner = map_get(&t->by_key, d->fields.user), **at;

	if (owner == d)
		return;
	if (owner == NULL || owner->fields.user.n > 0) {
		note_unusable(str_of(t->file[d->source]), d,
			      "its account is not there: make the account, "
			      "or take the line out");
		d->can_log_in = false;
		d->owner = NULL;
		return;
	}
	d->owner = owner;
	for (at = &owner->devices; *at != NULL; at = &(*at)->next_device)
		;
	*at = d;
	if (++owner->ndevices > t->devices_most)
		t->devices_most = owner->ndevices < DEVICES_MOST ? owner->ndevices : DEVICES_MOST;
}

static enum auth_require demanded(const struct accounts_text *from, const struct account *a)
{
	str domain = str_skip(a->key, str_rfind(a->key, '@') + 1);

	if (a->fields.has_require)
		return a->fields.require;
	if (a->code_secret.n > 0)
		return REQUIRE_TOTP;
	for (size_t i = 0; i < from->ndemands; i++)
		if (str_eq_nocase(from->demands[i].domain, domain))
			return from->demands[i].require;
	return REQUIRE_PASSWORD;
}

struct tally { struct cost cost; const struct account *example; size_t n; };

static struct cost cost_of(const struct account *a)
{
	return a->kept == KEPT_SCRAM ? (struct cost){ KEPT_SCRAM, 0, a->verifier.iterations }
	                             : a->other.cost;
}

static void tally_up(struct tally *v, size_t *n, size_t room, const struct account *a)
{
	struct cost c = cost_of(a);
	size_t i = 0;

	if (!a->can_log_in || c.kind == KEPT_SALTED ||
	    (account_is_device(a) && a->fields.has_quick))
		return;                        /* they cost next to nothing */
	while (i < *n &&
	       (v[i].cost.kind != c.kind || v[i].cost.how != c.how || v[i].cost.rounds != c.rounds))
		i++;
	if (i == *n && *n == room)
		return;
	if (i == *n)
		v[(*n)++] = (struct tally){ c, a, 0 };
	v[i].n++;
}

static void keep_commonest(struct accounts *t, struct tally *v, size_t n)
{
	while (t->ncosts < COSTS_MOST) {
		struct tally *best = NULL;

		for (size_t i = 0; i < n; i++)
			if (v[i].n > 0 && (best == NULL || v[i].n > best->n))
				best = &v[i];
		if (best == NULL)
			return;
		t->costs[t->ncosts] = best->cost;
		t->example[t->ncosts++] = best->example;
		best->n = 0;
	}
}

static void conclude(struct accounts *t, const struct accounts_text *from)
{
	struct tally tallies[64];
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].fields.user.n > 0)
			link_device(t, &t->v[i]);
	for (size_t i = 0; i < t->n; i++) {
		struct account *a = &t->v[i];

		a->require = demanded(from, a);
		if (a->fields.nologin && !a->fields.send_only)
			a->can_log_in = false;
		t->needs_codes |=
			a->can_log_in && !account_is_device(a) && a->require == REQUIRE_TOTP;
		if (a->require == REQUIRE_TOTP && a->code_secret.n == 0 && !account_is_device(a) &&
		    a->can_log_in)
			note_unusable(
				str_of(t->file[a->source]), a,
				"its logins need a code: enrol with `postern account totp enrol`");
		tally_up(tallies, &n, COUNT(tallies), a);
	}
	keep_commonest(t, tallies, n);
}

/* ---- the table --------------------------------------------------------------------- */

static size_t count_lines(str text)
{
	size_t n = 1;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

static enum err fill(struct accounts *t, const struct accounts_text *from, struct arena *a,
		     str *why)
{
	enum err e = OK;

	t->v = ARENA_ARRAY(&t->arena, struct account,
			   count_lines(from->text[SOURCE_ACCOUNTS]) +
				   count_lines(from->text[SOURCE_DEVICES]));
	for (size_t i = 0; i < SOURCES && t->v != NULL; i++)
		t->file[i] = str_cstr(&t->arena, from->file[i]);
	if (t->arena.spent)
		return ERR_MEMORY;
	for (size_t i = SOURCE_ACCOUNTS; e == OK && i <= SOURCE_DEVICES; i++)
		e = parse(t, (enum source)i, from->file[i], from->text[i], a, why);
	if (e == OK)
		e = parse_codes(t, from->file[SOURCE_CODES], from->text[SOURCE_CODES], a, why);
	if (e == OK)
		conclude(t, from);
	return e == OK && t->arena.spent ? ERR_MEMORY : e;
}

struct accounts *accounts_make(const struct accounts_text *from, struct arena *a, str *why)
{
	struct accounts *t = calloc(1, sizeof(*t));

	*why = STR("out of memory");
	if (t == NULL)
		return NULL;
	arena_init(&t->arena, ARENA_UNBOUNDED);
	map_init(&t->by_key, false);
	if (fill(t, from, a, why) == OK)
		return t;
	accounts_free(t);
	return NULL;
}

struct accounts *accounts_parse(str file, str text, struct arena *a, str *why)
{
	const struct accounts_text from = { .file = { file }, .text = { text } };

	return accounts_make(&from, a, why);
}

void accounts_free(struct accounts *t)
{
	if (t == NULL)
		return;
	map_fini(&t->by_key);
	arena_wipe(&t->arena);
	free(t);
}

const struct account *accounts_find(const struct accounts *t, str key)
{
	return map_get(&t->by_key, key);
}
