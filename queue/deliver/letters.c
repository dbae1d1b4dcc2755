/* SPDX-License-Identifier: ISC */
/*
 * Letters: written on the disk desk, handed to a loop, home again.
 *
 * An errand is one letter on its way.  One that could not be stored is tried
 * again; when too many wait so, a bounce is thrown away and its recipients are
 * tried again in its stead, a notice is thrown away.  A bounce that can never
 * be stored does not keep its original alive.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

#include "smtpd/mail/advice.h"

#define NOTICE_TRIES 10

struct errand {
	struct due_item     due;
	struct baton        post;        /* carries the letter to its loop */
	void              (*take_letter)(struct baton *);
	struct bounce      *bounce;      /* while it is written */
	struct letter      *letter;
	struct message     *message;     /* while it is written */
	struct part        *part;        /* a bounce's; NULL: a notice */
	struct queue_fates *then;        /* to be sent off once it is written */
	struct settings    *settings;    /* while it is written */
	struct queue_fates *told;        /* delay notices: to be sent off once it is stored */
	uint64_t            about;       /* the message it speaks of */
	unsigned            tries;
};

static void errand_free(struct errand *e)
{
	letter_free(e->letter);
	if (e->told != NULL)
		queue_fates_free(e->told);
	free(e);
}

/* ---- to a loop and back ------------------------------------------------------------------------ */

static void handed_over(struct baton *b)                           /* a loop's thread */
{
	struct errand *e = SUPER(b, struct errand, post);

	e->take_letter(&e->letter->baton);
}

static void letter_came_home(struct baton *);

static void send_letter(struct timetable *t, struct errand *e)
{
	e->letter->baton.home = t->inbox;
	e->letter->baton.arrived = letter_came_home;
	e->letter->user = e;
	e->take_letter = t->take_letter;
	e->post.arrived = handed_over;
	t->letters++;
	loop_send(t->loops[t->next_loop++ % t->nloops], &e->post);
}

static void log_letter(const struct letter *l, uint64_t about, const char *event)
{
	char id[QUEUE_ID_TEXT], of[QUEUE_ID_TEXT];
	struct log log = { .id = queue_id_text(about, of) };

	log_event(&log, l->result == OK ? LOG_INFO : LOG_WARN, event, KV("letter", queue_id_text(l->id, id)),
	          KV("to", l->rcpt), KV_C("result", l->result == OK ? "stored" : err_text(l->result)));
}

static void stored(struct timetable *t, struct errand *e)
{
	struct part *p = e->part;

	if (p != NULL) {
		log_letter(e->letter, p->message->id, "bounce.sent");
		atomic_fetch_add(&t->figures.bounced, p->n);
		part_settled(t, p);
	} else if (e->told != NULL) {
		log_letter(e->letter, e->told->id, "notice.sent");
		if (message_find(t, e->told->id) != NULL)
			fates_fire(t, e->told);
		else
			queue_fates_free(e->told);
		e->told = NULL;
	} else {
		log_letter(e->letter, e->about, "letter.sent");
	}
	errand_free(e);
}

/* Our own session refused it for good. */
static void refused(struct timetable *t, struct errand *e)
{
	struct part *p = e->part;

	log_letter(e->letter, e->about, p != NULL ? "bounce.refused" : "letter.refused");
	if (p != NULL) {
		atomic_fetch_add(&t->figures.bounced, p->n);
		part_fate(t, p, FATE_BOUNCED, 0, STR("bounced; the notice could not be sent"), AFTER_DROP);
	}
	errand_free(e);
}

static void thrown_away(struct timetable *t, struct errand *e)
{
	log_letter(e->letter, e->about, e->part != NULL ? "bounce.put_off" : "letter.dropped");
	if (e->part != NULL)
		part_wait(t, e->part, clock_wall() + 60);
	errand_free(e);
}

static void try_again(struct timetable *t, struct errand *e)
{
	int64_t wait = (int64_t)(relay(t)->retry_first_ms / 10000 + 1) << (e->tries < 5 ? e->tries : 5);

	e->tries++;
	if (t->kept_letters >= LETTERS_KEPT || (e->part == NULL && e->tries > NOTICE_TRIES) ||
	    !due_put(&t->errands, &e->due, clock_wall() + wait)) {
		thrown_away(t, e);
		return;
	}
	t->kept_letters++;
}

static void letter_came_home(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct letter *l = SUPER(b, struct letter, baton);
	struct errand *e = l->user;

	t->letters--;
	if (t->ended)                    /* its recipients are looked at by the next life */
		errand_free(e);
	else if (l->result == OK)
		stored(t, e);
	else if (l->result == ERR_BAD)
		refused(t, e);
	else
		try_again(t, e);
}

void errand_due(struct timetable *t, struct due_item *d)
{
	t->kept_letters--;
	send_letter(t, SUPER(d, struct errand, due));
}

