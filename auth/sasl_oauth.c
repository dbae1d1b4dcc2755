/* SPDX-License-Identifier: ISC */
/*
 * OAUTHBEARER (RFC 7628) and XOAUTH2 as a server plug-in of Cyrus.
 *
 * The client says all there is to say at once.  A token that is not good is
 * answered by a challenge of JSON, the same whatever was wrong and whether the
 * account exists; the client's next word, whatever it is, ends the exchange.
 *
 * Login desk.
 */
#include <stdlib.h>
#include <string.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "auth/oauth.h"

/* As Google's XOAUTH2 has it. */
#define X2_CHALLENGE "{\"status\":\"400\",\"schemes\":\"Bearer\",\"scope\":\"mail\"}"

struct words { bool failed; };         /* of one exchange */

static struct exchange *exchange_of(const sasl_server_params_t *params)
{
	const sasl_utils_t *utils = params->utils;
	sasl_callback_ft proc;
	void *context = NULL;

	if (utils->getcallback(utils->conn, SASL_CB_CANON_USER, &proc, &context) != SASL_OK)
		return NULL;
	return context;
}

static int words_new(void *glob, sasl_server_params_t *params, const char *challenge, unsigned n,
                     void **context)
{
	struct words *w = params->utils->malloc(sizeof(*w));

	(void)glob;
	(void)challenge;
	(void)n;
	if (w == NULL)
		return SASL_NOMEM;
	w->failed = false;
	*context = w;
	return SASL_OK;
}

static void words_free(void *context, const sasl_utils_t *utils)
{
	if (context != NULL)
		utils->free(context);
}

/* ---- one message ------------------------------------------------------------------- */

static int log_in(sasl_server_params_t *params, str name, str user, sasl_out_params_t *out)
{
	int result = params->canon_user(params->utils->conn, name.p, (unsigned)name.n,
	                                SASL_CU_AUTHID | (user.n > 0 ? 0 : SASL_CU_AUTHZID), out);

	if (result == SASL_OK && user.n > 0)
		result = params->canon_user(params->utils->conn, user.p, (unsigned)user.n,
		                            SASL_CU_AUTHZID, out);
	if (result != SASL_OK)
		return result;
	out->doneflag = 1;
	out->mech_ssf = 0;
	out->maxoutbuf = 0;
	return SASL_OK;
}

/* The owner has to be an account here, and the one that the client says to be. */
static bool is_account(const struct judge *j, struct arena *a, str address, str user)
{
	str key, wanted;

	if (!accounts_key(a, address, &key) || accounts_find(j->table, key) == NULL)
		return false;
	return user.n == 0 || (accounts_key(a, user, &wanted) && str_eq(wanted, key));
}

static int judge_token(struct exchange *x, sasl_server_params_t *params, struct arena *a,
                       const struct oauth_message *m, sasl_out_params_t *out)
{
	const struct judge *j = exchange_judge(x);
	const char *reason = NULL;
	str address;

	exchange_claims(x, m->user);
	exchange_tried(x, STR(""), m->token);
	switch (oauth_judge(j, m->token, a, &address, &reason)) {
	case OAUTH_LATER:
		exchange_refuse(x, reason);
		return SASL_UNAVAIL;
	case OAUTH_BAD:
		exchange_refuse(x, reason);
		return SASL_BADAUTH;
	case OAUTH_GOOD:
		break;
	}
	if (m->user.n == 0)
		exchange_claims(x, address);
	if (is_account(j, a, address, m->user))
		return log_in(params, address, m->user, out);
	exchange_refuse(x, m->user.n > 0 ? "another's token, or no such account"
	                                 : "no such account");
	return SASL_BADAUTH;
}

static int message_came(struct words *w, sasl_server_params_t *params, str in, bool bearer,
                        const char **text, unsigned *n, sasl_out_params_t *out)
{
	struct exchange *x = exchange_of(params);
	const struct oauth_rule *rule;
	struct oauth_message m;
	struct arena a;
	int result;

	if (x == NULL || exchange_judge(x) == NULL)
		return SASL_FAIL;
	rule = atomic_load(&exchange_judge(x)->auth->oauth);
	if (rule == NULL)
		return SASL_NOMECH;    /* taken out by a reload meanwhile */
	arena_init(&a, 1 << 20);
	if (!(bearer ? oauth_bearer_read(&a, in, &m) : oauth_x2_read(in, &m)))
		result = SASL_BADPROT;
	else
		result = judge_token(x, params, &a, &m, out);
	arena_wipe(&a);
	if (result != SASL_BADAUTH)
		return result;
	w->failed = true;
	*text = bearer ? rule->challenge : X2_CHALLENGE;
	*n = (unsigned)strlen(*text);
	return SASL_CONTINUE;
}

static int step(void *context, sasl_server_params_t *params, const char *in, unsigned n,
                bool bearer, const char **text, unsigned *text_n, sasl_out_params_t *out)
{
	struct words *w = context;

	*text = NULL;
	*text_n = 0;
	if (w->failed)
		return SASL_BADAUTH;
	if (in == NULL || n == 0)      /* Cyrus has asked for it already */
		return SASL_BADPROT;
	return message_came(w, params, (str){ in, n }, bearer, text, text_n, out);
}

static int bearer_step(void *context, sasl_server_params_t *params, const char *in, unsigned n,
                       const char **text, unsigned *text_n, sasl_out_params_t *out)
{
	return step(context, params, in, n, true, text, text_n, out);
}

static int x2_step(void *context, sasl_server_params_t *params, const char *in, unsigned n,
                   const char **text, unsigned *text_n, sasl_out_params_t *out)
{
	return step(context, params, in, n, false, text, text_n, out);
}

/* ---- the plug-in ---------------------------------------------------------------------- */

#define MECHANISM(name_, step_)                                                                \
	{ .mech_name = (name_), .security_flags = SASL_SEC_NOANONYMOUS,                        \
	  .features = SASL_FEAT_WANT_CLIENT_FIRST | SASL_FEAT_ALLOWS_PROXY,                    \
	  .mech_new = words_new, .mech_step = (step_), .mech_dispose = words_free }

static sasl_server_plug_t mechanisms[] = {
	MECHANISM("OAUTHBEARER", bearer_step),
	MECHANISM("XOAUTH2", x2_step),
};

static int tokens_made(const sasl_utils_t *utils, int most, int *version, sasl_server_plug_t **list,
                       int *n)
{
	(void)utils;
	if (most < SASL_SERVER_PLUG_VERSION)
		return SASL_BADVERS;
	*version = SASL_SERVER_PLUG_VERSION;
	*list = mechanisms;
	*n = (int)COUNT(mechanisms);
	return SASL_OK;
}

int cyrus_add_tokens(void)
{
	return sasl_server_add_plugin(CYRUS_PLUGIN "-oauth", tokens_made);
}
