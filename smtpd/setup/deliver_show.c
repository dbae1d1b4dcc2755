/* SPDX-License-Identifier: ISC */
/*
 * What deliver-test found, for a person and for a program.  Whatever others
 * wrote is shown as one line without control bytes.
 */
#include <stdio.h>
#include <time.h>

#include "smtpd/base/json.h"
#include "smtpd/setup/deliver_test.h"
#include "smtpd/setup/explain.h"

static const char *const levels[] = {
	[POLICY_CLEAR] = "clear", [POLICY_MAY] = "may", [POLICY_ENCRYPT] = "encrypt", [POLICY_VERIFY] = "verify",
};
static const char *const level_text[] = {
	[POLICY_CLEAR] = "no TLS", [POLICY_MAY] = "TLS if it is offered, whoever's", [POLICY_ENCRYPT] = "TLS, whoever's",
	[POLICY_VERIFY] = "verified TLS",
};
static const char *const danes[] = {
	[DANE_UNASKED] = "unasked", [DANE_ABSENT] = "none", [DANE_USABLE] = "usable", [DANE_UNUSABLE] = "unusable",
	[DANE_FAILED] = "failed",
};

static const char *day(int64_t seconds, char out[static 16])
{
	time_t at = (time_t)seconds;
	struct tm tm;

	if (gmtime_r(&at, &tm) == NULL || strftime(out, 16, "%Y-%m-%d", &tm) == 0)
		return "?";
	return out;
}

static str record_text(struct arena *a, const struct tls_tlsa *t)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = t->data.n < 64 ? t->data.n : 64;
	char *text = arena_alloc(a, 2 * n + 1);

	for (size_t i = 0; text != NULL && i < n; i++) {
		text[2 * i] = hex[(unsigned char)t->data.p[i] >> 4];
		text[2 * i + 1] = hex[t->data.p[i] & 15];
	}
	return arena_printf(a, "%u %u %u %.*s%s", t->usage, t->selector, t->matching, text != NULL ? (int)(2 * n) : 0,
	                    text != NULL ? text : "", n < t->data.n ? "..." : "");
}

/* ---- for people ------------------------------------------------------------------------ */

static const char *shown(const struct deliver_test *t, str s)
{
	return explain_shown(t->arena, s, 300);
}

static void print_route(const struct deliver_test *t)
{
	const struct hop *hop = t->route.hop;

	printf("ROUTE\n  ");
	if (t->route.kind == ROUTE_MX)
		printf("the MX hosts of %s\n", shown(t, t->route.target));
	else if (t->route.kind == ROUTE_HOST)
		printf("%s%s%s\n", shown(t, t->route.target), hop != NULL ? ", by postern.conf" : ", the domain's route",
		       hop != NULL && hop->login.n > 0 ? ", with a login" : "");
	else
		printf("%s\n", shown(t, t->said));
	if (!t->dnssec)
		printf("  DNSSEC is off here: no answer is validated, so DANE decides nothing (resolver trust-anchor; "
		       "Debian's dns-root-data)\n");
}

static void print_mx(const struct deliver_test *t)
{
	if (!t->mx_known || t->route.kind != ROUTE_MX || (t->n == 0 && !t->implicit && !t->mx.cname))
		return;
	printf("MX\n");
	if (t->implicit)
		printf("  none: the domain itself is its mail host%s\n", t->mx.secure ? " (DNSSEC)" : "");
	else if (t->n > 0)
		printf("  %s\n", t->mx.secure ? "validated by DNSSEC" : "not validated by DNSSEC");
	if (t->mx.cname)
		printf("  the domain is an alias of %s\n", shown(t, t->mx.canonical));
}

static void print_sts(const struct deliver_test *t)
{
	const struct sts_policy *p = &t->sts_policy;

	if (!t->sts_asked)
		return;
	printf("MTA-STS\n");
	if (p->id.n == 0)
		printf("  the domain has no policy\n");
	else
		printf("  %s, id %s, %llu days\n", sts_mode_text(p->mode), shown(t, p->id),
		       (unsigned long long)(p->max_age_s / 86400));
	for (size_t i = 0; i < p->mx.n; i++)
		printf("  mx %s\n", shown(t, p->mx.v[i]));
	if (t->sts_fault.n > 0)
		printf("  %s: %s\n", shown(t, t->sts_fault), shown(t, t->sts_why));
}

