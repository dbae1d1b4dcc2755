/* SPDX-License-Identifier: ISC */
/*
 * dns: questions and answers, as values.
 *
 * One struct dns a loop (dns_ub.c: libunbound's event API); units use a fake.
 * Names go in as text (labels between dots, any byte but NUL and dot inside a
 * label, a root dot at the end allowed) and are checked here: a label over 63
 * or a name over 253 octets, an empty label or a NUL never reaches the wire and
 * is answered DNS_BADNAME.  `answered` never fires inside dns_ask; it fires
 * exactly once unless dns_cancel came first.  Equal questions that are out at
 * the same time are asked once.  CNAMEs are followed.
 */
#ifndef BASE_DNS_H
#define BASE_DNS_H

#include <netinet/in.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

enum dns_type { DNS_A = 1, DNS_NS = 2, DNS_CNAME = 5, DNS_SOA = 6, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_TLSA = 52 };

enum dns_status {
	DNS_FOUND,      /* at least one record of the type asked */
	DNS_NXDOMAIN,   /* the name does not exist */
	DNS_NODATA,     /* it exists, without this type */
	DNS_SERVFAIL,   /* SERVFAIL, REFUSED, lame, malformed, … */
	DNS_TIMEOUT,    /* nothing within the question's time */
	DNS_BOGUS,      /* DNSSEC validation failed */
	DNS_BADNAME,    /* not a name that DNS can hold: never asked */
};

/* "NXDOMAIN", "no data", … for logs and explanations. */
const char *dns_status_text(enum dns_status);
/* A temporary error: SERVFAIL, TIMEOUT, BOGUS. */
static inline bool dns_failed(enum dns_status s) { return s == DNS_SERVFAIL || s == DNS_TIMEOUT || s == DNS_BOGUS; }

struct dns_rr {
	union {
		struct in_addr  a;
		struct in6_addr aaaa;
		str             name;                          /* PTR, NS, CNAME, SOA's first: lower case, no root dot */
		struct { uint16_t preference; str host; } mx;  /* null MX: host is empty */
		str             txt;                           /* the strings joined without separator */
		struct { uint8_t usage, selector, matching; str data; } tlsa;
	};
	size_t txt_strings;                                    /* TXT: of how many strings */
};

struct dns_answer {
	enum dns_status status;
	bool            secure;       /* DNSSEC: validated */
	bool            cname;        /* the name asked is an alias */
	uint32_t        ttl_s;
	str             canonical;    /* the name that holds the records */
	struct dns_rr  *rr;
	size_t          n;
	str             why;          /* for BOGUS and SERVFAIL: the resolver's words, may be empty */
};

struct dns_ask;
typedef void dns_answered(struct dns_ask *, const struct dns_answer *); /* the answer and its records live in the asker's arena */

struct dns_ask {                      /* embedded in the asker; zeroed before first use */
	dns_answered  *answered;
	void          *user;
	/* dns.c's own from here */
	struct dns    *dns;
	struct arena  *arena;
	struct dns_question *question;
	struct dns_link {
		struct dns_link *next, *prev;
	} link;
	uint64_t       until_ms;
	enum dns_status early;        /* what it hears when nothing was asked */
	bool           out;           /* asked, not yet answered or cancelled */
};

/* The arena must live until the answer or the cancel; an answer that it cannot
 * hold is DNS_SERVFAIL.  timeout_ms 0: the resolver's setting (5 s). */
void dns_ask(struct dns *, struct dns_ask *, struct arena *, str name, enum dns_type, uint64_t timeout_ms,
             dns_answered *answered, void *user);
void dns_cancel(struct dns_ask *);    /* harmless when nothing is out */

/* d.c.b.a.in-addr.arpa or nibbles under ip6.arpa; v4-mapped v6 counts as v4. */
str dns_reverse_name(struct arena *, const struct sockaddr *);
/* Prefix for block lists and SPF's %{i} is theirs to build. */

struct dns_conf {
	struct strs forward;          /* ADDR:PORT; empty: full recursion from the root */
	str         only;             /* --resolver ADDR:PORT: every question goes there, library's special zones off */
	str         trust_anchor;     /* root.key file; empty: no DNSSEC */
	uint64_t    timeout_ms;       /* one question: 5000 */
	struct strs local;            /* "NAME TYPE DATA" lines answered from memory (the playground) */
	bool        local_special;    /* take the library's built-in zones (test., lan reverse) out: --resolver, playground */
};

/* Main thread, before the loop runs: creates the libunbound context and asks
 * it `localhost` once, which builds it.  NULL with a reason. */
struct dns *dns_new(const struct dns_conf *, struct loop *, struct arena *, str *why);
/* Every question out is answered DNS_TIMEOUT first.  Never inside `answered`. */
void        dns_free(struct dns *);
size_t      dns_out(const struct dns *);
/* Sees each answer that an asker is told, before him (explain).  It may not ask
 * or cancel; name and answer live until it returns.  NULL: nobody looks. */
typedef void dns_watcher(void *user, str name, enum dns_type, const struct dns_answer *);
void        dns_watch(struct dns *, dns_watcher *, void *user);

/* What stands behind a struct dns: libunbound, or a table in the units. */
struct dns_question;
struct dns_source {
	/* Start asking; at the end, in this call or later, dns_question_done. */
	void (*start)(struct dns_source *, struct dns_question *);
	void (*cancel)(struct dns_source *, struct dns_question *);
	void (*close)(struct dns_source *);
};
/* Takes the source over.  NULL when memory is spent (the source is closed). */
struct dns *dns_with(struct dns_source *, struct loop *, uint64_t timeout_ms);
str           dns_question_name(const struct dns_question *);  /* presentation form, escaped, NUL behind it */
str           dns_question_text(const struct dns_question *);  /* plain text, lower case */
enum dns_type dns_question_type(const struct dns_question *);
void          dns_question_set(struct dns_question *, void *source_data);
void         *dns_question_get(const struct dns_question *);
/* `packet`: a whole answer message in wire form, hostile; may be empty when
 * status is an error. */
void dns_question_done(struct dns_question *, enum dns_status if_no_packet, str packet, bool secure, bool bogus, str why);

/* The parser, alone, for fuzzing: fills *out in the arena.  The name asked is
 * the packet's own question; records of other owners are not looked at. */
void dns_parse(struct arena *, str packet, enum dns_type, struct dns_answer *out);

#endif
