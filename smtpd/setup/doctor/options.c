/* SPDX-License-Identifier: ISC */
/* The table of doctor {}.  Pure. */
#include "smtpd/setup/doctor/options.h"

#include <stddef.h>

#include "smtpd/mail/addr.h"

static bool is_domain(str value, struct arena *a, str *why)
{
	str ascii;

	*why = STR("must be a domain name such as \"example.net\"");
	return domain_to_ascii(a, value, &ascii) && str_holds(ascii, '.');
}

static bool is_address(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be a mail address such as \"admin@example.org\"");
	return value.n == 0 || (path_of(a, value, &p) && p.domain.n > 0);
}

static const struct conf_option options[] = {
	{ .name = "every", .type = CONF_TIME, .offset = offsetof(struct doctor_options, every_ms), .fallback = "1d",
	  .help = "how often the server looks at itself and its domains as `postern doctor` does; it writes only when something "
	          "has changed; 0s: never" },
	{ .name = "mail-to", .type = CONF_STRING, .offset = offsetof(struct doctor_options, mail_to), .check = is_address,
	  .example = "admin@example.org", .help = "who gets that mail; empty: the postmaster of the first domain" },
	{ .name = "outside-domain", .type = CONF_STRING, .offset = offsetof(struct doctor_options, outside_domain), .fallback = "gmail.com",
	  .check = is_domain,
	  .help = "to whose MX hosts `postern doctor --outside` connects, to see whether port 25 is open outward; nobody does without it" },
	{ .name = "outside-name", .type = CONF_STRING, .offset = offsetof(struct doctor_options, outside_name),
	  .fallback = "o-o.myaddr.l.google.com", .check = is_domain,
	  .help = "a name whose TXT or A record is the address of who asks; asked with --outside only" },
	{ 0 },
};

const struct conf_section doctor_section = {
	.name = "doctor", .options = options, .size = sizeof(struct doctor_options),
	.help = "What the server finds out about itself, see postern-doctor(8).",
};
