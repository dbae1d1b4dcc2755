/* SPDX-License-Identifier: ISC */
/*
 * A whole house around the session, in one thread: the real base, mail and
 * chain rooms, and in place of queue and auth fakes that a test holds by the
 * hand (a put, a spool or a login stays out until the test lets it come home).
 * Included once by each test program: the fakes stand in for the archives.
 */
#ifndef TESTS_SESSION_HOUSE_H
#define TESTS_SESSION_HOUSE_H

#include "tests/unit/session_fake_auth.h"
#include "tests/unit/session_fake_queue.h"

/* ---- a module that does what the test wants ------------------------------------------ */

enum hook { ON_CONNECT, ON_HELO, ON_MAIL, ON_RCPT, ON_MESSAGE, ON_QUEUE, HOOKS };

static struct {
	enum say    say[HOOKS];
	struct mod *waiting;
	size_t      headers, bodies, body_bytes, dones;
	const char *adds;                   /* a field, in the queue hook */
	bool        replies;
	const char *fragile;                /* why nobody else would take it */
} module;

static enum say module_says(struct mod *m, enum hook hook)
{
	if (module.replies)
		mod_reply(m, module.say[hook] == SAY_DEFER ? 450 : 550, module.say[hook] == SAY_DEFER ? "4.7.99" : "5.7.99",
		          STR("the module says so"));
	if (module.say[hook] == SAY_WAIT)
		module.waiting = m;
	return module.say[hook];
}

static enum say on_connect(struct mod *m) { return module_says(m, ON_CONNECT); }
static enum say on_helo(struct mod *m, str name) { (void)name; return module_says(m, ON_HELO); }
static enum say on_mail(struct mod *m, const struct path *p) { (void)p; return module_says(m, ON_MAIL); }
static enum say on_rcpt(struct mod *m, const struct path *p) { (void)p; return module_says(m, ON_RCPT); }
static enum say on_message(struct mod *m)
{
	if (module.fragile != NULL)
		mod_fragile(m, str_of(module.fragile));
	return module_says(m, ON_MESSAGE);
}
static void on_header(struct mod *m, const struct field *f) { (void)m; (void)f; module.headers++; }
static void on_body(struct mod *m, str s) { (void)m; module.bodies++; module.body_bytes += s.n; }
static void on_done(struct mod *m) { module.dones++; if (module.waiting == m) module.waiting = NULL; }
static void on_gone(struct mod *m) { if (module.waiting == m) module.waiting = NULL; }

static enum say on_queue(struct mod *m, struct added *added)
{
	if (module.adds != NULL)
		added_field(added, str_of(module.adds));
	return module_says(m, ON_QUEUE);
}

static void on_results(const struct mod *m, struct authres *r)
{
	if (m->in->origin == FROM_STRANGER)
		authres_method(r, "test", "pass", STR_NONE);
}

static const struct module test_module = {
	.name = "test", .connect = on_connect, .helo = on_helo, .mail = on_mail, .rcpt = on_rcpt, .header = on_header,
	.body = on_body, .message = on_message, .queue = on_queue, .results = on_results, .done = on_done,
	.gone = on_gone, .msg_size = 64, .conn_size = 32,
};

/* ---- the house -------------------------------------------------------------------------- */

struct house {
	struct arena         arena;
	struct loop         *loop;
	struct front        *front;
	struct session_setup setup;
	struct limits_conf   limits;
	struct forward_conf  forward;
	struct listener_conf mx, submission;
	struct front_swap    swap;
	bool                 swapped;
	int                  fd;              /* the client's end; -1: closed */
	char                 heard[65536];
	size_t               nheard;
	bool                 eof;
	char                 reply[65536];
};

static struct house h;
static const unsigned char house_secret[SRS_SECRET] = "thirty-two octets that are known";

static void house_swapped(struct baton *b)
{
	(void)b;
	h.swapped = true;
}

static void turn(void)
{
	ev_run(h.loop->ev, EVRUN_NOWAIT);
}

