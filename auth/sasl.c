/* SPDX-License-Identifier: ISC */
/*
 * Cyrus SASL, all of it that postern sees.
 *
 * Cyrus does the mechanisms and nothing else.  Its options come from here, its
 * configuration files are refused, of its plug-ins the mechanisms that we offer
 * are loaded.  Verifiers reach SCRAM through an auxprop plug-in registered in
 * the process; PLAIN and LOGIN ask our checkpass callback.  A checkpass that
 * refuses is not Cyrus' last word: it goes on to `pwcheck_method`, which is
 * therefore set to a method that there is not.
 *
 * No channel binding is set while no -PLUS mechanism is offered, so clients
 * that say "n" or "y" (RFC 5802 6) both get in.  Whoever sets one must leave
 * `critical` 0, or every mechanism but -PLUS fails.
 *
 * Set up by main before other threads; afterwards login desk only, a
 * sasl_conn_t on one thread at a time.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define PLUGIN       "postern"
#define VERIFIER     "*authPassword"   /* the authentication identity's, as SCRAM asks for it */

struct exchange {
	struct auth        *auth;
	struct claim       *claim;
	const struct judge *judge;     /* during a call of ours into Cyrus */
	sasl_conn_t        *conn;
	const char         *refusal;   /* what a callback found */
	sasl_callback_t     callbacks[4];
};

/* sasl.h has every callback as int (*)(void). */
#define CALLBACK(id_, proc_, context_) \
	((sasl_callback_t){ (id_), (sasl_callback_ft)(void (*)(void))(proc_), (context_) })

static bool is_open;

/* ---- what Cyrus asks of the process ------------------------------------------------ */

static void *mutex_new(void)
{
	pthread_mutex_t *m = malloc(sizeof(*m));

	if (m != NULL && pthread_mutex_init(m, NULL) != 0) {
		free(m);
		m = NULL;
	}
	return m;
}

