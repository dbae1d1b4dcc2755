/* SPDX-License-Identifier: ISC */
/*
 * The thread: what came, what is due, what can be lent; then it sleeps.
 *
 * Invariant: nothing here waits for anything but its mailbox and the clock.
 * Everything lent is counted; the thread ends when all of it is home.
 */
#include "queue/deliver/timetable_inside.h"

#include <signal.h>
#include <stdlib.h>

#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define SLEEP_MOST_MS   60000      /* the wall clock may be set meanwhile */
#define LETTERS_WAIT_MS 5000       /* of letters, after the time to stop is up */
#define ONE_BY_ONE_MS   30000

_Thread_local struct timetable *timetable_here;

/* ---- settings --------------------------------------------------------------------------- */

static struct settings *settings_new(const struct deliver_setup *setup)
{
	struct settings *s = calloc(1, sizeof(*s));

	if (s != NULL)
		s->setup = setup;
	return s;
}

struct settings *settings_use(struct timetable *t)
{
	t->settings->users++;
	return t->settings;
}

static void settings_end(struct settings *s)
{
	if (s->swap == NULL || s->users > 0)
		return;
	mbox_send(s->swap->baton.home, &s->swap->baton);
	free(s);
}

void settings_let_go(struct timetable *t, struct settings *s)
{
	(void)t;
	s->users--;
	settings_end(s);
}

/* What main sends: its own batons are for the way home, so they travel in one
 * of ours. */
struct post { struct baton baton; void *what; };

static void post(struct timetable *t, void (*arrived)(struct baton *), void *what)
{
	struct post *p = calloc(1, sizeof(*p));

	must(p != NULL);
	p->what = what;
	p->baton.arrived = arrived;
	mbox_send(t->inbox, &p->baton);
}

static void *posted(struct baton *b)
{
	struct post *p = SUPER(b, struct post, baton);
	void *what = p->what;

	free(p);
	return what;
}

/* A file that cannot be read now leaves those of before in force.  On this thread,
 * beside the greeting of the first clients: a list of CAs takes 30 ms. */
static void trust(struct timetable *t, const struct relay_conf *r)
{
	struct arena a;
	str why = STR_NONE;

	arena_init(&a, 4096);
	if (!tls_client_trust(t->house.tls, r->ca, &a, &why))
		log_event(NULL, LOG_WARN, "tls.no-authorities", KV("reason", why),
		          KV_C("next", "no certificate of another server verifies by it: install ca-certificates, or name a file "
		               "with relay's ca"));
	arena_fini(&a);
}

static void swap_came(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct setup_swap *w = posted(b);
	struct settings *old = t->settings, *new = settings_new(w->new_setup);

	must(new != NULL);
	t->settings = new;
	old->swap = w;
	settings_end(old);
	trust(t, new->setup->relay);
	/* What rests may have rested because of what was changed. */
	destinations_wake_all(t);
}

void timetable_reconfigure(struct timetable *t, struct setup_swap *w)
{
	post(t, swap_came, w);
}

/* ---- the clocks ---------------------------------------------------------------------------- */

static void sooner(uint64_t *ms, uint64_t other)
{
	if (other < *ms)
		*ms = other;
}

static void sooner_due(uint64_t *ms, const struct due *d)
{
	struct due_item *first = due_first(d);
	int64_t wait;

	if (first == NULL)
		return;
	wait = first->when - (int64_t)(clock_wall_us() / 1000000);
	if (wait <= 0)
		sooner(ms, clock_ms());
	else
		sooner(ms, clock_ms() + (uint64_t)wait * 1000 - clock_wall_us() / 1000 % 1000);
}

static uint64_t wake_at(const struct timetable *t)
{
	uint64_t ms = clock_ms() + SLEEP_MOST_MS;

	sooner_due(&ms, &t->due);
	sooner_due(&ms, &t->rests);
	sooner_due(&ms, &t->errands);
	sooner(&ms, channels_next_ms(t));
	sooner(&ms, tls_report_next_ms(t->report));
	if (t->one_by_one)
		sooner(&ms, t->one_by_one_until_ms);
	if (t->stopping)
		sooner(&ms, t->hurried ? clock_ms() + 100 : t->stop_at_ms);
	return ms;
}

static struct due_item *next_due(struct due *d, int64_t now)
{
	struct due_item *first = due_first(d);

	if (first == NULL || first->when > now)
		return NULL;
	due_remove(d, first);
	return first;
}

static void look_at_clock(struct timetable *t)
{
	int64_t now = clock_wall();
	struct due_item *d;

	for (size_t i = 0; i < DUE_AT_A_TIME && (d = next_due(&t->due, now)) != NULL; i++)
		part_due(t, SUPER(d, struct part, due));
	while ((d = next_due(&t->rests, now)) != NULL)
		destination_wake(t, SUPER(d, struct destination, due));
	while (!t->stopping && (d = next_due(&t->errands, now)) != NULL)
		errand_due(t, d);
	channels_end_idle(t, relay(t)->idle_ms);
	tls_report_tick(t->report, t->stopping);
	if (t->one_by_one && clock_ms() >= t->one_by_one_until_ms)
		t->one_by_one = false;
}

/* ---- the thread -------------------------------------------------------------------------------- */

static void read_mail(struct timetable *t)
{
	struct baton *b = mbox_take(t->inbox, MESSAGES_AT_A_TIME, SIZE_MAX, wake_at(t));

	for (struct baton *next; b != NULL; b = next) {
		next = b->next;
		b->next = NULL;
		b->arrived(b);
	}
}

/* Fates are waited for as long as it takes: until they are home nobody knows
 * whether they are true.  A letter may hang on a resolver: its recipient is
 * still in the queue, and hears of it in the next life. */
