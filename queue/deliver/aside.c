/* SPDX-License-Identifier: ISC */
/*
 * What cannot be trusted.
 *
 * After an unclean stop the messages that are due go one by one, each marked on
 * the disk before it is tried, those under suspicion a little later than the
 * others.  One that was being tried in two lives that ended so, the second by a
 * fault of the server's own, is held, named in the log and told of.  Where
 * nobody knows how a life ended, the power may have gone, and it takes eight.
 * What is damaged is held, too.  Everything else flows meanwhile.  Timetable thread (at the start main's).
 */
#include "queue/deliver/timetable_inside.h"

#define NAMED_MOST 20      /* recipients that the letter names */

/* ---- one by one -------------------------------------------------------------------------- */

bool part_must_wait(const struct timetable *t, const struct part *p)
{
	return t->one_by_one && p->first && !p->alone && t->first_out > 0;
}

void part_alone_ends(struct timetable *t, struct part *p)
{
	t->first_out -= p->alone;
	p->alone = false;
}

bool part_marks(struct timetable *t, struct part *p)
{
	struct queue_fates *f;

	if (!t->one_by_one || !p->first || p->marked)
		return false;
	part_leave_line(t, p);
	p->alone = true;
	t->first_out++;
	f = fates_for(p);
	f->n = 1;
	f->v[0] = (struct queue_fate){ .fate = FATE_TRYING, .tries = p->message->lives + 1u };
	part_fates(t, p, f, AFTER_TRY);
	return true;
}

/* ---- set aside ------------------------------------------------------------------------------ */

void message_set_aside(struct timetable *t, struct message *m, bool aside)
{
	if (aside && !m->aside)
		atomic_fetch_add(&t->figures.aside, 1);
	if (!aside && m->aside)
		atomic_fetch_sub(&t->figures.aside, 1);
	m->aside = aside;
	m->spoiled &= aside;
}

void message_is_damaged(struct timetable *t, struct message *m, const char *what, str to)
{
	char id[QUEUE_ID_TEXT];
	struct log_kv v[3] = { KV_C("what", what) };
	size_t n = 1;

	message_set_aside(t, m, true);
	if (to.n > 0)
		v[n++] = KV("to", to);
	v[n++] = KV_C("why", "what is on the disk is not what was written: it is held and never tried by itself; look at it with "
	                     "\"postern queue show\", then export, release or remove it");
	log_write(&(struct log){ .id = queue_id_text(m->id, id) }, LOG_ERROR, "message.damaged", v, n);
}

void message_content_is_damaged(struct timetable *t, struct message *m)
{
	if (!m->spoiled)
		message_is_damaged(t, m, "its content", STR_NONE);
	m->spoiled = true;
}

static const char held_because[] =
	"The server ended uncleanly again and again while this message was being delivered: it is held. "
	"Look at it with \"postern queue show\" and \"postern queue export\", then release or remove it";

/* What was waiting when it was found; none: it was held at an earlier start. */
static struct queue_fates *hold_open(const struct message *m)
{
	struct queue_fates *f = queue_fates_new(m->entry->nrcpts);

	if (f == NULL)
		return NULL;
	f->id = m->id;
	f->n = 0;
	for (uint32_t i = 0; i < m->entry->nrcpts; i++) {
		struct queue_rcpt *r = &m->entry->rcpts[i];

		if (r->state != RCPT_WAITING && r->state != RCPT_STAGED)
			continue;
		r->state = RCPT_HELD;
		r->said = str_of(held_because);
		f->v[f->n++] = (struct queue_fate){ .rcpt = i, .fate = FATE_HELD, .tries = m->lives, .said = r->said };
	}
	return f;
}

/* ---- the letter --------------------------------------------------------------------------------- */

static void write_rcpts(struct buf *out, const struct queue_entry *e)
{
	size_t named = e->nrcpts < NAMED_MOST ? e->nrcpts : NAMED_MOST;

	for (size_t i = 0; i < named; i++)
		buf_addf(out, "    to    <%.*s>\r\n", STR_ARG(e->rcpts[i].address));
	if (named < e->nrcpts)
		buf_addf(out, "    and %zu more\r\n", e->nrcpts - named);
}

