/* SPDX-License-Identifier: ISC */
/*
 * postern doctor: this host and its domains, or one domain that is somebody
 * else's, looked at from here; what is wrong, and how to mend it.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/doctor/practice.h"
#include "smtpd/setup/verbs.h"

#define VERB "doctor"

struct asked {
	const char *file, *resolver, *only, *domain;
	bool        json, wait, outside;
	uint64_t    for_ms;
};

static int parse(int argc, char **argv, struct asked *out)
{
	enum { JSON = 1, WAIT, OUTSIDE, ONLY, RESOLVER, FOR };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, JSON }, { "wait", no_argument, NULL, WAIT },
		{ "outside", no_argument, NULL, OUTSIDE }, { "only", required_argument, NULL, ONLY },
		{ "resolver", required_argument, NULL, RESOLVER }, { "for", required_argument, NULL, FOR }, { 0 },
	};
	int c;

	*out = (struct asked){ 0 };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == ':' || c == '?')
			return verb_misused(VERB, c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
		out->json = out->json || c == JSON;
		out->wait = out->wait || c == WAIT;
		out->outside = out->outside || c == OUTSIDE;
		if (c == 'c')
			out->file = optarg;
		else if (c == ONLY)
			out->only = optarg;
		else if (c == RESOLVER)
			out->resolver = optarg;
		else if (c == FOR && (!conf_time(str_of(optarg), &out->for_ms) || out->for_ms == 0))
			return verb_misused(VERB, "--for %s is no time, as 30m", optarg);
	}
	if (argc - optind > 1)
		return verb_misused(VERB, "unexpected word \"%s\"", argv[optind + 1]);
	if (out->for_ms > 0 && !out->wait)
		return verb_misused(VERB, "--for goes with --wait");
	out->domain = optind < argc ? argv[optind] : NULL;
	return -1;
}

/* Names of checks between commas. */
static int read_only(const struct asked *asked, struct arena *a, struct strs *out)
{
	str rest = str_of(asked->only), name;

	out->v = ARENA_ARRAY(a, str, rest.n + 1);
	while (asked->only != NULL && out->v != NULL && str_cut(&rest, ',', &name)) {
		if (doctor_check(str_trim(name)) == NULL)
			return verb_misused(VERB, "there is no check \"%.*s\"", STR_ARG(name));
		out->v[out->n++] = str_trim(name);
	}
	return -1;
}

/* ---- a domain, a configuration --------------------------------------------------------------------------- */

static int find_config(const struct asked *asked, struct practice *p)
{
	const char *file = asked->file != NULL ? asked->file : CONFIG_FILE;
	int status = -1;

	if (asked->file == NULL && access(file, R_OK) != 0 && asked->domain != NULL)
		return -1;
	p->config = verb_config(VERB, file, p->arena, &status);
	return p->config != NULL ? -1 : status;
}

static int find_domains(const struct asked *asked, struct practice *p)
{
	const struct config *c = p->config;
	str one;

	p->domains.v = ARENA_ARRAY(p->arena, str, 1 + (c != NULL ? c->domains.n : 0));
	if (asked->domain != NULL) {
		if (!domain_to_ascii(p->arena, str_of(asked->domain), &one) || !str_holds(one, '.'))
			return verb_misused(VERB, "\"%s\" is not a domain name", asked->domain);
		p->domains.v[p->domains.n++] = one;
		p->strange = c == NULL || !config_domain_is_local((void *)(uintptr_t)c, one);
		return -1;
	}
	for (size_t i = 0; i < c->domains.n; i++)
		p->domains.v[p->domains.n++] = ((const struct domain_section *)c->domains.v[i])->name;
	return -1;
}

/* ---- showing ------------------------------------------------------------------------------------------------ */

static size_t terminal_width(void)
{
	struct winsize w;

	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 60 ? w.ws_col : 0;
}

static void show_progress(struct doctor *d)
{
	fprintf(stderr, "\r%zu of %zu checks", d->finished, d->n);
	if (d->finished == d->n)
		fprintf(stderr, "\r%*s\r", 40, "");
}

static int show(struct doctor *d, void *arg)
{
	const struct asked *asked = arg;
	size_t counts[DOCTOR_FAULT + 1];

	if (asked->json)
		doctor_print_json(d, stdout);
	else
		doctor_print(d, stdout, terminal_width());
	doctor_count(d, counts);
	return counts[DOCTOR_FAULT] > 0 ? EXIT_FINDING : EXIT_DONE;
}

static int run(struct asked *asked, struct practice *p)
{
	struct doctor d = { .arena = p->arena, .outside = asked->outside };
	str why = STR("out of memory");
	int status = read_only(asked, p->arena, &d.only);

	status = status >= 0 ? status : find_config(asked, p);
	status = status >= 0 ? status : find_domains(asked, p);
	if (status >= 0)
		return status;
	if (asked->wait && p->strange)
		return verb_fail(EXIT_USAGE, VERB, "--wait watches the records of this server's own domains: name one of them, or none");
	if (practice_open(p, asked->resolver, &why) != OK)
		return verb_fail(EXIT_FINDING, VERB, "%.*s", STR_ARG(why));
	if (asked->wait)
		return practice_wait(p, asked->json, asked->for_ms);
	d.progressed = !asked->json && isatty(STDERR_FILENO) ? show_progress : NULL;
	return practice_round(p, &d, show, asked);
}

int verb_doctor(int argc, char **argv)
{
	struct asked asked;
	struct arena a;
	struct practice p = { .arena = &a };
	int status = parse(argc, argv, &asked);

	if (status >= 0)
		return status;
	log_level_set(LOG_ERROR);        /* what rooms below have to say is among the findings */
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	status = run(&asked, &p);
	arena_fini(&a);
	return status;
}
