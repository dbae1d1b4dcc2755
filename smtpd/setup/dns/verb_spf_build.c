/* SPDX-License-Identifier: ISC */
/*
 * postern spf build: who sends for the domain, as an SPF record.  On a terminal it
 * asks; otherwise, or when an option says it, everything comes from options.  The
 * record is read as if it were published, so that its look-ups are counted and what
 * it says twice is found before anybody sees it.
 */
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/json.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/dns/asking.h"
#include "smtpd/setup/dns/dns_verbs.h"
#include "smtpd/setup/dns/record_forms.h"
#include "smtpd/setup/verbs.h"

#define MOST 100         /* networks, and as many includes */

struct building {
	struct asking asking;
	const char *domain, *all;
	bool  json, said;        /* said: an option names who sends */
	bool  mx, a;
	str   ips[MOST], includes[MOST];
	size_t n_ips, n_includes;
	struct arena arena;
};

/* ---- what is said ------------------------------------------------------------------------------- */

static bool take_network(struct building *b, str text, str *why)
{
	struct cidr net;

	if (!cidr_parse(text, &net, &b->arena, why))
		return false;
	if (b->n_ips == MOST) {
		*why = STR("is one too many: 100 are taken");
		return false;
	}
	b->ips[b->n_ips++] = arena_printf(&b->arena, "%s:%.*s", net.v4 ? "ip4" : "ip6", STR_ARG(cidr_text(&b->arena, &net)));
	return true;
}

static bool take_include(struct building *b, str text, str *why)
{
	str name;

	if (str_starts_nocase(text, "include:"))
		text = str_skip(text, sizeof("include:") - 1);
	if (!domain_to_ascii(&b->arena, text, &name)) {
		*why = STR("must be a domain name, as _spf.example.net");
		return false;
	}
	if (b->n_includes == MOST) {
		*why = STR("is one too many: 100 are taken");
		return false;
	}
	b->includes[b->n_includes++] = name;
	return true;
}

static bool take_all(struct building *b, const char *word)
{
	static const struct { const char *word, *term; } ends[] = { { "fail", "-all" }, { "softfail", "~all" } };

	for (size_t i = 0; i < COUNT(ends); i++)
		if (strcmp(word, ends[i].word) == 0 || strcmp(word, ends[i].term) == 0) {
			b->all = ends[i].term;
			return true;
		}
	return false;
}

static int read_options(int argc, char **argv, struct building *b)
{
	enum { MX, A, IP, INCLUDE, ALL, RESOLVER, JSON };
	static const struct option options[] = {
		{ "mx", no_argument, NULL, MX }, { "a", no_argument, NULL, A }, { "ip", required_argument, NULL, IP },
		{ "include", required_argument, NULL, INCLUDE }, { "all", required_argument, NULL, ALL },
		{ "resolver", required_argument, NULL, RESOLVER }, { "json", no_argument, NULL, JSON },
		{ "config", required_argument, NULL, 'c' }, { 0 },
	};
	str why = STR_NONE;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == ':' || c == '?')
			return verb_misused("spf", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
		if (c == IP && !take_network(b, str_of(optarg), &why))
			return verb_misused("spf", "--ip %s %.*s", optarg, STR_ARG(why));
		if (c == INCLUDE && !take_include(b, str_of(optarg), &why))
			return verb_misused("spf", "--include %s %.*s", optarg, STR_ARG(why));
		if (c == ALL && !take_all(b, optarg))
			return verb_misused("spf", "--all %s must be fail or softfail", optarg);
		b->mx = b->mx || c == MX;
		b->a = b->a || c == A;
		b->json = b->json || c == JSON;
		b->said = b->said || c == MX || c == A || c == IP || c == INCLUDE || c == ALL;
		if (c == 'c' || c == RESOLVER)
			*(c == 'c' ? &b->asking.file : &b->asking.resolver) = optarg;
	}
	if (argc - optind > 1)
		return verb_misused("spf", "unexpected word \"%s\"", argv[optind + 1]);
	b->domain = optind < argc ? argv[optind] : NULL;
	return EXIT_DONE;
}

/* ---- questions on a terminal ----------------------------------------------------------------------- */

static bool ask(const char *question, char *line, size_t room, str *out)
{
	fprintf(stderr, "%s ", question);
	fflush(stderr);
	if (fgets(line, (int)room, stdin) == NULL)
		return false;
	*out = str_trim(str_of(line));
	return true;
}

static bool ask_yes(const char *question, bool otherwise, bool *out)
{
	char line[100];
	str said;

	for (;;) {
		if (!ask(question, line, sizeof(line), &said))
			return false;
		*out = said.n == 0 ? otherwise : to_lower(said.p[0]) == 'y';
		if (said.n == 0 || to_lower(said.p[0]) == 'y' || to_lower(said.p[0]) == 'n')
			return true;
		fprintf(stderr, "  y or n, please.\n");
	}
}

static bool ask_each(struct building *b, const char *question, bool (*take)(struct building *, str, str *))
{
	char line[300];
	str said, why = STR_NONE;

	for (;;) {
		if (!ask(question, line, sizeof(line), &said))
			return false;
		if (said.n == 0)
			return true;
		if (!take(b, said, &why))
			fprintf(stderr, "  %.*s %.*s.\n", STR_ARG(said), STR_ARG(why));
	}
}

