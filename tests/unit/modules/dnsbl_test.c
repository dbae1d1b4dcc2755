/* SPDX-License-Identifier: ISC */
/*
 * dnsbl: which answers count, how zones are asked and tested, and what the
 * zones of one connection say together; sender beside it, in one chain.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "modules/authn.h"
#include "modules/chain.h"
#include "modules/dnsbl/dnsbl.h"
#include "modules/iprev/iprev.h"
#include "modules/sender/sender.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

/* ---- values ---------------------------------------------------------------- */

static void codes(void **state)
{
	static const struct { const char *text, *fits, *not; } good[] = {
		{ "127.0.0.2", "127.0.0.2", "127.0.0.3" }, { "127.0.0.2-11", "127.0.0.11", "127.0.0.12" },
		{ "127.0.*.1-3", "127.0.200.2", "127.0.200.4" }, { "127.*.*.*", "127.9.9.9", "128.0.0.2" },
		{ "127.0.0.0-255", "127.0.0.255", "127.0.1.0" },
	};
	static const char *const bad[] = {
		"", "127.0.0", "127.0.0.2.3", "128.0.0.2", "*.0.0.2", "127.0.0.256", "127.0.0.9-2", "127.0.0.2-", "127.0.0.-2",
		"127.0.0.x", "127.0.0.2-3-4", "127..0.2", "0127.0.0.2222",
	};
	struct dnsbl_code code;
	struct dnsbl_zone zone = { .code = &code, .ncodes = 1 };
	struct in_addr a;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_true(dnsbl_code_parse(str_of(good[i].text), &code));
		inet_pton(AF_INET, good[i].fits, &a);
		assert_int_equal(dnsbl_answer(&zone, a), DNSBL_LISTED);
		inet_pton(AF_INET, good[i].not, &a);
		assert_int_not_equal(dnsbl_answer(&zone, a), DNSBL_LISTED);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		if (dnsbl_code_parse(str_of(bad[i]), &code))
			fail_msg("%s", bad[i]);
}

static void answers_that_never_count(void **state)
{
	static const struct { const char *ip; enum dnsbl_says says; } cases[] = {
		{ "127.0.0.2", DNSBL_LISTED }, { "127.0.0.1", DNSBL_NEVER_COUNTS }, { "127.255.255.254", DNSBL_NEVER_COUNTS },
		{ "127.255.255.0", DNSBL_NEVER_COUNTS }, { "127.255.254.1", DNSBL_LISTED }, { "192.0.2.1", DNSBL_NEVER_COUNTS },
		{ "126.255.255.255", DNSBL_NEVER_COUNTS }, { "128.0.0.0", DNSBL_NEVER_COUNTS }, { "127.1.0.1", DNSBL_LISTED },
		{ "0.0.0.0", DNSBL_NEVER_COUNTS },
	};
	struct dnsbl_zone zone = { 0 };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct in_addr a;

		inet_pton(AF_INET, cases[i].ip, &a);
		if (dnsbl_answer(&zone, a) != cases[i].says)
			fail_msg("%s", cases[i].ip);
	}
}

static void questions(void **state)
{
	struct dnsbl_zone zone = { .zone = STR("bl.test") };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr other = { .sa_family = AF_UNIX };
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 16);
	inet_pton(AF_INET, "192.0.2.99", &v4.sin_addr);
	assert_true(str_is(dnsbl_question_ip(&a, &zone, (struct sockaddr *)&v4), "99.2.0.192.bl.test"));
	inet_pton(AF_INET6, "2001:db8:1:2:3:4:567:89ab", &v6.sin6_addr);       /* RFC 5782 2.4 */
	assert_true(str_is(dnsbl_question_ip(&a, &zone, (struct sockaddr *)&v6),
	                   "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.test"));
	inet_pton(AF_INET6, "::ffff:192.0.2.99", &v6.sin6_addr);
	assert_true(str_is(dnsbl_question_ip(&a, &zone, (struct sockaddr *)&v6), "99.2.0.192.bl.test"));
	assert_int_equal(dnsbl_question_ip(&a, &zone, &other).n, 0);
	assert_true(str_is(dnsbl_question_name(&a, &zone, STR("Evil.Test")), "evil.test.bl.test"));
	assert_int_equal(dnsbl_question_name(&a, &zone, STR("localhost")).n, 0);
	assert_int_equal(dnsbl_question_name(&a, &zone, STR("[192.0.2.1]")).n, 0);
	assert_int_equal(dnsbl_question_name(&a, &zone, STR("a b.test")).n, 0);
	arena_fini(&a);
}

