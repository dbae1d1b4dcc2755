/* SPDX-License-Identifier: ISC */
/*
 * chain: who is spared a module's judgement: whom trust excuses, whom a trial lets
 * through, and what is held back until somebody lets it go.
 */
#include <netinet/in.h>

#include "tests/unit/modules/chain_help.h"

/* ---- trust and trials ------------------------------------------------------- */

static void from_address(struct scene *s, const char ip[4])
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&s->peer.addr;

	v4->sin_family = AF_INET;
	memcpy(&v4->sin_addr, ip, 4);
}

static struct trust *trust_of(struct scene *s, str client, str domain, struct strs skip)
{
	struct trust_section *section = ARENA_NEW(&s->arena, struct trust_section);
	void                **list = ARENA_ARRAY(&s->arena, void *, 1);
	str                  *values = ARENA_ARRAY(&s->arena, str, 2), why = STR_NONE;

	values[0] = client;
	values[1] = domain;
	section->head.title = STR("friends");
	section->client = (struct strs){ &values[0], client.n > 0 };
	section->dkim_domain = (struct strs){ &values[1], domain.n > 0 };
	section->skip = skip;
	list[0] = section;
	return trust_new(&(struct conf_list){ list, 1 }, &s->arena, &why);
}

/* A new connection, by what now holds for the chain. */
static void reopen(struct scene *s)
{
	chain_close(s->conn);
	s->conn = chain_open(s->chain, s->loop, &s->peer, &s->arena, NULL);
	written = 0;
	journal[0] = '\0';
}

static void a_trusted_client_is_excused(void **state)
{
	str          skip[] = { STR("b"), STR("c") };
	struct scene s;

	(void)state;
	begin(&s, abcd);
	chain_trust(s.chain, trust_of(&s, STR("192.0.2.0/24"), STR_NONE, (struct strs){ skip, 2 }));
	from_address(&s, "\xc0\0\2\7");
	reopen(&s);
	plans[1].say[MAIL] = SAY_REJECT;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_string_equal(trust_name(mod_excused(plans[1].mod)).p, "friends");
	assert_null(mod_excused(plans[0].mod));
	plans[0].say[RCPT] = SAY_DEFER;               /* a is not named */
	assert_int_equal(stage_run(&s, RCPT), SAY_DEFER);
	chain_end(s.conn);
	from_address(&s, "\xc6\x33\x64\7");
	reopen(&s);
	assert_int_equal(stage_run(&s, MAIL), SAY_REJECT);
	chain_close(s.conn);
	end(&s);
}

static void a_vouched_message_is_excused_and_the_next_is_not(void **state)
{
	str          skip[] = { STR("b") };
	struct scene s;
	struct trust *t;

	(void)state;
	begin(&s, abcd);
	t = trust_of(&s, STR_NONE, STR("list.test"), (struct strs){ skip, 1 });
	chain_trust(s.chain, t);
	reopen(&s);
	plans[1].say[RCPT] = SAY_QUARANTINE;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_int_equal(stage_run(&s, RCPT), SAY_QUARANTINE);
	plans[1].say[MESSAGE] = SAY_REJECT;
	mod_vouch(plans[0].mod, trust_dkim(t, STR("LIST.test")));
	assert_int_equal(stage_run(&s, MESSAGE), SAY_NEXT);     /* the mark, too */
	chain_end(s.conn);
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_int_equal(stage_run(&s, MESSAGE), SAY_REJECT);
	chain_close(s.conn);
	end(&s);
}

static void a_trial_refuses_nothing_and_remembers(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	chain_trial(s.chain, true);
	reopen(&s);
	plans[0].say[RCPT] = SAY_REJECT;
	plans[0].code = 550;
	plans[0].text = "not you";
	plans[0].say[MESSAGE] = SAY_QUARANTINE;       /* as for postmaster: not in a trial */
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_null(chain_would_refuse(s.conn));
	assert_int_equal(stage_run(&s, RCPT), SAY_NEXT);
	assert_string_equal(journal + written - 8, "rdrarbrc");  /* all are asked all the same */
	assert_int_equal(chain_would_refuse(s.conn)->say, SAY_REJECT);
	assert_string_equal(chain_would_refuse(s.conn)->module, "a");
	assert_true(str_is(chain_would_refuse(s.conn)->text, "not you"));
	plans[1].say[MESSAGE] = SAY_REJECT;
	assert_int_equal(stage_run(&s, MESSAGE), SAY_NEXT);
	assert_string_equal(chain_would_refuse(s.conn)->module, "a");    /* the first */
	chain_end(s.conn);
	assert_null(chain_would_refuse(s.conn));
	plans[0].say[RCPT] = SAY_NEXT;
	plans[1].say[MESSAGE] = SAY_NEXT;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_int_equal(stage_run(&s, MESSAGE), SAY_QUARANTINE);        /* what marks, marks */
	chain_close(s.conn);
	end(&s);
}

