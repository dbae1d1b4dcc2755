/* SPDX-License-Identifier: ISC */
/*
 * postern check: the configuration, read as the server would, every fault at
 * once.
 */
#include <string.h>
#include <unistd.h>

#include "smtpd/base/buf.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

static void say_notes(const struct config *c, struct arena *a)
{
	if (c->self_signed)
		printf("note: tls {} names no certificate, so a self-signed one is used and mail programs will warn\n");
	if (c->resolver.records.n == 0 && c->resolver.trust_anchor.n > 0 &&
	    access(str_cstr(a, c->resolver.trust_anchor), R_OK) != 0)
		printf("note: DNSSEC off: %.*s cannot be read: install dns-root-data\n",
		       STR_ARG(c->resolver.trust_anchor));
}

/* The whole configuration with every default: etc/postern.conf. */
static int print_sample(void)
{
	struct buf out;

	buf_init(&out, 1 << 20);
	config_sample(&out);
	fwrite(buf_str(&out).p, 1, buf_str(&out).n, stdout);
	buf_fini(&out);
	return EXIT_DONE;
}

int verb_check(int argc, char **argv)
{
	const char *file = CONFIG_FILE;
	struct conf_faults faults;
	struct arena a;
	struct config *c = NULL;
	str why = STR_NONE;
	enum err e;
	int status;

	if (argc == 2 && strcmp(argv[1], "--sample") == 0)
		return print_sample();
	status = verb_file_option("check", argc, argv, &file);
	if (status >= 0)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	e = config_read(file, verb_open_file, &a, &c, &faults, &why);
	if (e == OK || e == ERR_BAD) {
		if (c != NULL)
			config_check_files(c, verb_open_file, &a, &faults);
		config_print_faults(&faults, stdout);
		status = faults.n > 0 ? EXIT_FINDING : EXIT_DONE;
		if (faults.n == 0)
			printf("%s: no faults\n", file);
		if (c != NULL)
			say_notes(c, &a);
	} else {
		status = verb_fail(EXIT_FINDING, "check", "%.*s", STR_ARG(why));
	}
	arena_fini(&a);
	return status;
}