/* ---- a house ----------------------------------------------------------------- */

static const struct module *const modules[] = { &iprev_module, &dnsbl_module, &sender_module, NULL };
enum { IPREV, DNSBL, SENDER };

struct scene {
	struct arena       arena, msg;
	struct loop       *loop;
	struct chain      *chain;
	struct chain_conn *conn;
	struct peer        peer;
	struct message     in;
	struct path        rcpt;
	char              *confs;
	const void        *conf[4];
};

static char config_text[2048];

static int open_config(str path)
{
	int ends[2];

	(void)path;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], config_text, strlen(config_text)), strlen(config_text));
	close(ends[1]);
	return ends[0];
}

static void read_config(struct scene *s, const char *text)
{
	struct conf_section list[] = { *iprev_module.section, *dnsbl_module.section, *sender_module.section };
	const struct conf_section *sections[] = { &list[0], &list[1], &list[2], NULL };
	struct conf_section root = { .sections = sections, .size = 4096 };
	struct conf_faults faults = { 0 };

	snprintf(config_text, sizeof(config_text), "%s", text);
	for (size_t i = 0; i < COUNT(list); i++)
		list[i].offset = (i + 1) * 1024;
	s->confs = arena_alloc(&s->arena, root.size);
	assert_int_equal(conf_read("test", open_config, &root, s->confs, &s->arena, &faults), OK);
	for (size_t i = 0; i < COUNT(list); i++)
		s->conf[i] = s->confs + list[i].offset;
}

static void begin(struct scene *s, const char *config, const char *zone, const char *ip)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&s->peer.addr;
	str why = STR_NONE;

	memset(s, 0, sizeof(*s));
	arena_init(&s->arena, ARENA_UNBOUNDED);
	arena_init(&s->msg, ARENA_UNBOUNDED);
	s->loop = loop_new(0, NULL);
	s->loop->dns = dns_with(dns_local_source(zone), s->loop, 5000);
	read_config(s, config);
	s->chain = chain_new(modules, s->conf, &s->arena, &why);
	assert_non_null(s->chain);
	v4->sin_family = AF_INET;
	inet_pton(AF_INET, ip, &v4->sin_addr);
	s->peer.ip = str_of(ip);
	s->peer.helo = STR("helo.test");
	s->conn = chain_open(s->chain, s->loop, &s->peer, &s->arena, NULL);
	s->in.id = s->in.host = STR("mx.test");
	assert_true(path_of(&s->arena, STR("alice@here.test"), &s->rcpt));
}

static void end(struct scene *s)
{
	chain_close(s->conn);
	dns_free(s->loop->dns);
	loop_free(s->loop);
	arena_fini(&s->msg);
	arena_fini(&s->arena);
}

static void told(struct chain_conn *c, void *user)
{
	(void)c;
	loop_stop(user);
}

static enum say stage(struct scene *s, enum say say)
{
	if (say == SAY_WAIT) {
		s->loop->stopping = false;
		loop_run(s->loop);
	}
	return chain_verdict(s->conn)->say;
}

static void set_health(struct scene *s, enum dnsbl_health h)
{
	const struct conf_list *zones = s->conf[DNSBL];

	for (size_t i = 0; i < zones->n; i++) {
		struct dnsbl_state *z = ((struct dnsbl_zone *)zones->v[i])->state;

		z->v4 = z->v6 = z->name = h;
	}
}

