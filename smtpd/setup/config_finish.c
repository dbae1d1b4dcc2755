/* SPDX-License-Identifier: ISC */
/*
 * What follows from what was read.  Main thread (and keeper).
 */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modules/arc/arc.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/config_inside.h"
#include "smtpd/setup/verbs.h"

static struct listener_conf *default_listener(struct arena *a, const char *name, str v4, str v6, int role, int tls)
{
	struct listener_conf *l = ARENA_NEW(a, struct listener_conf);
	str *v = ARENA_ARRAY(a, str, 2);

	if (l == NULL || v == NULL)
		return NULL;
	v[0] = v4;
	v[1] = v6;
	l->head.title = str_of(name);
	l->address = (struct strs){ v, 2 };
	l->role = role;
	l->tls = tls;
	return l;
}

/* CONTRACT: without a listener section there are three. */
static enum err give_listeners(struct config *c, struct arena *a)
{
	if (c->listeners.n > 0)
		return OK;
	c->listeners.v = ARENA_ARRAY(a, void *, 3);
	if (c->listeners.v == NULL)
		return ERR_MEMORY;
	c->listeners.v[0] = default_listener(a, "mx", STR("0.0.0.0:25"), STR("[::]:25"), ROLE_INBOUND, TLS_STARTTLS);
	c->listeners.v[1] = default_listener(a, "submission", STR("0.0.0.0:587"), STR("[::]:587"), ROLE_SUBMISSION, TLS_REQUIRED);
	c->listeners.v[2] = default_listener(a, "submissions", STR("0.0.0.0:465"), STR("[::]:465"), ROLE_SUBMISSION, TLS_IMPLICIT);
	c->listeners.n = 3;
	return c->listeners.v[0] && c->listeners.v[1] && c->listeners.v[2] ? OK : ERR_MEMORY;
}

static void judge_owner(struct config *c, const struct deliver_section *d, struct place *place, struct arena *a,
                        struct conf_faults *faults)
{
	char *user = str_cstr(a, d->user), *group = str_cstr(a, d->group);

	if (d->user.n > 0) {
		struct passwd *pw = user ? getpwnam(user) : NULL;

		if (pw == NULL)
			conf_fault_add(faults, a, &d->head, "user",
			               "there is no user \"%.*s\": create it, or take the option out",
			               STR_ARG(d->user));
		else if (pw->pw_uid != c->uid)
			conf_fault_add(faults, a, &d->head, "user",
			               "mailboxes of \"%.*s\" cannot be written by the server's user: set the top option "
			               "user to the same name, or use group, or deliver by lmtp",
			               STR_ARG(d->user));
		else
			place->uid = pw->pw_uid;
	}
	if (d->group.n > 0) {
		struct group *gr = group ? getgrnam(group) : NULL;

		if (gr == NULL)
			conf_fault_add(faults, a, &d->head, "group",
			               "there is no group \"%.*s\": create it, or take the option out",
			               STR_ARG(d->group));
		else
			place->gid = gr->gr_gid;
	}
}

/* `base`: the domain's place, of which the account has what its own section does
 * not say; NULL: this is the domain's. */
static void make_place(struct config *c, const struct deliver_section *d, const struct place *base, struct place *place,
                       struct arena *a, struct conf_faults *faults)
{
	const struct place none = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	char *mode = str_cstr(a, d->mode);

	*place = base != NULL ? *base : none;
	if (base == NULL || conf_given(&d->head, "maildir") || d->lmtp.n > 0) {
		place->kind = d->lmtp.n > 0 ? PLACE_LMTP : PLACE_MAILDIR;
		place->path = d->maildir;
		place->lmtp = d->lmtp;
	}
	if (base == NULL || conf_given(&d->head, "mode"))
		place->mode = mode ? (mode_t)strtoul(mode, NULL, 8) : 0700;
	if (base == NULL || conf_given(&d->head, "junk-detail"))
		place->junk_detail = d->junk_detail && c->plus.n > 0 ? c->plus.p[0] : '\0';
	if (d->junk_detail && c->plus.n == 0)
		conf_fault_add(faults, a, &d->head, "junk-detail", "without the top option plus no address has a detail: set it, "
		               "or take junk-detail out");
	judge_owner(c, d, place, a, faults);
}

static void finish_account(struct config *c, const struct domain_section *d, struct account_section *s, struct arena *a,
                           struct conf_faults *faults)
{
	str title = s->head.title;
	struct path p;

