/* SPDX-License-Identifier: ISC */
/*
 * Whose is this token?
 *
 * A JWT is checked against the issuer's keys; any other token, or every one
 * where there are no keys, is shown to the issuer (RFC 7662).  What came of it
 * is remembered until the token ends, under a keyed hash of it; the table has a
 * fixed size and forgets its oldest.  While the issuer does not answer it is
 * left alone for DOWN_MS, so that passwords are still checked in time.
 *
 * Rules are main's; a seat's keys and answers are its desk thread's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/oauth.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/log.h"

#define KEYS_FRESH_MS  (3600 * 1000u)  /* then they are fetched again */
#define KEYS_AGAIN_MS  (60 * 1000u)    /* not sooner, whatever keys tokens name */
#define DOWN_MS        (10 * 1000u)
#define NO_END_S       60              /* an answer that does not say how long it holds */
#define REFUSED_S      30
#define ANSWER_SETS    256u
#define ANSWER_WAYS    4u
#define ANSWER_ROOM    320u

struct answer {
	unsigned char tag[TAG_SIZE];
	int64_t       until;           /* seconds since the epoch; 0: free */
	uint16_t      n;               /* 0: the token is no good */
	char          address[ANSWER_ROOM];
};

struct oauth_seat {
	const struct oauth_rule *rule; /* what the rest belongs to */
	struct oauth_http *http;
	struct jwks       *keys;
	uint64_t           keys_ms, tried_ms, down_ms;   /* when read; when last asked for; left alone until */
	struct answer     *answers;
};

/* ---- rules ------------------------------------------------------------------------ */

/* Secrets and keys end in a line break as a rule. */
static enum err read_text(str path, size_t most, struct arena *a, str *text, str *why)
{
	int fd = keeper_open(path);
	enum err e;

	if (fd < 0) {
		*why = arena_printf(a, "%.*s: %s: make it readable for the server's user, or take it "
		                    "out of oauth {}", STR_ARG(path), strerror(errno));
		return err_of_errno(errno) == OK ? ERR_IO : err_of_errno(errno);
	}
	e = account_file_read(fd, a, text);
	close(fd);
	if (e == OK && text->n > most)
		e = ERR_FULL;
	*text = str_trim(*text);
	if (e == OK && (text->n == 0 || str_holds(*text, '\0')))
		e = ERR_BAD;
	if (e != OK)
		*why = arena_printf(a, "%.*s: %s: it has to be a plain file with what oauth {} says of "
		                    "it", STR_ARG(path), err_text(e));
	return e;
}

