/* SPDX-License-Identifier: ISC */
/*
 * The certificate.  The server reads ETC/tls/certificate.pem: chain and key in one
 * file, so that both change at once.  It begins as one that we sign ourselves;
 * ETC/tls/deploy puts an authority's in its place whenever there is a new one, and has
 * the server read it.  The configuration stays as it is.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/control.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/tls.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/setup/setup.h"
#include "smtpd/setup/verbs.h"

#define PEM_MOST ((size_t)256 << 10)
#define LETSENCRYPT "/etc/letsencrypt"
#define UNITS       "/etc/systemd/system"

/* In the order in which they are taken when several are installed. */
const struct acme_tool acme_tools[] = { { "certbot", true }, { "uacme", false }, { "lego", false }, { NULL, false } };

static bool is_tool(const struct setup *s, const char *name)
{
	return s->acme != NULL && strcmp(s->acme->name, name) == 0;
}

/* ---- a pair of files becomes ours ------------------------------------------------------------------- */

static bool read_pem(struct setup *s, str path, str *out)
{
	str why;

	if (file_read(verb_open_file, path, PEM_MOST, s->a, out, &why) == OK)
		return true;
	return setup_failed("%.*s: name files that can be read", STR_ARG(why));
}

/* An authority's: its issuer is another. */
static bool is_certified(struct setup *s, str pem, str *names_why)
{
	struct tls_cert leaf;

	*names_why = STR_NONE;
	if (tls_chain_read(pem, s->a, &leaf, 1) != 1)
		return false;
	for (size_t i = 0; i < leaf.names.n; i++)
		if (str_eq_nocase(leaf.names.v[i], s->hostname) ||
		    (str_starts(leaf.names.v[i], "*.") &&
		     str_eq_nocase(str_skip(leaf.names.v[i], 1), str_skip(s->hostname, str_find(s->hostname, '.')))))
			return !str_eq(leaf.issuer, leaf.subject);
	*names_why = arena_printf(s->a, "it is not made for %.*s", STR_ARG(s->hostname));
	return false;
}

static bool fits(struct setup *s, str certificate, str key)
{
	const struct tls_pair pair = { certificate, key };
	const struct tls_conf conf = { .pairs = &pair, .npairs = 1 };
	str why = STR_NONE;
	struct tls_server *made = tls_server_new(&conf, verb_open_file, s->a, &why);

	if (made == NULL)
		return setup_failed("%.*s: give the chain (fullchain.pem) and its key", STR_ARG(why));
	tls_server_free(made);
	return true;
}

static bool put_pair(struct setup *s, str chain, str key)
{
	str path = setup_certificate_path(s), why;
	str whole = arena_printf(s->a, "%.*s%s%.*s", STR_ARG(chain), chain.n > 0 && chain.p[chain.n - 1] != '\n' ? "\n" : "", STR_ARG(key));
	enum err e = file_replace(path, 0600, whole, s->a, &why);

	crypt_wipe((void *)(uintptr_t)whole.p, whole.n);
	return e == OK || setup_failed("%.*s", STR_ARG(why));
}

bool setup_take_certificate(struct setup *s)
{
	str certificate = str_of(s->said.certificate), key = str_of(s->said.key), chain, secret, why;
	bool ok;

	if (!read_pem(s, certificate, &chain) || !read_pem(s, key, &secret) || !fits(s, certificate, key))
		return false;
	s->certified = is_certified(s, chain, &why);
	if (why.n > 0)
		return setup_failed("%.*s: %.*s: order one that has the name, too", STR_ARG(certificate), STR_ARG(why));
	setup_tell(s, "took", "take", certificate, "the certificate");
	ok = s->said.dry || put_pair(s, chain, secret);
	crypt_wipe((void *)(uintptr_t)secret.p, secret.n);
	return ok;
}

/* ---- one to begin with -------------------------------------------------------------------------------- */

