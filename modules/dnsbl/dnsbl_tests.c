/* SPDX-License-Identifier: ISC */
/*
 * dnsbl_tests: is a zone alive, and does it not list the world?  RFC 5782 5:
 * 127.0.0.2 is listed and 127.0.0.1 is not; for IPv6 ::FFFF:7F00:2 and
 * ::FFFF:7F00:1; of names TEST and INVALID.
 *
 * Runs on one loop; what came of it is in each zone's state, read by all.  A
 * zone without IPv6 is used for IPv4 alone.  Only changes are logged.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "modules/dnsbl/dnsbl_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

#define GOOD_FOR_S 86400
#define BAD_FOR_S  600

enum { V4_LISTED, V4_CLEAN, V6_LISTED, V6_CLEAN, NAME_LISTED, NAME_CLEAN, QUESTIONS };

static const char *const v6_tail = ".0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0";

enum met { UNASKED, ASKED, LISTS, LISTS_NOT, ERROR_CODE, NO_REPLY };

struct zone_test {
	struct dnsbl_tests *tests;
	struct dnsbl_zone  *zone;
	struct dns_ask      ask[QUESTIONS];
	enum met            met[QUESTIONS];
	size_t              out;
};

struct dnsbl_tests {
	struct arena      arena;
	struct zone_test *v;
	size_t            n, out;
	dnsbl_tested     *done;
	void             *user;
};

/* ---- what came of it ------------------------------------------------------------- */

/* NULL: it passed. */
static const char *why_bad(enum met listed, enum met clean)
{
	if (listed == NO_REPLY || clean == NO_REPLY)
		return "DNS gave no answer";
	if (listed == ERROR_CODE || clean == ERROR_CODE)
		return "it answers with an error: it may refuse this server's resolver";
	if (clean == LISTS)
		return "it lists what no zone may list, perhaps the whole world";
	return listed == LISTS ? NULL : "it does not list the test entry";
}

/* True when it is a change. */
static bool note(_Atomic int *state, const char *bad)
{
	int now = bad == NULL ? DNSBL_GOOD : DNSBL_BAD;

	return atomic_exchange(state, now) != now;
}

static void tell(const struct dnsbl_zone *z, const char *family, const char *bad)
{
	if (bad == NULL)
		log_event(NULL, LOG_NOTICE, "dnsbl.zone-passed", KV("zone", z->zone),
			  KV_C("test", family));
	else
		log_event(NULL, LOG_WARN, "dnsbl.zone-failed", KV("zone", z->zone),
			  KV_C("test", family), KV_C("why", bad),
			  KV_C("then", "it is not used until it passes"));
}

static void weigh_v6(struct zone_test *t)
{
	struct dnsbl_zone *z = t->zone;
	const char *bad = why_bad(t->met[V6_LISTED], t->met[V6_CLEAN]);
	bool none = t->met[V6_LISTED] == LISTS_NOT && t->met[V6_CLEAN] == LISTS_NOT;

	if (!note(&z->state->v6, bad))
		return;
	if (none)
		log_event(NULL, LOG_INFO, "dnsbl.zone-without-ipv6", KV("zone", z->zone));
	else
		tell(z, "ipv6", bad);
}

static void weigh(struct zone_test *t)
{
	struct dnsbl_zone *z = t->zone;
	const char *bad;

	if (z->type == DNSBL_NAME) {
		bad = why_bad(t->met[NAME_LISTED], t->met[NAME_CLEAN]);
		if (note(&z->state->name, bad))
			tell(z, "name", bad);
	} else {
		bad = why_bad(t->met[V4_LISTED], t->met[V4_CLEAN]);
		if (note(&z->state->v4, bad))
			tell(z, "ipv4", bad);
		weigh_v6(t);
	}
	atomic_store(&z->state->tested, clock_wall());
}

/* ---- questions ---------------------------------------------------------------------- */

static enum met met_by(const struct dns_answer *a)
{
	struct dnsbl_zone any = { 0 };      /* codes select; here every listing is one */
	enum met m = LISTS_NOT;

	if (dns_failed(a->status) || a->status == DNS_BADNAME)
		return NO_REPLY;
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++) {
		if (dnsbl_answer(&any, a->rr[i].a) == DNSBL_NEVER_COUNTS)
			return ERROR_CODE;
		m = LISTS;
	}
	return m;
}

