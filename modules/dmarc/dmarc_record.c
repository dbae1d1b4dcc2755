/* SPDX-License-Identifier: ISC */
/*
 * dmarc_record: reads one TXT record (RFC 9989 4.7, 4.8).
 *
 * v=DMARC1 in front makes it a DMARC record; after that a fault costs the tag
 * it stands in and nothing else.  A tag that occurs twice counts as not valid.
 * Pure, linear; the text is borrowed.
 */
#include "modules/dmarc/dmarc.h"

#include <string.h>

static str trim(str s)
{
	while (s.n > 0 && is_wsp(s.p[0]))
		s = str_skip(s, 1);
	while (s.n > 0 && is_wsp(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool tag_cut(str item, str *name, str *value)
{
	size_t at = str_find(item, '=');

	*name = trim(str_head(item, at));
	*value = trim(str_skip(item, at + 1));
	return at < item.n && name->n > 0;
}

enum { P, SP, NP, ADKIM, ASPF, T, PSD, RUA, RUF, FO, TAGS };

static const char *const names[TAGS] = {
	[P] = "p", [SP] = "sp", [NP] = "np", [ADKIM] = "adkim", [ASPF] = "aspf", [T] = "t", [PSD] = "psd",
	[RUA] = "rua", [RUF] = "ruf", [FO] = "fo",
};

struct found { str value; unsigned times; };

static void tag_note(struct found *found, str name, str value)
{
	for (size_t i = 0; i < TAGS; i++)
		if (str_is_nocase(name, names[i])) {
			found[i].value = value;
			found[i].times++;
		}
}

static enum dmarc_tag policy_of(const struct found *f)
{
	if (f->times == 0)
		return DMARC_TAG_ABSENT;
	if (f->times > 1)
		return DMARC_TAG_BAD;
	if (str_is_nocase(f->value, "none"))
		return DMARC_TAG_NONE;
	if (str_is_nocase(f->value, "quarantine"))
		return DMARC_TAG_QUARANTINE;
	return str_is_nocase(f->value, "reject") ? DMARC_TAG_REJECT : DMARC_TAG_BAD;
}

static bool says(const struct found *f, const char *word)
{
	return f->times == 1 && str_is_nocase(f->value, word);
}

/* "!10m" behind a URI was RFC 7489's; it is dropped (RFC 9989 4.8). */
static str without_size(str uri)
{
	size_t at = str_rfind(uri, '!');

	return at < uri.n ? str_head(uri, at) : uri;
}

static bool hex(char c)
{
	return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f');
}

/* RFC 3986: a scheme, a colon, and nothing that a URI cannot hold. */
static bool uri_valid(str uri)
{
	size_t colon = str_find(uri, ':');

	if (colon == uri.n || colon == 0 || !is_alpha(uri.p[0]))
		return false;
	for (size_t i = 1; i < colon; i++)
		if (!is_alnum(uri.p[i]) && uri.p[i] != '+' && uri.p[i] != '-' && uri.p[i] != '.')
			return false;
	uri = str_skip(uri, colon + 1);
	for (size_t i = 0; i < uri.n; i++) {
		char c = uri.p[i];

		if (c == '%') {
			if (i + 2 >= uri.n || !hex(uri.p[i + 1]) || !hex(uri.p[i + 2]))
				return false;
			i += 2;
		} else if (!is_alnum(c) && (c == '\0' || strchr("-._~:/?#[]@!$&'()*+,;=", c) == NULL)) {
			return false;
		}
	}
	return uri.n > 0;
}

static bool any_uri_valid(str list)
{
	str uri;

	while (str_cut(&list, ',', &uri))
		if (uri_valid(trim(without_size(trim(uri)))))
			return true;
	return false;
}

static str value_once(const struct found *f)
{
	return f->times == 1 ? f->value : STR_NONE;
}

bool dmarc_record_parse(str text, struct dmarc_record *out)
{
	struct found found[TAGS] = { 0 };
	str rest = text, item, name, value;

	memset(out, 0, sizeof(*out));
	if (!str_cut(&rest, ';', &item) || !tag_cut(item, &name, &value))
		return false;
	if (!str_is_nocase(name, "v") || !str_is(value, "DMARC1"))
		return false;
	while (str_cut(&rest, ';', &item))
		if (tag_cut(item, &name, &value))
			tag_note(found, name, value);
	out->p = policy_of(&found[P]);
	out->sp = policy_of(&found[SP]);
	out->np = policy_of(&found[NP]);
	out->adkim_strict = says(&found[ADKIM], "s");
	out->aspf_strict = says(&found[ASPF], "s");
	out->testing = says(&found[T], "y");
	out->psd = says(&found[PSD], "y") ? DMARC_PSD_YES : says(&found[PSD], "n") ? DMARC_PSD_NO : DMARC_PSD_UNKNOWN;
	out->rua = value_once(&found[RUA]);
	out->ruf = value_once(&found[RUF]);
	out->fo = value_once(&found[FO]);
	out->rua_valid = any_uri_valid(out->rua);
	out->text = text;
	return true;
}

bool dmarc_policies_bad(const struct dmarc_record *r)
{
	return r->p <= DMARC_TAG_BAD || r->sp == DMARC_TAG_BAD || r->np == DMARC_TAG_BAD;
}
