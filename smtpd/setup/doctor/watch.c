/* SPDX-License-Identifier: ISC */
/*
 * See watch.h.
 *
 *     timer ─▶ look ─▶ as remembered? ─▶ remember, wait
 *                          └─ other ─▶ look again soon ─▶ still? ─▶ letter home ─▶ remember
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/letter.h"
#include "queue/queue.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/keeper.h"
#include "smtpd/mail/trace.h"
#include "smtpd/setup/dns/direct.h"
#include "smtpd/setup/doctor/host.h"
#include "smtpd/setup/doctor/memory.h"
#include "smtpd/setup/doctor/records.h"
#include "smtpd/setup/doctor/watch.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define FIRST_MS   ((uint64_t)3600 * 1000)     /* after the first start */
#define SECOND_MS  ((uint64_t)600 * 1000)      /* between a look and the one that confirms it */
#define START_MS   ((uint64_t)300 * 1000)      /* after a start, when a look is overdue */
#define TIMEOUT_MS 20000

struct look {                          /* one look on its way */
	struct doctor      doctor;
	struct arena       arena;
	struct host_facts  host;
	struct dns_conf    resolver;
	struct direct_conf direct;
	struct memory      old, now;
	bool               compares;   /* there is an old one */
	struct generation *g;          /* one user more, while this is out */
	struct doctor_watch *watch;
	struct loop_call   over;
};

struct doctor_watch {
	struct server    *server;
	struct loop_timer timer;
	struct look      *look;        /* NULL: none is out */
	struct desk      *desk;        /* of the last look */
	struct reading   *reading;     /* on it: the look begins when it is home */
	struct tls_client *tls;
	bool              confirming;  /* the next look confirms what this one saw */
	bool              stopped, begun;
	uint64_t          every_ms;
};

static str memory_path(const struct server *s, struct arena *a)
{
	return arena_printf(a, "%.*s/doctor.json", STR_ARG(s->now->config->state));
}

/* ---- what is remembered ------------------------------------------------------------------------------- */

/* False: there is nothing, or nothing that can be read: it begins anew. */
static bool read_memory(const struct server *s, struct arena *a, struct memory *out)
{
	str path = memory_path(s, a), text, why = STR_NONE;

	if (file_read(verb_open_file, path, MEMORY_MOST, a, &text, &why) != OK)
		return false;
	if (memory_read(text, a, out) == OK)
		return true;
	log_event(NULL, LOG_WARN, "doctor.forgot", KV("file", path), KV_C("why", "it is no memory of this version; it begins anew"));
	return false;
}

struct write {                         /* a file to be written, on the slow desk */
	struct job job;
	char      *path, *next, *text;
	int        failed;             /* errno */
};

