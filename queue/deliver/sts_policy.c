/* SPDX-License-Identifier: ISC */
/*
 * The grammar of RFC 8461: sts_record_parse for 3.1, sts_policy_parse for 3.2,
 * sts_mx_matches for 4.1.  Pure; every byte is a stranger's.
 */
#include "queue/deliver/sts_policy.h"

#include <string.h>

#define LINES_MOST 400              /* of a file that we are ready to look at */

const char *sts_mode_text(enum sts_mode m)
{
	return m == STS_ENFORCE ? "enforce" : m == STS_TESTING ? "testing" : "none";
}

/* ---- the TXT record ----------------------------------------------------------------- */

/* sts-id = 1*32(ALPHA / DIGIT) */
static bool is_id(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]))
			return false;
	return s.n >= 1 && s.n <= 32;
}

/* (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".") */
static bool is_field_name(str s)
{
	if (s.n < 1 || s.n > 32 || !is_alnum(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_alnum(s.p[i]) && memchr("_-.", s.p[i], 3) == NULL)
			return false;
	return true;
}

/* %x21-3A / %x3C / %x3E-7E: printable, without "=", ";" and space. */
static bool is_field_value(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == ';' || s.p[i] == '=')
			return false;
	return s.n > 0;
}

static str trim_wsp(str s)
{
	while (s.n > 0 && is_wsp(s.p[0]))
		s = str_skip(s, 1);
	while (s.n > 0 && is_wsp(s.p[s.n - 1]))
		s.n--;
	return s;
}

enum sts_record sts_record_parse(str txt, str *id)
{
	str rest = txt, field;
	bool seen = false;

	*id = STR_NONE;
	if (!str_cut(&rest, ';', &field) || rest.p == NULL || !str_starts(field, "v=STSv1") ||
	    trim_wsp(field).n != sizeof("v=STSv1") - 1)
		return STS_RECORD_OTHER;
	while (str_cut(&rest, ';', &field)) {
		str name, value = trim_wsp(field);

		if (value.n == 0 && rest.p == NULL)
			break;                   /* the ";" at the end */
		if (!str_cut(&value, '=', &name) || value.p == NULL || !is_field_name(name))
			return STS_RECORD_BAD;
		if (str_is(name, "id")) {
			if (seen || !is_id(value))
				return STS_RECORD_BAD;
			*id = value;
			seen = true;
		} else if (!is_field_value(value)) {
			return STS_RECORD_BAD;
		}
	}
	return seen ? STS_RECORD_GOOD : STS_RECORD_BAD;
}

/* ---- the policy file ------------------------------------------------------------------ */

struct reading {
	struct arena      *arena;
	struct sts_policy *out;
	bool               version, mode, max_age;
	str                why;
};

static bool bad(struct reading *r, const char *sentence)
{
	r->why = str_of(sentence);
	return false;
}

/* Letters, digits, hyphens and underscores between dots; "xn--" covers the rest. */
static bool is_host(str s)
{
	str label;

	if (s.n == 0 || s.n > 253)
		return false;
	while (str_cut(&s, '.', &label)) {
		if (label.n == 0 || label.n > 63)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
	}
	return true;
}

static bool read_version(struct reading *r, str value)
{
	if (r->version)
		return true;                     /* RFC 8461 3.2: all entries except the first are ignored */
	r->version = true;
	return str_is(value, "STSv1") || bad(r, "its version is not STSv1");
}

static bool read_mode(struct reading *r, str value)
{
	if (r->mode)
		return true;
	r->mode = true;
	if (str_is(value, "enforce"))
		r->out->mode = STS_ENFORCE;
	else if (str_is(value, "testing"))
		r->out->mode = STS_TESTING;
	else if (str_is(value, "none"))
		r->out->mode = STS_NONE;
	else
		return bad(r, "its mode is none of enforce, testing and none");
	return true;
}

