/* SPDX-License-Identifier: ISC */
/*
 * domainkeys_signature: what the peer and its DNS write: signature fields, key
 * and policy records, the sending address (RFC 4870 3.2.3, 3.3, 3.6).
 *
 * As with DKIM, d= and s= come out only as names that are, byte for byte, what
 * DNS will be asked for.  Linear; any thread.
 */
#include "modules/domainkeys/domainkeys.h"

#include <string.h>

#include "modules/dkim/dkim.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/tags.h"

#define B_TEXT_MAX ((size_t)16 << 10)
#define SENDER_MAX ((size_t)8 << 10)   /* of a Sender field: one address and a name */

/* ---- DomainKey-Signature --------------------------------------------------- */

static const char *names_read(struct arena *a, const struct tags *t,
			      struct domainkeys_signature *sig)
{
	str domain, selector;

	if (!tags_get(t, "d", &domain))
		return "d= is missing";
	if (!dkim_name_read(a, domain, false, &sig->domain))
		return "d= is not a domain name";
	if (!tags_get(t, "s", &selector))
		return "s= is missing";
	if (!dkim_name_read(a, selector, true, &sig->selector))
		return "s= is not a selector";
	return NULL;
}

static const char *ways_read(struct arena *a, const struct tags *t,
			     struct domainkeys_signature *sig)
{
	str text;

	(void)a;
	if (tags_get(t, "a", &text) && !str_is_nocase(text, "rsa-sha1"))
		return "a= names an algorithm that DomainKeys does not know (rsa-sha1)";
	if (tags_get(t, "q", &text) && !str_is_nocase(text, "dns"))
		return "q= names no way to the key that is known (dns)";
	if (!tags_get(t, "c", &text))
		return "c= is missing";
	if (str_is_nocase(text, "nofws"))
		sig->canon = CANON_NOFWS;
	else if (str_is_nocase(text, "simple"))
		sig->canon = CANON_SIMPLE;
	else
		return "c= names a canonical form that is not known (simple, nofws)";
	return NULL;
}

static const char *headers_read(struct arena *a, const struct tags *t,
				struct domainkeys_signature *sig)
{
	str text, name;
	size_t n = 1;

	if (!tags_get(t, "h", &text))
		return NULL;
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == ':';
	if (n > DKIM_H_MAX)
		return "h= names more fields than are looked at (500)";
	sig->h = ARENA_ARRAY(a, str, n);
	if (sig->h == NULL)
		return "there is no memory left to read h=";
	sig->has_h = true;
	while (str_cut(&text, ':', &name)) {
		name = tags_squeeze(a, name);
		if (name.n == 0)
			return "h= holds something that is no field name";
		sig->h[sig->nh++] = name;
	}
	return NULL;
}

static const char *b_read(struct arena *a, const struct tags *t, struct domainkeys_signature *sig)
{
	str text;

	if (!tags_get(t, "b", &text))
		return "b= is missing";
	if (text.n > B_TEXT_MAX)
		return "b= is longer than any signature";
	return base64_decode(a, text, true, &sig->b) && sig->b.n > 0 ? NULL : "b= is not base64";
}

void domainkeys_signature_parse(struct arena *a, const struct field *f,
				struct domainkeys_signature *out)
{
	typedef const char *reader(struct arena *, const struct tags *,
				   struct domainkeys_signature *);
	static reader *const readers[] = { names_read, ways_read, headers_read, b_read };
	struct arena scratch;       /* values are views into the field */
	struct tags t;

	memset(out, 0, sizeof(*out));
	out->field = f;
	arena_init(&scratch, ARENA_UNBOUNDED);
	tags_parse(&scratch, f->value, &t);
	for (size_t i = 0; i < COUNT(readers); i++) {
		const char *why = readers[i](a, &t, out);

		if (out->fault == NULL)
			out->fault = why;
	}
	if (t.duplicate.n > 0)
		out->fault = "a tag stands in it twice";
	else if (t.malformed)
		out->fault = "it is not a list of tag=value";
	arena_fini(&scratch);
	if (a->spent)
		out->fault = "there is no memory left to read it";
}

bool domainkeys_signature_covers(const struct domainkeys_signature *sig, const char *name)
{
	for (size_t i = 0; i < sig->nh; i++)
		if (str_is_nocase(sig->h[i], name))
			return true;
	return !sig->has_h;
}

/* ---- records ---------------------------------------------------------------- */

static void refused(struct domainkeys_key *k, enum domainkeys_result r, const char *reason)
{
	k->result = r;
	k->reason = reason;
}

