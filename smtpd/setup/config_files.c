/* SPDX-License-Identifier: ISC */
/*
 * What the configuration names, looked at before anything is started: files
 * that are missing, unreadable or not what they should be, folders of somebody
 * else.  Every fault at once, at the line of the option that names the file, or
 * at the file's own line.  Main thread, before there are others.
 */
#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/arc/arc.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/tls.h"
#include "smtpd/setup/aliases.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/signing.h"

struct look { const struct config *c; conf_open *open_file; struct arena *a; struct conf_faults *faults; };

static bool look_at(const struct look *l, str file, const struct conf_head *head, const char *option, const char *mend)
{
	int fd = l->open_file(file);

	if (fd >= 0)
		close(fd);
	else
		conf_fault_add(l->faults, l->a, head, option, "%.*s: %s: %s", STR_ARG(file), strerror(errno), mend);
	return fd >= 0;
}

/* ---- certificates ------------------------------------------------------------- */

static const char readable[] = "make it, or make it readable for the server's user";

/* A pair alone, so that each has its own fault. */
static void look_at_pair(const struct look *l, const struct tls_pair *pair, str client_ca, const char *option)
{
	const struct tls_conf conf = { .pairs = pair, .npairs = 1, .client_ca = client_ca };
	str why = STR_NONE;
	struct tls_server *made = tls_server_new(&conf, l->open_file, l->a, &why);

	if (made != NULL)
		tls_server_free(made);
	else
		conf_fault_add(l->faults, l->a, &l->c->tls.head, option, "%.*s", STR_ARG(why));
}

static void look_at_certificates(const struct look *l)
{
	const struct tls_section *t = &l->c->tls;
	bool there = true;

	if (l->c->self_signed)
		return;
	for (size_t i = 0; i < t->certificate.n && i < t->key.n; i++) {
		const struct tls_pair pair = { t->certificate.v[i], t->key.v[i] };
		bool certificate = look_at(l, pair.certificate, &t->head, "certificate", readable);
		bool key = look_at(l, pair.key, &t->head, "key", readable);
		size_t before = l->faults->n;

		if (certificate && key)
			look_at_pair(l, &pair, STR_NONE, "certificate");
		there = there && certificate && key && l->faults->n == before;
	}
	if (t->client_ca.n > 0 && look_at(l, t->client_ca, &t->head, "client-ca", readable) && there && t->key.n > 0)
		look_at_pair(l, &(struct tls_pair){ t->certificate.v[0], t->key.v[0] }, t->client_ca, "client-ca");
}

/* ---- keys ------------------------------------------------------------------------- */

static void look_at_key(const struct look *l, str file, const struct conf_head *head, int algorithm, const char *mend)
{
	const char *option = conf_given(head, "key") ? "key" : NULL;
	struct arena secret;
	struct key *key = NULL;
	str pem, why = STR_NONE;
	enum err e;

	if (!look_at(l, file, head, option, mend))
		return;
	arena_init(&secret, 256 << 10);
	e = signing_key_text(l->open_file, file, &secret, &pem, &why);
	if (e == OK)
		key = key_private_pem(pem, &why);
	if (e != OK)
		conf_fault_add(l->faults, l->a, head, option, "%.*s", STR_ARG(why));
	else if (key == NULL)
		conf_fault_add(l->faults, l->a, head, option, "%.*s: %.*s: %s", STR_ARG(file), STR_ARG(why), mend);
	else if ((algorithm == 1 && key_kind(key) != KEY_RSA) || (algorithm == 2 && key_kind(key) != KEY_ED25519))
		conf_fault_add(l->faults, l->a, head, "algorithm", "the key in %.*s is not made for that algorithm: "
		               "take the option algorithm out", STR_ARG(file));
	key_free(key);
	arena_wipe(&secret);
}

/* ---- aliases, records ---------------------------------------------------------------- */

