/* SPDX-License-Identifier: ISC */
/*
 * oauth: tokens instead of passwords (RFC 7628), as the files of auth share it.
 *
 *   sasl_oauth ─ oauth_message   the two mechanisms: what a client says
 *     oauth                      whose is this token?  rule, cache, claims
 *       jwt ─ jwks               a token that proves itself (RFC 7519, 7517)
 *       oauth_http               the issuer's answers (RFC 7662; libcurl)
 *
 * The rule is made by main and never changes; rules that were ever in force
 * stay until the end, each once.  Everything else is a seat's own: its desk
 * thread has keys, answers and a connection to the issuer for itself, so that
 * nothing is locked.
 */
#ifndef AUTH_OAUTH_H
#define AUTH_OAUTH_H

#include "auth/inside.h"

#define TOKEN_MAX      8192
#define OAUTH_WAIT_MS  5000    /* for an answer of the issuer's */

/* ---- oauth.c ----------------------------------------------------------------------- */

struct oauth_rule {                    /* terminated text, all of it; "" is none */
	struct oauth_rule *next;
	const char *issuer, *audience, *scope, *user_claim;
	const char *keys_url, *keys_text;      /* one of the two, or none */
	const char *introspection, *client_id, *client_secret;
	const char *challenge;         /* OAUTHBEARER's error (RFC 7628 3.2.2) */
};

/* Main: reads what the options name and puts it up.  No oauth {}: nothing is up. */
enum err oauth_reconfigure(struct auth *, const struct oauth_conf *, struct arena *, str *why);
void     oauth_seat_free(struct oauth_seat *);

enum oauth_says { OAUTH_GOOD, OAUTH_BAD, OAUTH_LATER };
/* Login desk: whose address the token stands for (lives in the arena); why not. */
enum oauth_says oauth_judge(const struct judge *, str token, struct arena *, str *address,
                            const char **reason);

/* ---- oauth_claims.c: what a token, or the issuer, says ------------------------------- */

struct json;
/* Issuer, audience, times, scope, owner; NULL: all is well.  With `introspected`
 * iss may be missing: the issuer itself was asked. */
const char *oauth_claims(const struct oauth_rule *, const struct json *, bool introspected,
                         int64_t now, struct arena *, str *address, int64_t *expires);

/* ---- oauth_message.c: pure ----------------------------------------------------------- */

struct oauth_message { str user, token; };     /* views; user may be empty */
bool oauth_bearer_read(struct arena *, str, struct oauth_message *);     /* RFC 7628 3.1 */
bool oauth_x2_read(str, struct oauth_message *);

/* ---- jwks.c, jwt.c ---------------------------------------------------------------------- */

struct jwks;                           /* keys of an issuer; immutable */
struct jwks *jwks_read(str text);      /* NULL: no key set (RFC 7517 5), or no key in it is of use */
void         jwks_free(struct jwks *);

enum jwt_says { JWT_GOOD, JWT_BAD, JWT_UNKNOWN_KEY };
/* Takes a compact JWS (RFC 7515 3.1) apart and checks its signature: RS256, PS256,
 * ES256, EdDSA.  JWT_GOOD: the claims are the caller's to json_free. */
enum jwt_says jwt_read(const struct jwks *, str token, struct arena *, struct json **claims,
                       const char **reason);
bool jwt_looks_like_one(str token);    /* three parts */

/* ---- oauth_http.c ------------------------------------------------------------------------- */

struct oauth_http;                     /* one thread's */
struct oauth_http *oauth_http_new(void);
void     oauth_http_free(struct oauth_http *);
/* The body of a 200, in the arena; ERR_AGAIN style errors: *reason. */
bool oauth_http_get(struct oauth_http *, const char *url, struct arena *, str *body,
                    const char **reason);
bool oauth_http_introspect(struct oauth_http *, const struct oauth_rule *, str token,
                           struct arena *, str *body, const char **reason);

#endif