static bool make_own(struct setup *s)
{
	const char *names[] = { str_cstr(s->a, s->hostname) };
	char *chain = NULL, *key = NULL;
	bool ok;

	setup_tell(s, "made", "make", setup_certificate_path(s), "a self-signed certificate, until there is one of an authority");
	if (s->said.dry)
		return true;
	if (tls_self_signed(names, 1, 3650, &chain, &key) != OK)
		return setup_failed("OpenSSL made no certificate: try again");
	ok = put_pair(s, str_of(chain), str_of(key));
	crypt_wipe(key, strlen(key));
	free(key);
	free(chain);
	return ok;
}

/* What certbot and the others have already. */
static bool find_issued(struct setup *s)
{
	const str host = s->hostname;
	const struct { str chain, key; } places[] = {
		{ arena_printf(s->a, LETSENCRYPT "/live/%.*s/fullchain.pem", STR_ARG(host)),
		  arena_printf(s->a, LETSENCRYPT "/live/%.*s/privkey.pem", STR_ARG(host)) },
		{ arena_printf(s->a, "%.*s/uacme/%.*s/cert.pem", STR_ARG(s->etc), STR_ARG(host)),
		  arena_printf(s->a, "%.*s/uacme/private/%.*s/key.pem", STR_ARG(s->etc), STR_ARG(host)) },
		{ arena_printf(s->a, "%.*s/lego/certificates/%.*s.crt", STR_ARG(s->etc), STR_ARG(host)),
		  arena_printf(s->a, "%.*s/lego/certificates/%.*s.key", STR_ARG(s->etc), STR_ARG(host)) },
	};

	for (size_t i = 0; i < COUNT(places); i++)
		if (access(str_cstr(s->a, places[i].chain), R_OK) == 0 && access(str_cstr(s->a, places[i].key), R_OK) == 0) {
			s->said.certificate = str_cstr(s->a, places[i].chain);
			s->said.key = str_cstr(s->a, places[i].key);
			return true;
		}
	return false;
}

bool setup_names_our_certificate(const struct setup *s, const struct config *c)
{
	str path = setup_certificate_path(s);

	for (size_t i = 0; i < c->tls.certificate.n; i++)
		if (str_eq(c->tls.certificate.v[i], path))
			return true;
	return false;
}

bool setup_certificate(struct setup *s)
{
	char *path = str_cstr(s->a, setup_certificate_path(s));
	str pem, why;

	s->own_certificate = s->there == NULL || s->said.force || setup_names_our_certificate(s, s->there);
	if (!s->own_certificate) {
		setup_tell(s, "kept", "keep", STR("tls {}"), "the configuration names a certificate of its own");
		s->certified = true;
		return true;
	}
	if (s->said.certificate != NULL)
		return setup_take_certificate(s);
	if (access(path, F_OK) != 0)
		return find_issued(s) ? setup_take_certificate(s) : make_own(s);
	if (file_read(verb_open_file, str_of(path), PEM_MOST, s->a, &pem, &why) != OK)
		return setup_failed("%.*s", STR_ARG(why));
	s->certified = is_certified(s, pem, &why);
	crypt_wipe((void *)(uintptr_t)pem.p, pem.n);
	return true;
}

/* ---- the next ones ------------------------------------------------------------------------------------- */

static bool put(struct setup *s, str path, mode_t mode, str text, const char *about)
{
	return setup_put(s, path, mode, text, about) != PUT_FAILED;
}

static bool hook_certbot(struct setup *s)
{
	if (!s->root)
		return true;
	return setup_directory(s, STR(LETSENCRYPT "/renewal-hooks/deploy"), 0755, false, "what certbot runs after a renewal") &&
	       put(s, STR(LETSENCRYPT "/renewal-hooks/deploy/postern"), 0755, text_certbot_hook(s), "certbot hands a new certificate over");
}

