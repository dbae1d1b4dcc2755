/* SPDX-License-Identifier: ISC */
/*
 * dns_local: see dns_local.h.  Answers are built in wire form and go through
 * the same parser as any server's, so the playground and the units see what the
 * network would have shown them.
 */
#include "smtpd/base/dns_local.h"

#include <arpa/nameser.h>
#include <stdio.h>
#include <stdlib.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/dns_name.h"
#include "smtpd/base/dns_zone.h"

#define HOPS_MAX 20 /* more than the parser follows: a loop ends there */

struct dns_local {
	struct dns_source  source;
	struct dns_source *beyond;
	struct zone        zone;
};

struct reply {
	struct buf        out;
	unsigned          rcode, answers;
	bool              secure;
	enum zone_trouble trouble;
};

static void add_u16(struct buf *b, unsigned n)
{
	buf_add_char(b, (char)(n >> 8));
	buf_add_char(b, (char)n);
}

static void add_name(struct buf *b, str name)
{
	uint8_t wire[DNS_WIRE_MAX];

	buf_add(b, (str){ (const char *)wire, dns_name_to_wire(name, wire) });
}

static void add_record(struct reply *r, str owner, const struct zone_record *rec)
{
	add_name(&r->out, owner);
	add_u16(&r->out, rec->type);
	add_u16(&r->out, ns_c_in);
	add_u16(&r->out, rec->ttl_s >> 16);
	add_u16(&r->out, rec->ttl_s & 0xffff);
	add_u16(&r->out, (unsigned)rec->data.n);
	buf_add(&r->out, rec->data);
	r->answers++;
}

static enum zone_trouble trouble_of(const struct zone_node *n, enum dns_type type)
{
	for (const struct zone_record *rec = n->records; rec != NULL; rec = rec->next)
		if (rec->trouble != ZONE_FINE && (rec->type == type || rec->type == ZONE_ANY))
			return rec->trouble;
	return ZONE_FINE;
}

static const struct zone_record *alias_of(const struct zone_node *n)
{
	for (const struct zone_record *rec = n->records; rec != NULL; rec = rec->next)
		if (rec->target.n > 0)
			return rec;
	return NULL;
}

/* RFC 1034 4.3.2, step 3, for one name; the alias to go on with, or NULL. */
static const struct zone_record *answer_name(struct dns_local *local, struct reply *r, str name,
                                             enum dns_type type)
{
	const struct zone_node *n = zone_find(&local->zone, name);
	const struct zone_record *alias;

	r->secure = r->secure && zone_secure(&local->zone, name);
	if (n == NULL) {
		r->rcode = ns_r_nxdomain;
		return NULL;
	}
	r->trouble = trouble_of(n, type);
	if (r->trouble != ZONE_FINE)
		return NULL;
	alias = alias_of(n);
	if (alias != NULL && type != DNS_CNAME) {
		add_record(r, name, alias);
		return alias;
	}
	for (const struct zone_record *rec = n->records; rec != NULL; rec = rec->next)
		if (rec->type == type && rec->trouble == ZONE_FINE)
			add_record(r, name, rec);
	return NULL;
}

static void write_head(struct reply *r)
{
	char *head = r->out.p + r->out.head;

	head[2] = (char)0x85; /* response, authoritative, recursion desired */
	head[3] = (char)(0x80 | r->rcode);
	head[5] = 1;
	head[6] = (char)(r->answers >> 8);
	head[7] = (char)r->answers;
}

static void tell(struct dns_question *q, struct reply *r)
{
	static const struct {
		enum dns_status status;
		bool            bogus;
		const char     *why;
	} said[] = {
		[ZONE_SERVFAIL] = { DNS_SERVFAIL, false, "local data says SERVFAIL" },
		[ZONE_NXDOMAIN] = { DNS_NXDOMAIN, false, NULL },
		[ZONE_NODATA]   = { DNS_NODATA, false, NULL },
		[ZONE_BOGUS]    = { DNS_BOGUS, true, "local data says bogus" },
		[ZONE_TIMEOUT]  = { DNS_TIMEOUT, false, NULL },
	};

	if (r->trouble == ZONE_SILENT)
		return;
	if (r->trouble != ZONE_FINE) {
		dns_question_done(q, said[r->trouble].status, STR_NONE, false,
		                  said[r->trouble].bogus, str_of(said[r->trouble].why));
		return;
	}
	if (r->out.failed) {
		dns_question_done(q, DNS_SERVFAIL, STR_NONE, false, false,
		                  STR("local data is too large for an answer"));
		return;
	}
	write_head(r);
	dns_question_done(q, DNS_SERVFAIL, buf_str(&r->out), r->secure, false, STR_NONE);
}

