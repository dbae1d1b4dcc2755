/* SPDX-License-Identifier: ISC */
/*
 * dns_seen: see dns_seen.h.  The verb's thread.
 */
#include <arpa/inet.h>
#include <string.h>

#include "smtpd/setup/dns_seen.h"

#define QUESTIONS_MOST 500
#define RECORDS_MOST   10
#define TEXT_MOST      ((size_t)400)

const char *dns_seen_type(enum dns_type t)
{
	switch (t) {
	case DNS_A:
		return "A";
	case DNS_AAAA:
		return "AAAA";
	case DNS_NS:
		return "NS";
	case DNS_CNAME:
		return "CNAME";
	case DNS_SOA:
		return "SOA";
	case DNS_PTR:
		return "PTR";
	case DNS_MX:
		return "MX";
	case DNS_TXT:
		return "TXT";
	case DNS_TLSA:
		return "TLSA";
	}
	return "?";
}

static str record_text(struct arena *a, enum dns_type type, const struct dns_rr *rr)
{
	char ip[INET6_ADDRSTRLEN] = "";

	switch (type) {
	case DNS_A:
		inet_ntop(AF_INET, &rr->a, ip, sizeof(ip));
		return str_keep(a, str_of(ip));
	case DNS_AAAA:
		inet_ntop(AF_INET6, &rr->aaaa, ip, sizeof(ip));
		return str_keep(a, str_of(ip));
	case DNS_MX:
		return arena_printf(a, "%u %.*s", rr->mx.preference,
				    STR_ARG(rr->mx.host.n > 0 ? rr->mx.host : STR(".")));
	case DNS_TXT:
		return arena_printf(a, "\"%.*s%s\"", STR_ARG(str_head(rr->txt, TEXT_MOST)),
		                    rr->txt.n > TEXT_MOST ? "..." : "");
	case DNS_TLSA:
		return arena_printf(a, "%u %u %u", rr->tlsa.usage, rr->tlsa.selector,
				    rr->tlsa.matching);
	default:
		return str_keep(a, rr->name);
	}
}

static bool known(const struct dns_seen *s, str name, enum dns_type type)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].type == type && str_eq(s->v[i].name, name))
			return true;
	return false;
}

static struct dns_sight *sight_new(struct dns_seen *s)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct dns_sight *v = ARENA_ARRAY(s->arena, struct dns_sight, room);

		if (v == NULL)
			return NULL;
		if (s->n > 0)
			memcpy(v, s->v, s->n * sizeof(*v));
		s->v = v;
		s->room = room;
	}
	return &s->v[s->n++];
}

static void answer_seen(void *user, str name, enum dns_type type, const struct dns_answer *answer)
{
	struct dns_seen *s = user;
	struct dns_sight *one;
	size_t n = answer->status == DNS_FOUND ? answer->n : 0;

	if (known(s, name, type))
		return;
	if (s->n == QUESTIONS_MOST || (one = sight_new(s)) == NULL) {
		s->more++;
		return;
	}
	*one = (struct dns_sight){.name = str_keep(s->arena, name),
				  .type = type,
				  .status = answer->status,
				  .secure = answer->secure,
				  .why = str_keep(s->arena, answer->why)};
	if (answer->cname)
		one->canonical = str_keep(s->arena, answer->canonical);
	one->records = ARENA_ARRAY(s->arena, str, n < RECORDS_MOST ? n + 1 : RECORDS_MOST);
	for (size_t i = 0; i < n && i < RECORDS_MOST && one->records != NULL; i++)
		one->records[one->n++] = record_text(s->arena, type, &answer->rr[i]);
	one->more = n - one->n;
}

void dns_seen_watch(struct dns_seen *s, struct arena *a, struct dns *dns)
{
	*s = (struct dns_seen){ .arena = a };
	dns_watch(dns, answer_seen, s);
}
