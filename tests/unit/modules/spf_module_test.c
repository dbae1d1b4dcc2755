/* SPDX-License-Identifier: ISC */
/*
 * spf and iprev as modules in a chain: what is waited for, what options do with
 * results, what is written, whose mail is left alone.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "modules/authn.h"
#include "modules/iprev/iprev.h"
#include "modules/spf/spf.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/loop.h"

static const char zone[] =
	"good.test    TXT  v=spf1 ip4:192.0.2.7 -all\n"
	"bad.test     TXT  v=spf1 -all exp=why.test\n"
	"why.test     TXT  ask %{o}\n"
	"soft.test    TXT  v=spf1 ~all\n"
	"perm.test    TXT  v=spf1 moo\n"
	"temp.test    TXT  SERVFAIL\n"
	"silent.test  TXT  SILENT\n"
	"mail.good.test TXT v=spf1 a -all\n"
	"mail.good.test A  192.0.2.7\n"
	"other.good.test A 192.0.2.7\n"
	"mail.bad.test TXT v=spf1 -all\n"
	"liar.test    A    192.0.2.99\n"
	"six.test     AAAA 2001:db8::7\n"
	"seven.test   A    SERVFAIL\n"
	"7.2.0.192.in-addr.arpa  PTR other.good.test\n"
	"7.2.0.192.in-addr.arpa  PTR mail.good.test\n"
	"8.2.0.192.in-addr.arpa  PTR liar.test\n"
	"9.2.0.192.in-addr.arpa  PTR SERVFAIL\n"
	"11.2.0.192.in-addr.arpa PTR seven.test\n"
	"12.2.0.192.in-addr.arpa PTR SILENT\n"
	"7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.test\n";

/* ---- a house of one connection -------------------------------------------- */

struct root { struct conf_head head; _Alignas(max_align_t) char module[512]; };

struct scene {
	struct arena       arena, msg;
	struct loop       *loop;
	struct chain      *chain;
	struct chain_conn *conn;
	struct peer        peer;
	struct message     in;
	struct root        root;
	const void        *conf;
};

static int open_file(str path)
{
	char name[64];

	snprintf(name, sizeof(name), "%.*s", STR_ARG(path));
	return open(name, O_RDONLY);
}

/* The options as a file would give them. */
static const void *read_conf(struct scene *s, const struct module *m, const char *options)
{
	struct conf_section        section = *m->section;
	const struct conf_section *sections[] = { &section, NULL };
	const struct conf_section  root = { .sections = sections, .size = sizeof(struct root) };
	struct conf_faults         faults;
	char                       file[] = "/tmp/spf_module_test.XXXXXX";
	int                        fd = mkstemp(file);
	enum err                   e;

	section.offset = offsetof(struct root, module);
	assert_true(fd >= 0 && section.size <= sizeof(s->root.module));
	dprintf(fd, "%s { %s }\n", m->name, options);
	close(fd);
	e = conf_read(file, open_file, &root, &s->root, &s->arena, &faults);
	unlink(file);
	if (e != OK)
		fail_msg("%.*s", STR_ARG(faults.v[0].text));
	return s->root.module;
}

static void begin(struct scene *s, const struct module *m, const char *options, const char *ip)
{
	const struct module *const list[] = { m, NULL };
	struct sockaddr_in        *v4 = (struct sockaddr_in *)&s->peer.addr;
	struct sockaddr_in6       *v6 = (struct sockaddr_in6 *)&s->peer.addr;
	str                        why;

	memset(s, 0, sizeof(*s));
	arena_init(&s->arena, 1 << 20);
	arena_init(&s->msg, 1 << 20);
	s->loop = loop_new(0, NULL);
	s->loop->dns = dns_with(dns_local_source(zone), s->loop, 5000);
	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
	s->peer.ip = str_of(ip);
	s->peer.helo = STR("mail.good.test");
	s->conf = read_conf(s, m, options);
	s->chain = chain_new(list, &s->conf, &s->arena, &why);
	assert_non_null(s->chain);
	s->conn = chain_open(s->chain, s->loop, &s->peer, &s->arena, NULL);
	assert_non_null(s->conn);
	s->in.origin = FROM_STRANGER;
	s->in.host = STR("mx.here.test");
}

