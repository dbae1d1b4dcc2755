/* SPDX-License-Identifier: ISC */
/*
 * watch_outcome: what comes of a step, or of a look at a key by hand.
 *
 * Gates follow what was seen, a reload follows keys that were made, and what was
 * held for want of a signature is released when its domain begins to sign.  Log
 * lines are written here alone, and for news alone.  Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/keys/watch_inside.h"

#define AGAIN_S  300               /* after a step that failed */

static void remember(struct item *i, str said, bool signs, bool troubled)
{
	free(i->said);
	i->said = strndup(said.p != NULL ? said.p : "", said.n);
	must(i->said != NULL);
	i->signs = signs;
	i->troubled = troubled;
}

static void log_news(const struct step *s)
{
	for (size_t i = 0; i < s->told.n; i++) {
		const struct life_news *n = &s->told.v[i];

		log_event(NULL, n->event == LIFE_NEWS_DRIFT ? LOG_WARN : LOG_NOTICE, life_event_word(n->event), KV("domain", s->plan.domain),
		          KV("selector", n->selector), KV("what", n->text));
	}
	if (s->changed > 0)
		log_event(NULL, LOG_NOTICE, "key.records-written", KV("domain", s->plan.domain), KV("server", s->plan.update->server),
		          KV_N("records", s->changed));
	if (s->trouble.n > 0)
		log_event(NULL, LOG_ERROR, "key.failed", KV("domain", s->plan.domain), KV("why", s->trouble));
}

static void set_gates(const struct step *s)
{
	for (size_t i = 0; i < s->book.n; i++) {
		const struct life_key *k = &s->book.keys[i];
		struct dkim_gate *gate = key_gate(s->plan.domain, k->selector, false);

		if (gate != NULL)
			gate->open = life_signs(&s->book, k);
	}
}

static void step_failed(const struct round *r)
{
	struct item *i = r->item;

	log_event(NULL, LOG_ERROR, "key.failed", KV_C("domain", i->domain), KV("why", r->why.n > 0 ? r->why : str_of(err_text(r->result))));
	remember(i, r->why, i->signs, true);
	i->due = clock_wall() + AGAIN_S;
}

/* Never at once but for looks that are left: what could not be done now cannot be
 * done a moment later. */
static int64_t when_again(const struct step *s)
{
	int64_t next = s->next > s->now ? s->next : s->now + 1;

	if (s->trouble.n > 0)
		return next > s->now + AGAIN_S ? s->now + AGAIN_S : next < s->now + WATCH_FIRST_S ? s->now + WATCH_FIRST_S : next;
	return s->more ? s->now : next;
}

static void step_done(struct key_watch *w, struct round *r)
{
	struct step *s = &r->step;
	struct item *i = r->item;
	bool signed_before = i->signs, signs = life_any_signs(&s->book), troubled = life_troubled(&s->plan.life, &s->book, s->now);
	str said = life_summary(&s->plan.life, &s->book, s->now, &r->arena), why = STR_NONE;

	log_news(s);
	set_gates(s);
	if (i->said == NULL || !str_is(said, i->said))
		log_event(NULL, troubled ? LOG_WARN : LOG_NOTICE, "keys.seen", KV_C("domain", i->domain), KV("what", said));
	remember(i, said, signs, troubled);
	i->due = when_again(s);
	w->behind = w->behind || s->made;
	if (w->behind && !w->server->stopping) {
		w->behind = server_reload(w->server, &why) != OK;
		if (w->behind)
			log_event(NULL, LOG_ERROR, "configuration.refused", KV_C("file", w->server->file), KV("why", why),
			          KV_C("means", "the new keys cannot sign yet: mend it and reload"));
	}
	if (signs && !signed_before)
		server_release_unsigned(w->server, s->plan.domain);
}

static void look_done(struct key_watch *w, struct round *r)
{
	struct item *i = r->item;
	struct dkim_gate *gate = key_gate(str_of(i->domain), str_of(i->selector), true);
	bool other = r->result == OK && r->look.sight == LIFE_OTHER, shown = r->result == OK && r->look.sight == LIFE_SHOWN;

	if (gate == NULL)
		return;
	if (other && (gate->open || i->said == NULL || !str_is(r->look.said, i->said)))
		log_event(NULL, LOG_WARN, "key.drifted", KV_C("domain", i->domain), KV_C("selector", i->selector), KV("what", r->look.said),
		          KV_C("next", "it does not sign until DNS shows its record again; `postern key show` prints that"));
	if (shown && !gate->open)
		log_event(NULL, LOG_NOTICE, "key.mended", KV_C("domain", i->domain), KV_C("selector", i->selector),
		          KV_C("what", "DNS shows its record: it signs again"));
	if (other || shown)
		gate->open = shown;
	remember(i, r->look.said, gate->open, other || (i->troubled && !shown));
	if (shown && !w->server->stopping)
		server_release_unsigned(w->server, str_of(i->domain));
}

void round_apply(struct key_watch *w, struct round *r)
{
	if (r->item->selector != NULL)
		look_done(w, r);
	else if (r->result == OK || r->result == ERR_DENIED)
		step_done(w, r);
	else
		step_failed(r);
}
