/* SPDX-License-Identifier: ISC */
/*
 * Who may ask for what, one after the other.  Pure: facts in, a policy out.
 */
#include "queue/deliver/policy.h"

static void ask_for(struct policy *p, enum policy_level level, enum policy_source source)
{
	if (level <= p->level)
		return;
	p->level = level;
	p->source = source;
}

static void refuse(struct policy *p, enum policy_source by, const char *result, str said)
{
	p->refused = true;
	p->source = by;
	p->status = STR("4.7.5");
	p->result = result;
	p->said = said;
}

/* ---- the operator ------------------------------------------------------------------------ */

enum policy_word policy_word_for(const struct conf_list *sections, str domain)
{
	for (size_t i = 0; i < sections->n; i++) {
		const struct policy_section *s = sections->v[i];

		if (hop_pattern_fits(s->head.title, domain))
			return (enum policy_word)s->tls;
	}
	return WORD_AUTO;
}

static void by_hop(const struct hop *hop, struct policy *p)
{
	if (hop == NULL || hop->tls == HOP_MAY || hop->tls == HOP_AUTO)
		return;
	ask_for(p, hop->any_certificate ? POLICY_ENCRYPT : POLICY_VERIFY, BY_OPERATOR);
	p->floor = p->level;
}

static void by_word(const struct policy_facts *f, struct policy *p)
{
	static const enum policy_level levels[] = {
		[WORD_AUTO] = POLICY_MAY, [WORD_NONE] = POLICY_CLEAR, [WORD_MAY] = POLICY_MAY,
		[WORD_ENCRYPT] = POLICY_ENCRYPT, [WORD_VERIFY] = POLICY_VERIFY, [WORD_DANE] = POLICY_VERIFY,
	};

	p->level = p->floor = levels[f->word];
	if (f->word != WORD_AUTO)
		p->source = BY_OPERATOR;
}

/* ---- DANE ----------------------------------------------------------------------------------- */

static void describe_tlsa(const struct dane *d, struct arena *a, struct policy *p)
{
	static const char hex[] = "0123456789abcdef";

	p->kind = KIND_TLSA;
	p->domain = d->base;
	p->lines.v = ARENA_ARRAY(a, str, d->n);
	for (size_t i = 0; i < d->n && p->lines.v != NULL; i++) {
		const struct tls_tlsa *t = &d->tlsa[i];
		char *text = arena_alloc(a, 2 * t->data.n + 1);

		if (text == NULL)
			return;
		for (size_t b = 0; b < t->data.n; b++) {
			text[2 * b] = hex[(unsigned char)t->data.p[b] >> 4];
			text[2 * b + 1] = hex[t->data.p[b] & 15];
		}
		p->lines.v[p->lines.n++] = arena_printf(a, "%u %u %u %.*s", t->usage, t->selector, t->matching,
		                                        (int)(2 * t->data.n), text);
	}
}

/* RFC 7672 3.2.2: behind a validated MX answer the domain's own name is as good
 * as the host's; an alias' two names are the same host's. */
static void dane_names(const struct policy_facts *f, struct arena *a, struct policy *p)
{
	str *v = ARENA_ARRAY(a, str, 3);

	p->expect.name = f->dane->base;
	p->expect.others = (struct strs){ v, 0 };
	if (v == NULL)
		return;
	if (f->route->kind != ROUTE_MX || f->implicit) {
		v[p->expect.others.n++] = f->host;
		return;
	}
	v[p->expect.others.n++] = f->route->target;
	if (f->mx.cname)
		v[p->expect.others.n++] = f->mx.canonical;
}

static void by_dane(const struct policy_facts *f, struct arena *a, struct policy *p)
{
	const struct dane *d = f->dane;

	switch (d->found) {
	case DANE_UNASKED:
	case DANE_ABSENT:
		return;
	case DANE_FAILED:
		describe_tlsa(d, a, p);
		refuse(p, BY_DANE, "dnssec-invalid",
		       arena_printf(a, "The TLSA records of %.*s (%.*s) could not be had: %.*s. Mail waits until they can be, "
		                    "because DNSSEC says that the host may be known by them (DANE); its operator must mend the zone",
		                    STR_ARG(f->host), STR_ARG(d->owner), STR_ARG(d->why)));
		return;
	case DANE_UNUSABLE:
		describe_tlsa(d, a, p);
		ask_for(p, POLICY_ENCRYPT, BY_DANE);
		return;
	case DANE_USABLE:
		describe_tlsa(d, a, p);
		p->level = POLICY_VERIFY;
		p->source = BY_DANE;
		p->expect.tlsa = d->tlsa;
		p->expect.ntlsa = d->n;
		dane_names(f, a, p);
		return;
	}
}

static void demand_dane(const struct policy_facts *f, struct arena *a, struct policy *p)
{
	if (p->refused || f->dane->found == DANE_USABLE)
		return;
	refuse(p, BY_OPERATOR, "dane-required",
	       arena_printf(a, "%.*s has no TLSA records that DNSSEC vouches for, and `policy` in postern.conf asks %.*s for them "
	                    "(tls = dane)", STR_ARG(f->host), STR_ARG(f->route->target)));
}

/* ---- MTA-STS ------------------------------------------------------------------------------------ */

