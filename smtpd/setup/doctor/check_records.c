/* SPDX-License-Identifier: ISC */
/*
 * The records that the configuration calls for, held against what DNS shows: its
 * own servers where they can be asked, else the resolver.  Pure.
 */
#include <string.h>

#include "smtpd/setup/doctor/checks.h"
#include "smtpd/setup/doctor/records.h"

#define SRV ((enum dns_type)33)

static const struct { const char *word; enum dns_type type; } types[] = {
	{ "A", DNS_A }, { "AAAA", DNS_AAAA }, { "MX", DNS_MX }, { "TXT", DNS_TXT }, { "CNAME", DNS_CNAME }, { "TLSA", DNS_TLSA },
	{ "NS", DNS_NS }, { "SOA", DNS_SOA }, { "PTR", DNS_PTR }, { "SRV", SRV },
};

enum dns_type record_type(const char *word)
{
	for (size_t i = 0; i < COUNT(types); i++)
		if (strcmp(types[i].word, word) == 0)
			return types[i].type;
	return DNS_TXT;
}

const char *record_type_word(enum dns_type type)
{
	for (size_t i = 0; i < COUNT(types); i++)
		if (types[i].type == type)
			return types[i].word;
	return "records";
}

/* ---- one text for both sources ------------------------------------------------------------------ */

static str host_text(struct exam *e, str name)
{
	return SAYS(e, "%.*s.", STR_ARG(name));
}

static str hex(struct exam *e, str data)
{
	char *out = arena_alloc(exam_arena(e), 2 * data.n + 1);

	for (size_t i = 0; out != NULL && i < data.n; i++) {
		out[2 * i] = "0123456789abcdef"[(unsigned char)data.p[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[(unsigned char)data.p[i] & 15];
	}
	return (str){ out, out != NULL ? 2 * data.n : 0 };
}

static str rr_text(struct exam *e, const struct dns_rr *rr, enum dns_type type)
{
	struct sockaddr_storage at = { 0 };

	switch (type) {
	case DNS_A:
		*(struct sockaddr_in *)&at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = rr->a };
		return address_text(exam_arena(e), &at);
	case DNS_AAAA:
		*(struct sockaddr_in6 *)&at = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = rr->aaaa };
		return address_text(exam_arena(e), &at);
	case DNS_MX:
		return SAYS(e, "%u %.*s", rr->mx.preference, STR_ARG(host_text(e, rr->mx.host)));
	case DNS_TXT:
		return rr->txt;
	case DNS_TLSA:
		return SAYS(e, "%u %u %u %.*s", rr->tlsa.usage, rr->tlsa.selector, rr->tlsa.matching, STR_ARG(hex(e, rr->tlsa.data)));
	default:
		return host_text(e, rr->name);
	}
}

/* What is there, as texts.  False: not known (now, or at all). */
static bool by_servers(const struct shown *s, struct strs *out)
{
	for (size_t i = 0; s != NULL && s->e == OK && i < s->n; i++) {
		const struct direct_reply *r = &s->replies[i];

		if (!r->authoritative || dns_failed(r->status) || r->cname.n > 0)
			continue;
		*out = (struct strs){ r->records, r->n };
		return true;
	}
	return false;
}

static enum record_sight by_resolver(struct exam *e, const struct wanted *w, struct strs *out)
{
	enum dns_type type = record_type(w->type);
	const struct dns_answer *a = type != SRV ? fact_dns(e, w->name, type) : NULL;

	if (a == NULL)
		return type == SRV ? RECORD_UNKNOWN : RECORD_WAITS;
	if (dns_failed(a->status))
		return RECORD_UNKNOWN;
	out->v = ARENA_ARRAY(exam_arena(e), str, a->n + 1);
	for (size_t i = 0; out->v != NULL && a->status == DNS_FOUND && i < a->n; i++)
		out->v[out->n++] = rr_text(e, &a->rr[i], type);
	return RECORD_THERE;
}

/* ---- comparing ------------------------------------------------------------------------------------- */

static str next_word(str *rest)
{
	str word;

	*rest = str_trim(*rest);
	word = str_head(*rest, str_find(*rest, ' '));
	*rest = str_skip(*rest, word.n);
	return word.n > 1 && word.p[word.n - 1] == '.' ? str_head(word, word.n - 1) : word;
}

/* Case, blanks and root dots apart. */
static bool same_words(str a, str b)
{
	for (;;) {
		str x = next_word(&a), y = next_word(&b);

		if (!str_eq_nocase(x, y))
			return false;
		if (x.n == 0)
			return true;
	}
}