static enum say up_to_rcpt(struct scene *s, const char *sender)
{
	if (sender[0] == '\0')
		s->in.sender = (struct path){ .is_null = true };
	else
		assert_true(path_of(&s->arena, str_of(sender), &s->in.sender));
	assert_int_equal(stage(s, chain_connect(s->conn, told, s->loop)), SAY_NEXT);
	assert_int_equal(stage(s, chain_helo(s->conn, s->peer.helo, told, s->loop)), SAY_NEXT);
	assert_int_equal(stage(s, chain_mail(s->conn, &s->in, &s->msg, NULL, told, s->loop)), SAY_NEXT);
	return stage(s, chain_rcpt(s->conn, &s->rcpt, told, s->loop));
}

static enum say at_the_dot(struct scene *s)
{
	s->in.rcpts = &s->rcpt;
	s->in.nrcpts = 1;
	return stage(s, chain_message(s->conn, told, s->loop));
}

#define ZONE                                                       \
	"7.2.0.192.one.test A 127.0.0.2\n"                         \
	"7.2.0.192.one.test TXT  a long\\007 reason \xff here \n"  \
	"7.2.0.192.two.test A 127.0.0.10\n"                        \
	"7.2.0.192.slow.test A SERVFAIL\n"                         \
	"7.2.0.192.white.test A 127.0.5.3\n"                       \
	"7.2.0.192.in-addr.arpa PTR seven.test\n"                  \
	"seven.test A 192.0.2.7\n"                                 \
	"seven.test.names.test A 127.0.0.2\n"                      \
	"helo.test.names.test A 127.0.0.2\n"                       \
	"bad.test.names.test A 127.0.0.2\n"                        \
	"good.test MX 10 good.test\n"                              \
	"bad.test MX 10 bad.test\n"                                \
	"null.test MX 0 .\n"                                       \
	"a.test A 192.0.2.1\n"                                     \
	"text.test TXT x\n"                                        \
	"slow.test MX SERVFAIL\n"

static void zones_together(void **state)
{
	static const struct { const char *conf; enum say at_rcpt, at_dot; } cases[] = {
		{ "dnsbl \"one.test\" {}", SAY_REJECT, SAY_QUARANTINE },
		{ "dnsbl \"none.test\" {}", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"slow.test\" {}", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"one.test\" { action = mark }", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"one.test\" { action = quarantine }", SAY_NEXT, SAY_QUARANTINE },
		{ "dnsbl \"one.test\" { weight = 99 }", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"one.test\" { weight = 40 } dnsbl \"two.test\" { weight = 60 }", SAY_REJECT, SAY_QUARANTINE },
		{ "dnsbl \"one.test\" { weight = 40 } dnsbl \"two.test\" { weight = 60 action = quarantine }", SAY_NEXT, SAY_QUARANTINE },
		{ "dnsbl \"one.test\" {} dnsbl \"white.test\" { action = accept }", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"one.test\" {} dnsbl \"white.test\" { action = accept codes = {\"127.0.*.1-2\"} }", SAY_REJECT, SAY_QUARANTINE },
		{ "dnsbl \"one.test\" { codes = {\"127.0.0.3-9\"} }", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"one.test\" { exempt = {\"192.0.2.0/24\"} }", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"names.test\" { type = name names = {\"ptr\"} }", SAY_REJECT, SAY_QUARANTINE },
		{ "dnsbl \"names.test\" { type = name names = {\"helo\"} }", SAY_REJECT, SAY_QUARANTINE },
		{ "dnsbl \"names.test\" { type = name names = {\"sender\"} }", SAY_NEXT, SAY_NEXT },
		{ "dnsbl \"names.test\" { type = name exempt = {\"seven.test\", \"helo.test\"} }", SAY_NEXT, SAY_NEXT },
		{ "iprev { verify = no } dnsbl \"names.test\" { type = name names = {\"ptr\"} }", SAY_NEXT, SAY_NEXT },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene s;

		begin(&s, cases[i].conf, ZONE, "192.0.2.7");
		set_health(&s, DNSBL_GOOD);
		enum say rcpt = up_to_rcpt(&s, "x@good.test"), dot = at_the_dot(&s);

		if (rcpt != cases[i].at_rcpt || dot != cases[i].at_dot)
			fail_msg("%s: %d, then %d", cases[i].conf, rcpt, dot);
		end(&s);
	}
}

