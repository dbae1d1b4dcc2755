/* SPDX-License-Identifier: ISC */
/*
 * zones: tests the block lists of the generation in force, on main's loop and
 * resolver.  What comes of it every loop reads.  Main thread.
 */
#include "smtpd/setup/serve.h"

static void tested(struct dnsbl_tests *t, void *user)
{
	struct server *s = user;

	s->zone_tests = NULL;
	dnsbl_tests_end(t);
}

void server_test_zones(struct server *s)
{
	if (s->zone_tests == NULL && s->main->dns != NULL && !s->stopping)
		s->zone_tests =
			dnsbl_tests_start(generation_zones(s->now), s->main->dns, tested, s);
}

void server_end_zone_tests(struct server *s)
{
	dnsbl_tests_end(s->zone_tests);
	s->zone_tests = NULL;
}
