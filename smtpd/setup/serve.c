/* SPDX-License-Identifier: ISC */
/*
 * Start in order, wait, stop in reverse order.  Main thread.
 *
 *   start   log → desks → queue → accounts → generation → listeners → loops
 *           → committer → timetable → fronts → control → READY
 *   stop    fronts (sessions end) → timetable (deliveries end) → queue
 *           (everything committed) → loops → desks → log
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"
#include "smtpd/setup/drop.h"
#include "smtpd/setup/doctor/watch.h"
#include "smtpd/setup/keys/watch.h"
#include "smtpd/setup/notify.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define LOGIN_END_MS 6000          /* more than an issuer of tokens has for an answer */
#define STOP_MS     20000          /* CONTRACT: DATA in flight and leases get up to 20 s */
#define DISK_DESK   4
#define LOGIN_DESK  2
#define SLOW_DESK   1

static struct server *the_server;  /* the one there is; its members are main's */

/* ---- the floor ----------------------------------------------------------------- */

static void signals_blocked(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* 1,000 connections, each with a file now and then, need more than the usual
 * soft limit of 1,024. */
static void descriptors_raised(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max < 65536 ? r.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static bool state_is_ours(struct server *s, const struct config *c, str *why)
{
	char *path = str_cstr(&s->arena, c->state);
	struct stat st;

	if (path == NULL)
		return false;
	if (stat(path, &st) != 0 && errno == ENOENT && mkdir(path, 0700) != 0) {
		*why = arena_printf(&s->arena, "state directory %s: %s: create it and give it to the server's user", path,
		                    strerror(errno));
		return false;
	}
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		*why = arena_printf(&s->arena, "state directory %s is no directory: move it away or set `state`", path);
		return false;
	}
	if (st.st_uid != geteuid()) {
		*why = arena_printf(&s->arena, "state directory %s belongs to user %u, not to the server's user %u: "
		                    "chown it, or set `state` to another", path, (unsigned)st.st_uid, (unsigned)geteuid());
		return false;
	}
	if ((st.st_mode & 077) != 0)
		chmod(path, 0700);
	return true;
}

/* It must outlive a restart: bounces to senders that were made with it come back
 * for weeks. */
static void read_secret(struct server *s, const struct config *c)
{
	char *file = str_cstr(&s->arena, arena_printf(&s->arena, "%.*s/forward.secret", STR_ARG(c->state)));
	str why = STR("out of memory");

	if (file != NULL && secret_load(file, s->secret, &s->arena, &why))
		return;
	if (file == NULL)
		random_bytes(s->secret, sizeof(s->secret));
	log_event(NULL, LOG_WARN, "secret.unkept", KV("why", why),
	          KV_C("means", "after a restart bounces of what was forwarded before are refused"));
}

static bool opened_store(struct server *s, const struct config *c, str *why)
{
	const struct queue_conf conf = {
		.state = c->state, .map_bytes = c->queue.map_bytes,
		.full_percent = c->queue.full_percent, .free_disk_percent = c->queue.free_disk_percent,
		.keep_finished_ms = c->queue.keep_finished_ms,
	};

	read_secret(s, c);
	s->queue = queue_open(&conf, &s->arena, why);     /* before threads: it looks at the store from a child */
	if (s->queue == NULL)
		return false;
	s->disk = desk_open("disk", DISK_DESK);
	s->login = desk_open("login", LOGIN_DESK);
	s->slow = desk_open("slow", SLOW_DESK);
	s->auth = auth_open(&c->auth, c->hostname, s->login, &s->arena, why);
	return s->auth != NULL;
}

/* ---- the loops --------------------------------------------------------------------- */

static void *loop_thread(void *arg)
{
	stat_thread();
	mbox_gather();
	loop_run(arg);
	mbox_gather_no_more();
	return NULL;
}

static bool read_records(struct server *s, const struct config *c, struct strs *lines, str *why)
{
	str text, line;

	if (c->resolver.records.n == 0)
		return true;
	if (file_read(keeper_open, c->resolver.records, 1 << 20, &s->arena, &text, why) != OK)
		return false;
	lines->v = ARENA_ARRAY(&s->arena, str, text.n / 4 + 1);
	if (lines->v == NULL)
		return false;
	while (str_cut(&text, '\n', &line))
		if (str_trim(line).n > 0 && line.p[0] != '#')
			lines->v[lines->n++] = str_trim(line);
	return true;
}

static bool made_loops(struct server *s, const struct config *c, str *why)
{
	struct dns_conf dns = {
		.forward = c->resolver.forward, .trust_anchor = config_trust_anchor(c),
		.timeout_ms = c->resolver.timeout_ms, .local_special = c->resolver.records.n > 0,
	};
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (!read_records(s, c, &dns.local, why))
		return false;
	if (dns.trust_anchor.n == 0)
		log_event(NULL, c->resolver.trust_anchor.n > 0 ? LOG_WARN : LOG_NOTICE, "dnssec.off", KV("file", c->resolver.trust_anchor),
		          KV_C("why", "there is no trust anchor, so nothing is validated and DANE decides nothing: install "
		               "dns-root-data, or name a file with resolver's trust-anchor"));
	s->nloops = c->loops > 0 ? c->loops : processors > 0 ? (size_t)processors : 1;
	s->loops = ARENA_ARRAY(&s->arena, struct loop *, s->nloops);
	s->fronts = ARENA_ARRAY(&s->arena, struct front *, s->nloops);
	s->threads = ARENA_ARRAY(&s->arena, pthread_t, s->nloops);
	if (s->loops == NULL || s->fronts == NULL || s->threads == NULL)
		return false;
	for (size_t i = 0; i < s->nloops; i++) {
		s->loops[i] = loop_new((unsigned)i, NULL);
		s->loops[i]->dns = dns_new(&dns, s->loops[i], &s->arena, why);
		if (s->loops[i]->dns == NULL)
			return false;
		s->fronts[i] = front_new(s->loops[i], (unsigned)s->nloops);
	}
	s->main = loop_new((unsigned)s->nloops, NULL);
	s->main->dns = dns_new(&dns, s->main, &s->arena, why);    /* zones are tested from here */
	return s->main->dns != NULL && server_made_breaker(s);
}

/* Web servers are talked to on main's loop, where no session waits. */
static bool made_sts(struct server *s, const struct config *c, str *why)
{
	const struct sts_conf conf = server_sts_conf(c);

	s->sts = sts_new(s->main, s->queue, s->disk, s->slow, &conf);
	s->now->deliver.sts = s->sts;
	*why = STR("out of memory");
	return s->sts != NULL;
}

static bool started_threads(struct server *s, str *why)
{
	bool unclean = queue_was_unclean(s->queue);

	for (size_t i = 0; i < s->nloops; i++)
		if (pthread_create(&s->threads[i], NULL, loop_thread, s->loops[i]) != 0) {
			*why = STR("a thread could not be started: raise the limit of processes");
			return false;
		}
	s->timetable = timetable_new(s->queue, s->loops, s->nloops, s->disk, &s->now->deliver, inject_letter);
	if (s->timetable == NULL || queue_start(s->queue, s->disk) != OK || timetable_start(s->timetable, unclean) != OK) {
		*why = STR("the queue could not be started: see the log");
		return false;
	}
	sts_begin(s->sts);
	return true;
}

/* ---- signals, timers ------------------------------------------------------------------ */

struct ending { struct baton baton; struct loop *loop; };

static void end_loop(struct baton *b)
{
	struct ending *e = SUPER(b, struct ending, baton);

	conn_leave_now(e->loop);        /* what says good-bye still has had its time */
	loop_stop(e->loop);
	free(e);
}

static void loops_ended(struct server *s)
{
	for (size_t i = 0; i < s->nloops; i++) {
		struct ending *e = calloc(1, sizeof(*e));

		must(e != NULL);
		e->loop = s->loops[i];
		e->baton.arrived = end_loop;
		loop_send(s->loops[i], &e->baton);
	}
	for (size_t i = 0; i < s->nloops; i++)
		pthread_join(s->threads[i], NULL);
}

static uint64_t stop_deadline;

/* The last front is empty: nothing comes in any more. */
static void inside_is_empty(struct server *s)
{
	uint64_t now = clock_ms();

	drops_end(s->drops);
	timetable_stop(s->timetable, now < stop_deadline ? stop_deadline - now : 0);
	sts_end(s->sts);
	server_write_allowances(s);
	queue_stop(s->queue);
	loops_ended(s);
	loop_stop(s->main);
}

static void front_is_empty(struct baton *b)
{
	free(SUPER(b, struct front_stop, baton));
	if (--the_server->fronts_up == 0)
		inside_is_empty(the_server);
}

static void server_stop(struct server *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	stop_deadline = clock_ms() + STOP_MS;
	log_event(NULL, LOG_NOTICE, "server.stopping", KV_N("within_ms", STOP_MS));
	notify_say("STOPPING=1");
	web_end(s->web);
	doctor_watch_stop(s->doctor);
	drops_stop(s->drops);
	s->fronts_up = s->nloops;
	for (size_t i = 0; i < s->nloops; i++) {
		struct front_stop *stop = calloc(1, sizeof(*stop));

		must(stop != NULL);
		stop->baton.home = s->main->mbox;
		stop->baton.arrived = front_is_empty;
		stop->front = s->fronts[i];
		stop->within_ms = STOP_MS;
		front_stop(stop);
	}
}

static void reload_wanted(struct server *s)
{
	str why = STR_NONE;

	if (server_reload(s, &why) != OK)
		log_event(NULL, LOG_ERROR, "configuration.refused", KV_C("file", s->file), KV("why", why));
}

static void signal_came(struct loop_io *io, int events)
{
	struct signalfd_siginfo info;

	(void)events;
	while (read(io->w.fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reload_wanted(the_server);
		else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
			server_stop(the_server);
	}
}

static void a_minute_passed(struct loop_timer *t)
{
	server_look_again(the_server);
	server_note_pace(the_server);
	server_write_allowances(the_server);
	server_release_unsigned_again(the_server);
	loop_timer_set(t, 60000);
}

static void watchdog_is_due(struct loop_timer *t)
{
	notify_say("WATCHDOG=1");
	loop_timer_set(t, notify_watchdog_ms());
}

static bool listens_for_signals(struct server *s)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return false;
	loop_io_init(&s->signals, s->main, "signal", fd, signal_came);
	loop_io_want(&s->signals, EV_READ);
	loop_timer_init(&s->minute, s->main, "minute", a_minute_passed);
	loop_timer_set(&s->minute, 60000);
	loop_timer_init(&s->watchdog, s->main, "watchdog", watchdog_is_due);
	if (notify_watchdog_ms() > 0)
		loop_timer_set(&s->watchdog, notify_watchdog_ms());
	server_watch_memory(s);
	return true;
}

/* ---- start and stop ------------------------------------------------------------------------ */

static struct generation *first_generation(struct server *s, struct config *c, str *why)
{
	struct generation *g = calloc(1, sizeof(*g));
	const struct generation_needs needs = { keeper_open, s->auth, s->queue, s->secret, &s->denied };

	if (g == NULL)
		return NULL;
	arena_init(&g->arena, ARENA_UNBOUNDED);
	g->config = c;
	if (generation_build(g, &needs, why) == OK)
		return g;
	*why = str_keep(&s->arena, *why);
	generation_free(g);
	return NULL;
}

static bool server_start(struct server *s, struct config *c, const struct serve_given *given, size_t ngiven, str *why)
{
	enum log_to to = c->log.to == 2 ? LOG_TO_FILE : c->log.to == 1 ? LOG_TO_SYSLOG : LOG_TO_STDERR;

	log_level_set((enum log_level)c->log.level);
	if (log_open(to, str_cstr(&s->arena, c->log.file), why) != OK || !state_is_ours(s, c, why) ||
	    !opened_store(s, c, why))
		return false;
	s->now = first_generation(s, c, why);
	if (s->now != NULL)
		server_look_at_denied(s);
	if (s->now == NULL || server_open_listeners(s, c, given, ngiven, why) != OK || !made_loops(s, c, why) ||
	    !made_sts(s, c, why))
		return false;
	s->control = control_open(s->main, str_cstr(&s->arena, server_control_path(c, &s->arena)),
	                          server_control_verbs, s, why);
	s->web = web_new(s->main, server_let_go);
	s->keys = key_watch_new(s);
	s->doctor = doctor_watch_new(s);
	if (s->control == NULL || s->web == NULL || s->keys == NULL || s->doctor == NULL || !listens_for_signals(s))
		return false;
	log_start();
	return started_threads(s, why);
}

static void say_up(const struct server *s)
{
	log_event(NULL, LOG_NOTICE, "server.started", KV_C("version", POSTERN_VERSION), KV_C("file", s->file),
	          KV("hostname", s->now->config->hostname), KV_N("loops", s->nloops));
	notify_say("READY=1\nSTATUS=taking mail");
}

/* A back end of auth {} keeps a login for ever.  Nobody waits for it any more:
 * what is left is put down in order, and the call's memory is the system's. */
_Noreturn static void server_leave(struct server *s)
{
	log_event(NULL, LOG_ERROR, "login.stuck",
	          KV_C("why", "the back end of auth {} has not answered: look after it"));
	desk_close(s->disk);
	timetable_free(s->timetable);
	queue_close(s->queue);
	log_event(NULL, LOG_NOTICE, "server.stopped", KV_C("version", POSTERN_VERSION));
	log_stop();
	_exit(EXIT_SUCCESS);
}

static void server_end(struct server *s)
{
	key_watch_stop(s->keys);
	control_close(s->control);
	server_end_zone_tests(s);
	dns_free(s->main->dns);
	loop_io_want(&s->signals, 0);
	loop_timer_stop(&s->minute);
	loop_timer_stop(&s->watchdog);
	loop_timer_stop(&s->memory);
	desk_close(s->slow);            /* first: what is still on a desk comes home */
	if (!desk_close_within(s->login, LOGIN_END_MS))
		server_leave(s);
	desk_close(s->disk);
	server_release_unsigned_again(s);
	timetable_free(s->timetable);
	for (size_t i = 0; i < s->nloops; i++) {
		front_free(s->fronts[i]);
		dns_free(s->loops[i]->dns);
		loop_free(s->loops[i]);
	}
	key_watch_free(s->keys);
	generation_free(s->now);
	deny_table_free(atomic_load(&s->denied.table));
	auth_close(s->auth);
	queue_close(s->queue);
	for (size_t i = 0; i < s->nopened; i++)
		close(s->opened[i].fd);
	conn_leave_now(s->main);
	doctor_watch_free(s->doctor);
	loop_free(s->main);
	web_free(s->web);
	sts_free(s->sts);
	breaker_free(s->breaker);
	log_event(NULL, LOG_NOTICE, "server.stopped", KV_C("version", POSTERN_VERSION));
	log_stop();
}

int serve_run(const char *file, struct config *c, struct arena *arena, const struct serve_given *given, size_t ngiven,
              void (*ready)(struct server *, void *arg), void *arg)
{
	static struct server server;
	struct server *s = the_server = &server;
	str why = STR("out of memory");

	s->arena = *arena;
	s->file = file;
	s->started = clock_wall();
	signals_blocked();
	bus_fault_watch();
	descriptors_raised();
	crypt_setup();
	stat_thread();
	session_counters();
	chain_counters(builtin_modules);
	if (!server_start(s, c, given, ngiven, &why)) {
		fprintf(stderr, "postern serve: %.*s\n", STR_ARG(why));
		return EXIT_FINDING;
	}
	server_note_pace(s);
	server_use(s, s->now);
	s->drops = drops_start(s, s->now->config);
	say_up(s);
	if (ready != NULL)
		ready(s, arg);
	loop_run(s->main);
	server_end(s);
	arena_fini(&s->arena);
	return s->failed ? EXIT_FINDING : EXIT_DONE;
}
