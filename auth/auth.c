/* SPDX-License-Identifier: ISC */
/*
 * The house: options in force, counters, what is offered.  The accounts table
 * that is up is look.c's.
 *
 * Mechanism lists that were ever in force stay until the end, each once:
 * sessions hold their text, and there are few.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

/* ---- counters ------------------------------------------------------------------ */

static const struct stat_def counter_defs[COUNTS] = {
	[COUNT_HASHED]     = { "hashed", "passwords put through PBKDF2" },
	[COUNT_REMEMBERED] = { "remembered", "passwords known from memory, without PBKDF2" },
};
static unsigned counters;
static bool counters_there;

static void counters_register(void)
{
	if (counters_there)
		return;
	counters = stat_register("auth", counter_defs, COUNTS);
	counters_there = true;
}

/* Verbs make verifiers without an auth: nobody counts then. */
void auth_count(unsigned which)
{
	if (counters_there)
		stat_add(counters + which, 1);
}

uint64_t auth_counted(unsigned which)
{
	return counters_there ? stat_sum(counters + which) : 0;
}

/* ---- what is offered ------------------------------------------------------------------ */

static const char *known(str name)
{
	for (size_t i = 0; auth_known_mechanisms[i] != NULL; i++)
		if (str_is_nocase(name, auth_known_mechanisms[i]))
			return auth_known_mechanisms[i];
	return NULL;
}

static struct offer *make_offer(struct auth *auth, const struct strs *mechanisms)
{
	struct offer *o = ARENA_NEW(&auth->arena, struct offer);
	size_t n = 0;

	if (o == NULL)
		return NULL;
	o->names = ARENA_ARRAY(&auth->arena, const char *, mechanisms->n + 1);
	if (o->names == NULL)
		return NULL;
	o->text = STR("");
	for (size_t i = 0; i < mechanisms->n; i++) {
		const char *name = known(mechanisms->v[i]);

		if (name == NULL)
			continue;
		o->names[n++] = name;
		o->text = arena_printf(&auth->arena, "%.*s%s%s", STR_ARG(o->text),
		                       n > 1 ? " " : "", name);
	}
	return auth->arena.spent ? NULL : o;
}

static bool says_the_same(const struct offer *o, const struct strs *mechanisms)
{
	size_t n = 0;

	for (; n < mechanisms->n && o->names[n] != NULL; n++)
		if (!str_is_nocase(mechanisms->v[n], o->names[n]))
			return false;
	return n == mechanisms->n && o->names[n] == NULL;
}

static bool is_available(const struct auth *auth, const char *name)
{
	size_t n = strlen(name);

	for (str rest = auth->available, word; str_cut(&rest, ' ', &word);)
		if (word.n == n && str_is_nocase(word, name))
			return true;
	return false;
}

static enum err all_available(const struct auth *auth, const struct offer *o, struct arena *a,
                              str *why)
{
	for (size_t i = 0; o->names[i] != NULL; i++)
		if (!is_available(auth, o->names[i])) {
			*why = arena_printf(a, "Cyrus SASL has no mechanism %s: install "
			                    "libsasl2-modules, or take it out of `mechanisms` in "
			                    "auth {}", o->names[i]);
			return ERR_ABSENT;
		}
	return OK;
}

static enum err put_up_offer(struct auth *auth, const struct strs *mechanisms, struct arena *a,
                             str *why)
{
	struct offer *o = auth->offers;
	enum err e;

	while (o != NULL && !says_the_same(o, mechanisms))
		o = o->next;
	if (o == NULL) {
		o = make_offer(auth, mechanisms);
		if (o == NULL)
			return ERR_MEMORY;
		o->next = auth->offers;
		auth->offers = o;
	}
	e = all_available(auth, o, a, why);
	if (e == OK)
		atomic_store(&auth->offer, o);
	return e;
}

str auth_mechanisms(const struct auth *auth)
{
	return atomic_load(&auth->offer)->text;
}

const char *auth_mechanism_named(const struct auth *auth, str name)
{
	const struct offer *o = atomic_load(&auth->offer);

	for (size_t i = 0; o->names[i] != NULL; i++)
		if (str_is_nocase(name, o->names[i]))
			return o->names[i];
	return NULL;
}

/* ---- open, close, look again -------------------------------------------------------------- */

static void put_numbers(struct auth *auth, const struct auth_conf *c)
{
	must(c->iterations > 0 && c->iterations <= ITERATIONS_MAX);
	atomic_store(&auth->iterations, (unsigned)c->iterations);
	atomic_store(&auth->memory_ms, c->memory_ms);
}

