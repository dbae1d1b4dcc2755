/* SPDX-License-Identifier: ISC */
/*
 * Cyrus SASL in the process: its options, its plug-ins, its locks.  The files
 * auth/sasl*.c are all of it that postern sees.
 *
 * Cyrus does the mechanisms and nothing else.  Its options come from here, its
 * configuration files are refused, of its plug-ins the mechanisms that we offer
 * and the back end that was chosen are loaded.  With the accounts file as back
 * end verifiers reach SCRAM through an auxprop plug-in of ours, and PLAIN and
 * LOGIN ask our checkpass callback.  A checkpass that refuses is not Cyrus'
 * last word: it goes on to `pwcheck_method`, which is therefore the back end
 * that was chosen, or a method that there is not.
 *
 * Set up by main before other threads.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "auth/inside.h"
#include "smtpd/base/log.h"

#define OPTIONS_MOST 32
#define MECHANISMS   "SCRAM-SHA-256 PLAIN LOGIN EXTERNAL OAUTHBEARER XOAUTH2"

static bool is_open;

/* ---- locks ------------------------------------------------------------------------ */

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

/* ---- options ------------------------------------------------------------------------ */

/* Written by main before other threads; the text lives with `auth`. */
static struct { const char *name, *value; } options[OPTIONS_MOST];
static size_t noptions;
static const char *backend_plugin;             /* auxprop plug-in of the back end, or NULL */

static void set(const char *name, const char *value)
{
	must(noptions < OPTIONS_MOST && value != NULL);
	options[noptions].name = name;
	options[noptions++].value = value;
}

/* "sasldb_path: /etc/sasldb2", as Cyrus' own files have it. */
static bool set_plugin_option(struct auth *auth, str line, struct arena *a, str *why)
{
	size_t colon = str_find(line, ':');
	str name = str_trim(str_head(line, colon)), value = str_trim(str_skip(line, colon + 1));

	for (size_t i = 0; i < noptions; i++)
		if (str_is(name, options[i].name)) {
			*why = arena_printf(a, "the option %.*s in `auxprop-options` stands there twice, "
			                    "or is postern's to set: take it out", STR_ARG(name));
			return false;
		}
	if (noptions == OPTIONS_MOST) {
		*why = STR("there are too many `auxprop-options`: take some out");
		return false;
	}
	set(str_cstr(&auth->arena, name), str_cstr(&auth->arena, value));
	return true;
}

/* auxprop_plugin is always set: unset, Cyrus asks any sasldb on the machine.
 * Behind another plug-in ours makes up what that one does not find. */
static bool set_options(struct auth *auth, const struct auth_conf *c, struct arena *a, str *why)
{
	noptions = 0;
	backend_plugin = NULL;
	set("mech_list", MECHANISMS);
	set("log_level", "0");
	if (c->backend == BACKEND_AUXPROP) {
		backend_plugin = str_cstr(&auth->arena, c->auxprop);
		set("auxprop_plugin", str_cstr(&auth->arena, arena_printf(&auth->arena, "%s " CYRUS_PLUGIN,
		                                                          backend_plugin)));
		set("pwcheck_method", "auxprop");
		for (size_t i = 0; i < c->auxprop_options.n; i++)
			if (!set_plugin_option(auth, c->auxprop_options.v[i], a, why))
				return false;
		return true;
	}
	set("auxprop_plugin", CYRUS_PLUGIN);
	set("pwcheck_method", c->backend == BACKEND_SASLAUTHD ? "saslauthd" : "none");
	if (c->backend == BACKEND_SASLAUTHD)
		set("saslauthd_path", str_cstr(&auth->arena, c->saslauthd));
	return true;
}

const char *cyrus_option(const char *name)
{
	for (size_t i = 0; i < noptions; i++)
		if (strcmp(name, options[i].name) == 0)
			return options[i].value;
	return NULL;
}

