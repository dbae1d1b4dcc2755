/* SPDX-License-Identifier: ISC */
/*
 * The issuer's answers, over libcurl: keys by GET, judgements of tokens by POST
 * (RFC 7662).  One handle for each desk thread, so that its connection is used
 * again; no proxy of the environment's, no redirects, TLS that verifies.  An
 * answer has OAUTH_WAIT_MS and ANSWER_MOST octets.
 *
 * Login desk: it blocks.
 */
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "auth/oauth.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define ANSWER_MOST ((size_t)256 << 10)

struct oauth_http { CURL *curl; };

struct oauth_http *oauth_http_new(void)
{
	struct oauth_http *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->curl = curl_easy_init();
	if (h->curl != NULL)
		return h;
	free(h);
	return NULL;
}

void oauth_http_free(struct oauth_http *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->curl);
	free(h);
}

static size_t came(char *p, size_t size, size_t n, void *arg)
{
	struct buf *b = arg;

	buf_add(b, (str){ p, size * n });
	return b->failed ? 0 : size * n;
}

/* What every request has in common; the handle keeps connections and no more. */
static void prepare(CURL *c, const char *url, struct buf *answer)
{
	curl_easy_reset(c);
	curl_easy_setopt(c, CURLOPT_URL, url);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https,http");
	curl_easy_setopt(c, CURLOPT_PROXY, "");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)OAUTH_WAIT_MS);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)OAUTH_WAIT_MS);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, came);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "postern");
}

static bool perform(CURL *c, const char *url, struct buf *b, struct arena *a, str *body,
                    const char **reason)
{
	CURLcode e = curl_easy_perform(c);
	long status = 0;

	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (e == CURLE_OK && status == 200 && !b->failed) {
		*body = str_keep(a, buf_str(b));
		if (body->n > 0)
			return true;
	}
	*reason = "the token issuer does not answer as it should";
	log_event(NULL, LOG_ERROR, "issuer.failed", KV_C("url", url), KV_I("status", (int)status),
	          KV_C("why", e != CURLE_OK ? curl_easy_strerror(e) : "not the answer of a 200"));
	return false;
}

bool oauth_http_get(struct oauth_http *h, const char *url, struct arena *a, str *body,
                    const char **reason)
{
	struct buf b;
	bool good;

	buf_init(&b, ANSWER_MOST);
	prepare(h->curl, url, &b);
	good = perform(h->curl, url, &b, a, body, reason);
	buf_fini(&b);
	return good;
}

/* RFC 7662 2.1; a token has nothing in it that a form would need escaped but
 * "+", "/" and "=", which curl does. */
static char *form_of(CURL *c, str token, size_t *n)
{
	char *escaped = curl_easy_escape(c, token.p, (int)token.n), *form = NULL;
	int length = -1;

	if (escaped != NULL)
		length = asprintf(&form, "token=%s&token_type_hint=access_token", escaped);
	if (escaped != NULL)
		crypt_wipe(escaped, strlen(escaped));
	curl_free(escaped);
	*n = length > 0 ? (size_t)length : 0;
	return length > 0 ? form : NULL;
}

bool oauth_http_introspect(struct oauth_http *h, const struct oauth_rule *r, str token,
                           struct arena *a, str *body, const char **reason)
{
	struct curl_slist *fields = curl_slist_append(NULL, "Accept: application/json");
	size_t n;
	char *form = form_of(h->curl, token, &n);
	bool good = false;
	struct buf b;

	*reason = "out of memory";
	buf_init(&b, ANSWER_MOST);
	if (form != NULL && fields != NULL) {
		prepare(h->curl, r->introspection, &b);
		curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, fields);
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, (long)n);
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, form);
		curl_easy_setopt(h->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
		curl_easy_setopt(h->curl, CURLOPT_USERNAME, r->client_id);
		curl_easy_setopt(h->curl, CURLOPT_PASSWORD, r->client_secret);
		good = perform(h->curl, r->introspection, &b, a, body, reason);
	}
	curl_slist_free_all(fields);
	curl_easy_reset(h->curl);      /* the form and the secret are not its own */
	if (form != NULL)
		crypt_wipe(form, n);
	free(form);
	buf_wipe(&b);
	return good;
}
