/* SPDX-License-Identifier: ISC */
/*
 * postern key test DOMAIN [SELECTOR] | --all: what each authoritative server shows
 * of a key's record at this moment, and whether the gate would let it sign.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/dns/direct.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/verb_key_parts.h"
#include "smtpd/setup/verbs.h"

struct asked {
	const char *file, *resolver, *domain, *selector;
	bool all, json;
};

struct tester {
	const struct asked  *asked;
	const struct config *config;
	struct direct       *direct;
	struct arena        *arena;
	struct json         *keys;        /* the document's list; NULL: text */
	size_t tested, wrong, unknown;
};

static int read_options(int argc, char **argv, struct asked *out)
{
	enum { ALL = 256, JSON, RESOLVER };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "all", no_argument, NULL, ALL }, { "json", no_argument, NULL, JSON },
		{ "resolver", required_argument, NULL, RESOLVER }, { 0 },
	};
	int c;

	*out = (struct asked){ .file = CONFIG_FILE };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			out->file = optarg;
		else if (c == ALL)
			out->all = true;
		else if (c == JSON)
			out->json = true;
		else if (c == RESOLVER)
			out->resolver = optarg;
		else
			return verb_misused("key", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
	}
	out->domain = optind < argc ? argv[optind] : NULL;
	out->selector = optind + 1 < argc ? argv[optind + 1] : NULL;
	if (argc - optind > 2)
		return verb_misused("key", "unexpected word \"%s\"", argv[optind + 2]);
	if (out->all == (out->domain != NULL))
		return verb_misused("key", "say which key: test DOMAIN [SELECTOR], or test --all");
	return -1;
}

/* ---- what came of a look ------------------------------------------------------------ */

static const char *sight_word(enum gate_sight s)
{
	static const char *const words[] = { [GATE_SHOWN] = "shown", [GATE_OTHER] = "other", [GATE_SILENT] = "silent",
	                                     [GATE_NOWHERE] = "nowhere" };

	return words[s];
}

static const char *next_step(enum gate_sight s, const struct key_file *k, struct arena *a)
{
	switch (s) {
	case GATE_SHOWN:
		return NULL;
	case GATE_OTHER:
		return str_cstr(a, arena_printf(a, "at whoever runs these name servers, put in the record that `postern key show %.*s %.*s` prints",
		                                STR_ARG(k->domain), STR_ARG(k->selector)));
	case GATE_SILENT:
		return "ask again later, or ask whoever runs these name servers why they do not answer";
	case GATE_NOWHERE:
		return "register the domain, or have its name servers entered at the registrar";
	}
	return NULL;
}

static void tell_text(const struct tester *t, const struct key_file *k, str name, str record, const struct gate_look *look)
{
	const char *next = next_step(look->sight, k, t->arena);

	printf("%s%.*s\n", t->tested > 1 ? "\n" : "", STR_ARG(name));
	if (look->name.n > 0 && !str_eq(look->name, name))
		printf("  is an alias of %.*s\n", STR_ARG(look->name));
	for (size_t i = 0; i < look->nreplies; i++) {
		const struct direct_reply *r = &look->replies[i];
		str shows = gate_reply_text(r, record, t->arena);

		printf("  %.*s (%.*s) over %s: %.*s\n", STR_ARG(r->server->name), STR_ARG(r->server->address),
		       r->tcp ? "TCP" : "UDP", STR_ARG(shows));
	}
	for (size_t i = 0; i < look->zone.nameless.n; i++)
		printf("  %.*s: it has no address\n", STR_ARG(look->zone.nameless.v[i]));
	printf("%s: %.*s\n", look->sight == GATE_SHOWN ? "ok" : "fault", STR_ARG(look->said));
	if (next != NULL)
		printf("what to do: %s\n", next);
}

static void tell_replies(const struct tester *t, struct json *list, str record, const struct gate_look *look)
{
	for (size_t i = 0; i < look->nreplies; i++) {
		const struct direct_reply *r = &look->replies[i];
		struct json *o = json_add_object(list), *records;

		json_set(o, "server", r->server->name);
		json_set(o, "address", r->server->address);
		json_set_c(o, "protocol", r->tcp ? "tcp" : "udp");
		json_set_c(o, "status", r->truncated ? "truncated" : dns_status_text(r->status));
		json_set_bool(o, "authoritative", r->authoritative);
		json_set(o, "shows", gate_reply_text(r, record, t->arena));
		json_set_num(o, "ms", (int64_t)r->ms);
		records = json_set_array(o, "records");
		for (size_t k = 0; k < r->n; k++)
			json_add(records, r->records[k]);
	}
}

