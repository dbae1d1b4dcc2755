/* SPDX-License-Identifier: ISC */
/*
 * The only file here that knows libcurl: transfers on a handle, and how a handle
 * comes to know its CAs.
 *
 * One handle and no share: nothing of libcurl's but the CAs (names, connections,
 * sessions) is to be kept from fetch to fetch.  It never reads CAs on the loop.
 * The owner's loop, but for cas_read.
 */
#include "queue/deliver/fetch_inside.h"

#include <curl/curl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/buf.h"

#define CONNECT_MS    20000
#define HEADERS_MOST  ((size_t)64 << 10)
#define WHY_ROOM      (CURL_ERROR_SIZE + 64)

struct work {                           /* one fetch under way */
	struct fetch      *fetch;
	CURL              *easy;
	struct curl_slist *resolve, *headers;
	struct buf         body;
	size_t             header_bytes;
	bool               too_large;
	char               url[600], why[WHY_ROOM], error[CURL_ERROR_SIZE];
};

struct watched {                        /* a socket of libcurl's */
	struct loop_io io;
	struct transfers *transfers;
};

/* ---- one transfer's settings ---------------------------------------------------------- */

static size_t body_came(char *p, size_t size, size_t n, void *user)
{
	struct work *w = user;

	buf_add(&w->body, (str){ p, size * n });
	w->too_large = w->body.failed;
	return w->too_large ? 0 : size * n;
}

static size_t header_came(char *p, size_t size, size_t n, void *user)
{
	struct work *w = user;

	(void)p;
	w->header_bytes += size * n;
	return w->header_bytes > HEADERS_MOST ? 0 : size * n;
}

/* What is not among the addresses that the asker brought is not looked for. */
static int never_resolve(void *state, void *reserved, void *user)
{
	(void)state, (void)reserved, (void)user;
	return 1;
}

static bool set_trust(CURL *e, const char *ca)
{
	return curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CAPATH, NULL) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CAINFO, ca) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, -1L) == CURLE_OK;   /* never on the loop */
}

static bool set_bounds(CURL *e)
{
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_RESOLVER_START_FUNCTION, never_resolve) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS) == CURLE_OK;
}

static bool set_question(struct work *w)
{
	const struct fetch *f = w->fetch;
	struct arena a;
	str entry, accept;

	arena_init(&a, 8192);
	entry = arena_printf(&a, "+%.*s:%u:%.*s", STR_ARG(f->host), f->port, STR_ARG(f->addresses));
	accept = arena_printf(&a, "Accept: %.*s", STR_ARG(f->type));
	if (entry.n > 0 && accept.n > 0) {
		w->resolve = curl_slist_append(NULL, str_cstr(&a, entry));
		w->headers = curl_slist_append(NULL, str_cstr(&a, accept));
	}
	arena_fini(&a);
	return w->resolve != NULL && w->headers != NULL &&
	       curl_easy_setopt(w->easy, CURLOPT_URL, w->url) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_RESOLVE, w->resolve) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, w->headers) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_TIMEOUT_MS, (long)f->timeout_ms) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_CERTINFO, 1L) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_ERRORBUFFER, w->error) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_WRITEFUNCTION, body_came) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_WRITEDATA, w) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_HEADERFUNCTION, header_came) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_HEADERDATA, w) == CURLE_OK &&
	       curl_easy_setopt(w->easy, CURLOPT_PRIVATE, w) == CURLE_OK;
}

static void work_free(struct work *w)
{
	if (w->easy != NULL)
		curl_easy_cleanup(w->easy);
	curl_slist_free_all(w->resolve);
	curl_slist_free_all(w->headers);
	buf_fini(&w->body);
	free(w);
}

/* ---- how it ended ------------------------------------------------------------------------ */

/* RFC 8461 3.3: the name must be in the subjectAltName; libcurl would take a
 * certificate without one by its common name. */
