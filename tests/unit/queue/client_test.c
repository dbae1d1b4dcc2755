/* SPDX-License-Identifier: ISC */
/* The client against servers that behave, and against those that do not. */
#include "tests/unit/queue/side.h"

#include <inttypes.h>

static const char zone[] =
	"peer.test      MX 10 mx1.test\n"
	"peer.test      MX 20 mx2.test\n"
	"mx1.test       A  127.0.0.1\n"
	"mx2.test       A  127.0.0.1\n"
	"dead-first.test MX 10 dead.test\n"
	"dead-first.test MX 20 mx1.test\n"
	"dead.test      A  127.0.0.77\n"
	"null.test      MX 0 .\n"
	"slow.test      MX SERVFAIL\n";

static void side_start(struct side *s, uint16_t port)
{
	side_start_in(s, zone, port);
}

static const char *const bob[] = { "bob@peer.test" };

static char *target_of(const struct peer *p)
{
	static char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", p->port);
	return text;
}

/* ---- one server, one fault ------------------------------------------------------------ */

#define EHLO_PLAIN "250 peer.test"

static const struct fault {
	const char   *name;
	struct script script;
	bool          tls;
	enum fate     fate;
	const char   *said;          /* is in it */
	bool          unreachable;
} faults[] = {
	{ "all is well", { .at = { 0 } }, false, FATE_DELIVERED, "250 2.0.0 taken", false },
	{ "without pipelining", { .at = { [STEP_EHLO] = EHLO_PLAIN } }, false, FATE_DELIVERED, "250 2.0.0 taken", false },
	{ "banner 421", { .at = { [STEP_BANNER] = "421 4.3.2 not now" } }, false, FATE_DEFERRED, "421 4.3.2 not now", true },
	{ "banner 450", { .at = { [STEP_BANNER] = "450 4.7.1 who are you" } }, false, FATE_DEFERRED, "450 4.7.1 who", true },
	{ "banner 554", { .at = { [STEP_BANNER] = "554 5.7.1 go away" } }, false, FATE_DEFERRED, "554 5.7.1 go away", true },
	{ "banner dropped", { .at = { [STEP_BANNER] = "drop" } }, false, FATE_DEFERRED, "was lost (at the banner)", true },
	{ "half a banner", { .at = { [STEP_BANNER] = "half 220-hel" } }, false, FATE_DEFERRED, "was lost (at the banner)", true },
	{ "no SMTP at all", { .at = { [STEP_BANNER] = "SSH-2.0-x" } }, false, FATE_DEFERRED, "no SMTP reply", true },
	{ "endless banner", { .at = { [STEP_BANNER] = "flood" } }, false, FATE_DEFERRED, "no SMTP reply", true },
	{ "talks early", { .at = { [STEP_BANNER] = "220 hi\r\n250 peer.test\r\n250 ok" } }, false, FATE_DEFERRED, "out of turn", true },
	{ "EHLO 4xx", { .at = { [STEP_EHLO] = "451 4.3.0 later" } }, false, FATE_DEFERRED, "451 4.3.0 later", true },
	{ "EHLO 550", { .at = { [STEP_EHLO] = "550 5.7.1 bad name" } }, false, FATE_DEFERRED, "550 5.7.1 bad name", true },
	{ "EHLO unknown, HELO known", { .at = { [STEP_EHLO] = "502 5.5.1 what" } }, false, FATE_DELIVERED, "250 2.0.0 taken", false },
	{ "EHLO and HELO unknown", { .at = { [STEP_EHLO] = "500 5.5.1 what", [STEP_HELO] = "500 5.5.1 what" } }, false, FATE_DEFERRED, "500 5.5.1", true },
	{ "EHLO dropped", { .at = { [STEP_EHLO] = "drop" } }, false, FATE_DEFERRED, "was lost (after EHLO)", true },
	{ "EHLO cut", { .at = { [STEP_EHLO] = "half 250-peer\r\n250-PIPEL" } }, false, FATE_DEFERRED, "was lost (after EHLO)", true },
	{ "codes of two kinds", { .at = { [STEP_EHLO] = "raw 250-peer\r\n550 no\r\n" } }, false, FATE_DEFERRED, "no SMTP reply", true },
	{ "MAIL 4xx", { .at = { [STEP_MAIL] = "451 4.7.1 greylisted" } }, false, FATE_DEFERRED, "451 4.7.1 greylisted", false },
	{ "MAIL 5xx", { .at = { [STEP_MAIL] = "550 5.7.1 not you" } }, false, FATE_BOUNCED, "550 5.7.1 not you", false },
	{ "MAIL 5xx, no pipelining", { .at = { [STEP_EHLO] = EHLO_PLAIN, [STEP_MAIL] = "550 5.7.1 not you" } }, false, FATE_BOUNCED, "550 5.7.1 not you", false },
	{ "MAIL 421", { .at = { [STEP_MAIL] = "421 4.7.0 too fast" } }, false, FATE_DEFERRED, "421 4.7.0 too fast", true },
	{ "MAIL dropped", { .at = { [STEP_MAIL] = "drop" } }, false, FATE_DEFERRED, "was lost (after MAIL)", false },
	{ "RCPT 4xx", { .at = { [STEP_RCPT] = "450 4.2.1 greylisted" } }, false, FATE_DEFERRED, "450 4.2.1 greylisted", false },
	{ "RCPT 5xx, DATA 354 all the same", { .at = { [STEP_RCPT] = "550 5.1.1 nobody", [STEP_FINAL] = "554 5.5.1 no recipients" } }, false, FATE_BOUNCED, "550 5.1.1 nobody", false },
	{ "RCPT 5xx, DATA refused", { .at = { [STEP_RCPT] = "550 5.1.1 nobody", [STEP_DATA] = "503 5.5.1 rcpt first" } }, false, FATE_BOUNCED, "550 5.1.1 nobody", false },
	{ "RCPT 5xx, no pipelining", { .at = { [STEP_EHLO] = EHLO_PLAIN, [STEP_RCPT] = "550 5.1.1 nobody" } }, false, FATE_BOUNCED, "550 5.1.1 nobody", false },
	{ "RCPT 421", { .at = { [STEP_RCPT] = "421 4.3.2 bye" } }, false, FATE_DEFERRED, "421 4.3.2 bye", true },
	{ "RCPT dropped", { .at = { [STEP_RCPT] = "drop" } }, false, FATE_DEFERRED, "was lost (after RCPT)", false },
	{ "DATA 4xx", { .at = { [STEP_DATA] = "451 4.3.0 full" } }, false, FATE_DEFERRED, "451 4.3.0 full", false },
	{ "DATA 5xx", { .at = { [STEP_DATA] = "554 5.6.0 no" } }, false, FATE_BOUNCED, "554 5.6.0 no", false },
	{ "DATA 250", { .at = { [STEP_DATA] = "250 2.0.0 eh" } }, false, FATE_DEFERRED, "250 2.0.0 eh", false },
	{ "DATA 421", { .at = { [STEP_DATA] = "421 4.3.2 bye" } }, false, FATE_DEFERRED, "421 4.3.2 bye", true },
	{ "DATA dropped", { .at = { [STEP_DATA] = "drop" } }, false, FATE_DEFERRED, "was lost (after DATA)", false },
	{ "dropped in the body", { .drop_in_body = "" }, false, FATE_DEFERRED, "was lost", false },
	{ "refused in the body", { .drop_in_body = "552 5.3.4 too big" }, false, FATE_BOUNCED, "552 5.3.4 too big", false },
	{ "421 in the body", { .drop_in_body = "421 4.3.2 bye" }, false, FATE_DEFERRED, "421 4.3.2 bye", true },
	{ "end 4xx", { .at = { [STEP_FINAL] = "451 4.3.0 later" } }, false, FATE_DEFERRED, "451 4.3.0 later", false },
	{ "end 5xx", { .at = { [STEP_FINAL] = "554 5.7.1 spam" } }, false, FATE_BOUNCED, "554 5.7.1 spam", false },
	{ "end 421", { .at = { [STEP_FINAL] = "421 4.3.2 bye" } }, false, FATE_DEFERRED, "421 4.3.2 bye", true },
	{ "end dropped", { .at = { [STEP_FINAL] = "drop" } }, false, FATE_DEFERRED, "was lost (after the message)", false },
	{ "end and goodbye at once", { .at = { [STEP_FINAL] = "250 2.0.0 taken\r\n421 4.4.2 idle" } }, false, FATE_DELIVERED, "250 2.0.0 taken", false },
	{ "TLS", { .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS" } }, true, FATE_DELIVERED, "250 2.0.0 taken", false },
	{ "STARTTLS refused", { .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS", [STEP_STARTTLS] = "454 4.7.0 no" } }, false, FATE_DELIVERED, "250 2.0.0 taken", false },
	{ "STARTTLS injection", { .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS", [STEP_STARTTLS] = "220 go\r\n250 trust me" } }, true, FATE_DEFERRED, "out of turn", true },
	{ "broken handshake", { .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS" }, .broken_tls = true }, false, FATE_DEFERRED, "TLS with", false },
	{ "too large by SIZE", { .at = { [STEP_EHLO] = "250-peer\r\n250 SIZE 20" } }, false, FATE_BOUNCED, "takes no more than 20", false },
	{ "no code", { .at = { [STEP_FINAL] = "550" } }, false, FATE_BOUNCED, "550", false },
};

static void faults_one_by_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(faults); i++) {
		const struct fault *f = &faults[i];
		struct peer p;
		struct side s;

		peer_start(&p, &f->script, f->tls);
		side_start(&s, 25);
		lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
		lease_go(&s);
		if (s.lease->v[0].fate != f->fate || !holds(s.lease->v[0].said, f->said) || s.lease->unreachable != f->unreachable)
			fail_msg("%s: fate %d, unreachable %d, said \"%.*s\"", f->name, (int)s.lease->v[0].fate,
			         (int)s.lease->unreachable, STR_ARG(s.lease->v[0].said));
		assert_int_equal(s.lease->tls.n > 0, f->tls && f->fate == FATE_DELIVERED);
		side_stop(&s);
		peer_stop(&p);
	}
}

/* A host whose address cannot be looked up now may take what another refuses for good. */
static void a_lost_host_may_do_better(void **state)
{
	static const struct script script = { .at = { [STEP_BANNER] = "554 5.7.1 go away" } };
	static const struct { const char *domain; enum fate want; } rows[] = {
		{ "lost.test", FATE_DEFERRED }, { "first.test", FATE_BOUNCED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct peer p;
		struct side s;

		peer_start(&p, &script, false);
		side_start_in(&s, "lost.test  MX 10 mx1.test\nlost.test MX 20 sick.test\nsick.test A SERVFAIL\n"
		              "first.test MX 10 mx1.test\nmx1.test A 127.0.0.1\n", p.port);
		lease_begin(&s, ROUTE_MX, rows[i].domain, bob, 1);
		lease_go(&s);
		assert_int_equal(s.lease->v[0].fate, rows[i].want);
		side_stop(&s);
		peer_stop(&p);
	}
}

static void nobody_listens(void **state)
{
	struct peer p;
	struct side s;
	char target[64];

	(void)state;
	peer_start(&p, NULL, false);
	strcpy(target, target_of(&p));
	peer_stop(&p);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target, bob, 1);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DEFERRED);
	assert_true(s.lease->unreachable);
	assert_holds(s.lease->v[0].said, "refused");
	assert_holds(s.lease->v[0].said, target);
	side_stop(&s);
}

/* ---- what is sent ------------------------------------------------------------------------- */

static void message_arrives_to_the_letter(void **state)
{
	struct peer p;
	struct side s;
	char *mail, *said;

	(void)state;
	peer_start(&p, NULL, false);
	side_start(&s, 25);
	s.entry.flags = MESSAGE_8BIT;
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	lease_go(&s);
	mail = peer_copy(&p, &p.mail);
	said = peer_copy(&p, &p.said);
	assert_string_equal(mail, "Received: by us\r\n.dot: head\r\nSubject: x\r\n\r\nHello\r\n.leading dot\r\n.\r\nend\r\n\f");
	assert_string_equal(said, "EHLO us.test|MAIL FROM:<anna@us.test> SIZE=72 BODY=8BITMIME|RCPT TO:<bob@peer.test>|DATA|");
	free(mail);
	free(said);
	side_stop(&s);
	peer_stop(&p);
}

/* Recipients with a sender or fields of their own go in rounds of their own, and
 * an alias is asked for by where it leads. */
static void rounds_share_sender_and_fields(void **state)
{
	static const char *const rcpts[] = { "a@peer.test", "b@peer.test", "c@peer.test", "d@us.test", "e@peer.test" };
	static const struct script script = { .at = { [STEP_EHLO] = "250-peer\r\n250 PIPELINING" } };
	struct peer p;
	struct side s;
	char *said, *mail;

	(void)state;
	peer_start(&p, &script, false);
	side_start(&s, 25);
	s.relay.messages_per_connection = 10;                  /* no QUIT behind the last round */
	lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts, 5);
	s.lease->v[1].flags = s.lease->v[4].flags = RCPT_OWN_SENDER;
	s.lease->v[1].sender = s.lease->v[4].sender = STR("SRS0=x@us.test");
	s.lease->v[2].flags = RCPT_OWN_SENDER;                 /* the null sender */
	s.lease->v[2].head = STR("X-Postern-Copy-Id: 1 2\r\n");
	s.lease->v[3].to = STR("elsewhere@peer.test");
	lease_go(&s);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(s.lease->v[i].fate, FATE_DELIVERED);
	said = peer_copy(&p, &p.said);
	assert_string_equal(said, "EHLO us.test|MAIL FROM:<anna@us.test>|RCPT TO:<a@peer.test>|RCPT TO:<elsewhere@peer.test>|DATA|"
	                          "MAIL FROM:<SRS0=x@us.test>|RCPT TO:<b@peer.test>|RCPT TO:<e@peer.test>|DATA|"
	                          "MAIL FROM:<>|RCPT TO:<c@peer.test>|DATA|");
	mail = peer_copy(&p, &p.mail);
	assert_null(strstr(strstr(mail, "X-Postern-Copy-Id: 1 2\r\n") + 1, "X-Postern"));
	assert_int_equal(p.messages, 3);
	free(said);
	free(mail);
	side_stop(&s);
	peer_stop(&p);
}

static void dsn_parameters_are_passed_on(void **state)
{
	static const struct script script = { .at = { [STEP_EHLO] = "250-peer\r\n250-PIPELINING\r\n250 DSN" } };
	struct peer p;
	struct side s;
	char *said;

	(void)state;
	peer_start(&p, &script, false);
	side_start(&s, 25);
	s.entry.flags = MESSAGE_RET_HDRS;
	s.entry.envid = STR("QQ+314");
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	s.lease->v[0].flags = RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_DELAY;
	s.lease->v[0].orcpt = STR("rfc822;b=b@peer.test");
	lease_go(&s);
	said = peer_copy(&p, &p.said);
	assert_string_equal(said, "EHLO us.test|MAIL FROM:<anna@us.test> RET=HDRS ENVID=QQ+2B314|"
	                          "RCPT TO:<bob@peer.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+3Db@peer.test|DATA|");
	assert_false(s.lease->v[0].relayed);
	free(said);
	side_stop(&s);
	peer_stop(&p);
	peer_start(&p, NULL, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	s.lease->v[0].flags = RCPT_NOTIFY_SUCCESS;
	lease_go(&s);
	assert_true(s.lease->v[0].relayed);       /* RFC 3461 5.2.2: the next hop will not tell */
	side_stop(&s);
	peer_stop(&p);
}

static void one_refused_does_not_hurt_the_others(void **state)
{
	static const char *const rcpts[] = { "a@peer.test", "550b@peer.test", "c@peer.test", "450d@peer.test" };
	static const enum fate want[] = { FATE_DELIVERED, FATE_BOUNCED, FATE_DELIVERED, FATE_DEFERRED };

	(void)state;
	for (int pipelining = 0; pipelining < 2; pipelining++) {
		const struct script script = { .at = { [STEP_EHLO] = pipelining ? NULL : EHLO_PLAIN } };
		struct peer p;
		struct side s;

		peer_start(&p, &script, false);
		side_start(&s, 25);
		lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts, 4);
		lease_go(&s);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(s.lease->v[i].fate, want[i]);
		assert_int_equal(p.messages, 1);
		side_stop(&s);
		peer_stop(&p);
	}
}

/* RFC 5321 4.5.3.1.10: those beyond the limit follow in another transaction. */
static void many_recipients_take_several_rounds(void **state)
{
	static char names[250][32];
	const char *rcpts[250];
	struct peer p;
	struct side s;

	(void)state;
	for (int i = 0; i < 250; i++) {
		snprintf(names[i], sizeof(names[i]), i < 8 ? "max3-%d@peer.test" : "u%d@peer.test", i);
		rcpts[i] = names[i];
	}
	peer_start(&p, NULL, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts, 8);
	lease_go(&s);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(s.lease->v[i].fate, FATE_DELIVERED);
	assert_int_equal(p.messages, 3);
	lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts + 8, 242);
	lease_go(&s);
	for (size_t i = 0; i < 242; i++)
		assert_int_equal(s.lease->v[i].fate, FATE_DELIVERED);
	assert_int_equal(p.messages, 6);
	side_stop(&s);
	peer_stop(&p);
}

static void utf8_needs_smtputf8(void **state)
{
	static const char *const rcpts[] = { "plain@peer.test", "b\xc3\xb6rge@peer.test" };
	static const struct script able = { .at = { [STEP_EHLO] = "250-peer\r\n250 SMTPUTF8" } };
	struct peer p;
	struct side s;
	char *said;

	(void)state;
	peer_start(&p, NULL, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts, 2);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	assert_int_equal(s.lease->v[1].fate, FATE_BOUNCED);
	assert_true(str_is(s.lease->v[1].status, "5.6.7"));
	lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts, 1);
	s.lease->utf8_header = true;
	lease_go(&s);
	assert_true(str_is(s.lease->v[0].status, "5.6.9"));
	side_stop(&s);
	peer_stop(&p);
	peer_start(&p, &able, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target_of(&p), rcpts, 2);
	lease_go(&s);
	assert_int_equal(s.lease->v[1].fate, FATE_DELIVERED);
	said = peer_copy(&p, &p.said);
	assert_non_null(strstr(said, "MAIL FROM:<anna@us.test> SMTPUTF8|"));
	free(said);
	side_stop(&s);
	peer_stop(&p);
}

/* ---- LMTP ------------------------------------------------------------------------------------ */

static void lmtp_answers_each_recipient(void **state)
{
	static const char *const rcpts[] = { "a@peer.test", "550x@peer.test", "c@peer.test" };
	static const struct script script = { .lmtp = true, .at = { [STEP_FINAL] = "250 2.1.5 a has it/452 4.2.2 c is full" } };
	struct peer p;
	struct side s;
	char *said;

	(void)state;
	peer_start(&p, &script, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_LMTP, target_of(&p), rcpts, 3);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	assert_int_equal(s.lease->v[1].fate, FATE_BOUNCED);
	assert_int_equal(s.lease->v[2].fate, FATE_DEFERRED);
	assert_holds(s.lease->v[2].said, "452 4.2.2 c is full");
	said = peer_copy(&p, &p.said);
	assert_int_equal(strncmp(said, "LHLO us.test|", 13), 0);
	free(said);
	side_stop(&s);
	peer_stop(&p);
}

/* ---- hosts and connections --------------------------------------------------------------------- */

static void next_host_when_one_is_dead(void **state)
{
	struct peer p;
	struct side s;

	(void)state;
	peer_start(&p, NULL, false);
	side_start(&s, p.port);
	lease_begin(&s, ROUTE_MX, "dead-first.test", bob, 1);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	assert_true(str_is(s.lease->host, "mx1.test[127.0.0.1]"));
	side_stop(&s);
	peer_stop(&p);
}

static void next_host_when_the_banner_is_4xx(void **state)
{
	struct peer p;
	struct side s;

	(void)state;
	peer_start(&p, &(struct script){ .at = { [STEP_BANNER] = "450 4.3.2 busy" } }, false);
	side_start(&s, p.port);
	lease_begin(&s, ROUTE_MX, "peer.test", bob, 1);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DEFERRED);
	assert_int_equal(p.connections, 2);
	assert_true(str_is(s.lease->host, "mx2.test[127.0.0.1]"));
	side_stop(&s);
	peer_stop(&p);
}

static void dns_has_the_last_word(void **state)
{
	static const struct { const char *domain; enum fate fate; const char *status; bool unreachable; } cases[] = {
		{ "null.test", FATE_BOUNCED, "5.1.10", false },
		{ "absent.test", FATE_BOUNCED, "5.1.2", false },
		{ "slow.test", FATE_DEFERRED, "4.4.3", true },
	};
	struct side s;

	(void)state;
	side_start(&s, 25);
	for (size_t i = 0; i < COUNT(cases); i++) {
		lease_begin(&s, ROUTE_MX, cases[i].domain, bob, 1);
		lease_go(&s);
		assert_int_equal(s.lease->v[0].fate, cases[i].fate);
		assert_true(str_is(s.lease->v[0].status, cases[i].status));
		assert_int_equal(s.lease->unreachable, cases[i].unreachable);
	}
	side_stop(&s);
}

static void connection_serves_several_messages(void **state)
{
	struct peer p;
	struct side s;

	(void)state;
	peer_start(&p, NULL, true);
	side_start(&s, 25);
	for (int i = 1; i <= 7; i++) {
		lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
		lease_go(&s);
		assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
		assert_int_equal(p.connections, (i + 2) / 3);      /* three messages each */
	}
	side_stop(&s);
	peer_stop(&p);
}

/* A refusal leaves a transaction half done: RSET comes before the next. */
static void reset_after_a_refusal(void **state)
{
	static const char *const bad[] = { "550@peer.test" };
	struct peer p;
	struct side s;
	char *said;

	(void)state;
	peer_start(&p, NULL, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target_of(&p), bad, 1);
	lease_go(&s);
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	assert_int_equal(p.connections, 1);
	said = peer_copy(&p, &p.said);
	assert_non_null(strstr(said, "RSET|MAIL"));
	free(said);
	side_stop(&s);
	peer_stop(&p);
}

/* The peer closes what we kept: the next message does not suffer. */
static void kept_connection_was_closed(void **state)
{
	struct peer p;
	struct side s;

	(void)state;
	peer_start(&p, &(struct script){ .at = { [STEP_FINAL] = "half 250 2.0.0 taken\r\n" } }, false);
	side_start(&s, 25);
	for (int i = 0; i < 3; i++) {
		lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
		lease_go(&s);
		assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	}
	assert_int_equal(p.connections, 3);
	side_stop(&s);
	peer_stop(&p);
}

/* The next attempt after a broken handshake is told to speak in the clear. */
static void clear_after_a_broken_handshake(void **state)
{
	struct peer p;
	struct side s;

	(void)state;
	peer_start(&p, &(struct script){ .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS" }, .broken_tls = true }, false);
	side_start(&s, 25);
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DEFERRED);
	assert_true(str_is(s.lease->tls_failed, "127.0.0.1"));
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	s.lease->clear_host = STR("127.0.0.1");
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	side_stop(&s);
	peer_stop(&p);
}

/* The end in the middle of anything: the lease comes home, deferred. */
static void ended_in_the_middle(void **state)
{
	static const enum step at[] = { STEP_BANNER, STEP_EHLO, STEP_MAIL, STEP_DATA, STEP_FINAL };

	(void)state;
	for (size_t i = 0; i < COUNT(at); i++) {
		struct script script = { 0 };
		struct peer p;
		struct side s;

		script.at[at[i]] = "raw ";        /* silence */
		peer_start(&p, &script, false);
		side_start(&s, 25);
		lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
		client_take(s.client, s.lease);
		while (p.connections == 0)
			usleep(1000);
		client_end(s.client);
		wait_for(&s.gone);
		assert_true(s.came);
		assert_int_equal(s.lease->v[0].fate, FATE_DEFERRED);
		s.client = client_new(&s.house, s.loop, NULL);
		s.gone = false;
		side_stop(&s);
		peer_stop(&p);
	}
}

/* ---- content that is on the disk ------------------------------------------------------------------ */

static void large_message_is_read_in_windows(void **state)
{
	static const size_t sizes[] = { 100, 64 << 10, (64 << 10) + 1, 300000, 3000000 };

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct house h = { 0 };
		struct peer p;
		struct side s;
		char *want = malloc(sizes[i]), *mail;
		uint64_t id;
		size_t n;

		peer_start(&p, &(struct script){ .at = { [STEP_EHLO] = "250 peer" } }, false);
		house_open(&h);
		house_start(&h);
		id = put_one(&h, 5, sizes[i], 1, NULL);
		side_start(&s, 25);
		s.house.queue = h.q;
		s.entry = (struct queue_entry){ .id = id, .sender = STR("a@us.test"), .bytes = sizes[i],
		                                .in_file = sizes[i] > QUEUE_ROWS_MAX };
		lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
		lease_go(&s);
		assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
		fill_content(want, 5, 0, sizes[i]);
		pthread_mutex_lock(&p.lock);
		n = p.mail.n;
		mail = malloc(n);
		memcpy(mail, buf_str(&p.mail).p, n);
		pthread_mutex_unlock(&p.lock);
		assert_int_equal(n, sizes[i] + 3);             /* CRLF that was missing, and our mark */
		assert_memory_equal(mail, want, sizes[i]);
		free(mail);
		free(want);
		side_stop(&s);
		house_close(&h);
		house_burn(&h);
		peer_stop(&p);
	}
}

static void unreadable_message_has_no_end(void **state)
{
	struct house h = { 0 };
	struct peer p;
	struct side s;

	(void)state;
	peer_start(&p, NULL, false);
	house_open(&h);
	house_start(&h);
	side_start(&s, 25);
	s.house.queue = h.q;
	s.entry = (struct queue_entry){ .id = 12345, .sender = STR("a@us.test"), .bytes = 1000 };
	lease_begin(&s, ROUTE_HOST, target_of(&p), bob, 1);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DEFERRED);
	assert_holds(s.lease->v[0].said, "could not be read");
	side_stop(&s);
	assert_int_equal(p.messages, 0);
	house_close(&h);
	house_burn(&h);
	peer_stop(&p);
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	log_level_set(LOG_ERROR);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(peer_pem[0]);
	free(peer_pem[1]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_one_by_one),
		cmocka_unit_test(a_lost_host_may_do_better),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(message_arrives_to_the_letter),
		cmocka_unit_test(dsn_parameters_are_passed_on),
		cmocka_unit_test(rounds_share_sender_and_fields),
		cmocka_unit_test(one_refused_does_not_hurt_the_others),
		cmocka_unit_test(many_recipients_take_several_rounds),
		cmocka_unit_test(utf8_needs_smtputf8),
		cmocka_unit_test(lmtp_answers_each_recipient),
		cmocka_unit_test(next_host_when_one_is_dead),
		cmocka_unit_test(next_host_when_the_banner_is_4xx),
		cmocka_unit_test(dns_has_the_last_word),
		cmocka_unit_test(connection_serves_several_messages),
		cmocka_unit_test(reset_after_a_refusal),
		cmocka_unit_test(kept_connection_was_closed),
		cmocka_unit_test(clear_after_a_broken_handshake),
		cmocka_unit_test(ended_in_the_middle),
		cmocka_unit_test(large_message_is_read_in_windows),
		cmocka_unit_test(unreadable_message_has_no_end),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
