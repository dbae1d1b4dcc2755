/* SPDX-License-Identifier: ISC */
/*
 * The last part of a line: Dovecot's extra fields, KEY or KEY=VALUE, parted by
 * spaces.
 *
 * Dovecot's own that concern a login are honoured (user, allow_nets, nologin);
 * ours are named postern_… but for `require`; the others are somebody else's.
 * Dovecot hands them all on, so none of them is a secret, and it expands %, so
 * what we write holds none.  Pure; any thread.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "auth/inside.h"

#define NETS_MOST 64

const char *const auth_require_words[] = {
	"password", "app-password", "certificate", "totp", "oauth", NULL,
};

/* ---- single values ---------------------------------------------------------------- */

static const char *take_user(struct arena *a, str value, struct fields *out)
{
	return accounts_key(a, value, &out->user)
	       ? NULL : "the field user= is no address: write it like user=alice@example.org";
}

/* Dovecot's "local" stands for who comes over no network: none of our clients. */
static const char *take_nets(struct arena *a, str value, struct fields *out)
{
	str one, why;

	out->nets = ARENA_ARRAY(a, struct cidr, NETS_MOST);
	out->nnets = 0;
	if (out->nets == NULL)
		return "out of memory: try again";
	while (str_cut(&value, ',', &one)) {
		if (out->nnets == NETS_MOST)
			return "the field allow_nets= names over 64 networks: make them fewer";
		if (str_is(one, "local"))
			continue;
		if (!cidr_parse(one, &out->nets[out->nnets], a, &why))
			return "the field allow_nets= is no list of networks such as "
			       "192.0.2.0/24,2001:db8::/32: mend it";
		out->nnets++;
	}
	if (out->nnets == 0)           /* all are shut out, which no list of ours can say */
		out->nologin = true;
	return NULL;
}

static const char *take_nologin(struct arena *a, str value, struct fields *out)
{
	(void)a;
	(void)value;
	out->nologin = true;
	return NULL;
}

static const char *take_send_only(struct arena *a, str value, struct fields *out)
{
	(void)a;
	(void)value;
	out->send_only = true;
	return NULL;
}

static const char *take_made(struct arena *a, str value, struct fields *out)
{
	(void)a;
	return fields_time(value, false, &out->made)
	       ? NULL : "the field postern_made= is no time such as 2026-11-22T10:00:00Z: mend it";
}

static const char *take_expires(struct arena *a, str value, struct fields *out)
{
	(void)a;
	return fields_time(value, true, &out->expires)
	       ? NULL : "the field postern_expires= is no day such as 2027-01-01: mend it";
}

static const char *take_label(struct arena *a, str value, struct fields *out)
{
	out->label = fields_unescape(a, value);
	return NULL;
}

static const char *take_quick(struct arena *a, str value, struct fields *out)
{
	out->has_quick = quick_parse(value, a, &out->quick);
	return out->has_quick ? NULL : "the field postern_hash= is damaged: remove this device "
	                               "password and make another";
}

static const char *take_require(struct arena *a, str value, struct fields *out)
{
	(void)a;
	for (int i = 0; auth_require_words[i] != NULL; i++)
		if (str_is_nocase(value, auth_require_words[i])) {
			out->has_require = true;
			out->require = (enum auth_require)i;
			return NULL;
		}
	return "the field require= is none of password, app-password, certificate, totp, oauth: "
	       "mend it";
}

static const struct {
	const char *name;
	const char *(*take)(struct arena *, str value, struct fields *);
} known[] = {
	{ "user", take_user }, { "allow_nets", take_nets }, { "nologin", take_nologin },
	{ "require", take_require }, { "postern_send_only", take_send_only },
	{ "postern_made", take_made }, { "postern_expires", take_expires },
	{ "postern_label", take_label }, { "postern_hash", take_quick },
};

const char *fields_parse(struct arena *a, str extra, struct fields *out)
{
	str field, name, value;
	const char *wrong;

	memset(out, 0, sizeof(*out));
	while (str_cut(&extra, ' ', &field)) {
		name = str_head(field, str_find(field, '='));
		value = str_skip(field, name.n + 1);
		for (size_t i = 0; i < COUNT(known); i++) {
			if (!str_is(name, known[i].name))
				continue;
			wrong = known[i].take(a, value, out);
			if (wrong != NULL)
				return wrong;
		}
	}
	return a->spent ? "out of memory: try again" : NULL;
}

/* ---- labels ------------------------------------------------------------------------ */

static bool is_bare(char c)
{
	return is_alnum(c) || c == '-' || c == '.' || (unsigned char)c >= 0x80;
}

str fields_escape(struct arena *a, str s)
{
	struct buf b;
	str out;

	buf_init(&b, BUF_UNBOUNDED);
	for (size_t i = 0; i < s.n; i++) {
		if (is_bare(s.p[i]))
			buf_add_char(&b, s.p[i]);
		else
			buf_addf(&b, "=%02X", (unsigned char)s.p[i]);
	}
	out = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return out;
}

static int hex_of(char c)
{
	c = to_lower(c);
	return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lenient: what is no escape stands for itself. */
str fields_unescape(struct arena *a, str s)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;

	if (out == NULL)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++) {
		int high = i + 2 < s.n ? hex_of(s.p[i + 1]) : -1;
		int low = high >= 0 ? hex_of(s.p[i + 2]) : -1;

		if (s.p[i] == '=' && low >= 0) {
			out[n++] = (char)(high << 4 | low);
			i += 2;
		} else {
			out[n++] = s.p[i];
		}
	}
	return (str){ out, n };
}

/* ---- times -------------------------------------------------------------------------- */

static bool digits(str *s, size_t n, char behind, int *out)
{
	uint32_t v;

	if (s->n < n || !str_to_u32(str_head(*s, n), &v))
		return false;
	*out = (int)v;
	*s = str_skip(*s, n);
	if (behind == '\0')
		return true;
	if (s->n == 0 || s->p[0] != behind)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

bool fields_time(str text, bool at_end, int64_t *out)
{
	struct tm tm = { 0 }, again;
	time_t t;

	if (!digits(&text, 4, '-', &tm.tm_year) || !digits(&text, 2, '-', &tm.tm_mon) ||
	    !digits(&text, 2, '\0', &tm.tm_mday))
		return false;
	if (text.n > 0) {
		if (text.p[0] != 'T')
			return false;
		text = str_skip(text, 1);
		if (!digits(&text, 2, ':', &tm.tm_hour) || !digits(&text, 2, ':', &tm.tm_min) ||
		    !digits(&text, 2, 'Z', &tm.tm_sec) || text.n > 0)
			return false;
		at_end = false;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	again = tm;
	t = timegm(&again);
	/* The 31st of June would come back as the 1st of July. */
	if (again.tm_mday != tm.tm_mday || again.tm_mon != tm.tm_mon ||
	    again.tm_hour != tm.tm_hour || again.tm_min != tm.tm_min || again.tm_sec != tm.tm_sec ||
	    t <= 0)
		return false;
	*out = (int64_t)t + (at_end ? 86400 - 1 : 0);
	return true;
}

str fields_time_text(int64_t t, char out[static FIELDS_TIME])
{
	time_t seconds = (time_t)t;
	struct tm tm;

	gmtime_r(&seconds, &tm);
	return (str){ out, strftime(out, FIELDS_TIME, "%Y-%m-%dT%H:%M:%SZ", &tm) };
}
