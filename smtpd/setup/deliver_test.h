/* SPDX-License-Identifier: ISC */
/*
 * deliver_test: the way that mail for one address would take, walked without
 * sending any: route, MX hosts, addresses, DNSSEC, MTA-STS, TLSA, and what each
 * host says and shows up to the second EHLO.
 *
 * The same code as the server's decides (route, hosts, policy); the talk is
 * EHLO, STARTTLS, EHLO, QUIT.  A loop of its own, the verb's thread.
 */
#ifndef SETUP_DELIVER_TEST_H
#define SETUP_DELIVER_TEST_H

#include "queue/deliver/policy.h"
#include "smtpd/base/conn.h"
#include "smtpd/setup/config.h"

#define TEST_CERTS 8

/* ---- deliver_probe.c: one connection ------------------------------------------------- */

struct probe {
	/* the question */
	struct loop  *loop;
	struct arena *arena;
	struct tls_client *tls;
	const struct policy *policy;
	str           hostname;
	uint64_t      wait_ms;
	bool          implicit;        /* TLS from the first octet */
	bool          without_tls;     /* the policy wants none */
	void        (*done)(struct probe *);   /* once, later */
	void         *user;
	/* the answer; strings in the arena */
	bool          greeted;         /* up to the EHLO that a message would follow */
	str           greeting, said;  /* its first line; why it ended early */
	bool          talked;          /* it refused us by itself: `said` is its answer */
	int           code;            /* of that answer */
	bool          starttls, requiretls;
	struct tls_state tls_state;
	struct tls_cert  certs[TEST_CERTS];
	size_t        ncerts;
	/* deliver_probe.c's own */
	struct conn  *conn;
	struct reply_state *reader;
	struct loop_call later;
	int           step;
};

void probe_start(struct probe *, const struct sockaddr *to, socklen_t);
void probe_stop(struct probe *);       /* `done` does not fire any more; harmless twice and when zeroed */

/* ---- deliver_test.c: the walk ------------------------------------------------------------ */

struct test_host {
	str           name;
	uint32_t      preference;
	bool          from_mx, secure;
	struct sockaddr_storage addr[HOSTS_ADDRS];
	size_t        naddr;
	str           tried;           /* the address that was dialled last */
	bool          probed;
	struct policy policy;
	struct dane   dane;
	struct probe  probe;
	bool          good;            /* a message could go there */
	bool          for_good;        /* it could not, nor later */
	str           status, said;    /* why not */
};

enum test_end { TEST_SENT, TEST_LATER, TEST_NEVER, TEST_LOCAL };

struct deliver_test {
	/* the question */
	struct arena  *arena;
	struct loop   *loop;
	struct tls_client *tls;
	struct sts    *sts;
	const struct deliver_setup *setup;
	struct path    to;
	str            from;
	unsigned       flags;          /* MESSAGE_REQUIRETLS, MESSAGE_TLS_OPTIONAL */
	bool           dnssec;         /* answers are validated */
	/* the answer */
	struct route   route;
	struct dns_facts mx;
	bool           mx_known, implicit;
	bool           sts_asked;
	struct sts_policy sts_policy;
	str            sts_fault, sts_why;
	struct test_host *v;
	size_t         n;
	enum test_end  end;
	str            status, said;
	/* deliver_test.c's own */
	struct hosts   hosts;
	struct policy_look look;
	struct sts_ask sts_ask;
};

void deliver_test_run(struct deliver_test *);      /* until everything is known */
const char *deliver_test_word(enum test_end);      /* "sent", "deferred", "bounced", "local" */

/* ---- deliver_show.c -------------------------------------------------------------------------- */

void deliver_test_print(const struct deliver_test *);
void deliver_test_print_json(const struct deliver_test *);

#endif
