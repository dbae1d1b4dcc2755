/* SPDX-License-Identifier: ISC */
/*
 * The gate: may a key sign, after what each authoritative server says of its
 * record?  Pure: replies in, verdict and one sentence out.  Any thread.
 */
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/mail/tags.h"
#include "smtpd/setup/dns/direct_inside.h"

enum { NAMED_MAX = 8, SHOWN_OCTETS = 40, SAID_MAX = 4096 };

/* What one server shows, and how a sentence names it: "show(s) the record". */
enum sight_kind { SEES_NOTHING, SEES_RECORD, SEES_OTHER, SEES_ALIAS };
struct sight {
	enum sight_kind kind;
	str             text;                 /* SEES_NOTHING: why; else what is shown */
	str             alias;
	bool            same_key;             /* SEES_OTHER: by its wording only */
};

/* ---- how a record differs ------------------------------------------------------------- */

/* Octets of strangers, for a sentence. */
static str shown(str octets, struct arena *a)
{
	struct buf b;
	str text;

	buf_init(&b, 2 * SHOWN_OCTETS + 8);
	buf_add_char(&b, '"');
	for (size_t i = 0; i < octets.n && i < SHOWN_OCTETS; i++)
		buf_add_char(&b, octets.p[i] >= ' ' && octets.p[i] <= '~' && octets.p[i] != '"' ? octets.p[i] : '?');
	buf_add(&b, octets.n > SHOWN_OCTETS ? STR(" …\"") : STR("\""));
	text = str_keep(a, buf_str(&b));
	buf_fini(&b);
	return text;
}

static size_t common(str a, str b)
{
	size_t i = 0;

	while (i < a.n && i < b.n && a.p[i] == b.p[i])
		i++;
	return i;
}

static str without(str s, const char *chars, struct arena *a)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; out != NULL && i < s.n; i++)
		if (strchr(chars, s.p[i]) == NULL || s.p[i] == '\0')
			out[n++] = s.p[i];
	return (str){ out, n };
}

/* The classic faults of web forms have names; what is none of them is another record. */
static str difference(str seen, str wanted, struct arena *a)
{
	size_t same = common(seen, wanted);

	if (seen.n == 0)
		return STR("an empty record");
	if (same == seen.n)
		return arena_printf(a, "the record cut off after %zu of %zu octets", seen.n, wanted.n);
	if (same == wanted.n)
		return arena_printf(a, "the record with %zu octets too many behind it", seen.n - wanted.n);
	if (str_eq(without(seen, " \t\r\n", a), without(wanted, " \t\r\n", a)))
		return arena_printf(a, "the record with white space that differs, from octet %zu on", same + 1);
	if (str_eq(without(seen, " \t\r\n\"'()\\", a), without(wanted, " \t\r\n\"'()\\", a)))
		return arena_printf(a, "the record with quotation marks or backslashes in it, from octet %zu on", same + 1);
	if (str_eq_nocase(seen, wanted))
		return arena_printf(a, "the record with capital and small letters changed, from octet %zu on", same + 1);
	if (same > 20)
		return arena_printf(a, "a record that differs from octet %zu on (%zu octets, %zu are right)", same + 1, seen.n,
		                    wanted.n);
	return arena_printf(a, "another record, %.*s", STR_ARG(shown(seen, a)));
}

static bool tag_is(const struct tags *t, const char *name, str wanted, bool optional, struct arena *a)
{
	str value;

	if (!tags_get(t, name, &value))
		return optional;
	return str_eq(tags_squeeze(a, value), wanted);
}

/* One of the words between colons; without the tag every word is. */
static bool tag_allows(const struct tags *t, const char *name, const char *word, struct arena *a)
{
	str value, one;

	if (!tags_get(t, name, &value))
		return true;
	value = tags_squeeze(a, value);
	while (str_cut(&value, ':', &one))
		if (str_is(one, word) || str_is(one, "*"))
			return true;
	return false;
}

/* RFC 6376 3.6.1: what a verifier takes for the same key, and for sha256 and mail. */
static bool is_same_key(str seen, str wanted, struct arena *a)
{
	struct tags have, want;
	str key, kind = STR("rsa");

	tags_parse(a, seen, &have);
	tags_parse(a, wanted, &want);
	if (have.malformed || have.duplicate.n > 0 || !tags_get(&want, "p", &key) || key.n == 0)
		return false;
	tags_get(&want, "k", &kind);
	return tag_is(&have, "p", tags_squeeze(a, key), false, a) && tag_is(&have, "k", kind, str_is(kind, "rsa"), a) &&
	       tag_is(&have, "v", STR("DKIM1"), true, a) && tag_allows(&have, "h", "sha256", a) && tag_allows(&have, "s", "email", a);
}

