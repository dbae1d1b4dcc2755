/* SPDX-License-Identifier: ISC */
/*
 * Policies outlive the process as notes in the queue's store:
 *
 *     key    sts:DOMAIN
 *     value  "1 FETCHED USED ID" in one line, then the policy as a file would
 *            have it, its known fields only
 *
 * Reading is done on the disk desk, writing by the committer.
 */
#include "queue/deliver/sts_inside.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/log.h"

#define PREFIX "sts:"

/* ---- kept policies --------------------------------------------------------------------------- */

struct sts_policy_kept *sts_kept_new(str file, str id, int64_t fetched, str *why)
{
	struct sts_policy_kept *k = calloc(1, sizeof(*k));

	*why = STR("there was no memory to read it");
	if (k == NULL)
		return NULL;
	arena_init(&k->arena, (size_t)512 << 10);
	k->fetched = fetched;
	if (sts_policy_parse(file, &k->arena, &k->policy, why)) {
		k->policy.id = str_keep(&k->arena, id);
		if (!k->arena.spent)
			return k;
	}
	sts_kept_free(k);
	return NULL;
}

void sts_kept_free(struct sts_policy_kept *k)
{
	arena_fini(&k->arena);
	free(k);
}

int64_t sts_kept_until(const struct sts_policy_kept *k)
{
	return k->fetched + (int64_t)(k->policy.max_age_s < STS_LEAST_S ? STS_LEAST_S : k->policy.max_age_s);
}

/* ---- the note's form ------------------------------------------------------------------------------ */

static str note_text(const struct sts_entry *e, struct arena *a)
{
	const struct sts_policy *p = &e->kept->policy;
	struct buf b;
	str text;

	buf_init(&b, STS_POLICY_MOST - 1);
	buf_addf(&b, "1 %lld %lld %.*s\n", (long long)e->kept->fetched, (long long)e->used, STR_ARG(p->id));
	buf_addf(&b, "version: STSv1\nmode: %s\nmax_age: %llu\n", sts_mode_text(p->mode),
	         (unsigned long long)p->max_age_s);
	for (size_t i = 0; i < p->mx.n; i++)
		buf_addf(&b, "mx: %.*s\n", STR_ARG(p->mx.v[i]));
	text = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return text;
}

/* NULL: it is not one of ours, or not of this time. */
static struct sts_policy_kept *note_parse(str value, int64_t *used)
{
	str line, word, ignored;
	uint64_t fetched, last;

