/* SPDX-License-Identifier: ISC */
/*
 * Destinations: a line of parts each, a window of leases that grows while they
 * work and shrinks when they fail, and rest when nothing works.  A destination
 * that rests costs nothing: its line stands still until its one clock strikes;
 * then one lease goes ahead to see.
 *
 * Those that have something to lend and may stand in a ring, and each gets one
 * lease in turn, so that a long line holds up nobody else.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/crypt.h"

#define IDLE_GRACE_MS 500      /* a client closes by itself first */

/* ---- the map -------------------------------------------------------------------------------- */

static struct destination *destination_new(str key)
{
	struct destination *d = calloc(1, sizeof(*d) + key.n + 1);

	if (d == NULL)
		return NULL;
	memcpy(d + 1, key.p, key.n);
	d->key = (str){ (const char *)(d + 1), key.n };
	d->window = WINDOW_FIRST;
	d->disk = str_is(key, "maildir");
	d->nowhere = str_is(key, "nowhere");
	return d;
}

struct destination *destination_get(struct timetable *t, str key)
{
	struct destination *d = map_get(&t->destinations, key);

	if (d != NULL)
		return d;
	/* The end of each one's rest finds room in the heap. */
	d = due_reserve(&t->rests, t->destinations.n + 1) ? destination_new(key) : NULL;
	if (d != NULL && !map_put(&t->destinations, d->key, d)) {
		free(d);
		return NULL;
	}
	return d;
}

static void destination_free(struct timetable *t, struct destination *d)
{
	provider_leave(t, d);
	due_remove(&t->rests, &d->due);
	map_remove(&t->destinations, d->key);
	free(d->said);
	free(d->clear_host);
	free(d);
}

void destination_maybe_free(struct timetable *t, struct destination *d)
{
	if (d->parts == 0 && d->nchannels == 0 && !d->ready && !d->blocked && d != t->maildir)
		destination_free(t, d);
}

void destinations_free(struct timetable *t)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&t->destinations, &at)) != NULL;)
		destination_free(t, e->value);
}

/* ---- the ring -------------------------------------------------------------------------------- */

static uint64_t window_of(const struct timetable *t, const struct destination *d)
{
	uint64_t most = relay(t)->destination_concurrency;

	if (d->nowhere)
		return relay(t)->concurrency;
	return d->window < most ? d->window : most;
}

bool destination_rests(const struct destination *d)
{
	return d->not_before > 0;
}

static bool may_lend(const struct timetable *t, const struct destination *d)
{
	return d->first != NULL && !d->disk && !destination_rests(d) && d->busy + d->loading < window_of(t, d);
}

void destination_ready(struct timetable *t, struct destination *d)
{
	if (d->ready || d->blocked || !may_lend(t, d))
		return;
	if (!provider_has_room(t, d)) {
		provider_block(d);
		return;
	}
	d->ready = true;
	d->next_ready = NULL;
	*(t->ready_last != NULL ? &t->ready_last->next_ready : &t->ready) = d;
	t->ready_last = d;
	t->nready++;
}

static struct destination *ring_take(struct timetable *t)
{
	struct destination *d = t->ready;

	if (d == NULL)
		return NULL;
	t->ready = d->next_ready;
	if (t->ready == NULL)
		t->ready_last = NULL;
	t->nready--;
	d->ready = false;
	return d;
}

/* ---- rest -------------------------------------------------------------------------------------- */

static struct backoff_conf rests_of(const struct timetable *t)
{
	const struct relay_conf *r = relay(t);

	return (struct backoff_conf){
		.first_ms = r->retry_first_ms,
		.most_ms = r->retry_most_ms < REST_MOST_MS ? r->retry_most_ms : REST_MOST_MS,
	};
}

/* What still has its entry in memory is written down as put off and forgets it. */
static void empty_line(struct timetable *t, struct destination *d)
{
	for (struct part *p = d->first, *behind; p != NULL; p = behind) {
		behind = p->behind;
		if (p->message->entry == NULL)
			continue;
		if (p->read)
			message_rest(t, p->message);     /* its row says why already */
		else
			part_put_off_unasked(t, p);
	}
}

static void begin_rest(struct timetable *t, struct destination *d)
{
	struct backoff_conf c = rests_of(t);
	char stamp[40];

	d->not_before = clock_wall() + backoff_next(&c, ++d->troubles, random_below(UINT64_MAX));
	must(due_put(&t->rests, &d->due, d->not_before));
	log_event(NULL, LOG_NOTICE, "destination.rests", KV("destination", d->key),
	          KV("until", clock_stamp((uint64_t)d->not_before * 1000000, stamp)), KV_C("why", d->said != NULL ? d->said : "-"));
	empty_line(t, d);
}

void destination_failed(struct timetable *t, struct destination *d, str said)
{
	bool nothing_works = d->busy == 0 && !d->good;

	free(d->said);
	d->said = strndup(said.p != NULL ? said.p : "", said.n);
	d->good = false;
	d->window /= 2;
	if (destination_rests(d))
		return;
	if (d->window == 0 || nothing_works) {
		d->window = 0;
		begin_rest(t, d);
	}
}

void destination_went_well(struct timetable *t, struct destination *d)
{
	if (d->troubles > 0)
		log_event(NULL, LOG_NOTICE, "destination.works", KV("destination", d->key), KV_N("rests", d->troubles));
	d->good = true;
	d->troubles = 0;
	if (d->window < relay(t)->destination_concurrency)
		d->window++;
	if (destination_rests(d))
		destination_wake(t, d);
}

