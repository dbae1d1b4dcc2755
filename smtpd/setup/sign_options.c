/* SPDX-License-Identifier: ISC */
/*
 * sign_options: see sign_options.h.  The verbs' thread.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/sign_options.h"
#include "smtpd/setup/verbs.h"

#define KEY_FILE_MAX ((size_t)64 << 10)

enum {
	DOMAIN, SELECTOR, KEY, ALGORITHM, CANON, HEADERS, IDENTITY, EXPIRE, NOW, AUTHSERV_ID,
	RESOLVER,
};

#define SIGN_ROWS \
	{ "domain", required_argument, NULL, DOMAIN },     { "selector", required_argument, NULL, SELECTOR }, \
	{ "key", required_argument, NULL, KEY },           { "algorithm", required_argument, NULL, ALGORITHM }, \
	{ "canon", required_argument, NULL, CANON },       { "headers", required_argument, NULL, HEADERS }, \
	{ "identity", required_argument, NULL, IDENTITY }, { "expire", required_argument, NULL, EXPIRE }, \
	{ "now", required_argument, NULL, NOW }

static const struct option sign_rows[] = {
	SIGN_ROWS,
	{ "config", required_argument, NULL, 'c' },
	{ 0 },
};
static const struct option seal_rows[] = {
	SIGN_ROWS,
	{ "authserv-id", required_argument, NULL, AUTHSERV_ID },
	{ "resolver", required_argument, NULL, RESOLVER },
	{ "config", required_argument, NULL, 'c' },
	{ 0 },
};

static int line_read(struct sign_options *w, bool sealing, int argc, char **argv)
{
	const char **values[] = {
		[DOMAIN] = &w->domain, [SELECTOR] = &w->selector, [KEY] = &w->key_file,
		[ALGORITHM] = &w->algorithm, [CANON] = &w->canon, [HEADERS] = &w->headers,
		[IDENTITY] = &w->identity, [EXPIRE] = &w->expire, [NOW] = &w->now,
		[AUTHSERV_ID] = &w->authserv_id, [RESOLVER] = &w->resolver,
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+:c:", sealing ? seal_rows : sign_rows, NULL)) != -1) {
		if (c == ':')
			return verb_misused(w->verb, "%s needs a value", argv[optind - 1]);
		if (c == '?')
			return verb_misused(w->verb, "unknown option %s", argv[optind - 1]);
		*(c == 'c' ? &w->file : values[c]) = optarg;
	}
	if (optind < argc)
		return verb_misused(w->verb, "unexpected word \"%s\"", argv[optind]);
	w->by_configuration = !sealing && w->file != NULL && w->domain != NULL && w->selector == NULL && w->key_file == NULL;
	if (w->by_configuration && w->algorithm != NULL)
		return verb_misused(w->verb, "--algorithm goes with --selector and --key");
	if (!w->by_configuration && (w->domain == NULL || w->selector == NULL || w->key_file == NULL))
		return verb_misused(w->verb, sealing ? "--domain, --selector and --key are all needed"
		                                     : "--domain, --selector and --key are all needed, or -c FILE and --domain");
	if (sealing && w->authserv_id == NULL)
		return verb_misused(
			w->verb,
			"--authserv-id is needed: whose Authentication-Results are sealed");
	if (sealing && w->identity != NULL)
		return verb_misused(w->verb,
				    "--identity: a seal has none, its i= is the number of the set");
	return EXIT_DONE;
}

static bool canon_read(str text, enum canon *out)
{
	*out = str_is_nocase(text, "relaxed") ? CANON_RELAXED : CANON_SIMPLE;
	return str_is_nocase(text, "relaxed") || str_is_nocase(text, "simple");
}

/* "relaxed/simple"; a body form that is left out is simple, as in c=. */
static bool canons_read(const char *text, struct dkim_signer *s)
{
	str rest = str_of(text), header;

	str_cut(&rest, '/', &header);
	s->body_canon = CANON_SIMPLE;
	return canon_read(header, &s->header_canon) &&
	       (rest.p == NULL || canon_read(rest, &s->body_canon));
}

static int headers_read(struct sign_options *w, struct arena *a)
{
	str rest = str_of(w->headers), name;
	bool from = false;

	w->names.v = ARENA_ARRAY(a, str, strlen(w->headers) + 1);
	while (w->names.v != NULL && str_cut(&rest, ':', &name)) {
		name = str_trim(name);
		for (size_t i = 0; i < name.n; i++)
			if (name.p[i] <= ' ' || name.p[i] > '~' || name.p[i] == ';')
				return verb_misused(w->verb, "--headers: \"%.*s\" is no field name",
						    STR_ARG(name));
		if (name.n == 0)
			return verb_misused(w->verb,
					    "--headers: a name between two colons is empty");
		from = from || str_is_nocase(name, "From");
		w->names.v[w->names.n++] = name;
	}
	if (!from)
		return verb_misused(w->verb, "--headers has to hold From (RFC 6376 5.4)");
	if (w->names.n > DKIM_H_MAX)
		return verb_misused(w->verb, "--headers holds more than %d names", DKIM_H_MAX);
	w->signer.headers = &w->names;
	return EXIT_DONE;
}

