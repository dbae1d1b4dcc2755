/* SPDX-License-Identifier: ISC */
/*
 * postern dns: the records that the configuration calls for, to be pasted: as a
 * zone file, a line each, as the fields of a web form, as JSON; then the documents that mail
 * programs and other servers fetch.
 */
#include <getopt.h>
#include <string.h>

#include "smtpd/setup/dns/record_forms.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/verbs.h"

enum format { FORM, TEXT, ZONE, JSON };

struct asked { const char *file, *domain; enum format format; };

static int parse(int argc, char **argv, struct asked *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "format", required_argument, NULL, 'f' }, { 0 },
	};
	static const char *const formats[] = { [FORM] = "form", [TEXT] = "text", [ZONE] = "zone", [JSON] = "json" };
	int c;

	*out = (struct asked){ .file = CONFIG_FILE };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		size_t i = 0;

		if (c == 'c') {
			out->file = optarg;
			continue;
		}
		if (c != 'f')
			return verb_misused("dns", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
		while (i < COUNT(formats) && strcmp(optarg, formats[i]) != 0)
			i++;
		if (i == COUNT(formats))
			return verb_misused("dns", "\"%s\" is no format: form, text, zone or json", optarg);
		out->format = (enum format)i;
	}
	if (argc - optind > 1)
		return verb_misused("dns", "unexpected word \"%s\"", argv[optind + 1]);
	out->domain = optind < argc ? argv[optind] : NULL;
	return -1;
}

/* ---- texts ------------------------------------------------------------------------------------------ */

static void print_documents(const struct autoconfig *told, struct arena *a, const char *before)
{
	const struct { const char *host, *path; str text; } documents[] = {
		{ "autoconfig", "/mail/config-v1.1.xml", autoconfig_thunderbird(told, a) },
		{ "autodiscover", "/autodiscover/autodiscover.xml", autoconfig_outlook(told, STR_NONE, a) },
		{ "mta-sts", "/.well-known/mta-sts.txt", told->sts == WEB_STS_OFF ? STR_NONE : autoconfig_policy(told, a) },
	};

	for (size_t i = 0; i < COUNT(documents); i++) {
		str rest = documents[i].text, line;

		if (rest.n == 0)
			continue;
		printf("\n%shttps://%s.%.*s%s\n", before, documents[i].host, STR_ARG(told->domain), documents[i].path);
		while (str_cut(&rest, '\n', &line))
			if (rest.p != NULL || line.n > 0)
				printf("%s    %.*s\n", before, STR_ARG(str_head(line, str_find(line, '\r'))));
	}
}

/* What lies in somebody else's zone is a comment: a server would ignore it, or
 * refuse the file. */
static void print_zone(const struct dns_records *all, const struct autoconfig *told, struct arena *a)
{
	printf("; %.*s\n", STR_ARG(told->domain));
	for (size_t i = 0; i < all->n; i++) {
		const struct dns_record *r = &all->v[i];
		str line = dns_record_zone(r, a);

		printf("\n; %.*s\n", STR_ARG(r->note));
		if (r->ask_of.n > 0)
			printf("; ask %.*s, for\n; ", STR_ARG(r->ask_of));
		printf("%.*s\n", STR_ARG(line));
	}
	printf("\n");
	for (size_t i = 0; i < all->todo.n; i++)
		printf("; %.*s\n", STR_ARG(all->todo.v[i]));
	print_documents(told, a, "; ");
	printf("\n");
}

static void print_text(const struct dns_records *all, const struct autoconfig *told, struct arena *a)
{
	(void)told;
	for (size_t i = 0; i < all->n; i++) {
		str line = dns_record_line(&all->v[i], a);

		printf("%.*s\n", STR_ARG(line));
	}
}

static void print_form(const struct dns_records *all, const struct autoconfig *told, struct arena *a)
{
	printf("%.*s\n\n", STR_ARG(told->domain));
	for (size_t i = 0; i < all->n; i++) {
		dns_record_print_form(&all->v[i], told->domain, a, stdout);
		printf("\n");
	}
	for (size_t i = 0; i < all->todo.n; i++)
		printf("%.*s.\n", STR_ARG(all->todo.v[i]));
	printf("\n%s\n", told->served ? "These documents are served, for mail programs and other mail servers:"
	                              : "These documents would be served if web {} had an address:");
	print_documents(told, a, "");
	printf("\n");
}

