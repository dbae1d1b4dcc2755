/* SPDX-License-Identifier: ISC */
/*
 * Questions: on a terminal, and only what no option has answered.
 */
#include <string.h>

#include "smtpd/mail/addr.h"
#include "smtpd/setup/setup/setup.h"

static bool ask(struct setup *s, const char *question, str proposal, str *out)
{
	char line[300];

	fprintf(stderr, "%s [%.*s]: ", question, STR_ARG(proposal));
	fflush(stderr);
	if (fgets(line, sizeof(line), stdin) == NULL)
		return setup_failed("the answers ended: run it again, or answer with options");
	*out = str_keep(s->a, str_trim(str_of(line)));
	if (out->n == 0)
		*out = proposal;
	return true;
}

static bool ask_hostname(struct setup *s)
{
	str said;

	for (;;) {
		if (!ask(s, "Name of this mail server", s->hostname, &said))
			return false;
		if (domain_to_ascii(s->a, said, &s->hostname) && str_holds(s->hostname, '.'))
			return true;
		fprintf(stderr, "  \"%.*s\" is no host name: it takes two parts or more, as mail.example.org.\n", STR_ARG(said));
	}
}

static bool ask_account(struct setup *s)
{
	struct path p;
	str said;

	for (;;) {
		if (!ask(s, "First account", s->account, &said))
			return false;
		if (!str_holds(said, '@'))
			said = arena_printf(s->a, "%.*s@%.*s", STR_ARG(said), STR_ARG(s->domain));
		if (path_of(s->a, said, &p) && str_eq(p.domain, s->domain)) {
			s->account = p.text;
			return true;
		}
		fprintf(stderr, "  \"%.*s\" is no address in %.*s.\n", STR_ARG(said), STR_ARG(s->domain));
	}
}

static bool ask_certificate(struct setup *s)
{
	str said;

	fprintf(stderr, "%s is installed.  Let it get the certificate, once DNS leads here?\n", s->acme->name);
	for (;;) {
		if (!ask(s, "That agrees to its authority's terms of service: yes or no", STR("no"), &said))
			return false;
		if (to_lower(said.p[0]) == 'y')
			s->said.acme = s->acme->name;
		if (to_lower(said.p[0]) == 'y' || to_lower(said.p[0]) == 'n')
			return true;
	}
}

/* Where there is a configuration it has answered. */
bool setup_ask(struct setup *s)
{
	if (!s->terminal || s->said.dry)
		return true;
	if (s->there == NULL && s->said.hostname == NULL && !ask_hostname(s))
		return false;
	if ((s->there == NULL || s->second) && s->said.account == NULL && !ask_account(s))
		return false;
	return s->there != NULL || s->acme == NULL || s->said.acme != NULL || s->said.certificate != NULL || ask_certificate(s);
}