/* Turns until `cond`; fails the test when it never comes. */
#define UNTIL(cond)                                                                       \
	do {                                                                              \
		uint64_t until_ = clock_ms() + PATIENCE_MS;                               \
		while (!(cond)) {                                                         \
			if (clock_ms() > until_)                                          \
				fail_msg("never came true: %s", #cond);                   \
			turn();                                                           \
		}                                                                         \
	} while (0)

static const struct limits_conf limits_default = {
	.message_size = 1 << 20, .header_size = 65536, .field_size = 16384, .fields = 200,
	.recipients = 1000, .recipients_before_good = 100, .messages_inbound = 100, .messages_submission = 1000,
	.errors = 10, .idle_commands = 50, .connections = 1000, .connections_address = 20, .connections_network = 50,
	.received_fields = 100, .command_timeout_ms = 300000, .data_timeout_ms = 180000, .tls_timeout_ms = 30000,
	.crawl_bytes = 100, .crawl_ms = 600000, .memory = 256 << 20,
};

static void add_account(struct directory *d, const char *address)
{
	assert_int_equal(directory_add_account(d, str_of(address)), OK);
}

HELPER void add_alias(struct directory *d, const char *address, size_t n, const char *const *targets)
{
	struct strs list = { ARENA_ARRAY(&h.arena, str, n), n };

	for (size_t i = 0; i < n; i++)
		list.v[i] = str_of(targets[i]);
	assert_int_equal(directory_add_alias(d, str_of(address), &list), OK);
}

/* here.test: alice, bob, aliases; office.test: bob, a catch-all, a route; copied.test: a copy. */
static struct directory *house_directory(struct arena *a)
{
	struct directory *d = directory_new(a, '+');
	const struct directory_domain here = { .name = STR("here.test") };
	const struct directory_domain office = { .name = STR("office.test"), .route = STR("127.0.0.1:2525"),
		                                 .catch_all = STR("bob@office.test") };
	const struct directory_domain copied = { .name = STR("copied.test"), .copy = STR("archive@here.test") };

	assert_int_equal(directory_add_domain(d, &here), OK);
	assert_int_equal(directory_add_domain(d, &office), OK);
	assert_int_equal(directory_add_domain(d, &copied), OK);
	add_account(d, "alice@here.test");
	add_account(d, "bob@here.test");
	add_account(d, "archive@here.test");
	add_account(d, "bob@office.test");
	add_account(d, "carol@copied.test");
	add_alias(d, "sales@here.test", 2, (const char *const[]){ "alice@here.test", "far@elsewhere.test" });
	add_alias(d, "both@here.test", 2, (const char *const[]){ "alice@here.test", "bob@here.test" });
	add_alias(d, "circle@here.test", 1, (const char *const[]){ "circle2@here.test" });
	add_alias(d, "circle2@here.test", 1, (const char *const[]){ "circle@here.test" });
	directory_set_postmaster(d, STR("alice@here.test"));
	return d;
}

static void house_open(void)
{
	static const struct module *const modules[] = { &test_module, NULL };
	const void *const confs[] = { NULL };
	str why = STR_NONE;

	memset(&h, 0, sizeof(h));
	memset(&q, 0, sizeof(q));
	memset(&module, 0, sizeof(module));
	memset(&fake_logins, 0, sizeof(fake_logins));
	log_level_set(LOG_ERROR);
	crypt_setup();
	chain_counters(modules);
	session_counters();
	h.fd = -1;
	arena_init(&h.arena, ARENA_UNBOUNDED);
	h.loop = q.loop = loop_new(0, NULL);
	h.front = front_new(h.loop, 1);
	h.limits = limits_default;
	h.forward = (struct forward_conf){ .srs = true, .srs_bounces_only = true, .srs_age_ms = (uint64_t)21 * 86400 * 1000 };
	h.mx = (struct listener_conf){ .head.title = STR("mx"), .role = ROLE_INBOUND, .tls = TLS_STARTTLS };
	h.submission = (struct listener_conf){ .head.title = STR("sub"), .role = ROLE_SUBMISSION, .tls = TLS_REQUIRED };
	h.setup = (struct session_setup){
		.hostname = STR("mail.here.test"), .authserv_id = STR("mail.here.test"), .limits = &h.limits,
		.forward = &h.forward, .secret = house_secret, .directory = house_directory(&h.arena), .chain = chain_new(modules, confs, &h.arena, &why),
	};
	assert_non_null(h.setup.chain);
	h.swap = (struct front_swap){ .baton = { .home = h.loop->mbox, .arrived = house_swapped }, .front = h.front,
		                      .setup = &h.setup };
	front_swap(&h.swap);
	UNTIL(h.swapped);
}

static void client_close(void)
{
	if (h.fd >= 0)
		close(h.fd);
	h.fd = -1;
	h.nheard = 0;
	h.eof = false;
}

/* Nothing stays behind, whatever the test did. */
static void house_close(void)
{
	client_close();
	release_puts();
	UNTIL(h.front->sessions == NULL);
	turn();
	conn_leave_now(h.loop);
	turn();
	assert_int_equal(limits_memory(), 0);
	assert_int_equal(limits_connections(), 0);
	assert_int_equal(q.spools, 0);
	assert_int_equal(fake_logins.tries, 0);
	for (size_t i = 0; i < q.nstored; i++)
		free(q.stored[i].content);
	front_free(h.front);
	loop_free(h.loop);
	arena_fini(&h.arena);
}

/* ---- a client ----------------------------------------------------------------------------- */

HELPER void client_from(const struct listener_conf *listener, const char *ip)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(4000) };
	struct limits_place place;
	int fd[2];

	client_close();
	assert_int_equal(inet_pton(AF_INET, ip, &sa.sin_addr), 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	h.fd = fd[0];
	assert_int_equal(limits_enter(&h.limits, listener, (struct sockaddr *)&sa, &place), LIMIT_NONE);
	session_open(h.front, listener, fd[1], (struct sockaddr *)&sa, &place);
}

