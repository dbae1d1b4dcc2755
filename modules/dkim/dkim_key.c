/* SPDX-License-Identifier: ISC */
/*
 * dkim_key: key records (RFC 6376 3.6.1, RFC 8463 4), read and written.
 *
 * A record is capped in size before it is read, and a key is made from it only
 * when everything else about the record fits.  Any thread.
 */
#include "modules/dkim/dkim.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/mail/tags.h"

#define RECORDS_MAX 16    /* TXT records looked at under one name */

str dkim_key_name(struct arena *a, const struct dkim_signature *sig)
{
	return arena_printf(a, "%.*s._domainkey.%.*s", STR_ARG(sig->selector), STR_ARG(sig->domain));
}

/* A colon-separated list that holds one of two words. */
static bool list_holds(str list, const char *word, const char *other)
{
	str item;

	while (str_cut(&list, ':', &item)) {
		item = str_trim(item);
		if (str_is_nocase(item, word) || (other != NULL && str_is_nocase(item, other)))
			return true;
	}
	return false;
}

static void refused(struct dkim_key *k, enum dkim_result r, const char *reason)
{
	k->result = r;
	k->reason = reason;
}

static void key_make(struct arena *a, str p, enum dkim_algorithm want, struct dkim_key *k)
{
	str der;

	if (!base64_decode(a, p, true, &der)) {
		refused(k, DKIM_PERMERROR, "the key record is malformed: p= is not base64");
		return;
	}
	k->key = want == DKIM_ED25519_SHA256 ? key_public_ed25519(der) : key_public_rsa(der);
	if (k->key == NULL)
		refused(k, DKIM_PERMERROR, want == DKIM_ED25519_SHA256
		        ? "the key record is malformed: p= holds no Ed25519 key"
		        : "the key record is malformed: p= holds no RSA key");
}

static void tags_judge(struct arena *a, const struct tags *t, enum dkim_algorithm want, struct dkim_key *k)
{
	str text, p;
	const char *kind = want == DKIM_ED25519_SHA256 ? "ed25519" : "rsa";

	if (tags_get(t, "v", &text) && (!str_is(text, "DKIM1") || !str_is(t->v[0].name, "v"))) {
		refused(k, DKIM_PERMERROR, "the key record is malformed: v= is not DKIM1 in front");
		return;
	}
	if (t->duplicate.n > 0) {
		refused(k, DKIM_PERMERROR, "the key record is malformed: a tag stands in it twice");
		return;
	}
	if (!tags_get(t, "p", &p)) {
		refused(k, DKIM_PERMERROR, "the key record is malformed: p= is missing");
		return;
	}
	if (t->malformed) {
		refused(k, DKIM_PERMERROR, "the key record is malformed: it is not a list of tag=value");
		return;
	}
	if (tags_get(t, "t", &text)) {
		k->testing = list_holds(text, "y", NULL);
		k->same_domain = list_holds(text, "s", NULL);
	}
	if (tags_squeeze(a, p).n == 0)
		refused(k, DKIM_PERMERROR, "the key is revoked: p= is empty");
	else if (!str_is_nocase(tags_get(t, "k", &text) ? text : STR("rsa"), kind))
		refused(k, DKIM_PERMERROR, "the key is of another kind than the signature says");
	else if (tags_get(t, "h", &text) && !list_holds(text, "sha256", NULL))
		refused(k, DKIM_PERMERROR, "the key record does not allow sha256");
	else if (tags_get(t, "s", &text) && !list_holds(text, "email", "*"))
		refused(k, DKIM_PERMERROR, "the key record is not for e-mail");
	else
		key_make(a, p, want, k);
}

void dkim_key_parse(struct arena *a, str record, enum dkim_algorithm want, struct dkim_key *out)
{
	struct tags t;

	memset(out, 0, sizeof(*out));
	out->result = DKIM_PASS;
	if (record.n > DKIM_KEY_MAX) {
		refused(out, DKIM_PERMERROR, "the key record is longer than any key needs");
		return;
	}
	tags_parse(a, record, &t);
	if (t.n == 0)
		refused(out, DKIM_PERMERROR, "the key record is malformed: it is not a list of tag=value");
	else
		tags_judge(a, &t, want, out);
}

/* With several records the verifier may choose (RFC 6376 6.1.2): the first
 * that can be used, else the first one's fault. */
static void records_choose(struct arena *a, const struct dns_answer *ans, enum dkim_algorithm want, struct dkim_key *out)
{
	for (size_t i = 0; i < ans->n && i < RECORDS_MAX; i++) {
		struct dkim_key k;

		dkim_key_parse(a, ans->rr[i].txt, want, &k);
		if (i == 0 || k.result == DKIM_PASS) {
			dkim_key_drop(out);
			*out = k;
		}
		if (k.result == DKIM_PASS)
			break;
	}
	out->records = ans->n;
}

void dkim_key_choose(struct arena *a, const struct dns_answer *ans, enum dkim_algorithm want, struct dkim_key *out)
{
	memset(out, 0, sizeof(*out));
	switch (ans->status) {
	case DNS_FOUND:
		records_choose(a, ans, want, out);
		break;
	case DNS_NXDOMAIN:
		refused(out, DKIM_PERMERROR, "there is no key: the name does not exist in DNS");
		break;
	case DNS_NODATA:
		refused(out, DKIM_PERMERROR, "there is no key: the name has no TXT record");
		break;
	case DNS_BADNAME:
		refused(out, DKIM_PERMERROR, "there is no key: its name is longer than DNS allows");
		break;
	case DNS_SERVFAIL:
		refused(out, DKIM_TEMPERROR, "the key could not be fetched: DNS server failure");
		break;
	case DNS_TIMEOUT:
		refused(out, DKIM_TEMPERROR, "the key could not be fetched: no answer from DNS in time");
		break;
	case DNS_BOGUS:
		refused(out, DKIM_TEMPERROR, "the key could not be fetched: DNSSEC validation failed");
		break;
	}
}

void dkim_key_drop(struct dkim_key *k)
{
	if (k->key != NULL)
		key_free(k->key);
	k->key = NULL;
}

enum err dkim_key_record(const struct key *key, struct arena *a, str *record)
{
	unsigned char *der = NULL;
	size_t n = 0;
	enum err e = key_public_der(key, &der, &n);

	if (e != OK)
		return e;
	str p = base64_encode(a, (str){ (const char *)der, n });

	free(der);
	*record = arena_printf(a, "v=DKIM1; k=%s; p=%.*s",
	                       key_kind(key) == KEY_ED25519 ? "ed25519" : "rsa", STR_ARG(p));
	return a->spent ? ERR_MEMORY : OK;
}
