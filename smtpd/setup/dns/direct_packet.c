/* SPDX-License-Identifier: ISC */
/*
 * Packets to octets and back: the only file with libldns.  What it reads is
 * hostile; the library takes it apart, and what it found is compared with what
 * was asked before anything is believed.  Any thread.
 */
#include <ldns/ldns.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_name.h"
#include "smtpd/setup/dns/direct_inside.h"

enum { RECORDS_MAX = 256, SHOWN_MAX = 66000, FUDGE_S = 300 };
enum { TSIG_BADSIG = 16, TSIG_BADKEY = 17, TSIG_BADTIME = 18 };   /* RFC 8945 6.3 */

static ldns_rdf *name_rdf(str name)
{
	uint8_t wire[DNS_WIRE_MAX];
	str checked = dns_name_check(name);

	if (checked.n == 0)
		return NULL;
	return ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, dns_name_to_wire(checked, wire), wire);
}

size_t packet_query(str name, enum dns_type type, uint16_t id, bool edns, uint8_t out[static PACKET_QUERY_MAX])
{
	ldns_rdf *owner = name_rdf(name);
	ldns_pkt *p = owner != NULL ? ldns_pkt_query_new(owner, (ldns_rr_type)type, LDNS_RR_CLASS_IN, 0) : NULL;
	uint8_t *wire = NULL;
	size_t n = 0;

	if (p == NULL) {
		ldns_rdf_deep_free(owner);
		return 0;
	}
	ldns_pkt_set_id(p, id);
	if (edns)
		ldns_pkt_set_edns_udp_size(p, PACKET_UDP_SIZE);
	if (ldns_pkt2wire(&wire, p, &n) == LDNS_STATUS_OK && n <= PACKET_QUERY_MAX)
		memcpy(out, wire, n);
	else
		n = 0;
	free(wire);
	ldns_pkt_free(p);
	return n;
}

/* ---- answers: is it ours? ------------------------------------------------------------ */

/* The question comes back as it was asked; a server that cannot even read a
 * question (FORMERR, …) may leave it out. */
static bool is_ours(const ldns_pkt *p, const ldns_rdf *name, enum dns_type type, uint16_t id)
{
	const ldns_rr_list *q = ldns_pkt_question(p);
	ldns_pkt_rcode rcode = ldns_pkt_get_rcode(p);
	const ldns_rr *rr;

	if (ldns_pkt_id(p) != id || !ldns_pkt_qr(p) || ldns_pkt_get_opcode(p) != LDNS_PACKET_QUERY)
		return false;
	if (ldns_rr_list_rr_count(q) == 0)
		return rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN;
	rr = ldns_rr_list_rr(q, 0);
	return ldns_rr_list_rr_count(q) == 1 && ldns_rr_get_type(rr) == (ldns_rr_type)type &&
	       ldns_rr_get_class(rr) == LDNS_RR_CLASS_IN && ldns_dname_compare(ldns_rr_owner(rr), name) == 0;
}

/* ---- answers: what they show ---------------------------------------------------------- */

static bool is_text(const ldns_rr *rr)
{
	return ldns_rr_get_type(rr) == LDNS_RR_TYPE_TXT;
}

static void add_strings(struct buf *out, const ldns_rr *rr)
{
	for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
		const ldns_rdf *f = ldns_rr_rdf(rr, i);
		const uint8_t *p = ldns_rdf_data(f);

		if (ldns_rdf_size(f) > 0 && (size_t)p[0] + 1 <= ldns_rdf_size(f))
			buf_add(out, (str){ (const char *)p + 1, p[0] });
	}
}

/* Names in small letters, so that servers that keep another case show the same. */
static void add_fields(struct buf *out, const ldns_rr *rr)
{
	for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
		ldns_rdf *f = ldns_rr_rdf(rr, i);
		char *text;

		if (ldns_rdf_get_type(f) == LDNS_RDF_TYPE_DNAME)
			ldns_dname2canonical(f);
		text = ldns_rdf2str(f);
		if (i > 0)
			buf_add_char(out, ' ');
		buf_add(out, str_of(text));
		free(text);
	}
}