static void end(struct scene *s)
{
	chain_close(s->conn);
	assert_int_equal(dns_out(s->loop->dns), 0);
	dns_free(s->loop->dns);
	loop_free(s->loop);
	arena_fini(&s->msg);
	arena_fini(&s->arena);
}

static void stage_over(struct chain_conn *c, void *user)
{
	struct scene *s = user;

	(void)c;
	ev_break(s->loop->ev, EVBREAK_ALL);
}

static enum say wait_for(struct scene *s, enum say say)
{
	if (say == SAY_WAIT)
		ev_run(s->loop->ev, 0);
	return chain_verdict(s->conn)->say;
}

static enum say connect_and_helo(struct scene *s)
{
	enum say say = wait_for(s, chain_connect(s->conn, stage_over, s));

	assert_int_equal(wait_for(s, chain_helo(s->conn, s->peer.helo, stage_over, s)), SAY_NEXT);
	return say;
}

static enum say mail(struct scene *s, const char *from)
{
	s->in.sender = (struct path){ .text = STR(""), .is_null = true };
	if (*from != '\0')
		assert_true(path_of(&s->msg, str_of(from), &s->in.sender));
	return chain_mail(s->conn, &s->in, &s->msg, NULL, stage_over, s);
}

static enum say rcpt(struct scene *s, const char *to)
{
	struct path p;

	assert_true(path_of(&s->msg, str_of(to), &p));
	return wait_for(s, chain_rcpt(s->conn, &p, stage_over, s));
}

static enum say message(struct scene *s)
{
	return wait_for(s, chain_message(s->conn, stage_over, s));
}

/* The field without its folds. */
static str flat(struct scene *s, str field)
{
	char  *p = arena_alloc(&s->msg, field.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < field.n; i++)
		if (field.p[i] != '\r' && field.p[i] != '\n')
			p[n++] = field.p[i] == '\t' ? ' ' : field.p[i];
	return (str){ p, n };
}

static str results(struct scene *s)
{
	return flat(s, authn_field(s->conn, &s->msg, STR("here.test"), STR_NONE));
}

