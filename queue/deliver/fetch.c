/* SPDX-License-Identifier: ISC */
/*
 * The only file here that knows libcurl.
 *
 * A CURLM belongs to the loop.  It is made on the slow desk, where a transfer to
 * nobody makes libcurl read the CAs, which it keeps in the handle; then the
 * handle goes to the loop and never reads them again.  A day later, or when
 * another file is to be trusted, the desk makes the next one, which takes over
 * when no transfer is under way.  One handle and no share: nothing else of
 * libcurl's (names, connections, sessions) is to be kept from fetch to fetch.
 */
#include "queue/deliver/fetch.h"

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
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

#define CA_AGE_MS     ((uint64_t)20 * 3600 * 1000)
#define CA_AGAIN_MS   ((uint64_t)5 * 60 * 1000)   /* after a file of CAs could not be read */
#define CONNECT_MS    20000
#define HEADERS_MOST  ((size_t)64 << 10)
#define WHY_ROOM      (CURL_ERROR_SIZE + 64)

struct curler {
	struct fetcher    fetcher;      /* first */
	struct loop      *loop;
	struct desk      *slow;
	struct loop_timer timer;        /* libcurl's */
	struct loop_call  turn;         /* fetches that may begin, or have failed already */
	CURLM            *multi, *next; /* in use; made and waiting for a quiet moment */
	char             *ca;
	uint64_t          read_ms;      /* when the CAs were read */
	bool              stale;        /* the file is to be read again … */
	bool              other;        /* … and another one than the handle in use knows */
	bool              no_ca;        /* it could not be read: nothing can be fetched */
	bool              warming, ended;
	struct fetch     *waiting, **waiting_tail;   /* for the CAs, or for their turn to fail */
	size_t            busy;
};

struct warming {
	struct job     job;
	struct curler *curler;
	char          *ca;
	CURLM         *multi;
	CURLcode       code;
};

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
	struct curler *curler;
};

static void go_on(struct curler *);

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
static void over(struct curler *c, struct work *w, CURLcode code)
{
	struct fetch *f = w->fetch;

	f->result = judge(w, code);
	f->text = buf_str(&w->body);
	f->why = str_of(w->why);
	f->work = NULL;
	c->busy--;
	f->done(f);
	work_free(w);
}

static void fail(struct fetch *f, const char *why)
{
	f->result = FETCH_OURS;
	f->text = STR_NONE;
	f->why = str_of(why);
	f->done(f);
}

/* ---- libcurl on the loop -------------------------------------------------------------------- */

static void transfers_ended(struct curler *c)
{
	CURLMsg *m;
	int left;

	while (c->multi != NULL && (m = curl_multi_info_read(c->multi, &left)) != NULL) {
		struct work *w = NULL;
		CURLcode code = m->data.result;
		CURL *easy = m->easy_handle;

		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&w);
		curl_multi_remove_handle(c->multi, easy);
		over(c, w, code);
	}
	go_on(c);
}

static void socket_ready(struct loop_io *io, int events)
{
	struct watched *s = SUPER(io, struct watched, io);
	struct curler *c = s->curler;
	int running;

	/* s may be gone after this */
	curl_multi_socket_action(c->multi, io->w.fd, (events & EV_READ ? CURL_CSELECT_IN : 0) |
	                         (events & EV_WRITE ? CURL_CSELECT_OUT : 0), &running);
	transfers_ended(c);
}

