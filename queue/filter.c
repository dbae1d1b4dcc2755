/* SPDX-License-Identifier: ISC */
/*
 * Words to a filter, and entries against it.
 */
#include "queue/filter.h"

static bool take_time(str value, int64_t *out)
{
	static const struct { char unit; int64_t seconds; } units[] = {
		{ 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 },
	};
	uint64_t n;

	if (value.n < 2 || !str_to_u64(str_head(value, value.n - 1), &n) || n > 100000)
		return false;
	for (size_t i = 0; i < COUNT(units); i++)
		if (value.p[value.n - 1] == units[i].unit) {
			*out = (int64_t)n * units[i].seconds;
			return true;
		}
	return false;
}

static unsigned state_named(str word)
{
	static const struct { const char *word; unsigned state; } states[] = {
		{ "waiting", STATE_WAITING }, { "staged", STATE_STAGED }, { "held", STATE_HELD },
		{ "damaged", STATE_DAMAGED }, { "aside", STATE_ASIDE }, { "breaker", STATE_BREAKER },
		{ "unsigned", STATE_UNSIGNED },
	};

	for (size_t i = 0; i < COUNT(states); i++)
		if (str_is(word, states[i].word))
			return states[i].state;
	return 0;
}

bool queue_filter_take(struct queue_filter *f, str option, str value, const char **why)
{
	unsigned state;

	*why = NULL;
	if (str_is(option, "--to")) {
		f->to = value;
	} else if (str_is(option, "--from")) {
		f->from = value;
	} else if (str_is(option, "--older")) {
		*why = "a number with s, m, h, d or w behind it, as in --older 2h";
		return take_time(value, &f->older_s);
	} else if (str_is(option, "--state")) {
		*why = "one of " QUEUE_STATES;
		state = state_named(value);
		f->states |= state;
		return state != 0;
	} else {
		return false;
	}
	return true;
}

bool queue_filter_is_empty(const struct queue_filter *f)
{
	return f->login.n == 0 && f->author.n == 0 && f->to.n == 0 && f->from.n == 0 && f->older_s == 0 && f->states == 0;
}

static bool holds_nocase(str text, str part)
{
	for (size_t i = 0; i + part.n <= text.n; i++)
		if (str_eq_nocase(str_head(str_skip(text, i), part.n), part))
			return true;
	return false;
}

bool queue_rcpt_is_breakers(const struct queue_entry *e, const struct queue_rcpt *r)
{
	return r->state == RCPT_HELD && !r->damaged &&
	       (e->flags & MESSAGE_BREAKER || str_starts(r->said, QUEUE_HELD_BY_BREAKER));
}

static unsigned states_of(const struct queue_entry *e, const struct queue_rcpt *r)
{
	static const unsigned states[] = {
		[RCPT_WAITING] = STATE_WAITING, [RCPT_STAGED] = STATE_STAGED, [RCPT_HELD] = STATE_HELD,
	};
	unsigned is = r->state < COUNT(states) ? states[r->state] : 0;

	if (r->damaged)
		is |= STATE_DAMAGED;
	if (queue_rcpt_is_breakers(e, r))
		is |= STATE_BREAKER;
	if (queue_rcpt_waits_for_key(e, r))
		is |= STATE_UNSIGNED;
	return is;
}

static bool fits_rcpt(const struct queue_filter *f, const struct queue_entry *e, const struct queue_rcpt *r, unsigned of_message)
{
	if (r->state == RCPT_SETTLED || (f->to.n > 0 && !holds_nocase(r->address, f->to)))
		return false;
	return f->states == 0 || ((states_of(e, r) | of_message) & f->states) != 0;
}

static bool is_within(str name, str domain)
{
	return str_eq_nocase(name, domain) || (name.n > domain.n && str_ends_nocase(name, domain) &&
	                                       name.p[name.n - domain.n - 1] == '.');
}

bool queue_filter_fits(const struct queue_filter *f, const struct queue_entry *e, int64_t now)
{
	unsigned of_message = (e->damage != NULL ? STATE_DAMAGED : 0) | (e->damage != NULL || e->aside ? STATE_ASIDE : 0);

	if (now - e->arrived < f->older_s || (f->login.n > 0 && !str_eq_nocase(e->login, f->login)))
		return false;
	if (f->author.n > 0 && !is_within(e->signing.author, f->author))
		return false;
	/* "<>" means the empty sender and no other. */
	if (str_is(f->from, "<>") ? e->sender.n > 0 : f->from.n > 0 && !holds_nocase(e->sender, f->from))
		return false;
	for (size_t i = 0; i < e->nrcpts; i++)
		if (fits_rcpt(f, e, &e->rcpts[i], of_message))
			return true;
	return e->nrcpts == 0 && f->to.n == 0 && (f->states == 0 || (of_message & f->states) != 0);
}
