/* SPDX-License-Identifier: ISC */
/*
 * Builds a generation: directory, keys, chain, certificates, in that order.
 * Main thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modules/arc/arc.h"
#include "modules/dkim/dkim.h"
#include "modules/dnsbl/dnsbl.h"
#include "smtpd/setup/aliases.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/signing.h"
#include "smtpd/setup/verbs.h"

/* ---- directory ---------------------------------------------------------------- */

static enum err add_domains(struct generation *g)
{
	for (size_t i = 0; i < g->config->domains.n; i++) {
		const struct domain_section *d = g->config->domains.v[i];
		struct directory_domain entry = {
			.name = d->name, .place = d->place, .route = d->route,
			.catch_all = d->catch_all, .copy = d->copy,
		};

		if (directory_add_domain(g->directory, &entry) != OK)
			return ERR_MEMORY;
	}
	return OK;
}

/* Who has a section and no account yet gets his place with the account. */
static enum err add_places(struct generation *g)
{
	for (size_t i = 0; i < g->config->domains.n; i++) {
		const struct domain_section *d = g->config->domains.v[i];

		for (size_t k = 0; k < d->accounts.n; k++) {
			const struct account_section *s = d->accounts.v[k];
			enum err e = directory_set_place(g->directory, s->address, &s->place);

			if (e == ERR_ABSENT)
				log_event(NULL, LOG_WARN, "account.absent", KV("account", s->address),
				          KV_C("why", "the configuration has a section for it: make it with `postern account add`"));
			else if (e != OK)
				return e;
		}
	}
	return OK;
}

static enum err add_aliases(struct generation *g, conf_open *open_file, str *why)
{
	for (size_t i = 0; i < g->config->domains.n; i++) {
		const struct domain_section *d = g->config->domains.v[i];
		str text;
		enum err e;

		if (d->aliases.n == 0)
			continue;
		aliases_changed(&g->aliases[i], open_file, d->aliases);
		e = file_read(open_file, d->aliases, ALIASES_MOST, &g->arena, &text, why);
		if (e == OK)
			e = aliases_read(g->directory, &g->arena, text, d->aliases, d->name, NULL, why);
		if (e != OK)
			return e;
	}
	return OK;
}

enum err generation_directory(struct generation *g, conf_open *open_file, const struct strs *accounts, str *why)
{
	g->directory = directory_new(&g->arena, g->config->plus.n > 0 ? g->config->plus.p[0] : '\0');
	if (g->directory == NULL || add_domains(g) != OK)
		return ERR_MEMORY;
	for (size_t i = 0; i < accounts->n; i++)
		if (directory_add_account(g->directory, accounts->v[i]) == ERR_MEMORY)
			return ERR_MEMORY;
	if (accounts->n > 0)
		directory_set_postmaster(g->directory, accounts->v[0]);
	g->aliases = ARENA_ARRAY(&g->arena, struct alias_seen, g->config->domains.n);
	if (g->aliases == NULL || add_places(g) != OK)
		return ERR_MEMORY;
	return add_aliases(g, open_file, why);
}

/* ---- the relay rule, tried -------------------------------------------------------- */

size_t generation_relay_test(const struct generation *g, relay_seen *seen, void *arg)
{
	struct strs domains = { calloc(g->config->domains.n + 1, sizeof(str)), g->config->domains.n };
	size_t through;

	must(domains.v != NULL);
	for (size_t i = 0; i < domains.n; i++)
		domains.v[i] = ((const struct domain_section *)g->config->domains.v[i])->name;
	through = relay_test(g->directory, g->config->hostname, &domains, seen, arg);
	for (size_t i = 0; i < g->config->devices.n; i++)
		through += relay_test_device(g->directory, g->config->hostname, &domains, g->config->devices.v[i], seen, arg);
	free(domains.v);
	return through;
}

struct first_through { struct generation *g; str said; };