/* A directory of the domains alone: what an alias leads to is asked of it. */
static struct directory *domains_only(const struct look *l)
{
	struct directory *d = directory_new(l->a, '\0');

	for (size_t i = 0; d != NULL && i < l->c->domains.n; i++) {
		const struct domain_section *s = l->c->domains.v[i];
		const struct directory_domain entry = { .name = s->name, .place = s->place };

		directory_add_domain(d, &entry);
	}
	return d;
}

static void look_at_aliases(const struct look *l, const struct domain_section *s, struct directory *d)
{
	str text, why = STR_NONE;

	if (s->aliases.n == 0 || !look_at(l, s->aliases, &s->head, "aliases", readable))
		return;
	if (file_read(l->open_file, s->aliases, ALIASES_MOST, l->a, &text, &why) != OK)
		conf_fault_add(l->faults, l->a, &s->head, "aliases", "%.*s", STR_ARG(why));
	else if (d != NULL)
		aliases_read(d, l->a, text, s->aliases, s->name, l->faults, &why);
}

/* `why` is "FILE:LINE: text": a fault there, not where the file is named. */
static void add_at_line(const struct look *l, str file, str why)
{
	struct conf_head at = { .file = str_cstr(l->a, file) };
	str rest = str_skip(why, file.n + 1), number;
	uint32_t line = 0;

	str_cut(&rest, ':', &number);
	str_to_u32(number, &line);
	at.line = (int)line;
	conf_fault_add(l->faults, l->a, &at, NULL, "%.*s", STR_ARG(str_trim(rest)));
}

/* A file may not be there yet: without accounts nobody can log in, which the log says. */
static void look_at_accounts(const struct look *l)
{
	const struct auth_conf *auth = &l->c->auth;
	const char *option = conf_given(&auth->head, "accounts") ? "accounts" : NULL;
	str file, why;
	enum err e = accounts_check(auth, l->open_file, l->a, &file, &why);

	if (e == ERR_BAD && file.n > 0)
		add_at_line(l, file, why);
	else if (e != OK)
		conf_fault_add(l->faults, l->a, &auth->head, option, "%.*s",
		               STR_ARG(why.n > 0 ? why : str_of(err_text(e))));
}

/* `hop` is a copy: what check reads, it forgets. */
static void look_at_password(const struct look *l, struct hop hop, const struct conf_head *head, const char *option)
{
	str why = STR_NONE;

	if (hop_read_password(&hop, l->open_file, l->a, &why) != OK)
		conf_fault_add(l->faults, l->a, head, option, "%.*s", STR_ARG(why));
	hop_wipe(&hop);
}

static void look_at_passwords(const struct look *l)
{
	const struct relay_conf *relay = &l->c->relay;

	look_at_password(l, relay->smarthost, &relay->head, "smarthost-password-file");
	for (size_t i = 0; i < relay->routes.n; i++) {
		const struct hop_route *route = relay->routes.v[i];

		look_at_password(l, route->hop, &route->head, "password-file");
	}
}

static void look_at_oauth(const struct look *l)
{
	const struct oauth_conf *o = &l->c->auth.oauth;

	if (o->client_secret_file.n > 0)
		look_at(l, o->client_secret_file, &o->head, "client-secret-file", readable);
	if (str_starts(o->keys, "/"))
		look_at(l, o->keys, &o->head, "keys", readable);
}

static void look_at_records(const struct look *l)
{
	const struct resolver_section *r = &l->c->resolver;
	struct strs lines = { 0 };
	str text, line, why = STR_NONE;

	if (r->records.n == 0 || !look_at(l, r->records, &r->head, "records", readable))
		return;
	if (file_read(l->open_file, r->records, 1 << 20, l->a, &text, &why) == OK &&
	    (lines.v = ARENA_ARRAY(l->a, str, text.n + 1)) != NULL) {
		while (str_cut(&text, '\n', &line))
			lines.v[lines.n++] = line;
		if (dns_local_check(lines, l->a, &why))
			return;
	}
	conf_fault_add(l->faults, l->a, &r->head, "records", "%.*s: %.*s", STR_ARG(r->records), STR_ARG(why));
}