static void tell_json(const struct tester *t, const struct key_file *k, str name, str record, const struct gate_look *look)
{
	struct json *o = json_add_object(t->keys), *silent;

	json_set(o, "domain", k->domain);
	json_set(o, "selector", k->selector);
	json_set(o, "name", name);
	json_set(o, "asked", look->name.n > 0 ? look->name : name);
	json_set(o, "record", record);
	json_set_c(o, "sight", sight_word(look->sight));
	json_set_bool(o, "ok", look->sight == GATE_SHOWN);
	json_set_bool(o, "same_key", look->same_key);
	json_set(o, "said", look->said);
	json_set_c(o, "next", next_step(look->sight, k, t->arena));
	json_set_num(o, "servers", (int64_t)look->servers);
	json_set_num(o, "answered", (int64_t)look->answered);
	silent = json_set_array(o, "silent");
	for (size_t i = 0; i < look->silent.n; i++)
		json_add(silent, look->silent.v[i]);
	tell_replies(t, json_set_array(o, "replies"), record, look);
}

/* ---- the looks -------------------------------------------------------------------------- */

static void test_key(struct tester *t, const struct key_file *k)
{
	str name = arena_printf(t->arena, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(k->domain)), record;
	struct gate_look look;

	t->tested++;
	if (dkim_key_record(k->key, t->arena, &record) != OK) {
		verb_fail(EXIT_FINDING, "key", "%.*s: a key without a DKIM record: make it anew", STR_ARG(k->path));
		t->wrong++;
		return;
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "asking for %.*s …\n", STR_ARG(name));
	if (gate_look(t->direct, name, record, t->arena, &look) != OK)
		t->unknown++;
	else if (look.sight != GATE_SHOWN)
		t->wrong++;
	if (t->keys != NULL)
		tell_json(t, k, name, record, &look);
	else
		tell_text(t, k, name, record, &look);
}

static bool is_asked(const struct key_file *k, str domain, const char *selector)
{
	return (domain.n == 0 || str_eq(domain, k->domain)) && (selector == NULL || str_is_nocase(k->selector, selector));
}

static bool came_before(const struct key_files *files, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(files->v[k].domain, files->v[i].domain) && str_eq(files->v[k].selector, files->v[i].selector))
			return true;
	return false;
}

static int test_keys(struct tester *t)
{
	struct key_files files = { 0 };
	str domain = STR_NONE, why = STR_NONE;

	if (t->asked->domain != NULL && !domain_to_ascii(t->arena, str_of(t->asked->domain), &domain))
		return verb_misused("key", "\"%s\" is not a domain name", t->asked->domain);
	if (key_files_read(t->config->state, t->config, t->arena, &files, &why) != OK) {
		key_files_free(&files);
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	}
	for (size_t i = 0; i < files.n; i++)
		if (is_asked(&files.v[i], domain, t->asked->selector) && !came_before(&files, i))
			test_key(t, &files.v[i]);
	key_files_free(&files);
	if (t->tested == 0)
		return verb_fail(EXIT_FINDING, "key", "no such key: `postern key list` shows those there are");
	return t->wrong > 0 ? EXIT_FINDING : t->unknown > 0 ? EXIT_LATER : EXIT_DONE;
}

static int choose_resolver(const struct asked *asked, const struct config *c, struct dns_conf *dns)
{
	struct endpoint at;

	if (asked->resolver == NULL && c->resolver.records.n > 0 && c->resolver.forward.n == 0)
		return verb_fail(EXIT_FINDING, "key", "the file %.*s stands for DNS here (resolver records): there are no servers "
		                 "to ask", STR_ARG(c->resolver.records));
	if (asked->resolver == NULL)
		return EXIT_DONE;
	if (!endpoint_parse(str_of(asked->resolver), 53, &at) || at.is_name || at.is_unix)
		return verb_misused("key", "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300", asked->resolver);
	*dns = (struct dns_conf){ .only = str_of(asked->resolver), .local_special = true, .timeout_ms = c->resolver.timeout_ms };
	return EXIT_DONE;
}

static int run(const struct asked *asked, const struct config *c, struct arena *a)
{
	struct json *root = asked->json ? json_new_object() : NULL;
	struct tester t = { .asked = asked, .config = c, .arena = a, .keys = root != NULL ? json_set_array(root, "keys") : NULL };
	struct direct_conf conf;
	struct dns_conf dns;
	str why = STR_NONE;
	int status;

	direct_conf_of(c, &conf, &dns);
	status = choose_resolver(asked, c, &dns);
	if (status == EXIT_DONE && (t.direct = direct_open(&conf, a, &why)) == NULL)
		status = verb_fail(EXIT_LATER, "key", "%.*s", STR_ARG(why));
	if (status == EXIT_DONE)
		status = test_keys(&t);
	direct_close(t.direct);
	if (root != NULL && t.tested > 0) {
		json_set_bool(root, "ok", status == EXIT_DONE);
		json_print(root, stdout);
	} else {
		json_free(root);
	}
	return status;
}

int verb_key_test(int argc, char **argv)
{
	struct asked asked;
	struct arena a;
	struct config *c;
	int status = read_options(argc, argv, &asked);

	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("key", asked.file, &a, &status);
	if (c != NULL)
		status = run(&asked, c, &a);
	arena_fini(&a);
	return status;
}
