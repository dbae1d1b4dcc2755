/* SPDX-License-Identifier: ISC */
/*
 * postern account: hands auth's verb the file and the domains that the
 * configuration names, and tells a running server to look again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/control.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

/* Takes "-c FILE" out of the words, wherever it stands. */
static bool take_file(int *argc, char **argv, const char **file)
{
	int kept = 1;

	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "-c") != 0 && strcmp(argv[i], "--config") != 0) {
			argv[kept++] = argv[i];
			continue;
		}
		if (++i == *argc)
			return false;
		*file = argv[i];
	}
	*argc = kept;
	argv[kept] = NULL;
	return true;
}

/* Before the configuration is looked for: wrong usage is wrong without one, too. */
static int words_fit(int argc, char **argv)
{
	static const struct { const char *word, *second; bool alone; } commands[] = {
		{ "add", NULL, false }, { "passwd", NULL, false }, { "require", NULL, false },
		{ "list", NULL, true }, { "logins", NULL, false }, { "remove", NULL, false },
		{ "app-password", "add", false }, { "app-password", "list", true }, { "app-password", "remove", false },
		{ "certificate", "issue", false }, { "certificate", "list", true }, { "certificate", "revoke", false },
		{ "release", NULL, false }, { "drop", NULL, false }, { "lock", NULL, false },
		{ "totp", "enrol", false }, { "totp", "remove", false },
	};
	bool known = false;

	if (argc < 2)
		return verb_misused("account", "say add, passwd, require, list, logins, remove, release, drop, lock, app-password, certificate or totp");
	for (size_t i = 0; i < COUNT(commands); i++) {
		int words = commands[i].second != NULL ? 3 : 2;

		if (strcmp(argv[1], commands[i].word) != 0)
			continue;
		known = true;
		if (words == 3 && (argc < 3 || strcmp(argv[2], commands[i].second) != 0))
			continue;
		return argc > words || commands[i].alone
		               ? -1 : verb_misused("account", "%s needs an address", argv[words - 1]);
	}
	if (known)
		return verb_misused("account", argc < 3 ? "%s needs a second word" : "%s: unknown command \"%s\"", argv[1],
		                    argc < 3 ? "" : argv[2]);
	return verb_misused("account", "unknown command \"%s\"", argv[1]);
}

static bool is_decision(const char *word)
{
	return strcmp(word, "release") == 0 || strcmp(word, "drop") == 0 || strcmp(word, "lock") == 0;
}

/* What the running server says to these words; a status below 0: none answers. */
static int ask(struct config *c, struct arena *a, const char *const *words, size_t n, str *said)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	int status, fault;

	*said = STR_NONE;
	if (out == NULL)
		return -1;
	status = control_ask(str_cstr(a, server_control_path(c, a)), words, n, out);
	fault = errno;
	fclose(out);
	if (status >= 0)
		*said = length > 0 ? str_keep(a, (str){ text, length }) : STR("");
	free(text);
	errno = fault;
	return status;
}

/* The running server's to do: it holds the mail and the sessions. */
static int decide(int argc, char **argv, struct config *c, struct arena *a)
{
	const char *const words[] = { "account", argv[1], argv[2] };
	int status;
	str said;

	if (argc != 3)
		return verb_misused("account", "%s takes one address", argv[1]);
	status = ask(c, a, words, COUNT(words), &said);
	if (status < 0)
		return verb_fail(EXIT_LATER, "account", "no server answers in %.*s: %s: start it with `postern serve`",
		                 STR_ARG(c->state), strerror(errno));
	if (status != EXIT_DONE)
		return verb_fail(status, "account", "%s: %.*s", argv[1], STR_ARG(str_trim(said)));
	printf("%.*s", STR_ARG(said));
	return status;
}

/* What the running server holds; NULL: none answers. */
static str ask_who_is_shut(struct config *c, struct arena *a)
{
	const char *const words[] = { "account", "shut" };
	str said;

	return ask(c, a, words, COUNT(words), &said) == EXIT_DONE ? said : STR_NONE;
}

static int run(int argc, char **argv, struct config *c, struct arena *a)
{
	const char *const words[] = { "accounts" };
	const struct account_tools tools = {
		.accounts = str_cstr(a, c->auth.accounts), .devices = str_cstr(a, c->auth.devices),
		.codes = str_cstr(a, c->auth.codes), .seen = str_cstr(a, c->auth.seen),
		.logins = str_cstr(a, c->auth.logins),
		.ca = str_cstr(a, arena_printf(a, "%.*s/ca", STR_ARG(c->state))),
		.client_ca = str_cstr(a, c->tls.client_ca), .issuer = str_cstr(a, c->hostname),
		.mark = c->auth.mark.p[0], .iterations = (unsigned)c->auth.iterations,
		.shut = strcmp(argv[1], "list") == 0 ? ask_who_is_shut(c, a) : STR_NONE,
		.local = config_domain_is_local, .arg = c,
	};
	bool changed;
	int status = account_verb(argc, argv, &tools, &changed);

	if (changed)
		control_ask(str_cstr(a, server_control_path(c, a)), words, 1, stdout);
	return status;
}

int verb_account(int argc, char **argv)
{
	const char *file = CONFIG_FILE;
	struct arena a;
	struct config *c;
	int status;

	if (!take_file(&argc, argv, &file))
		return verb_misused("account", "-c needs a file");
	status = words_fit(argc, argv);
	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("account", file, &a, &status);
	if (c != NULL)
		status = is_decision(argv[1]) ? decide(argc, argv, c, &a) : run(argc, argv, c, &a);
	arena_fini(&a);
	return status;
}