static void print_dane(const struct deliver_test *t, const struct dane *d)
{
	switch (d->found) {
	case DANE_UNASKED:
		return;
	case DANE_ABSENT:
		printf("  TLSA       none at %s\n", shown(t, d->owner));
		return;
	case DANE_FAILED:
		printf("  TLSA       %s: %s\n", shown(t, d->owner), shown(t, d->why));
		return;
	default:
		break;
	}
	printf("  TLSA       %s: %zu usable, %zu not\n", shown(t, d->owner), d->n, d->unusable);
	for (size_t i = 0; i < d->n; i++)
		printf("             %.*s\n", STR_ARG(record_text(t->arena, &d->tlsa[i])));
}

static void print_chain(const struct deliver_test *t, const struct probe *p)
{
	char from[16], until[16];

	for (size_t i = 0; i < p->ncerts; i++) {
		const struct tls_cert *c = &p->certs[i];

		printf("  %-10s %zu  %s\n", i == 0 ? "chain" : "", i, shown(t, c->subject));
		printf("                issued by %s, %s to %s\n", shown(t, c->issuer), day(c->not_before, from),
		       day(c->not_after, until));
		for (size_t n = 0; n < c->names.n && n < 10; n++)
			printf("                for %s\n", shown(t, c->names.v[n]));
		printf("                its key: %s\n", shown(t, c->spki_sha256));
	}
}

static void print_probe(const struct deliver_test *t, const struct test_host *h)
{
	const struct probe *p = &h->probe;

	if (!h->probed)
		return;
	printf("  at         %s", shown(t, h->tried));
	if (p->greeting.n > 0)
		printf(": %s", shown(t, p->greeting));
	putchar('\n');
	if (p->tls_state.on)
		printf("  TLS        %s %s, %s%s%s%s\n", shown(t, p->tls_state.version), shown(t, p->tls_state.cipher),
		       p->tls_state.verified ? "the certificate holds" : "not verified: ",
		       p->tls_state.verified ? "" : p->tls_state.why,
		       p->tls_state.by_dane ? " by a TLSA record" : "", p->requiretls ? ", REQUIRETLS" : "");
	else if (p->greeted)
		printf("  TLS        none%s\n", p->starttls ? ", although STARTTLS is offered" : ": STARTTLS is not offered");
	print_chain(t, p);
}

static void print_host(const struct deliver_test *t, const struct test_host *h)
{
	bool nobody = h->policy.source == BY_NOBODY && !(t->flags & MESSAGE_REQUIRETLS);

	printf("HOST %s", shown(t, h->name));
	if (h->from_mx)
		printf(", preference %u", h->preference);
	printf("\n  addresses ");
	for (size_t i = 0; i < h->naddr; i++)
		printf(" %s", addr_text((const struct sockaddr *)&h->addr[i]).s);
	printf("%s\n", h->secure ? " (DNSSEC)" : "");
	print_dane(t, &h->dane);
	printf("  demand     %s%s%s%s\n", level_text[policy_level_for(&h->policy, t->flags)], nobody ? "" : ", asked for by ",
	       nobody ? "" : shown(t, policy_words(&h->policy, t->flags, t->arena)),
	       h->policy.outside ? "; the testing MTA-STS policy does not name this host" : "");
	print_probe(t, h);
	if (h->good)
		printf("  result     mail could go there\n");
	else
		printf("  result     %s %s\n", shown(t, h->status), shown(t, h->said));
}

void deliver_test_print(const struct deliver_test *t)
{
	if (t->end != TEST_LOCAL) {
		print_route(t);
		print_mx(t);
		print_sts(t);
		for (size_t i = 0; i < t->n; i++)
			print_host(t, &t->v[i]);
	}
	printf("RESULT\n  %s%s%s: %s\n", deliver_test_word(t->end), t->status.n > 0 && t->end != TEST_SENT ? " " : "",
	       t->end != TEST_SENT ? shown(t, t->status) : "", shown(t, t->said));
}

/* ---- for programs -------------------------------------------------------------------------- */

static void json_lines(struct json *j, const char *key, const struct strs *v)
{
	struct json *list = json_set_array(j, key);

	for (size_t i = 0; i < v->n; i++)
		json_add(list, v->v[i]);
}

static void json_sts(const struct deliver_test *t, struct json *root)
{
	struct json *j;

	if (!t->sts_asked) {
		json_set_null(root, "mta_sts");
		return;
	}
	j = json_set_object(root, "mta_sts");
	json_set_c(j, "mode", sts_mode_text(t->sts_policy.mode));
	json_set(j, "id", t->sts_policy.id.n > 0 ? t->sts_policy.id : STR_NONE);
	json_set_num(j, "max_age", (int64_t)t->sts_policy.max_age_s);
	json_lines(j, "mx", &t->sts_policy.mx);
	json_set(j, "fault", t->sts_fault.n > 0 ? t->sts_fault : STR_NONE);
	json_set(j, "why", t->sts_why.n > 0 ? t->sts_why : STR_NONE);
}