static str record_text(const ldns_rr *rr, struct arena *a)
{
	struct buf b;
	str text;

	buf_init(&b, SHOWN_MAX);
	if (is_text(rr))
		add_strings(&b, rr);
	else
		add_fields(&b, rr);
	text = str_keep(a, buf_str(&b));
	buf_fini(&b);
	return text.p != NULL ? text : STR("");
}

/* The name behind CNAME; empty when text cannot hold it. */
static str alias_of(const ldns_rr *rr, struct arena *a)
{
	const ldns_rdf *f = ldns_rr_rdf(rr, 0);
	uint8_t wire[DNS_WIRE_MAX] = { 0 };
	char text[DNS_TEXT_MAX];
	str name;

	if (f == NULL || ldns_rdf_size(f) > sizeof(wire))
		return STR_NONE;
	memcpy(wire, ldns_rdf_data(f), ldns_rdf_size(f));
	return dns_name_of_wire(wire, text, &name) ? str_keep(a, name) : STR_NONE;
}

static int by_bytes(const void *a, const void *b)
{
	return str_cmp(*(const str *)a, *(const str *)b);
}

static void take_records(ldns_pkt *p, const ldns_rdf *name, enum dns_type type, struct arena *a, struct direct_reply *r)
{
	const ldns_rr_list *answer = ldns_pkt_answer(p);
	size_t n = ldns_rr_list_rr_count(answer);

	r->records = ARENA_ARRAY(a, str, n < RECORDS_MAX ? n : RECORDS_MAX);
	for (size_t i = 0; r->records != NULL && i < n && r->n < RECORDS_MAX; i++) {
		const ldns_rr *rr = ldns_rr_list_rr(answer, i);

		if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN || ldns_dname_compare(ldns_rr_owner(rr), name) != 0)
			continue;
		if (ldns_rr_get_type(rr) == (ldns_rr_type)type) {
			r->ttl_s = r->n == 0 || ldns_rr_ttl(rr) < r->ttl_s ? ldns_rr_ttl(rr) : r->ttl_s;
			r->records[r->n++] = record_text(rr, a);
		} else if (ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME && r->cname.n == 0) {
			r->cname = alias_of(rr, a);
		}
	}
	if (r->n > 1)
		qsort(r->records, r->n, sizeof(*r->records), by_bytes);
}

static str rcode_text(ldns_pkt_rcode rcode, struct arena *a)
{
	char *text = ldns_pkt_rcode2str(rcode);
	str kept = arena_printf(a, "it says %s", text != NULL ? text : "an unknown error");

	free(text);
	return kept;
}

static enum packet_fit take(ldns_pkt *p, const ldns_rdf *name, enum dns_type type, uint16_t id, struct arena *a,
                            struct direct_reply *r)
{
	ldns_pkt_rcode rcode = ldns_pkt_get_rcode(p);

	if (!is_ours(p, name, type, id))
		return PACKET_STRANGE;
	if (rcode == LDNS_RCODE_FORMERR)
		return PACKET_NO_EDNS;
	r->authoritative = ldns_pkt_aa(p);
	r->truncated = ldns_pkt_tc(p);
	if (r->truncated) {
		r->status = DNS_TIMEOUT;
		r->why = STR("it answers with a truncated packet");
	} else if (rcode == LDNS_RCODE_NXDOMAIN || rcode == LDNS_RCODE_NOERROR) {
		take_records(p, name, type, a, r);
		r->status = r->n > 0 ? DNS_FOUND : rcode == LDNS_RCODE_NXDOMAIN && r->cname.n == 0 ? DNS_NXDOMAIN : DNS_NODATA;
	} else {
		r->status = DNS_SERVFAIL;
		r->why = rcode_text(rcode, a);
	}
	return PACKET_OURS;
}

