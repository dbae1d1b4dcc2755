/* SPDX-License-Identifier: ISC */
/*
 * postern setup: the words, and the order of everything.
 *
 * Looks, asks, writes, starts; then it says what is left and waits for DNS.  A second
 * run does what the first could not, and shows what differs.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/control.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/setup/setup.h"
#include "smtpd/setup/verbs.h"

/* ---- saying ------------------------------------------------------------------------------------- */

void setup_tell(const struct setup *s, const char *done, const char *would, str what, const char *about)
{
	char word[32];

	snprintf(word, sizeof(word), s->said.dry ? "would %s" : "%s", s->said.dry ? would : done);
	printf("  %-*s %.*s%s%s\n", s->said.dry ? 13 : 9, word, STR_ARG(what), about[0] != '\0' ? ": " : "", about);
	fflush(stdout);
}

void setup_there(const struct setup *s, str what, const char *about)
{
	setup_tell(s, "there", "keep", what, about);
}

bool setup_failed(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "postern " SETUP_VERB ": ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return false;
}

/* ---- words ---------------------------------------------------------------------------------------- */

enum { HOSTNAME = 1, ETC, STATE, MAIL, USER, ACCOUNT, PASSWORD_STDIN, PORTS, FORMAT, ACME, WEBROOT, HTTP_PORT, CERTIFICATE, KEY,
       RESOLVER, FORCE, DRY_RUN, ADD, WAIT, NO_WAIT };

static const struct option options[] = {
	{ "hostname", required_argument, NULL, HOSTNAME }, { "etc", required_argument, NULL, ETC },
	{ "state", required_argument, NULL, STATE }, { "mail", required_argument, NULL, MAIL },
	{ "user", required_argument, NULL, USER }, { "account", required_argument, NULL, ACCOUNT },
	{ "password-stdin", no_argument, NULL, PASSWORD_STDIN }, { "ports", required_argument, NULL, PORTS },
	{ "format", required_argument, NULL, FORMAT }, { "acme", required_argument, NULL, ACME },
	{ "webroot", required_argument, NULL, WEBROOT }, { "http-port", required_argument, NULL, HTTP_PORT },
	{ "certificate", required_argument, NULL, CERTIFICATE }, { "key", required_argument, NULL, KEY },
	{ "resolver", required_argument, NULL, RESOLVER }, { "force", no_argument, NULL, FORCE },
	{ "dry-run", no_argument, NULL, DRY_RUN }, { "add", no_argument, NULL, ADD }, { "wait", no_argument, NULL, WAIT },
	{ "no-wait", no_argument, NULL, NO_WAIT }, { 0 },
};

static void take_flag(struct setup *s, int c)
{
	s->said.password_stdin |= c == PASSWORD_STDIN;
	s->said.force |= c == FORCE;
	s->said.dry |= c == DRY_RUN;
	s->said.add |= c == ADD;
	s->said.wait |= c == WAIT;
	s->said.no_wait |= c == NO_WAIT;
}

static void take_word(struct setup *s, int c)
{
	const char **const places[] = {
		[HOSTNAME] = &s->said.hostname, [ETC] = &s->said.etc, [STATE] = &s->said.state, [MAIL] = &s->said.mail, [USER] = &s->said.user,
		[ACCOUNT] = &s->said.account, [PORTS] = &s->said.ports, [FORMAT] = &s->said.format, [ACME] = &s->said.acme,
		[WEBROOT] = &s->said.webroot, [CERTIFICATE] = &s->said.certificate, [KEY] = &s->said.key, [RESOLVER] = &s->said.resolver,
	};

	if ((size_t)c < COUNT(places) && places[c] != NULL)
		*places[c] = optarg;
	else
		take_flag(s, c);
}

static int judge_words(const struct setup *s)
{
	const char *f = s->said.format;

	if (s->said.domain == NULL)
		return verb_misused(SETUP_VERB, "say which domain");
	if (strcmp(f, "form") != 0 && strcmp(f, "zone") != 0 && strcmp(f, "text") != 0)
		return verb_misused(SETUP_VERB, "\"%s\" is no format: form, zone or text", f);
	if ((s->said.certificate == NULL) != (s->said.key == NULL))
		return verb_misused(SETUP_VERB, "--certificate and --key go together");
	if (s->said.wait && s->said.no_wait)
		return verb_misused(SETUP_VERB, "--wait or --no-wait, not both");
	return -1;
}

static int parse(int argc, char **argv, struct setup *s)
{
	int c;

	s->said.format = "form";
	s->said.http_port = 80;
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == ':' || c == '?')
			return verb_misused(SETUP_VERB, c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
		if (c != HTTP_PORT)
			take_word(s, c);
		else if (!str_to_u64(str_of(optarg), &s->said.http_port) || s->said.http_port == 0 || s->said.http_port > 65535)
			return verb_misused(SETUP_VERB, "--http-port %s is no port", optarg);
	}
	if (argc - optind > 1)
		return verb_misused(SETUP_VERB, "unexpected word \"%s\"", argv[optind + 1]);
	s->said.domain = optind < argc ? argv[optind] : NULL;
	return judge_words(s);
}

