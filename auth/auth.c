/* SPDX-License-Identifier: ISC */
/*
 * The house: options in force, counters, opening and closing.  The accounts
 * table that is up is look.c's, what is offered offer.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/oauth.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"
#include "smtpd/base/tls.h"

#define STEP_MS 30000          /* more than an issuer's two answers take */

/* ---- counters ------------------------------------------------------------------ */

static const struct stat_def counter_defs[COUNTS] = {
	[COUNT_HASHED]     = { "hashed", "passwords put through PBKDF2" },
	[COUNT_REMEMBERED] = { "remembered", "passwords known from memory, without PBKDF2" },
	[COUNT_FAILED]     = { "failed", "wrong logins, as counted against guessers" },
	[COUNT_AGAIN]      = { "failed-again", "the same wrong password once more, not counted" },
	[COUNT_SLOWED]     = { "slowed", "answers to wrong logins that were held back" },
	[COUNT_REFUSED]    = { "refused", "addresses and networks refused for a while" },
	[COUNT_TURNED_AWAY] = { "turned-away", "connections from refused addresses" },
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

/* ---- open, close, look again -------------------------------------------------------------- */

static unsigned names_asked_for(const struct strs *words)
{
	unsigned names = 0;

	for (size_t i = 0; i < words->n; i++)
		names |= str_is_nocase(words->v[i], "email") ? TLS_NAME_EMAIL
		         : str_is_nocase(words->v[i], "cn")  ? TLS_NAME_CN
		                                             : TLS_NAME_SAN;
	return names;
}

unsigned auth_certificate_names(const struct auth *auth)
{
	return atomic_load(&auth->certificate_names);
}

static void put_numbers(struct auth *auth, const struct auth_conf *c)
{
	must(c->iterations > 0 && c->iterations <= ITERATIONS_MAX);
	atomic_store(&auth->iterations, (unsigned)c->iterations);
	atomic_store(&auth->memory_ms, c->memory_ms);
	atomic_store(&auth->upgrade, c->upgrade);
	atomic_store(&auth->scram_always, c->scram_always);
	atomic_store(&auth->certificate_names, names_asked_for(&c->certificate_names));
}

unsigned auth_refuses(const struct auth *auth, const struct sockaddr *sa)
{
	struct cidr from;

	if (auth == NULL || !cidr_of(sa, &from))
		return 0;
	return (unsigned)((bans_refuse(auth->bans, &from, clock_ms()) + 999) / 1000);
}

size_t auth_refused_now(const struct auth *auth)
{
	return ban_table_held(&auth->bans->counts, clock_ms());
}

void auth_turned_away(void)
{
	auth_count(COUNT_TURNED_AWAY);
}

static void load_secret(struct auth *auth, const struct auth_conf *c, struct arena *a)
{
	str name = c->secret.n > 0 ? c->secret : arena_printf(a, "%.*s.secret", STR_ARG(c->accounts));
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

static void open_seen(struct auth *auth, const struct auth_conf *c, struct arena *a)
{
	char *file = str_cstr(a, c->seen.n > 0 ? c->seen : arena_printf(a, "%.*s.seen", STR_ARG(c->accounts)));

	if (file != NULL)
		seen_open(auth, file);
	file = str_cstr(a, c->logins.n > 0 ? c->logins
	                                   : arena_printf(a, "%.*s.logins", STR_ARG(c->accounts)));
	if (file != NULL)
		logins_open(auth, file);
}

static bool furnish(struct auth *auth, const struct auth_conf *c, str hostname, struct arena *a,
                    str *why)
{
	static atomic_ullong serials;

	auth->serial = atomic_fetch_add(&serials, 1) + 1;
	auth->nseats = (unsigned)desk_threads(auth->login);
	auth->seats = calloc(auth->nseats, sizeof(auth->seats[0]));
	auth->hostname = str_keep(&auth->arena, hostname);
	if (auth->seats == NULL)
		return false;
	for (unsigned i = 0; i < auth->nseats; i++)
		memory_init(&auth->seats[i].memory, auth->nseats);
	random_bytes(auth->memory_key, sizeof(auth->memory_key));
	put_numbers(auth, c);
	auth->bans = bans_new();
	if (auth->bans == NULL || !bans_set(auth->bans, &c->guesses))
		return false;
	if (look_open(auth, c, a, why) != OK)
		return false;
	open_seen(auth, c, a);
	load_secret(auth, c, a);
	auth->backend = (enum auth_backend)c->backend;
	auth->step_ms = STEP_MS;
	return cyrus_open(auth, c, a, why) == OK &&
	       oauth_reconfigure(auth, &c->oauth, a, why) == OK &&
	       auth_put_up_offer(auth, &c->mechanisms, a, why) == OK;
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
	map_init(&auth->standings, false);
	atomic_store(&auth->seen_fd, -1);
	atomic_store(&auth->logins_fd, -1);
	auth->login = login;
	codes_setup();
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
	for (unsigned i = 0; auth->seats != NULL && i < auth->nseats; i++) {
		memory_wipe(&auth->seats[i].memory);
		oauth_seat_free(auth->seats[i].oauth);
	}
	look_close(auth);
	seen_close(auth);
	logins_close(auth);
	bans_free(auth->bans);
	map_fini(&auth->standings);
	free(auth->seats);
	arena_wipe(&auth->arena);
	crypt_wipe(auth, sizeof(*auth));
	free(auth);
}

enum err auth_look_again(struct auth *auth, bool always, bool *changed, struct arena *a, str *why)
{
	*changed = false;
	*why = STR_NONE;
	seen_shorten(auth);
	logins_shorten(auth);
	return look_again(auth, always, changed, a, why);
}

enum err auth_reconfigure(struct auth *auth, const struct auth_conf *c, struct arena *a, str *why)
{
	enum err e = look_elsewhere(auth, c, a, why);

	if (e == OK)
		e = oauth_reconfigure(auth, &c->oauth, a, why);
	if (e == OK)
		e = auth_put_up_offer(auth, &c->mechanisms, a, why);
	if (e == OK && !bans_set(auth->bans, &c->guesses))
		e = ERR_MEMORY;
	if (e == OK)
		put_numbers(auth, c);
	return e;
}

enum err auth_accounts(struct auth *auth, struct arena *a, struct strs *out)
{
	return accounts_addresses(atomic_load(&auth->table), a, out);
}

enum err accounts_addresses(const struct accounts *t, struct arena *a, struct strs *out)
{
	out->n = 0;
	out->v = ARENA_ARRAY(a, str, t->n + 1);
	if (out->v == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < t->n; i++) {
		if (t->v[i].fields.user.n > 0)
			continue;              /* a device password is nobody's mailbox */
		out->v[out->n] = str_keep(a, t->v[i].address);
		if (out->v[out->n].n == 0)
			return ERR_MEMORY;
		out->n++;
	}
	return OK;
}
