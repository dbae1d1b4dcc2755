/* SPDX-License-Identifier: ISC */
/*
 * One exchange with Cyrus: what it asks of us on the way, and what comes of it.
 *
 * A channel binding is set only where -PLUS is offered; then a client that says
 * "y" (he could, but thinks we cannot: RFC 5802 6) was lied to by somebody on
 * the way.  Cyrus' SCRAM (2.1.28) lets -PLUS pass without a binding and takes
 * one where -PLUS was not chosen, so a first message is looked at here before.
 * `critical` stays 0, or every mechanism but -PLUS fails.
 *
 * Login desk only, a sasl_conn_t on one thread at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

#define VERIFIER "*authPassword"   /* the authentication identity's, as SCRAM asks for it */
#define PASSWORD "*userPassword"

struct exchange {
	struct auth        *auth;
	struct claim       *claim;
	const struct auth_channel *channel;
	const struct judge *judge;     /* during a call of ours into Cyrus */
	sasl_conn_t        *conn;
	const char         *mechanism;
	const char         *refusal;   /* what a callback found */
	bool                begun;     /* the client's first message has come */
	sasl_channel_binding_t binding;
	sasl_callback_t     callbacks[4];
};

/* sasl.h has every callback as int (*)(void). */
#define CALLBACK(id_, proc_, context_) \
	((sasl_callback_t){ (id_), (sasl_callback_ft)(void (*)(void))(proc_), (context_) })

/* ---- what Cyrus asks of an exchange -------------------------------------------------- */

