/* SPDX-License-Identifier: ISC */
/*
 * Mail of this machine's programs: what they write becomes a message, a message
 * becomes a file and comes out of it again, and the directory gives up only what
 * was left there as it should be.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd/base/clock.h"
#include "smtpd/setup/drop.h"

struct got { struct arena a; struct buf made; struct drop d; str why; bool ok; };

static struct got compose(const char *user, const char *text, const char *const *rcpts, const char *from, const char *name, bool t)
{
	struct got g = { .why = STR_NONE };
	struct drop_wish w = {
		.user = str_of(user), .domain = STR("ours.test"), .root = strcmp(user, "root") == 0, .full_name = str_of(name),
		.from_given = from != NULL, .from = str_of(from), .read_recipients = t, .text = str_of(text),
	};
	str v[8];

	arena_init(&g.a, 16 << 20);
	buf_init(&g.made, BUF_UNBOUNDED);
	for (; rcpts != NULL && rcpts[w.rcpts.n] != NULL; w.rcpts.n++)
		v[w.rcpts.n] = str_of(rcpts[w.rcpts.n]);
	w.rcpts.v = v;
	g.ok = drop_compose(&g.a, &g.made, &w, &g.d, &g.why);
	return g;
}

static void done(struct got *g)
{
	buf_fini(&g->made);
	arena_fini(&g->a);
}

static str joined(struct got *g)
{
	str all = STR("");

	for (size_t i = 0; i < g->d.rcpts.n; i++)
		all = arena_printf(&g->a, "%.*s%s%.*s", STR_ARG(all), i > 0 ? " " : "", STR_ARG(g->d.rcpts.v[i]));
	return all;
}

static void assert_str(str got, const char *want)
{
	if (!str_is(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(got), want);
}

/* ---- composing --------------------------------------------------------------------- */

#define R(...) (const char *const[]){ __VA_ARGS__, NULL }

static const struct composed {
	const char *user, *text;
	const char *const *rcpts;
	const char *from, *name;
	bool t;
	const char *want_rcpts, *want_sender, *want_text;
} composed[] = {
	/* Debian's cron, of root and of a user. */
	{ "root", "From: root (Cron Daemon)\nTo: root\nSubject: x\n\nhi\n", R("root"), NULL, "CronDaemon", false, "root", "root",
	  "From: root@ours.test (Cron Daemon)\r\nTo: root@ours.test\r\nSubject: x\r\n\r\nhi\r\n" },
	{ "bob", "From: root (Cron Daemon)\nTo: bob\n\nhi\n", R("bob"), NULL, NULL, false, "bob", "bob",
	  "From: bob@ours.test (Cron Daemon)\r\nTo: bob@ours.test\r\n\r\nhi\r\n" },
	/* PHP: -t -i, both line ends in one message. */
	{ "www-data", "To: a@x.test, B <b@x.test>\r\nSubject: s\r\nFrom: Shop <www-data>\r\nBcc: c@x.test\r\n\r\nline\nline\n", NULL,
	  "bounces@ours.test", NULL, true, "a@x.test b@x.test c@x.test", "bounces",
	  "To: a@x.test, B <b@x.test>\r\nSubject: s\r\nFrom: Shop <www-data@ours.test>\r\n\r\nline\r\nline\r\n" },
	/* No header at all. */
	{ "bob", "just text\n", R("a@x.test,c@x.test", "<d@x.test>"), NULL, "Bob Ö, \"B\"", false, "a@x.test c@x.test d@x.test", "bob",
	  "From: \"Bob Ö, \\\"B\\\"\" <bob@ours.test>\r\n\r\njust text\r\n" },
	{ "bob", "Subject: x\n\n", R("root"), "<>", NULL, false, "root", "", "From: bob@ours.test\r\nSubject: x\r\n\r\n" },
	/* A mailbox line in front; Resent fields are those that count; a line that is no field. */
	{ "bob", "From bob Mon Jan\nTo: a@x.test\nFrom: bob@ours.test\nResent-To: z@x.test\nResent-Bcc: y@x.test\n\n", NULL, NULL, NULL, true,
	  "z@x.test y@x.test", "bob", "To: a@x.test\r\nFrom: bob@ours.test\r\nResent-To: z@x.test\r\n\r\n" },
	{ "bob", "To: a@x.test\nno field\nFrom: evil\n", R("a@x.test"), NULL, NULL, false, "a@x.test", "bob",
	  "From: bob@ours.test\r\nTo: a@x.test\r\n\r\nno field\r\nFrom: evil\r\n" },
	/* Names in all the places where a list has them; comments and phrases stay. */
	{ "root", "To: \"a, b\" <x>, (c, d) y (e), grp: z, w@x.test;, \"q r\"\nFrom: Logwatch\n\n", NULL, NULL, NULL, true,
	  "x y z w@x.test \"q r\"", "root",
	  "To: \"a, b\" <x@ours.test>, (c, d) y@ours.test (e), grp: z@ours.test, w@x.test;, \"q r\"@ours.test\r\n"
	  "From: Logwatch@ours.test\r\n\r\n" },
};