static void start(struct dns_source *source, struct dns_question *q)
{
	struct dns_local *local = SUPER(source, struct dns_local, source);
	struct reply r = { .secure = true };
	str name = dns_question_text(q);
	enum dns_type type = dns_question_type(q);
	const struct zone_record *alias;
	int hops = 0;

	if (local->beyond != NULL && !zone_covers(&local->zone, name)) {
		local->beyond->start(local->beyond, q);
		return;
	}
	buf_init(&r.out, NS_MAXMSG);
	buf_add(&r.out, (str){ (const char[12]){ 0 }, 12 });
	add_name(&r.out, name);
	add_u16(&r.out, type);
	add_u16(&r.out, ns_c_in);
	while ((alias = answer_name(local, &r, name, type)) != NULL && hops++ < HOPS_MAX)
		name = alias->target;
	tell(q, &r);
	buf_fini(&r.out);
}

static void cancel(struct dns_source *source, struct dns_question *q)
{
	struct dns_local *local = SUPER(source, struct dns_local, source);

	if (local->beyond != NULL && !zone_covers(&local->zone, dns_question_text(q)))
		local->beyond->cancel(local->beyond, q);
}

static void close_both(struct dns_source *source)
{
	struct dns_local *local = SUPER(source, struct dns_local, source);

	if (local->beyond != NULL)
		local->beyond->close(local->beyond);
	zone_fini(&local->zone);
	free(local);
}

/* An answer comes from one source: half a chain of aliases is no answer. */
static bool aliases_stay(const struct zone *z, struct strs lines, struct arena *a, str *why)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&z->nodes, &at)) != NULL;) {
		const struct zone_record *alias = alias_of(e->value);

		if (alias == NULL || zone_covers(z, alias->target))
			continue;
		*why = arena_printf(a,
		                    "local DNS data, line %zu, `%.*s`: a CNAME here must lead to a "
		                    "name that local data answers",
		                    alias->line, STR_ARG(str_head(lines.v[alias->line - 1], 120)));
		return false;
	}
	return true;
}

struct dns_source *dns_local_new(struct strs lines, struct dns_source *beyond, struct arena *a,
                                 str *why)
{
	struct dns_local *local = calloc(1, sizeof(*local));

	if (local == NULL) {
		*why = STR("no memory");
		return NULL;
	}
	local->source =
		(struct dns_source){ .start = start, .cancel = cancel, .close = close_both };
	local->beyond = beyond;
	if (zone_read(&local->zone, lines, a, why) &&
	    (beyond == NULL || aliases_stay(&local->zone, lines, a, why)))
		return &local->source;
	local->beyond = NULL;
	close_both(&local->source);
	return NULL;
}

bool dns_local_check(struct strs lines, struct arena *a, str *why)
{
	struct zone z;
	bool good = zone_read(&z, lines, a, why) && aliases_stay(&z, lines, a, why);

	zone_fini(&z);
	return good;
}

struct dns_source *dns_local_source(const char *zone_text)
{
	struct dns_source *source = NULL;
	struct arena a;
	str rest = str_of(zone_text), line, why = STR("no memory");
	struct strs lines = { .n = 0 };
	size_t room = 1;

	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < rest.n; i++)
		room += rest.p[i] == '\n';
	lines.v = ARENA_ARRAY(&a, str, room);
	if (lines.v != NULL) {
		while (lines.n < room && str_cut(&rest, '\n', &line))
			lines.v[lines.n++] = line;
		source = dns_local_new(lines, NULL, &a, &why);
	}
	if (source == NULL) {
		fprintf(stderr, "%.*s\n", STR_ARG(why));
		abort();
	}
	arena_fini(&a);
	return source;
}
