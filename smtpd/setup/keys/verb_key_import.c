/* SPDX-License-Identifier: ISC */
/*
 * postern key import: private keys that were made elsewhere, one by its file or all
 * that OpenDKIM's tables name.  Everything is read and checked first; nothing is
 * written unless all of it can be.  What it prints are the lines of configuration
 * that go with the keys.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/keys/opendkim_tables.h"
#include "smtpd/setup/keys/verb_key_parts.h"
#include "smtpd/setup/verbs.h"

enum { KEY_MOST = 64 << 10, TABLE_MOST = 4 << 20 };

struct asked { const char *file, *domain, *selector, *key, *key_table, *signing_table; };

/* A key that is to be written: `from` says where it came from, for faults. */
struct import { struct key_file to; str from; bool there; };

struct importer {
	const struct config   *config;
	struct arena          *arena;
	struct key_files       present;
	struct import         *v;
	size_t                 n, room;
	struct opendkim_tables tables;
	bool                   regular;       /* the SigningTable is a refile */
	size_t                 faults;
};

static int read_options(int argc, char **argv, struct asked *out)
{
	enum { OPENDKIM = 256, SIGNING };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "opendkim", required_argument, NULL, OPENDKIM },
		{ "signing-table", required_argument, NULL, SIGNING }, { 0 },
	};
	int c, words;

	*out = (struct asked){ .file = CONFIG_FILE };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			out->file = optarg;
		else if (c == OPENDKIM)
			out->key_table = optarg;
		else if (c == SIGNING)
			out->signing_table = optarg;
		else
			return verb_misused("key", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
	}
	words = argc - optind;
	if (out->signing_table != NULL && out->key_table == NULL)
		return verb_misused("key", "--signing-table goes with --opendkim KEYTABLE");
	if (words != (out->key_table != NULL ? 0 : 3))
		return verb_misused("key", "say import DOMAIN SELECTOR FILE, or import --opendkim KEYTABLE [--signing-table FILE]");
	if (words == 3) {
		out->domain = argv[optind];
		out->selector = argv[optind + 1];
		out->key = argv[optind + 2];
	}
	return -1;
}

static void fault(struct importer *m, str from, const char *text)
{
	m->faults++;
	verb_fail(EXIT_FINDING, "key", "%.*s: %s", STR_ARG(from), text);
}

/* ---- one key ------------------------------------------------------------------------- */

/* A key that others could read may have been read; that is told, not refused. */
static void look_at_file(const struct importer *m, str path)
{
	char *name = str_cstr(m->arena, path);
	struct stat st;

	if (name == NULL || stat(name, &st) != 0)
		return;
	if ((st.st_mode & 077) != 0)
		fprintf(stderr, "postern key: warning: %s: others than its owner may open it (mode %04o): who has read it can sign as "
		        "you; chmod 600 it, and rather make a new key\n", name, (unsigned)(st.st_mode & 07777));
	if (st.st_uid != 0 && st.st_uid != geteuid() && st.st_uid != m->config->uid)
		fprintf(stderr, "postern key: warning: %s belongs to user %u, who can read and change it\n", name, (unsigned)st.st_uid);
}

static struct key *key_of_base64(struct arena *a, str text, str *why)
{
	static const char *const kinds[] = { "PRIVATE KEY", "RSA PRIVATE KEY" };
	struct key *key = NULL;

	for (size_t i = 0; key == NULL && i < COUNT(kinds); i++) {
		str der, pem, again;

		if (!base64_decode(a, text, true, &der))
			break;
		again = base64_encode(a, der);
		pem = arena_printf(a, "-----BEGIN %s-----\n", kinds[i]);
		while (again.n > 0) {
			pem = arena_printf(a, "%.*s%.*s\n", STR_ARG(pem), STR_ARG(str_head(again, 64)));
			again = str_skip(again, 64);
		}
		key = key_private_pem(arena_printf(a, "%.*s-----END %s-----\n", STR_ARG(pem), kinds[i]), why);
	}
	if (key == NULL && why->n == 0)
		*why = STR("neither a file's path nor a key");
	return key;
}

static struct key *read_key(struct importer *m, str path, str *why)
{
	str pem;

	look_at_file(m, path);
	if (file_read(verb_open_file, path, KEY_MOST, m->arena, &pem, why) != OK)
		return NULL;
	return key_private_pem(pem, why);
}

static const char *key_is_unfit(const struct key *key)
{
	if (key_kind(key) != KEY_RSA && key_kind(key) != KEY_ED25519)
		return "DKIM knows RSA and Ed25519 keys only: make a new one with `postern key generate`";
	if (key_kind(key) == KEY_RSA && key_bits(key) < 1024)
		return "less than 1024 bits: receivers take it for no signature; make a new one with `postern key generate`";
	return NULL;
}

