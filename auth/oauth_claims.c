/* SPDX-License-Identifier: ISC */
/*
 * What a token says, or the issuer of it: is it for us, now, for mail, and
 * whose is it?  RFC 7519 4.1, RFC 7662 2.2, RFC 9068 2.2.
 *
 * Login desk.
 */
#include <string.h>

#include "auth/oauth.h"
#include "smtpd/base/json.h"

#define LEEWAY_S    60             /* clocks differ (RFC 7519 4.1.4, 4.1.5) */
#define ADDRESS_MOST 512

static const char *check_issuer(const struct oauth_rule *r, const struct json *o, bool introspected)
{
	const struct json *iss = json_at(o, "iss");
	str name;

	if (r->issuer[0] == '\0' || (introspected && iss == NULL))
		return NULL;
	if (json_get_text(iss, &name) && str_is(name, r->issuer))
		return NULL;
	return "the token is another issuer's";
}

/* One string or a list of them (RFC 7519 4.1.3). */
static const char *check_audience(const struct oauth_rule *r, const struct json *o)
{
	const struct json *aud = json_at(o, "aud");
	str name;

	if (r->audience[0] == '\0' || (json_get_text(aud, &name) && str_is(name, r->audience)))
		return NULL;
	for (size_t i = 0; i < json_count(aud); i++)
		if (json_get_text(json_nth(aud, i), &name) && str_is(name, r->audience))
			return NULL;
	return "the token is for somebody else";
}

/* A token of a JWT's kind has to end some time; an answer need not say when. */
static const char *check_times(const struct json *o, bool introspected, int64_t now, int64_t *expires)
{
	const struct json *exp = json_at(o, "exp"), *nbf = json_at(o, "nbf");
	int64_t when;

	*expires = 0;
	if (exp == NULL && !introspected)
		return "the token has no end";
	if (exp != NULL && (!json_get_whole(exp, expires) || *expires <= now - LEEWAY_S))
		return "the token has expired";
	if (nbf != NULL && (!json_get_whole(nbf, &when) || when > now + LEEWAY_S))
		return "the token is not valid yet";
	return NULL;
}

static bool has_word(str words, str wanted)
{
	str word;

	while (str_cut(&words, ' ', &word))
		if (str_eq(word, wanted))
			return true;
	return false;
}

/* "scope" is one string with spaces (RFC 8693 4.2), a list with some issuers. */
static bool is_granted(const struct json *o, str wanted)
{
	const struct json *scope = json_at(o, "scope");
	str text;

	if (scope == NULL)
		scope = json_at(o, "scp");
	if (json_get_text(scope, &text))
		return has_word(text, wanted);
	for (size_t i = 0; i < json_count(scope); i++)
		if (json_get_text(json_nth(scope, i), &text) && str_eq(text, wanted))
			return true;
	return false;
}

static const char *check_scope(const struct oauth_rule *r, const struct json *o)
{
	str rest = str_of(r->scope), word;

	while (str_cut(&rest, ' ', &word))
		if (word.n > 0 && !is_granted(o, word))
			return "the token does not grant the scope";
	return NULL;
}

/* An address that its owner could choose freely is nobody's. */
static const char *take_owner(const struct oauth_rule *r, const struct json *o, struct arena *a,
                              str *address)
{
	bool verified = true;
	str name;

	json_get_bool(json_at(o, "email_verified"), &verified);
	if (strcmp(r->user_claim, "email") == 0 && !verified)
		return "the token's e-mail address was never verified";
	if (!json_get_text(json_at(o, r->user_claim), &name) || name.n == 0 || name.n > ADDRESS_MOST)
		return "the token does not say whose it is";
	*address = str_keep(a, name);
	return address->n > 0 ? NULL : "out of memory";
}

const char *oauth_claims(const struct oauth_rule *r, const struct json *o, bool introspected,
                         int64_t now, struct arena *a, str *address, int64_t *expires)
{
	const char *wrong = check_issuer(r, o, introspected);

	if (wrong == NULL)
		wrong = check_audience(r, o);
	if (wrong == NULL)
		wrong = check_times(o, introspected, now, expires);
	if (wrong == NULL)
		wrong = check_scope(r, o);
	if (wrong == NULL)
		wrong = take_owner(r, o, a, address);
	return wrong;
}
