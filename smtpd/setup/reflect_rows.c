/* SPDX-License-Identifier: ISC */
/*
 * reflect_rows: the table at the top of a report: a row for each method, and
 * where it did not pass the one thing to do.
 */
#include "modules/arc/arc.h"
#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "modules/dnsbl/dnsbl.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/iprev/iprev.h"
#include "modules/senderid/senderid.h"
#include "modules/spf/spf.h"
#include "smtpd/setup/explain.h"
#include "smtpd/setup/reflect.h"

#define SIGNATURES_TOLD 20

static const char *text_of(struct report *r, str s)
{
	return explain_shown(r->arena, s, 300);
}

/* ": reason", or nothing. */
static const char *because(struct report *r, str reason)
{
	return reason.n == 0 ? "" : text_of(r, arena_printf(r->arena, ": %.*s", STR_ARG(str_head(reason, 300))));
}

static void spf_row(struct report *r)
{
	const struct spf_outcome *o = spf_state_mfrom(chain_msg(r->of->chain, &spf_module));
	str ip = r->of->peer->ip;
	const char *domain;

	if (o == NULL) {
		report_row(r, "SPF", "not looked at here");
		return;
	}
	domain = text_of(r, o->domain);
	report_row(r, "SPF", "%s for %s%s", spf_result_word(o->result), domain, o->result == SPF_PASS ? "" : because(r, o->reason));
	if (o->result == SPF_NONE)
		report_todo(r, "publish a TXT record at %s that begins with v=spf1, names %.*s and ends with -all", domain, STR_ARG(ip));
	else if (o->result == SPF_FAIL || o->result == SPF_SOFTFAIL || o->result == SPF_NEUTRAL)
		report_todo(r, "if %.*s may send for %s, put ip%d:%.*s into its SPF record; if not, send by a server that may", STR_ARG(ip), domain,
		            str_holds(ip, ':') ? 6 : 4, STR_ARG(ip));
	else if (o->result == SPF_TEMPERROR)
		report_todo(r, "look at the name servers of %s: they did not answer in time", domain);
	else if (o->result == SPF_PERMERROR)
		report_todo(r, "mend the SPF record of %s", domain);
}

static void dkim_todo(struct report *r, const struct dkim_verdict *v)
{
	const char *domain = text_of(r, v->sig.domain);

	if (v->result == DKIM_PASS && v->partial)
		report_todo(r, "sign without l=: text can be appended to this message and the signature still holds");
	else if (v->result == DKIM_PASS && v->sig.algorithm == DKIM_RSA_SHA256 && v->key_bits < 2048)
		report_todo(r, "nothing for this message; but the key has %u bits, and 2048 are wanted nowadays", v->key_bits);
	else if (v->result == DKIM_FAIL && str_starts(v->reason, "body hash"))
		report_todo(r, "let the last server that changes the text be the one that signs");
	else if (v->result == DKIM_FAIL)
		report_todo(r, "compare the key that signs with the record of %s, and let nothing change the header behind the signer", domain);
	else if (v->result == DKIM_TEMPERROR)
		report_todo(r, "look at the name servers of %s: they did not answer in time", domain);
	else if (v->result == DKIM_PERMERROR && v->sig.fault == NULL)
		report_todo(r, "publish a usable key at %s", text_of(r, dkim_key_name(r->arena, &v->sig)));
	else if (v->result == DKIM_PERMERROR || v->result == DKIM_NEUTRAL)
		report_todo(r, "mend the program that signs: its DKIM-Signature is not well formed");
	else if (v->result == DKIM_POLICY)
		report_todo(r, "sign with an RSA key of 2048 bits, or with Ed25519 beside it");
}