static int mutex_lock(void *m)
{
	return m != NULL && pthread_mutex_lock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static int mutex_unlock(void *m)
{
	return m != NULL && pthread_mutex_unlock(m) == 0 ? SASL_OK : SASL_FAIL;
}

static void mutex_free(void *m)
{
	if (m == NULL)
		return;
	pthread_mutex_destroy(m);
	free(m);
}

static const struct { const char *name, *value; } options[] = {
	{ "auxprop_plugin", PLUGIN },          /* unset, Cyrus asks any sasldb on the machine */
	{ "pwcheck_method", "none" },
	{ "mech_list",      "SCRAM-SHA-256 PLAIN LOGIN" },
	{ "log_level",      "0" },
};

static int option_asked(void *context, const char *plugin, const char *name, const char **value,
                        unsigned *n)
{
	(void)context;
	(void)plugin;
	for (size_t i = 0; i < COUNT(options); i++) {
		if (strcmp(name, options[i].name) != 0)
			continue;
		*value = options[i].value;
		if (n != NULL)
			*n = (unsigned)strlen(*value);
		return SASL_OK;
	}
	return SASL_FAIL;
}

/* Its words name users and come at every failure; ours are in login.refused. */
static int logged(void *context, int level, const char *text)
{
	(void)context;
	if (level == SASL_LOG_ERR && text != NULL)
		log_event(NULL, LOG_DEBUG, "cyrus.said", KV_C("text", text));
	return SASL_OK;
}

static bool is_mechanism_file(const char *file)
{
	static const char *const names[] = { "libscram.", "libplain.", "liblogin." };
	const char *slash = strrchr(file, '/');

	file = slash ? slash + 1 : file;
	for (size_t i = 0; i < COUNT(names); i++)
		if (strncmp(file, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static int file_wanted(void *context, const char *file, sasl_verify_type_t type)
{
	(void)context;
	return type == SASL_VRFY_PLUGIN && is_mechanism_file(file) ? SASL_OK : SASL_CONTINUE;
}

static const sasl_callback_t process_callbacks[] = {
	{ SASL_CB_GETOPT, (sasl_callback_ft)(void (*)(void))option_asked, NULL },
	{ SASL_CB_LOG, (sasl_callback_ft)(void (*)(void))logged, NULL },
	{ SASL_CB_VERIFYFILE, (sasl_callback_ft)(void (*)(void))file_wanted, NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};

/* ---- what Cyrus asks of an exchange -------------------------------------------------- */

static void note_claim(struct exchange *x, str name, str key)
{
	const struct account *account = accounts_find(x->judge->table, key);

	x->claim->n = name.n < sizeof(x->claim->name) ? name.n : sizeof(x->claim->name);
	memcpy(x->claim->name, name.p, x->claim->n);
	x->claim->exists = account != NULL && account->can_log_in;
}

/* A name that is no address becomes one mark of fixed length, which no account
 * has, and is refused like any unknown name. */
static str mark_of(struct arena *a, str name)
{
	unsigned char digest[DIGEST_MAX];

	if (digest_of(DIGEST_SHA256, str_keep_lower(a, name), digest) != 32)
		return STR_NONE;
	name = base64_encode(a, (str){ (const char *)digest, 32 });
	return arena_printf(a, "?%.*s", STR_ARG(name));
}

/* Names are compared as addresses.  None is turned away here: Cyrus' LOGIN
 * forgets the password's memory when this fails. */
static int name_came(sasl_conn_t *conn, void *context, const char *in, unsigned n, unsigned flags,
                     const char *realm, char *out, unsigned room, unsigned *out_n)
{
	struct exchange *x = context;
	str name = { in, n }, key;
	struct arena a;
	int result = SASL_NOMEM;

	(void)conn;
	(void)realm;
	arena_init(&a, 64 << 10);
	if (!accounts_key(&a, name, &key))
		key = mark_of(&a, name);
	if (key.n > 0 && key.n < room) {
		memcpy(out, key.p, key.n);
		out[key.n] = '\0';
		*out_n = (unsigned)key.n;
		result = SASL_OK;
	}
	if (flags & SASL_CU_AUTHID)
		note_claim(x, name, key);
	arena_fini(&a);
	return result;
}

static int password_came(sasl_conn_t *conn, void *context, const char *user, const char *password,
                         unsigned n, struct propctx *properties)
{
	struct exchange *x = context;

	(void)conn;
	(void)properties;
	if (judge_password(x->judge, str_of(user), (str){ password, n }))
		return SASL_OK;
	x->refusal = x->claim->exists ? "wrong password" : "no such account";
	return SASL_BADAUTH;
}

/* Nobody acts for another. */
static int other_wanted(sasl_conn_t *conn, void *context, const char *wanted, unsigned nwanted,
                        const char *own, unsigned nown, const char *realm, unsigned nrealm,
                        struct propctx *properties)
{
	struct exchange *x = context;

	(void)conn;
	(void)realm;
	(void)nrealm;
	(void)properties;
	if (wanted != NULL && own != NULL && str_eq((str){ wanted, nwanted }, (str){ own, nown }))
		return SASL_OK;
	x->refusal = "another's identity";
	return SASL_BADAUTH;
}

/* ---- the auxprop plug-in ---------------------------------------------------------------- */

static struct exchange *exchange_of(const sasl_server_params_t *params)
{
	const sasl_utils_t *utils = params->utils;
	sasl_callback_ft proc;
	void *context = NULL;

	if (utils->getcallback(utils->conn, SASL_CB_CANON_USER, &proc, &context) != SASL_OK)
		return NULL;
	return context;
}

/* As Cyrus' SCRAM reads it: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey. */
static int show_verifier(struct exchange *x, const sasl_server_params_t *params, str key)
{
	struct judged who;
	struct arena a;
	str salt, stored, server, text;
	int result = SASL_NOMEM;

	judge_name(x->judge, key, &who);
	arena_init(&a, 64 << 10);
	salt = base64_encode(&a, who.verifier.salt);
	stored = base64_encode(&a, (str){ (const char *)who.verifier.stored, 32 });
	server = base64_encode(&a, (str){ (const char *)who.verifier.server, 32 });
	text = arena_printf(&a, "SCRAM-SHA-256$%u:%.*s$%.*s:%.*s", who.verifier.iterations,
	                    STR_ARG(salt), STR_ARG(stored), STR_ARG(server));
	if (!a.spent)
		result = params->utils->prop_set(params->propctx, VERIFIER, text.p, (int)text.n);
	memcpy(x->claim->stored, who.verifier.stored, 32);
	x->claim->shown = true;
	arena_wipe(&a);
	return result;
}

/* SASL_OK whoever is asked for: an unknown name has a verifier, too. */
static int looked_up(void *context, sasl_server_params_t *params, unsigned flags, const char *user,
                     unsigned n)
{
	const struct propval *wanted = params->utils->prop_get(params->propctx);
	struct exchange *x = exchange_of(params);

	(void)context;
	if (x == NULL || x->judge == NULL)
		return SASL_FAIL;
	if (flags & SASL_AUXPROP_AUTHZID)
		return SASL_OK;
	for (; wanted != NULL && wanted->name != NULL; wanted++)
		if (strcmp(wanted->name, VERIFIER) == 0 && wanted->values == NULL)
			return show_verifier(x, params, (str){ user, n });
	return SASL_OK;
}

static sasl_auxprop_plug_t auxprop = { .auxprop_lookup = looked_up, .name = (char[]){ PLUGIN } };

static int auxprop_made(const sasl_utils_t *utils, int most, int *version,
                        sasl_auxprop_plug_t **plug, const char *name)
{
	(void)utils;
	(void)name;
	if (most < SASL_AUXPROP_PLUG_VERSION)
		return SASL_BADVERS;
	*version = SASL_AUXPROP_PLUG_VERSION;
	*plug = &auxprop;
	return SASL_OK;
}

/* ---- set-up --------------------------------------------------------------------------------- */

static enum err list_mechanisms(struct auth *auth, struct arena *a)
{
	const char *hostname = str_cstr(a, auth->hostname), *list = NULL;
	sasl_conn_t *conn = NULL;
	unsigned n = 0;

	if (hostname != NULL &&
	    sasl_server_new("smtp", hostname, NULL, NULL, NULL, NULL, 0, &conn) == SASL_OK &&
	    sasl_listmech(conn, NULL, "", " ", "", &list, &n, NULL) == SASL_OK)
		auth->available = str_keep(&auth->arena, (str){ list, n });
	if (conn != NULL)
		sasl_dispose(&conn);
	return hostname != NULL && !auth->arena.spent ? OK : ERR_MEMORY;
}

enum err cyrus_open(struct auth *auth, struct arena *a, str *why)
{
	int result;

	sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
	result = sasl_server_init(process_callbacks, PLUGIN);
	is_open = result == SASL_OK;
	if (result == SASL_OK)
		result = sasl_auxprop_add_plugin(PLUGIN, auxprop_made);
	if (result == SASL_OK)
		return list_mechanisms(auth, a);
	*why = arena_printf(a, "Cyrus SASL does not start: %s: reinstall libsasl2-2 and "
	                    "libsasl2-modules", sasl_errstring(result, NULL, NULL));
	return ERR_ABSENT;
}

void cyrus_close(void)
{
	if (is_open)
		sasl_server_done();
	is_open = false;
}

/* ---- exchanges ----------------------------------------------------------------------------- */

static int make_conn(struct exchange *x)
{
	const sasl_security_properties_t none = { 0 };   /* no security layer: TLS is there */
	char hostname[256];
	int result;

	snprintf(hostname, sizeof(hostname), "%.*s", STR_ARG(x->auth->hostname));
	result = sasl_server_new("smtp", hostname, NULL, NULL, NULL, x->callbacks, 0, &x->conn);
	if (result == SASL_OK)
		result = sasl_setprop(x->conn, SASL_SEC_PROPS, &none);
	return result;
}

struct exchange *exchange_new(struct auth *auth, struct claim *claim)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->auth = auth;
	x->claim = claim;
	x->callbacks[0] = CALLBACK(SASL_CB_CANON_USER, name_came, x);
	x->callbacks[1] = CALLBACK(SASL_CB_SERVER_USERDB_CHECKPASS, password_came, x);
	x->callbacks[2] = CALLBACK(SASL_CB_PROXY_POLICY, other_wanted, x);
	x->callbacks[3] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	if (make_conn(x) == SASL_OK)
		return x;
	exchange_free(x);
	return NULL;
}

void exchange_free(struct exchange *x)
{
	if (x == NULL)
		return;
	if (x->conn != NULL)
		sasl_dispose(&x->conn);
	free(x);
}

/* The mechanism is content.  Is the account still what it was when the exchange
 * began?  A verifier shown a step ago may have been replaced since. */
static const char *passed(const struct exchange *x, struct heard *h)
{
	const struct account *account = NULL;
	const void *name = NULL;

	if (sasl_getprop(x->conn, SASL_USERNAME, &name) == SASL_OK && name != NULL)
		account = accounts_find(x->judge->table, str_of(name));
	if (account == NULL || !account->can_log_in)
		return "no such account";
	if (x->claim->shown && !crypt_equal(x->claim->stored, account->verifier.stored, 32))
		return "the password has just been changed";
	h->says = AUTH_PASSED;
	h->login = account->address;
	return "";
}

static const char *refusal(const struct exchange *x, int result)
{
	if (x->refusal != NULL)
		return x->refusal;
	if (result == SASL_BADAUTH)
		return x->claim->exists ? "wrong password" : "no such account";
	return "malformed response";
}

static void conclude(const struct exchange *x, int result, const char *out, unsigned n,
                     struct heard *h)
{
	*h = (struct heard){ .says = AUTH_REFUSED, .code = result };
	if (result == SASL_CONTINUE) {
		h->says = AUTH_MORE;
		h->challenge = (str){ out, out ? n : 0 };
	} else if (result == SASL_OK) {
		h->reason = passed(x, h);
	} else if (result == SASL_NOMEM) {
		h->says = AUTH_LATER;
		h->reason = "out of memory";
	} else {
		/* Behind our own refusal Cyrus says NOMECH: it found nobody else to ask. */
		h->code = x->refusal != NULL ? SASL_BADAUTH : result;
		h->reason = refusal(x, result);
	}
}

void exchange_begin(struct exchange *x, const struct judge *j, const char *mechanism,
                    const str *initial, struct heard *h)
{
	const char *in = initial == NULL ? NULL : initial->n > 0 ? initial->p : "", *out = NULL;
	unsigned n = 0;
	int result;

	x->judge = j;
	result = sasl_server_start(x->conn, mechanism, in, initial ? (unsigned)initial->n : 0,
	                           &out, &n);
	conclude(x, result, out, n, h);
	x->judge = NULL;
}

void exchange_step(struct exchange *x, const struct judge *j, str response, struct heard *h)
{
	const char *out = NULL;
	unsigned n = 0;
	int result;

	x->judge = j;
	result = sasl_server_step(x->conn, response.n > 0 ? response.p : "", (unsigned)response.n,
	                          &out, &n);
	conclude(x, result, out, n, h);
	x->judge = NULL;
}
