/* SPDX-License-Identifier: ISC */
/*
 * dkim_signature: reads a DKIM-Signature, ARC-Message-Signature or ARC-Seal
 * field (RFC 6376 3.5, RFC 8616 4, RFC 8617 4.1.2, 4.1.3).
 *
 * Invariant: d= and s= come out only as names that are, byte for byte, what
 * DNS will be asked for; anything else is a fault and stays empty, so that a
 * forged `d=legit.example(.attacker.example` never becomes something shorter.
 * Linear in the field; any thread.
 */
#include "modules/dkim/dkim.h"

#include <string.h>

#include "smtpd/mail/addr.h"
#include "smtpd/mail/tags.h"

/* As written, with room for folding; an 8,192-bit signature takes 1,368. */
#define B_TEXT_MAX  ((size_t)16 << 10)
#define BH_TEXT_MAX ((size_t)1 << 10)

static bool is_ascii(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

bool dkim_name_read(struct arena *a, str text, bool one_label, str *out)
{
	str name;

	*out = STR_NONE;
	if (text.n == 0 || text.p[text.n - 1] == '.')
		return false;
	if (is_ascii(text)) {
		if (!domain_valid(text))
			return false;
		name = str_keep_lower(a, text);
	} else if (!domain_to_ascii(a, text, &name) || !domain_valid(name)) {
		return false;
	}
	if (name.n == 0 || (!one_label && !str_holds(name, '.')))
		return false;
	*out = name;
	return true;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = to_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* dkim-quoted-printable (RFC 6376 2.11); white space is no part of the value. */
static bool quoted_printable(struct arena *a, str in, str *out)
{
	str s = tags_squeeze(a, in);
	char *p = arena_alloc(a, s.n + 1);
	size_t n = 0;

	if (p == NULL)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '=') {
			p[n++] = s.p[i];
			continue;
		}
		if (i + 2 >= s.n || hex_value(s.p[i + 1]) < 0 || hex_value(s.p[i + 2]) < 0)
			return false;
		p[n++] = (char)(hex_value(s.p[i + 1]) * 16 + hex_value(s.p[i + 2]));
		i += 2;
	}
	*out = (str){ p, n };
	return true;
}

/* i= must lie in d= (RFC 6376 3.5); without it, it is "@d". */
static const char *identity_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text, local, domain;
	size_t at;

	if (!tags_get(t, "i", &text)) {
		sig->identity = arena_printf(a, "@%.*s", STR_ARG(sig->domain));
		return NULL;
	}
	if (!quoted_printable(a, text, &text))
		return "i= is not dkim-quoted-printable";
	at = str_rfind(text, '@');
	if (at == text.n)
		return "i= holds no @";
	local = str_head(text, at);
	if (!dkim_name_read(a, str_skip(text, at + 1), false, &domain))
		return "the domain in i= is not a domain name";
	if (!str_eq(domain, sig->domain) &&
	    !(domain.n > sig->domain.n && str_ends_nocase(domain, sig->domain) &&
	      domain.p[domain.n - sig->domain.n - 1] == '.'))
		return "the domain in i= is not within d=";
	char *p = arena_alloc(a, local.n + 1 + domain.n);

	if (p == NULL)
		return "there is no memory left to read i=";
	if (local.n > 0)
		memcpy(p, local.p, local.n);
	p[local.n] = '@';
	memcpy(p + local.n + 1, domain.p, domain.n);
	sig->identity = (str){ p, local.n + 1 + domain.n };
	return NULL;
}

static const char *algorithm_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	(void)a;
	sig->algorithm = DKIM_UNKNOWN_ALGORITHM;
	if (!tags_get(t, "a", &sig->algorithm_text))
		return "a= is missing";
	if (str_is_nocase(sig->algorithm_text, "rsa-sha256"))
		sig->algorithm = DKIM_RSA_SHA256;
	else if (str_is_nocase(sig->algorithm_text, "ed25519-sha256"))
		sig->algorithm = DKIM_ED25519_SHA256;
	else if (str_is_nocase(sig->algorithm_text, "rsa-sha1"))
		sig->algorithm = DKIM_RSA_SHA1;
	if (sig->algorithm == DKIM_RSA_SHA1)
		return "rsa-sha1 is historic and proves nothing any more (RFC 8301 3.1): the signer has to use rsa-sha256";
	return sig->algorithm == DKIM_UNKNOWN_ALGORITHM ? "a= names an algorithm that is not known" : NULL;
}

