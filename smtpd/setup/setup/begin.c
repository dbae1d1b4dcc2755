/* SPDX-License-Identifier: ISC */
/*
 * Keys, the first account, the service.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/control.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/keys/step.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/setup/setup.h"
#include "smtpd/setup/verbs.h"

bool setup_runs(const struct setup *s)
{
	const char *const words[] = { "accounts" };
	FILE *nowhere = s->config != NULL ? fopen("/dev/null", "w") : NULL;
	bool runs = nowhere != NULL && control_ask(str_cstr(s->a, server_control_path(s->config, s->a)), words, 1, nowhere) >= 0;

	if (nowhere != NULL)
		fclose(nowhere);
	return runs;
}

/* ---- keys ------------------------------------------------------------------------------------- */

/* The first sets, made before there is a server.  No look is taken: nothing is in DNS. */
bool setup_keys(struct setup *s)
{
	struct step step = { .config = s->config, .arena = s->a, .now = clock_wall(), .blind = true };
	struct key_record *records;
	size_t n = 0;
	str why = STR_NONE;

	if (s->config == NULL) {
		setup_tell(s, "", "make", STR("DKIM keys"), "they sign once DNS shows them");
		return true;
	}
	step.domain = config_domain_of(s->config, s->domain);
	if (step.domain == NULL || !step.domain->keys.head.given)
		return true;
	if (key_records(s->config, s->domain, s->a, &records, &n, &why) != OK)
		return setup_failed("%.*s", STR_ARG(why));
	if (n > 0) {
		setup_there(s, arena_printf(s->a, "%zu DKIM keys", n), "`postern key list` says how they are");
		return true;
	}
	if (s->terminal)
		fprintf(stderr, "  making DKIM keys …\r");
	if (step_take(&step, &why) != OK)
		return setup_failed("the DKIM keys of %.*s: %.*s", STR_ARG(s->domain), STR_ARG(why));
	if (s->terminal)
		fprintf(stderr, "%30s\r", "");
	setup_tell(s, "made", "", arena_printf(s->a, "%zu DKIM keys", step.book.n), "they sign in turn, each pair once DNS shows it");
	return true;
}

/* ---- the first account --------------------------------------------------------------------------- */

/* Letters and digits that are not mistaken for each other: 20 of 31 are 99 bits. */
static str make_password(struct arena *a)
{
	static const char letters[] = "abcdefghjkmnpqrstuvwxyz23456789";
	char text[23];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 6 == 5 ? '-' : letters[random_below(sizeof(letters) - 1)];
	return str_keep(a, (str){ text, sizeof(text) });
}

enum accounts { NO_ACCOUNT, ANOTHER, THIS_ONE };

/* Lines of the accounts file begin with the address and a colon.  `other`: the first
 * of the domain that is not the one in question. */
static enum accounts look_for_account(const struct setup *s, str *other)
{
	str text, line, why;
	enum accounts found = NO_ACCOUNT;

	if (file_read(verb_open_file, s->config->auth.accounts, (size_t)64 << 20, s->a, &text, &why) != OK)
		return NO_ACCOUNT;
	while (str_cut(&text, '\n', &line)) {
		str name = str_head(line, str_find(line, ':'));

		if (str_eq_nocase(name, s->account))
			return THIS_ONE;
		if (str_eq_nocase(str_skip(name, str_rfind(name, '@') + 1), s->domain) && !str_starts(name, "#") && found == NO_ACCOUNT) {
			found = ANOTHER;
			*other = name;
		}
	}
	return found;
}

/* `postern account add` in a process of its own, which reads the password from a pipe. */
static int add_account(struct setup *s, str password)
{
	char *argv[] = { (char *)(uintptr_t)"account", (char *)(uintptr_t)"add", str_cstr(s->a, s->account), (char *)(uintptr_t)"-c",
	                 (char *)(uintptr_t)s->file, NULL };
	int pair[2], status = -1;
	pid_t pid;

	if (pipe(pair) != 0)
		return -1;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (s->said.password_stdin || dup2(pair[0], STDIN_FILENO) == STDIN_FILENO) {
			close(pair[0]);
			close(pair[1]);
			status = verb_account(5, argv);
		}
		fflush(stdout);
		_exit(status);
	}
	close(pair[0]);
	if (pid > 0 && password.n > 0) {
		(void)!write(pair[1], password.p, password.n);
		(void)!write(pair[1], "\n", 1);
	}
	close(pair[1]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool setup_account(struct setup *s)
{
	str other = STR_NONE;
	enum accounts found = s->config != NULL ? look_for_account(s, &other) : NO_ACCOUNT;

	if (found == ANOTHER && s->said.account == NULL)
		s->account = other;
	if (found == THIS_ONE || (found == ANOTHER && s->said.account == NULL)) {
		setup_there(s, s->account, "an account; `postern account list` names all");
		return true;
	}
	if (s->config == NULL) {
		setup_tell(s, "", "add", s->account, "the first account, with a password made here or read by --password-stdin");
		return true;
	}
	if (!s->said.password_stdin)
		s->password = make_password(s->a);
	if (add_account(s, s->password) != 0) {
		s->password = STR_NONE;
		return setup_failed("the account %.*s was not added: run `postern account add %.*s -c %s`", STR_ARG(s->account),
		                    STR_ARG(s->account), s->file);
	}
	setup_tell(s, "added", "", s->account, "an account");
	return true;
}

/* ---- the service ------------------------------------------------------------------------------------- */

static bool ports_are_free(struct setup *s)
{
	for (int i = 0; i < SETUP_PORTS; i++) {
		struct port_holder holder;
		int fd = s->ports[i] > 0 ? listen_at(arena_printf(s->a, "0.0.0.0:%u", s->ports[i])) : -1;

		if (fd >= 0)
			close(fd);
		else if (s->ports[i] > 0 && errno == EADDRINUSE && port_holder((uint16_t)s->ports[i], &holder))
			return setup_failed("port %u is in use by %s: stop it with `%s`, then run this again", s->ports[i], holder.who, holder.stop);
	}
	return true;
}

static bool have_it_read(struct setup *s)
{
	const char *const words[] = { "reload" };
	char *path = str_cstr(s->a, server_control_path(s->config, s->a));

	if (!s->changed)
		return true;
	if (control_ask(path, words, 1, stderr) != 0)
		return setup_failed("the running server did not take the configuration: see its log, then `postern reload -c %s`", s->file);
	setup_tell(s, "reloaded", "", STR("the running server"), "it has read the configuration");
	return true;
}

bool setup_start(struct setup *s)
{
	if (s->said.dry) {
		if (s->has_unit)
			setup_tell(s, "", "start", STR("the service"), "systemctl enable --now " SETUP_UNIT);
		return true;
	}
	s->running = setup_runs(s);
	if (s->running) {
		setup_there(s, STR("the server"), "it runs");
		return have_it_read(s);
	}
	s->wants_start = !s->has_unit;
	if (!s->has_unit)
		return true;
	if (!ports_are_free(s))
		return false;
	if (setup_shell("systemctl enable --now " SETUP_UNIT, false) != 0)
		return setup_failed("the service did not start: `journalctl -u postern` says why; mend it, then `systemctl start postern`");
	setup_tell(s, "started", "", STR("the service"), "now and with every start of this machine");
	s->running = true;
	return true;
}