static bool same_key(const struct key *a, const struct key *b)
{
	unsigned char *x = NULL, *y = NULL;
	size_t nx = 0, ny = 0;
	bool same = key_public_der(a, &x, &nx) == OK && key_public_der(b, &y, &ny) == OK && nx == ny && memcmp(x, y, nx) == 0;

	free(x);
	free(y);
	return same;
}

/* What is there already under the same name: the same key is no fault. */
static const char *compare(const struct importer *m, struct import *k)
{
	static const char *const other = "another key of this domain and selector is there already: take another selector, or move that "
	                                 "file away";

	for (size_t i = 0; i < m->present.n; i++)
		if (str_eq(m->present.v[i].domain, k->to.domain) && str_eq(m->present.v[i].selector, k->to.selector)) {
			if (!same_key(m->present.v[i].key, k->to.key))
				return other;
			k->there = true;
		}
	for (size_t i = 0; i < m->n; i++)
		if (str_eq(m->v[i].to.domain, k->to.domain) && str_eq(m->v[i].to.selector, k->to.selector)) {
			if (!same_key(m->v[i].to.key, k->to.key))
				return "two different keys of one domain and selector";
			k->there = true;
		}
	return NULL;
}

static bool make_room(struct importer *m)
{
	size_t room = m->room > 0 ? 2 * m->room : 16;
	struct import *v = m->n < m->room ? m->v : realloc(m->v, room * sizeof(*v));

	if (v == NULL)
		return false;
	if (v != m->v || m->n >= m->room)
		m->room = room;
	m->v = v;
	return true;
}

/* Takes the key over. */
static void take(struct importer *m, str domain, str selector, struct key *key, str from, str why)
{
	struct import k = { .to = { .selector = str_keep_lower(m->arena, selector), .key = key }, .from = from };
	const char *unfit = key == NULL ? str_cstr(m->arena, why) : key_is_unfit(key);

	if (unfit == NULL && !domain_to_ascii(m->arena, domain, &k.to.domain))
		unfit = "the domain is none";
	if (unfit == NULL && !domain_valid(selector))
		unfit = "the selector is none: letters, digits, - and dots";
	if (unfit == NULL)
		unfit = compare(m, &k);
	if (unfit == NULL && !make_room(m))
		unfit = "no memory";
	if (unfit == NULL) {
		if (key_kind(key) == KEY_RSA && key_bits(key) < 2048)
			fprintf(stderr, "postern key: warning: %.*s: %u bits: still taken, but replace it by a longer one soon\n", STR_ARG(from),
			        key_bits(key));
		m->v[m->n++] = k;
		return;
	}
	fault(m, from, unfit);
	key_free(key);
}

/* ---- OpenDKIM's tables ------------------------------------------------------------------- */

static void tell_faults(struct importer *m, str path, size_t from)
{
	for (size_t i = from; i < m->tables.nfaults; i++)
		fault(m, arena_printf(m->arena, "%.*s:%u", STR_ARG(path), m->tables.faults[i].line), m->tables.faults[i].text);
}

static int read_table(struct importer *m, const char *word, bool (*read)(struct opendkim_tables *, str, struct arena *),
                      bool *regular, str *path)
{
	size_t before = m->tables.nfaults;
	str text, why = STR_NONE;

	if (!opendkim_table_path(str_of(word), path, regular))
		return verb_fail(EXIT_FINDING, "key", "%s: only tables that are text files can be read (file:, refile:)", word);
	if (file_read(verb_open_file, *path, TABLE_MOST, m->arena, &text, &why) != OK)
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	if (!read(&m->tables, text, m->arena))
		return verb_fail(EXIT_LATER, "key", "no memory: try again later");
	tell_faults(m, *path, before);
	return EXIT_DONE;
}

static bool file_is_there(const struct importer *m, str path)
{
	char *name = str_cstr(m->arena, path);

	return name != NULL && access(name, F_OK) == 0;
}

static void take_table_key(struct importer *m, const struct opendkim_key *k, str domain, str table, bool all_domains)
{
	str from = arena_printf(m->arena, "%.*s:%u", STR_ARG(table), k->line), value, why = STR_NONE;
	struct key *key;

	if (!k->is_file) {
		value = opendkim_expand(k->value, domain, m->arena);
		key = strstr(str_cstr(m->arena, value) != NULL ? str_cstr(m->arena, value) : "", "-----BEGIN") != NULL
		      ? key_private_pem(value, &why) : key_of_base64(m->arena, value, &why);
	} else {
		value = opendkim_expand(k->value, domain, m->arena);
		if (all_domains && !file_is_there(m, value))
			return;               /* % is every domain: some may have no key there */
		key = read_key(m, value, &why);
	}
	take(m, domain, k->selector, key, from, why);
}