static bool keep_file_name(struct auth *auth, str file)
{
	char *copy = strndup(file.n > 0 ? file.p : "", file.n);

	if (copy == NULL)
		return false;
	free(auth->file);
	auth->file = copy;
	return true;
}

static void load_secret(struct auth *auth, const struct auth_conf *c, struct arena *a)
{
	str name = c->secret.n > 0 ? c->secret : arena_printf(a, "%s.secret", auth->file);
	char *file = str_cstr(a, name);
	str why = STR("out of memory");

	if (file != NULL && secret_load(file, auth->secret, a, &why))
		return;
	if (file == NULL)
		random_bytes(auth->secret, sizeof(auth->secret));
	log_event(NULL, LOG_WARN, "secret.unkept", KV("why", why),
	          KV_C("means", "after a restart a patient guesser can tell unknown names from "
	                        "accounts"));
}

static bool furnish(struct auth *auth, const struct auth_conf *c, str hostname, struct arena *a,
                    str *why)
{
	static atomic_ullong serials;
	bool changed = false;

	auth->serial = atomic_fetch_add(&serials, 1) + 1;
	auth->nseats = (unsigned)desk_threads(auth->login);
	auth->seats = calloc(auth->nseats, sizeof(auth->seats[0]));
	auth->hostname = str_keep(&auth->arena, hostname);
	if (auth->seats == NULL || !keep_file_name(auth, c->accounts))
		return false;
	for (unsigned i = 0; i < auth->nseats; i++)
		memory_init(&auth->seats[i].memory, auth->nseats);
	random_bytes(auth->memory_key, sizeof(auth->memory_key));
	put_numbers(auth, c);
	if (look_read(auth, auth->file, true, &changed, a, why) != OK)
		return false;
	load_secret(auth, c, a);
	return cyrus_open(auth, a, why) == OK && put_up_offer(auth, &c->mechanisms, a, why) == OK;
}

struct auth *auth_open(const struct auth_conf *c, str hostname, struct desk *login, struct arena *a,
                       str *why)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	*why = STR("out of memory");
	if (auth == NULL)
		return NULL;
	counters_register();
	arena_init(&auth->arena, ARENA_UNBOUNDED);
	auth->login = login;
	if (furnish(auth, c, hostname, a, why))
		return auth;
	auth_close(auth);
	return NULL;
}

/* The login desk has ended: no seat reads any more. */
void auth_close(struct auth *auth)
{
	if (auth == NULL)
		return;
	cyrus_close();
	for (unsigned i = 0; auth->seats != NULL && i < auth->nseats; i++)
		memory_wipe(&auth->seats[i].memory);
	look_free_replaced(auth);
	must(auth->replaced == NULL);
	accounts_free((struct accounts *)(uintptr_t)atomic_load(&auth->table));
	free(auth->seats);
	free(auth->file);
	arena_fini(&auth->arena);
	crypt_wipe(auth, sizeof(*auth));
	free(auth);
}

enum err auth_look_again(struct auth *auth, bool always, bool *changed, struct arena *a, str *why)
{
	*changed = false;
	*why = STR_NONE;
	look_free_replaced(auth);
	return look_read(auth, auth->file, always, changed, a, why);
}

enum err auth_reconfigure(struct auth *auth, const struct auth_conf *c, struct arena *a, str *why)
{
	const struct looked before = auth->looked;
	bool moved = !str_is(c->accounts, auth->file), changed;
	char *file = str_cstr(a, c->accounts);
	enum err e;

	*why = STR("out of memory");
	if (file == NULL)
		return ERR_MEMORY;
	if (moved)
		auth->looked = (struct looked){ .seen = true };
	e = look_read(auth, file, moved, &changed, a, why);
	if (e == OK)
		e = put_up_offer(auth, &c->mechanisms, a, why);
	if (e == OK && !keep_file_name(auth, c->accounts))
		e = ERR_MEMORY;
	if (e != OK) {
		if (moved)
			auth->looked = before;
		return e;
	}
	put_numbers(auth, c);
	return OK;
}

enum err auth_accounts(struct auth *auth, struct arena *a, struct strs *out)
{
	const struct accounts *t = atomic_load(&auth->table);

	out->n = 0;
	out->v = ARENA_ARRAY(a, str, t->n + 1);
	if (out->v == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < t->n; i++) {
		out->v[i] = str_keep(a, t->v[i].address);
		if (out->v[i].n == 0)
			return ERR_MEMORY;
		out->n++;
	}
	return OK;
}