/* ---- what ETC/tls/deploy asks for ------------------------------------------------------------------- */

static int hand_over(struct setup *s)
{
	const char *const words[] = { "reload" };
	int status;

	s->hostname = s->there->hostname;
	s->config = s->there;
	if (!setup_names_our_certificate(s, s->there))
		return verb_fail(EXIT_FINDING, SETUP_VERB, "tls {} in %s names other files: name %.*s there as certificate and as key", s->file,
		                 STR_ARG(setup_certificate_path(s)));
	if (!setup_take_certificate(s))
		return EXIT_FINDING;
	status = s->said.dry ? 0 : control_ask(str_cstr(s->a, server_control_path(s->config, s->a)), words, 1, stderr);
	if (status < 0)
		puts("  No server runs; the next start reads it.");
	else if (status > 0)
		return verb_fail(EXIT_FINDING, SETUP_VERB, "the running server did not take it: see its log");
	else
		setup_tell(s, "reloaded", "reload", STR("the running server"), "");
	return EXIT_DONE;
}

/* ---- the order ------------------------------------------------------------------------------------------ */

static void say_what_is_here(const struct setup *s)
{
	printf("%.*s, by the mail server %.*s\n", STR_ARG(s->domain), STR_ARG(s->hostname));
	for (size_t i = 0; i < s->naddresses; i++) {
		const struct setup_address *at = &s->addresses[i];

		printf("  %.*s, whose PTR record %s%.*s\n", STR_ARG(at->text),
		       !at->ptr_known ? "could not be asked for" : at->ptr.n > 0 ? "says " : "is missing", STR_ARG(at->ptr));
	}
	if (s->behind_nat)
		puts("  No interface has a public address: a NAT seems to stand before this machine.");
	putchar('\n');
}

static bool make_all(struct setup *s)
{
	return setup_user(s) && setup_directories(s) && setup_certificate(s) &&
	       setup_aliases(s) && setup_configuration(s) && setup_hooks(s) && setup_keys(s) && setup_account(s) && setup_start(s);
}

/* The authority looks for the host name: before DNS leads here there is no use in asking. */
static bool get_certificate(struct setup *s, bool last)
{
	if (s->said.acme == NULL || s->certified || !s->own_certificate)
		return true;
	if (setup_resolves(s))
		return setup_acme_run(s);
	if (last)
		return setup_failed("no certificate yet: DNS has no address for %.*s: publish the records, then run this again",
		                    STR_ARG(s->hostname));
	return true;
}

static int wait_for_dns(struct setup *s)
{
	char *argv[8] = { (char *)(uintptr_t)"doctor", str_cstr(s->a, s->domain), (char *)(uintptr_t)"--wait", (char *)(uintptr_t)"-c",
	                  (char *)(uintptr_t)s->file };
	int argc = 5;

	if (s->said.resolver != NULL) {
		argv[argc++] = (char *)(uintptr_t)"--resolver";
		argv[argc++] = (char *)(uintptr_t)s->said.resolver;
	}
	printf("\nWaiting for DNS%s.  Control-C ends the waiting and nothing else;\n`postern doctor %.*s --wait%s%s` goes on with it.\n\n",
	       s->running ? ", so that mail is signed as soon as it can be" : "", STR_ARG(s->domain),
	       str_is(s->etc, SETUP_ETC) ? "" : " -c ", str_is(s->etc, SETUP_ETC) ? "" : s->file);
	fflush(stdout);
	return verb_doctor(argc, argv);
}

static int finish(struct setup *s)
{
	bool waits = s->said.wait || (s->terminal && s->running && !s->said.no_wait);
	int status = EXIT_DONE;

	if (!get_certificate(s, false) && !waits)
		status = EXIT_FINDING;
	if (!setup_print_records(s))
		return EXIT_FINDING;
	setup_print_steps(s);
	if (s->differs)
		printf("\nFiles that differ were kept; --force writes them anew and keeps the old ones as FILE.old.\n");
	if (waits)
		status = wait_for_dns(s);
	if (status == EXIT_DONE && !get_certificate(s, true))
		status = EXIT_FINDING;
	return status;
}

static int run(struct setup *s)
{
	int status;

	if (!setup_look(s, &status))
		return status;
	if (s->said.certificate != NULL && s->there != NULL && !s->second)
		return hand_over(s);
	if (!setup_ask_dns(s, &status))
		return status;
	if (!setup_ask(s))
		return EXIT_FINDING;
	say_what_is_here(s);
	if (!make_all(s))
		return EXIT_FINDING;
	if (s->said.dry) {
		puts("\nNothing was changed.");
		return EXIT_DONE;
	}
	return finish(s);
}

int verb_setup(int argc, char **argv)
{
	struct arena a;
	struct setup s = { .a = &a };
	int status;

	if (argc > 1 && strcmp(argv[1], "--challenge") == 0)
		return setup_challenge(argc - 1, argv + 1);
	status = parse(argc, argv, &s);
	if (status >= 0)
		return status;
	umask(022);
	log_level_set(LOG_ERROR);
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	status = run(&s);
	arena_wipe(&a);
	return status;
}