static int watch_socket(CURL *e, curl_socket_t fd, int what, void *user, void *assigned)
{
	struct curler *c = user;
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
		s->curler = c;
		loop_io_init(&s->io, c->loop, "fetch", fd, socket_ready);
		curl_multi_assign(c->multi, fd, s);
	}
	loop_io_want(&s->io, (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	return 0;
}

static int set_timer(CURLM *m, long ms, void *user)
{
	struct curler *c = user;

	(void)m;
	if (ms < 0)
		loop_timer_stop(&c->timer);
	else
		loop_timer_set(&c->timer, (uint64_t)ms);
	return 0;
}

static void timer_is_due(struct loop_timer *t)
{
	struct curler *c = SUPER(t, struct curler, timer);
	int running;

	if (c->multi == NULL)
		return;
	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	transfers_ended(c);
}

/* False: no memory. */
static bool start(struct curler *c, struct fetch *f)
{
	struct work *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return false;
	w->fetch = f;
	buf_init(&w->body, f->most);
	snprintf(w->url, sizeof(w->url), "https://%.*s:%u%.*s", STR_ARG(f->host), f->port, STR_ARG(f->path));
	w->easy = curl_easy_init();
	if (w->easy == NULL || !set_trust(w->easy, c->ca) || !set_bounds(w->easy) || !set_question(w) ||
	    curl_multi_add_handle(c->multi, w->easy) != CURLM_OK) {
		work_free(w);
		return false;
	}
	f->work = w;
	c->busy++;
	return true;
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

/* Slow desk. */
static void warm(struct job *j)
{
	struct warming *w = SUPER(j, struct warming, job);

	w->code = CURLE_OUT_OF_MEMORY;
	w->multi = curl_multi_init();
	if (w->multi != NULL)
		w->code = shake_hands_with_nobody(w->multi, w->ca);
}

/* Only a handshake that met the other side's hanging up has read them. */
static bool read_the_cas(const struct warming *w)
{
	return w->multi != NULL && (w->code == CURLE_SSL_CONNECT_ERROR || w->code == CURLE_SEND_ERROR || w->code == CURLE_RECV_ERROR);
}

static void warmed(struct baton *b)
{
	struct job *j = SUPER(b, struct job, baton);
	struct warming *w = SUPER(j, struct warming, job);
	struct curler *c = w->curler;

	c->warming = false;
	c->read_ms = clock_ms();
	c->no_ca = !read_the_cas(w);
	if (c->no_ca && !c->ended)
		log_event(NULL, LOG_ERROR, "ca.unreadable", KV_C("file", w->ca), KV_C("why", curl_easy_strerror(w->code)),
		          KV_C("effect", "no MTA-STS policy can be fetched: install ca-certificates, or set `ca` in relay"));
	if (c->no_ca || c->ended) {
		curl_multi_cleanup(w->multi);
	} else {
		curl_multi_cleanup(c->next);
		c->next = w->multi;
	}
	free(w->ca);
	free(w);
	if (!c->ended)
		go_on(c);
}

static void begin_warming(struct curler *c)
{
	struct warming *w = calloc(1, sizeof(*w));
	char *ca = strdup(c->ca);

	if (w == NULL || ca == NULL) {
		free(w);
		free(ca);
		c->no_ca = true;
		c->read_ms = clock_ms();
		return;
	}
	c->warming = true;
	c->stale = false;
	w->curler = c;
	w->ca = ca;
	w->job.work = warm;
	w->job.baton.home = c->loop->mbox;
	w->job.baton.arrived = warmed;
	desk_submit_anyway(c->slow, &w->job);
}

static bool must_read_cas(const struct curler *c)
{
	uint64_t age = clock_ms() - c->read_ms;

	if (c->warming || c->next != NULL)
		return false;
	if (c->stale)
		return true;
	return c->no_ca ? age > CA_AGAIN_MS : c->multi == NULL || age > CA_AGE_MS;
}

/* ---- who waits -------------------------------------------------------------------------------------- */

static void take_over(struct curler *c)
{
	curl_multi_cleanup(c->multi);
	loop_timer_stop(&c->timer);
	c->multi = c->next;
	c->next = NULL;
	c->other = c->stale;            /* changed again meanwhile */
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
}

static struct fetch *first_waiting(struct curler *c)
{
	struct fetch *f = c->waiting;

	c->waiting = f->next;
	if (f->next != NULL)
		f->next->at = &c->waiting;
	else
		c->waiting_tail = &c->waiting;
	f->at = NULL;
	return f;
}

static void waiting_turn(struct loop_call *call)
{
	struct curler *c = SUPER(call, struct curler, turn);

	while (c->waiting != NULL) {
		struct fetch *f;

		if (c->next != NULL && c->busy == 0)
			take_over(c);
		if (must_read_cas(c))
			begin_warming(c);
		if ((c->multi == NULL || c->other) && (c->next != NULL || c->warming))
			return;          /* their turn comes when the desk, or the last transfer, is done */
		f = first_waiting(c);
		if (c->multi == NULL)
			fail(f, "the file of CAs could not be read");
		else if (!start(c, f))
			fail(f, "there was no memory to fetch it");
	}
}

static void go_on(struct curler *c)
{
	if (c->waiting != NULL && c->turn.at == NULL)
		loop_defer(c->loop, &c->turn, waiting_turn);
}

static void curler_begin(struct fetcher *f, struct fetch *x)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	x->work = NULL;
	x->next = NULL;
	x->at = c->waiting_tail;
	*c->waiting_tail = x;
	c->waiting_tail = &x->next;
	go_on(c);
}

static void curler_stop(struct fetcher *f, struct fetch *x)
{
	struct curler *c = SUPER(f, struct curler, fetcher);
	struct work *w = x->work;

	if (x->at != NULL) {
		*x->at = x->next;
		if (x->next != NULL)
			x->next->at = x->at;
		else
			c->waiting_tail = x->at;
		x->at = NULL;
	}
	if (w == NULL)
		return;
	x->work = NULL;
	curl_multi_remove_handle(c->multi, w->easy);
	c->busy--;
	work_free(w);
	go_on(c);
}

static void curler_trust(struct fetcher *f, str ca)
{
	struct curler *c = SUPER(f, struct curler, fetcher);
	char *copy = strndup(ca.p != NULL ? ca.p : "", ca.n);

	if (copy == NULL)
		return;
	c->other = c->other || strcmp(copy, c->ca) != 0;
	free(c->ca);
	c->ca = copy;
	c->stale = true;
}

static void curler_end(struct fetcher *f)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	c->ended = true;
	loop_undefer(&c->turn);
	curl_multi_cleanup(c->multi);
	curl_multi_cleanup(c->next);
	c->multi = c->next = NULL;
	loop_timer_stop(&c->timer);
}

static void curler_free(struct fetcher *f)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	free(c->ca);
	free(c);
	curl_global_cleanup();
}

struct fetcher *fetcher_new(struct loop *loop, struct desk *slow, str ca)
{
	struct curler *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->fetcher = (struct fetcher){ curler_begin, curler_stop, curler_trust, curler_end, curler_free };
	c->loop = loop;
	c->slow = slow;
	c->ca = strndup(ca.p != NULL ? ca.p : "", ca.n);
	c->waiting_tail = &c->waiting;
	loop_timer_init(&c->timer, loop, "fetch", timer_is_due);
	if (c->ca == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		free(c->ca);
		free(c);
		return NULL;
	}
	return &c->fetcher;
}