static void programs_write_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(composed); i++) {
		const struct composed *c = &composed[i];
		struct got g = compose(c->user, c->text, c->rcpts, c->from, c->name, c->t);

		if (!g.ok)
			fail_msg("case %zu: %.*s", i, STR_ARG(g.why));
		assert_str(joined(&g), c->want_rcpts);
		assert_str(g.d.sender, c->want_sender);
		assert_str(g.d.message, c->want_text);
		done(&g);
	}
}

static void what_cannot_be_read_is_said(void **state)
{
	const struct { const char *text; const char *const *rcpts; const char *from; bool t; const char *why; } cases[] = {
		{ "x\n", NULL, NULL, false, "nobody is named as a recipient: name somebody, or take -t to have To, Cc and Bcc read" },
		{ "From: a@x.test\n\n", NULL, NULL, true, "nobody is named as a recipient: add To, Cc or Bcc" },
		{ "x\n", R("a@b@c"), NULL, false, "\"a@b@c\" is no list of addresses: correct it" },
		{ "To: a@x.test\nCc: <b@x y>\n\n", NULL, NULL, true, "\"<b@x y>\" is no list of addresses: correct it" },
		{ "x\n", R("root"), "a b@", false, "\"a b@\" is no address: correct what stands behind -f" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct got g = compose("bob", cases[i].text, cases[i].rcpts, cases[i].from, NULL, cases[i].t);

		assert_false(g.ok);
		assert_str(g.why, cases[i].why);
		done(&g);
	}
}

static void a_lone_dot_ends(void **state)
{
	static const struct { const char *in, *out; bool dot; } cases[] = {
		{ "a\n.\nb\n", "a\n", true },     { "a\r\n.\r\nb", "a\r\n", true }, { ".\nb", "", true }, { "a\n.", "a\n", true },
		{ "a\n..\n.b\n", "a\n..\n.b\n", false }, { "", "", false },         { "a.\n", "a.\n", false },
	};
	bool dot;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_str(drop_until_dot(str_of(cases[i].in), &dot), cases[i].out);
		assert_int_equal(dot, cases[i].dot);
	}
}

/* ---- the file ------------------------------------------------------------------------ */

static void a_file_says_what_was_put_in(void **state)
{
	str rcpts[] = { STR("a@x.test"), STR("root"), STR("\"q r\"") };
	const struct drop in = { .sender = STR(""), .rcpts = { rcpts, 3 }, .notify = STR("NEVER"), .ret = STR("HDRS"),
		                 .envid = STR("abc"), .message = STR("A: b\r\n\r\nrcpt no@one\n\n") };
	struct arena a;
	struct buf file;
	struct drop out;
	const char *why;

	(void)state;
	arena_init(&a, 1 << 20);
	buf_init(&file, BUF_UNBOUNDED);
	drop_print(&file, &in);
	buf_add(&file, in.message);
	assert_true(drop_parse(&a, buf_str(&file), &out, &why));
	assert_int_equal(out.rcpts.n, 3);
	assert_true(str_eq(out.rcpts.v[2], rcpts[2]) && str_eq(out.message, in.message) && out.sender.n == 0);
	assert_true(str_eq(out.notify, in.notify) && str_eq(out.ret, in.ret) && str_eq(out.envid, in.envid));
	/* Any part of it is none. */
	for (size_t n = 0; n < buf_str(&file).n; n++)
		assert_false(drop_parse(&a, str_head(buf_str(&file), n), &out, &why));
	buf_fini(&file);
	arena_fini(&a);
}

