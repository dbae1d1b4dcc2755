/* SPDX-License-Identifier: ISC */
/*
 * postern key generate|list|show: DKIM keys in STATE/keys/DOMAIN/SELECTOR.pem.
 *
 * A key signs once a `dkim "SELECTOR" {}` section of its domain names it; so
 * generating one changes nothing until the record is published and the
 * operator says so.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/verb_key_parts.h"
#include "smtpd/setup/verbs.h"

struct asked {
	const char *file, *what, *domain, *selector;
	enum key_kind kind;
	unsigned bits;
};

static int parse(int argc, char **argv, struct asked *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "algorithm", required_argument, NULL, 'a' },
		{ "bits", required_argument, NULL, 'b' }, { 0 },
	};
	const char *words[3] = { NULL, NULL, NULL };
	int c;

	*out = (struct asked){ .file = CONFIG_FILE, .kind = KEY_RSA, .bits = 2048 };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			out->file = optarg;
		else if (c == 'a' && strncmp(optarg, "rsa", 3) == 0)
			out->kind = KEY_RSA;
		else if (c == 'a' && strncmp(optarg, "ed25519", 7) == 0)
			out->kind = KEY_ED25519;
		else if (c == 'a')
			return verb_misused("key", "\"%s\" is no algorithm: rsa-sha256 or ed25519-sha256", optarg);
		else if (c == 'b' && str_to_u32(str_of(optarg), &out->bits) && out->bits >= 1024 && out->bits <= 4096)
			;
		else if (c == 'b')
			return verb_misused("key", "--bits is 1024 to 4096, 2048 is what everybody takes");
		else
			return verb_misused("key", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
	}
	for (int i = 0; i < 3 && optind + i < argc; i++)
		words[i] = argv[optind + i];
	if (argc - optind > 3 || words[0] == NULL)
		return verb_misused("key", "say generate, list or show, then domain and selector");
	out->what = words[0];
	out->domain = words[1];
	out->selector = words[2];
	return -1;
}

/* ---- generate ---------------------------------------------------------------------- */

static void tell_record(const struct key_file *k, struct arena *a)
{
	str record;

	if (dkim_key_record(k->key, a, &record) != OK)
		return;
	printf("\nPublish this TXT record:\n\n");
	key_file_print_record(k->domain, k->selector, record, stdout);
	printf("\nThen let it sign: in the configuration, inside domain \"%.*s\" { }, add\n\n    dkim \"%.*s\" {}\n\n"
	       "and run `postern reload`.\n",
	       STR_ARG(k->domain), STR_ARG(k->selector));
}

static int generate(const struct asked *asked, const struct config *c, struct arena *a)
{
	struct key_file k = { 0 };
	str why = STR_NONE;

	if (!domain_to_ascii(a, str_of(asked->domain), &k.domain))
		return verb_misused("key", "\"%s\" is not a domain name", asked->domain);
	k.selector = str_of(asked->selector);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "making the key …\n");
	k.key = key_generate(asked->kind, asked->bits);
	if (k.key == NULL)
		return verb_fail(EXIT_FINDING, "key", "OpenSSL made no key: try again");
	switch (key_file_write(c->state, &k, a, &why)) {
	case OK:
		break;
	case ERR_EXISTS:
		key_free(k.key);
		return verb_fail(EXIT_FINDING, "key", "%.*s is there already: take another selector, or move the file away",
		                 STR_ARG(k.path));
	default:
		key_free(k.key);
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	}
	printf("%.*s\n", STR_ARG(k.path));
	tell_record(&k, a);
	key_free(k.key);
	return EXIT_DONE;
}

/* ---- list, show ---------------------------------------------------------------------- */

static bool is_active(const struct config *c, const struct key_file *k)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		for (size_t s = 0; str_eq(d->name, k->domain) && s < d->dkim.n; s++)
			if (str_eq(((const struct dkim_section *)d->dkim.v[s])->key, k->path))
				return true;
	}
	return false;
}

static const char *kind_text(const struct key *key)
{
	return key_kind(key) == KEY_RSA ? "rsa-sha256" : key_kind(key) == KEY_ED25519 ? "ed25519-sha256" : "unknown";
}

static void list_one(const struct config *c, const struct key_file *k)
{
	printf("%-24.*s %-20.*s %-15s %5u  %s\n", STR_ARG(k->domain), STR_ARG(k->selector), kind_text(k->key),
	       key_bits(k->key), is_active(c, k) ? "signs" : "does not sign: no dkim section names it");
}

static int walk(const struct asked *asked, const struct config *c, struct arena *a)
{
	struct key_files files = { 0 };
	bool show = strcmp(asked->what, "show") == 0;
	str domain = STR_NONE, why = STR_NONE;
	size_t shown = 0;

	if (asked->domain != NULL && !domain_to_ascii(a, str_of(asked->domain), &domain))
		return verb_misused("key", "\"%s\" is not a domain name", asked->domain);
	if (key_files_read(c->state, c, a, &files, &why) != OK)
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	for (size_t i = 0; i < files.n; i++) {
		const struct key_file *k = &files.v[i];
		str record;

		if ((domain.n > 0 && !str_eq(domain, k->domain)) ||
		    (asked->selector != NULL && !str_is(k->selector, asked->selector)))
			continue;
		shown++;
		if (!show)
			list_one(c, k);
		else if (dkim_key_record(k->key, a, &record) == OK)
			key_file_print_record(k->domain, k->selector, record, stdout);
	}
	key_files_free(&files);
	if (shown == 0)
		return verb_fail(EXIT_FINDING, "key", "no such key: `postern key generate DOMAIN SELECTOR` makes one");
	return EXIT_DONE;
}

/* Before the configuration is looked for: wrong usage is wrong without one, too. */
static int words_fit(const struct asked *asked)
{
	bool generate_it = strcmp(asked->what, "generate") == 0, show = strcmp(asked->what, "show") == 0;

	if (!generate_it && !show && strcmp(asked->what, "list") != 0)
		return verb_misused("key", "unknown command \"%s\"", asked->what);
	if (generate_it && asked->selector == NULL)
		return verb_misused("key", "generate needs a domain and a selector");
	if (show && asked->domain == NULL)
		return verb_misused("key", "show needs a domain");
	if (asked->selector != NULL && !domain_valid(str_of(asked->selector)))
		return verb_misused("key", "\"%s\" is not a selector: letters, digits, - and dots", asked->selector);
	return -1;
}

int verb_key(int argc, char **argv)
{
	struct asked asked;
	struct arena a;
	struct config *c;
	int status;

	if (argc > 1 && strcmp(argv[1], "test") == 0)
		return verb_key_test(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "import") == 0)
		return verb_key_import(argc - 1, argv + 1);
	status = parse(argc, argv, &asked);
	if (status < 0)
		status = words_fit(&asked);
	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("key", asked.file, &a, &status);
	if (c == NULL)
		;
	else if (strcmp(asked.what, "generate") == 0)
		status = generate(&asked, c, &a);
	else
		status = walk(&asked, c, &a);
	arena_fini(&a);
	return status;
}
