/* SPDX-License-Identifier: ISC */
/*
 * Whatever a client sends: a whole session over a socket pair, with the queue
 * and logins in memory.  The first three bytes choose the listener, how far the
 * disk is behind and how the rest is cut into pieces.
 *
 * Whatever came, what was stored from a stranger holds no bare CR, bare LF or
 * NUL, nothing went elsewhere without a login, and nothing stays behind.
 */
#include "tests/unit/session_house.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void build_once(void)
{
	static bool built;

	if (built)
		return;
	built = true;
	house_open();
	h.limits.message_size = 32768;
	h.limits.header_size = 8192;
	h.limits.field_size = 4096;
	h.limits.fields = 50;
	h.limits.recipients = 20;
	h.limits.errors = h.limits.idle_commands = 1000;
}

static void look_at_stored(const struct stored *s, bool login)
{
	must(s->header_bytes <= s->n);
	for (size_t i = 0; i < s->n; i++) {
		must(s->content[i] != '\0');
		must(s->content[i] != '\n' || (i > 0 && s->content[i - 1] == '\r'));
		must(s->content[i] != '\r' || (i + 1 < s->n && s->content[i + 1] == '\n'));
	}
	for (size_t i = 0; i < s->nrcpts && !login; i++)
		must((s->rcpts[i].flags & (RCPT_LOCAL | RCPT_ROUTE)) == RCPT_LOCAL ||
		     strcmp(s->rcpts[i].text, "far@elsewhere.test") == 0 /* what sales@ leads to */);
}

static void begin(bool submission)
{
	client_from(submission ? &h.submission : &h.mx, "192.0.2.1");
	hear();
	if (!submission)
		return;
	the_session()->peer.tls.on = true;
	the_session()->peer.login = STR("alice@here.test");
}

static void feed(const char *p, size_t n, size_t piece)
{
	for (size_t at = 0; at < n && !h.eof; at += piece) {
		client_say_bytes(p + at, n - at < piece ? n - at : piece);
		turn();
		client_listen();
		if (h.nheard > sizeof(h.heard) / 2)
			h.nheard = 0;
	}
}

/* Until the server has nothing more to do with what came. */
static void settle(void)
{
	for (int i = 0; i < 20; i++)
		turn();
	client_close();
	UNTIL(h.front->sessions == NULL);
	conn_leave_now(h.loop);
	turn();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool submission;

	build_once();
	if (size < 3)
		return 0;
	submission = data[0] & 1;
	q.spool_blocks_after = data[1] % 32;
	module.say[ON_RCPT] = data[0] & 2 ? SAY_QUARANTINE : SAY_NEXT;
	module.say[ON_MESSAGE] = data[0] & 4 ? SAY_DEFER : SAY_NEXT;
	begin(submission);
	feed((const char *)data + 3, size - 3, data[2] == 0 ? size : data[2]);
	settle();
	for (size_t i = 0; i < q.nstored; i++) {
		look_at_stored(&q.stored[i], submission);
		free(q.stored[i].content);
	}
	q.nstored = 0;
	must(q.spools == 0 && limits_memory() == 0 && limits_connections() == 0);
	return 0;
}
