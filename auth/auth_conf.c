/* SPDX-License-Identifier: ISC */
/*
 * The options of `auth`.  Tables only.
 */
#include <stddef.h>

#include "auth/inside.h"

const char *const auth_known_mechanisms[] = { "SCRAM-SHA-256", "PLAIN", "LOGIN", NULL };

static bool mechanism_good(str value, struct arena *a, str *why)
{
	(void)a;
	for (size_t i = 0; auth_known_mechanisms[i] != NULL; i++)
		if (str_is_nocase(value, auth_known_mechanisms[i]))
			return true;
	*why = STR("must be SCRAM-SHA-256, PLAIN or LOGIN");
	return false;
}

static bool path_good(str value, struct arena *a, str *why)
{
	(void)a;
	if (value.n == 0 || value.p[0] == '/')
		return true;
	*why = STR("must be a path that begins with /");
	return false;
}

#define AT(member) offsetof(struct auth_conf, member)

static const struct conf_option options[] = {
	{ .name = "accounts", .type = CONF_STRING, .offset = AT(accounts), .check = path_good,
	  .example = "/var/lib/postern/accounts",
	  .help = "the passwd-file of accounts, which Dovecot can share; default: accounts in the "
	          "state directory" },
	{ .name = "mechanisms", .type = CONF_LIST, .offset = AT(mechanisms),
	  .fallback = "SCRAM-SHA-256,PLAIN,LOGIN", .check = mechanism_good,
	  .help = "how a mail program may log in, the best first; always behind TLS" },
	{ .name = "iterations", .type = CONF_NUMBER, .offset = AT(iterations), .fallback = "4096",
	  .least = 4096, .most = ITERATIONS_MAX,
	  .help = "rounds of PBKDF2 in new verifiers: more is slower, for a guesser and for each "
	          "login" },
	{ .name = "memory", .type = CONF_TIME, .offset = AT(memory_ms), .fallback = "1h",
	  .help = "how long a right password given with PLAIN or LOGIN is remembered (as a keyed "
	          "hash, in memory only); 0s: never" },
	{ 0 },
};

#undef AT

static void checked(void *section, struct conf_reader *r)
{
	const struct auth_conf *c = section;

	if (c->mechanisms.n == 0)
		conf_fault(r, &c->head, "mechanisms",
		           "nobody could log in: name at least one of SCRAM-SHA-256, PLAIN, LOGIN");
	for (size_t i = 0; i < c->mechanisms.n; i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq_nocase(c->mechanisms.v[i], c->mechanisms.v[k]))
				conf_fault(r, &c->head, "mechanisms",
				           "%.*s stands there twice: take one out",
				           STR_ARG(c->mechanisms.v[i]));
}

const struct conf_section auth_section = {
	.name = "auth",
	.options = options,
	.size = sizeof(struct auth_conf),
	.check = checked,
	.help = "Who may log in at submission listeners.",
};