enum packet_fit packet_read(str wire, str name, enum dns_type type, uint16_t id, struct arena *a, struct direct_reply *r)
{
	ldns_rdf *owner = name_rdf(name);
	ldns_pkt *p = NULL;
	enum packet_fit fit = PACKET_STRANGE;

	if (owner != NULL && ldns_wire2pkt(&p, (const uint8_t *)wire.p, wire.n) == LDNS_STATUS_OK && p != NULL)
		fit = take(p, owner, type, id, a, r);
	ldns_pkt_free(p);
	ldns_rdf_deep_free(owner);
	return fit;
}

/* ---- updates ---------------------------------------------------------------------------- */

struct packet_update {
	uint8_t  *wire;
	size_t    n;
	uint16_t  id;
	ldns_rdf *mac;                        /* of the question: the answer's signature covers it */
	char     *key_name, *key_secret, algorithm[40];
};

/* As RFC 8945 names them, those that ldns has; it wants the root dot. */
static const struct { const char *name, *wire; } algorithms[] = {
	{ "hmac-sha256", "hmac-sha256." }, { "hmac-sha512", "hmac-sha512." }, { "hmac-sha1", "hmac-sha1." },
};

static bool take_key(struct packet_update *u, const struct direct_update *d, struct arena *a, str *why)
{
	str name = dns_name_check(d->key_name);
	char *text = str_cstr(a, d->key_secret);
	str secret = STR_NONE;

	for (size_t i = 0; i < COUNT(algorithms); i++)
		if (str_is_nocase(d->key_algorithm, algorithms[i].name))
			memcpy(u->algorithm, algorithms[i].wire, strlen(algorithms[i].wire) + 1);
	if (u->algorithm[0] == '\0')
		*why = arena_printf(a, "\"%.*s\" is no algorithm for updates: hmac-sha256, hmac-sha512 or hmac-sha1",
		                    STR_ARG(d->key_algorithm));
	else if (name.n == 0)
		*why = arena_printf(a, "\"%.*s\" is no name of a key", STR_ARG(d->key_name));
	else if (text == NULL || !base64_decode(a, d->key_secret, false, &secret) || secret.n == 0)
		*why = STR("the secret of the key is not base64");
	else {
		char escaped[DNS_ESCAPED_MAX];

		dns_name_escape(name, escaped);
		u->key_name = strdup(escaped);
		u->key_secret = strdup(text);
	}
	if (text != NULL)
		explicit_bzero(text, d->key_secret.n);
	if (secret.n > 0)
		explicit_bzero((void *)(uintptr_t)secret.p, secret.n);
	if (why->n == 0 && (u->key_name == NULL || u->key_secret == NULL))
		*why = STR("no memory");
	return why->n == 0;
}

/* RFC 2136 2.5: class IN adds, NONE takes one away, ANY all of a type. */
static ldns_rr *change_rr(const struct direct_change *c, struct arena *a)
{
	ldns_rdf *owner = name_rdf(c->name);
	ldns_rr_type type = ldns_get_rr_type_by_name(c->type);
	char *text;
	ldns_rr *rr = NULL;

	if (owner == NULL || type == 0)
		;
	else if (c->remove && c->value.n == 0) {
		rr = ldns_rr_new();
		if (rr != NULL)
			ldns_rr_set_class(rr, LDNS_RR_CLASS_ANY);
	} else {
		text = str_cstr(a, arena_printf(a, ". %u IN %s %.*s", (unsigned)c->ttl_s, c->type, STR_ARG(c->value)));
		if (text == NULL || ldns_rr_new_frm_str(&rr, text, 0, NULL, NULL) != LDNS_STATUS_OK)
			rr = NULL;
		if (rr != NULL) {
			ldns_rdf_deep_free(ldns_rr_owner(rr));
			ldns_rr_set_owner(rr, NULL);
		}
		if (rr != NULL && c->remove)
			ldns_rr_set_class(rr, LDNS_RR_CLASS_NONE);
	}
	if (rr == NULL) {
		ldns_rdf_deep_free(owner);
		return NULL;
	}
	ldns_rr_set_owner(rr, owner);
	ldns_rr_set_type(rr, type);
	if (c->remove)
		ldns_rr_set_ttl(rr, 0);
	return rr;
}

