/* SPDX-License-Identifier: ISC */
/*
 * A house of auth for a test: a folder with an accounts file, a login desk, a
 * loop, and libsasl2's client side as the judge on the other end.
 */
#ifndef TEST_AUTH_HELP_H
#define TEST_AUTH_HELP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define HELP __attribute__((unused)) static

/* ---- a folder ------------------------------------------------------------------- */

struct folder { char path[64], file[96]; };

HELP void folder_make(struct folder *f)
{
	snprintf(f->path, sizeof(f->path), "/tmp/postern-auth-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	snprintf(f->file, sizeof(f->file), "%s/accounts", f->path);
}

HELP void folder_remove(const struct folder *f)
{
	DIR *d = opendir(f->path);
	const struct dirent *e;
	char path[512];

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", f->path, e->d_name);
		unlink(path);
	}
	closedir(d);
	assert_int_equal(rmdir(f->path), 0);
}

/* Replaces the file, so that each version has an inode of its own. */
HELP void put_text(const char *path, const char *text)
{
	char next[600];
	FILE *out;

	snprintf(next, sizeof(next), "%s.next", path);
	out = fopen(next, "w");
	assert_non_null(out);
	assert_int_equal(fputs(text, out) >= 0, 1);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(rename(next, path), 0);
}

HELP str get_text(const char *path, struct arena *a)
{
	int fd = open(path, O_RDONLY);
	str text = STR_NONE;

	assert_true(fd >= 0);
	assert_int_equal(account_file_read(fd, a, &text), OK);
	close(fd);
	return text;
}

/* "{SCRAM-SHA-256}…" of a password, as text that lives in `a`. */
HELP const char *verifier_of(struct arena *a, const char *password)
{
	struct verifier v;

	assert_int_equal(verifier_make(a, str_of(password), 4096, &v), OK);
	return str_cstr(a, verifier_text(a, &v));
}

/* ---- a house ---------------------------------------------------------------------- */

struct house {
	struct folder   folder;
	struct arena    arena;
	struct desk    *desk;
	struct loop    *loop;
	struct auth    *auth;
	struct auth_conf conf;
	str             mechanisms[8];
	struct auth_channel channel;   /* of the next talk */
};

HELP bool house_open(struct house *h, str *why)
{
	h->auth = auth_open(&h->conf, STR("mail.home.test"), h->desk, &h->arena, why);
	return h->auth != NULL;
}

/* One seat only, so that what one exchange remembered the next one knows. */
HELP void house_make(struct house *h, const char *accounts)
{
	memset(h, 0, sizeof(*h));
	crypt_setup();
	stat_thread();
	log_level_set(LOG_DEBUG);
	folder_make(&h->folder);
	arena_init(&h->arena, ARENA_UNBOUNDED);
	if (accounts != NULL)
		put_text(h->folder.file, accounts);
	h->desk = desk_open("login", 1);
	h->loop = loop_new(0, NULL);
	h->mechanisms[0] = STR("SCRAM-SHA-256");
	h->mechanisms[1] = STR("PLAIN");
	h->mechanisms[2] = STR("LOGIN");
	h->conf.accounts = str_of(h->folder.file);
	h->conf.mechanisms = (struct strs){ h->mechanisms, 3 };
	h->conf.iterations = 4096;
	h->conf.memory_ms = 3600000;
	h->channel.ip = "192.0.2.7";
}

HELP void house_open_or_fail(struct house *h)
{
	str why = STR_NONE;

	if (!house_open(h, &why))
		fail_msg("%.*s", STR_ARG(why));
}

/* The desk first: what it still had comes home to the loop and is received. */
HELP void house_end(struct house *h)
{
	desk_close(h->desk);
	loop_free(h->loop);
	auth_close(h->auth);
	arena_fini(&h->arena);
	folder_remove(&h->folder);
}

/* ---- a session's part of an exchange ---------------------------------------------------- */

struct talk {
	struct house    *house;
	struct auth_try *try;
	enum auth_says   says;
	char             text[4096];   /* the challenge */
	size_t           n;
	char             login[600];
	unsigned         answers;
	bool             inside;       /* a call of ours is on the stack */
};

HELP void talk_answered(struct auth_try *a, enum auth_says says, str challenge, void *user)
{
	struct talk *t = user;
	str login = auth_try_login(a);

	assert_false(t->inside);
	assert_ptr_equal(a, t->try);
	t->says = says;
	t->answers++;
	assert_true(challenge.n < sizeof(t->text));
	if (challenge.n > 0)
		memcpy(t->text, challenge.p, challenge.n);
	t->text[challenge.n] = '\0';
	t->n = challenge.n;
	snprintf(t->login, sizeof(t->login), "%.*s", STR_ARG(login));
	loop_stop(t->house->loop);
}

HELP void talk_new(struct talk *t, struct house *h)
{
	memset(t, 0, sizeof(*t));
	t->house = h;
	t->try = auth_try_new(h->auth, h->loop, &h->channel, talk_answered, t);
	assert_non_null(t->try);
}

HELP void loop_till_stopped(struct loop *l)
{
	l->stopping = false;
	loop_run(l);
}

HELP enum auth_says talk_begin(struct talk *t, const char *mechanism, const str *initial)
{
	t->inside = true;
	auth_try_begin(t->try, str_of(mechanism), initial);
	t->inside = false;
	loop_till_stopped(t->house->loop);
	return t->says;
}

HELP enum auth_says talk_step(struct talk *t, str response)
{
	t->inside = true;
	auth_try_step(t->try, response);
	t->inside = false;
	loop_till_stopped(t->house->loop);
	return t->says;
}

HELP void talk_end(struct talk *t)
{
	auth_try_end(t->try);
	t->try = NULL;
}

/* Waits until nothing of ours is out: what was ended has come home. */
struct last { struct job job; struct loop *loop; };

HELP void last_work(struct job *j)
{
	(void)j;
}

HELP void last_came(struct baton *b)
{
	loop_stop(SUPER(SUPER(b, struct job, baton), struct last, job)->loop);
}

HELP void house_settle(struct house *h)
{
	struct last last = { .job = { { .home = h->loop->mbox, .arrived = last_came }, last_work }, .loop = h->loop };

	desk_submit_anyway(h->desk, &last.job);
	loop_till_stopped(h->loop);
}

/* "\0name\0password" */
HELP str plain(struct arena *a, const char *as, const char *name, const char *password)
{
	return arena_printf(a, "%s%c%s%c%s", as, '\0', name, '\0', password);
}

HELP enum auth_says plain_says(struct house *h, const char *name, const char *password)
{
	struct talk t;
	str initial = plain(&h->arena, "", name, password);
	enum auth_says says;

	talk_new(&t, h);
	says = talk_begin(&t, "PLAIN", &initial);
	talk_end(&t);
	return says;
}

#endif