static void dkim_rows(struct report *r)
{
	const void *state = chain_msg(r->of->chain, &dkim_module);
	str author = r->of->in->from.domain;
	size_t n = 0;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	if (!dkim_state_judged(state)) {
		report_row(r, "DKIM", "not looked at here");
		return;
	}
	if (n == 0) {
		report_row(r, "DKIM", "none: the message is not signed");
		report_todo(r, "let your server sign with DKIM%s%.*s", author.n > 0 ? ", d=" : "", STR_ARG(author));
	}
	for (size_t i = 0; i < n && i < SIGNATURES_TOLD; i++) {
		report_row(r, "DKIM", "%s, d=%s s=%s%s", dkim_result_word(v[i].result), text_of(r, v[i].sig.domain), text_of(r, v[i].sig.selector),
		           because(r, v[i].reason));
		dkim_todo(r, &v[i]);
	}
}

static void dmarc_row(struct report *r)
{
	const struct dmarc_outcome *o = dmarc_state_outcome(chain_msg(r->of->chain, &dmarc_module));
	const char *domain;

	if (o == NULL) {
		report_row(r, "DMARC", "not looked at here");
		return;
	}
	domain = text_of(r, o->from_domain);
	report_row(r, "DMARC", "%s for %s%s%s%s", dmarc_result_word(o->result), domain, o->has_policy ? ", policy " : "",
	           o->has_policy ? dmarc_policy_word(o->published) : "", o->result == DMARC_PASS ? "" : because(r, o->reason));
	if (o->result == DMARC_NONE)
		report_todo(r, "publish a TXT record at _dmarc.%s: v=DMARC1; p=none; rua=mailto:you@%s", domain, domain);
	else if (o->result == DMARC_FAIL)
		report_todo(r, "sign with DKIM d=%s, or send with an envelope's sender of that domain whose SPF passes", domain);
	else if (o->result == DMARC_TEMPERROR)
		report_todo(r, "look at the name servers of %s: they did not answer in time", domain);
	else if (o->result == DMARC_PERMERROR)
		report_todo(r, "mend From, or the record at _dmarc.%s", domain);
	else if (o->published == DMARC_P_NONE)
		report_todo(r, "nothing for this message; p=none protects nobody from forgery, so go on to p=quarantine when your reports are clean");
}

static void arc_row(struct report *r)
{
	const struct arc_chain *c = arc_state_chain(chain_msg(r->of->chain, &arc_module));

	if (c == NULL)
		report_row(r, "ARC", "not looked at here");
	else if (c->result == ARC_NONE)
		report_row(r, "ARC", "none, as is right for mail that nobody forwarded");
	else
		report_row(r, "ARC", "%s, %u set%s%s", arc_result_word(c->result), c->length, c->length == 1 ? "" : "s",
		           c->result == ARC_PASS ? "" : because(r, c->reason));
	if (c != NULL && c->result == ARC_FAIL)
		report_todo(r, "let the forwarder that changes the message last be the one that seals it");
}

static void iprev_row(struct report *r)
{
	const void *state = chain_connstate(r->of->chain, &iprev_module);
	const struct iprev_outcome *o = state == NULL ? NULL : iprev_state_outcome(state);
	str ip = r->of->peer->ip;

	if (o == NULL || o->result == IPREV_NOT_DONE) {
		report_row(r, "iprev", "not looked at here");
		return;
	}
	report_row(r, "iprev", "%s, %.*s%s%s%s", iprev_result_word(o->result), STR_ARG(ip), o->name.n > 0 ? " is " : "", text_of(r, o->name),
	           o->result == IPREV_PASS ? "" : because(r, o->reason));
	if (o->result == IPREV_PASS && !o->helo_matches)
		report_todo(r, "let the server say this name in HELO; it says %s", text_of(r, r->of->peer->helo));
	else if (o->result == IPREV_TEMPERROR)
		report_todo(r, "look at the name servers of the address's reverse zone: they did not answer in time");
	else if (o->result != IPREV_PASS)
		report_todo(r, "ask the provider of %.*s for a PTR record that names the server, and give that name the same address", STR_ARG(ip));
}

