/* SPDX-License-Identifier: ISC */
/*
 * conf_help: tables as a server might have them, and files in memory that conf_read
 * sees through its open callback.
 */
#ifndef TESTS_CONF_HELP_H
#define TESTS_CONF_HELP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/conf.h"

/* ---- tables as a server might have them ------------------------------------ */

struct dkim { struct conf_head head; str key; };
struct deliver { struct conf_head head; str maildir; };
struct domain { struct conf_head head; struct strs aliases; struct deliver deliver; struct conf_list dkims; };
struct tls { struct conf_head head; str certificate, key; int minimum; };
struct limits { struct conf_head head; uint64_t size, wait, errors; bool strict; };
struct root {
	struct conf_head head;
	str hostname;
	struct strs listen;
	struct tls tls;
	struct limits limits;
	struct conf_list domains;
};

static bool check_path(str value, struct arena *arena, str *why)
{
	(void)arena;
	*why = STR("must be an absolute path");
	return str_starts(value, "/");
}

static void check_tls(void *section, struct conf_reader *r)
{
	struct tls *tls = section;

	if (tls->certificate.p != NULL && tls->key.p == NULL)
		conf_fault(r, &tls->head, "certificate", "`certificate` needs a `key`");
}

static void check_root(void *section, struct conf_reader *r)
{
	struct root *root = section;

	if (root->hostname.n == 0)
		conf_fault(r, &root->head, "hostname", "`hostname` is missing");
}

static const char *const minimums[] = { "1.2", "1.3", NULL };

#define AT(type, field) .offset = offsetof(struct type, field)

static const struct conf_section dkim_section = {
	.name = "dkim", .size = sizeof(struct dkim), AT(domain, dkims), .titled = true, .help = "One signing key.",
	.example = "mail",
	.options = (const struct conf_option[]){
		{ .name = "key", .type = CONF_STRING, AT(dkim, key), .help = "The private key.", .check = check_path,
		  .example = "/etc/postern/mail.pem" },
		{ .name = NULL } },
};
static const struct conf_section deliver_section = {
	.name = "deliver", .size = sizeof(struct deliver), AT(domain, deliver), .help = "Where mail goes.",
	.options = (const struct conf_option[]){
		{ .name = "maildir", .type = CONF_STRING, AT(deliver, maildir), .fallback = "/var/mail/%d/%u",
		  .help = "The mailbox." },
		{ .name = NULL } },
};
static const struct conf_section domain_section = {
	.name = "domain", .size = sizeof(struct domain), AT(root, domains), .titled = true, .help = "A domain.",
	.example = "example.org",
	.options = (const struct conf_option[]){
		{ .name = "aliases", .type = CONF_LIST, AT(domain, aliases), .help = "Other names." },
		{ .name = NULL } },
	.sections = (const struct conf_section *const[]){ &deliver_section, &dkim_section, NULL },
};
static const struct conf_section tls_section = {
	.name = "tls", .size = sizeof(struct tls), AT(root, tls), .help = "Certificates.", .check = check_tls,
	.options = (const struct conf_option[]){
		{ .name = "certificate", .type = CONF_STRING, AT(tls, certificate), .help = "The chain." },
		{ .name = "key", .type = CONF_STRING, AT(tls, key), .help = "Its key." },
		{ .name = "minimum", .type = CONF_WORD, AT(tls, minimum), .fallback = "1.2", .words = minimums,
		  .help = "The oldest version." },
		{ .name = NULL } },
};
static const struct conf_section limits_section = {
	.name = "limits", .size = sizeof(struct limits), AT(root, limits), .help = "Limits.",
	.options = (const struct conf_option[]){
		{ .name = "message-size", .type = CONF_SIZE, AT(limits, size), .fallback = "50 MiB",
		  .least = 1024, .most = (uint64_t)1 << 30, .help = "The largest message." },
		{ .name = "wait", .type = CONF_TIME, AT(limits, wait), .fallback = "5m", .least = 1000,
		  .help = "How long to wait, which is a thing that takes some words to tell, so many indeed "
		          "that they do not fit on one line of the sample." },
		{ .name = "errors", .type = CONF_NUMBER, AT(limits, errors), .fallback = "10", .most = 100,
		  .help = "Errors." },
		{ .name = "strict", .type = CONF_BOOL, AT(limits, strict), .fallback = "yes", .help = "Strictness." },
		{ .name = NULL } },
};
static const struct conf_section root_section = {
	.size = sizeof(struct root), .help = "A sample.", .check = check_root,
	.options = (const struct conf_option[]){
		{ .name = "hostname", .type = CONF_STRING, AT(root, hostname), .help = "This host's \"name\".",
		  .example = "mail.example.org", .required = true },
		{ .name = "listen", .type = CONF_LIST, AT(root, listen), .fallback = "0.0.0.0:25, [::]:25",
		  .help = "Where to listen." },
		{ .name = NULL } },
	.sections = (const struct conf_section *const[]){ &tls_section, &limits_section, &domain_section, NULL },
};

/* ---- files in memory -------------------------------------------------------- */

static const struct file { const char *path, *text; size_t n; } *files;

static int open_fake(str path)
{
	for (const struct file *f = files; f->path != NULL; f++) {
		size_t n = f->n != 0 ? f->n : strlen(f->text);
		int fd;

		if (!str_is(path, f->path))
			continue;
		fd = memfd_create("conf", MFD_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, f->text, n), n);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		return fd;
	}
	errno = ENOENT;
	return -1;
}

struct reading { struct arena arena; struct root root; struct conf_faults faults; enum err e; };

static void reading_begin(struct reading *g, const struct file *in)
{
	files = in;
	arena_init(&g->arena, ARENA_UNBOUNDED);
	memset(&g->root, 0xff, sizeof(g->root));
	g->e = conf_read("main.conf", open_fake, &root_section, &g->root, &g->arena, &g->faults);
}

static inline void reading_begin_text(struct reading *g, const char *text)
{
	reading_begin(g, (const struct file[]){ { "main.conf", text, 0 }, { NULL, NULL, 0 } });
}

/* "FILE:LINE: text" a line, all of them. */
static char *faults_text(const struct conf_faults *faults)
{
	struct buf b;
	char *text;

	buf_init(&b, BUF_UNBOUNDED);
	for (size_t i = 0; i < faults->n; i++)
		buf_addf(&b, "%s:%d: %.*s\n", faults->v[i].file, faults->v[i].line, STR_ARG(faults->v[i].text));
	text = strndup(b.p != NULL ? buf_str(&b).p : "", b.n);
	buf_fini(&b);
	return text;
}

static void no_faults(const struct reading *g)
{
	char *text = faults_text(&g->faults);

	assert_string_equal(text, "");
	free(text);
	assert_int_equal(g->e, OK);
}

static void is_text(str got, const char *want)
{
	if (!str_is(got, want))
		fail_msg("got `%.*s`, want `%s`", STR_ARG(got), want);
}

#endif