static void trick_seen(void *arg, const struct relay_trick *t)
{
	struct first_through *f = arg;

	if (t->let_through && f->said.n == 0)
		f->said = arena_printf(&f->g->arena, "a stranger could relay by %s (RCPT TO:%.*s leads to %.*s): no alias, catch-all or "
		                       "postmaster may lead there; `postern relay-test` shows all", t->name, STR_ARG(t->rcpt),
		                       STR_ARG(t->leads_to));
}

static enum err build_directory(struct generation *g, const struct generation_needs *needs, str *why)
{
	struct first_through first = { .g = g };
	struct strs accounts = { 0 };
	enum err e = auth_accounts(needs->auth, &g->arena, &accounts);

	if (e == OK)
		e = generation_directory(g, needs->open_file, &accounts, why);
	if (e != OK || generation_relay_test(g, trick_seen, &first) == 0)
		return e;
	*why = first.said;
	return ERR_BAD;
}

/* ---- keys ------------------------------------------------------------------------ */

/* Freed with the generation. */
static void keep_key(void *arg, struct key *key)
{
	struct generation *g = arg;

	if (g->nkeys % 16 == 0) {
		struct key **v = realloc(g->keys, (g->nkeys + 16) * sizeof(*v));

		must(v != NULL);
		g->keys = v;
	}
	g->keys[g->nkeys++] = key;
}

/* The key in a PEM file, the generation's from then on; NULL, *e and *why. */
static struct key *read_key(struct generation *g, conf_open *open_file, str file, enum err *error, str *why)
{
	struct arena secret;
	struct key *key = NULL;
	str pem, said = STR_NONE;
	enum err e;

	arena_init(&secret, 256 << 10);
	e = signing_key_text(open_file, file, &secret, &pem, &said);
	if (e == OK)
		key = key_private_pem(pem, &said);
	if (key == NULL)
		*why = e == OK ? arena_printf(&g->arena, "%.*s: %.*s: make a new one with `postern key generate`",
		                              STR_ARG(file), STR_ARG(said))
		               : str_keep(&g->arena, said);
	arena_wipe(&secret);
	*error = e == OK && key == NULL ? ERR_BAD : e;
	if (key != NULL)
		keep_key(g, key);
	return key;
}

static enum err load_key(struct generation *g, conf_open *open_file, const struct domain_section *d,
                         const struct dkim_section *s, struct dkim_keyring *ring, str *why)
{
	struct dkim_signer signer = {
		.domain = d->name, .selector = s->head.title,
		.header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED,
		.headers = s->headers.n > 0 ? &s->headers : NULL,
		.expire_s = signing_expire_s(g->config, s->expire), .gate = key_gate_by_hand(g->config, d, s),
	};
	enum err e;
	struct key *key = read_key(g, open_file, s->key, &e, why);

	if (key == NULL)
		return e;
	if ((s->algorithm == 1 && key_kind(key) != KEY_RSA) || (s->algorithm == 2 && key_kind(key) != KEY_ED25519)) {
		*why = arena_printf(&g->arena, "%s:%d: the key in %.*s is not made for that algorithm: take the option "
		                    "algorithm out", s->head.file ? s->head.file : "?", s->head.line, STR_ARG(s->key));
		return ERR_BAD;
	}
	signer.key = key;
	return dkim_keyring_add(ring, &signer);
}

static enum err load_keys(struct generation *g, conf_open *open_file, struct dkim_keyring *ring, str *why)
{
	for (size_t i = 0; i < g->config->domains.n; i++) {
		const struct domain_section *d = g->config->domains.v[i];
		enum err e = key_ring_add(ring, g->config, d, &g->arena, keep_key, g, why);

		for (size_t k = 0; e == OK && k < d->dkim.n; k++)
			e = load_key(g, open_file, d, d->dkim.v[k], ring, why);
		if (e != OK)
			return e;
		if (signing_add(ring, g->config, d, &g->arena) != OK)
			return ERR_MEMORY;
	}
	return OK;
}

