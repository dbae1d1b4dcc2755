/* SPDX-License-Identifier: ISC */
/*
 * spf_end: how a check ends, and the limits that end it (RFC 7208 4.6.4): its
 * time, its look-ups, void ones, its memory.
 *
 * Whoever was told that a check has ended touches it no more.  The loop's thread.
 */
#include "modules/spf/spf_inside.h"
#include "smtpd/base/clock.h"

#define QUESTION_MS 5000      /* CONTRACT's time for one question */

/* ---- the end -------------------------------------------------------------- */

static void stop(struct spf_check *c)
{
	c->over = true;
	dns_cancel(&c->ask);
	for (size_t i = 0; i < c->batch.n; i++)
		dns_cancel(&c->batch.v[i]);
}

void spf_finish(struct spf_check *c, enum spf_result result)
{
	stop(c);
	c->out.result = result;
	spf_keep_outcome(c);
	arena_fini(&c->scratch);
	c->finished = true;
	c->done(c, c->user);
}

void spf_cancel(struct spf_check *c)
{
	if (c == NULL || c->over)
		return;
	stop(c);
	arena_fini(&c->scratch);
}

void spf_error(struct spf_check *c, enum spf_result result, const char *outcome, str reason)
{
	spf_note_outcome(c, c->modifier_entry, str_of(outcome));
	for (struct spf_frame *f = c->frame; f != NULL; f = f->up)
		if (f->at_work)
			spf_note_outcome(c, f->entry, str_of(outcome));
	c->out.mechanism = STR_NONE;
	c->out.reason = reason;
	spf_finish(c, result);
}

bool spf_late(const struct spf_check *c)
{
	return clock_ms() >= c->until_ms;
}

void spf_error_late(struct spf_check *c)
{
	spf_error(c, SPF_TEMPERROR, "error: out of time",
	          arena_printf(c->arena,
	                       "The check of %.*s took longer than %llu s, so it has no result.",
	                       STR_ARG(c->out.domain),
	                       (unsigned long long)c->q.limits.timeout_ms / 1000));
}

void spf_error_size(struct spf_check *c)
{
	spf_error(c, SPF_PERMERROR, "error: too much data",
	          arena_printf(c->arena,
	                       "The records that the check of %.*s needs hold more than 1 MiB.",
	                       STR_ARG(c->out.domain)));
}

void spf_error_dns(struct spf_check *c, str name, enum dns_type type, enum dns_status status)
{
	const char *word = dns_status_text(status);
	str         outcome;

	if (c->scratch.spent) {
		spf_error_size(c);
		return;
	}
	if (spf_late(c)) {
		spf_error_late(c);
		return;
	}
	outcome = arena_printf(&c->scratch, "error: %s", word);
	spf_error(c, SPF_TEMPERROR, outcome.n > 0 ? outcome.p : "error",
	          arena_printf(c->arena, "DNS gave no answer for %s of %.*s (%s), "
	                       "so nothing can be said now.",
	                       spf_type_word(type), STR_ARG(spf_shown(c, name)), word));
}

/* ---- limits --------------------------------------------------------------- */

bool spf_count(struct spf_check *c)
{
	if (++c->out.lookups <= c->q.limits.lookups)
		return true;
	spf_error(c, SPF_PERMERROR, "error: too many look-ups",
	          arena_printf(c->arena, "The record of %.*s needs more than %u terms that ask DNS "
	                       "(RFC 7208 4.6.4).",
	                       STR_ARG(c->out.domain), c->q.limits.lookups));
	return false;
}

bool spf_void(struct spf_check *c, enum dns_status status)
{
	if (status != DNS_NXDOMAIN && status != DNS_NODATA)
		return true;
	c->frame->found_void = true;
	if (++c->out.voids <= c->q.limits.voids)
		return true;
	spf_error(c, SPF_PERMERROR, "error: too many void look-ups",
	          arena_printf(c->arena, "More than %u terms in the record of %.*s ask for names that "
	                       "are not there (RFC 7208 4.6.4).",
	                       c->q.limits.voids, STR_ARG(c->out.domain)));
	return false;
}

/* A question has the resolver's own time, but never more than is left of the
 * whole: where that setting is long, it is asked anew with what is left. */
void spf_ask(struct spf_check *c, struct dns_ask *ask, str name, enum dns_type type,
             dns_answered *answered)
{
	uint64_t now = clock_ms(), left = c->until_ms > now ? c->until_ms - now : 1;

	dns_ask(c->dns, ask, &c->scratch, name, type, left < QUESTION_MS ? left : 0, answered, c);
	if (left < QUESTION_MS || ask->until_ms <= c->until_ms)
		return;
	dns_cancel(ask);
	dns_ask(c->dns, ask, &c->scratch, name, type, left, answered, c);
}

bool spf_batch_of(struct spf_check *c, size_t n)
{
	c->batch.v = ARENA_ARRAY(&c->scratch, struct dns_ask, n);
	c->batch.names = ARENA_ARRAY(&c->scratch, str, n);
	c->batch.n = c->batch.out = c->scratch.spent ? 0 : n;
	c->failure = DNS_FOUND;
	return !c->scratch.spent;
}