static void senders_domain_is_looked_up(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "dnsbl \"names.test\" { type = name names = {\"sender\"} }", ZONE, "192.0.2.7");
	set_health(&s, DNSBL_GOOD);
	assert_int_equal(up_to_rcpt(&s, "x@bad.test"), SAY_REJECT);
	assert_true(str_starts(chain_verdict(s.conn)->text, "bad.test is listed in names.test"));
	end(&s);
}

static void the_reply_names_zone_and_reason(void **state)
{
	struct scene s;
	struct judged j;

	(void)state;
	begin(&s, "dnsbl \"one.test\" {}", ZONE, "192.0.2.7");
	set_health(&s, DNSBL_GOOD);
	assert_int_equal(up_to_rcpt(&s, "x@good.test"), SAY_REJECT);
	assert_int_equal(chain_verdict(s.conn)->code, 550);
	assert_string_equal(chain_verdict(s.conn)->esc, "5.7.1");
	assert_true(str_starts(chain_verdict(s.conn)->text, "192.0.2.7 is listed in one.test: a long"));
	for (size_t i = 0; i < chain_verdict(s.conn)->text.n; i++)
		assert_in_range(chain_verdict(s.conn)->text.p[i], ' ', '~');
	authn_judged(s.conn, &s.msg, &j);
	for (size_t i = 0; i < j.n; i++)
		if (strcmp(j.v[i].key, "dnsbl") == 0)
			assert_true(str_is(j.v[i].s, "one.test"));
	end(&s);
}

static void a_bad_zone_does_not_count(void **state)
{
	const struct dnsbl_finding *f;
	struct scene s;
	size_t n;

	(void)state;
	begin(&s, "dnsbl \"one.test\" {}", ZONE, "192.0.2.7");
	set_health(&s, DNSBL_BAD);
	assert_int_equal(up_to_rcpt(&s, "x@good.test"), SAY_NEXT);
	f = dnsbl_findings(chain_connstate(s.conn, &dnsbl_module), chain_msg(s.conn, &dnsbl_module), &s.arena, &n);
	assert_int_equal(n, 1);
	assert_true(f[0].asked && !f[0].listed && f[0].reason.n > 0);
	end(&s);
}

static struct loop_timer late;

static void test_passes(struct loop_timer *t)
{
	(void)t;
	set_health((struct scene *)t->loop->house, DNSBL_GOOD);
}

/* A recipient waits for a first test that is still out. */
static void an_untested_zone_is_waited_for(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "dnsbl \"one.test\" {}", ZONE, "192.0.2.7");
	s.loop->house = &s;
	loop_timer_init(&late, s.loop, "late", test_passes);
	loop_timer_set(&late, 50);
	assert_int_equal(up_to_rcpt(&s, "x@good.test"), SAY_REJECT);
	end(&s);
}

static void roles_stay_reachable(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "dnsbl \"one.test\" {}", ZONE, "192.0.2.7");
	set_health(&s, DNSBL_GOOD);
	assert_true(path_of(&s.arena, STR("Abuse@here.test"), &s.rcpt));
	assert_int_equal(up_to_rcpt(&s, "x@good.test"), SAY_NEXT);
	assert_int_equal(at_the_dot(&s), SAY_QUARANTINE);
	end(&s);
}

