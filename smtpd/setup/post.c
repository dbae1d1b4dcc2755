/* SPDX-License-Identifier: ISC */
/*
 * Letters that main writes go in by a loop, as all mail does, and come home with
 * what became of them.
 */
#include <stdlib.h>

#include "queue/letter.h"
#include "smtpd/base/log.h"
#include "smtpd/setup/serve.h"

struct post { struct baton baton; struct letter *letter; };

static void handed_over(struct baton *b)                           /* a loop's thread */
{
	struct post *p = SUPER(b, struct post, baton);
	struct letter *l = p->letter;

	free(p);
	inject_letter(&l->baton);
}

static void came_home(struct baton *b)
{
	struct letter *l = SUPER(b, struct letter, baton);

	if (l->result != OK)
		log_event(NULL, LOG_WARN, "letter.failed", KV("to", l->rcpt), KV_C("why", err_text(l->result)));
	letter_free(l);
}

void server_post(struct server *s, struct letter *l)
{
	struct post *p = calloc(1, sizeof(*p));

	if (p == NULL) {
		letter_free(l);
		return;
	}
	l->baton.home = s->main->mbox;
	l->baton.arrived = came_home;
	p->letter = l;
	p->baton.arrived = handed_over;
	loop_send(s->loops[0], &p->baton);
}
