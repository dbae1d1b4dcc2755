/* SPDX-License-Identifier: ISC */
/*
 * The files that are written, as texts.  Pure.  Names and paths in them hold letters,
 * digits and a few signs only (facts.c), so nothing needs quoting.
 */
#include <string.h>

#include "smtpd/setup/setup/setup.h"

#define BY "Written by `postern setup`"

str setup_in_etc(const struct setup *s, const char *name)
{
	return arena_printf(s->a, "%.*s/%s", STR_ARG(s->etc), name);
}

str setup_certificate_path(const struct setup *s)
{
	return setup_in_etc(s, "tls/certificate.pem");
}

/* The first domain's is what everybody looks for. */
str setup_aliases_path(const struct setup *s)
{
	return !str_eq(s->domain, s->first) ? arena_printf(s->a, "%.*s/aliases.%.*s", STR_ARG(s->etc), STR_ARG(s->domain)) : setup_in_etc(s, "aliases");
}

/* Other users of this machine have to reach it, so it is not in the state directory. */
str setup_drop_path(const struct setup *s)
{
	return str_is(s->state, "/var/lib/postern") ? STR_NONE : arena_printf(s->a, "%.*s-drop", STR_ARG(s->state));
}

static str maildir(const struct setup *s)
{
	return str_is(s->mail, "/var/mail") ? STR_NONE
	                                    : arena_printf(s->a, "\tdeliver { maildir = \"%.*s/%%d/%%u\" }\n", STR_ARG(s->mail));
}

str text_domain(const struct setup *s)
{
	str mail = maildir(s);

	return arena_printf(s->a, "domain \"%.*s\" {\n\tkeys {}\n\taliases = \"%.*s\"\n%.*s}\n", STR_ARG(s->domain),
	                    STR_ARG(setup_aliases_path(s)), STR_ARG(mail));
}

static str listeners(const struct setup *s)
{
	if (!s->own_ports)
		return STR("");
	return arena_printf(s->a,
	                    "listener \"mx\"          { address = {\"0.0.0.0:%u\", \"[::]:%u\"} role = inbound tls = starttls }\n"
	                    "listener \"submission\"  { address = {\"0.0.0.0:%u\", \"[::]:%u\"} role = submission tls = required }\n"
	                    "listener \"submissions\" { address = {\"0.0.0.0:%u\", \"[::]:%u\"} role = submission tls = implicit }\n",
	                    s->ports[SETUP_MAIL], s->ports[SETUP_MAIL], s->ports[SETUP_SUBMISSION], s->ports[SETUP_SUBMISSION],
	                    s->ports[SETUP_SUBMISSIONS], s->ports[SETUP_SUBMISSIONS]);
}

str text_configuration(const struct setup *s)
{
	str certificate = setup_certificate_path(s), drop = setup_drop_path(s), none = STR("");
	str state = drop.n > 0 ? arena_printf(s->a, "state = \"%.*s\"\n", STR_ARG(s->state)) : none;
	str user = s->root && !str_is(s->user, "postern") ? arena_printf(s->a, "user = \"%.*s\"\n", STR_ARG(s->user)) : none;
	str sendmail = drop.n > 0 ? arena_printf(s->a, "sendmail { directory = \"%.*s\" }\n", STR_ARG(drop)) : none;
	str ports = listeners(s), domain = text_domain(s);

	return arena_printf(s->a,
	                    "# " BY ".  All that is not said has a default: postern.conf(5)\n"
	                    "# has every option, `postern check` reads this file as the server does.\n"
	                    "hostname = \"%.*s\"\n%.*s%.*s%.*s"
	                    "tls { certificate = \"%.*s\" key = \"%.*s\" }\n%.*s\n%.*s",
	                    STR_ARG(s->hostname), STR_ARG(state), STR_ARG(user), STR_ARG(ports), STR_ARG(certificate), STR_ARG(certificate),
	                    STR_ARG(sendmail), STR_ARG(domain));
}

/* RFC 2142's names, and root, to whom this machine's own mail goes. */
str text_aliases(const struct setup *s)
{
	static const char *const names[] = { "postmaster", "abuse", "root" };
	str out = arena_printf(s->a, "# " BY ".  NAME: ADDRESS, ADDRESS\n# Who is named here receives at %.*s; the server reads changes by itself.\n",
	                       STR_ARG(s->domain));

	for (size_t i = 0; i < COUNT(names); i++)
		if (!str_is_nocase(str_head(s->account, str_find(s->account, '@')), names[i]))
			out = arena_printf(s->a, "%.*s%s: %.*s\n", STR_ARG(out), names[i], STR_ARG(s->account));
	return out;
}

/* ---- certificates ------------------------------------------------------------------------------- */

