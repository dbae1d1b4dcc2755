/* SPDX-License-Identifier: ISC */
/*
 * A round's envelope: which recipients it has, what their message asks of the
 * server, and the lines of MAIL and RCPT.  Loop thread.
 */
#include "queue/deliver/client_inside.h"
#include "smtpd/mail/orcpt.h"

/* ---- what a message needs ------------------------------------------------------------------- */

static bool is_ascii(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

static uint64_t size_of(const struct lease *l)
{
	return lease_head(l).n + l->entry->bytes;
}

static str asked_for(const struct lease_rcpt *r)
{
	return r->to.n > 0 ? r->to : r->address;
}

static void refuse_what_needs_utf8(struct client *c)
{
	struct lease *l = c->lease;
	struct arena *a = client_arena(c);

	if (c->caps & CAP_SMTPUTF8)
		return;
	if (l->utf8_header)
		lease_settle_rest(l, FATE_BOUNCED, STR("5.6.9"),
		                  arena_printf(a, "%s cannot take header fields with letters beyond ASCII (SMTPUTF8)", c->host));
	for (size_t i = 0; i < l->n; i++) {
		if (!is_ascii(lease_sender(l, &l->v[i])))
			lease_settle(l, &l->v[i], FATE_BOUNCED, STR("5.6.7"),
			             arena_printf(a, "%s cannot take the sender's address (SMTPUTF8)", c->host));
		if (!is_ascii(asked_for(&l->v[i])))
			lease_settle(l, &l->v[i], FATE_BOUNCED, STR("5.6.7"),
			             arena_printf(a, "%s cannot take this address (SMTPUTF8)", c->host));
	}
}

/* RFC 6152 3: to convert the message would break its signatures. */
static void refuse_what_needs_8bit(struct client *c)
{
	const struct lease *l = c->lease;

	if ((l->entry->flags & MESSAGE_8BIT) && !(c->caps & CAP_8BITMIME) && l->setup->relay->eight_bit == EIGHT_BIT_BOUNCE)
		lease_settle_rest(c->lease, FATE_BOUNCED, STR("5.6.3"),
		                  arena_printf(client_arena(c), "%s cannot take letters beyond ASCII in a message (8BITMIME)", c->host));
}

/* RFC 1870 6: no need to ask who has said that it will not take this much. */
static void refuse_what_is_too_large(struct client *c)
{
	if (c->size_limit > 0 && size_of(c->lease) > c->size_limit)
		lease_settle_rest(c->lease, FATE_BOUNCED, STR("5.3.4"),
		                  arena_printf(client_arena(c), "The message has %llu bytes; %s takes no more than %llu",
		                               (unsigned long long)size_of(c->lease), c->host,
		                               (unsigned long long)c->size_limit));
}

/* ---- a round ------------------------------------------------------------------------------------ */

/* What stands in front of the message is said to all of a round. */
static bool shares_round(struct client *c, const struct lease_rcpt *r)
{
	if (c->nround == 0) {
		c->from = lease_sender(c->lease, r);
		c->head = r->head;
		c->utf8 = c->utf8 || !is_ascii(c->from) || !is_ascii(c->head);
	}
	return str_eq(lease_sender(c->lease, r), c->from) && str_eq(r->head, c->head);
}

void client_begin_round(struct client *c)
{
	struct lease *l = c->lease;
	size_t most = c->rcpt_most > 0 && c->rcpt_most < ROUND_MOST ? c->rcpt_most : ROUND_MOST;

	refuse_what_needs_utf8(c);
	refuse_what_needs_8bit(c);
	refuse_what_is_too_large(c);
	c->nround = c->asked = c->answered = c->naccepted = c->finals = 0;
	c->mail_code = 0;
	c->utf8 = l->utf8_header;
	for (size_t i = 0; i < l->n && c->nround < most; i++) {
		if (l->v[i].settled || !shares_round(c, &l->v[i]))
			continue;
		c->utf8 = c->utf8 || !is_ascii(asked_for(&l->v[i]));
		c->accepted[c->nround] = false;
		c->round[c->nround++] = &l->v[i];
	}
	if (c->nround == 0)
		client_over(c);
	else
		client_enter(c, c->dirty ? ST_RSET : ST_MAIL);
}

/* ---- its lines -------------------------------------------------------------------------------- */

static void say_xtext(struct client *c, str s)                      /* RFC 3461 4 */
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char b = (unsigned char)s.p[i];

		if (b <= ' ' || b == '+' || b == '=' || b == 0x7f)
			conn_writef(c->conn, "+%02X", b);
		else
			conn_write(c->conn, (str){ &s.p[i], 1 });
	}
}

