/* SPDX-License-Identifier: ISC */
/*
 * The accounts: a Dovecot passwd-file made into an immutable table.
 *
 *   user:{SCRAM-SHA-256}iterations,salt,stored,server:uid:gid:gecos:home:shell:extra
 *
 * Lines with # in front and empty ones say nothing; what stands behind the
 * password is Dovecot's and is not looked at.  An account with an empty
 * password or one of a scheme that is not checked here receives mail and cannot
 * log in.  Everything else that is not as it should be is damage, and damage
 * makes no table at all: half a table would turn users away.
 *
 * Main thread makes and frees; whoever holds a seat reads.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/inside.h"
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

/* NULL, or what is wrong with it. */
static const char *take_password(struct accounts *t, str password, struct account *out)
{
	str scheme = accounts_scheme(password);

	if (password.n == 0)
		return NULL;
	if (!scheme_good(scheme))
		return "the password has no {SCHEME} in front: set it anew with "
		       "`postern account passwd`";
	out->scheme = str_keep(&t->arena, scheme);
	if (!str_is_nocase(scheme, LOGIN_SCHEME))
		return NULL;
	out->can_log_in = verifier_parse(&t->arena, password, &out->verifier);
	if (!out->can_log_in)
		return "the verifier is damaged: set the password anew with "
		       "`postern account passwd`";
	return NULL;
}

static const char *take_account(struct accounts *t, str name, str password, struct account *out)
{
	struct path p;

	if (str_holds(name, '\0') || str_holds(password, '\0'))
		return "there is a NUL byte in it: take the line out";
	if (!path_of(&t->arena, name, &p) || p.domain.n == 0)
		return "the line does not begin with an address such as user@example.org: mend it, "
		       "or put a # in front";
	out->address = p.text;
	out->key = str_keep_lower(&t->arena, p.text);
	return take_password(t, password, out);
}

static void note_foreign(str file, const struct account *a)
{
	if (a->scheme.n > 0 && !a->can_log_in)
		log_event(NULL, LOG_NOTICE, "account.unusable", KV("account", a->address),
		          KV("file", file), KV_I("line", a->line), KV("scheme", a->scheme),
		          KV_C("why", "logins need a SCRAM-SHA-256 verifier: set the password with "
		                      "`postern account passwd`"));
}

static enum err add(struct accounts *t, str file, struct account *a, const char **wrong)
{
	const struct account *before = accounts_find(t, a->key);

	if (before != NULL) {
		*wrong = "this account has a line already, further up: take one of them out";
		return ERR_BAD;
	}
	if (t->arena.spent || !map_put(&t->by_key, a->key, a))
		return ERR_MEMORY;
	t->n++;
	note_foreign(file, a);
	return OK;
}

static enum err parse(struct accounts *t, str file, str text, struct arena *a, str *why)
{
	str line, name, password, rest;
	int number = 0;

	while (str_cut(&text, '\n', &line)) {
		struct account *next = &t->v[t->n];
		const char *wrong;
		enum err e = ERR_BAD;

		number++;
		if (!accounts_line(line, &name, &password, &rest))
			continue;
		*next = (struct account){ .line = number };
		wrong = take_account(t, name, password, next);
		if (wrong == NULL)
			e = add(t, file, next, &wrong);
		if (e == ERR_BAD)
			*why = arena_printf(a, "%.*s:%d: %s", STR_ARG(file), number, wrong);
		if (e != OK)
			return e;
	}
	return OK;
}

static size_t count_lines(str text)
{
	size_t n = 1;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

struct accounts *accounts_parse(str file, str text, struct arena *a, str *why)
{
	struct accounts *t = calloc(1, sizeof(*t));

	*why = STR("out of memory");
	if (t == NULL)
		return NULL;
	arena_init(&t->arena, ARENA_UNBOUNDED);
	map_init(&t->by_key, false);
	t->v = ARENA_ARRAY(&t->arena, struct account, count_lines(text));
	if (t->v != NULL && parse(t, file, text, a, why) == OK)
		return t;
	accounts_free(t);
	return NULL;
}

bool accounts_check(str file, str text, struct arena *a, str *why)
{
	struct accounts *t = accounts_parse(file, text, a, why);

	if (t != NULL)
		accounts_free(t);
	return t != NULL;
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