/* 1*10(DIGIT); what is above the RFC's year counts as a year. */
static bool read_max_age(struct reading *r, str value)
{
	if (r->max_age)
		return true;
	r->max_age = true;
	if (value.n > 10 || !str_to_u64(value, &r->out->max_age_s))
		return bad(r, "its max_age is no number of seconds");
	if (r->out->max_age_s > STS_MAX_AGE_MOST)
		r->out->max_age_s = STS_MAX_AGE_MOST;
	return true;
}

static bool read_mx(struct reading *r, str value)
{
	str host = str_starts(value, "*.") ? str_skip(value, 2) : value;

	if (!is_host(host) || value.n > 255)
		return bad(r, "one of its mx lines is no host name");
	if (r->out->mx.n == STS_MX_MOST)
		return bad(r, "it names more than 100 mx hosts");
	r->out->mx.v[r->out->mx.n++] = str_keep_lower(r->arena, value);
	return true;
}

/* NUL, CR in the middle, other control bytes: not a text file. */
static bool is_text(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return true;
}

static bool read_line(struct reading *r, str line)
{
	static const struct { const char *name; bool (*read)(struct reading *, str value); } fields[] = {
		{ "version", read_version }, { "mode", read_mode }, { "max_age", read_max_age }, { "mx", read_mx },
	};
	str name, value = line;

	if (!is_text(line))
		return bad(r, "it holds bytes that are not text");
	if (!str_cut(&value, ':', &name) || value.p == NULL || !is_field_name(trim_wsp(name)))
		return bad(r, "one of its lines is not `name: value`");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (str_is(trim_wsp(name), fields[i].name))
			return fields[i].read(r, trim_wsp(value));
	return true;                             /* an extension: RFC 8461 3.2 */
}

static bool read_lines(struct reading *r, str file)
{
	str line;

	r->out->mx.v = ARENA_ARRAY(r->arena, str, STS_MX_MOST);
	r->out->lines.v = ARENA_ARRAY(r->arena, str, LINES_MOST);
	if (r->out->mx.v == NULL || r->out->lines.v == NULL)
		return bad(r, "there was no memory to read it");
	while (str_cut(&file, '\n', &line)) {
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (trim_wsp(line).n == 0)
			continue;                /* not in the grammar, common, and harmless */
		if (r->out->lines.n == LINES_MOST)
			return bad(r, "it has more than 400 lines");
		if (!read_line(r, line))
			return false;
		r->out->lines.v[r->out->lines.n++] = str_keep(r->arena, line);
	}
	return true;
}

static bool is_complete(struct reading *r)
{
	if (!r->version)
		return bad(r, "it has no version");
	if (!r->mode)
		return bad(r, "it has no mode");
	if (!r->max_age)
		return bad(r, "it has no max_age");
	if (r->out->mx.n == 0 && r->out->mode != STS_NONE)
		return bad(r, "it names no mx host");
	return !r->arena->spent || bad(r, "there was no memory to read it");
}

bool sts_policy_parse(str file, struct arena *a, struct sts_policy *out, str *why)
{
	struct reading r = { .arena = a, .out = out };
	str id = out->id;

	*out = (struct sts_policy){ .id = id };
	*why = STR_NONE;
	if (file.n > STS_POLICY_MOST)
		bad(&r, "it is larger than 64 KiB");
	else if (read_lines(&r, file) && is_complete(&r))
		return true;
	*why = r.why;
	*out = (struct sts_policy){ .id = id };
	return false;
}

/* ---- matching ---------------------------------------------------------------------------- */

static bool matches(str pattern, str host)
{
	size_t dot;

	if (!str_starts(pattern, "*."))
		return str_eq_nocase(pattern, host);
	dot = str_find(host, '.');
	return dot > 0 && dot < host.n && str_eq_nocase(str_skip(pattern, 2), str_skip(host, dot + 1));
}

bool sts_mx_matches(const struct sts_policy *p, str host)
{
	if (host.n > 0 && host.p[host.n - 1] == '.')
		host.n--;
	for (size_t i = 0; i < p->mx.n; i++)
		if (host.n > 0 && matches(p->mx.v[i], host))
			return true;
	return false;
}
