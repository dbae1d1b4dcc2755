/* SPDX-License-Identifier: ISC */
/*
 * What became of an attempt to log in: told here once, whatever the mechanism.
 *
 * The name is as the client said it, the reason is for the log alone: a client
 * hears one text whatever it was.  Loop thread.
 */
#include "auth/inside.h"
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

void auth_after(struct auth *auth, const struct auth_event *e)
{
	(void)auth;
	if (e->says == AUTH_PASSED)
		log_passed(e);
	else
		log_refused(e);
}
