/* SPDX-License-Identifier: ISC */
/* The alias file: what it may say, what is said of its faults, and when it has changed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "smtpd/setup/aliases.h"

static const struct { const char *text, *who, *targets, *why; } files[] = {
	{ "sales: alice\n", "sales@here.test", "alice@here.test", NULL },
	{ "Sales : Alice@here.test , far@elsewhere.test\n", "sales@here.test", "Alice@here.test far@elsewhere.test", NULL },
	{ "# a comment\n\nteam: a,\n\tb,   # who else\n  c@far.test\nx: y\n", "team@here.test", "a@here.test b@here.test c@far.test", NULL },
	{ "a@office.test: b\n", "a@office.test", "b@here.test", NULL },
	{ "a: b", "a@here.test", "b@here.test", NULL },
	{ "a: b\r\nc: d\r\n", "c@here.test", "d@here.test", NULL },
	{ "a: |/bin/sh\n", NULL, NULL, "f:1: programs, files and includes are not supported here, name addresses: \"|/bin/sh\"" },
	{ "\na: \"|/bin/sh\"\n", NULL, NULL, "f:2: programs" },
	{ "a: /var/mail/x\n", NULL, NULL, "f:1: programs" },
	{ "a: :include:/etc/x\n", NULL, NULL, "f:1: programs" },
	{ "a: b@\n", NULL, NULL, "f:1: not a mail address" },
	{ "a:\n", NULL, NULL, "f:1: the alias leads nowhere" },
	{ "a b c\n", NULL, NULL, "f:1: an alias line is" },
	{ "a: b\nA: c\n", NULL, NULL, "f:2: this alias stands here twice" },
	{ "a@far.test: b\n", NULL, NULL, "f:1: not a domain of this server" },
};

static struct directory *domains(struct arena *a)
{
	struct directory *d = directory_new(a, '+');

	assert_int_equal(directory_add_domain(d, &(struct directory_domain){ .name = STR("here.test") }), OK);
	assert_int_equal(directory_add_domain(d, &(struct directory_domain){ .name = STR("office.test") }), OK);
	return d;
}

static void what_it_may_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(files); i++) {
		struct directory_answer found;
		struct directory *d;
		struct arena a;
		struct path p;
		str why;
		enum err e;
		char got[300] = "";

		arena_init(&a, ARENA_UNBOUNDED);
		d = domains(&a);
		e = aliases_read(d, &a, str_of(files[i].text), STR("f"), STR("here.test"), NULL, &why);
		if (files[i].why != NULL) {
			if (e != ERR_BAD || !str_starts(why, files[i].why))
				fail_msg("%s: %d %.*s", files[i].text, (int)e, STR_ARG(why));
			arena_fini(&a);
			continue;
		}
		assert_int_equal(e, OK);
		assert_true(path_of(&a, str_of(files[i].who), &p));
		directory_find(d, &a, &p, &found);
		assert_int_equal(found.says, DIRECTORY_TARGETS);
		for (size_t k = 0; k < found.targets->n; k++)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.*s", k ? " " : "", STR_ARG(found.targets->v[k]));
		assert_string_equal(got, files[i].targets);
		arena_fini(&a);
	}
}

/* ---- has it changed? --------------------------------------------------------------------- */

static char file[] = "/tmp/postern-aliases-XXXXXX";
static size_t opened;

static int open_it(str path)
{
	char name[300];

	snprintf(name, sizeof(name), "%.*s", STR_ARG(path));
	opened++;
	return open(name, O_RDONLY | O_CLOEXEC);
}

static void write_file(const char *text, time_t age)
{
	struct timespec when[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - age } };
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(futimens(fd, when), 0);
	close(fd);
}

static void it_has_changed(void **state)
{
	struct alias_seen seen = { 0 };
	str path = str_of(file);

	(void)state;
	assert_true(mkstemp(file) >= 0);
	write_file("a: b\n", 0);
	aliases_changed(&seen, open_it, path);
	assert_false(aliases_changed(&seen, open_it, path));
	write_file("a: c\n", 0);               /* same size, perhaps the same tick of the clock */
	assert_true(aliases_changed(&seen, open_it, path));
	assert_false(aliases_changed(&seen, open_it, path));
	write_file("a: c\n", 0);               /* written anew, says the same */
	assert_false(aliases_changed(&seen, open_it, path));
	unlink(file);
	assert_true(aliases_changed(&seen, open_it, path));
	assert_false(aliases_changed(&seen, open_it, path));
	write_file("a: c\n", 100);
	assert_true(aliases_changed(&seen, open_it, path));
	/* What is old enough is known by its stamp: the text is not read. */
	opened = 0;
	seen.settled = true;
	assert_false(aliases_changed(&seen, open_it, path));
	assert_int_equal(opened, 1);
	unlink(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_it_may_say), cmocka_unit_test(it_has_changed) };

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