	if (!str_holds(title, '@'))
		title = arena_printf(a, "%.*s@%.*s", STR_ARG(title), STR_ARG(d->name));
	if (!path_of(a, title, &p) || !str_eq(p.domain, d->name))
		conf_fault_add(faults, a, &s->head, NULL, "section `account`: \"%.*s\" must be the name of an account of %.*s, such as \"info\"",
		               STR_ARG(s->head.title), STR_ARG(d->name));
	else
		s->address = p.text;
	make_place(c, &s->deliver, &d->place, &s->place, a, faults);
	allowance_inherit(&s->allowance, &c->allowance);
	if (!conf_given(&s->head, "grace"))
		s->grace.wait_ms = c->submission.grace.wait_ms;
	if (!conf_given(&s->head, "grace-notice"))
		s->grace.notice = c->submission.grace.notice;
}

/* Who is nobody here could not be answered, and would have no allowance of ours. */
static void judge_devices(const struct config *c, struct arena *a, struct conf_faults *faults)
{
	for (size_t i = 0; i < c->devices.n; i++) {
		const struct device_conf *d = c->devices.v[i];
		struct path p;

		if (d->as.n > 0 && path_of(a, d->as, &p) && !config_domain_is_local((void *)(uintptr_t)c, p.domain))
			conf_fault_add(faults, a, &d->head, "as", "\"%.*s\" is in no domain of this server: name an account here",
			               STR_ARG(d->as));
	}
}

/* Without a state directory of its own there is one server, and its place is known. */
static void finish_sendmail(struct config *c, struct arena *a, struct conf_faults *faults)
{
	struct sendmail_conf *s = &c->sendmail;

	if (s->directory.n == 0 && !conf_given(&s->head, "directory") && str_is(c->state, "/var/lib/postern"))
		s->directory = STR("/var/spool/postern");
	if (s->domain.n > 0)
		domain_to_ascii(a, s->domain, &s->domain);
	else
		s->domain = c->domains.n > 0 ? ((const struct domain_section *)c->domains.v[0])->name : c->hostname;
	for (size_t i = 0; i < s->users.n; i++) {
		const struct sendmail_user *u = s->users.v[i];
		struct path p;

		if (u->address.n > 0 && path_of(a, u->address, &p) && !config_domain_is_local(c, p.domain))
			conf_fault_add(faults, a, &u->head, "address", "\"%.*s\" is in no domain of this server: name an address here",
			               STR_ARG(u->address));
	}
}

static enum err give_rights(struct config *c, struct arena *a)
{
	size_t n = 0;

	for (size_t i = 0; i < c->domains.n; i++)
		n += ((const struct domain_section *)c->domains.v[i])->accounts.n;
	c->rights = ARENA_ARRAY(a, struct account_rights, n + 1);
	if (c->rights == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		for (size_t k = 0; k < d->accounts.n; k++) {
			const struct account_section *s = d->accounts.v[k];

			c->rights[c->nrights++] = (struct account_rights){ s->address, &s->send_as, &s->allowance, &s->grace };
		}
	}
	return OK;
}

static void finish_domain(struct config *c, struct domain_section *d, struct arena *a, struct conf_faults *faults)
{
	if (!domain_to_ascii(a, d->head.title, &d->name)) {
		conf_fault_add(faults, a, &d->head, NULL, "section `domain`: \"%.*s\" must be a domain name, such as \"example.org\"",
		               STR_ARG(d->head.title));
		return;
	}
	make_place(c, &d->deliver, NULL, &d->place, a, faults);
	for (size_t i = 0; i < d->accounts.n; i++)
		finish_account(c, d, d->accounts.v[i], a, faults);
	for (size_t i = 0; i < d->dkim.n; i++) {
		struct dkim_section *k = d->dkim.v[i];

		if (!domain_valid(k->head.title))
			conf_fault_add(faults, a, &k->head, NULL, "\"%.*s\" is not a selector: letters, digits, - and dots",
			               STR_ARG(k->head.title));
		if (k->key.n == 0)
			k->key = arena_printf(a, "%.*s/keys/%.*s/%.*s.pem", STR_ARG(c->state), STR_ARG(d->name),
			                      STR_ARG(k->head.title));
	}
}

/* Without a certificate the server makes one of its own: STARTTLS between
 * servers takes any, mail programs warn once. */
static enum err give_certificate(struct config *c, struct arena *a)
{
	str *v = ARENA_ARRAY(a, str, 2);

	if (c->tls.certificate.n > 0 || c->tls.key.n > 0)
		return OK;
	if (v == NULL)
		return ERR_MEMORY;
	v[0] = arena_printf(a, "%.*s/self-signed.pem", STR_ARG(c->state));
	v[1] = arena_printf(a, "%.*s/self-signed.key", STR_ARG(c->state));
	c->tls.certificate = (struct strs){ &v[0], 1 };
	c->tls.key = (struct strs){ &v[1], 1 };
	c->self_signed = true;
	return OK;
}

/* What the domains' accounts need beside their password, for auth. */
static void judge_demand(const struct config *c, const struct domain_section *d, struct arena *a,
                         struct conf_faults *faults)
{
	const struct oauth_conf *tokens = &c->auth.oauth;