static ldns_rr_list *change_list(const struct direct_change *c, size_t n, struct arena *a, str *why)
{
	ldns_rr_list *list = ldns_rr_list_new();

	for (size_t i = 0; list != NULL && i < n; i++) {
		ldns_rr *rr = change_rr(&c[i], a);

		if (rr == NULL || !ldns_rr_list_push_rr(list, rr)) {
			ldns_rr_free(rr);
			*why = arena_printf(a, "\"%.*s %s %.*s\" is no record", STR_ARG(c[i].name), c[i].type,
			                    STR_ARG(str_head(c[i].value, 60)));
			ldns_rr_list_deep_free(list);
			return NULL;
		}
	}
	return list;
}

static bool sign(struct packet_update *u, ldns_pkt *p, str *why)
{
	random_bytes(&u->id, sizeof(u->id));
	ldns_pkt_set_id(p, u->id);
	ldns_pkt_set_rd(p, false);
	if (ldns_pkt_tsig_sign(p, u->key_name, u->key_secret, FUDGE_S, u->algorithm, NULL) != LDNS_STATUS_OK)
		*why = STR("the update could not be signed with this key");
	else if (ldns_pkt2wire(&u->wire, p, &u->n) != LDNS_STATUS_OK || u->n > UINT16_MAX)
		*why = STR("the update is too large for one message");
	else
		u->mac = ldns_rdf_clone(ldns_rr_rdf(ldns_pkt_tsig(p), 3));
	return why->n == 0 && u->mac != NULL;
}

struct packet_update *packet_update_new(const struct direct_update *d, const struct direct_change *c, size_t n,
                                        struct arena *a, str *why)
{
	struct packet_update *u = calloc(1, sizeof(*u));
	ldns_rr_list *list = NULL;
	ldns_rdf *zone = NULL;
	ldns_pkt *p = NULL;
	bool done = false;

	*why = STR_NONE;
	if (u != NULL && take_key(u, d, a, why))
		list = change_list(c, n, a, why);
	if (list != NULL && (zone = name_rdf(d->zone)) == NULL)
		*why = arena_printf(a, "\"%.*s\" is no zone", STR_ARG(d->zone));
	if (zone != NULL)
		p = ldns_update_pkt_new(zone, LDNS_RR_CLASS_IN, NULL, list, NULL);
	if (p != NULL)
		done = sign(u, p, why);
	ldns_pkt_free(p);
	ldns_rr_list_deep_free(list);
	if (done)
		return u;
	if (why->n == 0)
		*why = STR("no memory");
	packet_update_free(u);
	return NULL;
}

str packet_update_wire(const struct packet_update *u)
{
	return (str){ (const char *)u->wire, u->n };
}

void packet_update_free(struct packet_update *u)
{
	if (u == NULL)
		return;
	if (u->key_secret != NULL)
		explicit_bzero(u->key_secret, strlen(u->key_secret));
	free(u->key_name);
	free(u->key_secret);
	free(u->wire);
	ldns_rdf_deep_free(u->mac);
	free(u);
}

/* ---- updates: the answer ------------------------------------------------------------------ */

/* RFC 8945 4.2: what the TSIG record itself says; 0 when there is none. */
static unsigned tsig_error(const ldns_rr *tsig)
{
	return tsig != NULL && ldns_rr_rd_count(tsig) == 7 && ldns_rdf_size(ldns_rr_rdf(tsig, 5)) == 2
	       ? ldns_rdf2native_int16(ldns_rr_rdf(tsig, 5)) : 0;
}

/* The library compares the code; that it is one of our algorithm, of now and
 * whole is for us (RFC 8945 5.2.2.1, 5.2.3, 5.3). */
