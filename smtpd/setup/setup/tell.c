/* SPDX-License-Identifier: ISC */
/*
 * What is said at the end: the records to publish, and the steps that are left.
 */
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/dns/record_forms.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/setup/setup.h"

/* ---- records ------------------------------------------------------------------------------------- */

static bool make_records(struct setup *s, struct dns_records *out, struct key_files *keys)
{
	struct dns_wanted wanted = { .keys = keys };
	struct key_record *managed = NULL;
	str why = STR_NONE;

	if (key_files_read(s->config->state, s->config, s->a, keys, &why) != OK ||
	    key_records(s->config, s->domain, s->a, &managed, &wanted.n_managed, &why) != OK)
		return setup_failed("%.*s", STR_ARG(why));
	wanted.managed = managed;
	dns_wanted_addresses(s->config, s->a, &wanted.addresses);
	/* The key of a certificate that will be replaced is nothing to pin (RFC 7671 8.1). */
	if (s->certified)
		dns_wanted_tlsa(s->config, s->a, &wanted.tlsa);
	return dns_records_make(s->config, s->domain, &wanted, s->a, out) == OK || setup_failed("out of memory: try again");
}

static bool is_form(const struct setup *s)
{
	return strcmp(s->said.format, "form") == 0;
}

static void print_record(const struct setup *s, const struct dns_record *r)
{
	str line = strcmp(s->said.format, "zone") == 0 ? dns_record_zone(r, s->a) : dns_record_line(r, s->a);

	if (is_form(s)) {
		dns_record_print_form(r, s->domain, s->a, stdout);
		putchar('\n');
	} else {
		printf("%.*s\n", STR_ARG(line));
	}
}

bool setup_print_records(struct setup *s)
{
	struct key_files keys = { 0 };
	struct dns_records all = { 0 };
	bool ok = make_records(s, &all, &keys);

	if (ok) {
		printf("\nRecords for the zone of %.*s\n\n", STR_ARG(s->domain));
		for (size_t i = 0; i < all.n; i++)
			if (all.v[i].ask_of.n == 0)
				print_record(s, &all.v[i]);
		if (!is_form(s))
			putchar('\n');
		printf("`postern dns %.*s --format zone%s%s` prints them as lines of a zone file, --format text one on a line.\n",
		       STR_ARG(s->domain), str_is(s->etc, SETUP_ETC) ? "" : " -c ", str_is(s->etc, SETUP_ETC) ? "" : s->file);
	}
	key_files_free(&keys);
	return ok;
}

/* ---- steps ------------------------------------------------------------------------------------------- */

struct steps { str v[6]; size_t n; };

static void add(struct steps *all, str text)
{
	if (all->n < COUNT(all->v))
		all->v[all->n++] = text;
}

static str config_option(const struct setup *s)
{
	return str_is(s->etc, SETUP_ETC) ? STR("") : arena_printf(s->a, " -c %s", s->file);
}

static void publish(struct setup *s, struct steps *all)
{
	add(all, arena_printf(s->a, "Put the records above into the zone of %.*s, on your DNS provider's pages.", STR_ARG(s->domain)));
}

static void reverse(struct setup *s, struct steps *all)
{
	str missing = STR("");

	for (size_t i = 0; i < s->naddresses; i++)
		if (!str_eq_nocase(s->addresses[i].ptr, s->hostname))
			missing = arena_printf(s->a, "%.*s%s%.*s", STR_ARG(missing), missing.n > 0 ? " and " : "", STR_ARG(s->addresses[i].text));
	if (s->behind_nat)
		add(all, arena_printf(s->a, "No interface here has a public address, so this machine seems to be behind a NAT.  Publish the\n"
		                      "          public address as A record of %.*s, have it lead here (ports 25, 465, 587 and 80), and ask\n"
		                      "          its provider for a PTR record (\"reverse DNS\") to %.*s.", STR_ARG(s->hostname), STR_ARG(s->hostname)));
	else if (missing.n > 0)
		add(all, arena_printf(s->a, "Set the PTR record (\"reverse DNS\") of %.*s to %.*s,\n          on the pages of this machine's provider.",
		                      STR_ARG(missing), STR_ARG(s->hostname)));
}

static void doors(struct setup *s, struct steps *all)
{
	if (s->behind_nat)
		return;
	add(all, arena_printf(s->a, "Let ports %u, %u, %u%s in, where a firewall stands before this machine, and port 25 out,\n"
	                      "          which some providers open on request only.", s->ports[SETUP_MAIL], s->ports[SETUP_SUBMISSIONS],
	                      s->ports[SETUP_SUBMISSION], s->certified ? "" : " and 80"));
}

static void certificate(struct setup *s, struct steps *all)
{
	str command = setup_acme_command(s);

	if (s->certified || s->said.acme != NULL)
		return;
	if (command.n == 0)
		add(all, arena_printf(s->a, "Get a certificate for %.*s, once that name leads here:\n"
		                      "            apt install certbot, then `postern setup %.*s%s%.*s --acme certbot`", STR_ARG(s->hostname),
		                      STR_ARG(s->domain), str_is(s->etc, SETUP_ETC) ? "" : " --etc ",
		                      STR_ARG(str_is(s->etc, SETUP_ETC) ? STR("") : s->etc)));
	else
		add(all, arena_printf(s->a, "Get the certificate, once %.*s leads here:\n            %.*s%s", STR_ARG(s->hostname),
		                      STR_ARG(command), s->acme->renews || (s->systemd && str_is(s->etc, SETUP_ETC)) ? "" :
		                      "\n          and have it run every day, as by cron."));
}

static void start(struct setup *s, struct steps *all)
{
	if (!s->wants_start)
		return;
	if (s->systemd && str_is(s->etc, SETUP_ETC))
		add(all, STR("Install the service with `make install`, then start it:\n            systemctl enable --now postern"));
	else
		add(all, arena_printf(s->a, "Start the server:\n            postern serve%.*s", STR_ARG(config_option(s))));
}

static void first_mail(struct setup *s, struct steps *all)
{
	str option = config_option(s);

	add(all, arena_printf(s->a, "Give a mail program %.*s, port %u with TLS, user %.*s and the password, and write\n"
	                      "          to somebody.  (Reading takes Dovecot, see README.)  `postern doctor %.*s%.*s`\n"
	                      "          looks at everything and says what is left to mend.",
	                      STR_ARG(s->hostname), s->ports[SETUP_SUBMISSIONS], STR_ARG(s->account), STR_ARG(s->domain), STR_ARG(option)));
}

void setup_print_steps(struct setup *s)
{
	static void (*const parts[])(struct setup *, struct steps *) = { start, publish, reverse, doors, certificate, first_mail };
	struct steps all = { .n = 0 };

	for (size_t i = 0; i < COUNT(parts); i++)
		parts[i](s, &all);
	printf("\nWhat is left to do by hand\n\n");
	for (size_t i = 0; i < all.n; i++)
		printf("  %zu of %zu  %.*s\n", i + 1, all.n, STR_ARG(all.v[i]));
	if (s->password.n > 0) {
		printf("\n  %.*s has the password %.*s\n  It is shown this once.  `postern account passwd %.*s%.*s` sets another.\n", STR_ARG(s->account),
		       STR_ARG(s->password), STR_ARG(s->account), STR_ARG(config_option(s)));
		crypt_wipe((void *)(uintptr_t)s->password.p, s->password.n);
	}
}
