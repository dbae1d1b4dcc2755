/* SPDX-License-Identifier: ISC */
/*
 * RFC 8461 3.1 to 3.3: the TXT record first; where it names an id that we do not
 * hold, or what we hold is a day old, the policy's file.
 */
#include "queue/deliver/sts_inside.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define LOOK_MEMORY    ((size_t)512 << 10)
#define ADDRESSES_MOST 8                     /* of each kind */

static void look_free(struct sts_look *k)
{
	k->entry->look = NULL;
	k->sts->looks--;
	arena_fini(&k->arena);
	free(k);
}

void sts_look_drop(struct sts_look *k)
{
	dns_cancel(&k->txt);
	dns_cancel(&k->a);
	dns_cancel(&k->aaaa);
	fetch_stop(&k->fetch);
	look_free(k);
}

/* Who waits hears what is known now. */
static void look_over(struct sts_look *k)
{
	struct sts *s = k->sts;
	struct sts_entry *e = k->entry;

	look_free(k);
	sts_answer_all(s, e);
}

/* ---- how a fetch ends ------------------------------------------------------------------- */

/* RFC 8461 3.3: administrators hear of it, unless the policy in force asks for nothing. */
static void say_failed(const struct sts_entry *e, const struct sts_policy *p)
{
	enum log_level level = p != NULL && p->mode == STS_NONE ? LOG_INFO : LOG_WARN;

	log_event(NULL, level, "sts.failed", KV_C("domain", e->domain), KV_C("fault", e->fault), KV_C("why", e->why),
	          KV_C("in_force", p != NULL ? sts_mode_text(p->mode) : "nothing"));
}

static void failed(struct sts_look *k, const char *fault, str why)
{
	struct sts_entry *e = k->entry;
	int64_t now = clock_wall();

	e->fault = fault;
	snprintf(e->why, sizeof(e->why), "The MTA-STS policy of %.100s could not be had: %.*s", e->domain, STR_ARG(why));
	snprintf(e->failed_id, sizeof(e->failed_id), "%.*s", STR_ARG(k->id));
	e->not_before = now + STS_FAILED_S;
	e->refresh_at = now + STS_AGAIN_S;
	say_failed(e, sts_entry_policy(e));
	look_over(k);
}

/* A policy is refreshed daily, a short-lived one in the middle of its life; not
 * all of them at the same moment. */
static int64_t refresh_time(const struct sts_policy_kept *k)
{
	int64_t life = sts_kept_until(k) - k->fetched, wait = life / 2;

	if (wait > STS_REFRESH_S)
		wait = STS_REFRESH_S;
	return k->fetched + wait - (int64_t)random_below((uint64_t)wait / 10 + 1);
}

static void got_policy(struct sts_look *k, struct sts_policy_kept *kept)
{
	struct sts *s = k->sts;
	struct sts_entry *e = k->entry;
	bool is_new = e->kept == NULL || !str_eq(e->kept->policy.id, kept->policy.id);

	sts_entry_set(s, e, kept);
	e->fault = NULL;
	e->why[0] = e->failed_id[0] = '\0';
	e->not_before = 0;
	e->refresh_at = refresh_time(kept);
	log_event(NULL, is_new ? LOG_INFO : LOG_DEBUG, "sts.fetched", KV_C("domain", e->domain),
	          KV("policy", kept->policy.id), KV_C("mode", sts_mode_text(kept->policy.mode)),
	          KV_N("max_age", kept->policy.max_age_s), KV_N("mx", kept->policy.mx.n));
	sts_note_write(s, e);
	look_over(k);
}

static void fetched(struct fetch *f)
{
	struct sts_look *k = SUPER(f, struct sts_look, fetch);
	struct sts_policy_kept *kept;
	str why;

	if (f->result == FETCH_CERTIFICATE) {
		failed(k, "sts-webpki-invalid", f->why);
		return;
	}
	if (f->result != FETCH_OK) {
		failed(k, f->result == FETCH_TYPE || f->result == FETCH_LARGE ? "sts-policy-invalid" : "sts-policy-fetch-error",
		       f->why);
		return;
	}
	kept = sts_kept_new(f->text, k->id, clock_wall(), &why);
	if (kept == NULL)
		failed(k, "sts-policy-invalid", why);
	else
		got_policy(k, kept);
}

/* ---- the fetch ------------------------------------------------------------------------------ */

static void add_addresses(struct buf *b, const struct dns_answer *a, bool six)
{
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < a->n && i < ADDRESSES_MOST; i++) {
		const void *at = six ? (const void *)&a->rr[i].aaaa : &a->rr[i].a;

		if (inet_ntop(six ? AF_INET6 : AF_INET, at, text, sizeof(text)) != NULL)
			buf_addf(b, six ? "%s[%s]" : "%s%s", buf_str(b).n > 0 ? "," : "", text);
	}
}

