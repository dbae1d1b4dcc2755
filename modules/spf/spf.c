/* SPDX-License-Identifier: ISC */
/*
 * spf: check_host() (RFC 7208 4) as a small machine.  A record is fetched,
 * checked whole, and walked term by term; includes are frames on a list, a
 * redirect replaces the frame it stands in.  Every way to the end leads through
 * spf_finish (spf_end.c), always in a callback of dns, so `done` never fires
 * inside spf_start.  The loop's thread.
 */
#include "modules/spf/spf.h"

#include <arpa/inet.h>
#include <string.h>

#include "modules/spf/spf_inside.h"
#include "smtpd/base/clock.h"

#define NAMES_MOST  100

const char *spf_result_word(enum spf_result r)
{
	static const char *const words[] = {
		[SPF_NONE] = "none",           [SPF_NEUTRAL] = "neutral",
		[SPF_PASS] = "pass",           [SPF_FAIL] = "fail",
		[SPF_SOFTFAIL] = "softfail",   [SPF_TEMPERROR] = "temperror",
		[SPF_PERMERROR] = "permerror",
	};

	return (size_t)r < COUNT(words) ? words[r] : NULL;
}

const struct spf_outcome *spf_outcome(const struct spf_check *c)
{
	return c != NULL && c->finished ? &c->out : NULL;
}

/* ---- from one term to the next -------------------------------------------- */

/* The record that counts has a result; *c may be gone afterwards. */
static void conclude(struct spf_check *c, enum spf_result result)
{
	str domain = c->frame->domain;

	if (str_is(c->out.mechanism, "default"))
		c->out.reason = arena_printf(c->arena,
		                             "No mechanism in the record of %.*s matches %.*s.",
		                             STR_ARG(domain), STR_ARG(c->ip_text));
	else
		c->out.reason = arena_printf(c->arena,
		                             "%.*s matches \"%.*s\" in the record of %.*s.",
		                             STR_ARG(c->ip_text),
		                             STR_ARG(str_head(c->out.mechanism, 120)), STR_ARG(domain));
	if (result == SPF_FAIL && c->frame->modifiers.exp.p != NULL)
		spf_explain(c);
	else
		spf_finish(c, result);
}

/* The top frame's record came to `result`.  False: the check ended. */
static bool frame_ended(struct spf_check *c, enum spf_result result)
{
	while (c->frame->up != NULL) {
		struct spf_frame *f = c->frame->up;

		c->frame = f;
		f->at_work = false;
		spf_note_outcome(c, f->entry, result == SPF_PASS ? STR("match") : STR("no match"));
		if (result != SPF_PASS)          /* RFC 7208 5.2: fail, softfail, neutral */
			return true;
		if (f->up == NULL)
			c->out.mechanism = f->term.text;
		result = f->term.qualifier;
	}
	conclude(c, result);
	return false;
}

static bool term_ended(struct spf_check *c, bool matched)
{
	struct spf_frame *f = c->frame;

	f->at_work = false;
	if (!matched) {
		spf_note_outcome(c, f->entry, f->found_void ? STR("void") : STR("no match"));
		return true;
	}
	spf_note_outcome(c, f->entry, STR("match"));
	if (f->up == NULL)
		c->out.mechanism = f->term.text;
	return frame_ended(c, f->term.qualifier);
}

void spf_term_matched(struct spf_check *c, bool matched)
{
	if (term_ended(c, matched))
		spf_run(c);
}

/* RFC 7208 6.1; again after the names of %{p} are known. */
static void redirect(struct spf_check *c)
{
	struct spf_frame *f = c->frame;
	str               spec = f->modifiers.redirect, name, text;

	if (spf_needs_names(c, spec)) {
		spf_names_find(c, redirect);
		return;
	}
	text = arena_printf(&c->scratch, "redirect=%.*s", STR_ARG(str_head(spec, 128)));
	c->modifier_entry = spf_note(c, text, f->domain, f->depth);
	if (!spf_count(c))
		return;
	name = spf_target(c, f, spec);
	if (c->scratch.spent)
		spf_error_size(c);
	else if (spf_late(c))
		spf_error_late(c);
	else
		spf_fetch(c, name, true);
}

