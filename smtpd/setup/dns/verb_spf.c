/* SPDX-License-Identifier: ISC */
/*
 * postern spf: one evaluation of SPF, told as a person or a program wants it.
 * The same code as the server's; a loop of its own, ended by the answer.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "modules/spf/spf.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/json.h"
#include "smtpd/base/loop.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

struct wanted {                        /* from the command line */
	const char      *ip, *helo, *mail_from, *resolver, *file;
	bool             json;
	struct spf_query query;
	struct dns_conf  dns;
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
	                          [RESOLVER] = &w->resolver };
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
			*(c == 'c' ? &w->file : values[c]) = optarg;
	}
	return EXIT_DONE;
}

static int read_words(int argc, char **argv)
{
	if (optind == argc)
		return EXIT_DONE;
	if (strcmp(argv[optind], "build") == 0 || strcmp(argv[optind], "check") == 0)
		return verb_fail(EXIT_USAGE, "spf", "this version has no `spf %s`: `postern spf --ip IP "
		                 "--helo NAME --mail-from ADDR` evaluates a domain's record and lists its terms",
		                 argv[optind]);
	return verb_misused("spf", "unexpected word \"%s\"", argv[optind]);
}

/* ---- what is to be evaluated ---------------------------------------------- */

static bool read_ip(const char *text, struct sockaddr_storage *out)
{
	struct sockaddr_in  *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		out->ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		out->ss_family = AF_INET6;
	return out->ss_family != AF_UNSPEC;
}

/* What SMTP would not take is still evaluated, split at its last @: a domain
 * that cannot be one has a result, too (RFC 7208 4.3). */
static void read_sender(struct arena *a, str text, struct path *out)
{
	size_t at;

	if (text.n >= 2 && text.p[0] == '<' && text.p[text.n - 1] == '>')
		text = str_head(str_skip(text, 1), text.n - 2);
	if (text.n == 0) {
		*out = (struct path){ .text = STR(""), .is_null = true };
		return;
	}
	if (path_of(a, text, out))
		return;
	at = str_rfind(text, '@');
	*out = (struct path){ .text = text };
	out->local = at < text.n ? str_head(text, at) : STR_NONE;
	out->domain = str_keep_lower(a, at < text.n ? str_skip(text, at + 1) : text);
}

static int read_query(struct wanted *w, struct arena *a)
{
	if (w->ip == NULL || w->helo == NULL || w->mail_from == NULL)
		return verb_misused("spf", "--ip, --helo and --mail-from are all needed");
	if (!read_ip(w->ip, &w->query.ip))
		return verb_misused("spf", "--ip %s is not an IPv4 or IPv6 address", w->ip);
	read_sender(a, str_of(w->mail_from), &w->query.sender);
	w->query.helo = str_of(w->helo);
	w->query.limits = (struct spf_limits)SPF_LIMITS_DEFAULT;
	return EXIT_DONE;
}

/* ---- who is asked --------------------------------------------------------- */

/* The configuration's resolver and host name; without a file full recursion. */
static int read_configuration(struct wanted *w, struct arena *a)
{
	const char    *file = w->file != NULL ? w->file : CONFIG_FILE;
	struct config *c;
	int            status = EXIT_DONE;

	if (w->file == NULL && access(file, R_OK) != 0)
		return EXIT_DONE;
	c = verb_config("spf", file, a, &status);
	if (c == NULL)
		return status;
	w->dns.forward = c->resolver.forward;
	w->dns.trust_anchor = config_trust_anchor(c);
	w->dns.timeout_ms = c->resolver.timeout_ms;
	w->query.receiver = c->hostname;
	return EXIT_DONE;
}

static int read_resolver(struct wanted *w, struct arena *a)
{
	struct endpoint at;

	w->dns.timeout_ms = 5000;
	if (w->resolver == NULL || w->file != NULL) {
		int status = read_configuration(w, a);

		if (status != EXIT_DONE)
			return status;
	}
	if (w->resolver == NULL)
		return EXIT_DONE;
	if (!endpoint_parse(str_of(w->resolver), 53, &at) || at.is_name || at.is_unix)
		return verb_misused("spf", "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300",
		                    w->resolver);
	w->dns.only = str_of(w->resolver);
	w->dns.trust_anchor = STR_NONE;
	w->dns.local_special = true;
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
	loop_stop(user);
}

static int evaluate(const struct wanted *w, struct loop *loop, struct arena *a)
{
	str               why = STR_NONE;
	struct spf_check *c = NULL;
	int               status = EXIT_DONE;

	loop->dns = dns_new(&w->dns, loop, a, &why);
	if (loop->dns == NULL)
		return verb_fail(EXIT_LATER, "spf", "%.*s", STR_ARG(why));
	c = spf_start(loop->dns, a, &w->query, checked, loop);
	if (c != NULL)
		loop_run(loop);
	if (spf_outcome(c) == NULL)
		status = verb_fail(EXIT_LATER, "spf", "no memory: try again later");
	else if (w->json)
		print_json(spf_outcome(c));
	else
		print_text(spf_outcome(c));
	dns_free(loop->dns);
	return status;
}

int verb_spf(int argc, char **argv)
{
	struct wanted w = { .json = false };
	struct arena  a;
	struct loop  *loop;
	int           status = read_options(argc, argv, &w);

	if (status == EXIT_DONE)
		status = read_words(argc, argv);
	if (status != EXIT_DONE)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	status = read_query(&w, &a);
	if (status == EXIT_DONE)
		status = read_resolver(&w, &a);
	if (status == EXIT_DONE) {
		loop = loop_new(0, NULL);
		status = loop != NULL ? evaluate(&w, loop, &a)
		                      : verb_fail(EXIT_LATER, "spf", "no memory: try again later");
		loop_free(loop);
	}
	arena_fini(&a);
	return status;
}
