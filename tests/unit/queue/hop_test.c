/* SPDX-License-Identifier: ISC */
/* Routes of the configuration: which one fits, what cannot be meant, the password's file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "queue/deliver/route.h"

static struct arena arena;
static char folder[] = "/tmp/postern-hop-XXXXXX", file[64];

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(file, sizeof(file), "%s/file", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&arena);
	unlink(file);
	return rmdir(folder);
}

static void write_file(const char *text, size_t n, mode_t mode)
{
	int fd;

	unlink(file);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	fchmod(fd, mode);
	close(fd);
}

static int open_file(str path)
{
	return open(str_cstr(&arena, path), O_RDONLY | O_CLOEXEC);
}

/* ---- patterns ---------------------------------------------------------------------------- */

static void patterns_fit(void **state)
{
	static const struct { const char *pattern, *domain; bool fits; } cases[] = {
		{ "example.net", "example.net", true },   { "example.net", "EXAMPLE.net", true },
		{ "example.net", "a.example.net", false }, { "example.net", "badexample.net", false },
		{ ".example.net", "a.example.net", true }, { ".example.net", "a.b.Example.NET", true },
		{ ".example.net", "example.net", false },  { ".example.net", "badexample.net", false },
		{ ".example.net", ".example.net", false }, { "*", "anything.test", true },
		{ "*", "", false },                        { "example.net", "", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (hop_pattern_fits(str_of(cases[i].pattern), str_of(cases[i].domain)) != cases[i].fits)
			fail_msg("%s and %s", cases[i].pattern, cases[i].domain);
}

/* ---- what a configuration leads to ----------------------------------------------------------- */

struct root { struct conf_head head; struct relay_conf relay; };

static struct root *read_conf(const char *text, struct conf_faults *faults)
{
	static struct conf_section relay, root;
	static const struct conf_section *sections[] = { &relay, NULL };
	struct root *r = ARENA_NEW(&arena, struct root);

	relay = relay_section;
	relay.offset = offsetof(struct root, relay);
	root = (struct conf_section){ .sections = sections, .size = sizeof(*r) };
	write_file(text, strlen(text), 0600);
	conf_read(file, open_file, &root, r, &arena, faults);
	return r;
}

static void senders_and_recipients_find_their_way(void **state)
{
	static const char conf[] =
		"relay {\n"
		"	smarthost = \"smart.test:25\"\n"
		"	route \"straight\" { to = {\"near.test\"} via = mx }\n"
		"	route \"ours\"     { from = {\"out.test\", \".out.test\"} via = \"theirs.test:465\" login = \"u\" password-file = \"/x\" }\n"
		"	route \"partner\"  { to = {\"far.test\", \".far.test\"} via = \"partner.test:2525\" }\n"
		"	route \"both\"     { from = {\"one.test\"} to = {\"two.test\"} via = \"both.test:25\" tls = starttls any-certificate = yes }\n"
		"	route \"another\"  { from = {\"in.test\"} via = \"theirs.test:465\" login = \"u\" password-file = \"/y\" }\n"
		"}\n";
	static const struct { const char *sender, *to, *key; } cases[] = {
		{ "a@us.test", "x@other.test", "via:smart.test:25/may" },
		{ "", "x@other.test", "via:smart.test:25/may" },
		{ "a@us.test", "x@near.test", "smtp:near.test" },
		{ "a@us.test", "x@a.near.test", "via:smart.test:25/may" },
		{ "a@out.test", "x@other.test", "via:u@theirs.test:465/implicit /x" },
		{ "a@b.OUT.test", "x@other.test", "via:u@theirs.test:465/implicit /x" },
		{ "a@in.test", "x@other.test", "via:u@theirs.test:465/implicit /y" },     /* no connection is shared by two passwords */
		{ "a@out.test", "x@near.test", "smtp:near.test" },              /* the first that fits */
		{ "a@out.test", "x@far.test", "via:u@theirs.test:465/implicit /x" },
		{ "a@us.test", "x@far.test", "via:partner.test:2525/may" },
		{ "a@us.test", "x@deep.far.test", "via:partner.test:2525/may" },
		{ "", "x@far.test", "via:partner.test:2525/may" },
		{ "a@one.test", "x@two.test", "via:both.test:25/starttls-any" },
		{ "a@one.test", "x@other.test", "via:smart.test:25/may" },
		{ "a@us.test", "x@two.test", "via:smart.test:25/may" },
	};
	struct conf_faults faults = { 0 };
	struct root *root = read_conf(conf, &faults);
	struct deliver_setup setup = { .relay = &root->relay, .directory = directory_new(&arena, '+'), .hostname = STR("us.test") };

	(void)state;
	assert_int_equal(faults.n, 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct route r;

		route_find(&setup, &arena, str_of(cases[i].sender), str_of(cases[i].to), 0, &r);
		if (!str_is(r.key, cases[i].key))
			fail_msg("%s to %s: %.*s, not %s", cases[i].sender, cases[i].to, STR_ARG(r.key), cases[i].key);
	}
}

/* The password never goes where others could read it unless somebody said so. */
static void what_cannot_be_meant_is_a_fault(void **state)
{
	static const struct { const char *conf, *fault; } cases[] = {
		{ "smarthost = \"a.test:587\" smarthost-login = \"u\" smarthost-password-file = \"/x\"", NULL },
		{ "smarthost = \"a.test:25\" smarthost-tls = may smarthost-login = \"u\" smarthost-password-file = \"/x\"", "could be read" },
		{ "smarthost = \"a.test:25\" smarthost-any-certificate = yes smarthost-login = \"u\" smarthost-password-file = \"/x\"", "could be read" },
		{ "smarthost = \"a.test:25\" smarthost-tls = may smarthost-insecure-login = yes smarthost-login = \"u\" smarthost-password-file = \"/x\"", NULL },
		{ "smarthost = \"a.test:587\" smarthost-login = \"u\"", "needs a password" },
		{ "smarthost = \"a.test:587\" smarthost-password-file = \"/x\"", "needs a login" },
		{ "smarthost-login = \"u\" smarthost-password-file = \"/x\"", "needs a host" },
		{ "smarthost = \"a.test\"", "must be HOST:PORT" },
		{ "smarthost = \"a.test:587\" smarthost-tls = sometimes", "smarthost-tls" },
		{ "route \"x\" { to = {\"a.test\"} }", "leads nowhere" },
		{ "route \"x\" { via = \"a.test:25\" }", "neither to nor from" },
		{ "route \"x\" { to = {} via = \"a.test:25\" }", "names nobody" },
		{ "route \"x\" { to = {\"a.test\"} from = {} via = \"a.test:25\" }", "names nobody" },
		{ "route \"x\" { to = {\"a..test\"} via = \"a.test:25\" }", "must be a domain" },
		{ "route \"x\" { to = {\"*\"} via = mx login = \"u\" password-file = \"/x\" }", "needs a host" },
		{ "route \"x\" { to = {\"*\"} via = \"a.test:25\" tls = may login = \"u\" password-file = \"/x\" }", "could be read" },
		{ "route \"x\" { to = {\"*\"} via = \"a.test:25\" } route \"x\" { to = {\"*\"} via = mx }", "x" },
		{ "source = {\"192.0.2.1\", \"2001:db8::1\"}", NULL },
		{ "source = {\"192.0.2.1\", \"192.0.2.2\"}", "one address of IPv4" },
		{ "source = {\"host.test\"}", "must be an address" },
		{ "ipv6 = perhaps", "ipv6" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct conf_faults faults = { 0 };
		const char *text = str_cstr(&arena, arena_printf(&arena, "relay {\n\t%s\n}\n", cases[i].conf));

		read_conf(text, &faults);
		if (cases[i].fault == NULL ? faults.n != 0 : faults.n == 0)
			fail_msg("%s: %zu faults, %.*s", cases[i].conf, faults.n, faults.n ? (int)faults.v[0].text.n : 0,
			         faults.n ? faults.v[0].text.p : "");
		if (cases[i].fault != NULL && strstr(str_cstr(&arena, faults.v[0].text), cases[i].fault) == NULL)
			fail_msg("%s: %.*s", cases[i].conf, STR_ARG(faults.v[0].text));
	}
}

/* ---- the password ---------------------------------------------------------------------------------- */

static void passwords_are_read_and_wiped(void **state)
{
	static const struct { const char *text; size_t n; mode_t mode; const char *want, *why; } cases[] = {
		{ "word\n", 5, 0600, "word", NULL },
		{ "two words\r\n", 11, 0400, "two words", NULL },
		{ "word", 4, 0600, "word", NULL },
		{ "word\nof more lines\n", 19, 0600, "word", NULL },
		{ "word\n", 5, 0640, NULL, "others may read" },
		{ "word\n", 5, 0604, NULL, "others may read" },
		{ "", 0, 0600, NULL, "no password in it" },
		{ "\nword\n", 6, 0600, NULL, "no password in it" },
		{ "wo\0rd\n", 6, 0600, NULL, "no password in it" },
	};
	static char large[2000];

	(void)state;
	memset(large, 'x', sizeof(large));
	for (size_t i = 0; i <= COUNT(cases); i++) {
		bool last = i == COUNT(cases);
		struct hop hop = { .login = STR("u"), .password_file = str_of(file) };
		const char *at, *want = last ? NULL : cases[i].want;
		str why = STR_NONE;
		enum err e;

		write_file(last ? large : cases[i].text, last ? sizeof(large) : cases[i].n, last ? 0600 : cases[i].mode);
		e = hop_read_password(&hop, open_file, &arena, &why);
		if ((e == OK) != (want != NULL) || (want != NULL && !str_is(hop.password, want)))
			fail_msg("case %zu: %d %.*s", i, (int)e, STR_ARG(why));
		if (e != OK && !last)
			assert_non_null(strstr(str_cstr(&arena, why), cases[i].why));
		at = hop.password.p;
		hop_wipe(&hop);
		assert_int_equal(hop.password.n, 0);
		if (want != NULL)
			assert_memory_equal(at, "\0\0\0\0", 4);
	}
	unlink(file);
	assert_int_equal(hop_read_password(&(struct hop){ .password_file = str_of(file) }, open_file, &arena, &(str){ 0 }), ERR_ABSENT);
	assert_int_equal(hop_read_password(&(struct hop){ .password_file = str_of(folder) }, open_file, &arena, &(str){ 0 }), ERR_BAD);
	assert_int_equal(hop_read_password(&(struct hop){ 0 }, open_file, &arena, &(str){ 0 }), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(patterns_fit),
		cmocka_unit_test(senders_and_recipients_find_their_way),
		cmocka_unit_test(what_cannot_be_meant_is_a_fault),
		cmocka_unit_test(passwords_are_read_and_wiped),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