/* RFC 4870 asks for 512 bits at least; what can be factored proves nothing. */
static void key_weigh(struct domainkeys_key *k)
{
	if (key_bits(k->key) < 1024)
		refused(k, DOMAINKEYS_POLICY, "the key is too short: under 1024 bits");
	else if (key_bits(k->key) > DKIM_BITS_MAX)
		refused(k, DOMAINKEYS_POLICY, "the key is too long: over 8192 bits");
	else if (!key_exponent_odd_32(k->key))
		refused(k, DOMAINKEYS_POLICY,
			"the key's public exponent is even or longer than 32 bits");
}

static void key_read(struct arena *a, const struct tags *t, struct domainkeys_key *k)
{
	str text, p, der;

	if (t->duplicate.n > 0 || t->malformed || !tags_get(t, "p", &p)) {
		refused(k, DOMAINKEYS_PERMERROR, "the key record is malformed");
		return;
	}
	k->testing = tags_get(t, "t", &text) && str_is_nocase(text, "y");
	if (tags_get(t, "g", &text))
		k->granularity =
			str_is(text, "*") ? STR_NONE : text; /* "*" is DKIM's way to write it */
	if (tags_squeeze(a, p).n == 0)
		refused(k, DOMAINKEYS_PERMERROR, "the key is revoked: p= is empty");
	else if (tags_get(t, "k", &text) && !str_is_nocase(text, "rsa"))
		refused(k, DOMAINKEYS_PERMERROR, "the key is no RSA key");
	else if (!base64_decode(a, p, true, &der) || (k->key = key_public_rsa(der)) == NULL)
		refused(k, DOMAINKEYS_PERMERROR,
			"the key record is malformed: p= holds no RSA key");
	else
		key_weigh(k);
}

void domainkeys_key_parse(struct arena *a, str record, struct domainkeys_key *out)
{
	struct tags t;

	*out = (struct domainkeys_key){ .result = DOMAINKEYS_PASS };
	if (record.n > DKIM_KEY_MAX) {
		refused(out, DOMAINKEYS_PERMERROR, "the key record is longer than any key needs");
		return;
	}
	tags_parse(a, record, &t);
	key_read(a, &t, out);
	if (out->result != DOMAINKEYS_PASS)
		domainkeys_key_drop(out);
}

void domainkeys_key_drop(struct domainkeys_key *k)
{
	if (k->key != NULL)
		key_free(k->key);
	k->key = NULL;
}

bool domainkeys_policy_parse(struct arena *a, str record, struct domainkeys_policy *out)
{
	struct tags t;
	str text;

	*out = (struct domainkeys_policy){ 0 };
	if (record.n > DKIM_KEY_MAX)
		return false;
	tags_parse(a, record, &t);
	if (t.n == 0 || t.malformed || t.duplicate.n > 0)
		return false;
	if (tags_get(&t, "o", &text)) {
		if (!str_is(text, "-") && !str_is(text, "~"))
			return false;
		out->signs_all = str_is(text, "-");
	}
	out->testing = tags_get(&t, "t", &text) && str_is_nocase(text, "y");
	return true;
}

/* ---- the sending address ----------------------------------------------------- */

static const struct field *only_one(const struct fields *f, const char *name, bool *several)
{
	const struct field *first = fields_first(f, name);

	*several = first != NULL && fields_count(f, name) > 1;
	return first;
}

/* NULL: it cannot be read. */
static const struct mailbox *first_address(struct arena *a, const struct field *f,
					   const struct mailboxes *read)
{
	struct mailboxes *list = ARENA_NEW(a, struct mailboxes);

	if (read == NULL && list != NULL && f->value.n <= SENDER_MAX) {
		mailboxes_parse(a, f->value, list);
		read = list;
	}
	if (read == NULL || read->n == 0 || read->malformed || !read->v[0].usable ||
	    read->v[0].path.is_literal)
		return NULL;
	return &read->v[0];
}

void domainkeys_sender_find(struct arena *a, const struct fields *f, const struct from *from,
                            struct domainkeys_sender *out)
{
	const struct mailbox *first;
	bool several;

	*out = (struct domainkeys_sender){ .header = "Sender" };
	out->field = only_one(f, "Sender", &several);
	if (out->field == NULL) {
		out->header = "From";
		out->field = only_one(f, "From", &several);
	}
	if (out->field == NULL) {
		out->fault = "the message has neither Sender nor From";
		return;
	}
	if (several) {
		out->fault = "the field with the sending address stands there several times";
		return;
	}
	first = first_address(a, out->field, field_is(out->field, "From") ? from->mailboxes : NULL);
	if (first == NULL) {
		out->fault = "the sending address cannot be read";
		return;
	}
	out->local = first->path.local;
	out->domain = first->path.domain;
}