static void take_table_keys(struct importer *m, str table)
{
	for (size_t i = 0; i < m->tables.nkeys; i++) {
		const struct opendkim_key *k = &m->tables.keys[i];
		size_t before = m->n + m->faults;

		if (!str_is(k->domain, "%")) {
			take_table_key(m, k, k->domain, table, false);
			continue;
		}
		for (size_t d = 0; d < m->config->domains.n; d++)
			take_table_key(m, k, ((const struct domain_section *)m->config->domains.v[d])->name, table, true);
		if (m->n + m->faults == before)
			fault(m, arena_printf(m->arena, "%.*s:%u", STR_ARG(table), k->line),
			      "the domain is %, every one: none of the domains in the configuration has a key there; add them first");
	}
}

/* ---- the lines that go with them ------------------------------------------------------------- */

static bool came_before(const struct importer *m, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(m->v[k].to.domain, m->v[i].to.domain))
			return true;
	return false;
}

static const struct opendkim_key *key_named(const struct importer *m, str name, str domain)
{
	for (size_t i = 0; i < m->tables.nkeys; i++)
		if (str_eq(m->tables.keys[i].name, str_is(name, "%") ? domain : name))
			return &m->tables.keys[i];
	return NULL;
}

static bool is_of(str domain, const struct opendkim_author *who)
{
	return who->whose == OPENDKIM_EVERYBODY || who->domain.n == 0 || str_eq_nocase(who->domain, domain);
}

/* The rule for one domain; nothing when it is not about it. */
static void print_rule(const struct importer *m, const struct opendkim_rule *r, str domain, unsigned *n)
{
	struct opendkim_author who = opendkim_author(r, m->regular);
	const struct opendkim_key *k = key_named(m, r->key, domain);

	if (who.whose == OPENDKIM_OTHER || !is_of(domain, &who) || k == NULL)
		return;
	if (!str_is(k->domain, "%") && !str_eq_nocase(k->domain, domain))
		return;
	printf("\tsigning \"rule-%u\" { ", ++*n);
	if (who.whose == OPENDKIM_ADDRESS)
		printf("from = {\"%.*s@%.*s\"} ", STR_ARG(who.local), STR_ARG(domain));
	printf("selectors = {\"%.*s\"} }\n", STR_ARG(str_keep_lower(m->arena, k->selector)));
}

/* With one key and rules for all of the domain there is nothing to choose. */
static bool needs_rules(const struct importer *m, str domain)
{
	size_t keys = 0;
	bool single = false;

	for (size_t i = 0; i < m->n; i++)
		keys += str_eq(m->v[i].to.domain, domain) && !m->v[i].there;
	for (size_t i = 0; i < m->tables.nrules; i++) {
		struct opendkim_author who = opendkim_author(&m->tables.rules[i], m->regular);

		single |= who.whose == OPENDKIM_ADDRESS && is_of(domain, &who);
	}
	return m->tables.nrules > 0 && (keys > 1 || single);
}

static bool has_section(const struct importer *m, str domain, str selector)
{
	const struct domain_section *d = config_domain_of(m->config, domain);

	for (size_t i = 0; d != NULL && i < d->dkim.n; i++)
		if (str_eq_nocase(((const struct dkim_section *)d->dkim.v[i])->head.title, selector))
			return true;
	return false;
}

static bool needs_lines(const struct importer *m, str domain)
{
	for (size_t i = 0; i < m->n; i++)
		if (str_eq(m->v[i].to.domain, domain) && !has_section(m, domain, m->v[i].to.selector))
			return true;
	return needs_rules(m, domain);
}

/* False: the configuration has it all. */
static bool print_domain(const struct importer *m, str domain)
{
	unsigned n = 0;

	if (!needs_lines(m, domain))
		return false;
	printf("\ndomain \"%.*s\" {%s\n", STR_ARG(domain),
	       config_domain_of(m->config, domain) != NULL ? "                # this section is there: add these lines" : "");
	for (size_t i = 0; i < m->n; i++)
		if (str_eq(m->v[i].to.domain, domain) && !has_section(m, domain, m->v[i].to.selector))
			printf("\tdkim \"%.*s\" { }\n", STR_ARG(m->v[i].to.selector));
	for (size_t i = 0; needs_rules(m, domain) && i < m->tables.nrules; i++)
		print_rule(m, &m->tables.rules[i], domain, &n);
	printf("}\n");
	return true;
}