static void answered(struct dns_ask *ask, const struct dns_answer *a)
{
	struct zone_test *t = ask->user;
	struct dnsbl_tests *all = t->tests;

	t->met[ask - t->ask] = met_by(a);
	if (--t->out == 0)
		weigh(t);
	if (--all->out == 0)
		all->done(all, all->user);
}

static void ask(struct zone_test *t, struct dns *dns, size_t which, str name)
{
	t->met[which] = ASKED;
	t->out++;
	t->tests->out++;
	dns_ask(dns, &t->ask[which], &t->tests->arena, name, DNS_A, 0, answered, t);
}

static void ask_zone(struct zone_test *t, struct dns *dns)
{
	struct arena *a = &t->tests->arena;
	const struct dnsbl_zone *z = t->zone;

	if (z->type == DNSBL_NAME) {
		ask(t, dns, NAME_LISTED,
		    arena_printf(a, "%.*s.%.*s", STR_ARG(z->test_listed), STR_ARG(z->zone)));
		ask(t, dns, NAME_CLEAN,
		    arena_printf(a, "%.*s.%.*s", STR_ARG(z->test_clean), STR_ARG(z->zone)));
		return;
	}
	ask(t, dns, V4_LISTED, arena_printf(a, "2.0.0.127.%.*s", STR_ARG(z->zone)));
	ask(t, dns, V4_CLEAN, arena_printf(a, "1.0.0.127.%.*s", STR_ARG(z->zone)));
	ask(t, dns, V6_LISTED, arena_printf(a, "2%s.%.*s", v6_tail, STR_ARG(z->zone)));
	ask(t, dns, V6_CLEAN, arena_printf(a, "1%s.%.*s", v6_tail, STR_ARG(z->zone)));
}

/* ---- when ------------------------------------------------------------------------------ */

static bool is_due(const struct dnsbl_zone *z, int64_t now)
{
	const struct dnsbl_state *s = z->state;
	int health = z->type == DNSBL_NAME ? atomic_load(&s->name) : atomic_load(&s->v4);
	int64_t age = now - atomic_load(&s->tested);

	if (!z->test)
		return false;
	return health == DNSBL_UNTESTED || age < 0 ||
	       age >= (health == DNSBL_GOOD ? GOOD_FOR_S : BAD_FOR_S);
}

struct dnsbl_tests *dnsbl_tests_start(const struct conf_list *zones, struct dns *dns,
				      dnsbl_tested *done, void *user)
{
	struct dnsbl_tests *all = calloc(1, sizeof(*all));
	int64_t now = clock_wall();

	if (all == NULL)
		return NULL;
	arena_init(&all->arena, (size_t)1 << 20);
	all->done = done;
	all->user = user;
	all->v = zones != NULL ? ARENA_ARRAY(&all->arena, struct zone_test, zones->n) : NULL;
	for (size_t i = 0; all->v != NULL && i < zones->n; i++)
		if (is_due(zones->v[i], now))
			all->v[all->n++] = (struct zone_test){ .tests = all, .zone = zones->v[i] };
	for (size_t i = 0; i < all->n; i++)
		ask_zone(&all->v[i], dns);
	if (all->n > 0)
		return all;
	dnsbl_tests_end(all);
	return NULL;
}

void dnsbl_tests_end(struct dnsbl_tests *all)
{
	if (all == NULL)
		return;
	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < QUESTIONS; k++)
			dns_cancel(&all->v[i].ask[k]);
	arena_fini(&all->arena);
	free(all);
}

void dnsbl_inherit(const struct conf_list *zones, const struct conf_list *older)
{
	for (size_t i = 0; i < zones->n; i++)
		for (size_t k = 0; k < older->n; k++) {
			const struct dnsbl_zone *to = zones->v[i], *from = older->v[k];

			if (!to->test || to->type != from->type || !str_eq(to->zone, from->zone) ||
			    !str_eq(to->test_listed, from->test_listed) ||
			    !str_eq(to->test_clean, from->test_clean) || !from->test)
				continue;
			atomic_store(&to->state->v4, atomic_load(&from->state->v4));
			atomic_store(&to->state->v6, atomic_load(&from->state->v6));
			atomic_store(&to->state->name, atomic_load(&from->state->name));
			atomic_store(&to->state->tested, atomic_load(&from->state->tested));
			atomic_store(&to->state->reported, atomic_load(&from->state->reported));
		}
}