static bool tsig_fits(const struct packet_update *u, const ldns_rr *tsig, int64_t now)
{
	const ldns_rdf *algorithm = ldns_rr_rdf(tsig, 0), *at = ldns_rr_rdf(tsig, 1), *fudge = ldns_rr_rdf(tsig, 2);
	char *name = ldns_rdf2str(algorithm);
	bool same = name != NULL && str_is_nocase(str_of(name), u->algorithm);
	int64_t signed_at = 0;

	free(name);
	if (!same || ldns_rdf_size(at) != 6 || ldns_rdf_size(fudge) != 2 ||
	    ldns_rdf_size(ldns_rr_rdf(tsig, 3)) != ldns_rdf_size(u->mac))
		return false;
	for (size_t i = 0; i < 6; i++)
		signed_at = signed_at << 8 | ldns_rdf_data(at)[i];
	return llabs(now - signed_at) <= ldns_rdf2native_int16(fudge);
}

static enum err tsig_refusal(unsigned error, const struct packet_update *u, struct arena *a, str *why)
{
	if (error == TSIG_BADKEY)
		*why = arena_printf(a, "the server has no key \"%s\" of this algorithm (BADKEY): see its configuration", u->key_name);
	else if (error == TSIG_BADSIG)
		*why = arena_printf(a, "the server holds another secret for the key \"%s\" (BADSIG): copy it again", u->key_name);
	else if (error == TSIG_BADTIME)
		*why = STR("the clocks of this host and of the server differ by more than 5 minutes (BADTIME): set the one that is wrong");
	else
		*why = arena_printf(a, "the server does not take the signature (TSIG error %u)", error);
	return ERR_DENIED;
}

static enum err rcode_refusal(ldns_pkt_rcode rcode, struct arena *a, str *why)
{
	char *text = ldns_pkt_rcode2str(rcode);

	if (rcode == LDNS_RCODE_NOTAUTH || rcode == LDNS_RCODE_NOTZONE)
		*why = arena_printf(a, "the server does not hold this zone, or holds it as a copy only (%s): name its primary", text);
	else if (rcode == LDNS_RCODE_REFUSED)
		*why = STR("the server refuses: this key may not change these names (REFUSED)");
	else
		*why = arena_printf(a, "the server says %s", text != NULL ? text : "an unknown error");
	free(text);
	return rcode == LDNS_RCODE_SERVFAIL ? ERR_BUSY : ERR_DENIED;
}

static enum err judge(struct packet_update *u, ldns_pkt *p, str wire, int64_t now, struct arena *a, str *why)
{
	const ldns_rr *tsig = ldns_pkt_tsig(p);
	ldns_pkt_rcode rcode = ldns_pkt_get_rcode(p);

	if (ldns_pkt_id(p) != u->id || !ldns_pkt_qr(p) || ldns_pkt_get_opcode(p) != LDNS_PACKET_UPDATE) {
		*why = STR("what came is no answer to the update");
		return ERR_BAD;
	}
	if (tsig_error(tsig) != 0)
		return tsig_refusal(tsig_error(tsig), u, a, why);
	if (rcode != LDNS_RCODE_NOERROR)
		return rcode_refusal(rcode, a, why);
	if (tsig == NULL || ldns_rr_rd_count(tsig) != 7 || !tsig_fits(u, tsig, now) ||
	    !ldns_pkt_tsig_verify(p, (const uint8_t *)wire.p, wire.n, u->key_name, u->key_secret, u->mac)) {
		*why = STR("the server's answer is not signed with the key: whether the update was made is not known");
		return ERR_BAD;
	}
	return OK;
}

enum err packet_update_read(struct packet_update *u, str wire, int64_t now, struct arena *a, str *why)
{
	ldns_pkt *p = NULL;
	enum err e = ERR_BAD;

	*why = STR("what came is no DNS packet");
	if (ldns_wire2pkt(&p, (const uint8_t *)wire.p, wire.n) == LDNS_STATUS_OK && p != NULL)
		e = judge(u, p, wire, now, a, why);
	ldns_pkt_free(p);
	if (e == OK)
		*why = STR_NONE;
	return e;
}
