/* SPDX-License-Identifier: ISC */
/* chain: order, waiting, the strongest verdict, ends in the middle. */
#include "tests/unit/modules/chain_help.h"

#include <sys/wait.h>
#include <unistd.h>

static const char *const after_c[] = { "c", NULL };
static const struct module mod_bare = { .name = "bare", .after = after_a };       /* no hook at all */
static const struct module mod_b_late = { .name = "b", .after = after_c, HOOKS }; /* with mod_c: a circle */

/* ---- order ---------------------------------------------------------------- */

static void order_follows_after(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	assert_int_equal(stage_run(&s, CONNECT), SAY_NEXT);
	assert_string_equal(journal, "cdcacbcc");     /* d, then a, b, c */
	assert_null(chain_verdict(s.conn)->module);
	chain_close(s.conn);
	end(&s);
}

static void circle_is_found(void **state)
{
	static const struct module *const circle[] = { &mod_a, &mod_b_late, &mod_c, NULL };
	struct arena a;
	str          why = STR_NONE;

	(void)state;
	arena_init(&a, 1 << 20);
	assert_null(chain_new(circle, NULL, &a, &why));
	assert_true(str_starts(why, "modules wait for each other in a circle: b, c:"));
	arena_fini(&a);
}

static enum err bad_setup(const void *conf, struct arena *a, str *why)
{
	(void)conf;
	(void)a;
	*why = STR("no key");
	return ERR_BAD;
}

static void setup_failure_is_told(void **state)
{
	static const struct module        bad = { .name = "bad", .setup = bad_setup };
	static const struct module *const one[] = { &bad, NULL };
	struct arena a;
	str          why = STR_NONE;

	(void)state;
	arena_init(&a, 1 << 20);
	assert_null(chain_new(one, NULL, &a, &why));
	assert_true(str_is(why, "module bad could not be set up: no key"));
	arena_fini(&a);
}

/* ---- waiting -------------------------------------------------------------- */

static void dependents_wait_others_do_not(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	plans[0].say[CONNECT] = SAY_WAIT;             /* a */
	plans[2].say[CONNECT] = SAY_WAIT;             /* c */
	assert_int_equal(stage_run(&s, CONNECT), SAY_WAIT);
	assert_string_equal(journal, "cdca");
	go('a', SAY_NEXT);
	assert_string_equal(journal, "cdca");         /* nothing runs inside mod_go */
	turn(&s);
	assert_string_equal(journal, "cdcacbcc");
	assert_int_equal(s.told, 0);
	go('c', SAY_DEFER);
	assert_int_equal(s.told, 0);
	turn(&s);
	assert_int_equal(s.told, 1);
	assert_int_equal(chain_verdict(s.conn)->say, SAY_DEFER);
	assert_string_equal(chain_verdict(s.conn)->module, "c");
	turn(&s);
	assert_int_equal(s.told, 1);
	chain_close(s.conn);
	end(&s);
}

/* c stands behind b, b behind a: c waits for a though b has no hook. */
static void far_prerequisites_count(void **state)
{
	static const struct module        bare_b = { .name = "b", .after = after_a };
	static const struct module *const list[] = { &mod_c, &bare_b, &mod_a, NULL };
	struct scene s;

	(void)state;
	begin(&s, list);
	plans[0].say[CONNECT] = SAY_WAIT;
	assert_int_equal(stage_run(&s, CONNECT), SAY_WAIT);
	assert_string_equal(journal, "ca");
	go('a', SAY_NEXT);
	turn(&s);
	assert_string_equal(journal, "cacc");
	assert_int_equal(s.told, 1);
	chain_close(s.conn);
	end(&s);
}

static void two_answers_in_one_turn_are_one_step(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	plans[0].say[CONNECT] = plans[3].say[CONNECT] = SAY_WAIT;
	assert_int_equal(stage_run(&s, CONNECT), SAY_WAIT);
	go('d', SAY_NEXT);
	go('a', SAY_QUARANTINE);
	turn(&s);
	assert_int_equal(s.told, 1);
	assert_int_equal(chain_verdict(s.conn)->say, SAY_QUARANTINE);
	chain_close(s.conn);
	end(&s);
}

