/* SPDX-License-Identifier: ISC */
/*
 * What a host must show before it hears of a message, and whether it did.
 *
 * The policy is found before the dial; after the handshake, and again when
 * everybody is greeted, the connection is held against it.  Nothing of a
 * message is said before client_tls_stands has agreed.  A connection that was
 * proved for much may serve who asks for less, never the other way round.
 * Loop thread.
 */
#include "queue/deliver/client_inside.h"

#include <arpa/inet.h>
#include <string.h>

static unsigned flags_of(const struct client *c)
{
	return c->lease->entry->flags;
}

static bool requires(const struct client *c)
{
	return flags_of(c) & MESSAGE_REQUIRETLS;
}

/* ---- reports -------------------------------------------------------------------------- */

static str our_address(struct client *c)
{
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);

	if (c->conn == NULL || getsockname(conn_fd(c->conn), (struct sockaddr *)&at, &n) != 0)
		return STR_NONE;
	return str_keep(client_arena(c), str_of(addr_text((struct sockaddr *)&at).s));
}

/* One session, for RFC 8460; `failure` NULL: it went as the policy wants. */
static void report(struct client *c, const char *failure)
{
	struct arena *a = client_arena(c);
	const struct policy *p = &c->look.policy;
	struct tls_result *r;

	if (c->lmtp || c->lease->route.kind != ROUTE_MX || !c->hosts.named)
		return;
	r = ARENA_ARRAY(a, struct tls_result, 1);
	if (r == NULL)
		return;
	*r = (struct tls_result){
		.next = c->lease->results, .domain = c->lease->route.target, .policy_domain = p->domain, .kind = p->kind,
		.lines = p->lines, .mx = p->mx, .failure = failure, .host = str_keep(a, str_of(c->name)),
		.from = our_address(c), .to = str_keep(a, str_of(addr_text((struct sockaddr *)&c->hosts.to).s)),
	};
	c->lease->results = r;
}

static const char *result_of(const struct client *c, const struct tls_state *tls)
{
	static const char *const words[] = {
		[TLS_NO_CERTIFICATE] = "certificate-not-trusted", [TLS_UNTRUSTED] = "certificate-not-trusted",
		[TLS_EXPIRED] = "certificate-expired", [TLS_NOT_YET] = "validation-failure",
		[TLS_OTHER_NAME] = "certificate-host-mismatch", [TLS_NO_TLSA_MATCH] = "validation-failure",
		[TLS_OTHERWISE] = "certificate-not-trusted",
	};
	const struct policy *p = &c->look.policy;
	bool asked = p->level == POLICY_VERIFY || p->testing;

	if (p->refused)
		return p->result;
	if (p->outside)
		return "validation-failure";
	return asked && !tls->verified ? words[tls->fault] : NULL;
}

/* ---- before the dial ---------------------------------------------------------------------- */

/* The host will not do for this message.  What only REQUIRETLS asks for is for
 * good and says nothing against the destination (RFC 8689 4.2.1). */
static void fail_host(struct client *c, const char *status, str said)
{
	bool for_good = requires(c) && status[0] == '5';

	c->talked = c->talked || for_good;
	hosts_skip(&c->hosts);
	client_next_host(c, !for_good, str_of(status), said);
}

static void refused(struct client *c)
{
	const struct policy *p = &c->look.policy;

	client_name_host(c);
	if (p->refused) {
		report(c, p->result);
		fail_host(c, str_is(p->status, "4.3.0") ? "4.3.0" : "4.7.5", p->said);
		return;
	}
	fail_host(c, "5.7.10",
	          arena_printf(client_arena(c), p->level == POLICY_CLEAR
	                       ? "The sender requires verified TLS (REQUIRETLS), and postern.conf has mail to %s go in the clear"
	                       : "The sender requires verified TLS (REQUIRETLS), but nothing proves that %s is the right host: "
	                         "the domain has neither DNSSEC nor an MTA-STS policy that names it", c->name));
}

static void known(struct policy_look *l)
{
	struct client *c = l->user;

	if (policy_refuses(&l->policy, flags_of(c))) {
		refused(c);
		return;
	}
	c->level = policy_level_for(&l->policy, flags_of(c));
	client_dial(c);
}

void client_tls_begin(struct client *c)
{
	policy_look_begin(&c->look, c->loop, client_arena(c), c->house->tls, c->lease->setup->sts, known, c);
	c->level = POLICY_MAY;
}

static bool stays_here(const struct sockaddr_storage *to)
{
	if (to->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)to)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	if (to->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)to)->sin6_addr);
	return to->ss_family == AF_UNIX;
}

void client_tls_host(struct client *c)
{
	if (!c->lmtp) {
		policy_look(&c->look, &c->hosts);
		return;
	}
	client_name_host(c);
	if (requires(c) && !stays_here(&c->hosts.to))
		fail_host(c, "5.7.10",
		          arena_printf(client_arena(c), "The sender requires TLS (REQUIRETLS), and %s would be spoken to over the "
		                       "network without it", c->host));
	else
		client_dial(c);
}

