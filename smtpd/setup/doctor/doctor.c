/* SPDX-License-Identifier: ISC */
/*
 * Which exams there are, and when they are looked at again: whenever facts have
 * come, those that waited for some.  See doctor.h.
 */
#include <string.h>

#include "smtpd/setup/doctor/facts.h"
#include "smtpd/setup/doctor/host.h"

static const char *const words[] = {
	[DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_WARNING] = "warning", [DOCTOR_FAULT] = "fault",
};

const char *doctor_word(enum doctor_verdict v)
{
	return words[v];
}

/* ---- findings -------------------------------------------------------------------------- */

struct arena *exam_arena(const struct exam *e)
{
	return e->doctor->arena;
}

static void add(struct exam *e, struct finding f)
{
	if (e->n == e->room) {
		size_t room = e->room > 0 ? 2 * e->room : 4;
		struct finding *v = ARENA_ARRAY(exam_arena(e), struct finding, room);

		if (v == NULL)
			return;
		if (e->n > 0)
			memcpy(v, e->v, e->n * sizeof(*v));
		e->v = v;
		e->room = room;
	}
	e->v[e->n++] = f;
}

void exam_found(struct exam *e, enum doctor_verdict verdict, str about, str seen, str todo)
{
	add(e, (struct finding){ .verdict = verdict, .about = about, .seen = seen, .todo = todo });
}

void exam_unknown(struct exam *e, str about, str seen, str todo)
{
	add(e, (struct finding){ .verdict = DOCTOR_NOTE, .unknown = true, .about = about, .seen = seen, .todo = todo });
}

enum doctor_verdict exam_worst(const struct exam *e)
{
	enum doctor_verdict worst = DOCTOR_OK;

	for (size_t i = 0; i < e->n; i++)
		worst = e->v[i].verdict > worst ? e->v[i].verdict : worst;
	return worst;
}

void doctor_count(const struct doctor *d, size_t counts[static DOCTOR_FAULT + 1])
{
	memset(counts, 0, (DOCTOR_FAULT + 1) * sizeof(counts[0]));
	for (size_t i = 0; i < d->n; i++)
		for (size_t k = 0; k < d->v[i].n; k++)
			counts[d->v[i].v[k].verdict]++;
}

/* ---- exams -------------------------------------------------------------------------------- */

const struct check *doctor_check(str name)
{
	for (const struct check *c = doctor_checks; c->name != NULL; c++)
		if (str_is(name, c->name))
			return c;
	return NULL;
}

static bool is_wanted(const struct doctor *d, const struct check *c)
{
	for (size_t i = 0; i < d->only.n; i++)
		if (str_is(d->only.v[i], c->name))
			return true;
	return d->only.n == 0;
}

static void add_exams(struct doctor *d, str subject, bool host, bool own)
{
	for (const struct check *c = d->checks; c->name != NULL; c++)
		if ((c->of == CHECK_HOST) == host && (own || c->of == CHECK_ANY) && is_wanted(d, c))
			d->v[d->n++] = (struct exam){ .check = c, .doctor = d, .subject = subject, .own = own };
}

static bool make_exams(struct doctor *d)
{
	size_t checks = 0;

	while (d->checks[checks].name != NULL)
		checks++;
	d->v = ARENA_ARRAY(d->arena, struct exam, checks * (d->domains.n + 1));
	if (d->v == NULL)
		return false;
	if (d->host != NULL)
		add_exams(d, d->host->hostname, true, true);
	for (size_t i = 0; i < d->domains.n; i++)
		add_exams(d, d->domains.v[i], false,
		          d->config != NULL && config_domain_is_local((void *)(uintptr_t)d->config, d->domains.v[i]));
	return true;
}

static void examine(struct exam *e)
{
	e->n = 0;
	e->waits = 0;
	e->check->look(e);
	if (e->waits > 0 && !exam_arena(e)->spent)
		return;
	e->done = true;
	e->doctor->finished++;
	if (e->doctor->progressed != NULL)
		e->doctor->progressed(e->doctor);
}

static void look_again(struct loop_call *c)
{
	struct doctor *d = SUPER(c, struct doctor, again);

	for (size_t i = 0; i < d->n; i++)
		if (!d->v[i].done)
			examine(&d->v[i]);
	if (d->finished == d->n)
		d->done(d);
}

void doctor_begin(struct doctor *d)
{
	d->n = d->finished = 0;
	d->facts_tail = d->facts_tail != NULL ? d->facts_tail : &d->facts;
	if (d->source == NULL)
		d->source = &fact_source;
	if (d->checks == NULL)
		d->checks = doctor_checks;
	make_exams(d);
	loop_defer(d->loop, &d->again, look_again);
}

/* Facts come in crowds: one look a turn. */
void fact_came(struct fact *f, const void *value)
{
	struct doctor *d = f->doctor;

	f->value = value;
	f->known = true;
	if (!d->stopped && d->again.at == NULL)
		loop_defer(d->loop, &d->again, look_again);
}

void doctor_end(struct doctor *d)
{
	d->stopped = true;
	loop_undefer(&d->again);
	for (struct fact *f = d->facts; f != NULL && d->source != NULL; f = f->next)
		if (!f->known)
			d->source->stop(f);
	if (d->source != NULL)
		d->source->close(d);
}