/* Who seals what is forwarded: verify { arc { seal = yes } }. */
static enum err load_sealer(struct generation *g, conf_open *open_file, str *why)
{
	struct arc_conf *conf = (struct arc_conf *)(uintptr_t)config_module(g->config, &arc_module);
	struct dkim_signer *s = ARENA_NEW(&g->arena, struct dkim_signer);
	struct key *key;
	enum err e = OK;

	if (s == NULL)
		return ERR_MEMORY;
	if (!conf->seal)
		return OK;
	key = read_key(g, open_file, conf->key, &e, why);
	if (key == NULL)
		return e;
	if (key_kind(key) == KEY_OTHER || (key_kind(key) == KEY_RSA && key_bits(key) < 1024)) {
		*why = arena_printf(&g->arena, "%.*s: no verifier takes this key: make an RSA key of 2048 bits with "
		                    "`postern key generate`", STR_ARG(conf->key));
		return ERR_BAD;
	}
	*s = (struct dkim_signer){ .key = key, .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED };
	if (!dkim_name_read(&g->arena, conf->domain, false, &s->domain) ||
	    !dkim_name_read(&g->arena, conf->selector, true, &s->selector))
		return ERR_MEMORY;        /* both were checked as they were read */
	conf->signer = s;
	return OK;
}

/* The keyring is handed to whichever module has a place for it. */
static void give_keyring(struct generation *g, struct dkim_keyring *ring)
{
	for (size_t i = 0; builtin_modules[i] != NULL; i++)
		if (builtin_modules[i] == &dkim_module)
			((struct dkim_conf *)(uintptr_t)g->config->module_confs[i])->keyring = ring;
}

/* ---- certificates ----------------------------------------------------------------- */

/* Made once, in the state directory; one of the two alone (the power went just
 * then) is of no use. */
static enum err make_self_signed(struct generation *g, str *why)
{
	const struct config *c = g->config;
	const char *names[] = { str_cstr(&g->arena, c->hostname) };
	char *cert = NULL, *key = NULL;
	enum err e;

	if (access(str_cstr(&g->arena, c->tls.certificate.v[0]), F_OK) == 0 &&
	    access(str_cstr(&g->arena, c->tls.key.v[0]), F_OK) == 0)
		return OK;
	e = tls_self_signed(names, COUNT(names), 3650, &cert, &key);
	if (e == OK) {
		unlink(str_cstr(&g->arena, c->tls.certificate.v[0]));
		unlink(str_cstr(&g->arena, c->tls.key.v[0]));
		e = file_create(c->tls.key.v[0], 0600, str_of(key), &g->arena, why);
		crypt_wipe(key, strlen(key));
	}
	if (e == OK)
		e = file_create(c->tls.certificate.v[0], 0644, str_of(cert), &g->arena, why);
	free(cert);
	free(key);
	return e;
}

static enum err build_tls(struct generation *g, conf_open *open_file, str *why)
{
	const struct tls_section *s = &g->config->tls;
	struct tls_pair *pairs = ARENA_ARRAY(&g->arena, struct tls_pair, s->certificate.n);
	struct tls_conf conf = { .pairs = pairs, .npairs = s->certificate.n, .minimum_13 = s->minimum == 1,
		                 .client_ca = s->client_ca };

	if (pairs == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < s->certificate.n; i++)
		pairs[i] = (struct tls_pair){ s->certificate.v[i], s->key.v[i] };
	if (g->config->self_signed) {
		enum err e = make_self_signed(g, why);

		if (e != OK)
			return e;
		log_event(NULL, LOG_WARN, "certificate.self-signed", KV("file", s->certificate.v[0]),
		          KV_C("why", "tls {} names no certificate, so mail programs will warn: add certificate and key"));
	}
	g->tls = tls_server_new(&conf, open_file, &g->arena, why);
	return g->tls ? OK : ERR_BAD;
}