/* mod_go inside the hook, or for a module that does not wait, is our own fault. */
static bool dies(void (*run)(void))
{
	pid_t pid = fork();
	int   status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		close(2);
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static enum say goes_at_once(struct mod *m) { mod_go(m, SAY_NEXT); return SAY_NEXT; }

static void go_inside_hook(void)
{
	static const struct module        eager = { .name = "a", .connect = goes_at_once };
	static const struct module *const one[] = { &eager, NULL };
	struct scene s;

	begin(&s, one);
	stage_run(&s, CONNECT);
}

static void go_twice(void)
{
	static const struct module *const one[] = { &mod_a, NULL };
	struct scene s;

	begin(&s, one);
	plans[0].say[CONNECT] = SAY_WAIT;
	stage_run(&s, CONNECT);
	go('a', SAY_NEXT);
	go('a', SAY_NEXT);
}

static void wrong_go_aborts(void **state)
{
	(void)state;
	assert_true(dies(go_inside_hook));
	assert_true(dies(go_twice));
}

/* ---- verdicts ------------------------------------------------------------- */

static void strongest_wins(void **state)
{
	static const struct {
		enum say    say[MODULES], want;
		const char *module;
	} cases[] = {
		{ { SAY_NEXT, SAY_NEXT, SAY_NEXT, SAY_NEXT }, SAY_NEXT, NULL },
		{ { SAY_QUARANTINE, SAY_DEFER, SAY_REJECT, SAY_NEXT }, SAY_REJECT, "c" },
		{ { SAY_REJECT, SAY_DEFER, SAY_QUARANTINE, SAY_REJECT }, SAY_REJECT, "d" },   /* d is asked first */
		{ { SAY_DEFER, SAY_DEFER, SAY_QUARANTINE, SAY_NEXT }, SAY_DEFER, "a" },
		{ { SAY_NEXT, SAY_NEXT, SAY_QUARANTINE, SAY_NEXT }, SAY_QUARANTINE, "c" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene s;

		begin(&s, abcd);
		assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
		for (size_t j = 0; j < MODULES; j++)
			plans[j].say[MESSAGE] = cases[i].say[j];
		assert_int_equal(stage_run(&s, MESSAGE), cases[i].want);
		if (cases[i].module == NULL)
			assert_null(chain_verdict(s.conn)->module);
		else
			assert_string_equal(chain_verdict(s.conn)->module, cases[i].module);
		chain_close(s.conn);
		end(&s);
	}
}

static void reply_of_the_strongest(void **state)
{
	char         text[] = "d says no";
	struct scene s;

	(void)state;
	begin(&s, abcd);
	stage_run(&s, MAIL);
	plans[0] = (struct plan){ .say[MESSAGE] = SAY_DEFER, .code = 451, .text = "a says later" };
	plans[3] = (struct plan){ .say[MESSAGE] = SAY_REJECT, .code = 550, .text = text };
	plans[2] = (struct plan){ .say[MESSAGE] = SAY_REJECT, .code = 550, .text = "c says no" };
	assert_int_equal(stage_run(&s, MESSAGE), SAY_REJECT);
	text[0] = 'x';                                /* the chain kept its own copy */
	assert_int_equal(chain_verdict(s.conn)->code, 550);
	assert_string_equal(chain_verdict(s.conn)->esc, "5.7.1");
	assert_true(str_is(chain_verdict(s.conn)->text, "d says no"));
	chain_close(s.conn);
	end(&s);
}

/* A reply left from a deferral never dresses a reject, nor one of the message before. */
static void stale_replies_are_not_used(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	stage_run(&s, MAIL);
	plans[0] = (struct plan){ .say[RCPT] = SAY_DEFER, .code = 451, .text = "later" };
	assert_int_equal(stage_run(&s, RCPT), SAY_DEFER);
	assert_int_equal(chain_verdict(s.conn)->code, 451);
	plans[0] = (struct plan){ .say[RCPT] = SAY_REJECT };
	assert_int_equal(stage_run(&s, RCPT), SAY_REJECT);
	assert_int_equal(chain_verdict(s.conn)->code, 0);
	chain_end(s.conn);
	stage_run(&s, MAIL);
	plans[0] = (struct plan){ .say[RCPT] = SAY_DEFER };
	assert_int_equal(stage_run(&s, RCPT), SAY_DEFER);
	assert_int_equal(chain_verdict(s.conn)->code, 0);
	chain_close(s.conn);
	end(&s);
}

static void quarantine_sticks(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	plans[1].say[MAIL] = SAY_QUARANTINE;
	assert_int_equal(stage_run(&s, MAIL), SAY_QUARANTINE);
	plans[0].say[RCPT] = SAY_REJECT;              /* one recipient's affair */
	assert_int_equal(stage_run(&s, RCPT), SAY_REJECT);
	assert_int_equal(stage_run(&s, MESSAGE), SAY_QUARANTINE);
	assert_string_equal(chain_verdict(s.conn)->module, "b");
	chain_end(s.conn);
	plans[1].say[MAIL] = SAY_NEXT;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	chain_end(s.conn);
	plans[2].say[HELO] = SAY_QUARANTINE;
	assert_int_equal(stage_run(&s, HELO), SAY_QUARANTINE);
	assert_int_equal(stage_run(&s, MAIL), SAY_QUARANTINE);
	assert_string_equal(chain_verdict(s.conn)->module, "c");
	chain_close(s.conn);
	end(&s);
}

static void early_reject_spares_the_rest(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	plans[0].say[CONNECT] = SAY_REJECT;
	assert_int_equal(stage_run(&s, CONNECT), SAY_REJECT);
	assert_string_equal(journal, "cdca");         /* b and c were not asked */
	chain_thorough(s.conn, true);
	assert_int_equal(stage_run(&s, CONNECT), SAY_REJECT);
	assert_string_equal(journal, "cdcacdcacbcc");
	chain_close(s.conn);
	end(&s);
}

static void queue_can_only_defer(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	stage_run(&s, MAIL);
	stage_run(&s, MESSAGE);
	plans[0].say[QUEUE] = SAY_REJECT;
	assert_int_equal(stage_run(&s, QUEUE), SAY_DEFER);
	plans[0].say[QUEUE] = SAY_QUARANTINE;
	assert_int_equal(stage_run(&s, QUEUE), SAY_NEXT);
	plans[0].say[QUEUE] = SAY_WAIT;
	assert_int_equal(stage_run(&s, QUEUE), SAY_WAIT);
	go('a', SAY_REJECT);
	turn(&s);
	assert_int_equal(chain_verdict(s.conn)->say, SAY_DEFER);
	chain_close(s.conn);
	end(&s);
}

/* ---- ends ----------------------------------------------------------------- */

static size_t times(char what, char module)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < written; i += 2)
		n += journal[i] == what && journal[i + 1] == module;
	return n;
}

