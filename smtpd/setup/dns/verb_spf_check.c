/* SPDX-License-Identifier: ISC */
/*
 * postern spf check: a domain's SPF record drawn as a tree, with what each branch
 * costs, and below it what is wrong.
 */
#include <getopt.h>
#include <string.h>

#include "smtpd/base/json.h"
#include "smtpd/setup/dns/asking.h"
#include "smtpd/setup/dns/dns_verbs.h"
#include "smtpd/setup/verbs.h"

#define WIDTH 56        /* of the tree; counts stand right of it */

struct checking { struct asking asking; const char *domain; bool json; };

static int read_options(int argc, char **argv, struct checking *w)
{
	enum { RESOLVER, JSON };
	static const struct option options[] = {
		{ "resolver", required_argument, NULL, RESOLVER }, { "json", no_argument, NULL, JSON },
		{ "config", required_argument, NULL, 'c' }, { 0 },
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == ':' || c == '?')
			return verb_misused("spf", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
		if (c == JSON)
			w->json = true;
		else
			*(c == 'c' ? &w->asking.file : &w->asking.resolver) = optarg;
	}
	if (argc - optind != 1)
		return verb_misused("spf", "check needs one domain");
	w->domain = argv[optind];
	return EXIT_DONE;
}

/* ---- the tree ------------------------------------------------------------------------------------ */

struct ask_for { struct asking *asking; const struct spf_tree *tree; };

static void told(const struct spf_tree *t, void *user)
{
	struct ask_for *f = user;

	f->tree = t;
	asking_answered(f->asking);
}

const struct spf_tree *spf_tree_wait(struct asking *s, struct arena *a, str domain, str instead)
{
	struct ask_for f = { s, NULL };

	if (spf_tree_start_text(s->loop->dns, a, domain, instead, told, &f) == NULL)
		return NULL;
	asking_wait(s);
	return f.tree;
}

static const char *state_word(const struct spf_node *n)
{
	static const char *const words[] = {
		[SPF_NODE_RECORD] = "", [SPF_NODE_BAD] = "permerror", [SPF_NODE_SEVERAL] = "permerror: several records",
		[SPF_NODE_NO_RECORD] = "dead: no SPF record", [SPF_NODE_NXDOMAIN] = "dead: no such domain",
		[SPF_NODE_FAILED] = "no answer", [SPF_NODE_LOOP] = "a loop", [SPF_NODE_MACRO] = "depends on the sender",
		[SPF_NODE_CUT] = "not looked at",
	};

	return words[n->state];
}

static const char *term_word(const struct spf_tree_term *t)
{
	if (t->fault != NULL)
		return "cannot be read";
	if (!t->reached)
		return "never reached";
	if (t->node != NULL)
		return state_word(t->node);
	if (dns_failed(t->status))
		return "no answer";
	if (t->is_void && t->is_void6)
		return "void";
	return t->is_void ? "void for IPv4" : t->is_void6 ? "void for IPv6" : "";
}

/* What DNS gives goes to a terminal: printable ASCII alone. */
static void print_text(str s)
{
	for (size_t i = 0; i < s.n; i++)
		putchar(s.p[i] >= 0x20 && s.p[i] < 0x7f ? s.p[i] : '?');
}

static void print_counts(unsigned lookups, unsigned voids, unsigned voids6)
{
	unsigned most = voids > voids6 ? voids : voids6;

	if (lookups > 0)
		printf("%2u look-up%s", lookups, lookups == 1 ? "" : "s");
	if (most > 0)
		printf(", %u void%s", most, voids == voids6 ? "" : voids > voids6 ? " (IPv4)" : " (IPv6)");
}

static void print_node(const struct spf_node *n, struct buf *lead)
{
	for (size_t i = 0; i < n->n_terms; i++) {
		const struct spf_tree_term *t = &n->terms[i];
		bool last = i + 1 == n->n_terms;
		size_t kept = lead->n, used;
		const char *word = term_word(t);

		printf("%.*s%s", STR_ARG(buf_str(lead)), last ? "`- " : "|- ");
		print_text(t->text);
		used = lead->n + 3 + t->text.n;
		if (t->counts || *word != '\0')
			printf("%*s  ", used < WIDTH ? (int)(WIDTH - used) : 0, "");
		if (t->counts)
			print_counts(1 + (t->node != NULL ? t->node->lookups : 0), (t->is_void ? 1 : 0) + (t->node != NULL ? t->node->voids : 0),
			             (t->is_void6 ? 1 : 0) + (t->node != NULL ? t->node->voids6 : 0));
		printf("%s%s\n", *word != '\0' && t->counts ? "; " : "", word);
		if (t->node == NULL)
			continue;
		buf_addf(lead, "%s", last ? "   " : "|  ");
		print_node(t->node, lead);
		lead->n = kept;
	}
}

void spf_findings_print(const struct spf_tree *t)
{
	for (size_t i = 0; i < t->n_findings; i++) {
		const struct spf_finding *f = &t->findings[i];

		printf("\n%-8s ", spf_severity_word(f->severity));
		print_text(f->text);
		printf("\n");
		if (f->todo.n > 0) {
			printf("         -> ");
			print_text(f->todo);
			printf("\n");
		}
	}
}