static bool has_alternative_names(CURL *e)
{
	struct curl_certinfo *info = NULL;

	if (curl_easy_getinfo(e, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL || info->num_of_certs < 1)
		return false;
	for (struct curl_slist *i = info->certinfo[0]; i != NULL; i = i->next)
		if (str_starts_nocase(str_of(i->data), "X509v3 Subject Alternative Name:"))
			return true;
	return false;
}

static bool is_type(CURL *e, str type)
{
	char *said = NULL;
	str media, rest;

	if (curl_easy_getinfo(e, CURLINFO_CONTENT_TYPE, &said) != CURLE_OK || said == NULL)
		return false;
	rest = str_of(said);
	return str_cut(&rest, ';', &media) && str_eq_nocase(str_trim(media), type);
}

static enum fetch_result judge_answer(struct work *w)
{
	long status = 0;

	curl_easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, &status);
	if (!has_alternative_names(w->easy)) {
		snprintf(w->why, sizeof(w->why), "the server's certificate has no subjectAltName");
		return FETCH_CERTIFICATE;
	}
	if (status >= 300 && status < 400) {
		snprintf(w->why, sizeof(w->why), "the server answered %ld: redirects are not followed", status);
		return FETCH_STATUS;
	}
	if (status != 200) {
		snprintf(w->why, sizeof(w->why), "the server answered %ld", status);
		return FETCH_STATUS;
	}
	if (!is_type(w->easy, w->fetch->type)) {
		snprintf(w->why, sizeof(w->why), "the content type is not %.*s", STR_ARG(w->fetch->type));
		return FETCH_TYPE;
	}
	return FETCH_OK;
}

static enum fetch_result judge(struct work *w, CURLcode code)
{
	if (code == CURLE_OK)
		return judge_answer(w);
	snprintf(w->why, sizeof(w->why), "%s", w->error[0] != '\0' ? w->error : curl_easy_strerror(code));
	if (w->too_large) {
		snprintf(w->why, sizeof(w->why), "the file is larger than %zu octets", w->fetch->most);
		return FETCH_LARGE;
	}
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return FETCH_CERTIFICATE;
	case CURLE_OPERATION_TIMEDOUT:
		return FETCH_TIMEOUT;
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_OUT_OF_MEMORY:
		return FETCH_OURS;
	default:
		return FETCH_UNREACHABLE;
	}
}

/* The work stays until `done` has seen what it holds. */
static void over(struct transfers *t, struct work *w, CURLcode code)
{
	struct fetch *f = w->fetch;

	f->result = judge(w, code);
	f->text = buf_str(&w->body);
	f->why = str_of(w->why);
	f->work = NULL;
	t->busy--;
	f->done(f);
	work_free(w);
}

/* ---- libcurl on the loop -------------------------------------------------------------------- */

static void look_what_ended(struct transfers *t)
{
	CURLMsg *m;
	int left;

	while (t->multi != NULL && (m = curl_multi_info_read(t->multi, &left)) != NULL) {
		struct work *w = NULL;
		CURLcode code = m->data.result;
		CURL *easy = m->easy_handle;

		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&w);
		curl_multi_remove_handle(t->multi, easy);
		over(t, w, code);
	}
	t->some_ended(t);
}

static void socket_ready(struct loop_io *io, int events)
{
	struct watched *s = SUPER(io, struct watched, io);
	struct transfers *t = s->transfers;
	int running;

	/* s may be gone after this */
	curl_multi_socket_action(t->multi, io->w.fd, (events & EV_READ ? CURL_CSELECT_IN : 0) |
	                         (events & EV_WRITE ? CURL_CSELECT_OUT : 0), &running);
	look_what_ended(t);
}

