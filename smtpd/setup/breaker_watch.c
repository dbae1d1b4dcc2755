/* SPDX-License-Identifier: ISC */
/*
 * The breaker's life beyond sessions: its accounts are notes of the queue
 * ("allowance:ADDRESS"), written each minute and when something was decided, so
 * a crash forgets a minute's counting at most; and who is shut off is told, with
 * the postmaster, in a letter.  Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/filter.h"
#include "queue/letter.h"
#include "queue/report.h"
#include "smtpd/base/clock.h"
#include "smtpd/mail/trace.h"
#include "smtpd/setup/serve.h"

#define PREFIX "allowance:"

static struct server *here;            /* whose loop the news come to */

/* ---- notes ------------------------------------------------------------------------ */

static void written(struct baton *b)
{
	struct queue_note *n = SUPER(b, struct queue_note, baton);

	if (n->result != OK)
		log_event(NULL, LOG_WARN, "allowance.unwritten", KV("note", n->key), KV_C("why", err_text(n->result)));
	queue_note_free(n);
}

static void write_one(void *arg, str account, str value)
{
	struct server *s = arg;
	struct queue_note *n = queue_note_new();

	if (n == NULL)
		return;
	n->key = arena_printf(&n->arena, PREFIX "%.*s", STR_ARG(account));
	n->value = str_keep(&n->arena, value);
	n->baton.home = s->main->mbox;
	n->baton.arrived = written;
	if (n->key.n == 0 || n->key.n > 200 || n->value.n == 0)
		queue_note_free(n);      /* a name this long is counted anew after a restart */
	else
		queue_note_put(s->queue, n);
}

void server_write_allowances(struct server *s)
{
	breaker_each_changed(s->breaker, write_one, s);
}

static bool read_one(void *arg, str key, str value)
{
	breaker_restore(arg, str_skip(key, sizeof(PREFIX) - 1), value);
	return true;
}

/* ---- what waits already ---------------------------------------------------------------- */

/* The messages of an account that wait, one after the other. */
struct gathering {
	struct job        job;            /* finds them, on the slow desk */
	struct queue_wish wish;
	struct server    *server;
	void            (*then)(struct server *, void *arg);
	void             *arg;
	uint64_t         *ids;
	size_t            n, at, held;
	enum err          found;
	char              account[ADDR_PATH_MAX + 1];
};

static void gather_end(struct gathering *g)
{
	log_event(NULL, g->found == OK ? LOG_NOTICE : LOG_WARN, "account.gathered", KV_C("account", g->account),
	          KV_N("messages", g->held), KV_C("why", g->found == OK ? "they waited when it was held" : err_text(g->found)));
	if (g->then != NULL)
		g->then(g->server, g->arg);
	free(g->ids);
	free(g);
}

static void gather_next(struct gathering *g)
{
	if (g->found != OK || g->at == g->n) {
		gather_end(g);
		return;
	}
	g->wish.id = g->ids[g->at++];
	timetable_wish(g->server->timetable, &g->wish);
}

/* What was delivered meanwhile is gone. */
static void gathered_one(struct baton *b)
{
	struct gathering *g = SUPER(SUPER(b, struct queue_wish, baton), struct gathering, wish);

	g->held += g->wish.touched;
	if (g->wish.result != OK && g->wish.result != ERR_ABSENT)
		g->found = g->wish.result;
	gather_next(g);
}

static void find_waiting(struct job *j)
{
	struct gathering *g = SUPER(j, struct gathering, job);
	const struct queue_filter waiting = { .login = str_of(g->account), .states = STATE_WAITING };

	g->found = queue_select(g->server->queue, &waiting, &g->ids, &g->n);
}

static void found_waiting(struct baton *b)
{
	gather_next(SUPER(SUPER(b, struct job, baton), struct gathering, job));
}

/* What it sent before and is not out yet is held as what it sends from now on,
 * so that one decision is about all of it. */
void server_hold_waiting(struct server *s, str account, void (*then)(struct server *, void *), void *arg)
{
	struct gathering *g = calloc(1, sizeof(*g));

	must(g != NULL);
	account = str_head(account, sizeof(g->account) - 1);
	memcpy(g->account, account.p, account.n);
	g->server = s;
	g->then = then;
	g->arg = arg;
	g->wish.what = WISH_BREAK;
	g->wish.baton.home = s->main->mbox;
	g->wish.baton.arrived = gathered_one;
	g->job.work = find_waiting;
	g->job.baton.home = s->main->mbox;
	g->job.baton.arrived = found_waiting;
	desk_submit_anyway(s->slow, &g->job);
}