static int identity_read(struct sign_options *w, struct arena *a)
{
	str text = str_of(w->identity), domain;
	size_t at = str_rfind(text, '@');

	if (at == text.n || !dkim_name_read(a, str_skip(text, at + 1), false, &domain) ||
	    (!str_eq(domain, w->signer.domain) &&
	     !str_ends_nocase(domain, arena_printf(a, ".%.*s", STR_ARG(w->signer.domain)))))
		return verb_misused(w->verb,
				    "--identity %s must be [NAME]@DOMAIN with a domain within %s",
				    w->identity, w->domain);
	w->signer.identity = text;
	return EXIT_DONE;
}

static int numbers_read(struct sign_options *w)
{
	uint64_t n;

	w->when = clock_wall();
	if (w->now != NULL) {
		if (!str_to_u64(str_of(w->now), &n) || n > (uint64_t)1 << 52)
			return verb_misused(w->verb, "--now %s is no number of seconds since 1970",
					    w->now);
		w->when = (int64_t)n;
	}
	if (w->expire != NULL) {
		if (!str_to_u64(str_of(w->expire), &n) || n == 0 || n > (uint64_t)1 << 40)
			return verb_misused(w->verb, "--expire %s is no number of seconds over 0",
					    w->expire);
		w->signer.expire_s = (int64_t)n;
	}
	return EXIT_DONE;
}

static int values_read(struct sign_options *w, struct arena *a)
{
	int status = EXIT_DONE;

	if (!dkim_name_read(a, str_of(w->domain), false, &w->signer.domain))
		return verb_misused(w->verb, "--domain %s is not a domain name", w->domain);
	if (!w->by_configuration && !dkim_name_read(a, str_of(w->selector), true, &w->signer.selector))
		return verb_misused(w->verb, "--selector %s is not a selector", w->selector);
	if (!canons_read(w->canon != NULL ? w->canon : "relaxed/relaxed", &w->signer))
		return verb_misused(
			w->verb,
			"--canon %s: simple or relaxed for header and body, as relaxed/relaxed",
			w->canon);
	if (w->algorithm != NULL && strcmp(w->algorithm, "rsa-sha256") != 0 &&
	    strcmp(w->algorithm, "ed25519-sha256") != 0)
		return verb_misused(w->verb, "--algorithm %s: rsa-sha256 or ed25519-sha256",
				    w->algorithm);
	if (w->headers != NULL)
		status = headers_read(w, a);
	if (status == EXIT_DONE && w->identity != NULL)
		status = identity_read(w, a);
	return status == EXIT_DONE ? numbers_read(w) : status;
}

static int key_read(struct sign_options *w)
{
	char text[KEY_FILE_MAX];
	size_t n = 0;
	ssize_t got = 0;
	str why = STR_NONE;
	int fd = verb_open_file(str_of(w->key_file));

	if (fd < 0)
		return verb_fail(EXIT_FINDING, w->verb,
				 "%s: %s: name a file with a private key in PEM format",
				 w->key_file, strerror(errno));
	while (n < sizeof(text) && (got = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)got;
	close(fd);
	if (got < 0)
		return verb_fail(EXIT_FINDING, w->verb, "%s: %s", w->key_file, strerror(errno));
	w->key = key_private_pem((str){ text, n }, &why);
	crypt_wipe(text, sizeof(text));
	if (w->key == NULL)
		return verb_fail(EXIT_FINDING, w->verb, "%s: %.*s", w->key_file, STR_ARG(why));
	return EXIT_DONE;
}

static int key_judge(struct sign_options *w)
{
	enum key_kind kind = key_kind(w->key);

	if (kind == KEY_OTHER)
		return verb_fail(EXIT_FINDING, w->verb,
				 "%s holds neither an RSA nor an Ed25519 key: DKIM knows no other",
				 w->key_file);
	if (w->algorithm != NULL && (strcmp(w->algorithm, "rsa-sha256") == 0) != (kind == KEY_RSA))
		return verb_misused(w->verb, "%s holds an %s key, which cannot sign %s",
				    w->key_file, kind == KEY_RSA ? "RSA" : "Ed25519", w->algorithm);
	if (kind == KEY_RSA && (key_bits(w->key) < 1024 || key_bits(w->key) > DKIM_BITS_MAX))
		return verb_fail(EXIT_FINDING, w->verb,
				 "%s holds an RSA key of %u bits: no verifier takes it, use 2048 "
				 "(RFC 8301 3.2)",
				 w->key_file, key_bits(w->key));
	w->signer.key = w->key;
	return EXIT_DONE;
}

int sign_options_read(struct sign_options *w, const char *verb, bool sealing, int argc, char **argv,
		      struct arena *a)
{
	int status;

	*w = (struct sign_options){ .verb = verb };
	status = line_read(w, sealing, argc, argv);
	if (status == EXIT_DONE)
		status = values_read(w, a);
	if (status == EXIT_DONE && !w->by_configuration)
		status = key_read(w);
	return status == EXIT_DONE && !w->by_configuration ? key_judge(w) : status;
}

void sign_options_drop(struct sign_options *w)
{
	if (w->key != NULL)
		key_free(w->key);
	w->key = NULL;
}
