/* SPDX-License-Identifier: ISC */
/*
 * dns_parse: one answer message, hostile, becomes a struct dns_answer.
 *
 * Only the question and the answer section count; of the authority section the
 * SOA gives a negative answer its time.  Every read is bounded by the packet,
 * every record by its own length.  A record of the type asked that is not as
 * its RFC says makes the whole answer a failure: half a set of records is worse
 * than none.  A name that text cannot hold (a NUL or a dot in a label) is such
 * a fault.  Pure; any thread.
 */
#include <arpa/nameser.h>
#include <string.h>

#include "smtpd/base/dns.h"
#include "smtpd/base/dns_name.h"

#define RECORDS_MAX 1000
#define CHAIN_MAX   16

struct reader {
	const uint8_t *base, *end, *at;
	bool           bad;     /* latched: something did not fit */
};

struct record {
	uint8_t        owner[DNS_WIRE_MAX];
	uint16_t       type, class;
	uint32_t       ttl_s;
	const uint8_t *data;
	size_t         n;
};

struct message {
	struct reader  answers;                /* at the first answer record */
	unsigned       rcode, questions, records, authority;
	bool           response, truncated;
	uint16_t       qtype;
	uint8_t        owner[DNS_WIRE_MAX];    /* the name asked, then each alias's target */
};

/* ---- reading -------------------------------------------------------------- */

static bool has(struct reader *r, size_t n)
{
	if (r->bad || (size_t)(r->end - r->at) < n)
		r->bad = true;
	return !r->bad;
}

static uint16_t read_u16(struct reader *r)
{
	if (!has(r, 2))
		return 0;
	r->at += 2;
	return (uint16_t)(r->at[-2] << 8 | r->at[-1]);
}

static uint32_t read_u32(struct reader *r)
{
	uint32_t high = read_u16(r);

	return high << 16 | read_u16(r);
}

static void lower_wire(uint8_t *wire)
{
	for (size_t len; (len = *wire++) != 0; wire += len)
		for (size_t i = 0; i < len; i++)
			wire[i] = (uint8_t)to_lower((char)wire[i]);
}

/* A possibly compressed name, lower case and uncompressed into `wire`. */
static void read_name(struct reader *r, uint8_t wire[static DNS_WIRE_MAX])
{
	int n = r->bad ? -1 : ns_name_unpack(r->base, r->end, r->at, wire, DNS_WIRE_MAX);

	if (n < 0) {
		r->bad = true;
		wire[0] = 0;
		return;
	}
	r->at += n;
	lower_wire(wire);
}

static size_t wire_length(const uint8_t *wire)
{
	size_t n = 0;

	while (wire[n] != 0)
		n += 1 + wire[n];
	return n + 1;
}

/* Length octets are below 64, so the small letters do not touch them. */
static bool same_name(const uint8_t *a, const uint8_t *b)
{
	size_t n = wire_length(a);

	return n == wire_length(b) && memcmp(a, b, n) == 0;
}

static bool read_record(struct reader *r, struct record *rec)
{
	read_name(r, rec->owner);
	rec->type = read_u16(r);
	rec->class = read_u16(r);
	rec->ttl_s = read_u32(r);
	if (rec->ttl_s > INT32_MAX) /* RFC 2181 8 */
		rec->ttl_s = 0;
	rec->n = read_u16(r);
	if (!has(r, rec->n))
		return false;
	rec->data = r->at;
	r->at += rec->n;
	return true;
}

static bool read_head(str packet, struct message *m)
{
	struct reader r = { .base = (const uint8_t *)packet.p, .at = (const uint8_t *)packet.p };
	unsigned flags;

	r.end = r.base + packet.n;
	read_u16(&r); /* the id is the resolver's business */
	flags = read_u16(&r);
	m->response = flags & 0x8000;
	m->truncated = flags & 0x0200;
	m->rcode = flags & 15;
	m->questions = read_u16(&r);
	m->records = read_u16(&r);
	m->authority = read_u16(&r);
	read_u16(&r);
	if (r.bad || m->questions != 1 || !m->response)
		return false;
	read_name(&r, m->owner);
	m->qtype = read_u16(&r);
	read_u16(&r);
	m->answers = r;
	return !r.bad;
}