static bool hook_renewal(struct setup *s)
{
	if (is_tool(s, "uacme") &&
	    (!setup_directory(s, setup_in_etc(s, "uacme"), 0700, false, "uacme's account and certificates") ||
	     !put(s, setup_in_etc(s, "uacme/hook"), 0755, text_uacme_hook(s), "answers the authority for uacme")))
		return false;
	if (!put(s, setup_in_etc(s, "tls/renew"), 0755, text_renew(s), "gets the certificate, and renews it when it is due"))
		return false;
	if (!s->systemd || !str_is(s->etc, SETUP_ETC))
		return true;
	if (!put(s, STR(UNITS "/postern-certificate.service"), 0644, text_timer_service(s), "runs tls/renew") ||
	    !put(s, STR(UNITS "/" SETUP_TIMER), 0644, text_timer(s), "every day"))
		return false;
	if (!s->said.dry && s->certified &&
	    setup_shell("systemctl daemon-reload && systemctl enable --now " SETUP_TIMER, true) != 0)
		return setup_failed("the timer could not be started: see `systemctl status " SETUP_TIMER "`");
	return true;
}

bool setup_hooks(struct setup *s)
{
	if (!s->own_certificate)
		return true;
	if (!put(s, setup_in_etc(s, "tls/deploy"), 0755, text_deploy(s), "hands a new certificate to the server"))
		return false;
	if (s->acme == NULL)
		return true;
	return is_tool(s, "certbot") ? hook_certbot(s) : hook_renewal(s);
}

/* --reuse-key: what TLSA records say stays true (RFC 7671 8.1). */
static str certbot_command(const struct setup *s, bool asks_nothing)
{
	str how = s->said.webroot != NULL ? arena_printf(s->a, "--webroot -w %s", s->said.webroot)
	          : s->said.http_port != 80 ? arena_printf(s->a, "--standalone --http-01-port %u", (unsigned)s->said.http_port)
	                                    : STR("--standalone");
	str quiet = asks_nothing ? arena_printf(s->a, " --non-interactive --agree-tos -m postmaster@%.*s", STR_ARG(s->first)) : STR("");
	str hook = s->root ? STR(LETSENCRYPT "/renewal-hooks/deploy/postern") : setup_in_etc(s, "tls/deploy");

	return arena_printf(s->a, "certbot certonly %.*s --reuse-key -d %.*s --deploy-hook %.*s%.*s", STR_ARG(how), STR_ARG(s->hostname),
	                    STR_ARG(hook), STR_ARG(quiet));
}

str setup_acme_command(const struct setup *s)
{
	if (s->acme == NULL)
		return STR_NONE;
	return is_tool(s, "certbot") ? certbot_command(s, false) : setup_in_etc(s, "tls/renew");
}

bool setup_acme_run(struct setup *s)
{
	str command = is_tool(s, "certbot") ? certbot_command(s, true) : setup_in_etc(s, "tls/renew");
	char *text = str_cstr(s->a, command);
	str pem, why;

	setup_tell(s, "run", "run", command, "");
	if (s->said.dry)
		return true;
	if (setup_shell(text, false) != 0)
		return setup_failed("%s got no certificate, and says why above: mend it, then run `%s`", s->acme->name, text);
	if (file_read(verb_open_file, setup_certificate_path(s), PEM_MOST, s->a, &pem, &why) == OK) {
		s->certified = is_certified(s, pem, &why);
		crypt_wipe((void *)(uintptr_t)pem.p, pem.n);
	}
	if (!s->certified)
		return setup_failed("%s ended well, yet its certificate has not come to %.*s: run `%.*s/tls/deploy CHAIN KEY`", s->acme->name,
		                    STR_ARG(setup_certificate_path(s)), STR_ARG(s->etc));
	if (!s->acme->renews && s->systemd && str_is(s->etc, SETUP_ETC) &&
	    setup_shell("systemctl daemon-reload && systemctl enable --now " SETUP_TIMER, true) != 0)
		return setup_failed("the timer could not be started: see `systemctl status " SETUP_TIMER "`");
	return true;
}
