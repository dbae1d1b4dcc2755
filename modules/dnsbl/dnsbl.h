/* SPDX-License-Identifier: ISC */
/*
 * dnsbl: block and allow lists in DNS (RFC 5782), by address and by name.
 *
 * Which of a zone's answers count stands in one function, dnsbl_answer, that
 * the questions about mail and the tests of zones share.  A zone that fails its
 * test (RFC 5782 5) is not used until it passes: dnsbl_tests asks, from one
 * thread, and notes what came of it where every loop may look.
 */
#ifndef MODULES_DNSBL_H
#define MODULES_DNSBL_H

#include <stdatomic.h>

#include "smtpd/base/cidr.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/dns.h"

enum dnsbl_type   { DNSBL_IP, DNSBL_NAME };
enum dnsbl_action { DNSBL_MARK, DNSBL_QUARANTINE, DNSBL_REJECT, DNSBL_ACCEPT };

#define DNSBL_ENOUGH 100      /* weights that add up to this act */

/* "127.0.0.2", "127.0.0.4-7", "127.0.*.1-3": each octet a number, a range or *. */
struct dnsbl_code { unsigned char low[4], high[4]; };
bool dnsbl_code_parse(str text, struct dnsbl_code *);

/* What is known of a zone at run time; any thread. */
enum dnsbl_health { DNSBL_UNTESTED, DNSBL_GOOD, DNSBL_BAD };
struct dnsbl_state {
	_Atomic int     v4, v6, name;     /* enum dnsbl_health */
	_Atomic int64_t tested;           /* seconds since the epoch */
	_Atomic bool    reported;         /* an answer that never counts was logged */
};

struct dnsbl_zone {                       /* one section; made whole by the module's setup */
	struct conf_head head;            /* title: the zone */
	int         type, action;
	uint64_t    weight;
	struct strs names, codes, exempt;
	str         reply, test_listed, test_clean;
	bool        test;
	/* derived */
	str                 zone;
	bool                by_sender, by_helo, by_ptr;
	struct dnsbl_code  *code;
	size_t              ncodes;
	struct cidr        *nets;
	size_t              nnets;
	struct strs         domains;
	struct dnsbl_state *state;
};

enum dnsbl_says { DNSBL_CLEAR, DNSBL_LISTED, DNSBL_OTHER_CODE, DNSBL_NEVER_COUNTS };
/* One address record of an answer.  127.0.0.1, 127.255.255.0/24 and whatever is
 * outside 127.0.0.0/8 never count; of the rest those that `codes` selects do. */
enum dnsbl_says dnsbl_answer(const struct dnsbl_zone *, struct in_addr);
/* The question: octets or nibbles of an address, turned round, or a name, in
 * front of the zone.  Empty: there is none to ask. */
str dnsbl_question_ip(struct arena *, const struct dnsbl_zone *, const struct sockaddr *);
str dnsbl_question_name(struct arena *, const struct dnsbl_zone *, str name);

/* ---- tests of zones: main thread, or a verb's ------------------------------ */

struct dnsbl_tests;
typedef void dnsbl_tested(struct dnsbl_tests *, void *user);
/* Tests those of `zones` (the module's settings, after its setup) that are due:
 * never tested, good for a day, bad for ten minutes.  `done` fires once, never
 * inside; then, or instead, dnsbl_tests_end.  NULL: none is due. */
struct dnsbl_tests *dnsbl_tests_start(const struct conf_list *zones, struct dns *, dnsbl_tested *,
				      void *user);
void                dnsbl_tests_end(struct dnsbl_tests *);    /* harmless with NULL */
/* What an older generation found out about the same zones. */
void                dnsbl_inherit(const struct conf_list *zones, const struct conf_list *older);

/* ---- the module ------------------------------------------------------------- */

extern const struct module
	dnsbl_module; /* its settings are a struct conf_list of struct dnsbl_zone */

struct dnsbl_finding {                        /* one zone, for verify, explain and the log */
	str  zone;
	bool asked, listed;
	int  action;
	str  subject;                         /* the address or name that is listed */
	str  answer;                          /* "127.0.0.2" */
	str  reason;                          /* the zone's TXT, or why it was not used */
};
const struct dnsbl_finding *dnsbl_findings(const void *conn, const void *msg, struct arena *,
					   size_t *n);

#endif