/* RFC 6749 2.3.1: both halves of the credentials are form-encoded first. */
static char *form_encoded(struct arena *a, str s)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = arena_alloc(a, 3 * s.n + 1), *p = out;

	for (size_t i = 0; p != NULL && i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (is_alnum(s.p[i]) || (c != '\0' && strchr("-._~", c) != NULL)) {
			*p++ = s.p[i];
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	return out;
}

/* RFC 7628 3.2.2 */
static char *challenge_of(struct arena *a, const struct oauth_conf *c)
{
	struct json *o = json_new_object();
	char *text, *kept;

	json_set_c(o, "status", "invalid_token");
	if (c->scope.n > 0)
		json_set(o, "scope", c->scope);
	if (str_starts(c->issuer, "https://"))
		json_set(o, "openid-configuration",
		         arena_printf(a, "%.*s%s.well-known/openid-configuration", STR_ARG(c->issuer),
		                      str_ends_nocase(c->issuer, STR("/")) ? "" : "/"));
	text = json_text(o);
	kept = str_cstr(a, str_of(text));
	free(text);
	return kept;
}

static bool is_url(str s)
{
	return str_starts(s, "https://") || str_starts(s, "http://");
}

static enum err fill(struct oauth_rule *r, const struct oauth_conf *c, struct arena *a, str *why)
{
	str secret = STR(""), keys = STR("");
	struct jwks *set;
	enum err e = OK;

	if (c->client_secret_file.n > 0)
		e = read_text(c->client_secret_file, 4096, a, &secret, why);
	if (e == OK && c->keys.n > 0 && !is_url(c->keys))
		e = read_text(c->keys, (size_t)1 << 20, a, &keys, why);
	if (e != OK)
		return e;
	set = keys.n > 0 ? jwks_read(keys) : NULL;
	if (keys.n > 0 && set == NULL) {
		*why = arena_printf(a, "%.*s: it is no JSON Web Key Set with a key for RS256, PS256, "
		                    "ES256 or EdDSA in it: write the issuer's there, or name its URL",
		                    STR_ARG(c->keys));
		return ERR_BAD;
	}
	jwks_free(set);
	*r = (struct oauth_rule){
		.issuer = str_cstr(a, c->issuer), .audience = str_cstr(a, c->audience),
		.scope = str_cstr(a, c->scope), .user_claim = str_cstr(a, c->user_claim),
		.keys_url = str_cstr(a, is_url(c->keys) ? c->keys : STR("")),
		.keys_text = str_cstr(a, keys),
		.introspection = str_cstr(a, c->introspection),
		.client_id = form_encoded(a, c->client_id), .client_secret = form_encoded(a, secret),
		.challenge = challenge_of(a, c),
	};
	return a->spent ? ERR_MEMORY : OK;
}

/* The texts of a rule, in one order. */
static void texts(const struct oauth_rule *r, const char *out[static 9])
{
	const char *const all[9] = { r->issuer, r->audience, r->scope, r->user_claim, r->keys_url,
		                     r->keys_text, r->introspection, r->client_id, r->client_secret };

	memcpy(out, all, sizeof(all));
}

static bool same(const struct oauth_rule *x, const struct oauth_rule *y)
{
	const char *a[9], *b[9];

	texts(x, a);
	texts(y, b);
	for (size_t i = 0; i < COUNT(a); i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

static struct oauth_rule *keep(struct auth *auth, const struct oauth_rule *r)
{
	struct oauth_rule *kept = ARENA_NEW(&auth->arena, struct oauth_rule);
	const char **to[] = { &kept->issuer, &kept->audience, &kept->scope, &kept->user_claim,
		              &kept->keys_url, &kept->keys_text, &kept->introspection,
		              &kept->client_id, &kept->client_secret };
	const char *from[9];

	if (kept == NULL)
		return NULL;
	texts(r, from);
	for (size_t i = 0; i < COUNT(from); i++)
		*to[i] = str_cstr(&auth->arena, str_of(from[i]));
	kept->challenge = str_cstr(&auth->arena, str_of(r->challenge));
	if (auth->arena.spent)
		return NULL;
	kept->next = auth->rules;
	auth->rules = kept;
	return kept;
}

enum err oauth_reconfigure(struct auth *auth, const struct oauth_conf *c, struct arena *a, str *why)
{
	struct oauth_rule fresh, *r = auth->rules;
	struct arena secret;
	enum err e;

	if (c->keys.n == 0 && c->introspection.n == 0) {
		atomic_store(&auth->oauth, NULL);
		return OK;
	}
	arena_init(&secret, ARENA_UNBOUNDED);
	e = fill(&fresh, c, &secret, why);
	while (e == OK && r != NULL && !same(r, &fresh))
		r = r->next;
	if (e == OK && r == NULL)
		r = keep(auth, &fresh);
	if (e == OK && r == NULL)
		e = ERR_MEMORY;
	if (e == OK)
		atomic_store(&auth->oauth, r);
	else
		*why = str_keep(a, *why);
	arena_wipe(&secret);
	return e;
}

/* ---- a seat -------------------------------------------------------------------------- */

static void forget(struct oauth_seat *s)
{
	jwks_free(s->keys);
	s->keys = NULL;
	if (s->answers != NULL)
		crypt_wipe(s->answers, ANSWER_SETS * ANSWER_WAYS * sizeof(s->answers[0]));
	free(s->answers);
	s->answers = NULL;
	s->keys_ms = s->tried_ms = s->down_ms = 0;
}

void oauth_seat_free(struct oauth_seat *s)
{
	if (s == NULL)
		return;
	forget(s);
	oauth_http_free(s->http);
	free(s);
}

static struct oauth_seat *seat_for(const struct judge *j, const struct oauth_rule *rule)
{
	struct oauth_seat *s = j->seat->oauth;

	if (s == NULL) {
		s = calloc(1, sizeof(*s));
		if (s == NULL)
			return NULL;
		s->http = oauth_http_new();
		if (s->http == NULL) {
			free(s);
			return NULL;
		}
		j->seat->oauth = s;
	}
	if (s->rule != rule)
		forget(s);
	s->rule = rule;
	return s;
}

/* ---- answers ---------------------------------------------------------------------------- */

/* Tags are MACs: any bytes of them are as good as a hash. */
static struct answer *set_of(const struct oauth_seat *s, const unsigned char tag[TAG_SIZE])
{
	uint64_t h;

	memcpy(&h, tag, sizeof(h));
	return &s->answers[h % ANSWER_SETS * ANSWER_WAYS];
}

static const struct answer *remembered(const struct oauth_seat *s, const unsigned char tag[TAG_SIZE],
                                       int64_t now)
{
	const struct answer *set = s->answers != NULL ? set_of(s, tag) : NULL, *found = NULL;

	for (size_t i = 0; set != NULL && i < ANSWER_WAYS; i++)
		if (crypt_equal(set[i].tag, tag, TAG_SIZE) && set[i].until > now)
			found = &set[i];
	return found;
}

static void remember(struct oauth_seat *s, const unsigned char tag[TAG_SIZE], str address,
                     int64_t until)
{
	struct answer *set, *oldest;

	if (address.n > ANSWER_ROOM)
		return;
	if (s->answers == NULL)
		s->answers = calloc(ANSWER_SETS * ANSWER_WAYS, sizeof(s->answers[0]));
	if (s->answers == NULL)
		return;                /* it costs a look at the token the next time, no more */
	set = oldest = set_of(s, tag);
	for (size_t i = 1; i < ANSWER_WAYS; i++)
		if (set[i].until < oldest->until)
			oldest = &set[i];
	memcpy(oldest->tag, tag, TAG_SIZE);
	oldest->until = until;
	oldest->n = (uint16_t)address.n;
	if (address.n > 0)
		memcpy(oldest->address, address.p, address.n);
}

/* ---- looking at a token ------------------------------------------------------------------- */

struct look {
	const struct oauth_rule *rule;
	struct oauth_seat *seat;
	str           token;
	struct arena *arena;
	uint64_t      now_ms;
	int64_t       now;
	const char   *reason;
	str           address;
	int64_t       until;
	bool          may_change;      /* the issuer's word, not the token's own */
};

static bool is_down(const struct look *l)
{
	return l->seat->down_ms > l->now_ms;
}

static void fetch_keys(struct look *l)
{
	struct oauth_seat *s = l->seat;
	struct jwks *fresh = NULL;
	str text;

	s->tried_ms = l->now_ms;
	if (oauth_http_get(s->http, l->rule->keys_url, l->arena, &text, &l->reason)) {
		fresh = jwks_read(text);
		if (fresh == NULL)
			log_event(NULL, LOG_ERROR, "issuer.failed", KV_C("url", l->rule->keys_url),
			          KV_C("why", "no JSON Web Key Set with a key that is of use"));
	}
	if (fresh == NULL) {
		s->down_ms = clock_ms() + DOWN_MS;
		return;                /* the old ones, if any, hold on */
	}
	jwks_free(s->keys);
	s->keys = fresh;
	s->keys_ms = l->now_ms;
}

static bool have_keys(struct look *l)
{
	struct oauth_seat *s = l->seat;

	if (l->rule->keys_url[0] == '\0') {
		if (s->keys == NULL)
			s->keys = jwks_read(str_of(l->rule->keys_text));
		return s->keys != NULL;
	}
	if ((s->keys == NULL || l->now_ms - s->keys_ms > KEYS_FRESH_MS) && !is_down(l))
		fetch_keys(l);
	return s->keys != NULL;
}

/* A key that is not known may be new. */
static bool may_fetch_again(const struct look *l)
{
	return l->rule->keys_url[0] != '\0' && !is_down(l) &&
	       l->now_ms - l->seat->tried_ms > KEYS_AGAIN_MS;
}

static enum oauth_says judge_claims(struct look *l, const struct json *o, bool introspected)
{
	l->reason = oauth_claims(l->rule, o, introspected, l->now, l->arena, &l->address, &l->until);
	return l->reason == NULL ? OAUTH_GOOD : OAUTH_BAD;
}

static enum oauth_says look_at_jwt(struct look *l)
{
	struct json *claims;
	enum jwt_says says;
	enum oauth_says good;

	l->reason = "the token issuer does not answer as it should";
	if (!have_keys(l))
		return OAUTH_LATER;
	says = jwt_read(l->seat->keys, l->token, l->arena, &claims, &l->reason);
	if (says == JWT_UNKNOWN_KEY && may_fetch_again(l)) {
		fetch_keys(l);
		says = jwt_read(l->seat->keys, l->token, l->arena, &claims, &l->reason);
	}
	if (says != JWT_GOOD)
		return OAUTH_BAD;
	good = judge_claims(l, claims, false);
	json_free(claims);
	return good;
}

static enum oauth_says look_at_answer(struct look *l, str body)
{
	struct json *o = json_read(body);
	enum oauth_says says = OAUTH_LATER;
	bool active;

	l->may_change = true;
	if (!json_get_bool(json_at(o, "active"), &active)) {
		l->reason = "the token issuer does not answer as it should";
		log_event(NULL, LOG_ERROR, "issuer.failed", KV_C("url", l->rule->introspection),
		          KV_C("why", "an answer without `active`"));
	} else if (!active) {
		l->reason = "the issuer says no to the token";
		says = OAUTH_BAD;
	} else {
		says = judge_claims(l, o, true);
	}
	json_free(o);
	return says;
}

static enum oauth_says ask_issuer(struct look *l)
{
	str body;

	l->reason = "the token issuer does not answer as it should";
	if (is_down(l))
		return OAUTH_LATER;
	if (oauth_http_introspect(l->seat->http, l->rule, l->token, l->arena, &body, &l->reason))
		return look_at_answer(l, body);
	l->seat->down_ms = clock_ms() + DOWN_MS;
	return OAUTH_LATER;
}

static enum oauth_says look_at_token(struct look *l)
{
	bool have_any_keys = l->rule->keys_url[0] != '\0' || l->rule->keys_text[0] != '\0';

	if (have_any_keys && jwt_looks_like_one(l->token))
		return look_at_jwt(l);
	if (l->rule->introspection[0] != '\0')
		return ask_issuer(l);
	l->reason = "the token is malformed";
	return OAUTH_BAD;
}

static void note_answer(struct look *l, const unsigned char tag[TAG_SIZE], enum oauth_says says)
{
	if (says == OAUTH_GOOD)
		remember(l->seat, tag, l->address, l->until > 0 ? l->until : l->now + NO_END_S);
	else if (says == OAUTH_BAD && l->may_change)
		remember(l->seat, tag, STR(""), l->now + REFUSED_S);
}

enum oauth_says oauth_judge(const struct judge *j, str token, struct arena *a, str *address,
                            const char **reason)
{
	static const struct verifier none;
	struct look l = { .rule = atomic_load(&j->auth->oauth), .token = token, .arena = a,
		          .now_ms = j->now_ms, .now = clock_wall() };
	const struct answer *known;
	unsigned char tag[TAG_SIZE];
	enum oauth_says says;

	*reason = "out of memory";
	l.seat = l.rule != NULL ? seat_for(j, l.rule) : NULL;
	if (l.seat == NULL)
		return OAUTH_LATER;
	memory_tag(j->auth->memory_key, STR("token"), &none, token, tag);
	known = remembered(l.seat, tag, l.now);
	if (known != NULL) {
		*address = str_keep(a, (str){ known->address, known->n });
		*reason = "the issuer has said no to the token";
		return address->n > 0 ? OAUTH_GOOD : OAUTH_BAD;
	}
	says = look_at_token(&l);
	note_answer(&l, tag, says);
	*address = l.address;
	*reason = l.reason;
	return says;
}