	if (d->require == REQUIRE_CERTIFICATE && c->tls.client_ca.n == 0)
		conf_fault_add(faults, a, &d->head, "require", "nobody could send, for no authority's certificates are good: "
		               "set client-ca in tls {}");
	if (d->require == REQUIRE_OAUTH && tokens->keys.n == 0 && tokens->introspection.n == 0)
		conf_fault_add(faults, a, &d->head, "require", "nobody could send, for nobody checks tokens: set keys or "
		               "introspection in auth { oauth {} }");
}

static enum err give_demands(struct config *c, struct arena *a, struct conf_faults *faults)
{
	struct auth_demand *v = ARENA_ARRAY(a, struct auth_demand, c->domains.n + 1);

	if (v == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		judge_demand(c, d, a, faults);
		if (d->require != REQUIRE_PASSWORD)
			v[c->auth.ndemands++] = (struct auth_demand){ d->name, (enum auth_require)d->require };
	}
	c->auth.demands = v;
	return OK;
}

static void find_user(struct config *c, struct arena *a, struct conf_faults *faults)
{
	char *name = str_cstr(a, c->user);
	struct passwd *pw;

	c->uid = geteuid();
	c->gid = getegid();
	if (c->uid != 0)
		return;         /* not root: there is nobody to become */
	pw = name ? getpwnam(name) : NULL;
	if (pw != NULL) {
		c->uid = pw->pw_uid;
		c->gid = pw->pw_gid;
	} else if (conf_given(&c->head, "user")) {
		conf_fault_add(faults, a, &c->head, "user",
		               "there is no user \"%.*s\": create it with `useradd --system %.*s`, or name another",
		               STR_ARG(c->user), STR_ARG(c->user));
	}
}

/* Who asks for certificates has to know whose are good. */
static void judge_certificates(const struct config *c, struct arena *a, struct conf_faults *faults)
{
	for (size_t i = 0; i < c->listeners.n; i++) {
		const struct listener_conf *l = c->listeners.v[i];

		if (l->client_certificate >= CERTIFICATE_REQUEST && c->tls.client_ca.n == 0)
			conf_fault_add(faults, a, &l->head, "client-certificate",
			               "no authority is named whose certificates are good: set client-ca in tls {}");
	}
}

static void list_file(struct config *c, str file, size_t *room, struct arena *a)
{
	if (file.n == 0)
		return;
	if (c->secret_files.n == *room) {
		size_t more = *room ? 2 * *room : 16;
		str *v = ARENA_ARRAY(a, str, more);

		if (v == NULL)
			return;
		if (c->secret_files.n > 0)
			memcpy(v, c->secret_files.v, c->secret_files.n * sizeof(str));
		c->secret_files.v = v;
		*room = more;
	}
	c->secret_files.v[c->secret_files.n++] = file;
}

/* Everything the server opens at start or reload: what a keeper may hand out. */
static void list_files(struct config *c, struct arena *a)
{
	const struct arc_conf *arc = config_module(c, &arc_module);
	size_t room = 0;

	list_file(c, str_of(c->file), &room, a);
	for (size_t i = 0; i < c->tls.certificate.n; i++)
		list_file(c, c->tls.certificate.v[i], &room, a);
	for (size_t i = 0; i < c->tls.key.n; i++)
		list_file(c, c->tls.key.v[i], &room, a);
	list_file(c, c->tls.client_ca, &room, a);
	list_file(c, c->auth.accounts, &room, a);
	list_file(c, c->auth.devices, &room, a);
	list_file(c, c->auth.codes, &room, a);
	list_file(c, c->auth.oauth.client_secret_file, &room, a);
	if (str_starts(c->auth.oauth.keys, "/"))
		list_file(c, c->auth.oauth.keys, &room, a);
	list_file(c, c->resolver.records, &room, a);
	list_file(c, c->relay.smarthost.password_file, &room, a);
	for (size_t i = 0; i < c->relay.routes.n; i++)
		list_file(c, ((const struct hop_route *)c->relay.routes.v[i])->hop.password_file, &room, a);
	if (arc->seal)
		list_file(c, arc->key, &room, a);
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		list_file(c, d->aliases, &room, a);
		for (size_t k = 0; k < d->dkim.n; k++)
			list_file(c, ((const struct dkim_section *)d->dkim.v[k])->key, &room, a);
	}
}