/* ---- tests of zones --------------------------------------------------------- */

static void tested(struct dnsbl_tests *t, void *user)
{
	(void)t;
	loop_stop(user);
}

#define V6 ".0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"

static void zones_are_tested(void **state)
{
	static const struct { const char *conf, *zone; int v4, v6, name; } cases[] = {
		{ "dnsbl \"bl.test\" {}", "2.0.0.127.bl.test A 127.0.0.2\n2" V6 ".bl.test A 127.0.0.2\n", DNSBL_GOOD, DNSBL_GOOD, 0 },
		{ "dnsbl \"bl.test\" {}", "2.0.0.127.bl.test A 127.0.0.2\n", DNSBL_GOOD, DNSBL_BAD, 0 },
		{ "dnsbl \"bl.test\" {}", "*.bl.test A 127.0.0.2\n", DNSBL_BAD, DNSBL_BAD, 0 },
		{ "dnsbl \"bl.test\" {}", "x.test A 192.0.2.1\n", DNSBL_BAD, DNSBL_BAD, 0 },
		{ "dnsbl \"bl.test\" {}", "2.0.0.127.bl.test A 192.0.2.1\n", DNSBL_BAD, DNSBL_BAD, 0 },
		{ "dnsbl \"bl.test\" {}", "2.0.0.127.bl.test A 127.0.0.2\n1.0.0.127.bl.test A SERVFAIL\n", DNSBL_BAD, DNSBL_BAD, 0 },
		{ "dnsbl \"bl.test\" { codes = {\"127.0.0.9\"} }", "2.0.0.127.bl.test A 127.0.0.2\n", DNSBL_GOOD, DNSBL_BAD, 0 },
		{ "dnsbl \"bl.test\" { type = name }", "TEST.bl.test A 127.0.0.2\n", 0, 0, DNSBL_GOOD },
		{ "dnsbl \"bl.test\" { type = name }", "TEST.bl.test A 127.0.0.2\nINVALID.bl.test A 127.0.0.2\n", 0, 0, DNSBL_BAD },
		{ "dnsbl \"bl.test\" { type = name test-listed = \"on.example\" test-clean = \"off.example\" }",
		  "on.example.bl.test A 127.0.0.2\nINVALID.bl.test A 127.0.0.2\n", 0, 0, DNSBL_GOOD },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dnsbl_tests *t;
		struct scene s;

		begin(&s, cases[i].conf, cases[i].zone, "192.0.2.7");
		const struct conf_list *zones = s.conf[DNSBL];
		const struct dnsbl_state *z = ((struct dnsbl_zone *)zones->v[0])->state;

		t = dnsbl_tests_start(zones, s.loop->dns, tested, s.loop);
		assert_non_null(t);
		loop_run(s.loop);
		dnsbl_tests_end(t);
		if (z->v4 != cases[i].v4 || z->v6 != cases[i].v6 || z->name != cases[i].name)
			fail_msg("%s with %s: %d %d %d", cases[i].conf, cases[i].zone, z->v4, z->v6, z->name);
		assert_null(dnsbl_tests_start(zones, s.loop->dns, tested, s.loop));     /* none is due now */
		end(&s);
	}
}

static void what_is_known_is_inherited(void **state)
{
	struct scene s, next;

	(void)state;
	begin(&s, "dnsbl \"bl.test\" {} dnsbl \"names.test\" { type = name }", ZONE, "192.0.2.7");
	set_health(&s, DNSBL_GOOD);
	begin(&next, "dnsbl \"new.test\" {} dnsbl \"bl.test\" {} dnsbl \"names.test\" { type = name test-clean = \"x\" }", ZONE, "192.0.2.7");
	dnsbl_inherit(next.conf[DNSBL], s.conf[DNSBL]);
	const struct conf_list *zones = next.conf[DNSBL];

	assert_int_equal(((struct dnsbl_zone *)zones->v[0])->state->v4, DNSBL_UNTESTED);
	assert_int_equal(((struct dnsbl_zone *)zones->v[1])->state->v4, DNSBL_GOOD);
	assert_int_equal(((struct dnsbl_zone *)zones->v[2])->state->name, DNSBL_UNTESTED);   /* another test */
	end(&next);
	end(&s);
}

