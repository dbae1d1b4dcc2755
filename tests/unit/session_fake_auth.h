/* SPDX-License-Identifier: ISC */
/*
 * auth in memory: PLAIN and LOGIN with the password "secret"; an answer can be
 * held or made another.
 */
#ifndef TESTS_SESSION_FAKE_AUTH_H
#define TESTS_SESSION_FAKE_AUTH_H

#include "tests/unit/session_fake_queue.h"

static struct { bool hold; size_t tries; struct auth_try *held; enum auth_says instead; unsigned refuses, turned_away; } fake_logins;

struct auth_try {
	struct loop_call call;
	auth_answered   *answered;
	void            *user;
	char             mechanism[40], login[100], challenge[20];
	enum auth_says   says;
};

str auth_mechanisms(const struct auth *unused, const struct auth_channel *c, struct arena *a)
{
	(void)unused;
	(void)a;
	assert_non_null(c->ip);
	return STR("PLAIN LOGIN");
}

bool auth_mechanism_good(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be PLAIN or LOGIN");
	return str_is(value, "PLAIN") || str_is(value, "LOGIN");
}

unsigned auth_certificate_names(const struct auth *unused)
{
	(void)unused;
	return TLS_NAME_SAN;
}

unsigned auth_refuses(const struct auth *unused, const struct sockaddr *sa)
{
	(void)unused;
	assert_non_null(sa);
	return fake_logins.refuses;
}

void auth_turned_away(void)
{
	fake_logins.turned_away++;
}

struct auth_try *auth_try_new(struct auth *unused, struct loop *loop, const struct auth_channel *c,
                              auth_answered *answered, void *user)
{
	struct auth_try *t = calloc(1, sizeof(*t));

	(void)unused;
	(void)loop;
	assert_true(strlen(c->ip) > 0);
	t->answered = answered;
	t->user = user;
	fake_logins.tries++;
	return t;
}

static void try_answered(struct loop_call *c)
{
	struct auth_try *t = SUPER(c, struct auth_try, call);

	t->answered(t, fake_logins.instead ? fake_logins.instead : t->says, str_of(t->challenge), t->user);
}

static void try_says(struct auth_try *t, enum auth_says says, const char *challenge)
{
	t->says = says;
	snprintf(t->challenge, sizeof(t->challenge), "%s", challenge);
	if (fake_logins.hold)
		fake_logins.held = t;
	else
		loop_defer(q.loop, &t->call, try_answered);
}

static void try_plain(struct auth_try *t, str r)
{
	str word[3] = { STR_NONE, STR_NONE, STR_NONE };

	for (size_t i = 0; i < 3; i++)
		str_cut(&r, '\0', &word[i]);
	if (word[1].n == 0 || word[1].n >= sizeof(t->login)) {
		try_says(t, AUTH_MALFORMED, "");
		return;
	}
	copy_text(t->login, sizeof(t->login), word[1]);
	try_says(t, str_is(word[2], "secret") ? AUTH_PASSED : AUTH_REFUSED, "");
}

void auth_try_begin(struct auth_try *t, str mechanism, const str *initial)
{
	copy_text(t->mechanism, sizeof(t->mechanism), str_head(mechanism, 39));
	if (!str_is_nocase(mechanism, "PLAIN") && !str_is_nocase(mechanism, "LOGIN"))
		try_says(t, AUTH_NO_MECH, "");
	else if (str_is_nocase(mechanism, "LOGIN"))
		try_says(t, AUTH_MORE, "Username:");
	else if (initial == NULL)
		try_says(t, AUTH_MORE, "");
	else
		try_plain(t, *initial);
}

void auth_try_step(struct auth_try *t, str response)
{
	if (str_is_nocase(str_of(t->mechanism), "PLAIN")) {
		try_plain(t, response);
	} else if (t->login[0] == '\0') {
		copy_text(t->login, sizeof(t->login), response);
		try_says(t, AUTH_MORE, "Password:");
	} else {
		try_says(t, str_is(response, "secret") ? AUTH_PASSED : AUTH_REFUSED, "");
	}
}

str auth_try_login(const struct auth_try *t)
{
	return str_of(t->login);
}

/* All logins stand on this one. */
struct standing { bool gone; };
static struct standing fake_standing;

struct auth_login auth_try_stands(const struct auth_try *t)
{
	return (struct auth_login){ t->says == AUTH_PASSED ? &fake_standing : NULL, 0 };
}

bool auth_still(const struct auth_login *l)
{
	return l->by == NULL || !l->by->gone;
}

str auth_try_mechanism(const struct auth_try *t)
{
	return str_of(t->mechanism);
}

void auth_try_log(struct auth_try *t, const struct log *log)
{
	assert_non_null(log);
	(void)t;
}

void auth_try_end(struct auth_try *t)
{
	loop_undefer(&t->call);
	if (fake_logins.held == t)
		fake_logins.held = NULL;
	free(t);
	fake_logins.tries--;
}

/* The login's own address, and its plus forms. */
bool auth_owns(const struct directory *directory, struct arena *a, str login, const struct path *p)
{
	struct directory_answer found;

	directory_find(directory, a, p, &found);
	return found.says == DIRECTORY_MAILBOX && str_eq_nocase(found.account, login);
}

#endif