/* `skip` names checks as verify {} has them. */
static void judge_trust(const struct trust_section *t, struct arena *a, struct conf_faults *faults)
{
	const char *names[MAX_MODULES];
	size_t n = 0;

	while (builtin_modules[n] != NULL) {
		names[n] = builtin_modules[n]->name;
		n++;
	}
	for (size_t i = 0; i < t->skip.n; i++) {
		const char *near = conf_nearest(t->skip.v[i], names, n);
		bool known = near != NULL && str_is_nocase(t->skip.v[i], near);

		if (!known)
			conf_fault_add(faults, a, &t->head, "skip", "there is no check \"%.*s\": %s%s", STR_ARG(t->skip.v[i]),
			               near != NULL ? "did you mean " : "name one of verify {}, such as spf, dmarc or dnsbl",
			               near != NULL ? near : "");
	}
}

/* Bounces come back to that domain. */
static void judge_forward(struct config *c, struct arena *a, struct conf_faults *faults)
{
	struct forward_conf *f = &c->forward;
	str ascii;

	if (f->srs_domain.n == 0)
		return;
	if (domain_to_ascii(a, f->srs_domain, &ascii) && config_domain_is_local(c, ascii))
		f->srs_domain = ascii;
	else
		conf_fault_add(faults, a, &f->head, "srs-domain", "\"%.*s\" is no domain of this server, so bounces would not come "
		               "back: add a domain section for it, or take the option out", STR_ARG(f->srs_domain));
}

/* One socket cannot be both; the default listeners are known only now. */
static void judge_web(const struct config *c, struct arena *a, struct conf_faults *faults)
{
	for (size_t w = 0; w < c->web.address.n; w++)
		for (size_t i = 0; i < c->listeners.n; i++) {
			const struct listener_conf *l = c->listeners.v[i];

			for (size_t k = 0; k < l->address.n; k++)
				if (str_eq(l->address.v[k], c->web.address.v[w]))
					conf_fault_add(faults, a, &c->web.head, "address", "listener \"%.*s\" has %.*s already: "
					               "take another port, 443 is where others ask", STR_ARG(l->head.title),
					               STR_ARG(l->address.v[k]));
		}
}

static enum err give_reflectors(struct config *c, struct arena *a)
{
	c->reflectors.v = ARENA_ARRAY(a, str, c->domains.n);
	for (size_t i = 0; c->reflectors.v != NULL && i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];
		struct path p;

		if (d->reflector.n > 0 && path_build(a, d->reflector, d->name, &p))
			c->reflectors.v[c->reflectors.n++] = p.text;
	}
	return c->reflectors.v != NULL || c->domains.n == 0 ? OK : ERR_MEMORY;
}

enum err config_finish(struct config *c, struct arena *a, struct conf_faults *faults)
{
	if (c->hostname.n == 0 && !conf_given(&c->head, "hostname"))
		conf_fault_add(faults, a, &c->head, NULL,
		               "hostname is missing: add hostname = \"mail.example.org\", the name in this server's PTR record");
	else if (c->hostname.n > 0)
		domain_to_ascii(a, c->hostname, &c->hostname);
	if (c->verify->authserv_id.n == 0)
		c->verify->authserv_id = c->hostname;
	if (c->auth.accounts.n == 0)
		c->auth.accounts = arena_printf(a, "%.*s/accounts", STR_ARG(c->state));
	if (c->auth.devices.n == 0)
		c->auth.devices = arena_printf(a, "%.*s/app-passwords", STR_ARG(c->state));
	c->auth.secret = arena_printf(a, "%.*s/accounts.secret", STR_ARG(c->state));
	c->auth.codes = arena_printf(a, "%.*s/totp", STR_ARG(c->state));
	c->auth.seen = arena_printf(a, "%.*s/auth-seen", STR_ARG(c->state));
	c->auth.logins = arena_printf(a, "%.*s/auth-logins", STR_ARG(c->state));
	if (c->domains.n == 0)
		conf_fault_add(faults, a, &c->head, NULL, "no domain receives here: add domain \"example.org\" {}");
	find_user(c, a, faults);
	for (size_t i = 0; i < c->domains.n; i++)
		finish_domain(c, c->domains.v[i], a, faults);
	judge_forward(c, a, faults);
	for (size_t i = 0; i < c->trusts.n; i++)
		judge_trust(c->trusts.v[i], a, faults);
	judge_certificates(c, a, faults);
	judge_devices(c, a, faults);
	finish_sendmail(c, a, faults);
	if (give_rights(c, a) != OK || give_demands(c, a, faults) != OK || give_certificate(c, a) != OK || give_listeners(c, a) != OK ||
	    give_reflectors(c, a) != OK)
		return ERR_MEMORY;
	judge_web(c, a, faults);
	list_files(c, a);
	return OK;
}

str config_trust_anchor(const struct config *c)
{
	char path[4096];
	str file = c->resolver.trust_anchor;

	if (file.n == 0 || file.n >= sizeof(path))
		return STR_NONE;
	memcpy(path, file.p, file.n);
	path[file.n] = '\0';
	return access(path, R_OK) == 0 ? file : STR_NONE;
}