static bool ask_all(struct building *b)
{
	bool sure;

	if (!ask_yes("Do the servers that receive mail for the domain (its MX) send it, too? [Y/n]", true, &b->mx) ||
	    !ask_yes("Does the machine send that the domain name itself leads to (a web server)? [y/N]", false, &b->a) ||
	    !ask_each(b, "Another address or network that sends, as 192.0.2.0/24; empty: none:", take_network) ||
	    !ask_each(b, "A provider that sends for you, by the name it gives for include:; empty: none:", take_include) ||
	    !ask_yes("Is that everybody, for sure? No: receivers only mark mail from elsewhere. [y/N]", false, &sure))
		return false;
	b->all = sure ? "-all" : "~all";
	return true;
}

/* ---- the record --------------------------------------------------------------------------------------- */

static str compose(struct building *b)
{
	struct buf text;
	str record;

	buf_init(&text, 64 << 10);
	buf_add(&text, STR("v=spf1"));
	if (b->mx)
		buf_add(&text, STR(" mx"));
	if (b->a)
		buf_add(&text, STR(" a"));
	for (size_t i = 0; i < b->n_ips; i++)
		buf_addf(&text, " %.*s", STR_ARG(b->ips[i]));
	for (size_t i = 0; i < b->n_includes; i++)
		buf_addf(&text, " include:%.*s", STR_ARG(b->includes[i]));
	buf_addf(&text, " %s", b->all != NULL ? b->all : "~all");
	record = text.failed ? STR_NONE : str_keep(&b->arena, buf_str(&text));
	buf_fini(&text);
	return record;
}

static str note_of(struct building *b)
{
	if (!b->mx && !b->a && b->n_ips == 0 && b->n_includes == 0)
		return STR("SPF: nobody sends for the domain");
	return b->all != NULL && strcmp(b->all, "-all") == 0
	       ? STR("SPF: these send for the domain, and nobody else")
	       : STR("SPF: these send for the domain; make ~all -all once you are sure that they are all");
}

static void print(struct building *b, const struct dns_record *r, const struct spf_tree *t)
{
	record_print_forms(r, r->name, &b->arena);
	if (t->published.n > 0 && !str_eq(t->published, r->value))
		printf("\nIt takes the place of the record that is published now:\n  %.*s\n", STR_ARG(t->published));
	printf("\n%u of %u look-ups, %u of %u voids%s%s\n", t->lookups, SPF_TREE_LOOKUPS, t->voids, SPF_TREE_VOIDS,
	       t->voids > 0 ? "; a void is a look-up that finds nothing" : "",
	       t->incomplete ? "; some questions had no answer, so there may be more" : "");
	spf_findings_print(t);
}

static void print_json(struct building *b, const struct dns_record *r, const struct spf_tree *t)
{
	struct json *root = json_new_object();

	json_set(root, "domain", r->name);
	dns_record_json(r, r->name, &b->arena, json_set_object(root, "record"));
	json_set(root, "published", t->published.n > 0 ? t->published : STR_NONE);
	json_set_num(root, "lookups", t->lookups);
	json_set_num(root, "voids", t->voids);
	json_set_bool(root, "incomplete", t->incomplete);
	spf_findings_json(t, root);
	json_print(root, stdout);
}

static int build(struct building *b, str domain)
{
	struct dns_record r = { .name = domain, .type = "TXT", .note = note_of(b) };
	const struct spf_tree *t;

	r.value = compose(b);
	t = r.value.n > 0 ? spf_tree_wait(&b->asking, &b->arena, domain, r.value) : NULL;
	if (t == NULL)
		return verb_fail(EXIT_LATER, "spf", "no memory: try again later");
	if (b->json)
		print_json(b, &r, t);
	else
		print(b, &r, t);
	return t->faults > 0 ? EXIT_FINDING : EXIT_DONE;
}

/* The one named, or the configuration's only one. */
static int choose_domain(struct building *b, str *domain)
{
	const struct config *c = b->asking.config;

	if (b->domain != NULL)
		return domain_to_ascii(&b->arena, str_of(b->domain), domain)
		       ? EXIT_DONE : verb_misused("spf", "\"%s\" is not a domain name", b->domain);
	if (c == NULL || c->domains.n != 1)
		return verb_misused("spf", "build needs a domain");
	*domain = ((const struct domain_section *)c->domains.v[0])->name;
	return EXIT_DONE;
}

int verb_spf_build(int argc, char **argv)
{
	struct building b = { .asking = { .verb = "spf", .wants_config = true } };
	str domain = STR_NONE;
	int status;

	arena_init(&b.arena, ARENA_UNBOUNDED);
	status = read_options(argc, argv, &b);
	if (status == EXIT_DONE && !b.said && !isatty(STDIN_FILENO))
		status = verb_misused("spf", "build needs to know who sends: --mx, --a, --ip NETWORK, --include DOMAIN, or --all fail alone "
		                      "for a domain that sends nothing");
	if (status == EXIT_DONE)
		status = asking_open(&b.asking, &b.arena);
	if (status == EXIT_DONE)
		status = choose_domain(&b, &domain);
	if (status == EXIT_DONE && !b.said && !ask_all(&b))
		status = verb_fail(EXIT_FINDING, "spf", "no answers any more: nothing was written");
	if (status == EXIT_DONE)
		status = build(&b, domain);
	asking_close(&b.asking);
	arena_fini(&b.arena);
	return status;
}