static bool is_quiet(const struct timetable *t)
{
	if (tls_report_out(t->report) > 0)
		return false;
	if (t->channels > 0 || t->busy > 0 || t->batches > 0 || t->loads > 0 || t->fates > 0 || t->bounces > 0)
		return false;
	return t->letters == 0 || clock_ms() >= t->stop_at_ms + LETTERS_WAIT_MS;
}

static void stop_more(struct timetable *t)
{
	if (!t->hurried && clock_ms() >= t->stop_at_ms) {
		t->hurried = true;
		channels_end_all(t);
	}
}

static void *run(void *arg)
{
	struct timetable *t = timetable_here = arg;

	pthread_setname_np(pthread_self(), "timetable");
	stat_thread();
	trust(t, t->settings->setup->relay);
	mbox_gather();
	while (!t->stopping || !is_quiet(t)) {
		serve(t);
		read_mail(t);
		look_at_clock(t);
		if (t->stopping)
			stop_more(t);
	}
	mbox_gather_no_more();
	return NULL;
}

static void stop_came(struct baton *b)
{
	struct timetable *t = timetable_here;
	uint64_t *within = posted(b);

	t->stopping = true;
	t->stop_at_ms = clock_ms() + *within;
	free(within);
	channels_end_idle(t, 0);
}


void timetable_stop(struct timetable *t, uint64_t within_ms)
{
	uint64_t *within;

	if (!t->started || t->ended)
		return;
	within = malloc(sizeof(*within));
	must(within != NULL);
	*within = within_ms;
	post(t, stop_came, within);
	pthread_join(t->thread, NULL);
	t->ended = true;
}

/* ---- beginning and end --------------------------------------------------------------------------- */

/* The news are part of the entry. */
static void news_came(struct baton *b)
{
	struct queue_news *n = SUPER(b, struct queue_news, baton);
	struct timetable *t = timetable_here;

	if (t->ended)
		queue_entry_free(n->entry);
	else
		message_add(t, n->entry, false, false);
}

struct timetable *timetable_new(struct queue *q, struct loop *const *loops, size_t nloops, struct desk *disk,
                                const struct deliver_setup *setup, void (*take_letter)(struct baton *))
{
	struct timetable *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->queue = q;
	t->loops = loops;
	t->nloops = nloops;
	t->disk = disk;
	t->take_letter = take_letter;
	t->inbox = mbox_new(NULL, NULL);
	t->settings = settings_new(setup);
	due_init(&t->due);
	due_init(&t->rests);
	due_init(&t->errands);
	map_init(&t->destinations, false);
	map_init(&t->providers, true);
	t->house = (struct client_house){
		.queue = q, .disk = disk, .resting = &t->resting, .tls = tls_client_new(), .home = t->inbox,
		.lease_home = lease_came_home, .client_gone = client_came_home,
	};
	t->maildir = destination_get(t, STR("maildir"));
	t->report = tls_report_new(q, t->inbox);
	if (t->inbox == NULL || t->settings == NULL || t->house.tls == NULL || t->maildir == NULL || t->report == NULL ||
	    !client_auth_open()) {
		timetable_free(t);
		return NULL;
	}
	queue_watch(q, t->inbox, news_came);
	return t;
}

struct walk { struct timetable *t; bool first; };

static void seen(void *arg, struct queue_entry *e)
{
	const struct walk *w = arg;

	message_add(w->t, e, true, w->first);
}

enum err timetable_start(struct timetable *t, bool one_by_one)
{
	struct walk w = { t, one_by_one };
	enum err e;
	sigset_t all, old;

	timetable_here = t;
	tls_report_load(t->report);
	t->one_by_one = one_by_one;
	t->one_by_one_until_ms = clock_ms() + ONE_BY_ONE_MS;
	e = queue_walk(t->queue, seen, &w);
	timetable_here = NULL;
	if (e != OK)
		return e;
	sigfillset(&all);
	sigdelset(&all, SIGBUS);        /* faults of this thread's own */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	t->started = pthread_create(&t->thread, NULL, run, t) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return t->started ? OK : ERR_BUSY;
}

/* News that nobody heard any more, letters that were late. */
static void empty_inbox(struct timetable *t)
{
	struct baton *b;

	while ((b = mbox_take_all(t->inbox)) != NULL)
		for (struct baton *next; b != NULL; b = next) {
			next = b->next;
			b->next = NULL;
			b->arrived(b);
		}
}

void timetable_free(struct timetable *t)
{
	if (t == NULL)
		return;
	timetable_here = t;
	t->stopping = true;
	if (t->inbox != NULL)
		empty_inbox(t);
	errands_free(t);
	messages_free(t);
	destinations_free(t);
	due_fini(&t->due);
	due_fini(&t->rests);
	due_fini(&t->errands);
	known_fini(&t->messages);
	map_fini(&t->destinations);
	map_fini(&t->providers);
	tls_client_free(t->house.tls);
	tls_report_free(t->report);
	client_auth_close();
	free(t->settings);
	/* A letter that is still out will come home to it: it is left standing. */
	if (t->letters == 0)
		mbox_free(t->inbox);
	timetable_here = NULL;
	free(t);
}

void timetable_figures(struct timetable *t, struct timetable_figures *f)
{
	*f = (struct timetable_figures){
		.messages = atomic_load(&t->figures.messages), .waiting = atomic_load(&t->figures.waiting),
		.held = atomic_load(&t->figures.held), .leased = atomic_load(&t->figures.leased),
		.deferred = atomic_load(&t->figures.deferred), .delivered = atomic_load(&t->figures.delivered),
		.bounced = atomic_load(&t->figures.bounced), .oldest = atomic_load(&t->figures.oldest),
		.aside = atomic_load(&t->figures.aside),
	};
}