static void add_json(struct json *list, const struct dns_records *all, const struct autoconfig *told, struct arena *a)
{
	struct json *d = json_add_object(list), *records, *elsewhere, *todo, *documents;

	json_set(d, "domain", told->domain);
	records = json_set_array(d, "records");
	elsewhere = json_set_array(d, "elsewhere");
	for (size_t i = 0; i < all->n; i++)
		dns_record_json(&all->v[i], told->domain, a, json_add_object(all->v[i].ask_of.n > 0 ? elsewhere : records));
	todo = json_set_array(d, "todo");
	for (size_t i = 0; i < all->todo.n; i++)
		json_add(todo, all->todo.v[i]);
	documents = json_set_object(d, "documents");
	json_set_bool(documents, "served", told->served);
	json_set(documents, "autoconfig", autoconfig_thunderbird(told, a));
	json_set(documents, "autodiscover", autoconfig_outlook(told, STR_NONE, a));
	json_set(documents, "mta_sts", told->sts == WEB_STS_OFF ? STR_NONE : autoconfig_policy(told, a));
}

/* ---- the verb ------------------------------------------------------------------------------------------- */

static int read_managed(const struct config *c, str domain, struct dns_wanted *wanted, struct arena *a)
{
	struct key_record *managed = NULL;
	str why = STR_NONE;

	wanted->n_managed = 0;
	if (key_records(c, domain, a, &managed, &wanted->n_managed, &why) != OK)
		return verb_fail(EXIT_FINDING, "dns", "%.*s", STR_ARG(why));
	wanted->managed = managed;
	return EXIT_DONE;
}

static int tell(const struct asked *asked, const struct config *c, struct dns_wanted *wanted, str only, struct arena *a)
{
	int status = EXIT_DONE;
	struct json *root = asked->format == JSON ? json_new_object() : NULL, *list = NULL;

	if (root != NULL) {
		json_set(root, "hostname", c->hostname);
		list = json_set_array(root, "domains");
	}
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];
		struct autoconfig told;
		struct dns_records all;

		if (only.n > 0 && !str_eq(d->name, only))
			continue;
		autoconfig_of(c, d->name, a, &told);
		status = read_managed(c, d->name, wanted, a);
		if (status != EXIT_DONE)
			break;
		if (dns_records_make(c, d->name, wanted, a, &all) != OK)
			return verb_fail(EXIT_FINDING, "dns", "out of memory: try again");
		if (root != NULL)
			add_json(list, &all, &told, a);
		else if (asked->format == ZONE)
			print_zone(&all, &told, a);
		else if (asked->format == TEXT)
			print_text(&all, &told, a);
		else
			print_form(&all, &told, a);
	}
	if (status != EXIT_DONE)
		json_free(root);
	else if (root != NULL)
		json_print(root, stdout);
	return status;
}

int verb_dns(int argc, char **argv)
{
	struct key_files keys = { 0 };
	struct dns_wanted wanted = { .keys = &keys };
	str only = STR_NONE, why = STR_NONE;
	struct asked asked;
	struct config *c;
	struct arena a;
	int status = parse(argc, argv, &asked);

	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	if (asked.domain != NULL && !domain_to_ascii(&a, str_of(asked.domain), &only))
		status = verb_misused("dns", "\"%s\" is not a domain name", asked.domain);
	c = status < 0 ? verb_config("dns", asked.file, &a, &status) : NULL;
	if (c == NULL)
		;
	else if (only.n > 0 && !config_domain_is_local(c, only))
		status = verb_fail(EXIT_FINDING, "dns", "%s has no domain \"%.*s\": add domain \"%.*s\" {}, or name one of its own",
		                   asked.file, STR_ARG(only), STR_ARG(only));
	else if (key_files_read(c->state, c, &a, &keys, &why) != OK)
		status = verb_fail(EXIT_FINDING, "dns", "%.*s", STR_ARG(why));
	else {
		dns_wanted_addresses(c, &a, &wanted.addresses);
		dns_wanted_tlsa(c, &a, &wanted.tlsa);
		status = tell(&asked, c, &wanted, only, &a);
	}
	key_files_free(&keys);
	arena_fini(&a);
	return status;
}