static bool canon_word(str s, enum canon *out)
{
	if (str_is_nocase(s, "simple"))
		*out = CANON_SIMPLE;
	else if (str_is_nocase(s, "relaxed"))
		*out = CANON_RELAXED;
	else
		return false;
	return true;
}

static const char *canon_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text, header;

	(void)a;
	/* Without c= ARC's sealers mean relaxed, as for their seals; the community's suite holds them to it. */
	sig->header_canon = sig->body_canon = sig->kind == DKIM_ARC_MESSAGE ? CANON_RELAXED : CANON_SIMPLE;
	if (!tags_get(t, "c", &text))
		return NULL;
	sig->header_canon = sig->body_canon = CANON_SIMPLE;
	str_cut(&text, '/', &header);
	if (!canon_word(header, &sig->header_canon) || (text.p != NULL && !canon_word(text, &sig->body_canon)))
		return "c= names a canonical form that is not known";
	return NULL;
}

static const char *names_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	if (!tags_get(t, "d", &sig->domain))
		return "d= is missing";
	if (!dkim_name_read(a, sig->domain, false, &sig->domain))
		return "d= is not a domain name";
	if (!tags_get(t, "s", &sig->selector))
		return "s= is missing";
	if (!dkim_name_read(a, sig->selector, true, &sig->selector))
		return "s= is not a selector";
	return NULL;
}

static bool field_name_valid(str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] < 33 || name.p[i] > 126)
			return false;
	return name.n > 0;
}

/* What h= must hold and must not: without From a DKIM-Signature is none at all
 * (RFC 6376 5.4); a message signature of ARC does not cover seals (RFC 8617 4.1.2). */
static const char *headers_weigh(const struct dkim_signature *sig)
{
	bool from = false, seal = false;

	for (size_t i = 0; i < sig->nh; i++) {
		from = from || str_is_nocase(sig->h[i], "From");
		seal = seal || str_is_nocase(sig->h[i], "ARC-Seal");
	}
	if (sig->kind == DKIM_ARC_MESSAGE)
		return seal ? "h= covers ARC-Seal" : NULL;
	return from ? NULL : "h= does not cover From";
}

static const char *headers_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text, rest, name;
	size_t n = 1;

	if (!tags_get(t, "h", &text))
		return "h= is missing";
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == ':';
	if (n > DKIM_H_MAX)
		return "h= names more fields than are looked at (500)";
	sig->h = ARENA_ARRAY(a, str, n);
	if (sig->h == NULL)
		return "there is no memory left to read h=";
	for (rest = text; str_cut(&rest, ':', &name);) {
		name = str_trim(name);
		if (name.n == 0 && sig->kind == DKIM_ARC_MESSAGE)
			continue;
		if (!field_name_valid(name))
			return "h= holds something that is no field name";
		sig->h[sig->nh++] = name;
	}
	return headers_weigh(sig);
}

static const char *no_headers_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text;

	(void)a, (void)sig;
	return tags_get(t, "h", &text) ? "h= stands in it: a seal has none (RFC 8617 4.1.3)" : NULL;
}

static const char *value_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text;

	if (!tags_get(t, "b", &text))
		return "b= is missing";
	if (text.n > B_TEXT_MAX)
		return "b= is longer than any signature";
	sig->b_text = tags_squeeze(a, text);
	return base64_decode(a, text, true, &sig->b) && sig->b.n > 0 ? NULL : "b= is not base64";
}

static const char *body_hash_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text;

	if (!tags_get(t, "bh", &text))
		return "bh= is missing";
	if (text.n > BH_TEXT_MAX)
		return "bh= is longer than any hash";
	if (!base64_decode(a, text, true, &sig->bh))
		return "bh= is not base64";
	return sig->bh.n == 32 ? NULL : "bh= is not a SHA-256 hash: its length is wrong";
}