static void strange_files_are_no_messages(void **state)
{
	static const char *const files[] = {
		"", "\n\n", "postern-drop 1\n\n", "postern-drop 2\nsender a\nrcpt b\nsize 1\n\nx",
		"postern-drop 1\nsender a\nsize 1\n\nx", "postern-drop 1\nrcpt b\nsize 1\n\nx",
		"postern-drop 1\nsender a\nrcpt b\nsize 2\n\nx", "postern-drop 1\nsender a\nrcpt b\nsize 1\nsize 1\n\nx",
		"postern-drop 1\nsender a\nsender c\nrcpt b\nsize 1\n\nx", "postern-drop 1\nsender a\nrcpt b\r\nsize 1\n\nx",
		"postern-drop 1\nsender a\nrcpt b\nsize 1\nlogin root\n\nx", "postern-drop 1\nsender a\nrcpt b\nret A B\nsize 1\n\nx",
		"postern-drop 1\nsender a\nrcpt b\nsize 99999999999999999999\n\nx", "postern-drop 1\nsender a\nrcpt b\n\nsize 1\n\nx",
	};
	struct arena a;
	struct drop out;
	const char *why;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < COUNT(files); i++)
		if (drop_parse(&a, str_of(files[i]), &out, &why))
			fail_msg("taken: %s", files[i]);
	arena_fini(&a);
}

/* ---- the directory ---------------------------------------------------------------------- */

struct seen { size_t taken, thrown; char text[4][64]; enum drop_took say; };

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static enum drop_took take(void *arg, unsigned uid, str file)
{
	struct seen *s = arg;

	assert_int_equal(uid, geteuid());
	if (s->taken < COUNT(s->text))
		snprintf(s->text[s->taken], sizeof(s->text[0]), "%.*s", STR_ARG(file));
	s->taken++;
	return s->say;
}

static void thrown(void *arg, unsigned uid, size_t n)
{
	(void)uid;
	((struct seen *)arg)->thrown += n;
}

struct place { char path[64]; int dir; };

static struct place place_new(void)
{
	struct place p = { .path = "/tmp/postern-drop-XXXXXX" };

	assert_non_null(mkdtemp(p.path));
	assert_int_equal(chmod(p.path, 03733), 0);
	p.dir = open(p.path, O_RDONLY | O_DIRECTORY);
	assert_true(p.dir >= 0);
	return p;
}

