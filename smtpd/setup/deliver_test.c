/* SPDX-License-Identifier: ISC */
/*
 * The walk: route, MTA-STS (to show it, whoever decides), then host by host in
 * the order of a delivery.  A host whose first address does not answer is tried
 * at the next; what happened there is not told apart from what the server does.
 */
#include <string.h>

#include "smtpd/setup/deliver_test.h"

static void next_host(struct deliver_test *t)
{
	hosts_next(&t->hosts);
}

/* ---- one host ------------------------------------------------------------------------ */

static void failed(struct test_host *h, const char *status, str said)
{
	h->for_good = status[0] == '5';
	h->status = str_of(status);
	h->said = said;
}

static bool is_clear(const struct test_host *h)
{
	return !h->probe.tls_state.on;
}

/* As client_tls.c decides. */
static void judge(struct deliver_test *t, struct test_host *h)
{
	const struct probe *p = &h->probe;
	enum policy_level level = policy_level_for(&h->policy, t->flags);
	bool requires = t->flags & MESSAGE_REQUIRETLS;
	str who = policy_words(&h->policy, t->flags, t->arena);

	if (!p->greeted && p->tls_state.on && level == POLICY_VERIFY && !p->tls_state.verified)
		failed(h, "4.7.5", arena_printf(t->arena, "its certificate is not good: %s", p->tls_state.why));
	else if (!p->greeted)
		failed(h, p->talked && p->code >= 500 ? "5.7.1" : "4.4.2", p->said);
	else if (is_clear(h) && level > POLICY_MAY)
		failed(h, requires && h->policy.level < level ? "5.7.10" : "4.7.4",
		       arena_printf(t->arena, "it does not begin TLS (STARTTLS), which %.*s asks for", STR_ARG(who)));
	else if (level == POLICY_VERIFY && !p->tls_state.verified)
		failed(h, requires && h->policy.level < level ? "5.7.10" : "4.7.5",
		       arena_printf(t->arena, "it cannot prove who it is: %s; %.*s asks for that", p->tls_state.why, STR_ARG(who)));
	else if (requires && !p->requiretls)
		failed(h, "5.7.30", STR("it does not offer REQUIRETLS"));
	else
		h->good = true;
}

static void probed(struct probe *p)
{
	struct deliver_test *t = p->user;
	struct test_host *h = SUPER(p, struct test_host, probe);

	h->probed = true;
	judge(t, h);
	if (p->greeting.n > 0 || p->tls_state.on)
		hosts_skip(&t->hosts);        /* it is there: its other addresses say the same */
	next_host(t);
}

static void refused(struct deliver_test *t, struct test_host *h)
{
	if (h->policy.refused)
		failed(h, "4.7.5", h->policy.said);
	else
		failed(h, "5.7.10", STR("REQUIRETLS needs a host that DNSSEC, MTA-STS or the operator named, and TLS"));
	hosts_skip(&t->hosts);
	next_host(t);
}

static void policy_known(struct policy_look *l)
{
	struct deliver_test *t = l->user;
	struct test_host *h = &t->v[t->n - 1];
	const struct hop *hop = t->route.hop;

	h->policy = l->policy;
	h->dane = l->dane;
	h->tried = str_keep(t->arena, str_of(addr_text((struct sockaddr *)&t->hosts.to).s));
	if (policy_refuses(&h->policy, t->flags)) {
		refused(t, h);
		return;
	}
	h->probe = (struct probe){
		.loop = t->loop, .arena = t->arena, .tls = t->tls, .policy = &h->policy, .hostname = t->setup->hostname,
		.wait_ms = t->setup->relay->connect_ms, .implicit = hop != NULL && hop->tls == HOP_IMPLICIT,
		.without_tls = h->policy.level == POLICY_CLEAR, .done = probed, .user = t,
	};
	probe_start(&h->probe, (struct sockaddr *)&t->hosts.to, t->hosts.nto);
}

static void begin_host(struct deliver_test *t)
{
	const struct hosts *hosts = &t->hosts;
	struct test_host *h = &t->v[t->n++];

	*h = (struct test_host){ .name = hosts->name, .secure = hosts->named && hosts->of_name.secure };
	h->naddr = hosts->naddr;
	memcpy(h->addr, hosts->addr, sizeof(h->addr));
	if (!hosts->named) {
		h->addr[0] = hosts->to;
		h->naddr = 1;
	}
	for (size_t i = 0; i < hosts->n; i++)
		if (t->route.kind == ROUTE_MX && !hosts->implicit && str_eq(hosts->v[i].name, hosts->name)) {
			h->from_mx = true;
			h->preference = hosts->v[i].preference;
		}
}