/* ---- record data ---------------------------------------------------------- */

static bool text_of(struct arena *a, const uint8_t *wire, str *out)
{
	char text[DNS_TEXT_MAX];
	str name;

	if (!dns_name_of_wire(wire, text, &name))
		return false;
	*out = str_keep(a, name);
	return true;
}

/* A name that ends where the data ends, after `skip` octets. */
static bool data_name(const struct reader *r, const struct record *rec, size_t skip, bool more,
                      struct arena *a, str *out)
{
	struct reader in = { .base = r->base, .end = r->end, .at = rec->data + skip };
	uint8_t wire[DNS_WIRE_MAX];

	if (rec->n <= skip)
		return false;
	read_name(&in, wire);
	if (in.bad || (more ? in.at > rec->data + rec->n : in.at != rec->data + rec->n))
		return false;
	return text_of(a, wire, out);
}

static bool data_txt(const struct record *rec, struct arena *a, struct dns_rr *rr)
{
	size_t strings = 0, total = 0;
	char *out;

	for (size_t i = 0; i < rec->n; i += 1 + rec->data[i], strings++) {
		if (rec->data[i] > rec->n - i - 1)
			return false;
		total += rec->data[i];
	}
	rr->txt_strings = strings; /* 0, against RFC 1035 3.3.14, occurs: an empty text that spoils no neighbour */
	out = arena_alloc(a, total ? total : 1);
	if (out == NULL)
		return true; /* the arena says that it is spent */
	rr->txt = (str){ out, total };
	for (size_t i = 0; i < rec->n; i += 1 + rec->data[i]) {
		memcpy(out, rec->data + i + 1, rec->data[i]);
		out += rec->data[i];
	}
	return true;
}

static bool data_tlsa(const struct record *rec, struct arena *a, struct dns_rr *rr)
{
	if (rec->n < 3)
		return false;
	rr->tlsa.usage = rec->data[0];
	rr->tlsa.selector = rec->data[1];
	rr->tlsa.matching = rec->data[2];
	rr->tlsa.data = str_keep(a, (str){ (const char *)rec->data + 3, rec->n - 3 });
	return true;
}

static bool read_data(const struct reader *r, const struct record *rec, struct arena *a,
                      struct dns_rr *rr)
{
	switch (rec->type) {
	case DNS_A:
		return rec->n == sizeof(rr->a) && memcpy(&rr->a, rec->data, rec->n);
	case DNS_AAAA:
		return rec->n == sizeof(rr->aaaa) && memcpy(&rr->aaaa, rec->data, rec->n);
	case DNS_MX:
		if (rec->n < 3)
			return false;
		rr->mx.preference = (uint16_t)(rec->data[0] << 8 | rec->data[1]);
		return data_name(r, rec, 2, false, a, &rr->mx.host);
	case DNS_SOA:
		return data_name(r, rec, 0, true, a, &rr->name);
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		return data_name(r, rec, 0, false, a, &rr->name);
	case DNS_TXT:
		return data_txt(rec, a, rr);
	case DNS_TLSA:
		return data_tlsa(rec, a, rr);
	default:
		return false;
	}
}

/* ---- the answer ----------------------------------------------------------- */

static void fail(struct dns_answer *out, str why)
{
	*out = (struct dns_answer){ .status = DNS_SERVFAIL, .why = why };
}

static void ttl_lower(struct dns_answer *out, uint32_t ttl_s)
{
	if (ttl_s < out->ttl_s)
		out->ttl_s = ttl_s;
}

/* Walks the answer section for records of the owner; false: it is malformed. */
static bool next_of_owner(struct message *m, struct reader *r, unsigned *left, uint16_t type,
                          struct record *rec, bool *found)
{
	*found = false;
	while (*left > 0 && !*found) {
		(*left)--;
		if (!read_record(r, rec))
			return false;
		*found = rec->type == type && rec->class == ns_c_in &&
		         same_name(rec->owner, m->owner);
	}
	return true;
}