/* Nothing in the record matched.  False: it waits or has ended. */
static bool record_ended(struct spf_check *c)
{
	str spec = c->frame->modifiers.redirect;

	if (spec.p != NULL && !spf_unmatchable(c, spec)) {
		redirect(c);
		return false;
	}
	if (c->frame->up == NULL)
		c->out.mechanism = STR("default");
	return frame_ended(c, SPF_NEUTRAL);      /* RFC 7208 4.7 */
}

/* The next mechanism; modifiers were read when the record came. */
static bool next_term(struct spf_check *c)
{
	struct spf_frame *f = c->frame;
	const char       *why;

	do {
		if (spf_term_read(&f->rest, &f->term, &why) != SPF_READ_TERM)
			return false;
	} while (f->term.kind >= SPF_REDIRECT);
	f->at_work = true;
	f->counted = f->found_void = false;
	f->entry = spf_note(c, f->term.text, f->domain, f->depth);
	return true;
}

void spf_run(struct spf_check *c)
{
	for (;;) {
		enum spf_step step;

		if (!c->frame->at_work && !next_term(c)) {
			if (!record_ended(c))
				return;
			continue;
		}
		if (spf_late(c)) {
			spf_error_late(c);
			return;
		}
		step = spf_term_begin(c);
		if (step == SPF_STEP_WAIT || step == SPF_STEP_OVER)
			return;
		if (!term_ended(c, step == SPF_STEP_MATCH))
			return;
	}
}

/* ---- records -------------------------------------------------------------- */

/* RFC 7208 4.5.  How many there are; *terms of the last. */
static size_t select_records(const struct dns_answer *a, const char *version, str *terms)
{
	size_t found = 0;
	str    rest;

	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++) {
		if (!spf_record_is(a->rr[i].txt, version, &rest))
			continue;
		*terms = rest;
		found++;
	}
	return found;
}

static void no_record(struct spf_check *c, enum dns_status status)
{
	str         name = spf_shown(c, c->target);
	const char *what = "has no SPF record";

	if (status == DNS_NXDOMAIN)
		what = "does not exist";
	else if (status == DNS_BADNAME)
		what = "is not a domain name";
	if (c->frame == NULL) {
		c->out.reason = arena_printf(c->arena, "%.*s %s.", STR_ARG(name), what);
		spf_finish(c, SPF_NONE);
		return;
	}
	spf_error(c, SPF_PERMERROR, "error: no record",      /* RFC 7208 5.2, 6.1 */
	          arena_printf(c->arena, "The record of %.*s refers to %.*s, which %s.",
	                       STR_ARG(c->frame->domain),
	                       STR_ARG(name), what));
}

static struct spf_frame *frame_new(struct spf_check *c, str terms)
{
	struct spf_frame *f = ARENA_NEW(&c->scratch, struct spf_frame), *from = c->frame;

	if (f == NULL)
		return NULL;
	f->domain = c->target;
	f->rest = terms;
	f->up = c->redirecting ? from->up : from;
	f->depth = from == NULL ? 0 : from->depth + !c->redirecting;
	f->entry = SPF_NO_ENTRY;
	return f;
}

static void evaluate(struct spf_check *c, str terms)
{
	struct spf_modifiers m;
	struct spf_frame    *f;
	const char          *why = NULL;
	str                  bad = STR_NONE;

	if (!spf_terms_check(terms, &m, &bad, &why)) {
		spf_error(c, SPF_PERMERROR, "error: faulty record",
		          arena_printf(c->arena,
		                       "The SPF record of %.*s has a fault at \"%.*s\": %s.",
		                       STR_ARG(spf_shown(c, c->target)), STR_ARG(spf_shown(c, bad)),
		                       why));
		return;
	}
	f = frame_new(c, terms);
	if (f == NULL) {
		spf_error_size(c);
		return;
	}
	f->modifiers = m;
	spf_note_outcome(c, c->modifier_entry, STR("followed"));
	c->modifier_entry = SPF_NO_ENTRY;
	c->frame = f;
	spf_run(c);
}

static void record_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;
	size_t            n;
	str               terms = STR_NONE;

	if (dns_failed(a->status)) {
		spf_error_dns(c, c->target, DNS_TXT, a->status);
		return;
	}
	n = select_records(a, c->q.record_version, &terms);
	if (n == 0 && c->q.record_version != NULL)       /* RFC 4406 4.4: v=spf1 stands in */
		n = select_records(a, NULL, &terms);
	if (n == 0)
		no_record(c, a->status);
	else if (n == 1)
		evaluate(c, terms);
	else
		spf_error(c, SPF_PERMERROR, "error: several records",
		          arena_printf(c->arena, "%.*s has %zu SPF records; one is allowed.",
		                       STR_ARG(spf_shown(c, c->target)), n));
}