static void fetch_from(struct sts_look *k)
{
	struct buf b;
	str addresses;

	buf_init(&b, 2048);
	add_addresses(&b, &k->v4, false);
	add_addresses(&b, &k->v6, true);
	addresses = str_keep(&k->arena, buf_str(&b));
	buf_fini(&b);
	if (addresses.n == 0) {
		failed(k, "sts-policy-fetch-error", STR("its web server has no address"));
		return;
	}
	k->fetch = (struct fetch){
		.host = k->fetch.host, .path = STR("/.well-known/mta-sts.txt"), .addresses = addresses,
		.port = k->sts->port, .type = STR("text/plain"), .most = STS_POLICY_MOST, .timeout_ms = STS_FETCH_MS,
		.done = fetched,
	};
	fetch_begin(k->sts->fetcher, &k->fetch);
}

static void addresses_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct sts_look *k = ask->user;

	*(ask == &k->a ? &k->v4 : &k->v6) = *a;
	if (--k->out == 0)
		fetch_from(k);
}

/* The record is held fast now: `id` is what the policy will be filed under. */
static void fetch_policy(struct sts_look *k, str id)
{
	k->fetching = true;
	k->id = str_keep(&k->arena, id);
	k->fetch.host = arena_printf(&k->arena, "mta-sts.%s", k->entry->domain);
	k->out = 2;
	dns_ask(k->sts->loop->dns, &k->a, &k->arena, k->fetch.host, DNS_A, 0, addresses_came, k);
	dns_ask(k->sts->loop->dns, &k->aaaa, &k->arena, k->fetch.host, DNS_AAAA, 0, addresses_came, k);
}

/* ---- the record ------------------------------------------------------------------------------- */

/* RFC 8461 3.1: exactly one record of this version, and a good one. */
static bool one_id(const struct dns_answer *a, str *id)
{
	size_t good = 0, bad = 0;

	for (size_t i = 0; i < a->n; i++) {
		str found;

		switch (sts_record_parse(a->rr[i].txt, &found)) {
		case STS_RECORD_GOOD:
			*id = found;
			good++;
			break;
		case STS_RECORD_BAD:
			bad++;
			break;
		case STS_RECORD_OTHER:
			break;
		}
	}
	return good == 1 && bad == 0;
}

/* The domain says that it has policy `id`. */
static void announced(struct sts_look *k, str id)
{
	struct sts_entry *e = k->entry;
	const struct sts_policy *p = sts_entry_policy(e);
	int64_t now = clock_wall();

	bool ours = p != NULL && str_eq(p->id, id), failed_lately = now < e->not_before && str_is(id, e->failed_id);

	if (ours ? now < e->refresh_at : failed_lately) {
		look_over(k);
		return;
	}
	fetch_policy(k, id);
	if (ours)
		sts_answer_all(k->sts, e);         /* nobody waits for the refreshing */
}

/* No usable record.  What we hold counts to the end of its life; while DNS does
 * not answer it is refreshed, a record that was taken away lets it run out. */
static void not_announced(struct sts_look *k, bool no_answer)
{
	struct sts_entry *e = k->entry;
	const struct sts_policy *p = sts_entry_policy(e);

	if (p == NULL) {
		e->fault = NULL;
		e->why[0] = '\0';
	}
	if (p != NULL && no_answer && clock_wall() >= e->refresh_at) {
		fetch_policy(k, p->id);
		sts_answer_all(k->sts, e);
		return;
	}
	if (clock_wall() >= e->refresh_at)
		e->refresh_at = clock_wall() + STS_AGAIN_S;
	look_over(k);
}

static void txt_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct sts_look *k = ask->user;
	str id;

	if (a->status == DNS_FOUND && one_id(a, &id))
		announced(k, id);
	else
		not_announced(k, dns_failed(a->status));
}

void sts_look_begin(struct sts *s, struct sts_entry *e)
{
	struct sts_look *k = calloc(1, sizeof(*k));

	if (k == NULL) {
		sts_answer_memory(s, e);
		return;
	}
	arena_init(&k->arena, LOOK_MEMORY);
	k->sts = s;
	k->entry = e;
	e->look = k;
	s->looks++;
	dns_ask(s->loop->dns, &k->txt, &k->arena, arena_printf(&k->arena, "_mta-sts.%s", e->domain), DNS_TXT, 0,
	        txt_came, k);
}