void errands_free(struct timetable *t)
{
	struct due_item *d;

	while ((d = due_first(&t->errands)) != NULL) {
		due_remove(&t->errands, d);
		errand_free(SUPER(d, struct errand, due));
	}
}

/* ---- writing -------------------------------------------------------------------------------------- */

static void not_written(struct timetable *t, struct errand *e)
{
	if (e->part != NULL)
		part_wait(t, e->part, clock_wall() + 60);
	errand_free(e);
}

static void written(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct bounce *bounce = SUPER(SUPER(b, struct job, baton), struct bounce, job);
	struct errand *e = bounce->user;
	struct message *m = e->message;

	t->bounces--;
	e->letter = bounce->letter;
	settings_let_go(t, e->settings);
	bounce_free(bounce);
	if (e->then != NULL)
		part_fates(t, e->then->user, e->then, AFTER_DROP);
	if (e->letter == NULL)
		not_written(t, e);
	else
		send_letter(t, e);
	message_returned(t, m);
}

/* NULL: no memory, and the bounce is gone. */
static struct errand *write_letter(struct timetable *t, struct message *m, struct bounce *b)
{
	struct errand *e = calloc(1, sizeof(*e));

	if (e == NULL) {
		bounce_free(b);
		return NULL;
	}
	e->bounce = b;
	e->message = m;
	e->about = m->id;
	e->settings = settings_use(t);
	message_lend(m);
	b->user = e;
	b->queue = t->queue;
	b->setup = t->settings->setup;
	b->entry = m->entry;
	b->job.work = bounce_work;
	b->job.baton.home = t->inbox;
	b->job.baton.arrived = written;
	t->bounces++;
	return e;
}

void part_bounce(struct timetable *t, struct part *p, struct bounce *b)
{
	const struct deliver_setup *setup = t->settings->setup;
	struct errand *e = write_letter(t, p->message, b);

	if (setup->bounced != NULL && (p->message->entry->flags & MESSAGE_LOGIN))
		setup->bounced(setup->bounced_arg, p->message->entry->login, p->n);
	if (e == NULL) {
		part_wait(t, p, clock_wall() + 60);
		return;
	}
	b->settles = true;
	e->part = p;
	part_set(t, p, PART_SETTLING);
	desk_submit_anyway(t->disk, &b->job);
}

void part_tell(struct timetable *t, struct part *p, struct bounce *b, struct queue_fates *then)
{
	struct errand *e = write_letter(t, p->message, b);

	if (e == NULL) {                 /* nobody hears of it, but it is done */
		part_fates(t, p, then, AFTER_DROP);
		return;
	}
	e->then = then;
	then->user = p;
	part_set(t, p, PART_SETTLING);
	desk_submit_anyway(t->disk, &b->job);
}

/* A second later: at the start the loops take no letters yet. */
void letter_fire(struct timetable *t, struct letter *l, uint64_t about)
{
	struct errand *e = calloc(1, sizeof(*e));

	if (e == NULL || !due_put(&t->errands, &e->due, clock_wall() + 1)) {
		letter_free(l);
		free(e);
		return;
	}
	e->letter = l;
	e->about = about;
	t->kept_letters++;
}

/* ---- delays ----------------------------------------------------------------------------------------- */

static size_t add_delayed(struct timetable *t, struct part *p, struct bounce *b, struct queue_fates *told)
{
	const struct queue_entry *e = p->message->entry;
	int64_t until = p->message->since + (int64_t)(relay(t)->give_up_ms / 1000);

	for (size_t i = 0; i < p->n; i++) {
		const struct queue_rcpt *r = &e->rcpts[p->rcpts[i]];
		str said = r->said.n > 0 ? r->said : str_of(p->to->said), status = advice_status(said);

		if (r->delay_told || !bounce_wanted(relay(t), e, r, DSN_DELAYED))
			continue;
		told->v[b->n] = (struct queue_fate){ .rcpt = p->rcpts[i], .fate = FATE_DELAY_TOLD };
		bounce_add(b, p->rcpts[i], r, DSN_DELAYED, status.n > 0 && status.p[0] == '4' ? status : STR("4.4.1"), said,
		           STR_NONE, until);
	}
	return b->n;
}

void part_notice(struct timetable *t, struct part *p)
{
	struct bounce *b = bounce_new(p->n);
	struct queue_fates *told = fates_for(p);
	struct errand *e;

	p->told = true;
	if (b == NULL || (told->n = add_delayed(t, p, b, told)) == 0) {
		bounce_free(b);
		queue_fates_free(told);
		return;
	}
	e = write_letter(t, p->message, b);
	if (e == NULL) {
		queue_fates_free(told);
		return;
	}
	e->told = told;
	desk_submit_anyway(t->disk, &b->job);
}