static void json_tlsa(const struct deliver_test *t, const struct dane *d, struct json *host)
{
	struct json *j = json_set_object(host, "tlsa"), *list;

	json_set_c(j, "status", danes[d->found]);
	json_set(j, "owner", d->owner.n > 0 ? d->owner : STR_NONE);
	list = json_set_array(j, "records");
	for (size_t i = 0; i < d->n; i++)
		json_add(list, record_text(t->arena, &d->tlsa[i]));
	json_set_num(j, "unusable", (int64_t)d->unusable);
	json_set(j, "why", d->why.n > 0 ? d->why : STR_NONE);
}

static void json_chain(const struct probe *p, struct json *tls)
{
	struct json *list = json_set_array(tls, "chain");

	for (size_t i = 0; i < p->ncerts; i++) {
		const struct tls_cert *c = &p->certs[i];
		struct json *j = json_add_object(list);

		json_set(j, "subject", c->subject);
		json_set(j, "issuer", c->issuer);
		json_lines(j, "names", &c->names);
		json_set_num(j, "not_before", c->not_before);
		json_set_num(j, "not_after", c->not_after);
		json_set(j, "spki_sha256", c->spki_sha256);
	}
}

static void json_probe(const struct deliver_test *t, const struct test_host *h, struct json *host)
{
	const struct probe *p = &h->probe;
	struct json *j;

	json_set(host, "address", h->tried.n > 0 ? h->tried : STR_NONE);
	json_set(host, "greeting", p->greeting.n > 0 ? p->greeting : STR_NONE);
	if (!p->tls_state.on) {
		json_set_null(host, "tls");
		return;
	}
	j = json_set_object(host, "tls");
	json_set(j, "version", p->tls_state.version);
	json_set(j, "cipher", p->tls_state.cipher);
	json_set_c(j, "verified", policy_verified(&h->policy, policy_level_for(&h->policy, t->flags), &p->tls_state));
	json_set_c(j, "why", p->tls_state.verified ? NULL : p->tls_state.why);
	json_set_bool(j, "requiretls", p->requiretls);
	json_chain(p, j);
}

static void json_host(const struct deliver_test *t, const struct test_host *h, struct json *list)
{
	struct json *j = json_add_object(list), *addresses, *policy;

	json_set(j, "name", h->name);
	if (h->from_mx)
		json_set_num(j, "preference", h->preference);
	else
		json_set_null(j, "preference");
	addresses = json_set_array(j, "addresses");
	for (size_t i = 0; i < h->naddr; i++)
		json_add(addresses, str_of(addr_text((const struct sockaddr *)&h->addr[i]).s));
	json_set_bool(j, "dnssec", h->secure);
	json_tlsa(t, &h->dane, j);
	policy = json_set_object(j, "policy");
	json_set_c(policy, "level", levels[policy_level_for(&h->policy, t->flags)]);
	json_set(policy, "by", policy_words(&h->policy, t->flags, t->arena));
	json_probe(t, h, j);
	json_set_bool(j, "good", h->good);
	json_set(j, "status", h->status.n > 0 && !h->good ? h->status : STR_NONE);
	json_set(j, "said", h->said.n > 0 && !h->good ? h->said : STR_NONE);
}

void deliver_test_print_json(const struct deliver_test *t)
{
	static const char *const kinds[] = { [ROUTE_MX] = "mx", [ROUTE_HOST] = "host", [ROUTE_LMTP] = "lmtp" };
	struct json *root = json_new_object(), *list;
	bool away = t->route.kind == ROUTE_MX || t->route.kind == ROUTE_HOST;

	json_set_c(root, "result", deliver_test_word(t->end));
	json_set(root, "status", t->status.n > 0 && t->end != TEST_SENT ? t->status : STR_NONE);
	json_set(root, "said", t->said);
	json_set(root, "domain", t->to.domain);
	json_set_c(root, "route", t->end != TEST_LOCAL && away ? kinds[t->route.kind] : NULL);
	json_set(root, "target", t->route.target.n > 0 ? t->route.target : STR_NONE);
	json_set_bool(root, "dnssec", t->dnssec);
	json_set_bool(root, "mx_dnssec", t->mx_known && t->mx.secure);
	json_sts(t, root);
	list = json_set_array(root, "hosts");
	for (size_t i = 0; i < t->n; i++)
		json_host(t, &t->v[i], list);
	json_print(root, stdout);
}
