/* SPDX-License-Identifier: ISC */
/*
 * postern spf: one evaluation of SPF, told as a person or a program wants it.
 * The same code as the server's; a loop of its own, ended by the answer.
 */
#include <getopt.h>
#include <string.h>

#include "modules/spf/spf.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/dns/asking.h"
#include "smtpd/setup/dns/dns_verbs.h"
#include "smtpd/setup/envelope_words.h"
#include "smtpd/setup/verbs.h"

struct wanted {                        /* from the command line */
	const char      *ip, *helo, *mail_from;
	bool             json;
	struct spf_query query;
	struct asking    asking;
};

static int read_options(int argc, char **argv, struct wanted *w)
{
	enum { IP, HELO, MAIL_FROM, RESOLVER, JSON };
	static const struct option options[] = {
		{ "ip", required_argument, NULL, IP },
		{ "helo", required_argument, NULL, HELO },
		{ "mail-from", required_argument, NULL, MAIL_FROM },
		{ "resolver", required_argument, NULL, RESOLVER },
		{ "json", no_argument, NULL, JSON },
		{ "config", required_argument, NULL, 'c' },
		{ 0 },
	};
	const char **values[] = { [IP] = &w->ip, [HELO] = &w->helo, [MAIL_FROM] = &w->mail_from,
	                          [RESOLVER] = &w->asking.resolver };
	int          c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+:c:", options, NULL)) != -1) {
		if (c == ':')
			return verb_misused("spf", "%s needs a value", argv[optind - 1]);
		if (c == '?')
			return verb_misused("spf", "unknown option %s", argv[optind - 1]);
		if (c == JSON)
			w->json = true;
		else
			*(c == 'c' ? &w->asking.file : values[c]) = optarg;
	}
	if (optind < argc)
		return verb_misused("spf", "unexpected word \"%s\"", argv[optind]);
	return EXIT_DONE;
}

/* ---- what is to be evaluated ---------------------------------------------- */

static int read_query(struct wanted *w, struct arena *a)
{
	if (w->ip == NULL || w->helo == NULL || w->mail_from == NULL)
		return verb_misused("spf", "--ip, --helo and --mail-from are all needed");
	if (!envelope_ip(w->ip, &w->query.ip))
		return verb_misused("spf", "--ip %s is not an IPv4 or IPv6 address", w->ip);
	envelope_path(a, str_of(w->mail_from), &w->query.sender);
	w->query.helo = str_of(w->helo);
	w->query.limits = (struct spf_limits)SPF_LIMITS_DEFAULT;
	return EXIT_DONE;
}

/* ---- what came of it ------------------------------------------------------ */

static str or_null(str s)
{
	return s.n > 0 ? s : STR_NONE;
}

static void print_json(const struct spf_outcome *o)
{
	struct json *root = json_new_object(), *terms;

	json_set_c(root, "result", spf_result_word(o->result));
	json_set(root, "domain", o->domain.n > 0 ? o->domain : STR(""));
	json_set_c(root, "scope", o->scope == SPF_HELO ? "helo" : "mfrom");
	json_set(root, "mechanism", or_null(o->mechanism));
	json_set(root, "explanation", or_null(o->explanation));
	json_set(root, "reason", or_null(o->reason));
	json_set_num(root, "lookups", o->lookups);
	json_set_num(root, "voids", o->voids);
	terms = json_set_array(root, "terms");
	for (size_t i = 0; i < o->nterms; i++) {
		struct json *t = json_add_object(terms);

		json_set(t, "term", o->terms[i].text);
		json_set(t, "domain", o->terms[i].domain);
		json_set_num(t, "depth", o->terms[i].depth);
		json_set_num(t, "lookups", o->terms[i].lookups);
		json_set(t, "outcome", o->terms[i].outcome);
	}
	json_print(root, stdout);
}

static void print_text(const struct spf_outcome *o)
{
	printf("%s\n%.*s\n", spf_result_word(o->result), STR_ARG(o->reason));
	if (o->explanation.n > 0)
		printf("The domain's owner says: %.*s\n", STR_ARG(o->explanation));
	if (o->nterms > 0)
		printf("\nTerms, in order; %u that asked DNS, %u of them in vain:\n", o->lookups,
		       o->voids);
	for (size_t i = 0; i < o->nterms; i++)
		printf("  %*s%-*.*s  %.*s\n", (int)(2 * o->terms[i].depth), "",
		       40 - (int)(2 * o->terms[i].depth),
		       STR_ARG(o->terms[i].text), STR_ARG(o->terms[i].outcome));
}

static void checked(struct spf_check *c, void *user)
{
	(void)c;
	asking_answered(user);
}

static int evaluate(struct wanted *w, struct arena *a)
{
	struct spf_check *c;
	int               status = asking_open(&w->asking, a);

	if (status != EXIT_DONE)
		return status;
	if (w->asking.config != NULL)
		w->query.receiver = w->asking.config->hostname;
	c = spf_start(w->asking.loop->dns, a, &w->query, checked, &w->asking);
	if (c != NULL)
		asking_wait(&w->asking);
	if (spf_outcome(c) == NULL)
		status = verb_fail(EXIT_LATER, "spf", "no memory: try again later");
	else if (w->json)
		print_json(spf_outcome(c));
	else
		print_text(spf_outcome(c));
	asking_close(&w->asking);
	return status;
}

int verb_spf(int argc, char **argv)
{
	struct wanted w = { .asking = { .verb = "spf" } };
	struct arena  a;
	int           status;

	if (argc > 1 && strcmp(argv[1], "check") == 0)
		return verb_spf_check(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "build") == 0)
		return verb_spf_build(argc - 1, argv + 1);
	status = read_options(argc, argv, &w);
	if (status != EXIT_DONE)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	status = read_query(&w, &a);
	if (status == EXIT_DONE)
		status = evaluate(&w, &a);
	arena_fini(&a);
	return status;
}