static void write_file(struct job *job)
{
	struct write *w = SUPER(job, struct write, job);
	int fd = open(w->next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t n = strlen(w->text);
	bool good = fd >= 0 && write(fd, w->text, n) == (ssize_t)n && fsync(fd) == 0;

	good = good && rename(w->next, w->path) == 0;
	w->failed = good ? 0 : errno != 0 ? errno : ENOSPC;
	if (fd >= 0)
		close(fd);
}

static void file_written(struct baton *b)
{
	struct write *w = SUPER(SUPER(b, struct job, baton), struct write, job);

	if (w->failed != 0)
		log_event(NULL, LOG_WARN, "doctor.unwritten", KV_C("file", w->path), KV_C("why", strerror(w->failed)));
	free(w->path);
	free(w->next);
	free(w->text);
	free(w);
}

static void remember(struct doctor_watch *d, const struct memory *m)
{
	struct server *s = d->server;
	struct write *w = calloc(1, sizeof(*w));
	struct arena a;

	must(w != NULL);
	arena_init(&a, 8192);
	w->text = memory_text(m);
	w->path = strdup(str_cstr(&a, memory_path(s, &a)));
	w->next = strdup(str_cstr(&a, arena_printf(&a, "%.*s.next", STR_ARG(memory_path(s, &a)))));
	arena_fini(&a);
	must(w->text != NULL && w->path != NULL && w->next != NULL);
	w->job.work = write_file;
	w->job.baton.home = s->main->mbox;
	w->job.baton.arrived = file_written;
	desk_submit_anyway(s->slow, &w->job);
}

/* ---- the letter ----------------------------------------------------------------------------------------- */

static size_t count_faults(const struct change *v, size_t n)
{
	size_t faults = 0;

	for (size_t i = 0; i < n; i++)
		faults += v[i].is != NULL && v[i].is->verdict == DOCTOR_FAULT;
	return faults;
}

static str letter_text(struct arena *a, const struct config *c, str to, const struct change *v, size_t n)
{
	char id[QUEUE_ID_TEXT];
	size_t faults = count_faults(v, n);
	str host = c->hostname, domain = ((const struct domain_section *)c->domains.v[0])->name;
	str subject = faults > 0 ? arena_printf(a, "%.*s: %zu new fault%s", STR_ARG(host), faults, faults == 1 ? "" : "s")
	                         : arena_printf(a, "%.*s: %zu thing%s changed", STR_ARG(host), n, n == 1 ? " has" : "s have");

	return arena_printf(a, "From: Mail server <postmaster@%.*s>\r\nTo: <%.*s>\r\nSubject: %.*s\r\n%.*s%.*s"
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
		"Content-Transfer-Encoding: 8bit\r\n\r\n"
		"%.*s has looked at itself and its domains, and this is not as it was:\r\n\r\n%.*s"
		"`postern doctor` shows everything; this is told once.  How often it looks stands\r\n"
		"in the section doctor of postern.conf(5).\r\n",
		STR_ARG(domain), STR_ARG(to), STR_ARG(subject), STR_ARG(trace_date(a, clock_wall())),
		STR_ARG(trace_message_id(a, queue_id_text((uint64_t)clock_wall_us(), id), host)), STR_ARG(host),
		STR_ARG(changes_text(v, n, a)));
}

static void write_letter(struct server *s, const struct change *v, size_t n)
{
	const struct config *c = s->now->config;
	struct letter *l = letter_new();

	if (l == NULL || c->domains.n == 0) {
		letter_free(l);
		return;
	}
	l->sender = STR("");
	l->rcpt = c->doctor.mail_to.n > 0 ? str_keep(&l->arena, c->doctor.mail_to)
	          : arena_printf(&l->arena, "postmaster@%.*s", STR_ARG(((const struct domain_section *)c->domains.v[0])->name));
	l->text = letter_text(&l->arena, c, l->rcpt, v, n);
	server_post(s, l);
}

/* ---- a look's end ------------------------------------------------------------------------------------------- */

static uint64_t at_most(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void arm(struct doctor_watch *d, uint64_t in_ms)
{
	if (!d->stopped && d->every_ms > 0)
		loop_timer_set(&d->timer, in_ms > 0 ? in_ms : 1);
}

static void look_free(struct doctor_watch *d)
{
	struct look *k = d->look;

	d->look = NULL;
	doctor_end(&k->doctor);
	server_let_go(k->g);
	arena_fini(&k->arena);
	free(k);
}

static void log_faults(const struct look *k, const struct change *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].is != NULL && v[i].is->verdict == DOCTOR_FAULT)
			log_event(NULL, LOG_WARN, "doctor.fault", KV("check", v[i].is->check), KV("subject", v[i].is->subject),
			          KV("about", v[i].is->about), KV("seen", v[i].is->seen), KV("next", v[i].is->todo));
	for (size_t i = 0; !k->compares && i < k->now.n; i++)
		if (k->now.v[i].verdict == DOCTOR_FAULT)
			log_event(NULL, LOG_WARN, "doctor.fault", KV("check", k->now.v[i].check), KV("subject", k->now.v[i].subject),
			          KV("about", k->now.v[i].about), KV("seen", k->now.v[i].seen), KV("next", k->now.v[i].todo));
}

/* What it remembered is known to whoever was to know it. */
static void settle(struct doctor_watch *d, struct look *k)
{
	struct change *v = NULL;
	size_t n = k->compares ? memory_compare(&k->old, &k->now, &k->arena, &v) : 0, counts[DOCTOR_FAULT + 1];
	bool sure = n == 0 || d->confirming;

	doctor_count(&k->doctor, counts);
	log_event(NULL, LOG_NOTICE, "doctor.looked", KV_N("faults", counts[DOCTOR_FAULT]), KV_N("warnings", counts[DOCTOR_WARNING]),
	          KV_N("changes", n), KV_C("sure", sure ? "yes" : "no"));
	d->confirming = !sure;
	if (sure) {
		log_faults(k, v, n);
		if (n > 0)
			write_letter(d->server, v, n);
		remember(d, &k->now);
	}
	arm(d, sure ? d->every_ms : at_most(d->every_ms, SECOND_MS));
}

static void look_over(struct loop_call *call)
{
	struct look *k = SUPER(call, struct look, over);
	struct doctor_watch *d = k->watch;

	if (!k->arena.spent) {
		memory_of(&k->doctor, k->compares ? &k->old : NULL, clock_wall(), &k->arena, &k->now);
		settle(d, k);
	} else {
		arm(d, d->every_ms);
	}
	look_free(d);
}

/* The doctor is in the middle of its turn: it is let go behind it. */
static void looked(struct doctor *doctor)
{
	struct look *k = SUPER(doctor, struct look, doctor);

	loop_defer(doctor->loop, &k->over, look_over);
}

/* ---- a look's beginning ---------------------------------------------------------------------------------------- */

static bool has_tools(struct doctor_watch *d)
{
	if (d->desk == NULL)
		d->desk = desk_open("doctor", 1);
	if (d->tls == NULL)
		d->tls = tls_client_new();
	return d->desk != NULL && d->tls != NULL;
}

/* The file of CAs takes its time: the desk reads it. */
struct reading {
	struct job           job;
	struct doctor_watch *watch;    /* NULL: it has gone */
	struct tls_client   *tls;
	struct arena         arena;
	str                  ca, why;
	bool                 good;
};