/* What section signing has no words for is said, never dropped in silence. */
static void print_left_out(const struct importer *m)
{
	for (size_t i = 0; i < m->tables.nrules; i++) {
		const struct opendkim_rule *r = &m->tables.rules[i];
		struct opendkim_author who = opendkim_author(r, m->regular);
		const struct opendkim_key *k = key_named(m, r->key, who.domain);
		const char *why = NULL;

		if (k == NULL && !str_is(r->key, "%"))
			why = "no such key in the KeyTable";
		else if (who.whose == OPENDKIM_OTHER)
			why = "there are no words for this pattern here: name the addresses in section signing";
		else if (k != NULL && who.domain.n > 0 && !str_is(k->domain, "%") && !str_eq_nocase(k->domain, who.domain))
			why = "the key is of another domain: mail is signed for the domain of its author, make that one a key";
		if (why != NULL)
			printf("\n# left out, line %u of the SigningTable, %.*s: %s\n", r->line, STR_ARG(r->pattern), why);
	}
}

static void print_records(const struct importer *m)
{
	printf("\n# The records that DNS should show. OpenDKIM writes them in other words (h=sha256), for the\n"
	       "# same key; best replace those: `postern key test DOMAIN SELECTOR` asks the servers.\n");
	for (size_t i = 0; i < m->n; i++) {
		str record;

		if (dkim_key_record(m->v[i].to.key, m->arena, &record) != OK)
			continue;
		key_file_print_record(m->v[i].to.domain, m->v[i].to.selector, record, stdout);
	}
}

/* ---- writing -------------------------------------------------------------------------------------- */

static int write_keys(struct importer *m)
{
	size_t written = 0;

	for (size_t i = 0; i < m->n; i++) {
		str why = STR_NONE;

		if (m->v[i].there)
			continue;
		if (key_file_write(m->config->state, &m->v[i].to, m->arena, &why) != OK)
			return verb_fail(EXIT_FINDING, "key", "%.*s: %.*s; %zu keys were written before it, and a second import goes on with "
			                 "the rest", STR_ARG(m->v[i].from), STR_ARG(why.n > 0 ? why : m->v[i].to.path), written);
		printf("%.*s\n", STR_ARG(m->v[i].to.path));
		written++;
	}
	if (written == 0)
		printf("# all of these keys were here already\n");
	return EXIT_DONE;
}

static int finish(struct importer *m)
{
	bool printed = false;
	int status;

	if (m->faults > 0)
		return verb_fail(EXIT_FINDING, "key", "nothing was written: mend %s and import again",
		                 m->faults == 1 ? "this" : "these");
	if (m->n == 0)
		return verb_fail(EXIT_FINDING, "key", "the KeyTable names no key");
	status = write_keys(m);
	for (size_t i = 0; status == EXIT_DONE && i < m->n; i++)
		if (!came_before(m, i))
			printed |= print_domain(m, m->v[i].to.domain);
	if (printed)
		printf("\n# When these lines are in the configuration: `postern reload`.\n");
	if (status == EXIT_DONE) {
		print_left_out(m);
		print_records(m);
	}
	return status;
}

static int run(const struct asked *asked, struct importer *m)
{
	str table, signing, why = STR_NONE;
	bool regular;
	int status = EXIT_DONE;

	if (key_files_read(m->config->state, m->config, m->arena, &m->present, &why) != OK)
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	if (asked->key_table == NULL) {
		struct key *key = read_key(m, str_of(asked->key), &why);

		take(m, str_of(asked->domain), str_of(asked->selector), key, str_of(asked->key), why);
		return finish(m);
	}
	status = read_table(m, asked->key_table, opendkim_read_keys, &regular, &table);
	if (status == EXIT_DONE && asked->signing_table != NULL)
		status = read_table(m, asked->signing_table, opendkim_read_rules, &m->regular, &signing);
	if (status != EXIT_DONE)
		return status;
	take_table_keys(m, table);
	return finish(m);
}

int verb_key_import(int argc, char **argv)
{
	struct asked asked;
	struct arena a;
	struct importer m = { .arena = &a };
	int status = read_options(argc, argv, &asked);

	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	m.config = verb_config("key", asked.file, &a, &status);
	if (m.config != NULL)
		status = run(&asked, &m);
	for (size_t i = 0; i < m.n; i++)
		key_free(m.v[i].to.key);
	free(m.v);
	key_files_free(&m.present);
	arena_wipe(&a);
	return status;
}