/* An MX record is the same whatever its preference. */
static bool same_record(const struct wanted *w, str shown)
{
	str value = w->value;

	if (strcmp(w->type, "TXT") == 0)
		return str_eq(value, shown);
	if (strcmp(w->type, "MX") == 0) {
		next_word(&value);
		next_word(&shown);
	}
	return same_words(value, shown);
}

static str version_of(str txt)
{
	str first = str_head(txt, str_find(txt, ';'));

	return str_head(first, str_find(first, ' '));
}

/* Of texts, others at the same name mean something else. */
static bool is_of_its_kind(const struct wanted *w, str shown)
{
	return strcmp(w->type, "TXT") != 0 || w->key || str_eq_nocase(version_of(shown), version_of(w->value));
}

static enum record_sight look_among(struct exam *e, const struct wanted *w, const struct strs *shown, str *seen)
{
	struct strs others = { ARENA_ARRAY(exam_arena(e), str, shown->n + 1), 0 };

	for (size_t i = 0; others.v != NULL && i < shown->n; i++) {
		if (same_record(w, shown->v[i]))
			return RECORD_THERE;
		if (is_of_its_kind(w, shown->v[i]))
			others.v[others.n++] = shown->v[i];
	}
	*seen = words_joined(exam_arena(e), &others, " | ");
	return others.n > 0 ? RECORD_OTHER : RECORD_MISSING;
}

enum record_sight record_look(struct exam *e, const struct wanted *w, str *seen)
{
	bool within = is_same_or_below(w->name, e->subject);
	const struct servers_seen *s = within ? exam_servers(e) : NULL;
	struct strs shown = { 0 };
	enum record_sight sight;

	*seen = STR_NONE;
	if (within && s == NULL)
		return RECORD_WAITS;
	if (s == NULL || !by_servers(servers_shown(s, w->name, record_type(w->type)), &shown)) {
		sight = by_resolver(e, w, &shown);
		if (sight != RECORD_THERE)
			return sight;
	}
	return look_among(e, w, &shown, seen);
}

bool record_is_needed(const struct wanted *w)
{
	return w->key || strcmp(w->type, "A") == 0 || strcmp(w->type, "AAAA") == 0 || strcmp(w->type, "MX") == 0 ||
	       str_starts(w->value, "v=spf1") || str_starts(w->value, "v=DMARC1");
}

/* ---- the check ----------------------------------------------------------------------------------------- */

/* SPF and DMARC have checks of their own, which say whether another text is a good one. */
static enum doctor_verdict weight(const struct wanted *w, enum record_sight sight)
{
	if (!record_is_needed(w))
		return sight == RECORD_OTHER && !str_starts(w->value, "v=TLSRPTv1") ? DOCTOR_WARNING : DOCTOR_NOTE;
	if (sight == RECORD_OTHER)
		return strcmp(w->type, "TXT") == 0 ? DOCTOR_NOTE : DOCTOR_FAULT;
	return str_starts(w->value, "v=DMARC1") ? DOCTOR_WARNING : DOCTOR_FAULT;
}

/* A name that should be an alias of ours and has the addresses itself is as good. */
static bool is_as_good(struct exam *e, const struct wanted *w)
{
	const struct dns_answer *a = strcmp(w->type, "CNAME") == 0 ? fact_dns(e, w->name, DNS_A) : NULL;

	return a != NULL && a->status == DNS_FOUND;
}

void check_records(struct exam *e)
{
	size_t there = 0;

	for (size_t i = 0; i < e->doctor->nwanted; i++) {
		const struct wanted *w = &e->doctor->wanted[i];
		str about, seen;
		enum record_sight sight;

		if (w->key || !str_eq(w->domain, e->subject))
			continue;
		sight = record_look(e, w, &seen);
		about = SAYS(e, "%.*s %s", STR_ARG(w->name), w->type);
		if (sight == RECORD_WAITS)
			continue;
		if (sight == RECORD_THERE || is_as_good(e, w))
			there++;
		else if (sight == RECORD_UNKNOWN)
			exam_unknown(e, about, STR("DNS did not say"), STR("try again later"));
		else
			exam_found(e, weight(w, sight), about,
			           sight == RECORD_OTHER ? SAYS(e, "DNS shows %.*s, the configuration calls for %.*s", STR_ARG(str_head(seen, 300)),
			                                        STR_ARG(str_head(w->value, 300)))
			                                 : SAYS(e, "it is missing: %.*s", STR_ARG(str_head(w->value, 300))),
			           SAYS(e, "`postern dns %.*s` prints it as a web form or a zone file wants it", STR_ARG(e->subject)));
	}
	if (there > 0 && e->waits == 0)
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "%zu record%s as the configuration calls for", there, there == 1 ? " is" : "s are"),
		           STR_NONE);
}