static int watch_socket(CURL *e, curl_socket_t fd, int what, void *user, void *assigned)
{
	struct transfers *t = user;
	struct watched *s = assigned;

	(void)e;
	if (what == CURL_POLL_REMOVE) {
		if (s != NULL)
			loop_io_want(&s->io, 0);
		free(s);
		return 0;
	}
	if (s == NULL) {
		s = calloc(1, sizeof(*s));
		if (s == NULL)
			return -1;
		s->transfers = t;
		loop_io_init(&s->io, t->loop, "fetch", fd, socket_ready);
		curl_multi_assign(t->multi, fd, s);
	}
	loop_io_want(&s->io, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	return 0;
}

static int set_timer(CURLM *m, long ms, void *user)
{
	struct transfers *t = user;

	(void)m;
	if (ms < 0)
		loop_timer_stop(&t->timer);
	else
		loop_timer_set(&t->timer, (uint64_t)ms);
	return 0;
}

static void timer_is_due(struct loop_timer *timer)
{
	struct transfers *t = SUPER(timer, struct transfers, timer);
	int running;

	if (t->multi == NULL)
		return;
	curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	look_what_ended(t);
}

/* ---- what fetch.c asks for --------------------------------------------------------------------- */

bool transfers_init(struct transfers *t, struct loop *loop, void (*some_ended)(struct transfers *))
{
	t->loop = loop;
	t->some_ended = some_ended;
	loop_timer_init(&t->timer, loop, "fetch", timer_is_due);
	return curl_global_init(CURL_GLOBAL_DEFAULT) == 0;
}

void transfers_use(struct transfers *t, void *multi)
{
	curl_multi_cleanup(t->multi);
	loop_timer_stop(&t->timer);
	t->multi = multi;
	curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
	curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
}

bool transfers_begin(struct transfers *t, struct fetch *f, const char *ca)
{
	struct work *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return false;
	w->fetch = f;
	buf_init(&w->body, f->most);
	snprintf(w->url, sizeof(w->url), "https://%.*s:%u%.*s", STR_ARG(f->host), f->port, STR_ARG(f->path));
	w->easy = curl_easy_init();
	if (w->easy == NULL || !set_trust(w->easy, ca) || !set_bounds(w->easy) || !set_question(w) ||
	    curl_multi_add_handle(t->multi, w->easy) != CURLM_OK) {
		work_free(w);
		return false;
	}
	f->work = w;
	t->busy++;
	return true;
}

void transfers_stop(struct transfers *t, struct fetch *f)
{
	struct work *w = f->work;

	f->work = NULL;
	curl_multi_remove_handle(t->multi, w->easy);
	t->busy--;
	work_free(w);
}

void transfers_end(struct transfers *t)
{
	curl_multi_cleanup(t->multi);
	t->multi = NULL;
	loop_timer_stop(&t->timer);
}

void transfers_fini(void)
{
	curl_global_cleanup();
}

/* ---- the CAs ------------------------------------------------------------------------------------ */

/* A socket without a name that anybody would guess: the kernel's choice. */
static int listen_for_ourselves(char name[static 108])
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	socklen_t n = sizeof(at);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&at, sizeof(sa_family_t)) != 0 || listen(fd, 1) != 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &n) != 0 || n <= offsetof(struct sockaddr_un, sun_path) + 1) {
		close(fd);
		return -1;
	}
	n -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
	memcpy(name, at.sun_path + 1, n);
	name[n] = '\0';
	return fd;
}

/* The transfer's other side: it hangs up. */
static void transfer(CURLM *m, int listening)
{
	int running = 1;

	while (curl_multi_perform(m, &running) == CURLM_OK && running > 0) {
		int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			close(fd);
		if (curl_multi_poll(m, NULL, 0, 20, NULL) != CURLM_OK)
			return;
	}
}

/* A TLS handshake with somebody who hangs up: it fails, with the CAs read. */
static CURLcode shake_hands_with_nobody(CURLM *m, const char *ca)
{
	CURL *e = curl_easy_init();
	CURLcode code = CURLE_OUT_OF_MEMORY;
	char name[108];
	int fd = listen_for_ourselves(name), left;
	CURLMsg *said;

	if (e != NULL && fd >= 0 && set_trust(e, ca) && set_bounds(e) &&
	    curl_easy_setopt(e, CURLOPT_URL, "https://nobody.invalid/") == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_ABSTRACT_UNIX_SOCKET, name) == CURLE_OK &&
	    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, 10000L) == CURLE_OK && curl_multi_add_handle(m, e) == CURLM_OK) {
		transfer(m, fd);
		while ((said = curl_multi_info_read(m, &left)) != NULL)
			code = said->data.result;
		curl_multi_remove_handle(m, e);
	}
	curl_easy_cleanup(e);
	if (fd >= 0)
		close(fd);
	return code;
}

/* Only a handshake that met the other side's hanging up has read them. */
static bool has_read_them(CURLcode code)
{
	return code == CURLE_SSL_CONNECT_ERROR || code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR;
}

void *cas_read(const char *ca, const char **why)
{
	CURLM *m = curl_multi_init();
	CURLcode code = m != NULL ? shake_hands_with_nobody(m, ca) : CURLE_OUT_OF_MEMORY;

	if (has_read_them(code))
		return m;
	*why = curl_easy_strerror(code);
	curl_multi_cleanup(m);
	return NULL;
}

void cas_forget(void *multi)
{
	curl_multi_cleanup(multi);
}