static void by_sts(const struct policy_facts *f, struct arena *a, struct policy *p)
{
	bool ours;

	if (f->sts->mode == STS_NONE || f->dane->found == DANE_USABLE || p->refused)
		return;
	ours = sts_mx_matches(f->sts, f->host);
	if (p->kind == KIND_NONE) {
		p->kind = KIND_STS;
		p->lines = f->sts->lines;
		p->mx = f->sts->mx;
	}
	p->name_is_good = p->name_is_good || ours;
	if (f->sts->mode == STS_TESTING) {
		p->testing = true;
		p->outside = !ours;
		return;
	}
	if (ours)
		ask_for(p, POLICY_VERIFY, BY_STS);
	else
		refuse(p, BY_STS, "validation-failure",
		       arena_printf(a, "%.*s is an MX host of %.*s in DNS, but none that the domain's MTA-STS policy allows: "
		                    "either the MX records or the policy are wrong, and only their operator can say which",
		                    STR_ARG(f->host), STR_ARG(f->route->target)));
}

/* ---- all of them ----------------------------------------------------------------------------------- */

static void decide_mx(const struct policy_facts *f, struct arena *a, struct policy *p)
{
	p->domain = f->route->target;
	p->name_is_good = f->mx.secure || f->implicit;
	by_word(f, p);
	if (f->word == WORD_NONE || f->word == WORD_MAY)
		return;
	by_dane(f, a, p);
	if (f->word == WORD_DANE)
		demand_dane(f, a, p);
	else
		by_sts(f, a, p);
}

static void decide_host(const struct policy_facts *f, struct arena *a, struct policy *p)
{
	p->domain = f->host;
	p->name_is_good = true;
	by_hop(f->route->hop, p);
	if (f->route->hop == NULL || !f->route->hop->any_certificate)
		by_dane(f, a, p);
}

void policy_decide(const struct policy_facts *f, struct arena *a, struct policy *out)
{
	*out = (struct policy){ .level = POLICY_MAY, .floor = POLICY_MAY, .expect.name = f->host };
	if (f->route->kind == ROUTE_MX)
		decide_mx(f, a, out);
	else
		decide_host(f, a, out);
}

/* ---- one message --------------------------------------------------------------------------------------- */

/* RFC 8689 4.1: REQUIRETLS makes the field of no account. */
static bool is_optional(unsigned flags)
{
	return (flags & MESSAGE_TLS_OPTIONAL) && !(flags & MESSAGE_REQUIRETLS);
}

enum policy_level policy_level_for(const struct policy *p, unsigned flags)
{
	if (flags & MESSAGE_REQUIRETLS)
		return POLICY_VERIFY;
	return is_optional(flags) ? p->floor : p->level;
}

void policy_mark_route(struct route *r, unsigned flags, struct arena *a)
{
	if (r->kind != ROUTE_MX && r->kind != ROUTE_HOST)
		return;
	if (flags & MESSAGE_REQUIRETLS)
		r->key = arena_printf(a, "%.*s requiretls", STR_ARG(r->key));
	else if (is_optional(flags))
		r->key = arena_printf(a, "%.*s tls-optional", STR_ARG(r->key));
}

bool policy_refuses(const struct policy *p, unsigned flags)
{
	if ((flags & MESSAGE_REQUIRETLS) && (p->level == POLICY_CLEAR || !p->name_is_good))
		return true;
	return p->refused && !(is_optional(flags) && p->source != BY_OPERATOR);
}

str policy_words(const struct policy *p, unsigned flags, struct arena *a)
{
	switch (p->source) {
	case BY_DANE:
		return arena_printf(a, "the TLSA records of %.*s (DANE)", STR_ARG(p->domain));
	case BY_STS:
		return arena_printf(a, "the MTA-STS policy of %.*s", STR_ARG(p->domain));
	case BY_OPERATOR:
		return STR("postern.conf");
	case BY_NOBODY:
		break;
	}
	return flags & MESSAGE_REQUIRETLS ? STR("the sender (REQUIRETLS)") : STR("nobody");
}

const char *policy_verified(const struct policy *p, enum policy_level asked, const struct tls_state *tls)
{
	if (!tls->verified)
		return "no";
	if (!p->name_is_good)
		return asked == POLICY_VERIFY ? "host" : "no";
	return tls->by_dane ? "dane" : p->source == BY_STS && !p->refused ? "sts" : "pkix";
}

/* ---- the option ------------------------------------------------------------------------------------------ */

static const char *const words[] = { "auto", "none", "may", "encrypt", "verify", "dane", NULL };

static const struct conf_option options[] = {
	{ .name = "tls", .type = CONF_WORD, .offset = offsetof(struct policy_section, tls), .fallback = "auto", .words = words,
	  .help = "none: in the clear; may: if offered, whatever the domain publishes; encrypt: or not at all; verify: the "
	          "certificate must hold the MX host's name; dane: TLSA records must vouch; auto: as the domain asks" },
	{ 0 },
};

static void check(void *section, struct conf_reader *r)
{
	const struct policy_section *s = section;
	str name = str_starts(s->head.title, ".") ? str_skip(s->head.title, 1) : s->head.title;

	if (!str_is(name, "*") && !domain_valid(name))
		conf_fault(r, &s->head, NULL, "policy \"%.*s\": the title must be a domain (example.net, in letters of ASCII), all below one "
		           "(.example.net), or *", STR_ARG(s->head.title));
}

const struct conf_section policy_section = {
	.name = "policy",
	.options = options,
	.size = sizeof(struct policy_section),
	.offset = offsetof(struct relay_conf, policies),
	.titled = true,
	.help = "What TLS the MX hosts of one domain must show, whatever it publishes; the first that fits counts.",
	.check = check,
};
