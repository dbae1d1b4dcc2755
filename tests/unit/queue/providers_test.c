/* SPDX-License-Identifier: ISC */
/* What one host says of our pace, and whom it concerns. */
#include "tests/unit/queue/yard.h"

#define DOMAINS 20

/* Twenty domains at one provider, one elsewhere by a route of its own. */
static void start(struct yard *y, struct peer *big, struct peer *small, const struct script *script, struct hop_route *route,
                  void **routes, str *to)
{
	yard_new(y);
	peer_start(big, script, false);
	peer_start(small, NULL, false);
	y->relay.port = big->port;
	*to = STR("small.test");
	*route = (struct hop_route){
		.to = { to, 1 },
		.hop = { .via = arena_printf(&y->arena, "127.0.0.1:%u", small->port), .tls = HOP_MAY },
	};
	*routes = route;
	y->relay.routes = (struct conf_list){ routes, 1 };
	snprintf(y->zone, sizeof(y->zone), "mx.big.test A 127.0.0.1\n");
	for (int i = 0; i < DOMAINS; i++)
		snprintf(y->zone + strlen(y->zone), sizeof(y->zone) - strlen(y->zone), "d%d.test MX 1 mx.big.test\n", i);
}

static void finish(struct yard *y, struct peer *big, struct peer *small)
{
	yard_close(y, 100);
	yard_burn(y);
	peer_stop(big);
	peer_stop(small);
}

#define YARD(script_)                                                     \
	struct yard y;                                                    \
	struct peer big, small;                                           \
	struct hop_route route;                                           \
	void *routes;                                                     \
	str to;                                                           \
	(void)state;                                                      \
	start(&y, &big, &small, (script_), &route, &routes, &to)

static uint64_t put_to_domain(struct yard *y, int i)
{
	char address[40];

	snprintf(address, sizeof(address), "x@d%d.test", i);
	return yard_put_one(y, address, 0);
}

/* All rest until the same second, and nobody knocks but the first. */
static void a_rate_answer_slows_the_provider(void **state)
{
	YARD(&(struct script){ .at = { [STEP_RCPT] = "450 4.7.28 too many messages from you" } });
	struct queue_rcpt first, r;
	uint64_t ids[DOMAINS];
	char said[1001];

	y.relay.retry_first_ms = y.relay.retry_most_ms = 50000;
	yard_open(&y, false);
	ids[0] = put_to_domain(&y, 0);
	until(yard_rcpt_of(&y, ids[0], 0, &first, said) == OK && first.tries == 1);
	assert_string_equal(said, "450 4.7.28 too many messages from you");
	assert_true(first.next > clock_wall() + 30 && first.next < clock_wall() + 60);
	for (int i = 1; i < DOMAINS; i++) {
		ids[i] = put_to_domain(&y, i);
		until(yard_rcpt_of(&y, ids[i], 0, &r, said) == OK && r.tries == 1);
		assert_int_equal(r.next, first.next);
	}
	for (int i = 0; i < 100; i++)
		put_to_domain(&y, i % DOMAINS);
	for (int i = 0; i < 100; i++)
		yard_put_one(&y, "x@small.test", 0);
	until(small.messages == 100 && left(&y) == DOMAINS + 100);
	assert_int_equal(figures(&y).deferred, DOMAINS);
	assert_int_equal(big.connections, 1);
	finish(&y, &big, &small);
}

/* It is better disposed later: all of it is delivered, whoever had to wait for whom. */
static void everybody_gets_a_turn(void **state)
{
	YARD(&(struct script){ .at = { [STEP_BANNER] = "421 4.7.0 not so fast" } });

	y.relay.concurrency = 2;             /* one of them for the provider */
	y.relay.retry_first_ms = y.relay.retry_most_ms = 1000;
	yard_open(&y, false);
	for (int i = 0; i < 10 * DOMAINS; i++)
		put_to_domain(&y, i % DOMAINS);
	until(figures(&y).deferred >= DOMAINS);
	peer_change(&big, STEP_BANNER, NULL);
	for (int i = 0; i < 5 * DOMAINS; i++)
		put_to_domain(&y, i % DOMAINS);
	yard_wish(&y, WISH_REMOVE, put_to_domain(&y, 3), NULL);
	until(left(&y) == 0);
	assert_in_range(big.messages, 15 * DOMAINS, 15 * DOMAINS + 1);
	finish(&y, &big, &small);
}

/* Greylisting concerns the message: the next one goes at once. */
static void greylisting_is_the_messages_own(void **state)
{
	YARD(&(struct script){ .at = { [STEP_RCPT] = "451 4.7.1 Greylisted, come back in 00:10:00" } });
	struct queue_rcpt r;
	char said[1001];
	uint64_t id;

	yard_open(&y, false);
	id = put_to_domain(&y, 0);
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.tries == 1);
	assert_in_range(r.next - clock_wall(), 595, 640);
	peer_change(&big, STEP_RCPT, NULL);
	put_to_domain(&y, 0);
	until(big.messages == 1 && left(&y) == 1);
	finish(&y, &big, &small);
}

/* Without a time the first interval counts, however often it was tried. */
static void greylisting_without_a_time(void **state)
{
	YARD(&(struct script){ .at = { [STEP_RCPT] = "450 4.2.0 greylisted" } });
	struct queue_rcpt r;
	char said[1001];
	uint64_t id;

	y.relay.retry_most_ms = 3600000;
	yard_open(&y, false);
	id = put_to_domain(&y, 0);
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.tries >= 3);
	assert_true(r.next <= clock_wall() + 2);
	finish(&y, &big, &small);
}

/* ---- caps ---------------------------------------------------------------------------- */

/* Mail for mailboxes here has come through since: who wanted to dial has done it. */
static void others_are_served(struct yard *y)
{
	uint64_t delivered = figures(y).delivered;

	for (int i = 0; i < 20; i++)
		yard_put_one(y, "bob@us.test", RCPT_LOCAL);
	until(figures(y).delivered == delivered + 20);
}

static void start_silent(struct yard *y)
{
	yard_domain(y, "us.test", NULL);
	directory_add_account(y->directory, STR("bob@us.test"));
	y->relay.destination_concurrency = 3;
	y->relay.concurrency = 7;
	y->relay.command_ms = 60000;
	yard_open(y, false);
}

static void connections_to_one_destination_are_counted(void **state)
{
	YARD(&(struct script){ .at = { [STEP_BANNER] = "raw " } });

	start_silent(&y);
	for (int i = 0; i < 40; i++)
		put_to_domain(&y, 0);
	until(big.connections == 3);
	others_are_served(&y);
	assert_int_equal(big.connections, 3);
	finish(&y, &big, &small);
}

static void connections_in_all_are_counted(void **state)
{
	YARD(&(struct script){ .at = { [STEP_BANNER] = "raw " } });

	start_silent(&y);
	for (int i = 0; i < 4 * DOMAINS; i++)
		put_to_domain(&y, i % DOMAINS);
	until(big.connections == 7);
	others_are_served(&y);
	assert_int_equal(big.connections, 7);
	finish(&y, &big, &small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rate_answer_slows_the_provider),
		cmocka_unit_test(everybody_gets_a_turn),
		cmocka_unit_test(greylisting_is_the_messages_own),
		cmocka_unit_test(greylisting_without_a_time),
		cmocka_unit_test(connections_to_one_destination_are_counted),
		cmocka_unit_test(connections_in_all_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
