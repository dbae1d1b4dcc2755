/* SPDX-License-Identifier: ISC */
/*
 * postern account: hands auth's verb the file and the domains that the
 * configuration names, and tells a running server to look again.
 */
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
	static const char *const commands[] = { "add", "passwd", "list", "remove" };

	if (argc < 2)
		return verb_misused("account", "say add, passwd, list or remove");
	for (size_t i = 0; i < COUNT(commands); i++)
		if (strcmp(argv[1], commands[i]) == 0)
			return argc > 2 || strcmp(argv[1], "list") == 0
			               ? -1 : verb_misused("account", "%s needs an address", argv[1]);
	return verb_misused("account", "unknown command \"%s\"", argv[1]);
}

int verb_account(int argc, char **argv)
{
	const char *file = CONFIG_FILE, *const words[] = { "accounts" };
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
	if (c != NULL) {
		status = account_verb(argc, argv, str_cstr(&a, c->auth.accounts), (unsigned)c->auth.iterations,
		                      config_domain_is_local, c);
		if (status == EXIT_DONE && strcmp(argv[1], "list") != 0)
			control_ask(str_cstr(&a, server_control_path(c, &a)), words, 1, stdout);
	}
	arena_fini(&a);
	return status;
}
