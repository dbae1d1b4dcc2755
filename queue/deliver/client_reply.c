/* SPDX-License-Identifier: ISC */
/*
 * What a peer's answer means (RFC 5321 4.2.1), how it is told to people, and how
 * long it is waited for.
 * Loop thread.
 */
#include "queue/deliver/client_inside.h"

str client_reply_said(struct arena *a, const struct reply *r)
{
	str text = str_head(r->text, SAID_MAX);

	return arena_printf(a, "%d%s%.*s%s%.*s", r->code, r->esc.n > 0 ? " " : "", STR_ARG(r->esc),
	                    text.n > 0 ? " " : "", STR_ARG(text));
}

str client_reply_status(struct arena *a, const struct reply *r)
{
	return r->esc.n > 0 ? str_keep(a, r->esc) : arena_printf(a, "%d.0.0", r->code >= 500 ? 5 : 4);
}

/* The gravest word of an attempt counts. */
void client_reply_pace(struct client *c, const struct reply *r)
{
	enum pace_when when = c->state <= ST_AUTH ? PACE_TO_US : c->state <= ST_MAIL ? PACE_OF_SENDER : PACE_OF_MESSAGE;
	struct pace p = pace_of(when, r->code, r->esc, r->text);

	if (!c->lmtp && p.kind > c->lease->pace.kind)
		c->lease->pace = p;
}

bool client_reply_positive(const struct reply *r)
{
	return r->code / 100 == 2;
}

/* What is neither 2xx nor 5xx, an answer out of place among them, may pass. */
enum fate client_reply_fate(const struct reply *r)
{
	return r->code >= 500 ? FATE_BOUNCED : FATE_DEFERRED;
}

/* ---- how long it may take -------------------------------------------------------- */

/* RFC 5321 4.5.3.2, where the options say nothing. */
uint64_t client_wait_ms(const struct client *c, enum wait wait)
{
	const struct relay_conf *r = c->lease->setup->relay;
	const uint64_t set[] = { [WAIT_COMMAND] = r->command_ms, [WAIT_DATA] = r->data_ms, [WAIT_FINAL] = r->final_ms,
	                         [WAIT_TLS] = r->tls_ms };
	static const uint64_t minutes[] = { [WAIT_COMMAND] = 5, [WAIT_DATA] = 3, [WAIT_FINAL] = 10, [WAIT_TLS] = 1 };

	return set[wait] > 0 ? set[wait] : minutes[wait] * 60 * 1000;
}