static void print_tree(const struct spf_tree *t)
{
	struct buf lead;

	buf_init(&lead, 4096);
	printf("%.*s", STR_ARG(t->root->domain));
	if (*state_word(t->root) != '\0')
		printf("  (%s)", state_word(t->root));
	printf("\n");
	print_node(t->root, &lead);
	buf_fini(&lead);
	printf("\n%u of %u look-ups, %u of %u voids", t->lookups, SPF_TREE_LOOKUPS, t->voids, SPF_TREE_VOIDS);
	if (t->voids6 != t->voids)
		printf(" (%u for IPv6 senders)", t->voids6);
	if (t->root->record.n > 0)
		printf(", %zu octets", t->root->record.n);
	if (t->voids > 0 || t->voids6 > 0)
		printf("; a void is a look-up that finds nothing");
	printf("%s\n", t->incomplete ? "; some questions had no answer, so there may be more" : "");
	spf_findings_print(t);
	if (t->n_findings == 0)
		printf("Nothing is wrong with it.\n");
}

/* ---- json ------------------------------------------------------------------------------------------- */

static void add_node(struct json *to, const struct spf_node *n)
{
	static const char *const states[] = {
		[SPF_NODE_RECORD] = "record", [SPF_NODE_BAD] = "permerror", [SPF_NODE_SEVERAL] = "several", [SPF_NODE_NO_RECORD] = "no-record",
		[SPF_NODE_NXDOMAIN] = "nxdomain", [SPF_NODE_FAILED] = "failed", [SPF_NODE_LOOP] = "loop", [SPF_NODE_MACRO] = "macro",
		[SPF_NODE_CUT] = "cut",
	};
	struct json *terms;

	json_set(to, "domain", n->domain);
	json_set_c(to, "state", states[n->state]);
	json_set(to, "record", n->record.n > 0 ? n->record : STR_NONE);
	json_set_num(to, "strings", (int64_t)n->strings);
	json_set_num(to, "lookups", n->lookups);
	json_set_num(to, "voids", n->voids);
	json_set_num(to, "voids_ipv6", n->voids6);
	terms = json_set_array(to, "terms");
	for (size_t i = 0; i < n->n_terms; i++) {
		const struct spf_tree_term *t = &n->terms[i];
		struct json *one = json_add_object(terms);

		json_set(one, "term", t->text);
		json_set_c(one, "fault", t->fault);
		json_set_bool(one, "reached", t->fault == NULL && t->reached);
		json_set_num(one, "lookups", t->counts ? 1 + (t->node != NULL ? t->node->lookups : 0) : 0);
		json_set_bool(one, "void", t->is_void);
		json_set_bool(one, "void_ipv6", t->is_void6);
		if (t->node != NULL)
			add_node(json_set_object(one, "leads_to"), t->node);
	}
}

void spf_findings_json(const struct spf_tree *t, struct json *object)
{
	struct json *list = json_set_array(object, "findings");

	for (size_t i = 0; i < t->n_findings; i++) {
		struct json *one = json_add_object(list);

		json_set_c(one, "severity", spf_severity_word(t->findings[i].severity));
		json_set(one, "domain", t->findings[i].domain);
		json_set(one, "text", t->findings[i].text);
		json_set(one, "todo", t->findings[i].todo.n > 0 ? t->findings[i].todo : STR_NONE);
	}
}

static void print_json(const struct spf_tree *t)
{
	struct json *root = json_new_object();

	json_set(root, "domain", t->root->domain);
	json_set_num(root, "lookups", t->lookups);
	json_set_num(root, "lookups_allowed", SPF_TREE_LOOKUPS);
	json_set_num(root, "voids", t->voids);
	json_set_num(root, "voids_ipv6", t->voids6);
	json_set_num(root, "voids_allowed", SPF_TREE_VOIDS);
	json_set_num(root, "length", (int64_t)t->root->record.n);
	json_set_bool(root, "incomplete", t->incomplete);
	add_node(json_set_object(root, "tree"), t->root);
	spf_findings_json(t, root);
	json_print(root, stdout);
}

/* ---- the verb ---------------------------------------------------------------------------------------- */

static int check(struct checking *w, struct arena *a)
{
	const struct spf_tree *t;
	str domain;
	int status;

	if (!domain_to_ascii(a, str_of(w->domain), &domain))
		return verb_misused("spf", "\"%s\" is not a domain name", w->domain);
	status = asking_open(&w->asking, a);
	if (status != EXIT_DONE)
		return status;
	t = spf_tree_wait(&w->asking, a, domain, STR_NONE);
	if (t == NULL)
		status = verb_fail(EXIT_LATER, "spf", "no memory: try again later");
	else if (w->json)
		print_json(t);
	else
		print_tree(t);
	if (t != NULL)
		status = t->faults > 0 ? EXIT_FINDING : t->root->state == SPF_NODE_FAILED ? EXIT_LATER : EXIT_DONE;
	asking_close(&w->asking);
	return status;
}

int verb_spf_check(int argc, char **argv)
{
	struct checking w = { .asking = { .verb = "spf" } };
	struct arena a;
	int status = read_options(argc, argv, &w);

	if (status != EXIT_DONE)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	status = check(&w, &a);
	arena_fini(&a);
	return status;
}