static void say_path(struct client *c, str verb, str address)
{
	conn_write(c->conn, verb);
	conn_write(c->conn, address);
	conn_write(c->conn, STR(">"));
}

void client_say_mail(struct client *c)
{
	const struct queue_entry *e = c->lease->entry;

	say_path(c, STR("MAIL FROM:<"), c->from);
	if (c->caps & CAP_SIZE)
		conn_writef(c->conn, " SIZE=%llu", (unsigned long long)(size_of(c->lease) + c->head.n));
	if ((e->flags & MESSAGE_8BIT) && (c->caps & CAP_8BITMIME))
		conn_write(c->conn, STR(" BODY=8BITMIME"));
	if (c->utf8)
		conn_write(c->conn, STR(" SMTPUTF8"));
	if (!c->lmtp && (e->flags & MESSAGE_REQUIRETLS))        /* RFC 8689 4.2.1 */
		conn_write(c->conn, STR(" REQUIRETLS"));
	if (!c->lmtp && (c->caps & CAP_DSN)) {
		if (e->flags & (MESSAGE_RET_FULL | MESSAGE_RET_HDRS))
			conn_writef(c->conn, " RET=%s", e->flags & MESSAGE_RET_FULL ? "FULL" : "HDRS");
		if (e->envid.n > 0 && is_ascii(e->envid)) {
			conn_write(c->conn, STR(" ENVID="));
			say_xtext(c, e->envid);
		}
	}
	conn_write(c->conn, STR("\r\n"));
}

static void say_notify(struct client *c, unsigned flags)
{
	static const struct { unsigned flag; const char *word; } words[] = {
		{ RCPT_NOTIFY_NEVER, "NEVER" }, { RCPT_NOTIFY_SUCCESS, "SUCCESS" },
		{ RCPT_NOTIFY_FAILURE, "FAILURE" }, { RCPT_NOTIFY_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";

	for (size_t i = 0; i < COUNT(words); i++)
		if (flags & words[i].flag) {
			conn_writef(c->conn, "%s%s", before, words[i].word);
			before = ",";
		}
}

/* RFC 3461 4.2, RFC 6533 3.  What would be too long is left out: a server that
 * refuses the parameter refuses the recipient. */
static void say_orcpt(struct client *c, str orcpt)
{
	size_t semicolon = str_find(orcpt, ';');
	str type = str_head(orcpt, semicolon), address = str_skip(orcpt, semicolon + 1);

	if (semicolon == orcpt.n)
		return;
	if (orcpt_is_utf8(orcpt)) {
		address = orcpt_encode(client_arena(c), address, c->utf8);
		if (address.n > 0 && type.n + 1 + address.n <= ORCPT_MOST)
			conn_writef(c->conn, " ORCPT=%.*s;%.*s", STR_ARG(type), STR_ARG(address));
	} else if (is_ascii(orcpt)) {
		conn_writef(c->conn, " ORCPT=%.*s;", STR_ARG(type));
		say_xtext(c, address);
	}
}

void client_say_rcpt(struct client *c, const struct lease_rcpt *r)
{
	say_path(c, STR("RCPT TO:<"), asked_for(r));
	if (!c->lmtp && (c->caps & CAP_DSN)) {
		say_notify(c, r->flags);
		say_orcpt(c, r->orcpt);
	}
	conn_write(c->conn, STR("\r\n"));
}