static str several(const struct direct_reply *r, str wanted, struct arena *a)
{
	for (size_t i = 0; i < r->n; i++)
		if (str_eq(r->records[i], wanted))
			return arena_printf(a, "%zu records, the right one among them (one may be there)", r->n);
	return arena_printf(a, "%zu records, none of them right", r->n);
}

/* ---- one server -------------------------------------------------------------------------- */

static struct sight one_other(const struct direct_reply *r, str wanted, struct arena *a)
{
	bool same = r->authoritative && is_same_key(r->records[0], wanted, a);
	str text = difference(r->records[0], wanted, a);

	if (same)
		text = arena_printf(a, "%.*s (the same key in other words)", STR_ARG(text));
	return (struct sight){ SEES_OTHER, text, STR_NONE, same };
}

static struct sight sight_of(const struct direct_reply *r, str wanted, struct arena *a)
{
	bool right = r->n == 1 && str_eq(r->records[0], wanted);

	if (r->truncated || dns_failed(r->status) || r->status == DNS_BADNAME)
		return (struct sight){ SEES_NOTHING, r->why, STR_NONE, false };
	if (!r->authoritative && (r->n == 0 || right))
		return (struct sight){ SEES_NOTHING, STR("it answers without authority: the zone is not set up there"), STR_NONE, false };
	if (right)
		return (struct sight){ SEES_RECORD, STR("the record"), STR_NONE, false };
	if (r->n == 1)
		return one_other(r, wanted, a);
	if (r->n > 1)
		return (struct sight){ SEES_OTHER, several(r, wanted, a), STR_NONE, false };
	if (r->cname.n > 0)
		return (struct sight){ SEES_ALIAS, arena_printf(a, "an alias of %.*s", STR_ARG(r->cname)), r->cname, false };
	if (r->status == DNS_NXDOMAIN)
		return (struct sight){ SEES_OTHER, STR("no such name (NXDOMAIN)"), STR_NONE, false };
	return (struct sight){ SEES_OTHER, STR("no TXT record"), STR_NONE, false };
}

str gate_reply_text(const struct direct_reply *r, str wanted, struct arena *a)
{
	struct sight seen = sight_of(r, wanted, a);

	if (seen.kind != SEES_NOTHING)
		return seen.text;
	return r->truncated ? STR("truncated, as what does not fit is: TCP has it")
	                    : arena_printf(a, "no answer%s%.*s", seen.text.n > 0 ? ": " : "", STR_ARG(seen.text));
}

static bool same_sight(const struct sight *a, const struct sight *b)
{
	return a->kind == b->kind && str_eq(a->text, b->text);
}

static struct sight both(const struct sight *udp, const struct sight *tcp, bool truncated, struct arena *a)
{
	if (udp->kind == SEES_NOTHING && tcp->kind == SEES_NOTHING) {
		if (truncated)
			return (struct sight){ SEES_NOTHING, arena_printf(a, "over UDP it points to TCP, and there: %.*s",
			                                                  STR_ARG(tcp->text)), STR_NONE, false };
		return tcp->text.n > 0 && udp->text.n == 0 ? *tcp : *udp;
	}
	if (udp->kind == SEES_NOTHING)
		return *tcp;
	if (tcp->kind == SEES_NOTHING || same_sight(udp, tcp))
		return *udp;
	return (struct sight){ SEES_OTHER, arena_printf(a, "%.*s over UDP and %.*s over TCP", STR_ARG(udp->text),
	                                                STR_ARG(tcp->text)), STR_NONE, false };
}

/* A server that was not asked has not answered. */
static struct sight server_sight(const struct direct_server *s, const struct direct_reply *r, size_t n, str wanted,
                                 struct arena *a)
{
	struct sight seen[2] = { { SEES_NOTHING, STR_NONE, STR_NONE, false }, { SEES_NOTHING, STR_NONE, STR_NONE, false } };
	bool truncated = false;

	for (size_t i = 0; i < n; i++) {
		if (r[i].server != s)
			continue;
		seen[r[i].tcp] = sight_of(&r[i], wanted, a);
		truncated |= r[i].truncated && !r[i].tcp;
	}
	return both(&seen[0], &seen[1], truncated, a);
}

/* ---- the sentence --------------------------------------------------------------------------- */

static str server_text(const struct direct_server *s, struct arena *a)
{
	return arena_printf(a, "%.*s (%.*s)", STR_ARG(s->name), STR_ARG(s->address));
}