	if (!str_cut(&value, '\n', &line) || value.p == NULL)
		return NULL;
	if (!str_cut(&line, ' ', &word) || !str_is(word, "1") ||
	    !str_cut(&line, ' ', &word) || !str_to_u64(word, &fetched) ||
	    !str_cut(&line, ' ', &word) || !str_to_u64(word, &last) || line.n == 0 || line.n > 32)
		return NULL;
	if (fetched > (uint64_t)clock_wall())    /* the clock was wrong then, or is now */
		fetched = (uint64_t)clock_wall();
	*used = last > (uint64_t)clock_wall() ? clock_wall() : (int64_t)last;
	return sts_kept_new(value, line, (int64_t)fetched, &ignored);
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static void written(struct baton *b)
{
	struct queue_note *n = SUPER(b, struct queue_note, baton);

	if (n->result != OK)
		log_event(NULL, LOG_WARN, "sts.unwritten", KV("note", n->key), KV_C("why", err_text(n->result)));
	queue_note_free(n);
}

static void put(struct sts *s, const char *domain, const struct sts_entry *e)
{
	struct queue_note *n = s->queue != NULL ? queue_note_new() : NULL;

	if (n == NULL)
		return;
	n->key = arena_printf(&n->arena, PREFIX "%s", domain);
	if (e != NULL)
		n->value = note_text(e, &n->arena);
	n->baton.home = s->loop->mbox;
	n->baton.arrived = written;
	if (n->key.n == 0 || n->key.n > 200 || (e != NULL && n->value.n == 0))
		queue_note_free(n);              /* a name this long is fetched anew after a restart */
	else
		queue_note_put(s->queue, n);
}

void sts_note_write(struct sts *s, struct sts_entry *e)
{
	put(s, e->domain, e);
}

/* ---- reading one ------------------------------------------------------------------------------------ */

struct reading {
	struct job    job;
	struct sts   *sts;
	struct arena  arena;
	str           domain;
	str           value;
};

static void read_note(struct job *j)
{
	struct reading *r = SUPER(j, struct reading, job);

	if (!queue_note_get(r->sts->queue, arena_printf(&r->arena, PREFIX "%.*s", STR_ARG(r->domain)), &r->arena,
	                    &r->value))
		r->value = STR_NONE;
}

/* What was found for an entry that has none yet. */
static void take_over(struct sts *s, struct sts_entry *e, str value)
{
	int64_t used = 0;
	struct sts_policy_kept *k = note_parse(value, &used);

	if (k == NULL)
		return;
	if (clock_wall() >= sts_kept_until(k)) {
		sts_kept_free(k);
		put(s, e->domain, NULL);
		return;
	}
	sts_entry_set(s, e, k);
	e->refresh_at = k->fetched + STS_REFRESH_S;
	if (used > e->used || e->waiting == NULL)
		e->used = used;
}

static void note_came(struct baton *b)
{
	struct job *j = SUPER(b, struct job, baton);
	struct reading *r = SUPER(j, struct reading, job);
	struct sts *s = r->sts;
	struct sts_entry *e = s->ended ? NULL : map_get(&s->entries, r->domain);

	if (e != NULL) {
		e->reading = false;
		if (!e->read && r->value.n > 0)
			take_over(s, e, r->value);
		e->read = true;
		if (e->look == NULL && e->waiting != NULL)
			sts_look_begin(s, e);
	}
	arena_fini(&r->arena);
	free(r);
}

void sts_note_read(struct sts *s, struct sts_entry *e)
{
	struct reading *r = s->queue != NULL ? calloc(1, sizeof(*r)) : NULL;

	if (r == NULL) {
		e->read = true;
		sts_look_begin(s, e);
		return;
	}
	e->reading = true;
	arena_init(&r->arena, (size_t)256 << 10);
	r->sts = s;
	r->domain = str_keep(&r->arena, str_of(e->domain));
	r->job.work = read_note;
	r->job.baton.home = s->loop->mbox;
	r->job.baton.arrived = note_came;
	desk_submit_anyway(s->disk, &r->job);
}

/* ---- reading all, at start ------------------------------------------------------------------------------ */

struct found { struct found *next; str domain, value; };

struct loading {
	struct job    job;
	struct sts   *sts;
	struct arena  arena;
	struct found *found;
	size_t        n;
};

static bool seen(void *arg, str key, str value)
{
	struct loading *l = arg;
	struct found *f = ARENA_NEW(&l->arena, struct found);

	if (f == NULL || l->n == STS_KEPT)
		return false;
	f->domain = str_keep(&l->arena, str_skip(key, sizeof(PREFIX) - 1));
	f->value = str_keep(&l->arena, value);
	if (l->arena.spent)
		return false;                    /* the others are read when they are asked for */
	f->next = l->found;
	l->found = f;
	l->n++;
	return true;
}

static void load(struct job *j)
{
	struct loading *l = SUPER(j, struct loading, job);

	queue_notes_each(l->sts->queue, STR(PREFIX), seen, l);
}

static void loaded(struct baton *b)
{
	struct job *j = SUPER(b, struct job, baton);
	struct loading *l = SUPER(j, struct loading, job);
	struct sts *s = l->sts;

	for (struct found *f = l->found; f != NULL && !s->ended; f = f->next) {
		struct sts_entry *e = map_get(&s->entries, f->domain) == NULL ? sts_entry_get(s, f->domain) : NULL;

		if (e == NULL)
			continue;                /* somebody asks for it already */
		e->used = 0;
		take_over(s, e, f->value);
		e->read = true;
	}
	arena_fini(&l->arena);
	free(l);
}

void sts_notes_load(struct sts *s)
{
	struct loading *l = s->queue != NULL ? calloc(1, sizeof(*l)) : NULL;

	if (l == NULL)
		return;
	arena_init(&l->arena, STS_KEPT_BYTES);
	l->sts = s;
	l->job.work = load;
	l->job.baton.home = s->loop->mbox;
	l->job.baton.arrived = loaded;
	desk_submit_anyway(s->disk, &l->job);
}

/* ---- refreshing ---------------------------------------------------------------------------------------------- */

void sts_refresh(struct sts *s)
{
	int64_t now = clock_wall();

	for (struct sts_entry *e = s->first; e != NULL; e = e->next) {
		if (e->kept == NULL || !sts_entry_idle(e))
			continue;
		if (sts_entry_policy(e) == NULL) {
			sts_entry_set(s, e, NULL);
			put(s, e->domain, NULL);
		} else if (now >= e->refresh_at && now - e->used < STS_USED_S && s->looks < STS_BACKGROUND) {
			sts_look_begin(s, e);
		}
	}
}