static void done_and_gone_exactly_once(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	stage_run(&s, CONNECT);
	stage_run(&s, HELO);
	chain_end(s.conn);                            /* no message: nothing to end */
	assert_int_equal(times('D', 'a'), 0);
	for (int i = 0; i < 2; i++) {
		stage_run(&s, MAIL);
		assert_non_null(plans[0].mod->in);
		assert_non_null(plans[0].mod->msg);
		stage_run(&s, RCPT);
		chain_end(s.conn);
		assert_null(plans[0].mod->in);
		assert_null(plans[0].mod->msg);
		chain_end(s.conn);
	}
	stage_run(&s, MAIL);
	chain_close(s.conn);
	for (char m = 'a'; m <= 'd'; m++) {
		assert_int_equal(times('D', m), 3);
		assert_int_equal(times('G', m), 1);
	}
	end(&s);
}

/* The client goes while `a` waits, in each stage; before or after a's answer. */
static void cancel_at_every_stage(void **state)
{
	(void)state;
	for (int stage = CONNECT; stage < STAGES; stage++) {
		for (int answered = 0; answered < 2; answered++) {
			struct scene s;
			size_t       messages = stage >= MAIL;

			begin(&s, abcd);
			plans[0].say[stage] = SAY_WAIT;
			for (int i = CONNECT; i < stage; i++)
				assert_int_equal(stage_run(&s, i), SAY_NEXT);
			assert_int_equal(stage_run(&s, stage), SAY_WAIT);
			if (answered)
				go('a', SAY_NEXT);
			chain_close(s.conn);
			turn(&s);
			assert_int_equal(s.told, 0);
			assert_int_equal(times("chmrdq"[stage], 'c'), 0);
			for (char m = 'a'; m <= 'd'; m++) {
				assert_int_equal(times('D', m), messages);
				assert_int_equal(times('G', m), 1);
			}
			end(&s);
		}
	}
}

