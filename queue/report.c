/* SPDX-License-Identifier: ISC */
/*
 * Pieces of a report: words for people, and JSON.  Pure but for the clock.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "queue/report_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/mail/advice.h"

str report_plain(struct arena *a, str s)
{
	bool utf8 = utf8_valid(s);
	char *p = arena_alloc(a, s.n);

	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool high = c >= 0x80 && (!utf8 || (c == 0xc2 && (unsigned char)s.p[i + 1] < 0xa0));

		p[i] = c == '\t' || c == '\r' || c == '\n' ? ' ' : c < 0x20 || c == 0x7f || high ? '?' : (char)c;
		if (high && utf8)               /* a control character of two octets, U+0080 to U+009F */
			p[++i] = '?';
	}
	return (str){ p, s.n };
}

str report_span(struct arena *a, int64_t s)
{
	if (s < 0)
		s = 0;
	if (s < 120)
		return arena_printf(a, "%" PRId64 " s", s);
	if (s < 7200)
		return arena_printf(a, "%" PRId64 " min", s / 60);
	if (s < 2 * 86400)
		return arena_printf(a, "%" PRId64 " h", s / 3600);
	return arena_printf(a, "%" PRId64 " d", s / 86400);
}

str report_size(struct arena *a, uint64_t n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
	double v = (double)n;
	size_t u = 0;

	for (; v >= 1000 && u + 1 < COUNT(units); u++)
		v /= 1024;
	return arena_printf(a, v < 10 && u > 0 ? "%.1f %s" : "%.0f %s", v, units[u]);
}

/* "2026-11-21T22:08:28+00:00" */
str report_when(struct arena *a, int64_t epoch)
{
	char text[40];
	str s = clock_stamp((uint64_t)epoch * 1000000, text);

	return arena_printf(a, "%.*s%.*s", 19, s.p, STR_ARG(str_skip(s, 23)));
}

str report_path(struct arena *a, str path)
{
	return path.n == 0 ? STR("<>") : report_plain(a, path);
}

static const char *outcome(unsigned fate)
{
	return fate == FATE_DELIVERED ? "delivered" : fate == FATE_BOUNCED ? "bounced" : fate == FATE_REMOVED ? "removed" : "done";
}

const char *report_state(const struct queue_rcpt *r)
{
	if (r->damaged)
		return "damaged";
	switch (r->state) {
	case RCPT_WAITING: return "waiting";
	case RCPT_STAGED:  return "staged";
	case RCPT_HELD:    return "held";
	default:           return outcome(r->outcome);
	}
}

str report_next(struct arena *a, const struct queue_rcpt *r, int64_t now)
{
	if (r->state != RCPT_WAITING || r->damaged)
		return str_of(report_state(r));
	if (r->next > now)
		return arena_printf(a, "in %.*s", STR_ARG(report_span(a, r->next - now)));
	return STR("now");
}

bool report_is_breakers(const struct queue_entry *e)
{
	bool held = e->flags & MESSAGE_BREAKER;

	for (size_t i = 0; i < e->nrcpts && !held; i++)
		held = queue_rcpt_is_breakers(e, &e->rcpts[i]);
	return held;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void set_flags(struct json *j, const struct queue_entry *e)
{
	unsigned flags = e->flags;

	json_set_bool(j, "smtputf8", flags & MESSAGE_SMTPUTF8);
	json_set_bool(j, "eightbit", flags & MESSAGE_8BIT);
	json_set_bool(j, "own", flags & MESSAGE_OWN);
	json_set_bool(j, "breaker", report_is_breakers(e));
	json_set_bool(j, "restored", flags & MESSAGE_RESTORED);
	json_set_bool(j, "unsigned", flags & MESSAGE_UNSIGNED);
	json_set_bool(j, "requiretls", flags & MESSAGE_REQUIRETLS);
}

static void set_time(struct json *j, const char *name, int64_t at)
{
	if (at != 0)
		json_set_num(j, name, at);
	else
		json_set_null(j, name);
}

static void json_attempts(struct json *j, const struct queue_rcpt *r)
{
	struct json *list = json_set_array(j, "attempts");

	for (size_t i = 0; i < r->nattempts; i++) {
		struct json *one = json_add_object(list);

		json_set_num(one, "at", r->attempts[i].at);
		json_set(one, "host", r->attempts[i].host.n > 0 ? r->attempts[i].host : STR_NONE);
		json_set(one, "said", r->attempts[i].said);
	}
}

static void json_rcpt(struct json *j, const struct queue_rcpt *r)
{
	str advice = r->said.n > 0 ? advice_for(STR_NONE, r->said).operator : STR_NONE;

	json_set(j, "address", r->address);
	json_set_c(j, "state", report_state(r));
	json_set_num(j, "tries", r->tries);
	set_time(j, "next", r->state == RCPT_WAITING ? r->next : 0);
	json_set(j, "said", r->said.n > 0 ? r->said : STR_NONE);
	json_set(j, "advice", advice.n > 0 ? advice : STR_NONE);
	set_time(j, "changed", r->changed);
	json_set_bool(j, "quarantine", r->flags & RCPT_QUARANTINE);
	json_set_bool(j, "delay_told", r->delay_told);
	json_attempts(j, r);
}

void report_json(struct json *j, const struct queue_entry *e, int64_t now)
{
	char id[QUEUE_ID_TEXT];
	struct json *rcpts;

	json_set(j, "id", queue_id_text(e->id, id));
	json_set_num(j, "arrived", e->arrived);
	json_set_num(j, "age_seconds", now - e->arrived);
	json_set_num(j, "size", (int64_t)(e->head.n + e->bytes));
	json_set(j, "sender", e->sender.n > 0 ? e->sender : STR(""));
	json_set(j, "login", e->login.n > 0 ? e->login : STR_NONE);
	json_set(j, "envid", e->envid.n > 0 ? e->envid : STR_NONE);
	json_set(j, "damage", e->damage != NULL ? str_of(e->damage) : STR_NONE);
	json_set_num(j, "lives", e->lives);
	set_time(j, "not_before", e->not_before);
	if (e->not_before != 0)
		json_set_c(j, "waits_for", e->flags & MESSAGE_FUTURE ? "future-release" : "grace");
	else
		json_set_null(j, "waits_for");
	set_flags(j, e);
	rcpts = json_set_array(j, "recipients");
	for (size_t i = 0; i < e->nrcpts; i++)
		json_rcpt(json_add_object(rcpts), &e->rcpts[i]);
}

void report_add_json(struct buf *out, struct json *root)
{
	char *text = json_text(root);

	buf_add(out, str_of(text));
	free(text);
}