/* ---- folders ---------------------------------------------------------------------------- */

static bool holds_something(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *d;
	bool found = false;

	while (dir != NULL && !found && (d = readdir(dir)) != NULL)
		found = strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
	if (dir != NULL)
		closedir(dir);
	return found;
}

static void look_at_state(const struct look *l)
{
	const struct config *c = l->c;
	char *path = str_cstr(l->a, c->state), *name = str_cstr(l->a, c->user);
	const struct passwd *named = name != NULL ? getpwnam(name) : NULL, *owner;
	struct stat st;

	if (path == NULL || stat(path, &st) != 0)
		return;                 /* it is made at the start, which says why not if it cannot be */
	if (!S_ISDIR(st.st_mode)) {
		conf_fault_add(l->faults, l->a, &c->head, "state", "%s is no directory: move it away, or name another one", path);
		return;
	}
	if (st.st_uid == c->uid || (named != NULL && st.st_uid == named->pw_uid) ||
	    (geteuid() == 0 && st.st_uid == 0 && !holds_something(path)))
		return;
	owner = getpwuid(st.st_uid);
	conf_fault_add(l->faults, l->a, &c->head, "state",
	               "the state directory %s belongs to %s (user id %u): give it to the server's user with "
	               "`chown -R %.*s %s`, or name another one", path, owner ? owner->pw_name : "nobody known",
	               (unsigned)st.st_uid, STR_ARG(c->user), path);
}

/* Only what cannot work in any case: groups and lists of access are not followed. */
static void look_at_log(const struct look *l)
{
	const struct config *c = l->c;
	str folder = str_head(c->log.file, str_rfind(c->log.file, '/'));
	char *path = str_cstr(l->a, c->log.file);
	bool there;
	struct stat st;

	if (c->log.to != 2 || path == NULL || c->uid == 0)
		return;
	there = stat(path, &st) == 0;
	if (!there && (errno != ENOENT || stat(str_cstr(l->a, folder.n > 0 ? folder : STR("/")), &st) != 0)) {
		conf_fault_add(l->faults, l->a, &c->log.head, "file", "%s: %s: name a file in a folder that exists", path,
		               strerror(errno));
		return;
	}
	if ((st.st_uid == c->uid && (st.st_mode & 0200) != 0) || (st.st_mode & 022) != 0)
		return;
	conf_fault_add(l->faults, l->a, &c->log.head, "file",
	               "%s cannot be written by the server's user: %s it with `install -o %.*s -m 640 /dev/null %s`", path,
	               there ? "replace" : "make", STR_ARG(c->user), path);
}

/* ---- all of it ---------------------------------------------------------------------------- */

void config_check_files(const struct config *c, conf_open *open_file, struct arena *a, struct conf_faults *faults)
{
	const struct look l = { c, open_file, a, faults };
	const struct arc_conf *arc = config_module(c, &arc_module);
	struct directory *directory = domains_only(&l);

	look_at_state(&l);
	look_at_log(&l);
	look_at_certificates(&l);
	look_at_accounts(&l);
	look_at_oauth(&l);
	look_at_records(&l);
	look_at_passwords(&l);
	if (arc->seal && arc->key.n > 0)
		look_at_key(&l, arc->key, &arc->head, 0, "make the key with `postern key generate`, or take seal = yes out");
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		look_at_aliases(&l, d, directory);
		if (d->keys.update.key_file.n > 0)
			look_at(&l, d->keys.update.key_file, &d->keys.update.head, "key-file", readable);
		for (size_t k = 0; k < d->dkim.n; k++) {
			const struct dkim_section *key = d->dkim.v[k];

			look_at_key(&l, key->key, &key->head, key->algorithm,
			            "make the key with `postern key generate`, or take the dkim section out");
		}
	}
}
