/* SPDX-License-Identifier: ISC */
/*
 * postern sign: a message in, the same message with a DKIM-Signature in front
 * out.  The same code as the server's; needs no configuration.
 */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/clock.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/verbs.h"

#define KEY_FILE_MAX ((size_t)64 << 10)

struct wanted {
	const char *domain, *selector, *key_file, *algorithm, *canon, *headers, *identity, *expire, *now;
	struct dkim_signer signer;
	struct strs names;
	struct key *key;
	int64_t     when;
};

static int read_options(int argc, char **argv, struct wanted *w)
{
	enum { DOMAIN, SELECTOR, KEY, ALGORITHM, CANON, HEADERS, IDENTITY, EXPIRE, NOW };
	static const struct option options[] = {
		{ "domain", required_argument, NULL, DOMAIN },     { "selector", required_argument, NULL, SELECTOR },
		{ "key", required_argument, NULL, KEY },           { "algorithm", required_argument, NULL, ALGORITHM },
		{ "canon", required_argument, NULL, CANON },       { "headers", required_argument, NULL, HEADERS },
		{ "identity", required_argument, NULL, IDENTITY }, { "expire", required_argument, NULL, EXPIRE },
		{ "now", required_argument, NULL, NOW },           { 0 },
	};
	const char **values[] = {
		[DOMAIN] = &w->domain, [SELECTOR] = &w->selector, [KEY] = &w->key_file, [ALGORITHM] = &w->algorithm,
		[CANON] = &w->canon, [HEADERS] = &w->headers, [IDENTITY] = &w->identity, [EXPIRE] = &w->expire, [NOW] = &w->now,
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		if (c == ':')
			return verb_misused("sign", "%s needs a value", argv[optind - 1]);
		if (c == '?')
			return verb_misused("sign", "unknown option %s", argv[optind - 1]);
		*values[c] = optarg;
	}
	if (optind < argc)
		return verb_misused("sign", "unexpected word \"%s\"", argv[optind]);
	if (w->domain == NULL || w->selector == NULL || w->key_file == NULL)
		return verb_misused("sign", "--domain, --selector and --key are all needed");
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
	return canon_read(header, &s->header_canon) && (rest.p == NULL || canon_read(rest, &s->body_canon));
}

static int headers_read(struct wanted *w, struct arena *a)
{
	str rest = str_of(w->headers), name;
	bool from = false;

	w->names.v = ARENA_ARRAY(a, str, strlen(w->headers) + 1);
	while (w->names.v != NULL && str_cut(&rest, ':', &name)) {
		name = str_trim(name);
		for (size_t i = 0; i < name.n; i++)
			if (name.p[i] <= ' ' || name.p[i] > '~' || name.p[i] == ';')
				return verb_misused("sign", "--headers: \"%.*s\" is no field name", STR_ARG(name));
		if (name.n == 0)
			return verb_misused("sign", "--headers: a name between two colons is empty");
		from = from || str_is_nocase(name, "From");
		w->names.v[w->names.n++] = name;
	}
	if (!from)
		return verb_misused("sign", "--headers has to hold From (RFC 6376 5.4)");
	if (w->names.n > DKIM_H_MAX)
		return verb_misused("sign", "--headers holds more than %d names", DKIM_H_MAX);
	w->signer.headers = &w->names;
	return EXIT_DONE;
}

static int identity_read(struct wanted *w, struct arena *a)
{
	str text = str_of(w->identity), domain;
	size_t at = str_rfind(text, '@');

	if (at == text.n || !dkim_name_read(a, str_skip(text, at + 1), false, &domain) ||
	    (!str_eq(domain, w->signer.domain) &&
	     !str_ends_nocase(domain, arena_printf(a, ".%.*s", STR_ARG(w->signer.domain)))))
		return verb_misused("sign", "--identity %s must be [NAME]@DOMAIN with a domain within %s", w->identity, w->domain);
	w->signer.identity = text;
	return EXIT_DONE;
}

static int numbers_read(struct wanted *w)
{
	uint64_t n;

	w->when = clock_wall();
	if (w->now != NULL) {
		if (!str_to_u64(str_of(w->now), &n) || n > (uint64_t)1 << 52)
			return verb_misused("sign", "--now %s is no number of seconds since 1970", w->now);
		w->when = (int64_t)n;
	}
	if (w->expire != NULL) {
		if (!str_to_u64(str_of(w->expire), &n) || n == 0 || n > (uint64_t)1 << 40)
			return verb_misused("sign", "--expire %s is no number of seconds over 0", w->expire);
		w->signer.expire_s = (int64_t)n;
	}
	return EXIT_DONE;
}