/* ---- letters ------------------------------------------------------------------------ */

static str letter_text(struct arena *a, const struct breaker_news *n, str to, str from, str host)
{
	char id[QUEUE_ID_TEXT];
	str account = str_of(n->account), at = n->ip[0] != '\0' ? arena_printf(a, " from the address %s", n->ip) : STR("");
	int64_t now = clock_wall();

	return arena_printf(a, "From: Mail server <%.*s>\r\nTo: <%.*s>\r\nSubject: The mail of %.*s is held\r\n%.*s%.*s"
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
		"%.*s has sent more than it may%.*s: %llu %s,\r\nof which %llu are allowed.\r\n\r\n"
		"Nothing was refused and nothing is lost: what it sends, and what still waited, is kept\r\nin the queue of %.*s until somebody decides.\r\n\r\n"
		"Was this not you?  Then somebody else knows the password.  Ask the postmaster to\r\n"
		"lock the account and to throw the held mail away, and set another password:\r\n\r\n"
		"    postern queue list --state breaker\r\n"
		"    postern account lock %.*s\r\n    postern account drop %.*s\r\n    postern account passwd %.*s\r\n\r\n"
		"Was it you?  Then this sends all of it, and the counting begins again:\r\n\r\n"
		"    postern account release %.*s\r\n\r\n"
		"How much an account may send stands in the section allowance of postern.conf(5).\r\n",
		STR_ARG(from), STR_ARG(to), STR_ARG(account), STR_ARG(trace_date(a, now)),
		STR_ARG(trace_message_id(a, queue_id_text((uint64_t)clock_wall_us(), id), host)), STR_ARG(account), STR_ARG(at),
		(unsigned long long)n->count, n->what, (unsigned long long)n->most, STR_ARG(host), STR_ARG(account),
		STR_ARG(account), STR_ARG(account), STR_ARG(account));
}

static void tell(struct server *s, const struct breaker_news *n, str to)
{
	str account = str_of(n->account), domain = str_skip(account, str_rfind(account, '@') + 1);
	struct letter *l = letter_new();

	if (l == NULL)
		return;
	l->sender = STR("");
	l->rcpt = str_keep(&l->arena, to);
	l->text = letter_text(&l->arena, n, to, arena_printf(&l->arena, "postmaster@%.*s", STR_ARG(domain)),
	                      s->now->config->hostname);
	server_post(s, l);
}

static void account_shut(struct baton *b)
{
	struct breaker_news *n = SUPER(b, struct breaker_news, baton);
	str account = str_of(n->account), domain = str_skip(account, str_rfind(account, '@') + 1);
	struct arena a;
	str postmaster;

	log_event(NULL, LOG_WARN, "account.held", KV("account", account), KV_C("ip", n->ip), KV_C("what", n->what),
	          KV_N("count", n->count), KV_N("allowed", n->most),
	          KV_C("next", "`postern account release`, drop or lock decides"));
	arena_init(&a, 4096);
	breaker_explain(here->breaker, account, arena_printf(&a, "%llu %s, of which %llu are allowed%s%s", (unsigned long long)n->count,
	                n->what, (unsigned long long)n->most, n->ip[0] != '\0' ? ", lately from the address " : "", n->ip));
	server_write_allowances(here);
	server_hold_waiting(here, account, NULL, NULL);
	postmaster = arena_printf(&a, "postmaster@%.*s", STR_ARG(domain));
	tell(here, n, account);
	if (!str_eq_nocase(postmaster, account))
		tell(here, n, postmaster);
	arena_fini(&a);
	free(n);
}

/* ---- its life ------------------------------------------------------------------------- */

bool server_made_breaker(struct server *s)
{
	here = s;
	s->breaker = breaker_new(s->secret, s->main->mbox, account_shut);
	if (s->breaker == NULL)
		return false;
	queue_notes_each(s->queue, STR(PREFIX), read_one, s->breaker);
	return true;
}

void server_bounced(void *session, str login, size_t n)
{
	const struct session_setup *setup = session;

	if (setup->breaker != NULL && login.n > 0)
		breaker_bounced(setup->breaker, allowance_of(setup, login), login, n, clock_wall());
}
