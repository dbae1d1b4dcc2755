/* SPDX-License-Identifier: ISC */
/*
 * postern key prepare|rotate|step: the calendar of managed keys moved on.  The
 * running server is asked to do it; without one it is done here.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/control.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/key_inside.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

struct asked {
	const char    *file, *domain_text, *now_text;
	enum step_wish wish;
	bool           hasty, json;
	int64_t        now;
	str            domain;
};

/* ---- words --------------------------------------------------------------------------- */

static int parse(int argc, char **argv, enum step_wish wish, struct asked *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "force", no_argument, NULL, 'f' },
		{ "now", required_argument, NULL, 'n' }, { 0 },
	};
	uint64_t now;
	int c;

	*out = (struct asked){ .file = CONFIG_FILE, .wish = wish };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			out->file = optarg;
		else if (c == 'f' && wish == STEP_ROTATE)
			out->hasty = true;
		else if (c == 'n' && wish != STEP_PREPARE)
			out->now_text = optarg;
		else
			return verb_misused("key", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
	}
	if (argc - optind > 1 || (optind == argc && wish != STEP_TURN))
		return verb_misused("key", "%s needs a domain and nothing else", argv[0]);
	out->domain_text = optind < argc ? argv[optind] : NULL;
	out->now = clock_wall();
	if (out->now_text != NULL) {
		if (!str_to_u64(str_of(out->now_text), &now) || now > (uint64_t)1 << 40)
			return verb_misused("key", "--now %s is no number of seconds since 1970", out->now_text);
		out->now = (int64_t)now;
	}
	return -1;
}

/* ---- telling --------------------------------------------------------------------------- */

str key_step_text(const struct step *s, struct arena *a)
{
	str out = STR("");

	for (size_t i = 0; i < s->told.n; i++)
		out = arena_printf(a, "%.*s%.*s: %s: %.*s\n", STR_ARG(out), STR_ARG(s->told.v[i].selector),
		                   life_event_word(s->told.v[i].event) + 4, STR_ARG(s->told.v[i].text));
	if (s->changed > 0)
		out = arena_printf(a, "%.*s%zu record%s written to %.*s\n", STR_ARG(out), s->changed, s->changed == 1 ? "" : "s",
		                   STR_ARG(s->plan.update->server));
	if (s->trouble.n > 0)
		out = arena_printf(a, "%.*swarning: %.*s\n", STR_ARG(out), STR_ARG(s->trouble));
	{
		str summary = life_summary(&s->plan.life, &s->book, s->now, a);

		return arena_printf(a, "%.*s%.*s: %.*s\n", STR_ARG(out), STR_ARG(s->plan.domain), STR_ARG(summary));
	}
}

void key_print_wanted(const struct key_plan *p, const struct life_key *k)
{
	str text = life_record_text(&p->life, k);

	if (k->state == LIFE_REMOVED)
		return;
	if (text.n > 0)
		key_file_print_record(p->domain, k->selector, text, stdout);
	else
		printf("; to be removed: %.*s._domainkey.%.*s.\n", STR_ARG(k->selector), STR_ARG(p->domain));
}

/* ---- doing ------------------------------------------------------------------------------ */

static int take_one(const struct asked *asked, const struct config *c, const struct domain_section *d, struct arena *a)
{
	struct step s = { .config = c, .domain = d, .arena = a, .wish = asked->wish, .hasty = asked->hasty, .now = asked->now };
	str why = STR_NONE, text;
	enum err e;

	if (isatty(STDERR_FILENO))
		fprintf(stderr, "%.*s …\n", STR_ARG(d->name));
	e = step_take(&s, &why);
	if (e == OK || e == ERR_DENIED) {
		text = s.plan.folder.n > 0 ? key_step_text(&s, a) : STR_NONE;
		fwrite(text.p, 1, text.n, stdout);
	}
	if (e != OK)
		return verb_fail(EXIT_FINDING, "key", "%.*s: %.*s", STR_ARG(d->name), STR_ARG(why));
	return s.trouble.n > 0 ? EXIT_FINDING : EXIT_DONE;
}

static int take_all(const struct asked *asked, const struct config *c, struct arena *a)
{
	int worst = EXIT_DONE;
	size_t n = 0;

	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];
		int status;

		if ((asked->domain.n > 0 && !str_eq(asked->domain, d->name)) || (asked->domain.n == 0 && !d->keys.head.given))
			continue;
		n++;
		status = take_one(asked, c, d, a);
		worst = status > worst ? status : worst;
	}
	if (n == 0 && asked->domain.n > 0)
		return verb_fail(EXIT_FINDING, "key", "%s has no domain \"%s\": add domain \"%s\" { keys {} }", asked->file,
		                 asked->domain_text, asked->domain_text);
	if (n == 0)
		return verb_fail(EXIT_FINDING, "key", "no domain in %s has a section keys: add keys {} to one", asked->file);
	return worst;
}

/* -1: no server is there. */
static int ask_server(const struct asked *asked, const struct config *c, struct arena *a)
{
	static const char *const names[] = { [STEP_TURN] = "step", [STEP_ROTATE] = "rotate", [STEP_PREPARE] = "prepare" };
	const char *words[5] = { "key", names[asked->wish] };
	char *text = NULL;
	size_t n = 2, length = 0;
	FILE *answer = open_memstream(&text, &length);
	int status;

	if (answer == NULL)
		return -1;
	if (asked->domain.n > 0)
		words[n++] = str_cstr(a, asked->domain);
	if (asked->hasty)
		words[n++] = "--force";
	if (asked->now_text != NULL)
		words[n++] = "--now";
	status = control_ask(str_cstr(a, server_control_path(c, a)), words, n, answer);
	fclose(answer);
	if (status == EXIT_DONE)
		fwrite(text, 1, length, stdout);
	else if (status > 0)
		verb_fail(status, "key", "%.*s", STR_ARG(str_trim((str){ text, length })));
	free(text);
	return status;
}

static int do_it(int argc, char **argv, enum step_wish wish)
{
	struct asked asked;
	struct arena a;
	struct config *c;
	int status = parse(argc, argv, wish, &asked);

	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	if (asked.domain_text != NULL && !domain_to_ascii(&a, str_of(asked.domain_text), &asked.domain))
		status = verb_misused("key", "\"%s\" is not a domain name", asked.domain_text);
	c = status < 0 ? verb_config("key", asked.file, &a, &status) : NULL;
	if (c != NULL)
		status = ask_server(&asked, c, &a);
	if (c != NULL && status < 0)
		status = take_all(&asked, c, &a);
	arena_fini(&a);
	return status;
}

int verb_key_prepare(int argc, char **argv) { return do_it(argc, argv, STEP_PREPARE); }
int verb_key_rotate(int argc, char **argv)  { return do_it(argc, argv, STEP_ROTATE); }
int verb_key_step(int argc, char **argv)    { return do_it(argc, argv, STEP_TURN); }