/* ---- the end ---------------------------------------------------------------------------- */

static void conclude(struct deliver_test *t)
{
	bool for_good = t->n > 0 && !t->hosts.lost;

	t->end = TEST_SENT;
	for (size_t i = 0; i < t->n; i++) {
		const struct test_host *h = &t->v[i];

		if (h->good) {
			t->said = arena_printf(t->arena, "Mail would go to %.*s", STR_ARG(h->name));
			return;
		}
		for_good = for_good && h->for_good;
		t->status = h->status;
		t->said = arena_printf(t->arena, "%.*s: %.*s", STR_ARG(h->name), STR_ARG(h->said));
	}
	t->end = for_good ? TEST_NEVER : TEST_LATER;
}

static void found(struct hosts *h, enum hosts_found what)
{
	struct deliver_test *t = h->user;

	t->mx = h->of_mx;
	t->implicit = h->implicit;
	t->mx_known = true;
	switch (what) {
	case HOSTS_ADDRESS:
		if (t->n == 0 || !str_eq(t->v[t->n - 1].name, h->name))
			begin_host(t);
		policy_look(&t->look, h);
		return;
	case HOSTS_NO_MORE:
		conclude(t);
		break;
	case HOSTS_LATER:
	case HOSTS_NEVER:
		t->end = what == HOSTS_LATER ? TEST_LATER : TEST_NEVER;
		t->status = h->status;
		t->said = h->said;
	}
	loop_stop(t->loop);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void walk(struct deliver_test *t)
{
	t->v = ARENA_ARRAY(t->arena, struct test_host, HOSTS_MOST + 1);
	must(t->v != NULL);
	policy_look_begin(&t->look, t->loop, t->arena, t->tls, t->sts, policy_known, t);
	hosts_begin(&t->hosts, t->loop, t->arena, t->setup, &t->route, found, t);
	next_host(t);
}

static void sts_came(struct sts_ask *ask, const struct sts_policy *p)
{
	struct deliver_test *t = ask->user;

	t->sts_asked = true;
	t->sts_policy = *p;
	t->sts_fault = ask->fault;
	t->sts_why = ask->why;
	walk(t);
}

static bool is_ours(struct deliver_test *t)
{
	const struct directory_domain *d = directory_domain(t->setup->directory, t->to.domain);

	if (d == NULL || d->route.n > 0)
		return false;
	t->end = TEST_LOCAL;
	t->said = d->place.kind == PLACE_LMTP
	          ? arena_printf(t->arena, "%.*s is a domain of this server: mail goes to its LMTP server at %.*s", STR_ARG(t->to.domain),
	                         STR_ARG(d->place.lmtp))
	          : arena_printf(t->arena, "%.*s is a domain of this server: mail goes to its mailboxes", STR_ARG(t->to.domain));
	return true;
}

void deliver_test_run(struct deliver_test *t)
{
	if (is_ours(t))
		return;
	route_find(t->setup, t->arena, t->from, t->to.text, RCPT_ROUTE, &t->route);
	if (t->route.kind != ROUTE_MX && t->route.kind != ROUTE_HOST) {
		t->end = t->route.kind == ROUTE_UNCLEAR ? TEST_LATER : TEST_NEVER;
		t->status = t->route.status;
		t->said = t->route.said;
		return;
	}
	t->sts_ask.user = t;
	if (t->route.kind == ROUTE_MX && t->sts != NULL && !str_starts(t->route.target, "["))
		sts_find(t->sts, t->loop, t->arena, t->route.target, &t->sts_ask, sts_came);
	else
		walk(t);
	loop_run(t->loop);
	policy_look_stop(&t->look);
	hosts_stop(&t->hosts);
}

const char *deliver_test_word(enum test_end end)
{
	static const char *const words[] = {
		[TEST_SENT] = "sent", [TEST_LATER] = "deferred", [TEST_NEVER] = "bounced", [TEST_LOCAL] = "local",
	};

	return words[end];
}
