/* SPDX-License-Identifier: ISC */
/*
 * postern dns: the records that the configuration calls for, to be pasted: as a
 * zone file, as the values of a web form, as JSON; then the documents that mail
 * programs and other servers fetch.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/verbs.h"

#define STRING_MOST 255          /* of a TXT record: RFC 1035 3.3 */
#define TTL         3600

enum format { TEXT, ZONE, JSON };

struct asked { const char *file, *domain; enum format format; };

static int parse(int argc, char **argv, struct asked *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "format", required_argument, NULL, 'f' }, { 0 },
	};
	static const char *const formats[] = { [TEXT] = "text", [ZONE] = "zone", [JSON] = "json" };
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
			return verb_misused("dns", "\"%s\" is no format: text, zone or json", optarg);
		out->format = (enum format)i;
	}
	if (argc - optind > 1)
		return verb_misused("dns", "unexpected word \"%s\"", argv[optind + 1]);
	out->domain = optind < argc ? argv[optind] : NULL;
	return -1;
}

/* ---- this host's addresses --------------------------------------------------------------------- */

/* RFC 6890: loopback, link-local, private, carrier's NAT, unique local. */
static bool is_public(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		uint32_t a = ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr);

		return a >> 24 != 0 && a >> 24 != 10 && a >> 24 != 127 && a >> 22 != (100u << 2 | 1) && a >> 16 != 0xa9fe &&
		       a >> 20 != 0xac1 && a >> 16 != 0xc0a8 && a >> 28 < 14;
	}
	if (sa->sa_family == AF_INET6)
		return (((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr[0] & 0xe0) == 0x20;   /* 2000::/3 */
	return false;
}

static bool have(const struct strs *list, str s)
{
	for (size_t i = 0; i < list->n; i++)
		if (str_eq(list->v[i], s))
			return true;
	return false;
}

/* What mail leaves from, where the configuration says so, else what the
 * interfaces have. */
static void find_addresses(const struct config *c, struct arena *a, struct strs *out)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;

	if (c->relay.source.n > 0) {
		*out = c->relay.source;
		return;
	}
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		n++;
	out->v = ARENA_ARRAY(a, str, n);
	for (const struct ifaddrs *i = all; i != NULL && out->v != NULL; i = i->ifa_next) {
		struct addr_text text;

		if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP) || !is_public(i->ifa_addr))
			continue;
		text = addr_text(i->ifa_addr);
		if (!have(out, str_of(text.s)))
			out->v[out->n++] = str_keep(a, str_of(text.s));
	}
	freeifaddrs(all);
}

/* ---- texts ------------------------------------------------------------------------------------------ */

static bool is_txt(const struct dns_record *r)
{
	return strcmp(r->type, "TXT") == 0;
}

static void print_strings(str text)
{
	while (text.n > 0) {
		str piece = str_head(text, STRING_MOST);

		printf(" \"%.*s\"", STR_ARG(piece));
		text = str_skip(text, piece.n);
	}
}

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

static void print_zone(const struct dns_records *all, const struct autoconfig *told, struct arena *a)
{
	printf("; %.*s\n", STR_ARG(told->domain));
	for (size_t i = 0; i < all->n; i++) {
		const struct dns_record *r = &all->v[i];

		printf("\n; %.*s\n%.*s. %d IN %s", STR_ARG(r->note), STR_ARG(r->name), TTL, r->type);
		if (!is_txt(r)) {
			printf(" %.*s\n", STR_ARG(r->value));
		} else if (r->value.n <= STRING_MOST) {
			print_strings(r->value);
			printf("\n");
		} else {
			printf(" (");
			print_strings(r->value);
			printf(" )\n");
		}
	}
	printf("\n");
	for (size_t i = 0; i < all->todo.n; i++)
		printf("; %.*s\n", STR_ARG(all->todo.v[i]));
	print_documents(told, a, "; ");
	printf("\n");
}

static void print_text(const struct dns_records *all, const struct autoconfig *told, struct arena *a)
{
	printf("%.*s\n\n", STR_ARG(told->domain));
	for (size_t i = 0; i < all->n; i++) {
		const struct dns_record *r = &all->v[i];

		printf("%.*s\n  name   %.*s\n  type   %s\n  value  %.*s\n", STR_ARG(r->note), STR_ARG(r->name), r->type,
		       STR_ARG(r->value));
		if (is_txt(r) && r->value.n > STRING_MOST) {
			printf("  %zu characters; a form that takes no more than 255 wants it as", r->value.n);
			print_strings(r->value);
			printf("\n");
		}
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
	struct json *d = json_add_object(list), *records, *todo, *documents;

	json_set(d, "domain", told->domain);
	records = json_set_array(d, "records");
	for (size_t i = 0; i < all->n; i++) {
		const struct dns_record *r = &all->v[i];
		struct json *one = json_add_object(records);
		str rest = r->value;

		json_set(one, "name", r->name);
		json_set_c(one, "type", r->type);
		json_set_num(one, "ttl", TTL);
		json_set(one, "value", r->value);
		json_set(one, "note", r->note);
		if (!is_txt(r))
			continue;
		json_set_num(one, "length", (int64_t)r->value.n);
		one = json_set_array(one, "strings");
		for (; rest.n > 0; rest = str_skip(rest, STRING_MOST))
			json_add(one, str_head(rest, STRING_MOST));
	}
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

static int tell(const struct asked *asked, const struct config *c, const struct dns_wanted *wanted, str only, struct arena *a)
{
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
		if (dns_records_make(c, d->name, wanted, a, &all) != OK)
			return verb_fail(EXIT_FINDING, "dns", "out of memory: try again");
		if (root != NULL)
			add_json(list, &all, &told, a);
		else if (asked->format == ZONE)
			print_zone(&all, &told, a);
		else
			print_text(&all, &told, a);
	}
	if (root != NULL)
		json_print(root, stdout);
	return EXIT_DONE;
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
		find_addresses(c, &a, &wanted.addresses);
		status = tell(&asked, c, &wanted, only, &a);
	}
	key_files_free(&keys);
	arena_fini(&a);
	return status;
}