static bool all_digits(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_digit(s.p[i]))
			return false;
	return s.n > 0;
}

/* What 64 bits cannot hold counts as the largest (RFC 6376 3.5: as infinite). */
static bool number_read(str s, uint64_t most, uint64_t *out)
{
	if (!all_digits(s))
		return false;
	if (!str_to_u64(s, out) || *out > most)
		*out = most;
	return true;
}

static const char *numbers_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text;
	uint64_t n;

	(void)a;
	if (tags_get(t, "l", &text)) {
		if (!number_read(text, BODYHASH_WHOLE - 1, &sig->length))
			return "l= is not a number";
		sig->has_length = true;
	}
	if (tags_get(t, "t", &text)) {
		if (!number_read(text, INT64_MAX, &n))
			return "t= is not a number";
		sig->time = (int64_t)n;
		sig->has_time = true;
	}
	if (tags_get(t, "x", &text)) {
		if (!number_read(text, INT64_MAX, &n))
			return "x= is not a number";
		sig->expiry = (int64_t)n;
		sig->has_expiry = true;
	}
	if (sig->has_time && sig->has_expiry && sig->expiry <= sig->time)
		return "x= is not later than t=";
	return NULL;
}

/* q=: the only way we know must be among them (RFC 6376 3.5). */
static const char *query_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text, word;

	(void)a, (void)sig;
	if (!tags_get(t, "q", &text))
		return NULL;
	while (str_cut(&text, ':', &word))
		if (str_is_nocase(str_trim(word), "dns/txt") || str_is_nocase(str_trim(word), "dns"))
			return NULL;
	return "q= names no way to the key that is known (dns/txt)";
}

static const char *version_read(struct arena *a, const struct tags *t, struct dkim_signature *sig)
{
	str text;

	(void)a, (void)sig;
	if (!tags_get(t, "v", &text))
		return "v= is missing";
	return str_is(text, "1") ? NULL : "v= is not 1";
}

void dkim_signature_parse(struct arena *a, const struct field *f, enum dkim_kind kind, struct dkim_signature *out)
{
	typedef const char *reader(struct arena *, const struct tags *, struct dkim_signature *);
	/* Names first, so that a fault further on still says whose signature it is. */
	static reader *const readers[][9] = {
		[DKIM_SIGNATURE] = { names_read, algorithm_read, value_read, body_hash_read, headers_read, canon_read,
		                     numbers_read, query_read, NULL },
		[DKIM_ARC_MESSAGE] = { names_read, algorithm_read, value_read, body_hash_read, headers_read, canon_read,
		                       numbers_read, query_read, NULL },
		[DKIM_ARC_SEAL] = { names_read, algorithm_read, value_read, no_headers_read, numbers_read, NULL },
	};
	struct arena scratch;       /* values are views into the field; the list itself need not stay */
	struct tags t;
	const char *fault = NULL;

	memset(out, 0, sizeof(*out));
	out->field = f;
	out->kind = kind;
	arena_init(&scratch, ARENA_UNBOUNDED);
	tags_parse(&scratch, f->value, &t);
	for (reader *const *read = readers[kind]; *read != NULL; read++) {
		const char *why = (*read)(a, &t, out);

		if (fault == NULL)
			fault = why;
	}
	if (out->domain.n > 0 && kind == DKIM_SIGNATURE) {
		const char *why = identity_read(a, &t, out);

		if (fault == NULL)
			fault = why;
	}
	if (kind == DKIM_SIGNATURE) {
		const char *why = version_read(a, &t, out);

		if (why != NULL)
			fault = why;
	}
	if (t.duplicate.n > 0)
		fault = "a tag stands in it twice";
	else if (t.malformed)
		fault = "it is not a list of tag=value";
	arena_fini(&scratch);
	out->fault = a->spent ? "there is no memory left to read it" : fault;
}

bool dkim_expired(const struct dkim_signature *sig, int64_t now)
{
	return sig->has_expiry && sig->expiry < now;
}