static int option_asked(void *context, const char *plugin, const char *name, const char **value,
                        unsigned *n)
{
	const char *found = cyrus_option(name);

	(void)context;
	(void)plugin;
	if (found == NULL)
		return SASL_FAIL;
	*value = found;
	if (n != NULL)
		*n = (unsigned)strlen(found);
	return SASL_OK;
}

/* Its words name users and come at every failure; ours are in login.refused. */
static int logged(void *context, int level, const char *text)
{
	(void)context;
	if (level == SASL_LOG_ERR && text != NULL)
		log_event(NULL, LOG_DEBUG, "cyrus.said", KV_C("text", text));
	return SASL_OK;
}

static bool is_plugin_file(const char *file)
{
	static const char *const names[] = { "libscram.", "libplain.", "liblogin." };
	const char *slash = strrchr(file, '/');
	str name = str_of(slash ? slash + 1 : file);

	for (size_t i = 0; i < COUNT(names); i++)
		if (str_starts(name, names[i]))
			return true;
	return backend_plugin != NULL && str_starts(name, "lib") &&
	       str_starts(str_skip(name, 3), backend_plugin) &&
	       str_starts(str_skip(name, 3 + strlen(backend_plugin)), ".");
}

static int file_wanted(void *context, const char *file, sasl_verify_type_t type)
{
	(void)context;
	return type == SASL_VRFY_PLUGIN && is_plugin_file(file) ? SASL_OK : SASL_CONTINUE;
}

/* sasl.h has every callback as int (*)(void). */
#define CALLBACK(id_, proc_) { (id_), (sasl_callback_ft)(void (*)(void))(proc_), NULL }

static const sasl_callback_t process_callbacks[] = {
	CALLBACK(SASL_CB_GETOPT, option_asked),
	CALLBACK(SASL_CB_LOG, logged),
	CALLBACK(SASL_CB_VERIFYFILE, file_wanted),
	{ SASL_CB_LIST_END, NULL, NULL },
};

/* ---- set-up --------------------------------------------------------------------------- */

/* As a connection with a channel binding and a certificate would be told. */
static enum err list_mechanisms(struct auth *auth, struct arena *a)
{
	static const sasl_channel_binding_t binding = { .name = "tls-exporter", .len = 1,
		                                        .data = (const unsigned char *)"x" };
	const char *hostname = str_cstr(a, auth->hostname), *list = NULL;
	sasl_conn_t *conn = NULL;
	unsigned n = 0;

	if (hostname != NULL &&
	    sasl_server_new("smtp", hostname, NULL, NULL, NULL, NULL, 0, &conn) == SASL_OK &&
	    sasl_setprop(conn, SASL_CHANNEL_BINDING, &binding) == SASL_OK &&
	    sasl_setprop(conn, SASL_AUTH_EXTERNAL, "x") == SASL_OK &&
	    sasl_listmech(conn, NULL, "", " ", "", &list, &n, NULL) == SASL_OK)
		auth->available = str_keep(&auth->arena, (str){ list, n });
	if (conn != NULL)
		sasl_dispose(&conn);
	return hostname != NULL && !auth->arena.spent ? OK : ERR_MEMORY;
}

enum err cyrus_open(struct auth *auth, const struct auth_conf *c, struct arena *a, str *why)
{
	int result;

	if (!set_options(auth, c, a, why))
		return ERR_BAD;
	sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock, mutex_free);
	result = sasl_server_init(process_callbacks, CYRUS_PLUGIN);
	is_open = result == SASL_OK;
	if (result == SASL_OK)
		result = cyrus_add_verifiers();
	if (result == SASL_OK)
		result = cyrus_add_tokens();
	if (result == SASL_OK && backend_plugin != NULL && !cyrus_has_auxprop(backend_plugin)) {
		*why = arena_printf(a, "Cyrus SASL has no auxprop plug-in %s: install "
		                    "libsasl2-modules-db, -sql or -ldap, or set `auxprop` in auth {} "
		                    "to another", backend_plugin);
		return ERR_ABSENT;
	}
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