/* "a, b and c show X"; those that say the same as the i-th, who is the first of them. */
static void tell_group(struct buf *out, const struct direct_zone *z, const struct sight *seen, size_t i, struct arena *a)
{
	size_t n = 0, told = 0;

	for (size_t k = i; k < z->n; k++)
		n += same_sight(&seen[i], &seen[k]);
	for (size_t k = i; k < z->n && told < NAMED_MAX; k++) {
		if (!same_sight(&seen[i], &seen[k]))
			continue;
		buf_add(out, told == 0 ? STR("") : told + 1 == n ? STR(" and ") : STR(", "));
		buf_add(out, server_text(&z->servers[k], a));
		told++;
	}
	if (told < n)
		buf_addf(out, " and %zu more", n - told);
	if (seen[i].kind != SEES_NOTHING)
		buf_addf(out, " %s %.*s", n == 1 ? "shows" : "show", STR_ARG(seen[i].text));
	else if (seen[i].text.n > 0)
		buf_addf(out, " %s not answer (%.*s)", n == 1 ? "does" : "do", STR_ARG(seen[i].text));
	else
		buf_addf(out, " %s not answer", n == 1 ? "does" : "do");
}

static bool is_first(const struct sight *seen, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (same_sight(&seen[k], &seen[i]))
			return false;
	return true;
}

static void tell(struct buf *out, const struct direct_zone *z, const struct sight *seen, struct arena *a)
{
	static const enum sight_kind order[] = { SEES_OTHER, SEES_ALIAS, SEES_RECORD, SEES_NOTHING };

	for (size_t o = 0; o < COUNT(order); o++) {
		for (size_t i = 0; i < z->n; i++) {
			if (seen[i].kind != order[o] || !is_first(seen, i))
				continue;
			if (buf_str(out).n > 0)
				buf_add(out, STR("; "));
			tell_group(out, z, seen, i, a);
		}
	}
	for (size_t i = 0; i < z->nameless.n && i < NAMED_MAX; i++)
		buf_addf(out, "%s%.*s has no address", buf_str(out).n > 0 ? "; " : "", STR_ARG(z->nameless.v[i]));
}

static str sentence(const struct direct_zone *z, const struct sight *seen, struct arena *a)
{
	struct buf b;
	str text;

	buf_init(&b, SAID_MAX);
	tell(&b, z, seen, a);
	text = b.failed ? STR("the servers do not agree, in more ways than there is room for here") : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return text;
}

/* ---- the verdict ------------------------------------------------------------------------------ */

static enum gate_sight weigh(const struct sight *seen, size_t n, struct gate_look *look)
{
	const struct sight *first = NULL;
	bool agree = true, same_key = true;

	for (size_t i = 0; i < n; i++) {
		if (seen[i].kind == SEES_NOTHING)
			continue;
		look->answered++;
		if (first == NULL)
			first = &seen[i];
		agree &= same_sight(first, &seen[i]);
		if (seen[i].kind == SEES_OTHER)
			agree = false;
		same_key &= seen[i].kind == SEES_RECORD || seen[i].same_key;
	}
	look->same_key = first != NULL && same_key && look->answered * 2 >= look->servers;
	if (look->servers == 0)
		return GATE_NOWHERE;
	if (first != NULL && !agree)
		return GATE_OTHER;
	if (first == NULL || look->answered * 2 < look->servers)
		return GATE_SILENT;
	if (first->kind == SEES_RECORD)
		return GATE_SHOWN;
	look->alias = first->alias;
	return GATE_OTHER;
}

static str all_fine(const struct direct_zone *z, struct arena *a)
{
	if (z->n == 1)
		return arena_printf(a, "the one server of %.*s shows the record", STR_ARG(z->name));
	return arena_printf(a, "all %zu servers of %.*s show the record", z->n, STR_ARG(z->name));
}

void gate_judge(const struct direct_zone *z, const struct direct_reply *replies, size_t n, str name, str wanted,
                struct arena *a, struct gate_look *look)
{
	struct sight *seen = ARENA_ARRAY(a, struct sight, z->n + 1);

	*look = (struct gate_look){ .sight = GATE_SILENT, .servers = z->n + z->nameless.n, .said = STR("no memory") };
	look->silent.v = ARENA_ARRAY(a, str, look->servers + 1);
	if (seen == NULL || look->silent.v == NULL)
		return;
	for (size_t i = 0; i < z->n; i++) {
		seen[i] = server_sight(&z->servers[i], replies, n, wanted, a);
		if (seen[i].kind == SEES_NOTHING)
			look->silent.v[look->silent.n++] = server_text(&z->servers[i], a);
	}
	for (size_t i = 0; i < z->nameless.n; i++)
		look->silent.v[look->silent.n++] = z->nameless.v[i];
	look->sight = weigh(seen, z->n, look);
	if (look->sight == GATE_NOWHERE)
		look->said = arena_printf(a, "no server to ask for %.*s: the zone %.*s has none", STR_ARG(name), STR_ARG(z->name));
	else if (look->sight == GATE_SHOWN && look->answered == look->servers)
		look->said = all_fine(z, a);
	else
		look->said = sentence(z, seen, a);
	if (a->spent) {
		look->sight = GATE_SILENT;
		look->same_key = false;
		look->said = STR("no memory");
	}
}