static void put(const struct place *p, const char *name, const char *text, mode_t mode)
{
	int fd = openat(p->dir, name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
	close(fd);
}

static struct seen scan(const struct place *p, uint64_t messages, uint64_t bytes, uint64_t message, enum drop_took say)
{
	const struct drop_limits limits = { messages, bytes, message };
	struct seen s = { .say = say };

	drop_scan(p->dir, &limits, never, take, thrown, &s);
	return s;
}

static bool is_there(const struct place *p, const char *name)
{
	struct stat st;

	return fstatat(p->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void place_free(struct place *p)
{
	close(p->dir);
	assert_int_equal(rmdir(p->path), 0);                    /* and it is empty */
}

static void messages_are_taken_in_order(void **state)
{
	struct place p = place_new();
	struct seen s;

	(void)state;
	put(&p, "new.2", "two", 0640);
	put(&p, "new.1", "one", 0640);
	put(&p, "tmp.0", "half", 0640);                         /* young: somebody writes it */
	s = scan(&p, 10, 1000, 100, DROP_GONE);
	assert_int_equal(s.taken, 2);
	assert_string_equal(s.text[0], "one");
	assert_string_equal(s.text[1], "two");
	assert_true(is_there(&p, "tmp.0") && !is_there(&p, "new.1") && !is_there(&p, "new.2"));
	unlinkat(p.dir, "tmp.0", 0);
	place_free(&p);
}

static void what_is_put_off_stays(void **state)
{
	struct place p = place_new();
	struct seen s;

	(void)state;
	put(&p, "new.1", "one", 0640);
	put(&p, "new.2", "two", 0640);
	s = scan(&p, 10, 1000, 100, DROP_KEPT);
	assert_int_equal(s.taken, 1);                           /* his others wait, too */
	assert_true(is_there(&p, "new.1") && is_there(&p, "new.2"));
	scan(&p, 10, 1000, 100, DROP_GONE);
	place_free(&p);
}

static void nothing_else_is_read(void **state)
{
	struct place p = place_new(), other = place_new();
	char secret[128];
	struct seen s;

	(void)state;
	snprintf(secret, sizeof(secret), "%s/secret", other.path);
	put(&other, "secret", "secret", 0640);
	assert_int_equal(symlinkat(secret, p.dir, "new.link"), 0);
	assert_int_equal(linkat(other.dir, "secret", p.dir, "new.hard", 0), 0);
	assert_int_equal(mkfifoat(p.dir, "new.fifo", 0640), 0);
	assert_int_equal(mkdirat(p.dir, "new.dir", 0750), 0);
	put(&p, "new.open", "x", 0644);
	put(&p, "new.setuid", "x", 04640);
	s = scan(&p, 10, 1000, 100, DROP_GONE);
	assert_int_equal(s.taken, 0);
	assert_int_equal(s.thrown, 0);
	assert_true(is_there(&other, "secret"));
	unlinkat(other.dir, "secret", 0);
	place_free(&other);
	place_free(&p);                                         /* all of them are gone */
}

static void of_another_group_it_was_not_made_here(void **state)
{
	struct place p = place_new();

	(void)state;
	put(&p, "new.1", "x", 0640);
	if (fchownat(p.dir, "new.1", (uid_t)-1, 12345, 0) != 0) {
		print_message("not root: nothing can be given to another group\n");
		unlinkat(p.dir, "new.1", 0);
	} else {
		assert_int_equal(scan(&p, 10, 1000, 100, DROP_GONE).taken, 0);
	}
	place_free(&p);
}

static void nobody_leaves_more_than_he_may(void **state)
{
	struct place p = place_new();
	char name[128];
	struct seen s;

	(void)state;
	for (int i = 1; i <= 5; i++) {
		snprintf(name, sizeof(name), "new.%d", i);
		put(&p, name, "ten octets", 0640);
	}
	s = scan(&p, 3, 1000, 100, DROP_KEPT);
	assert_int_equal(s.thrown, 2);
	assert_true(is_there(&p, "new.3") && !is_there(&p, "new.4"));
	s = scan(&p, 10, 25, 100, DROP_GONE);
	assert_int_equal(s.taken, 2);
	assert_int_equal(s.thrown, 1);
	put(&p, "new.9", "x", 0640);
	snprintf(name, sizeof(name), "%s/new.9", p.path);
	assert_int_equal(truncate(name, 2 << 20), 0);
	s = scan(&p, 10, 4 << 20, 100, DROP_GONE);
	assert_int_equal(s.taken, 0);
	assert_int_equal(s.thrown, 1);
	place_free(&p);
}

static void what_a_killed_writer_left_is_swept(void **state)
{
	struct place p = place_new();

	(void)state;
	put(&p, "tmp.1", "half", 0600);
	put(&p, "anything", "x", 0644);
	assert_int_equal(mkdirat(p.dir, "tmp.dir", 0700), 0);
	assert_int_equal(symlinkat("/etc/passwd", p.dir, "tmp.link"), 0);
	scan(&p, 10, 1000, 100, DROP_GONE);
	assert_true(is_there(&p, "tmp.1"));
	clock_shift(3700);
	assert_int_equal(scan(&p, 10, 1000, 100, DROP_GONE).taken, 0);
	clock_shift(0);
	place_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(programs_write_messages),
		cmocka_unit_test(what_cannot_be_read_is_said),
		cmocka_unit_test(a_lone_dot_ends),
		cmocka_unit_test(a_file_says_what_was_put_in),
		cmocka_unit_test(strange_files_are_no_messages),
		cmocka_unit_test(messages_are_taken_in_order),
		cmocka_unit_test(what_is_put_off_stays),
		cmocka_unit_test(nothing_else_is_read),
		cmocka_unit_test(of_another_group_it_was_not_made_here),
		cmocka_unit_test(nobody_leaves_more_than_he_may),
		cmocka_unit_test(what_a_killed_writer_left_is_swept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