static void read_authorities(struct job *job)
{
	struct reading *r = SUPER(job, struct reading, job);

	r->good = tls_client_trust(r->tls, r->ca, &r->arena, &r->why);
}

static void authorities_read(struct baton *b)
{
	struct reading *r = SUPER(SUPER(b, struct job, baton), struct reading, job);
	struct doctor_watch *d = r->watch;

	if (!r->good)
		log_event(NULL, LOG_WARN, "doctor.without-ca", KV("why", r->why));
	if (d != NULL)
		d->reading = NULL;
	if (d != NULL && d->look != NULL)
		doctor_begin(&d->look->doctor);
	arena_fini(&r->arena);
	free(r);
}

static void begin(struct doctor_watch *d, str ca)
{
	struct reading *r = calloc(1, sizeof(*r));

	must(r != NULL);
	arena_init(&r->arena, 8192);
	r->watch = d;
	r->tls = d->tls;
	r->ca = str_keep(&r->arena, ca);
	r->job.work = read_authorities;
	r->job.baton.home = d->server->main->mbox;
	r->job.baton.arrived = authorities_read;
	d->reading = r;
	desk_submit_anyway(d->desk, &r->job);
}

static bool prepare(struct doctor_watch *d, struct look *k, str *why)
{
	const struct config *c = k->g->config;
	struct doctor *doctor = &k->doctor;
	str *domains = ARENA_ARRAY(&k->arena, str, c->domains.n + 1);

	*why = STR("out of memory");
	if (domains == NULL || host_look(c, k->g, keeper_open, &k->arena, &k->host, why) != OK)
		return false;
	for (size_t i = 0; i < c->domains.n; i++)
		domains[i] = ((const struct domain_section *)c->domains.v[i])->name;
	doctor->domains = (struct strs){ domains, c->domains.n };
	if (wanted_make(c, &doctor->domains, &k->host.addresses, &k->arena, &doctor->wanted, &doctor->nwanted, why) != OK)
		return false;
	direct_conf_of(c, &k->direct, &k->resolver);
	doctor->arena = &k->arena;
	doctor->loop = d->server->main;
	doctor->desk = d->desk;
	doctor->tls = d->tls;
	doctor->sts = d->server->sts;
	doctor->config = c;
	doctor->host = &k->host;
	doctor->direct = &k->direct;
	doctor->validates = k->resolver.trust_anchor.n > 0;
	doctor->timeout_ms = TIMEOUT_MS;
	doctor->done = looked;
	k->compares = read_memory(d->server, &k->arena, &k->old);
	return true;
}

static void look_now(struct loop_timer *t)
{
	struct doctor_watch *d = SUPER(t, struct doctor_watch, timer);
	struct look *k = d->look == NULL && d->reading == NULL && has_tools(d) ? calloc(1, sizeof(*k)) : NULL;
	str why = STR_NONE;

	if (k == NULL) {
		arm(d, d->every_ms);
		return;
	}
	arena_init(&k->arena, ARENA_UNBOUNDED);
	k->watch = d;
	k->g = d->server->now;
	k->g->users++;
	d->look = k;
	if (prepare(d, k, &why)) {
		begin(d, k->g->config->relay.ca);
		return;
	}
	log_event(NULL, LOG_WARN, "doctor.failed", KV("why", why));
	look_free(d);
	arm(d, d->every_ms);
}

/* ---- its life ------------------------------------------------------------------------------------------------------ */

struct doctor_watch *doctor_watch_new(struct server *s)
{
	struct doctor_watch *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->server = s;
	loop_timer_init(&d->timer, s->main, "doctor", look_now);
	return d;
}

/* When the first look of this process is due. */
static uint64_t first_pause(const struct doctor_watch *d)
{
	struct memory last;
	struct arena a;
	uint64_t pause = at_most(d->every_ms, FIRST_MS);
	int64_t left = 0;

	arena_init(&a, ARENA_UNBOUNDED);
	if (read_memory(d->server, &a, &last)) {
		left = last.when + (int64_t)(d->every_ms / 1000) - clock_wall();
		pause = left > 0 ? (uint64_t)left * 1000 : 0;
		pause = pause < START_MS ? START_MS : at_most(pause, d->every_ms);
		pause = at_most(pause, d->every_ms);
	}
	arena_fini(&a);
	return pause;
}

void doctor_watch_use(struct doctor_watch *d)
{
	uint64_t every = d->server->now->config->doctor.every_ms;

	if (every == d->every_ms)
		return;
	d->every_ms = every;
	loop_timer_stop(&d->timer);
	if (d->look == NULL && every > 0)
		arm(d, d->begun ? every : first_pause(d));
	d->begun = true;
}

void doctor_watch_stop(struct doctor_watch *d)
{
	d->stopped = true;
	loop_timer_stop(&d->timer);
	if (d->look == NULL)
		return;
	loop_undefer(&d->look->over);
	look_free(d);
}

void doctor_watch_free(struct doctor_watch *d)
{
	if (d == NULL)
		return;
	if (d->desk != NULL)
		desk_close(d->desk);
	if (d->reading != NULL)
		d->reading->watch = NULL;
	tls_client_free(d->tls);
	free(d);
}