static void write_text(struct buf *out, const struct queue_entry *e, str id, str host, str postmaster)
{
	char date[40];

	buf_addf(out, "From: postern <%.*s>\r\nTo: <%.*s>\r\n", STR_ARG(postmaster), STR_ARG(postmaster));
	buf_addf(out, "Subject: message %.*s was set aside\r\n", STR_ARG(id));
	buf_addf(out, "Date: %.*s\r\n", STR_ARG(clock_date(clock_wall(), date)));
	buf_addf(out, "Message-ID: <%llu.%.*s.aside@%.*s>\r\n", (unsigned long long)clock_wall_us(), STR_ARG(id), STR_ARG(host));
	buf_add(out, STR("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
	                 "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"));
	buf_addf(out, "The mail server on %.*s ended uncleanly again and again while it was\r\n"
	              "delivering this message:\r\n\r\n    id    %.*s\r\n    from  <%.*s>\r\n",
	         STR_ARG(host), STR_ARG(id), STR_ARG(e->sender));
	write_rcpts(out, e);
	buf_add(out, STR("\r\nIt is held and will not be tried by itself.  All other mail flows.\r\n\r\n"));
	buf_addf(out, "    postern queue show %.*s       what is known of it\r\n"
	              "    postern queue export %.*s     the message itself\r\n"
	              "    postern queue release %.*s    try again\r\n"
	              "    postern queue remove %.*s     throw it away\r\n\r\n",
	         STR_ARG(id), STR_ARG(id), STR_ARG(id), STR_ARG(id));
	buf_add(out, STR("If the server ends again when it is released, the message itself makes it\r\n"
	                 "fail: please export it and report the fault, with the server's last log lines.\r\n"));
}

static void tell_postmaster(struct timetable *t, const struct message *m)
{
	const struct directory_domain *home = directory_home(t->settings->setup->directory);
	struct letter *l = home != NULL ? letter_new() : NULL;
	char id[QUEUE_ID_TEXT];
	struct buf out;

	if (l == NULL)
		return;
	buf_init(&out, BUF_UNBOUNDED);
	l->sender = STR("");
	l->flags = MESSAGE_LAST;
	l->rcpt = arena_printf(&l->arena, "postmaster@%.*s", STR_ARG(home->name));
	write_text(&out, m->entry, queue_id_text(m->id, id), t->settings->setup->hostname, l->rcpt);
	l->text = out.failed ? STR_NONE : str_keep(&l->arena, buf_str(&out));
	buf_fini(&out);
	if (l->text.n > 0 && !l->arena.spent)
		letter_fire(t, l, m->id);
	else
		letter_free(l);
}

/* ---- at the start ----------------------------------------------------------------------------------- */

static void set_aside(struct timetable *t, struct message *m)
{
	struct queue_fates *f = hold_open(m);
	char id[QUEUE_ID_TEXT];

	message_set_aside(t, m, true);
	if (f == NULL || f->n == 0) {    /* it was at an earlier start; without memory, the next one does */
		queue_fates_free(f);
		return;
	}
	log_event(&(struct log){ .id = queue_id_text(m->id, id) }, LOG_ERROR, "message.set-aside",
	          KV("from", m->entry->sender), KV_I("recipients", f->n), KV_C("why", held_because));
	fates_fire(t, f);
	tell_postmaster(t, m);
}

void message_judge(struct timetable *t, struct message *m)
{
	const struct queue_entry *e = m->entry;

	m->damaged = e->damage != NULL;
	if (m->damaged)
		message_is_damaged(t, m, e->damage, STR_NONE);
	for (size_t i = 0; i < e->nrcpts; i++)
		if (e->rcpts[i].damaged)
			message_is_damaged(t, m, "what is known of a recipient", e->rcpts[i].address);
	if (e->aside || e->lives >= (queue_fell(t->queue) ? QUEUE_LIVES : QUEUE_LIVES_UNKNOWN))
		set_aside(t, m);
}