void spf_fetch(struct spf_check *c, str domain, bool instead)
{
	c->target = domain;
	c->redirecting = instead;
	spf_ask(c, &c->ask, domain, DNS_TXT, record_arrived);
}

/* ---- the beginning -------------------------------------------------------- */

static bool take_address(struct spf_check *c)
{
	const struct sockaddr_storage *ss = &c->q.ip;
	char                           text[INET6_ADDRSTRLEN] = "";

	if (ss->ss_family == AF_INET) {
		c->v4 = true;
		c->ip4 = ((const struct sockaddr_in *)ss)->sin_addr;
	} else if (ss->ss_family == AF_INET6) {
		c->ip6 = ((const struct sockaddr_in6 *)ss)->sin6_addr;
		c->v4 = IN6_IS_ADDR_V4MAPPED(&c->ip6);
		if (c->v4)
			memcpy(&c->ip4, &c->ip6.s6_addr[12], 4);
	} else {
		return false;
	}
	inet_ntop(c->v4 ? AF_INET : AF_INET6, c->v4 ? (const void *)&c->ip4 : (const void *)&c->ip6,
	          text, sizeof(text));
	c->ip_text = str_keep(c->arena, str_of(text));
	return true;
}

/* HELO's name as DNS has it: no root dot, A-labels (RFC 8616 4), lower case. */
static str helo_domain(struct arena *a, str helo)
{
	str ascii;

	if (helo.n > 1 && helo.p[helo.n - 1] == '.')
		helo.n--;
	return domain_to_ascii(a, helo, &ascii) ? ascii : str_keep_lower(a, helo);
}

static void take_identity(struct spf_check *c)
{
	if (c->q.sender.is_null)
		c->q.scope = SPF_HELO;          /* RFC 7208 2.4 */
	c->out.scope = c->q.scope;
	c->out.domain = c->q.sender.domain;
	if (c->q.scope == SPF_HELO)
		c->out.domain = helo_domain(c->arena, c->q.helo);
}

/* RFC 7208 4.3: what cannot have a record. */
static const char *identity_fault(const struct spf_check *c)
{
	str d = c->out.domain;

	if (c->ip_text.n == 0)
		return "has no client address to be checked against";
	if (d.n > 0 && d.p[0] == '[')
		return "is an address, not a domain, and has no SPF record";
	if (!domain_valid(d))
		return "is not a domain name and has no SPF record";
	if (!str_holds(d, '.'))
		return "is a single label, not a full domain name, and has no SPF record";
	return NULL;
}

static void never_asked(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;

	(void)a;
	c->out.reason = arena_printf(c->arena, "\"%.*s\" %s.", STR_ARG(spf_shown(c, c->out.domain)),
	                             identity_fault(c));
	spf_finish(c, SPF_NONE);
}

struct spf_check *spf_start(struct dns *dns, struct arena *a, const struct spf_query *q,
                            spf_checked *done, void *user)
{
	static const struct spf_limits defaults = SPF_LIMITS_DEFAULT;
	struct spf_check              *c = ARENA_NEW(a, struct spf_check);

	if (c == NULL)
		return NULL;
	c->dns = dns;
	c->arena = a;
	c->q = *q;
	c->done = done;
	c->user = user;
	c->modifier_entry = SPF_NO_ENTRY;
	if (c->q.limits.timeout_ms == 0)
		c->q.limits = defaults;
	if (c->q.limits.names > NAMES_MOST)
		c->q.limits.names = NAMES_MOST;
	c->until_ms = clock_ms() + c->q.limits.timeout_ms;
	arena_init(&c->scratch, SPF_SCRATCH_MAX);
	take_identity(c);
	if (take_address(c))
		spf_macros_init(c);
	/* An empty name is never asked, and answered at the loop's next turn. */
	if (identity_fault(c) != NULL)
		spf_ask(c, &c->ask, STR_NONE, DNS_TXT, never_asked);
	else
		spf_fetch(c, c->out.domain, false);
	return c;
}
