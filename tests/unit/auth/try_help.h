/* SPDX-License-Identifier: ISC */
/* A house with four accounts, for each test of an exchange anew. */
#ifndef TEST_TRY_HELP_H
#define TEST_TRY_HELP_H

#include "tests/unit/auth/auth_help.h"

static struct house house;
static const char *alice_verifier;

static int begin(void **state)
{
	static char text[2048];
	struct arena a;

	(void)state;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	snprintf(text, sizeof(text), "alice@home.test:%s::::::\nBob@office.test:%s::::::\nmail@home.test:::::::\n"
	         "old@home.test:{SSHA}MrVPuTgmGmbP5VJXx3eQpYHDTMuuLpxg::::::\n",
	         verifier_of(&a, "wonderland"), verifier_of(&a, "bui\xc3\xafld er"));
	arena_fini(&a);
	house_make(&house, text);
	house_open_or_fail(&house);
	alice_verifier = text;
	return 0;
}

static int end(void **state)
{
	(void)state;
	house_end(&house);
	return 0;
}

/* Accounts are looked at again: whether they have changed. */
static bool look(void)
{
	bool changed;
	str why;

	if (auth_look_again(house.auth, false, &changed, &house.arena, &why) != OK)
		fail_msg("%.*s", STR_ARG(why));
	return changed;
}

#endif