/* chain_end in the middle leaves the connection fit for the next message. */
static void next_message_after_a_cancel(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	plans[0].say[MAIL] = SAY_WAIT;
	assert_int_equal(stage_run(&s, MAIL), SAY_WAIT);
	go('a', SAY_REJECT);
	chain_end(s.conn);
	plans[0].say[MAIL] = SAY_NEXT;
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	turn(&s);
	assert_int_equal(s.told, 0);
	assert_int_equal(stage_run(&s, MESSAGE), SAY_NEXT);
	chain_close(s.conn);
	end(&s);
}

static void message_may_end_inside_done(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	plans[3].say[MAIL] = SAY_WAIT;
	assert_int_equal(stage_run(&s, MAIL), SAY_WAIT);
	s.end_in_done = true;
	go('d', SAY_REJECT);
	turn(&s);
	assert_int_equal(s.told, 1);
	assert_int_equal(times('D', 'd'), 1);
	chain_close(s.conn);
	assert_int_equal(times('D', 'd'), 1);
	end(&s);
}

static void no_memory_is_a_deferral(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, abcd);
	arena_fini(&s.msg);
	arena_init(&s.msg, 40);
	assert_int_equal(stage_run(&s, MAIL), SAY_DEFER);
	assert_int_equal(chain_verdict(s.conn)->code, 452);
	assert_string_equal(journal, "");
	arena_fini(&s.msg);
	arena_init(&s.msg, 1 << 20);
	assert_int_equal(stage_run(&s, MAIL), SAY_NEXT);
	chain_close(s.conn);
	end(&s);
}

/* ---- what modules see ----------------------------------------------------- */

static void others_are_seen(void **state)
{
	static const struct module *const list[] = { &mod_a, &mod_bare, NULL };
	struct scene s;

	(void)state;
	begin(&s, list);
	stage_run(&s, CONNECT);
	assert_null(mod_other_msg(plans[0].mod, &mod_a));
	stage_run(&s, MAIL);
	assert_ptr_equal(mod_other_msg(plans[0].mod, &mod_a), plans[0].mod->msg);
	assert_ptr_equal(mod_other_conn(plans[0].mod, &mod_a), plans[0].mod->conn);
	assert_null(mod_other_msg(plans[0].mod, &mod_bare));      /* it has none */
	assert_null(mod_other_conn(plans[0].mod, &mod_d));        /* not in the chain */
	assert_ptr_equal(chain_msg(s.conn, &mod_a), plans[0].mod->msg);
	mod_set_ptr(plans[0].mod, STR("mail.example.org"));
	assert_true(str_is(s.peer.ptr, "mail.example.org"));
	chain_close(s.conn);
	end(&s);
}

static bool rests_without_settings(const void *conf)
{
	return conf == NULL;
}