static void note_claim(struct exchange *x, str name, str key)
{
	const struct account *account = accounts_find(x->judge->table, key);

	x->claim->n = name.n < sizeof(x->claim->name) ? name.n : sizeof(x->claim->name);
	if (name.n > 0)
		memcpy(x->claim->name, name.p, x->claim->n);
	x->claim->exists = account != NULL &&
	                   (account->can_log_in || x->auth->backend != BACKEND_FILE);
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

void exchange_claims(struct exchange *x, str name)
{
	struct arena a;
	str key = STR_NONE;

	arena_init(&a, 64 << 10);
	accounts_key(&a, name, &key);
	note_claim(x, name, key);
	arena_fini(&a);
}

void exchange_tried(struct exchange *x, str name, str secret)
{
	static const struct verifier none;

	memory_tag(x->auth->memory_key, name, &none, secret, x->claim->secret);
	x->claim->secret_seen = true;
}

const struct judge *exchange_judge(const struct exchange *x)
{
	return x->judge;
}

void exchange_refuse(struct exchange *x, const char *reason)
{
	x->refusal = reason;
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
	exchange_tried(x, str_of(user), (str){ password, n });
	if (x->auth->backend != BACKEND_FILE)
		return SASL_BADAUTH;   /* Cyrus goes on to the back end */
	x->refusal = judge_password(x->judge, x->claim, str_of(user), (str){ password, n });
	return x->refusal == NULL ? SASL_OK : SASL_BADAUTH;
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

#define CYRUS_SALT 32              /* of verifiers that Cyrus' SCRAM makes of a password */
#define CYRUS_ITERATIONS 4096

/* As Cyrus would have made it, had the back end found a password: the salt is of
 * this process, and it takes as long. */
static void make_up_as_cyrus(const struct exchange *x, str key, unsigned char salt[CYRUS_SALT],
                             struct verifier *v)
{
	static const struct verifier none;
	const char *said = cyrus_option("scram_iteration_counter");
	uint32_t iterations = CYRUS_ITERATIONS;

	if (said != NULL && (!str_to_u32(str_of(said), &iterations) || iterations == 0 ||
	                     iterations > ITERATIONS_MAX))
		iterations = CYRUS_ITERATIONS;
	*v = (struct verifier){ .iterations = iterations, .salt = { (const char *)salt, CYRUS_SALT } };
	memory_tag(x->auth->memory_key, key, &none, STR("salt"), salt);
	memory_tag(x->auth->memory_key, key, &none, STR("server"), v->server);
	pbkdf2_sha256(key, v->salt, iterations, v->stored);
	memory_tag(x->auth->memory_key, key, &none, (str){ (const char *)v->stored, 32 }, v->stored);
}

/* As Cyrus' SCRAM reads it: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey. */
static int show_verifier(struct exchange *x, const sasl_server_params_t *params, str key)
{
	unsigned char cyrus_salt[CYRUS_SALT];
	struct judged who;
	struct arena a;
	str salt, stored, server, text;
	int result = SASL_NOMEM;

	if (x->auth->backend == BACKEND_FILE)
		judge_name(x->judge, key, &who);
	else
		make_up_as_cyrus(x, key, cyrus_salt, &who.verifier);
	arena_init(&a, 64 << 10);
	salt = base64_encode(&a, who.verifier.salt);
	stored = base64_encode(&a, (str){ (const char *)who.verifier.stored, 32 });
	server = base64_encode(&a, (str){ (const char *)who.verifier.server, 32 });
	text = arena_printf(&a, "SCRAM-SHA-256$%u:%.*s$%.*s:%.*s", who.verifier.iterations,
	                    STR_ARG(salt), STR_ARG(stored), STR_ARG(server));
	if (!a.spent)
		result = params->utils->prop_set(params->propctx, VERIFIER, text.p, (int)text.n);
	if (x->auth->backend == BACKEND_FILE) {
		memcpy(x->claim->stored, who.verifier.stored, 32);
		x->claim->shown = true;
	}
	arena_wipe(&a);
	return result;
}

static bool holds(const struct propval *all, const char *name)
{
	for (; all != NULL && all->name != NULL; all++)
		if (strcmp(all->name, name) == 0)
			return all->values != NULL;
	return false;
}

/* SASL_OK whoever is asked for: an unknown name has a verifier, too.  Behind
 * another plug-in, what that one did not find is made up. */
static int looked_up(void *context, sasl_server_params_t *params, unsigned flags, const char *user,
                     unsigned n)
{
	const struct propval *wanted = params->utils->prop_get(params->propctx);
	struct exchange *x = exchange_of(params);

	(void)context;
	if (x == NULL || x->judge == NULL)
		return SASL_FAIL;
	if ((flags & SASL_AUXPROP_AUTHZID) || holds(wanted, PASSWORD))
		return SASL_OK;
	for (; wanted != NULL && wanted->name != NULL; wanted++)
		if (strcmp(wanted->name, VERIFIER) == 0 && wanted->values == NULL)
			return show_verifier(x, params, (str){ user, n });
	return SASL_OK;
}

static sasl_auxprop_plug_t auxprop = { .auxprop_lookup = looked_up,
	                               .name = (char[]){ CYRUS_PLUGIN } };

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

int cyrus_add_verifiers(void)
{
	return sasl_auxprop_add_plugin(CYRUS_PLUGIN, auxprop_made);
}

static void plugin_told(sasl_auxprop_plug_t *plugin, sasl_info_callback_stage_t stage, void *arg)
{
	if (stage == SASL_INFO_LIST_MECH && plugin != NULL)
		*(bool *)arg = true;
}

bool cyrus_has_auxprop(const char *name)
{
	bool there = false;

	return auxprop_plugin_info(name, plugin_told, &there) == SASL_OK && there;
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

/* The binding is Cyrus' for as long as the exchange is. */
static int set_binding(struct exchange *x)
{
	if (x->channel->binding_type == NULL)
		return SASL_OK;
	x->binding.name = x->channel->binding_type;
	x->binding.data = (const unsigned char *)x->channel->binding.p;
	x->binding.len = x->channel->binding.n;
	return sasl_setprop(x->conn, SASL_CHANNEL_BINDING, &x->binding);
}

struct exchange *exchange_new(struct auth *auth, const struct auth_channel *channel,
                              struct claim *claim)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (x == NULL)
		return NULL;
	x->auth = auth;
	x->claim = claim;
	x->channel = channel;
	x->callbacks[0] = CALLBACK(SASL_CB_CANON_USER, name_came, x);
	x->callbacks[1] = CALLBACK(SASL_CB_SERVER_USERDB_CHECKPASS, password_came, x);
	x->callbacks[2] = CALLBACK(SASL_CB_PROXY_POLICY, other_wanted, x);
	x->callbacks[3] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	if (make_conn(x) == SASL_OK && set_binding(x) == SASL_OK)
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

/* ---- channel bindings ------------------------------------------------------------------ */

/* What is wrong with the gs2-cbind-flag of SCRAM's first message (RFC 5802 6, 7),
 * or NULL. */
static const char *binding_fault(const struct exchange *x, str first)
{
	bool plus = str_ends_nocase(str_of(x->mechanism), STR("-PLUS"));
	str flag = str_head(first, str_find(first, ','));

	if (!plus && str_starts(first, "p"))
		return "a channel binding without -PLUS";
	if (!plus && x->binding.name != NULL && str_is(flag, "y"))
		return "the offer of -PLUS did not reach the client";
	if (plus && (!str_starts(flag, "p=") || !str_is(str_skip(flag, 2), x->binding.name)))
		return "no channel binding of this connection's type";
	return NULL;
}

static bool first_is_fine(struct exchange *x, str response)
{
	if (x->begun || !str_starts(str_of(x->mechanism), "SCRAM-"))
		return true;
	x->begun = true;
	x->refusal = binding_fault(x, response);
	return x->refusal == NULL;
}

/* ---- certificates ------------------------------------------------------------------------- */

/* The certificate's name that is an account and is the one asked for; any that
 * is an account when none is asked for (RFC 4422 A). */
static str certificate_name(const struct exchange *x, const struct judge *j, str wanted)
{
	const struct strs *names = &x->channel->certificate;
	str found = names->v[0], key, wanted_key = STR_NONE;
	struct arena a;
	bool any;

	arena_init(&a, 256 << 10);
	any = wanted.n == 0 || !accounts_key(&a, wanted, &wanted_key);
	for (size_t i = 0; i < names->n; i++)
		if (accounts_key(&a, names->v[i], &key) && accounts_find(j->table, key) != NULL &&
		    (any || str_eq(key, wanted_key))) {
			found = names->v[i];
			break;
		}
	arena_fini(&a);
	return found;
}

static int set_external(struct exchange *x, const struct judge *j, str wanted)
{
	struct arena a;
	char *name;
	int result = SASL_NOMEM;

	if (x->channel->certificate.n == 0 || strcmp(x->mechanism, "EXTERNAL") != 0)
		return SASL_OK;
	arena_init(&a, 4 << 10);
	name = str_cstr(&a, certificate_name(x, j, wanted));
	if (name != NULL)
		result = sasl_setprop(x->conn, SASL_AUTH_EXTERNAL, name);
	arena_fini(&a);
	return result;
}

/* ---- what comes of a step ------------------------------------------------------------------ */

static bool is_by_password(const struct exchange *x)
{
	return str_starts(str_of(x->mechanism), "SCRAM-") || strcmp(x->mechanism, "PLAIN") == 0 ||
	       strcmp(x->mechanism, "LOGIN") == 0;
}

/* The mechanism is content.  PLAIN and LOGIN have been judged; is the account
 * still what it was when a SCRAM exchange began, and does it take this way? */
static const char *passed(const struct exchange *x, struct heard *h)
{
	bool ours = x->auth->backend == BACKEND_FILE && is_by_password(x);
	enum auth_require by = strcmp(x->mechanism, "EXTERNAL") == 0 ? REQUIRE_CERTIFICATE
	                     : is_by_password(x) ? REQUIRE_PASSWORD : REQUIRE_OAUTH;
	const void *name = NULL;
	const char *why = "no such account";

	if (x->claim->address.n > 0)
		why = NULL;
	else if (sasl_getprop(x->conn, SASL_USERNAME, &name) != SASL_OK || name == NULL)
		return why;
	else if (ours)
		why = judge_proved(x->judge, x->claim, str_of(name));
	else
		why = judge_vouched(x->judge, x->claim, str_of(name), by);
	if (why != NULL)
		return why;
	h->says = AUTH_PASSED;
	h->login = x->claim->address;
	return "";
}

/* A directory that does not answer is no wrong password. */
static bool is_down(const struct exchange *x, int result)
{
	if (result == SASL_UNAVAIL || result == SASL_TRYAGAIN)
		return true;
	return result == SASL_FAIL && x->auth->backend != BACKEND_FILE && is_by_password(x);
}

static const char *refusal(const struct exchange *x, int result)
{
	if (x->refusal != NULL)
		return x->refusal;
	if (result == SASL_BADAUTH || result == SASL_NOUSER)
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
	} else if (is_down(x, result)) {
		h->says = AUTH_LATER;
		h->reason = x->refusal != NULL ? x->refusal : "the back end does not answer";
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
	int result = SASL_BADAUTH;

	x->judge = j;
	x->mechanism = mechanism;
	if (initial == NULL || first_is_fine(x, *initial))
		result = set_external(x, j, initial ? *initial : STR_NONE);
	if (result == SASL_OK)
		result = sasl_server_start(x->conn, mechanism, in,
		                           initial ? (unsigned)initial->n : 0, &out, &n);
	conclude(x, result, out, n, h);
	x->judge = NULL;
}

void exchange_step(struct exchange *x, const struct judge *j, str response, struct heard *h)
{
	const char *out = NULL;
	unsigned n = 0;
	int result = SASL_BADAUTH;

	x->judge = j;
	if (first_is_fine(x, response))
		result = set_external(x, j, response);
	if (result == SASL_OK)
		result = sasl_server_step(x->conn, response.n > 0 ? response.p : "",
		                          (unsigned)response.n, &out, &n);
	conclude(x, result, out, n, h);
	x->judge = NULL;
}