/* What a listener says it offers, Cyrus has to have. */
static enum err check_mechanisms(struct generation *g, struct auth *auth, str *why)
{
	enum err e = OK;

	for (size_t i = 0; i < g->config->listeners.n && e == OK; i++) {
		const struct listener_conf *l = g->config->listeners.v[i];

		e = auth_can_offer(auth, &l->mechanisms, &g->arena, why);
		if (e != OK)
			*why = arena_printf(&g->arena, "listener \"%.*s\": %.*s",
			                    STR_ARG(l->head.title), STR_ARG(*why));
	}
	return e;
}

enum err generation_build(struct generation *g, const struct generation_needs *needs, str *why)
{
	struct dkim_keyring *ring = dkim_keyring_new(&g->arena);
	struct config *c = g->config;
	enum err e;

	*why = STR("out of memory");
	if (ring == NULL)
		return ERR_MEMORY;
	e = build_directory(g, needs, why);
	if (e == OK)
		e = load_keys(g, needs->open_file, ring, why);
	if (e == OK)
		e = load_sealer(g, needs->open_file, why);
	if (e == OK)
		e = relay_read_passwords(&c->relay, needs->open_file, &g->arena, why);
	if (e == OK)
		e = build_tls(g, needs->open_file, why);
	if (e == OK)
		e = check_mechanisms(g, needs->auth, why);
	if (e == OK)
		e = knowledge_make(&g->knowledge, c, needs->denied, &g->arena, why);
	if (e != OK)
		return e;
	give_keyring(g, ring);
	g->chain = chain_new(builtin_modules, c->module_confs, &g->arena, why);
	if (g->chain == NULL)
		return ERR_BAD;
	chain_trust(g->chain, g->knowledge.trust);
	chain_trial(g->chain, c->verify->trial);
	g->session = (struct session_setup){
		.hostname = c->hostname, .authserv_id = c->verify->authserv_id, .limits = &c->limits,
		.directory = g->directory, .chain = g->chain, .tls = g->tls, .auth = needs->auth,
		.queue = needs->queue, .forward = &c->forward, .submission = &c->submission, .secret = needs->secret,
		.allowance = &c->allowance, .rights = c->rights, .nrights = c->nrights,
		.devices = &c->devices, .sendmail = &c->sendmail,
	};
	g->deliver = (struct deliver_setup){
		.relay = &c->relay, .directory = g->directory, .hostname = c->hostname,
		.bounced = server_bounced, .bounced_arg = &g->session,
		.sign_late = signing_late, .sign_late_arg = ring,
		.srs_secret = c->forward.srs ? needs->secret : NULL, .srs_domain = c->forward.srs_domain,
	};
	return OK;
}

const struct conf_list *generation_zones(const struct generation *g)
{
	static const struct conf_list none;

	for (size_t i = 0; builtin_modules[i] != NULL; i++)
		if (builtin_modules[i] == &dnsbl_module)
			return g->config->module_confs[i];
	return &none;
}

bool generation_is_behind(struct generation *g, conf_open *open_file)
{
	bool behind = false;

	for (size_t i = 0; i < g->config->domains.n; i++) {
		const struct domain_section *d = g->config->domains.v[i];

		if (d->aliases.n > 0 && aliases_changed(&g->aliases[i], open_file, d->aliases))
			behind = true;
	}
	return behind;
}

void generation_free(struct generation *g)
{
	if (g == NULL)
		return;
	if (g->tls != NULL)
		tls_server_free(g->tls);
	for (size_t i = 0; i < g->nkeys; i++)
		key_free(g->keys[i]);
	free(g->keys);
	knowledge_free(&g->knowledge);
	if (g->config != NULL)
		relay_wipe(&g->config->relay);
	arena_fini(&g->arena);
	free(g);
}
