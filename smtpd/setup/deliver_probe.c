/* SPDX-License-Identifier: ISC */
/*
 * One connection to a mail server, up to where a message would begin.
 *
 *     connect ─▶ (TLS) ─▶ 220 ─▶ EHLO ─▶ STARTTLS ─▶ TLS ─▶ EHLO ─▶ QUIT
 *
 * A server that will not begin TLS is said good-bye to as well: whether that is
 * enough is the policy's to say.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/mail/reply.h"
#include "smtpd/setup/deliver_test.h"

enum step { CONNECTING, SHAKING, BANNER, EHLO, STARTTLS, LEAVING };

static const char *const steps[] = {
	[CONNECTING] = "while connecting", [SHAKING] = "in the TLS handshake", [BANNER] = "at the greeting",
	[EHLO] = "after EHLO", [STARTTLS] = "after STARTTLS", [LEAVING] = "after QUIT",
};

struct reply_state {
	struct reply_reader reader;
	struct arena heard;
};

static void told(struct loop_call *c)
{
	struct probe *p = SUPER(c, struct probe, later);

	p->done(p);
}

static void forget_reader(struct probe *p)
{
	if (p->reader == NULL)
		return;
	reply_reader_fini(&p->reader->reader);
	arena_fini(&p->reader->heard);
	free(p->reader);
	p->reader = NULL;
}

static void finish(struct probe *p)
{
	forget_reader(p);
	loop_defer(p->loop, &p->later, told);
}

/* Politely when there is still somebody. */
static void leave(struct probe *p)
{
	p->step = LEAVING;
	conn_write(p->conn, STR("QUIT\r\n"));
	conn_close_politely(p->conn);
	p->conn = NULL;
	finish(p);
}

static void enter(struct probe *p, enum step step)
{
	p->step = (int)step;
	conn_deadline(p->conn, p->wait_ms);
	if (step == EHLO)
		conn_writef(p->conn, "EHLO %.*s\r\n", STR_ARG(p->hostname));
	else if (step == STARTTLS)
		conn_write(p->conn, STR("STARTTLS\r\n"));
	else if (step == SHAKING)
		conn_secure_expecting(p->conn, p->tls, &p->policy->expect);
}

static void read_keywords(struct probe *p, str lines)
{
	str line;

	p->starttls = false;
	str_cut(&lines, '\n', &line);
	while (str_cut(&lines, '\n', &line)) {
		str word = str_head(line, str_find(line, ' '));

		p->starttls = p->starttls || str_is_nocase(word, "STARTTLS");
		p->requiretls = p->requiretls || str_is_nocase(word, "REQUIRETLS");
	}
}

static void refused(struct probe *p, const struct reply *r)
{
	p->talked = true;
	p->code = r->code;
	p->said = arena_printf(p->arena, "%d %.*s%s%.*s", r->code, STR_ARG(r->esc), r->esc.n > 0 ? " " : "", STR_ARG(r->first));
	leave(p);
}

static void ehlo_answered(struct probe *p, const struct reply *r)
{
	bool secured = conn_tls(p->conn).on;

	read_keywords(p, r->text);
	if (p->starttls && !secured && !p->without_tls) {
		enter(p, STARTTLS);
		return;
	}
	p->greeted = true;
	leave(p);
}

static void reply_came(struct probe *p, const struct reply *r)
{
	bool good = r->code / 100 == 2;

	if (p->step == BANNER)
		p->greeting = str_keep(p->arena, r->first);
	if (p->step == STARTTLS && r->code != 220) {      /* it stays in the clear */
		p->greeted = true;
		leave(p);
	} else if (!good) {
		refused(p, r);
	} else if (p->step == BANNER) {
		enter(p, EHLO);
	} else if (p->step == STARTTLS) {
		enter(p, SHAKING);
	} else {
		ehlo_answered(p, r);
	}
}

static void fail(struct probe *p, str said)
{
	p->said = str_keep(p->arena, said);
	conn_close(p->conn);
	p->conn = NULL;
	finish(p);
}

static size_t bytes_came(struct conn *c, str in)
{
	struct probe *p = conn_user(c);
	struct reply r;
	bool done, bad;
	size_t used = reply_read(&p->reader->reader, &p->reader->heard, in, &r, &done, &bad);

	if (bad)
		fail(p, STR("it said something that is no SMTP reply"));
	else if (done && used < in.n)
		fail(p, STR("it talks out of turn"));
	else if (done)
		reply_came(p, &r);
	return used;
}

static void connected(struct conn *c)
{
	struct probe *p = conn_user(c);

	enter(p, p->implicit ? SHAKING : BANNER);
}

static void secured(struct conn *c)
{
	struct probe *p = conn_user(c);
	struct tls_state s = conn_tls(c);

	p->tls_state = s;
	p->tls_state.version = str_keep(p->arena, s.version);
	p->tls_state.cipher = str_keep(p->arena, s.cipher);
	p->tls_state.sni = STR_NONE;
	p->ncerts = conn_tls_chain(c, p->arena, p->certs, TEST_CERTS);
	enter(p, p->implicit ? BANNER : EHLO);
}

static void ended(struct conn *c, enum conn_end how)
{
	struct probe *p = conn_user(c);
	str why = conn_why(c);

	if (how == CONN_TIMEOUT)
		fail(p, arena_printf(p->arena, "it did not answer in time (%s)", steps[p->step]));
	else
		fail(p, arena_printf(p->arena, "%.*s (%s)", STR_ARG(why), steps[p->step]));
}

static const struct conn_events events = {
	.bytes = bytes_came, .connected = connected, .secured = secured, .ended = ended,
};

void probe_start(struct probe *p, const struct sockaddr *to, socklen_t n)
{
	p->step = CONNECTING;
	p->reader = calloc(1, sizeof(*p->reader));
	if (p->reader != NULL) {
		reply_reader_init(&p->reader->reader);
		arena_init(&p->reader->heard, 2 * REPLY_TOTAL_MAX);
		p->conn = conn_dial(p->loop, to, n, NULL, 0, &events, p);
	}
	if (p->conn == NULL) {
		p->said = STR("out of memory");
		finish(p);
		return;
	}
	conn_deadline(p->conn, p->wait_ms);
}

void probe_stop(struct probe *p)
{
	if (p->conn != NULL)
		conn_close(p->conn);
	p->conn = NULL;
	forget_reader(p);
	loop_undefer(&p->later);
}
