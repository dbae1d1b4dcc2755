/* SPDX-License-Identifier: ISC */
/*
 * postern relay-test: the known relay tricks against what the configuration
 * names, in memory: no server, no DNS, nothing is sent.  The server does the same
 * at start and reload (generation.c).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/relay_test.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/verbs.h"

struct tally { size_t tried, admitted; };

static void seen(void *arg, const struct relay_trick *t)
{
	struct tally *n = arg;

	n->tried++;
	n->admitted += str_starts(str_of(t->answer), "2");
	if (t->let_through)
		printf("LET THROUGH  %s%s%.*s: MAIL FROM:%.*s RCPT TO:%.*s leads to %.*s\n", t->name, t->device.n > 0 ? ", device " : "",
		       STR_ARG(t->device), STR_ARG(t->sender), STR_ARG(t->rcpt), STR_ARG(t->leads_to));
}

static int judge(const struct generation *g)
{
	struct tally n = { 0 };
	uint64_t begun = clock_ms();
	size_t through = generation_relay_test(g, seen, &n);

	if (through > 0)
		return verb_fail(EXIT_FINDING, "relay-test", "%zu of %zu tricks lead outside: the server would not start; see which "
		                 "catch-all, alias or device of the configuration leads there", through, n.tried);
	printf("%zu tricks tried, none leads outside", n.tried);
	if (n.admitted > 0)
		printf(" (%zu reach somebody here, or whom an alias or a catch-all names)", n.admitted);
	printf(": %" PRIu64 " ms\n", clock_ms() - begun);
	return EXIT_DONE;
}

static int run(struct generation *g)
{
	struct strs accounts;
	str why = STR("out of memory");

	if (accounts_named(&g->config->auth, verb_open_file, &g->arena, &accounts, &why) != OK ||
	    generation_directory(g, verb_open_file, &accounts, &why) != OK)
		return verb_fail(EXIT_FINDING, "relay-test", "%.*s", STR_ARG(why));
	return judge(g);
}

int verb_relay_test(int argc, char **argv)
{
	const char *file = CONFIG_FILE;
	struct generation *g;
	int status = verb_file_option("relay-test", argc, argv, &file);

	if (status >= 0)
		return status;
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return verb_fail(EXIT_LATER, "relay-test", "out of memory");
	arena_init(&g->arena, ARENA_UNBOUNDED);
	g->config = verb_config("relay-test", file, &g->arena, &status);
	if (g->config != NULL)
		status = run(g);
	generation_free(g);
	return status;
}