static int values_read(struct wanted *w, struct arena *a)
{
	int status = EXIT_DONE;

	if (!dkim_name_read(a, str_of(w->domain), false, &w->signer.domain))
		return verb_misused("sign", "--domain %s is not a domain name", w->domain);
	if (!dkim_name_read(a, str_of(w->selector), true, &w->signer.selector))
		return verb_misused("sign", "--selector %s is not a selector", w->selector);
	if (!canons_read(w->canon != NULL ? w->canon : "relaxed/relaxed", &w->signer))
		return verb_misused("sign", "--canon %s: simple or relaxed for header and body, as relaxed/relaxed", w->canon);
	if (w->algorithm != NULL && strcmp(w->algorithm, "rsa-sha256") != 0 && strcmp(w->algorithm, "ed25519-sha256") != 0)
		return verb_misused("sign", "--algorithm %s: rsa-sha256 or ed25519-sha256", w->algorithm);
	if (w->headers != NULL)
		status = headers_read(w, a);
	if (status == EXIT_DONE && w->identity != NULL)
		status = identity_read(w, a);
	return status == EXIT_DONE ? numbers_read(w) : status;
}

static int key_read(struct wanted *w)
{
	char text[KEY_FILE_MAX];
	size_t n = 0;
	ssize_t got = 0;
	str why = STR_NONE;
	int fd = verb_open_file(str_of(w->key_file));

	if (fd < 0)
		return verb_fail(EXIT_FINDING, "sign", "%s: %s: name a file with a private key in PEM format",
		                 w->key_file, strerror(errno));
	while (n < sizeof(text) && (got = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)got;
	close(fd);
	if (got < 0)
		return verb_fail(EXIT_FINDING, "sign", "%s: %s", w->key_file, strerror(errno));
	w->key = key_private_pem((str){ text, n }, &why);
	crypt_wipe(text, sizeof(text));
	if (w->key == NULL)
		return verb_fail(EXIT_FINDING, "sign", "%s: %.*s", w->key_file, STR_ARG(why));
	return EXIT_DONE;
}

static int key_judge(struct wanted *w)
{
	enum key_kind kind = key_kind(w->key);

	if (kind == KEY_OTHER)
		return verb_fail(EXIT_FINDING, "sign", "%s holds neither an RSA nor an Ed25519 key: DKIM knows no other", w->key_file);
	if (w->algorithm != NULL && (strcmp(w->algorithm, "rsa-sha256") == 0) != (kind == KEY_RSA))
		return verb_misused("sign", "%s holds an %s key, which cannot sign %s", w->key_file,
		                    kind == KEY_RSA ? "RSA" : "Ed25519", w->algorithm);
	if (kind == KEY_RSA && (key_bits(w->key) < 1024 || key_bits(w->key) > DKIM_BITS_MAX))
		return verb_fail(EXIT_FINDING, "sign", "%s holds an RSA key of %u bits: no verifier takes it, use 2048 (RFC 8301 3.2)",
		                 w->key_file, key_bits(w->key));
	w->signer.key = w->key;
	return EXIT_DONE;
}

static int sign(struct wanted *w, struct message_in *m, struct arena *a)
{
	struct bodyhash *hashes = bodyhash_new(a);
	int wish = hashes == NULL ? -1 : dkim_sign_wish(&w->signer, hashes);
	str field;
	enum err e = ERR_MEMORY;

	if (fields_first(&m->splitter.fields, "From") == NULL) {
		if (hashes != NULL)
			bodyhash_drop(hashes);
		return verb_fail(EXIT_FINDING, "sign", "the message has no From field: a signature has to cover it");
	}
	if (wish >= 0) {
		bodyhash_feed(hashes, m->body_front);
		bodyhash_feed(hashes, m->body);
		bodyhash_end(hashes);
		e = dkim_sign(&w->signer, &m->splitter.fields, bodyhash_result(hashes, wish), w->when, a, &field);
	}
	if (hashes != NULL)
		bodyhash_drop(hashes);
	if (e != OK)
		return verb_fail(e == ERR_MEMORY ? EXIT_LATER : EXIT_FINDING, "sign", "the message cannot be signed: %s",
		                 e == ERR_BAD ? "its header has more fields than h= can name" : err_text(e));
	message_out(stdout, m, field);
	fwrite(m->raw.p + m->raw.head, 1, m->raw.n, stdout);
	return EXIT_DONE;
}

static int read_and_sign(struct wanted *w, struct arena *a)
{
	struct message_in m;
	const char *why = NULL;
	int status;

	if (!message_in_read(&m, STDIN_FILENO, &why))
		status = verb_fail(EXIT_LATER, "sign", "standard input could not be read: %s", why);
	else {
		message_in_split(&m, a);
		status = m.splitter.over != SPLIT_OK
		       ? verb_fail(EXIT_FINDING, "sign", "the header is larger than any server takes: it was not signed")
		       : sign(w, &m, a);
	}
	message_in_fini(&m);
	return status;
}

int verb_sign(int argc, char **argv)
{
	struct wanted w = { .domain = NULL };
	struct arena a;
	int status = read_options(argc, argv, &w);

	if (status != EXIT_DONE)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	status = values_read(&w, &a);
	if (status == EXIT_DONE)
		status = key_read(&w);
	if (status == EXIT_DONE)
		status = key_judge(&w);
	if (status == EXIT_DONE)
		status = read_and_sign(&w, &a);
	if (w.key != NULL)
		key_free(w.key);
	arena_fini(&a);
	return status;
}