str text_deploy(const struct setup *s)
{
	str host = s->hostname, etc = s->etc;

	return arena_printf(s->a,
	                    "#!/bin/sh\n"
	                    "# " BY ": hands a new certificate to the server, which reads it at once.\n"
	                    "# certbot and lego run it and say in variables where it is; otherwise:\n"
	                    "#   %.*s/tls/deploy CHAIN KEY\n"
	                    "if [ $# -eq 2 ]; then\n"
	                    "\tchain=$1 key=$2\n"
	                    "elif [ -n \"$RENEWED_LINEAGE\" ]; then\n"
	                    "\tcase \" $RENEWED_DOMAINS \" in *\" %.*s \"*) ;; *) exit 0 ;; esac\n"
	                    "\tchain=$RENEWED_LINEAGE/fullchain.pem key=$RENEWED_LINEAGE/privkey.pem\n"
	                    "else\n"
	                    "\tchain=${LEGO_CERT_PATH:-%.*s/lego/certificates/%.*s.crt}\n"
	                    "\tkey=${LEGO_CERT_KEY_PATH:-%.*s/lego/certificates/%.*s.key}\n"
	                    "fi\n"
	                    "exec %.*s setup %.*s --etc %.*s --certificate \"$chain\" --key \"$key\"\n",
	                    STR_ARG(etc), STR_ARG(host), STR_ARG(etc), STR_ARG(host), STR_ARG(etc), STR_ARG(host), STR_ARG(s->program),
	                    STR_ARG(s->first), STR_ARG(etc));
}

str text_certbot_hook(const struct setup *s)
{
	return arena_printf(s->a, "#!/bin/sh\n# " BY ": certbot runs it after every renewal.\nexec %.*s/tls/deploy\n", STR_ARG(s->etc));
}

static str renew_uacme(const struct setup *s)
{
	str d = setup_in_etc(s, "uacme"), host = s->hostname;

	return arena_printf(s->a,
	                    "[ -e %.*s/private/key.pem ] || uacme -y -c %.*s new postmaster@%.*s || exit 1\n"
	                    "uacme -c %.*s -h %.*s/hook issue %.*s\n"
	                    "case $? in 0) ;; 1) exit 0 ;; *) exit 1 ;; esac     # 1: it is not due yet\n"
	                    "exec %.*s/tls/deploy %.*s/%.*s/cert.pem %.*s/private/%.*s/key.pem\n",
	                    STR_ARG(d), STR_ARG(d), STR_ARG(s->first), STR_ARG(d), STR_ARG(d), STR_ARG(host), STR_ARG(s->etc), STR_ARG(d),
	                    STR_ARG(host), STR_ARG(d), STR_ARG(host));
}

static str renew_lego(const struct setup *s)
{
	str d = setup_in_etc(s, "lego"), host = s->hostname;
	str how = s->said.webroot != NULL ? arena_printf(s->a, "--http --http.webroot %s", s->said.webroot)
	                                  : arena_printf(s->a, "--http --http.port :%u", (unsigned)s->said.http_port);

	return arena_printf(s->a,
	                    "lego='lego --accept-tos --path %.*s --email postmaster@%.*s --domains %.*s %.*s'\n"
	                    "if [ -e %.*s/certificates/%.*s.crt ]; then\n"
	                    "\texec $lego renew --days 30 --reuse-key --renew-hook %.*s/tls/deploy\n"
	                    "fi\n"
	                    "$lego run && exec %.*s/tls/deploy %.*s/certificates/%.*s.crt %.*s/certificates/%.*s.key\n",
	                    STR_ARG(d), STR_ARG(s->first), STR_ARG(host), STR_ARG(how), STR_ARG(d), STR_ARG(host), STR_ARG(s->etc),
	                    STR_ARG(s->etc), STR_ARG(d), STR_ARG(host), STR_ARG(d), STR_ARG(host));
}

str text_renew(const struct setup *s)
{
	str body = strcmp(s->acme->name, "uacme") == 0 ? renew_uacme(s) : renew_lego(s);

	return arena_printf(s->a, "#!/bin/sh\n# " BY ": gets the certificate of %.*s with %s, or renews it when it is due.\n"
	                    "# To be run every day, as root.\n%.*s", STR_ARG(s->hostname), s->acme->name, STR_ARG(body));
}

str text_uacme_hook(const struct setup *s)
{
	const char *head = "#!/bin/sh\n# " BY ": uacme says METHOD TYPE NAME TOKEN TEXT.\n[ \"$2\" = http-01 ] || exit 1\n";

	if (s->said.webroot == NULL)
		return arena_printf(s->a, "%sexec %.*s setup --challenge \"$1\" \"$4\" \"$5\" --http-port %u\n", head, STR_ARG(s->program),
		                    (unsigned)s->said.http_port);
	return arena_printf(s->a,
	                    "%sdir=%s/.well-known/acme-challenge\n"
	                    "umask 022\n"
	                    "case $1 in\n"
	                    "begin) mkdir -p \"$dir\" && printf %%s \"$5\" >\"$dir/$4\" ;;\n"
	                    "*) rm -f \"$dir/$4\" ;;\n"
	                    "esac\n", head, s->said.webroot);
}

str text_timer(const struct setup *s)
{
	return arena_printf(s->a, "# " BY ".\n[Unit]\nDescription=The certificate of %.*s is renewed when it is due\n\n"
	                    "[Timer]\nOnCalendar=daily\nRandomizedDelaySec=6h\nPersistent=yes\n\n[Install]\nWantedBy=timers.target\n",
	                    STR_ARG(s->hostname));
}

str text_timer_service(const struct setup *s)
{
	return arena_printf(s->a, "# " BY ".\n[Unit]\nDescription=Renew the certificate of %.*s\nAfter=network-online.target\n"
	                    "Wants=network-online.target\n\n[Service]\nType=oneshot\nExecStart=%.*s/tls/renew\n", STR_ARG(s->hostname),
	                    STR_ARG(s->etc));
}
