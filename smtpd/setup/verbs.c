/* SPDX-License-Identifier: ISC */
/*
 * What all verbs share: help, complaints, the configuration.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

const struct verb *verb_find(str name)
{
	for (const struct verb *v = verbs; v->name != NULL; v++)
		if (str_is(name, v->name))
			return v;
	return NULL;
}

/* Every form of the verb on a line of its own. */
void verb_help(FILE *out, const struct verb *v)
{
	str forms = str_of(v->usage), form;
	const char *lead = "usage:";

	while (str_cut(&forms, '\n', &form)) {
		fprintf(out, "%s postern %s%s%.*s\n", lead, v->name, form.n > 0 ? " " : "", STR_ARG(form));
		lead = "      ";
	}
	fprintf(out, "\n%s\n", v->summary);
	if (v->details != NULL)
		fprintf(out, "\n%s\n", v->details);
}

int verb_fail(int status, const char *verb, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "postern %s: ", verb);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

int verb_misused(const char *verb, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "postern %s: ", verb);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": see `postern help %s`\n", verb);
	return EXIT_USAGE;
}

bool verb_asks_help(int argc, char **argv, int *status)
{
	const struct verb *v = verb_find(str_of(argv[0]));

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (v != NULL && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
			verb_help(stdout, v);
			*status = EXIT_DONE;
			return true;
		}
	return false;
}

int verb_file_option(const char *verb, int argc, char **argv, const char **file)
{
	static const struct option none[] = { { "config", required_argument, NULL, 'c' }, { 0 } };
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+:c:", none, NULL)) != -1) {
		if (c == 'c')
			*file = optarg;
		else if (c == ':')
			return verb_misused(verb, "-c needs a file");
		else
			return verb_misused(verb, "unknown option %s", argv[optind - 1]);
	}
	if (optind < argc)
		return verb_misused(verb, "unexpected word \"%s\"", argv[optind]);
	return -1;
}

int verb_open_file(str path)
{
	char name[4096];

	if (path.n >= sizeof(name)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (path.n > 0)
		memcpy(name, path.p, path.n);
	name[path.n] = '\0';
	return open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

struct config *verb_config(const char *verb, const char *file, struct arena *a, int *status)
{
	struct conf_faults faults;
	struct config *c = NULL;
	str why = STR_NONE;
	enum err e = config_read(file, verb_open_file, a, &c, &faults, &why);

	if (e == OK)
		return c;
	if (e == ERR_BAD)
		config_print_faults(&faults, stderr);
	*status = e == ERR_BAD ? verb_fail(EXIT_FINDING, verb, "%s has faults: mend them, `postern check` shows them again", file)
	                       : verb_fail(EXIT_FINDING, verb, "%.*s", STR_ARG(why));
	return NULL;
}