void destination_rest(struct timetable *t, struct destination *d, int64_t until, str said)
{
	if (d->not_before >= until)
		return;
	free(d->said);
	d->said = strndup(said.p != NULL ? said.p : "", said.n);
	d->good = false;
	d->window = 1;
	d->not_before = until;
	must(due_put(&t->rests, &d->due, until));
	empty_line(t, d);
}

/* One goes ahead; the others follow when it went well. */
void destination_wake(struct timetable *t, struct destination *d)
{
	due_remove(&t->rests, &d->due);
	d->not_before = 0;
	provider_wake(t, d);
	if (d->window == 0)
		d->window = 1;
	destination_ready(t, d);
}

void destinations_wake_all(struct timetable *t)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&t->destinations, &at)) != NULL;)
		destination_wake(t, e->value);
}

/* ---- channels ------------------------------------------------------------------------------------ */

static void idle_out(struct timetable *t, struct channel *c)
{
	if (!c->idle)
		return;
	*(c->older != NULL ? &c->older->newer : &t->idle_oldest) = c->newer;
	*(c->newer != NULL ? &c->newer->older : &t->idle_newest) = c->older;
	c->idle = false;
}

static void idle_in(struct timetable *t, struct channel *c)
{
	c->idle = true;
	c->idle_since_ms = clock_ms();
	c->older = t->idle_newest;
	c->newer = NULL;
	*(c->older != NULL ? &c->older->newer : &t->idle_oldest) = c;
	t->idle_newest = c;
}

static void channel_end(struct timetable *t, struct channel *c)
{
	if (c->ending)
		return;
	idle_out(t, c);
	c->ending = true;
	client_end(c->client);
}

static struct channel *channel_new(struct timetable *t, struct destination *d)
{
	struct channel *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->client = client_new(&t->house, t->loops[t->next_loop++ % t->nloops], c);
	if (c->client == NULL) {
		free(c);
		return NULL;
	}
	c->to = d;
	c->next = d->channels;
	d->channels = c;
	d->nchannels++;
	t->channels++;
	return c;
}

/* The newest idle one: its connection is the likeliest to be open still. */
static struct channel *idle_of(const struct destination *d)
{
	struct channel *best = NULL;

	for (struct channel *c = d->channels; c != NULL; c = c->next)
		if (c->idle && (best == NULL || c->idle_since_ms > best->idle_since_ms))
			best = c;
	return best;
}

struct channel *channel_for(struct timetable *t, struct destination *d)
{
	struct channel *c = idle_of(d);

	if (c != NULL) {
		idle_out(t, c);
		return c;
	}
	if (t->channels < relay(t)->concurrency)
		return channel_new(t, d);
	if (t->idle_oldest != NULL)        /* its place is free when it has come home */
		channel_end(t, t->idle_oldest);
	return NULL;
}

void channel_home(struct timetable *t, struct channel *c)
{
	if (c->ending)
		return;
	idle_in(t, c);
	if (t->stopping || relay(t)->idle_ms == 0)
		channel_end(t, c);
}

void client_came_home(struct client *client)
{
	struct timetable *t = timetable_here;
	struct channel *c = client_user(client), **at = &c->to->channels;
	struct destination *d = c->to;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	d->nchannels--;
	t->channels--;
	client_free(client);
	free(c);
	destination_maybe_free(t, d);
}

void channels_end_idle(struct timetable *t, uint64_t idle_ms)
{
	uint64_t now = clock_ms();

	while (t->idle_oldest != NULL && (idle_ms == 0 || now - t->idle_oldest->idle_since_ms >= idle_ms + IDLE_GRACE_MS))
		channel_end(t, t->idle_oldest);
}

uint64_t channels_next_ms(const struct timetable *t)
{
	return t->idle_oldest != NULL ? t->idle_oldest->idle_since_ms + relay(t)->idle_ms + IDLE_GRACE_MS : UINT64_MAX;
}

void channels_end_all(struct timetable *t)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&t->destinations, &at)) != NULL;)
		for (struct channel *c = ((struct destination *)e->value)->channels; c != NULL; c = c->next)
			channel_end(t, c);
}

/* ---- serving ---------------------------------------------------------------------------------------- */

/* One step for one destination; false: the whole house is full. */
static bool serve_one(struct timetable *t, struct destination *d)
{
	struct part *p = d->first;
	struct channel *c = NULL;

	if (part_marks(t, p))
		return true;
	if (p->message->entry == NULL || late_is(t, p)) {
		if (t->loads >= LOADS_MOST)
			return false;
		part_leave_line(t, p);
		load(t, p);
		return true;
	}
	if (!d->nowhere && (c = channel_for(t, d)) == NULL)
		return false;
	part_leave_line(t, p);
	lease_lend(t, p, c);
	return true;
}

/* d stays while it is looked at: what is in the ring is never freed. */
void serve(struct timetable *t)
{
	size_t stuck = 0;
	bool room = true;

	serve_disk(t);
	while (room && !t->stopping && stuck <= t->nready && t->ready != NULL) {
		struct destination *d = ring_take(t);

		d->ready = true;
		if (may_lend(t, d) && part_must_wait(t, d->first))
			stuck++;
		else if (may_lend(t, d) && provider_has_room(t, d)) {
			stuck = 0;
			room = serve_one(t, d);
		}
		d->ready = false;
		destination_ready(t, d);
		if (!d->ready)
			provider_pass(t, d);
		destination_maybe_free(t, d);
	}
}