static void a_trial_is_for_strangers_and_for_judgements(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	chain_trial(s.chain, true);
	reopen(&s);
	s.in.origin = FROM_LOGIN;
	plans[0].say[RCPT] = SAY_REJECT;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_int_equal(stage_run(&s, RCPT), SAY_REJECT);
	chain_end(s.conn);
	s.in.origin = FROM_STRANGER;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	plans[0].say[RCPT] = SAY_NEXT;
	mod_reply(plans[0].mod, 452, "4.3.1", STR("no memory"));
	plans[0].say[MESSAGE] = SAY_DEFER;
	assert_int_equal(stage_run(&s, MESSAGE), SAY_DEFER);
	assert_null(chain_would_refuse(s.conn));
	chain_close(s.conn);
	end(&s);
}

/* ---- held back -------------------------------------------------------------- */

static bool        holds, lets_go;
static enum say    holder_says;
static enum say    hold_connect(struct mod *m) { note('c', m); if (holds) mod_hold(m); return SAY_NEXT; }
static enum say    hold_rcpt(struct mod *m, const struct path *p)
{
	(void)p;
	note('r', m);
	if (lets_go)
		mod_release(m);
	return holder_says;
}
static const char *const   after_hold[] = { "h", NULL };
static const struct module mod_hold_one = { .name = "h", .connect = hold_connect, .rcpt = hold_rcpt };
static const struct module mod_behind = { .name = "a", .after = after_hold, HOOKS };
static const struct module *const held[] = { &mod_behind, &mod_hold_one, NULL };

static void held_modules_are_asked_when_they_are_let_go(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, held);
	holds = true;
	lets_go = false;
	holder_says = SAY_REJECT;
	s.peer.helo = STR("client.test");
	assert_int_equal(stage_run(&s, CONNECT), SAY_NEXT);
	assert_int_equal(stage_run(&s, HELO), SAY_NEXT);
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_int_equal(stage_run(&s, RCPT), SAY_REJECT);
	assert_string_equal(journal, "chrh");
	lets_go = true;
	holder_says = SAY_NEXT;
	plans[0].say[CONNECT] = SAY_WAIT;             /* any of what it missed may wait */
	plans[0].say[MAIL] = SAY_WAIT;
	assert_int_equal(stage_run(&s, RCPT), SAY_WAIT);
	assert_string_equal(journal, "chrhrhca");
	go('a', SAY_NEXT);
	turn(&s);
	assert_string_equal(journal, "chrhrhcahama");
	go('a', SAY_DEFER);
	turn(&s);
	assert_string_equal(journal, "chrhrhcahamara");
	assert_int_equal(s.told, 1);
	assert_int_equal(chain_verdict(s.conn)->say, SAY_DEFER);
	plans[0].say[CONNECT] = plans[0].say[MAIL] = SAY_NEXT;
	assert_int_equal(stage_run(&s, RCPT), SAY_NEXT);         /* once */
	assert_string_equal(journal, "chrhrhcahamararhra");
	chain_close(s.conn);
	end(&s);
}

static void a_thorough_connection_holds_nobody(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, held);
	holds = true;
	lets_go = false;
	holder_says = SAY_REJECT;
	chain_thorough(s.conn, true);
	assert_int_equal(stage_run(&s, CONNECT), SAY_NEXT);
	assert_int_equal(stage_run(&s, HELO), SAY_NEXT);
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	assert_int_equal(stage_run(&s, RCPT), SAY_REJECT);
	assert_string_equal(journal, "chcahamarhra");
	chain_close(s.conn);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trusted_client_is_excused),
		cmocka_unit_test(a_vouched_message_is_excused_and_the_next_is_not),
		cmocka_unit_test(a_trial_refuses_nothing_and_remembers),
		cmocka_unit_test(a_trial_is_for_strangers_and_for_judgements),
		cmocka_unit_test(held_modules_are_asked_when_they_are_let_go),
		cmocka_unit_test(a_thorough_connection_holds_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
