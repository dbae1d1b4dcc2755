/* SPDX-License-Identifier: ISC */
/*
 * What is said of a recipient is kept in the lease's arena, as one line.
 * Whoever holds the lease.
 */
#include "queue/deliver/lease.h"

static str one_line(struct arena *a, str said)
{
	str    kept = str_keep(a, str_head(said, SAID_MAX));
	char  *p = (char *)(uintptr_t)kept.p;

	for (size_t i = 0; i < kept.n; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
			p[i] = ' ';
	return kept;
}

void lease_settle(struct lease *l, struct lease_rcpt *r, enum fate fate, str status, str said)
{
	if (r->settled)
		return;
	r->settled = true;
	r->fate = fate;
	r->status = str_keep(&l->arena, status);
	r->said = one_line(&l->arena, said);
}

enum fate lease_unreadable(struct arena *a, enum err e, str *said)
{
	if (e == ERR_BAD) {
		*said = STR("What is stored of this message was damaged on the disk, so it was not sent: it is held. "
		            "Look at it with \"postern queue show\", then export or remove it");
		return FATE_HELD;
	}
	*said = arena_printf(a, "The message could not be read from the queue: %s", err_text(e));
	return FATE_DEFERRED;
}

void lease_settle_rest(struct lease *l, enum fate fate, str status, str said)
{
	for (size_t i = 0; i < l->n; i++)
		lease_settle(l, &l->v[i], fate, status, said);
}
