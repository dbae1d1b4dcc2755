/* SPDX-License-Identifier: ISC */
/*
 * What an account may do: its allowance and send-as of the configuration, asked
 * for a session and for a message.  breaker.c counts.  Loop thread.
 */
#include <stddef.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define AT(member) offsetof(struct allowance_conf, member)
#define MOST 1000000000u

#define MESSAGES_HOUR  "messages in an hour; 0: any"
#define MESSAGES_DAY   "messages in a day; 0: any"
#define RCPTS_MESSAGE  "recipients of one message; 0: as limits {} has it"
#define RCPTS_HOUR     "recipients in an hour; 0: any"
#define RCPTS_DAY      "recipients in a day; 0: any"
#define NEW_HOUR       "recipients outside in an hour that the account never wrote to before; 0: any"
#define BOUNCES        "percent of a day's recipients whose mail may come back, from 20 on; 0: any"

#define OPTIONS(d1, d2, d3, d4, d5, d6, d7) { \
	{ .name = "messages-hour", .type = CONF_NUMBER, .offset = AT(messages_hour), .fallback = d1, .example = "100", .most = MOST, .help = MESSAGES_HOUR }, \
	{ .name = "messages-day", .type = CONF_NUMBER, .offset = AT(messages_day), .fallback = d2, .example = "2000", .most = MOST, .help = MESSAGES_DAY }, \
	{ .name = "recipients-message", .type = CONF_NUMBER, .offset = AT(recipients_message), .fallback = d3, .example = "500", .most = MOST, .help = RCPTS_MESSAGE }, \
	{ .name = "recipients-hour", .type = CONF_NUMBER, .offset = AT(recipients_hour), .fallback = d4, .example = "500", .most = MOST, .help = RCPTS_HOUR }, \
	{ .name = "recipients-day", .type = CONF_NUMBER, .offset = AT(recipients_day), .fallback = d5, .example = "5000", .most = MOST, .help = RCPTS_DAY }, \
	{ .name = "new-recipients-hour", .type = CONF_NUMBER, .offset = AT(new_hour), .fallback = d6, .example = "500", .most = MOST, .help = NEW_HOUR }, \
	{ .name = "bounces", .type = CONF_NUMBER, .offset = AT(bounces_percent), .fallback = d7, .example = "30", .most = 100, .help = BOUNCES }, \
	{ 0 }, \
}

static const struct conf_option options[] = OPTIONS("0", "500", "200", "0", "1000", "100", "0");
const struct conf_option account_allowance_options[] = OPTIONS(NULL, NULL, NULL, NULL, NULL, NULL, NULL);

const struct conf_section allowance_section = {
	.name = "allowance", .options = options, .size = sizeof(struct allowance_conf),
	.help = "What one account may send. Beyond, its mail is taken and held in the queue, and the account and postmaster are told; "
	        "`postern account release`, `drop` or `lock` decides.",
};

void allowance_inherit(struct allowance_conf *own, const struct allowance_conf *base)
{
	for (size_t i = 0; account_allowance_options[i].name != NULL; i++) {
		size_t at = account_allowance_options[i].offset;

		if (!conf_given(&own->head, account_allowance_options[i].name))
			*(uint64_t *)(void *)((char *)own + at) = *(const uint64_t *)(const void *)((const char *)base + at);
	}
}

/* ---- of one account ------------------------------------------------------------------ */

static const struct account_rights *rights_of(const struct session_setup *s, str login)
{
	for (size_t i = 0; i < s->nrights; i++)
		if (str_eq_nocase(s->rights[i].address, login))
			return &s->rights[i];
	return NULL;
}

const struct allowance_conf *allowance_of(const struct session_setup *s, str login)
{
	const struct account_rights *r = rights_of(s, login);

	return r != NULL ? r->allowance : s->allowance;
}

struct grace_conf grace_of(const struct session_setup *s, str login)
{
	const struct account_rights *r = rights_of(s, login);

	if (r != NULL)
		return *r->grace;
	return s->submission != NULL ? s->submission->grace : (struct grace_conf){ 0 };
}

/* "info@example.org", or "@example.org" for all of a domain. */
static bool is_granted(const struct account_rights *r, const struct path *as)
{
	for (size_t i = 0; i < r->send_as->n; i++) {
		str grant = r->send_as->v[i];

		if (grant.p[0] == '@' ? str_eq_nocase(str_skip(grant, 1), as->domain) : str_eq_nocase(grant, as->text))
			return true;
	}
	return false;
}

bool may_send_as(const struct session_setup *s, struct arena *a, str login, const struct path *as)
{
	const struct account_rights *r = rights_of(s, login);

	if (as->is_null || login.n == 0)
		return false;
	return auth_owns(s->directory, a, login, as) || (r != NULL && is_granted(r, as));
}

/* Under what is configured now: the session may be older than that.  Its login
 * may rest on the certificate, as EXTERNAL's does, so it goes with it. */
static bool certificate_stands(const struct session *s)
{
	return !s->peer.tls.client_cert || s->front->era == NULL ||
	       conn_tls_client_stands(s->conn, s->front->era->setup->tls);
}

bool login_stands(const struct session *s)
{
	const struct session_setup *setup = s->setup;

	return auth_still(&s->login) && certificate_stands(s) &&
	       (setup->breaker == NULL || breaker_state(setup->breaker, s->peer.login) != BREAKER_LOCKED);
}

/* ---- one message ------------------------------------------------------------------------ */

bool allowance_is_spent(struct txn *t)
{
	const struct session_setup *s = t->setup;
	struct breaker_message m = { .account = t->peer->login, .ip = t->peer->ip, .nrcpt = t->in.nrcpts };
	const struct path **outside;

	if (s->breaker == NULL || s->allowance == NULL || t->in.origin != FROM_LOGIN)
		return false;
	outside = ARENA_ARRAY(&t->arena, const struct path *, t->in.nrcpts + 1);
	if (outside == NULL)
		return true;             /* the put will find the same, and say so */
	for (size_t i = 0; i < t->in.nrcpts; i++)
		if (!txn_is_local(t, &t->paths[i]))
			outside[m.noutside++] = &t->paths[i];
	m.outside = outside;
	if (!breaker_takes(s->breaker, allowance_of(s, m.account), &m, clock_wall()))
		return false;
	log_event(&t->log, LOG_INFO, "message.held", KV("login", m.account), KV("ip", m.ip), KV_N("nrcpt", m.nrcpt));
	return true;
}