/* ---- on the connection ------------------------------------------------------------------------ */

bool client_tls_wanted(const struct client *c)
{
	if (c->lmtp || c->secured || c->level == POLICY_CLEAR || !(c->caps & CAP_STARTTLS))
		return false;
	return c->level > POLICY_MAY || !str_eq_nocase(c->lease->clear_host, str_of(c->name));
}

void client_tls_say(struct client *c)
{
	conn_secure_expecting(c->conn, c->house->tls, &c->look.policy.expect);
}

static str who_asks(struct client *c)
{
	return policy_words(&c->look.policy, flags_of(c), client_arena(c));
}

/* A demand that is the message's alone. */
static bool only_required(const struct client *c)
{
	return requires(c) && c->look.policy.level < c->level;
}

void client_tls_noted(struct client *c)
{
	struct tls_state tls = conn_tls(c->conn);

	c->vouched = tls.verified && c->look.policy.name_is_good;
	c->verified = policy_verified(&c->look.policy, c->level, &tls);
	c->lease->verified = c->verified;
}

/* After the handshake.  False: the host will not do, and was left. */
bool client_tls_proved(struct client *c)
{
	struct tls_state tls = conn_tls(c->conn);
	const char *fault = c->look.sts_ask.fault.n > 0 ? str_cstr(client_arena(c), c->look.sts_ask.fault) : NULL;
	const char *result = result_of(c, &tls);

	client_tls_noted(c);
	report(c, result != NULL ? result : fault);
	if (c->level < POLICY_VERIFY || tls.verified)
		return true;
	fail_host(c, only_required(c) ? "5.7.10" : "4.7.5",
	          arena_printf(client_arena(c), "%s could not prove who it is: %s; %.*s asks for that, so nothing was sent. Its "
	                       "operator must mend the certificate%s", c->host, tls.why, STR_ARG(who_asks(c)),
	                       c->look.policy.source == BY_DANE ? " or the TLSA records" : ""));
	return false;
}

/* The handshake broke.  True: that was all for this host. */
bool client_tls_broke(struct client *c, str said)
{
	report(c, "validation-failure");
	if (c->level <= POLICY_MAY) {
		c->talked = true;
		c->lease->tls_failed = str_keep(client_arena(c), str_of(c->name));
		return false;
	}
	fail_host(c, only_required(c) ? "5.7.10" : "4.7.5",
	          arena_printf(client_arena(c), "%.*s; %.*s asks for TLS, so nothing was sent in the clear", STR_ARG(said),
	                       STR_ARG(who_asks(c))));
	return true;
}

/* Greeted, and TLS is on if it ever will be.  False: the host was left. */
bool client_tls_stands(struct client *c)
{
	struct arena *a = client_arena(c);

	if (c->lmtp)
		return true;
	if (!c->secured && c->look.policy.level > POLICY_CLEAR && !(c->caps & CAP_STARTTLS))
		report(c, "starttls-not-supported");
	if (!c->secured && c->level > POLICY_MAY) {
		fail_host(c, only_required(c) ? "5.7.10" : "4.7.4",
		          arena_printf(a, "%s does not begin TLS (STARTTLS), which %.*s asks for, so nothing was sent", c->host,
		                       STR_ARG(who_asks(c))));
		return false;
	}
	if (requires(c) && !(c->caps & CAP_REQUIRETLS)) {
		fail_host(c, "5.7.30",
		          arena_printf(a, "%s does not promise TLS for the rest of the way (REQUIRETLS), which the sender requires", c->host));
		return false;
	}
	return true;
}

/* ---- for the next lease --------------------------------------------------------------------------- */

/* What this connection is good for: noted before its first message. */
void client_tls_remember(struct client *c)
{
	const struct policy *p = &c->look.policy;

	c->made_by = c->lease->setup;
	c->wants = p->refused ? POLICY_VERIFY + 1 : p->level;
	c->floor = p->floor;
	c->have = !c->secured ? POLICY_MAY : conn_tls(c->conn).verified ? POLICY_VERIFY : POLICY_ENCRYPT;
	c->local = stays_here(&c->hosts.to);
}

bool client_tls_serves(const struct client *c, const struct lease *l)
{
	unsigned flags = l->entry->flags;

	if (c->made_by != l->setup)
		return false;
	if (c->lmtp)
		return !(flags & MESSAGE_REQUIRETLS) || c->local;
	if (flags & MESSAGE_REQUIRETLS)
		return c->have >= c->wants && c->have == POLICY_VERIFY && c->vouched && (c->caps & CAP_REQUIRETLS);
	return c->have >= (flags & MESSAGE_TLS_OPTIONAL ? c->floor : c->wants);
}
