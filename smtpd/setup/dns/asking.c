/* SPDX-License-Identifier: ISC */
/*
 * asking: a resolver and a loop for one verb.  The verb's thread.
 */
#include "smtpd/setup/dns/asking.h"

#include <unistd.h>

#include "smtpd/base/conn.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

/* The configuration's resolver; without a file full recursion. */
static int read_configuration(struct asking *s, struct arena *a)
{
	const char *file = s->file != NULL ? s->file : CONFIG_FILE;
	int status = EXIT_DONE;

	if (s->file == NULL && access(file, R_OK) != 0)
		return EXIT_DONE;
	s->config = verb_config(s->verb, file, a, &status);
	if (s->config == NULL)
		return status;
	s->conf.forward = s->config->resolver.forward;
	s->conf.trust_anchor = config_trust_anchor(s->config);
	s->conf.timeout_ms = s->config->resolver.timeout_ms;
	return EXIT_DONE;
}

static int read_resolver(struct asking *s, struct arena *a)
{
	struct endpoint at;

	s->conf.timeout_ms = 5000;
	if (s->resolver == NULL || s->file != NULL || s->wants_config) {
		int status = read_configuration(s, a);

		if (status != EXIT_DONE)
			return status;
	}
	if (s->resolver == NULL)
		return EXIT_DONE;
	if (!endpoint_parse(str_of(s->resolver), 53, &at) || at.is_name || at.is_unix)
		return verb_misused(s->verb, "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300", s->resolver);
	s->conf.only = str_of(s->resolver);
	s->conf.trust_anchor = STR_NONE;
	s->conf.local_special = true;
	return EXIT_DONE;
}

int asking_open(struct asking *s, struct arena *a)
{
	str why = STR_NONE;
	int status = read_resolver(s, a);

	if (status != EXIT_DONE)
		return status;
	s->loop = loop_new(0, NULL);
	if (s->loop == NULL)
		return verb_fail(EXIT_LATER, s->verb, "no memory: try again later");
	s->loop->dns = dns_new(&s->conf, s->loop, a, &why);
	if (s->loop->dns != NULL)
		return EXIT_DONE;
	loop_free(s->loop);
	s->loop = NULL;
	return verb_fail(EXIT_LATER, s->verb, "%.*s", STR_ARG(why));
}

void asking_wait(struct asking *s)
{
	s->loop->stopping = false;
	loop_run(s->loop);
}

void asking_answered(struct asking *s)
{
	loop_stop(s->loop);
}

void asking_close(struct asking *s)
{
	if (s->loop == NULL)
		return;
	dns_free(s->loop->dns);
	loop_free(s->loop);
	s->loop = NULL;
}