static bool holds(str text, const char *part)
{
	return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

/* ---- spf ------------------------------------------------------------------ */

static void spf_options_decide(void **state)
{
	static const struct {
		const char *options, *ip, *from;
		enum say    rcpt, message;
		int         code;
		const char *esc;
	} cases[] = {
		{ "", "192.0.2.7", "u@good.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "", "192.0.2.7", "u@bad.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "", "192.0.2.7", "u@perm.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "", "192.0.2.7", "u@temp.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "fail = quarantine", "192.0.2.7", "u@bad.test", SAY_NEXT, SAY_QUARANTINE, 0, NULL },
		{ "fail = reject", "192.0.2.7", "u@bad.test", SAY_REJECT, SAY_QUARANTINE, 550, "5.7.23" },
		{ "fail = defer", "192.0.2.7", "u@bad.test", SAY_DEFER, SAY_QUARANTINE, 451, "4.7.23" },
		{ "fail = reject", "192.0.2.7", "u@good.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "softfail = reject", "192.0.2.7", "u@soft.test", SAY_REJECT, SAY_QUARANTINE, 550, "5.7.23" },
		{ "temperror = defer", "192.0.2.7", "u@temp.test", SAY_DEFER, SAY_QUARANTINE, 451, "4.7.24" },
		{ "permerror = quarantine", "192.0.2.7", "u@perm.test", SAY_NEXT, SAY_QUARANTINE, 0, NULL },
		{ "helo-fail = reject", "192.0.2.9", "u@soft.test", SAY_REJECT, SAY_QUARANTINE, 550, "5.7.23" },
		{ "helo-fail = reject helo = no", "192.0.2.9", "u@soft.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "fail = reject verify = no", "192.0.2.7", "u@bad.test", SAY_NEXT, SAY_NEXT, 0, NULL },
		{ "fail = reject", "192.0.2.9", "", SAY_REJECT, SAY_QUARANTINE, 550, "5.7.23" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene s;

		begin(&s, &spf_module, cases[i].options, cases[i].ip);
		connect_and_helo(&s);
		assert_int_equal(mail(&s, cases[i].from), SAY_NEXT);
		if (rcpt(&s, "u@here.test") != cases[i].rcpt)
			fail_msg("%s: %s at RCPT: %d", cases[i].options, cases[i].from, chain_verdict(s.conn)->say);
		assert_int_equal(chain_verdict(s.conn)->code, cases[i].code);
		if (cases[i].esc != NULL)
			assert_string_equal(chain_verdict(s.conn)->esc, cases[i].esc);
		if (message(&s) != cases[i].message)
			fail_msg("%s: %s at the end: %d", cases[i].options, cases[i].from, chain_verdict(s.conn)->say);
		end(&s);
	}
}

static void spf_refusal_says_what_to_do(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, &spf_module, "fail = reject", "192.0.2.7");
	connect_and_helo(&s);
	mail(&s, "u@bad.test");
	assert_int_equal(rcpt(&s, "postmaster@here.test"), SAY_NEXT);     /* always reachable */
	assert_int_equal(rcpt(&s, "u@here.test"), SAY_REJECT);
	assert_true(str_is(chain_verdict(s.conn)->text,
	                   "SPF: 192.0.2.7 may not send mail for the MAIL FROM domain bad.test (fail): send it through the "
	                   "servers of that domain, or ask its owner to add this one\n"
	                   "The owner of bad.test explains: ask bad.test"));
	end(&s);
}

static void spf_writes_its_fields(void **state)
{
	struct added added;
	struct scene s;
	str          text;

	(void)state;
	begin(&s, &spf_module, "", "192.0.2.7");
	connect_and_helo(&s);
	mail(&s, "u@good.test");
	message(&s);
	assert_true(str_is(results(&s), "Authentication-Results: here.test; spf=pass smtp.mailfrom=u@good.test;"
	                                " spf=pass smtp.helo=mail.good.test"));
	added = (struct added){ .arena = &s.msg };
	assert_int_equal(chain_queue(s.conn, &added, stage_over, &s), SAY_NEXT);
	assert_int_equal(added.n, 1);
	text = flat(&s, added.v[0]);
	assert_true(str_starts(text, "Received-SPF: pass "));
	assert_true(holds(text, "client-ip=192.0.2.7"));
	assert_true(holds(text, "receiver=mx.here.test"));
	assert_true(holds(text, "identity=mailfrom"));
	end(&s);

	begin(&s, &spf_module, "", "192.0.2.7");          /* a null sender: HELO's result alone */
	connect_and_helo(&s);
	mail(&s, "");
	message(&s);
	assert_true(str_is(results(&s), "Authentication-Results: here.test; spf=pass smtp.helo=mail.good.test"));
	assert_ptr_equal(spf_state_mfrom(chain_msg(s.conn, &spf_module)), spf_state_helo(chain_msg(s.conn, &spf_module)));
	end(&s);
}

static void spf_leaves_our_own_alone(void **state)
{
	static const enum origin origins[] = { FROM_LOGIN, FROM_OURSELVES };

	(void)state;
	for (size_t i = 0; i < COUNT(origins); i++) {
		struct added added;
		struct scene s;

		begin(&s, &spf_module, "fail = reject", "192.0.2.7");
		s.in.origin = origins[i];
		connect_and_helo(&s);
		mail(&s, "u@bad.test");
		assert_int_equal(dns_out(s.loop->dns), 0);
		assert_int_equal(rcpt(&s, "u@here.test"), SAY_NEXT);
		assert_int_equal(message(&s), SAY_NEXT);
		added = (struct added){ .arena = &s.msg };
		chain_queue(s.conn, &added, stage_over, &s);
		assert_int_equal(added.n, 0);
		assert_true(str_is(results(&s), "Authentication-Results: here.test; none"));
		end(&s);
	}
}

/* The client goes while a stage waits; end() looks that no question stays out. */
static void spf_is_cancelled(void **state)
{
	struct scene s;

	(void)state;
	for (int at_rcpt = 0; at_rcpt < 2; at_rcpt++) {
		begin(&s, &spf_module, at_rcpt ? "fail = reject" : "", "192.0.2.7");
		connect_and_helo(&s);
		mail(&s, "u@silent.test");
		assert_true(spf_state_waiting(chain_msg(s.conn, &spf_module)));
		assert_int_equal(at_rcpt ? chain_rcpt(s.conn, &s.in.sender, stage_over, &s)
		                         : chain_message(s.conn, stage_over, &s), SAY_WAIT);
		chain_end(s.conn);
		assert_int_equal(dns_out(s.loop->dns), 0);
		mail(&s, "u@good.test");
		assert_int_equal(message(&s), SAY_NEXT);
		end(&s);
	}
}

/* ---- iprev ---------------------------------------------------------------- */

static void iprev_results(void **state)
{
	static const struct { const char *ip, *want, *name, *ptr; bool helo; } cases[] = {
		{ "192.0.2.7", "pass", "mail.good.test", "mail.good.test", true },    /* the second, for it is HELO's */
		{ "::ffff:192.0.2.7", "pass", "mail.good.test", "mail.good.test", true },
		{ "192.0.2.8", "fail", "liar.test", "", false },
		{ "192.0.2.9", "temperror", "", "", false },
		{ "192.0.2.10", "permerror", "", "", false },
		{ "192.0.2.11", "temperror", "seven.test", "", false },
		{ "2001:db8::7", "pass", "six.test", "six.test", false },
		{ "2001:db8::8", "permerror", "", "", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct iprev_outcome *o;
		struct scene s;

		begin(&s, &iprev_module, "", cases[i].ip);
		assert_int_equal(connect_and_helo(&s), SAY_NEXT);
		mail(&s, "u@good.test");
		assert_int_equal(message(&s), SAY_NEXT);
		o = iprev_state_outcome(chain_connstate(s.conn, &iprev_module));
		assert_non_null(o);
		assert_string_equal(iprev_result_word(o->result), cases[i].want);
		assert_true(str_is(o->name, cases[i].name));
		assert_true(str_is(s.peer.ptr, cases[i].ptr));
		assert_int_equal(o->helo_matches, cases[i].helo);
		assert_true(o->reason.n > 0);
		assert_true(holds(results(&s), cases[i].want));
		end(&s);
	}
}

static void iprev_options_decide(void **state)
{
	static const struct { const char *options, *ip; enum say want; int code; const char *esc; } cases[] = {
		{ "fail = reject", "192.0.2.8", SAY_REJECT, 550, "5.7.25" },
		{ "fail = reject", "192.0.2.7", SAY_NEXT, 0, NULL },
		{ "permerror = quarantine", "192.0.2.10", SAY_QUARANTINE, 0, NULL },
		{ "temperror = defer", "192.0.2.9", SAY_DEFER, 451, "4.7.25" },
		{ "fail = reject verify = no", "192.0.2.8", SAY_NEXT, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene s;

		begin(&s, &iprev_module, cases[i].options, cases[i].ip);
		connect_and_helo(&s);
		mail(&s, "u@good.test");
		assert_int_equal(message(&s), cases[i].want);
		assert_int_equal(chain_verdict(s.conn)->code, cases[i].code);
		if (cases[i].esc != NULL)
			assert_string_equal(chain_verdict(s.conn)->esc, cases[i].esc);
		end(&s);
	}
}

static void iprev_writes_its_result(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, &iprev_module, "", "192.0.2.7");
	connect_and_helo(&s);
	mail(&s, "u@good.test");
	message(&s);
	assert_true(str_is(results(&s), "Authentication-Results: here.test; iprev=pass policy.iprev=192.0.2.7"
	                                " (mail.good.test)"));
	end(&s);
}

static void iprev_is_cancelled(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, &iprev_module, "", "192.0.2.12");
	connect_and_helo(&s);
	assert_int_equal(dns_out(s.loop->dns), 1);
	mail(&s, "u@good.test");
	assert_int_equal(chain_message(s.conn, stage_over, &s), SAY_WAIT);
	chain_end(s.conn);
	assert_int_equal(dns_out(s.loop->dns), 1);        /* the connection goes on, so does the question */
	end(&s);
	begin(&s, &iprev_module, "", "192.0.2.12");       /* submission: nobody is asked */
	s.peer.submission = true;
	connect_and_helo(&s);
	assert_int_equal(dns_out(s.loop->dns), 0);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spf_options_decide),
		cmocka_unit_test(spf_refusal_says_what_to_do),
		cmocka_unit_test(spf_writes_its_fields),
		cmocka_unit_test(spf_leaves_our_own_alone),
		cmocka_unit_test(spf_is_cancelled),
		cmocka_unit_test(iprev_results),
		cmocka_unit_test(iprev_options_decide),
		cmocka_unit_test(iprev_writes_its_result),
		cmocka_unit_test(iprev_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
