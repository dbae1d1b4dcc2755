/* SPDX-License-Identifier: ISC */
/*
 * What became of an attempt to log in: told here once, whatever the mechanism.
 *
 * The name is as the client said it, the reason is for the log alone: a client
 * hears one text whatever it was.  What is wrong is counted against guessers (ban.h):
 * whole where the password was seen, half where it was not (SCRAM, or no exchange
 * at all).  Loop thread.
 */
#include "auth/inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

/* `by`: the device password's name, where it was one. */
static void log_passed(const struct auth_event *e)
{
	if (e->by.n > 0 && !str_eq_nocase(e->by, e->login))
		log_event(e->log, LOG_INFO, "login.passed", KV("login", e->login), KV_C("ip", e->ip),
		          KV_C("mechanism", e->mechanism), KV("by", e->by));
	else
		log_event(e->log, LOG_INFO, "login.passed", KV("login", e->login), KV_C("ip", e->ip),
		          KV_C("mechanism", e->mechanism));
}

static void log_refused(const struct auth_event *e)
{
	log_event(e->log, LOG_NOTICE, "login.refused", KV("name", e->name), KV_C("ip", e->ip),
	          KV("mechanism", str_of(e->mechanism)), KV_C("reason", e->reason),
	          KV_I("code", e->code));
}

static void log_refusing(const struct auth_event *e, const struct ban_said *s)
{
	log_event(e->log, LOG_NOTICE, "login.banned", KV_C("ip", e->ip),
	          KV_C("what", s->refused == BAN_ADDRESS ? "address" : "network"),
	          KV_N("seconds", s->refused_ms / 1000));
}

static uint64_t failed(struct auth *auth, const struct auth_event *e)
{
	struct ban_try t = { .name = e->name, .secret = e->secret, .now_ms = clock_ms(),
	                     .weight = e->secret != NULL ? BAN_WHOLE : BAN_HALF };
	struct ban_said s;

	if (e->says == AUTH_LATER || e->says == AUTH_NO_MECH || !ban_cidr(e->ip, &t.from))
		return 0;
	bans_failed(auth->bans, &t, &s);
	auth_count(s.again ? COUNT_AGAIN : COUNT_FAILED);
	if (s.slow_ms > 0)
		auth_count(COUNT_SLOWED);
	if (s.refused != BAN_NOBODY) {
		auth_count(COUNT_REFUSED);
		log_refusing(e, &s);
	}
	return s.slow_ms;
}

static void passed(struct auth *auth, const struct auth_event *e)
{
	struct cidr from;

	if (ban_cidr(e->ip, &from))
		bans_good(auth->bans, &from, clock_ms() + (uint64_t)BAN_GOOD_S * 1000);
}

uint64_t auth_after(struct auth *auth, const struct auth_event *e)
{
	if (e->says == AUTH_PASSED) {
		log_passed(e);
		passed(auth, e);
		return 0;
	}
	log_refused(e);
	return failed(auth, e);
}