/* Without anything to do it is not there; who builds on it hears that. */
static void who_rests_is_left_out(void **state)
{
	struct module resting = mod_a;
	const struct module *const list[] = { &resting, &mod_d, NULL }, *const alone[] = { &mod_d, NULL };
	const void *const awake[] = { "settings", NULL };
	struct arena a;
	str why = STR_NONE;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	resting.rests = rests_without_settings;
	assert_int_equal(chain_conn_size(chain_new(list, NULL, &a, &why)), chain_conn_size(chain_new(alone, NULL, &a, &why)));
	assert_true(chain_conn_size(chain_new(list, awake, &a, &why)) > chain_conn_size(chain_new(alone, NULL, &a, &why)));
	arena_fini(&a);
}

/* What a connection takes is known before: one block of just that. */
static void a_connection_takes_what_was_said(void **state)
{
	static const struct module *const list[] = { &mod_a, &mod_bare, &mod_d, NULL };
	struct scene s;
	struct arena a;
	struct chain_conn *c;

	(void)state;
	begin(&s, list);
	arena_init(&a, ARENA_UNBOUNDED);
	c = chain_open(s.chain, s.loop, &s.peer, &a, NULL);
	assert_int_equal(a.used, chain_conn_size(s.chain));
	chain_close(c);
	arena_fini(&a);
	chain_close(s.conn);
	end(&s);
}

/* A mark that there is no memory to remember is not as good as none. */
static void a_mark_without_memory_is_a_deferral(void **state)
{
	struct scene s;
	struct arena a;

	(void)state;
	begin(&s, abcd);
	chain_close(s.conn);
	arena_init(&a, chain_conn_size(s.chain));
	s.conn = chain_open(s.chain, s.loop, &s.peer, &a, NULL);
	plans[1].say[HELO] = SAY_QUARANTINE;
	assert_int_equal(stage_run(&s, HELO), SAY_QUARANTINE);
	assert_int_equal(stage_run(&s, MAIL), SAY_DEFER);
	assert_int_equal(chain_verdict(s.conn)->code, 452);
	assert_int_equal(stage_run(&s, RCPT), SAY_DEFER);
	chain_close(s.conn);
	arena_fini(&a);
	end(&s);
}

static void added_fields_keep_their_order(void **state)
{
	struct arena a;
	struct added added = { .arena = &a };

	(void)state;
	arena_init(&a, 1 << 16);
	for (int i = 0; i < 20; i++)
		added_field(&added, arena_printf(&a, "X-%d: y\r\n", i));
	assert_int_equal(added.n, 20);
	assert_true(str_is(added.v[0], "X-0: y\r\n"));
	assert_true(str_is(added.v[19], "X-19: y\r\n"));
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_follows_after),
		cmocka_unit_test(circle_is_found),
		cmocka_unit_test(setup_failure_is_told),
		cmocka_unit_test(dependents_wait_others_do_not),
		cmocka_unit_test(far_prerequisites_count),
		cmocka_unit_test(two_answers_in_one_turn_are_one_step),
		cmocka_unit_test(wrong_go_aborts),
		cmocka_unit_test(strongest_wins),
		cmocka_unit_test(reply_of_the_strongest),
		cmocka_unit_test(stale_replies_are_not_used),
		cmocka_unit_test(quarantine_sticks),
		cmocka_unit_test(early_reject_spares_the_rest),
		cmocka_unit_test(queue_can_only_defer),
		cmocka_unit_test(done_and_gone_exactly_once),
		cmocka_unit_test(cancel_at_every_stage),
		cmocka_unit_test(next_message_after_a_cancel),
		cmocka_unit_test(message_may_end_inside_done),
		cmocka_unit_test(no_memory_is_a_deferral),
		cmocka_unit_test(others_are_seen),
		cmocka_unit_test(who_rests_is_left_out),
		cmocka_unit_test(a_connection_takes_what_was_said),
		cmocka_unit_test(a_mark_without_memory_is_a_deferral),
		cmocka_unit_test(added_fields_keep_their_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