static void a_test_may_be_ended_early(void **state)
{
	struct dnsbl_tests *t;
	struct scene s;

	(void)state;
	begin(&s, "dnsbl \"bl.test\" {}", "2.0.0.127.bl.test A SILENT\n", "192.0.2.7");
	t = dnsbl_tests_start(s.conf[DNSBL], s.loop->dns, tested, s.loop);
	assert_non_null(t);
	dnsbl_tests_end(t);
	assert_int_equal(dns_out(s.loop->dns), 0);
	end(&s);
}

/* ---- sender ----------------------------------------------------------------- */

static void senders(void **state)
{
	static const struct { const char *conf, *sender; enum say rcpt; int code; const char *esc; } cases[] = {
		{ "", "x@good.test", SAY_NEXT, 0, NULL }, { "", "x@a.test", SAY_NEXT, 0, NULL }, { "", "", SAY_NEXT, 0, NULL },
		{ "", "x@[192.0.2.1]", SAY_NEXT, 0, NULL }, { "", "x@absent.test", SAY_REJECT, 550, "5.1.8" },
		{ "", "x@text.test", SAY_REJECT, 550, "5.1.8" }, { "", "x@null.test", SAY_REJECT, 550, "5.7.27" },
		{ "", "x@slow.test", SAY_DEFER, 451, "4.1.8" },
		{ "sender { missing = defer }", "x@absent.test", SAY_DEFER, 451, "4.1.8" },
		{ "sender { null-mx = mark }", "x@null.test", SAY_NEXT, 0, NULL },
		{ "sender { missing = quarantine }", "x@absent.test", SAY_NEXT, 0, NULL },
		{ "sender { verify = no }", "x@absent.test", SAY_NEXT, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene s;

		begin(&s, cases[i].conf, ZONE, "192.0.2.7");
		if (up_to_rcpt(&s, cases[i].sender) != cases[i].rcpt)
			fail_msg("%s %s", cases[i].conf, cases[i].sender);
		assert_int_equal(chain_verdict(s.conn)->code, cases[i].code);
		if (cases[i].esc != NULL)
			assert_string_equal(chain_verdict(s.conn)->esc, cases[i].esc);
		if (strstr(cases[i].conf, "quarantine") != NULL)
			assert_int_equal(at_the_dot(&s), SAY_QUARANTINE);
		end(&s);
	}
}

static void senders_of_logins_are_not_asked_about(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, "dnsbl \"one.test\" { test = no }", ZONE, "192.0.2.7");
	s.in.origin = FROM_LOGIN;
	s.peer.submission = true;
	assert_int_equal(up_to_rcpt(&s, "x@absent.test"), SAY_NEXT);
	assert_int_equal(at_the_dot(&s), SAY_NEXT);
	assert_null(sender_state_outcome(chain_msg(s.conn, &sender_module)));
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes),
		cmocka_unit_test(answers_that_never_count),
		cmocka_unit_test(questions),
		cmocka_unit_test(zones_together),
		cmocka_unit_test(senders_domain_is_looked_up),
		cmocka_unit_test(the_reply_names_zone_and_reason),
		cmocka_unit_test(a_bad_zone_does_not_count),
		cmocka_unit_test(an_untested_zone_is_waited_for),
		cmocka_unit_test(roles_stay_reachable),
		cmocka_unit_test(zones_are_tested),
		cmocka_unit_test(what_is_known_is_inherited),
		cmocka_unit_test(a_test_may_be_ended_early),
		cmocka_unit_test(senders),
		cmocka_unit_test(senders_of_logins_are_not_asked_about),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