/* RFC 1034 3.6.2: moves m->owner to the end of the chain of aliases. */
static bool follow_aliases(struct message *m, struct dns_answer *out)
{
	for (size_t hops = 0; hops <= CHAIN_MAX; hops++) {
		struct reader r = m->answers, in;
		unsigned left = m->records;
		struct record rec;
		bool found;

		if (!next_of_owner(m, &r, &left, DNS_CNAME, &rec, &found))
			return false;
		if (!found)
			return true;
		in = (struct reader){ .base = r.base, .end = r.end, .at = rec.data };
		read_name(&in, m->owner);
		if (in.bad || in.at != rec.data + rec.n)
			return false;
		out->cname = true;
		ttl_lower(out, rec.ttl_s);
	}
	return false;
}

static size_t count_records(struct message *m, enum dns_type type, bool *good)
{
	struct reader r = m->answers;
	unsigned left = m->records;
	struct record rec;
	size_t n = 0;
	bool found = true;

	for (*good = true; found; n += found)
		if (!next_of_owner(m, &r, &left, type, &rec, &found)) {
			*good = false;
			return 0;
		}
	return n;
}

static bool fill_records(struct message *m, enum dns_type type, struct arena *a,
                         struct dns_answer *out, size_t n)
{
	struct reader r = m->answers;
	unsigned left = m->records;
	struct record rec;
	bool found;

	out->rr = ARENA_ARRAY(a, struct dns_rr, n);
	for (; out->rr != NULL && out->n < n; out->n++) {
		if (!next_of_owner(m, &r, &left, type, &rec, &found) || !found)
			return false;
		if (!read_data(&r, &rec, a, &out->rr[out->n]))
			return false;
		ttl_lower(out, rec.ttl_s);
	}
	return true;
}

/* RFC 2308 5: a negative answer lasts as long as its SOA says; without one it
 * is not to be kept. */
static void negative_ttl(struct message *m, struct dns_answer *out)
{
	struct reader r = m->answers, in;
	struct record rec;
	uint8_t name[DNS_WIRE_MAX];

	for (unsigned i = 0; i < m->records; i++)
		if (!read_record(&r, &rec))
			break;
	for (unsigned i = 0; i < m->authority; i++) {
		if (!read_record(&r, &rec))
			break;
		if (rec.type != DNS_SOA)
			continue;
		in = (struct reader){ .base = r.base, .end = rec.data + rec.n, .at = rec.data };
		read_name(&in, name);
		read_name(&in, name);
		if (!has(&in, 20))
			break;
		in.at += 16; /* serial, refresh, retry, expire */
		ttl_lower(out, rec.ttl_s);
		ttl_lower(out, read_u32(&in));
		return;
	}
	out->ttl_s = 0;
}

static bool rcode_ends_it(const struct message *m, struct dns_answer *out)
{
	if (m->truncated)
		fail(out, STR("the answer is truncated"));
	else if (m->rcode == ns_r_refused)
		fail(out, STR("the server refused"));
	else if (m->rcode == ns_r_formerr || m->rcode == ns_r_notimpl)
		fail(out, STR("the server does not understand the question"));
	else if (m->rcode != ns_r_noerror && m->rcode != ns_r_nxdomain)
		fail(out, STR("the server failed"));
	else if (m->records > RECORDS_MAX)
		fail(out, STR("too many records"));
	else
		return false;
	return true;
}

void dns_parse(struct arena *a, str packet, enum dns_type type, struct dns_answer *out)
{
	struct message m = { 0 };
	bool good;
	size_t n;

	*out = (struct dns_answer){ .ttl_s = UINT32_MAX };
	if (packet.n > NS_MAXMSG || !read_head(packet, &m) || m.qtype != type) {
		fail(out, STR("malformed answer"));
		return;
	}
	if (rcode_ends_it(&m, out))
		return;
	if (type != DNS_CNAME && !follow_aliases(&m, out)) {
		fail(out, STR("malformed answer, or too many aliases"));
		return;
	}
	n = count_records(&m, type, &good);
	good = good && text_of(a, m.owner, &out->canonical);
	if (m.rcode == ns_r_nxdomain || n == 0) {
		out->status = m.rcode == ns_r_nxdomain ? DNS_NXDOMAIN : DNS_NODATA;
		negative_ttl(&m, out);
	} else {
		good = good && fill_records(&m, type, a, out, n);
	}
	if (!good)
		fail(out, STR("malformed answer"));
	else if (a->spent)
		fail(out, STR("no memory for the answer"));
}