HELPER struct session *the_session(void)
{
	assert_non_null(h.front->sessions);
	return h.front->sessions;
}

static void client_say_bytes(const char *p, size_t n)
{
	while (n > 0) {
		ssize_t did = send(h.fd, p, n, MSG_NOSIGNAL);

		if (did < 0 && errno == EAGAIN) {
			turn();
			continue;
		}
		if (did < 0)
			return;              /* the server has closed: hear() will tell */
		p += did;
		n -= (size_t)did;
	}
}

static void client_say(const char *text)
{
	client_say_bytes(text, strlen(text));
}

static void client_listen(void)
{
	ssize_t n = recv(h.fd, h.heard + h.nheard, sizeof(h.heard) - h.nheard, 0);

	if (n > 0)
		h.nheard += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		h.eof = true;
}

/* Where the first whole reply in h.heard ends; 0: it is not there yet. */
static size_t reply_end(void)
{
	size_t at = 0;

	for (;;) {
		const char *lf = memchr(h.heard + at, '\n', h.nheard - at);
		size_t next;

		if (lf == NULL)
			return 0;
		next = (size_t)(lf - h.heard) + 1;
		if (next - at >= 4 && h.heard[at + 3] != '-')
			return next;
		at = next;
	}
}

/* The next reply, lines and all, without the last CRLF; "" at the end. */
HELPER const char *hear(void)
{
	uint64_t until = clock_ms() + PATIENCE_MS;
	size_t   n;

	while ((n = reply_end()) == 0 && !h.eof) {
		if (clock_ms() > until)
			fail_msg("no reply came");
		turn();
		client_listen();
	}
	memcpy(h.reply, h.heard, n);
	h.reply[n >= 2 ? n - 2 : 0] = '\0';
	memmove(h.heard, h.heard + n, h.nheard - n);
	h.nheard -= n;
	return h.reply;
}

HELPER void hear_eof(void)
{
	assert_string_equal(hear(), "");
	assert_true(h.eof);
}

/* Says a line (CRLF is added; NULL: nothing) and wants a reply that begins so. */
HELPER void talk_at(const char *line, const char *want, const char *file, int at)
{
	if (line != NULL) {
		client_say(line);
		client_say("\r\n");
	}
	if (strncmp(hear(), want, strlen(want)) != 0) {
		print_error("said: %.200s\nwant: %s\ngot:  %.300s\n", line ? line : "(nothing)", want, h.reply);
		_fail(file, at);
	}
}
#define talk(line, want) talk_at(line, want, __FILE__, __LINE__)

HELPER void client_hello(void)
{
	client_from(&h.mx, "192.0.2.1");
	talk(NULL, "220 mail.here.test ");
	talk("EHLO client.test", "250-mail.here.test\r\n");
}

/* A submission session, as after a TLS handshake and AUTH. */
HELPER void client_login(const char *login)
{
	struct session *s;

	client_from(&h.submission, "192.0.2.1");
	talk(NULL, "220 ");
	s = the_session();
	s->peer.tls = (struct tls_state){ .on = true, .version = STR("TLSv1.3"), .cipher = STR("X"), .bits = 256 };
	talk("EHLO client.test", "250-");
	if (login != NULL) {
		struct arena a;
		char plain[200];
		int  n = snprintf(plain, sizeof(plain), "%c%s%csecret", 0, login, 0);

		arena_init(&a, 4096);
		client_say("AUTH PLAIN ");
		client_say_bytes(base64_encode(&a, (str){ plain, (size_t)n }).p, base64_encode(&a, (str){ plain, (size_t)n }).n);
		talk("", "235 2.7.0");
		arena_fini(&a);
	}
}

HELPER struct stored *last_stored(void)
{
	assert_true(q.nstored > 0);
	return &q.stored[q.nstored - 1];
}

HELPER int house_setup(void **state)
{
	(void)state;
	house_open();
	return 0;
}

HELPER int house_teardown(void **state)
{
	(void)state;
	house_close();
	return 0;
}

#define HOUSE_TEST(f) cmocka_unit_test_setup_teardown(f, house_setup, house_teardown)

#endif