/* Historic: nobody has to do anything about them. */
static void historic_rows(struct report *r)
{
	const struct domainkeys_outcome *d = domainkeys_state_outcome(chain_msg(r->of->chain, &domainkeys_module));
	const struct senderid_outcome *s = senderid_state_outcome(chain_msg(r->of->chain, &senderid_module));

	report_row(r, "DomainKeys", "%s%s (historic)", d == NULL ? "not looked at" : domainkeys_result_word(d->result),
	           d == NULL || d->result == DOMAINKEYS_PASS ? "" : because(r, d->reason));
	if (d != NULL && d->signatures > 0 && d->result != DOMAINKEYS_PASS)
		report_todo(r, "take the DomainKey-Signature out: DKIM took its place");
	report_row(r, "Sender ID", "%s%s (historic)", s == NULL ? "not looked at" : spf_result_word(s->result),
	           s == NULL || s->result == SPF_PASS ? "" : because(r, s->reason));
	if (s != NULL && s->result != SPF_PASS)
		report_todo(r, "nothing of its own: what SPF needs is all that counts");
}

static void tls_row(struct report *r)
{
	const struct tls_state *t = &r->of->peer->tls;

	if (!t->on) {
		report_row(r, "TLS", "none: the message came in the clear");
		report_todo(r, "let your server use STARTTLS whenever it is offered");
		return;
	}
	report_row(r, "TLS", "%.*s, %.*s, %u bits; %s", STR_ARG(t->version), STR_ARG(t->cipher), t->bits,
	           t->client_cert ? "the client's certificate holds" : "no client certificate that counts here, which nobody needs");
	if (!str_is(t->version, "TLSv1.3") && !str_is(t->version, "TLSv1.2"))
		report_todo(r, "let your server use TLS 1.2 or 1.3: older versions are refused by more and more servers");
}

static void list_row(struct report *r, const struct dnsbl_finding *f)
{
	const char *zone = text_of(r, f->zone);

	if (f->action == DNSBL_ACCEPT) {
		report_row(r, "Allow list", "%s lists %s", zone, text_of(r, f->subject));
		return;
	}
	report_row(r, "Block list", "%s lists %s with %s%s", zone, text_of(r, f->subject), text_of(r, f->answer), because(r, f->reason));
	report_todo(r, "mend what brought %s there, then ask %s to take it off", text_of(r, f->subject), zone);
}

static void lists_rows(struct report *r)
{
	const void *conn = chain_connstate(r->of->chain, &dnsbl_module), *msg = chain_msg(r->of->chain, &dnsbl_module);
	size_t n = 0, asked = 0, listed = 0;
	const struct dnsbl_finding *v = conn == NULL ? NULL : dnsbl_findings(conn, msg, r->arena, &n);

	for (size_t i = 0; v != NULL && i < n; i++) {
		asked += v[i].asked;
		listed += v[i].listed;
		if (v[i].listed)
			list_row(r, &v[i]);
	}
	if (asked == 0)
		report_row(r, "Block lists", "none is asked here");
	else if (listed == 0)
		report_row(r, "Block lists", "not listed, %zu asked", asked);
}

static void verdict_row(struct report *r)
{
	const struct verdict *v = r->of->verdict, *would = chain_would_refuse(r->of->chain);
	const char *by = v->module != NULL ? v->module : "this server";

	v = would != NULL ? would : v;
	if (v->say == SAY_NEXT)
		report_row(r, "Verdict", "a mailbox here would have taken it");
	else if (v->say == SAY_QUARANTINE)
		report_row(r, "Verdict", "a mailbox here would have put it into Junk (%s)%s", by, because(r, v->text));
	else
		report_row(r, "Verdict", "for a mailbox here it would have been refused with %d%s", v->code != 0 ? v->code : 550, because(r, v->text));
}

void report_rows(struct report *r)
{
	spf_row(r);
	dkim_rows(r);
	dmarc_row(r);
	arc_row(r);
	iprev_row(r);
	historic_rows(r);
	tls_row(r);
	lists_rows(r);
	verdict_row(r);
}
