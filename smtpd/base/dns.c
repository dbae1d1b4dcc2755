/* SPDX-License-Identifier: ISC */
/*
 * dns: askers, and the questions that they share.
 *
 * An ask belongs to its asker, a question to dns.c; a question lives while it
 * has asks, and equal ones that are out at the same time are one.  What a
 * source says is kept and told at the loop's next turn, never inside the
 * source's or the asker's call, so an asker may ask or cancel anything from its
 * callback.  Each ask has its own deadline, whatever the source still hopes.
 * Thread: the loop's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/dns.h"
#include "smtpd/base/dns_name.h"
#include "smtpd/base/map.h"
#include "smtpd/base/stat.h"

struct dns {
	struct loop       *loop;
	struct dns_source *source;
	uint64_t           timeout_ms;
	struct map         asked;      /* type and lower-case name → question still with the source */
	struct dns_link    questions;  /* all */
	struct dns_link    early;      /* asks that need no question */
	struct loop_call   early_call;
	size_t             out;
	bool               closing;
	dns_watcher       *watcher;
	void              *watcher_user;
};

struct dns_question {
	struct dns       *dns;
	struct dns_link   link, asks;
	struct loop_timer deadline;   /* at the first of its asks' deadlines */
	struct loop_call  call;       /* done: waiting for the next turn */
	void             *source_data;
	enum dns_type     type;
	bool              done;       /* the source has spoken */
	bool              telling;    /* its asks are being answered: it must not go yet */
	bool              secure;
	enum dns_status   status;     /* when there is no packet */
	char             *kept;       /* packet and why, one block */
	str               packet, why, key, name;
};

enum { ASKED, JOINED, ANSWERED, TIMEOUT, SERVFAIL, BOGUS };

static const struct stat_def stats[] = {
	[ASKED]    = { "asked", "questions asked by the server's own parts" },
	[JOINED]   = { "joined", "of these, asked while an equal one was out" },
	[ANSWERED] = { "answered", "found, or certainly not there" },
	[TIMEOUT]  = { "timeout", "not answered in time" },
	[SERVFAIL] = { "servfail", "answered with a failure" },
	[BOGUS]    = { "bogus", "answers that DNSSEC proves to be false" },
};
static unsigned stat_first;

static void stats_register(void)
{
	stat_first = stat_register("dns", stats, COUNT(stats));
}

const char *dns_status_text(enum dns_status s)
{
	static const char *const texts[] = {
		[DNS_FOUND] = "found",       [DNS_NXDOMAIN] = "NXDOMAIN",
		[DNS_NODATA] = "no data",    [DNS_SERVFAIL] = "SERVFAIL",
		[DNS_TIMEOUT] = "timeout",   [DNS_BOGUS] = "bogus",
		[DNS_BADNAME] = "not a domain name",
	};

	return (size_t)s < COUNT(texts) ? texts[s] : "unknown";
}

/* ---- lists: circular, so that unlinking needs no head --------------------- */

static void list_init(struct dns_link *head)
{
	head->next = head->prev = head;
}

static bool list_empty(const struct dns_link *head)
{
	return head->next == head;
}

static void list_add(struct dns_link *head, struct dns_link *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static void list_remove(struct dns_link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

static void list_move(struct dns_link *from, struct dns_link *to)
{
	while (!list_empty(from)) {
		struct dns_link *l = from->next;

		list_remove(l);
		list_add(to, l);
	}
}

static struct dns_ask *first_ask(struct dns_link *head)
{
	return SUPER(head->next, struct dns_ask, link);
}

/* ---- telling -------------------------------------------------------------- */

static void count_answer(enum dns_status s)
{
	static const unsigned counters[] = {
		[DNS_FOUND] = ANSWERED,    [DNS_NXDOMAIN] = ANSWERED, [DNS_NODATA] = ANSWERED,
		[DNS_SERVFAIL] = SERVFAIL, [DNS_TIMEOUT] = TIMEOUT,   [DNS_BOGUS] = BOGUS,
	};

	if (s != DNS_BADNAME)
		stat_add(stat_first + counters[s], 1);
}

static void read_answer(const struct dns_question *q, struct arena *a, struct dns_answer *out)
{
	if (q->packet.n > 0) {
		dns_parse(a, q->packet, q->type, out);
		out->secure = q->secure && !dns_failed(out->status);
		return;
	}
	out->status = q->status;
	out->why = str_keep(a, q->why);
}

static void ask_end(struct dns_ask *ask)
{
	list_remove(&ask->link);
	ask->out = false;
	ask->question = NULL;
	ask->dns->out--;
}

/* Last: the callback may free the ask. */
static void ask_tell(struct dns_ask *ask, enum dns_status s, const struct dns_question *q)
{
	static const struct dns_answer no_room = { .status = DNS_SERVFAIL,
		                                   .why = { "no memory for the answer", 24 } };
	struct dns_answer *out = ARENA_NEW(ask->arena, struct dns_answer);
	const struct dns_question *asked = ask->question;

	if (out != NULL && q != NULL)
		read_answer(q, ask->arena, out);
	else if (out != NULL)
		out->status = s;
	if (ask->dns->watcher != NULL && asked != NULL)
		ask->dns->watcher(ask->dns->watcher_user, dns_question_text(asked), asked->type,
		                  out ? out : &no_room);
	ask_end(ask);
	count_answer(out ? out->status : DNS_SERVFAIL);
	ask->answered(ask, out ? out : &no_room);
}

/* What callbacks ask meanwhile waits for the next turn. */
static void early_told(struct loop_call *c)
{
	struct dns *dns = SUPER(c, struct dns, early_call);
	struct dns_link now;

	list_init(&now);
	list_move(&dns->early, &now);
	while (!list_empty(&now))
		ask_tell(first_ask(&now), first_ask(&now)->early, NULL);
}

static void tell_early(struct dns_ask *ask, enum dns_status s)
{
	struct dns *dns = ask->dns;

	ask->early = s;
	list_add(&dns->early, &ask->link);
	if (dns->early_call.at == NULL)
		loop_defer(dns->loop, &dns->early_call, early_told);
}

/* ---- questions ------------------------------------------------------------ */

static void question_free(struct dns_question *q)
{
	list_remove(&q->link);
	if (!q->done)
		map_remove(&q->dns->asked, q->key);
	loop_timer_stop(&q->deadline);
	loop_undefer(&q->call);
	free(q->kept);
	free(q);
}

/* Nobody waits for it any more. */
static void question_drop(struct dns_question *q)
{
	if (!q->done)
		q->dns->source->cancel(q->dns->source, q);
	question_free(q);
}

static void question_told(struct loop_call *c)
{
	struct dns_question *q = SUPER(c, struct dns_question, call);

	q->telling = true;
	while (!list_empty(&q->asks))
		ask_tell(first_ask(&q->asks), q->status, q);
	question_free(q);
}

static void deadline_set(struct dns_question *q)
{
	uint64_t now = clock_ms(), first = UINT64_MAX;

	for (struct dns_link *l = q->asks.next; l != &q->asks; l = l->next)
		if (SUPER(l, struct dns_ask, link)->until_ms < first)
			first = SUPER(l, struct dns_ask, link)->until_ms;
	loop_timer_set(&q->deadline, first > now ? first - now : 1);
}

static void deadline_passed(struct loop_timer *t)
{
	struct dns_question *q = SUPER(t, struct dns_question, deadline);
	struct dns_link late;
	uint64_t now = clock_ms();

	list_init(&late);
	for (struct dns_link *l = q->asks.next, *next; l != &q->asks; l = next) {
		next = l->next;
		if (SUPER(l, struct dns_ask, link)->until_ms > now)
			continue;
		list_remove(l);
		list_add(&late, l);
	}
	q->telling = true;
	while (!list_empty(&late))
		ask_tell(first_ask(&late), DNS_TIMEOUT, NULL);
	q->telling = false;
	if (list_empty(&q->asks))
		question_drop(q);
	else
		deadline_set(q);
}

#define KEY_MAX (2 + DNS_TEXT_MAX)

static str key_make(str name, enum dns_type type, char out[static KEY_MAX])
{
	out[0] = (char)(type >> 8);
	out[1] = (char)type;
	return (str){ out, 2 + dns_name_lower(name, out + 2).n };
}

/* One block: the question, its key, its escaped name. */
static struct dns_question *question_new(struct dns *dns, str key, enum dns_type type)
{
	char escaped[DNS_ESCAPED_MAX];
	size_t n = dns_name_escape(str_skip(key, 2), escaped);
	struct dns_question *q = malloc(sizeof(*q) + key.n + n + 1);
	char *at = (char *)(q + 1);

	if (q == NULL)
		return NULL;
	memset(q, 0, sizeof(*q));
	q->dns = dns;
	q->type = type;
	q->key = (str){ memcpy(at, key.p, key.n), key.n };
	q->name = (str){ memcpy(at + key.n, escaped, n + 1), n };
	if (!map_put(&dns->asked, q->key, q)) {
		free(q);
		return NULL;
	}
	list_init(&q->asks);
	list_add(&dns->questions, &q->link);
	loop_timer_init(&q->deadline, dns->loop, "dns.deadline", deadline_passed);
	return q;
}

str dns_question_name(const struct dns_question *q)
{
	return q->name;
}

str dns_question_text(const struct dns_question *q)
{
	return str_skip(q->key, 2);
}

enum dns_type dns_question_type(const struct dns_question *q)
{
	return q->type;
}

void dns_question_set(struct dns_question *q, void *source_data)
{
	q->source_data = source_data;
}

void *dns_question_get(const struct dns_question *q)
{
	return q->source_data;
}

void dns_question_done(struct dns_question *q, enum dns_status if_no_packet, str packet,
                       bool secure, bool bogus, str why)
{
	must(!q->done);
	q->done = true;
	q->secure = secure;
	q->status = bogus ? DNS_BOGUS : if_no_packet;
	if (bogus)
		packet = STR_NONE;
	else if (packet.n == 0 && q->status == DNS_FOUND)
		q->status = DNS_SERVFAIL;
	q->kept = malloc(packet.n + why.n + 1);
	if (q->kept == NULL) {
		q->status = DNS_SERVFAIL;
	} else {
		if (packet.n > 0)
			q->packet = (str){ memcpy(q->kept, packet.p, packet.n), packet.n };
		if (why.n > 0)
			q->why = (str){ memcpy(q->kept + packet.n, why.p, why.n), why.n };
	}
	map_remove(&q->dns->asked, q->key); /* who asks from now on asks anew */
	loop_timer_stop(&q->deadline);
	loop_defer(q->dns->loop, &q->call, question_told);
}

/* ---- asking --------------------------------------------------------------- */

static void question_join(struct dns_question *q, struct dns_ask *ask)
{
	ask->question = q;
	list_add(&q->asks, &ask->link);
}

/* Most answers are in the cache: they are there before a timer was of use. */
static void question_start(struct dns_question *q, struct dns_ask *ask)
{
	question_join(q, ask);
	q->dns->source->start(q->dns->source, q);
	if (!q->done)
		deadline_set(q);
}

void dns_ask(struct dns *dns, struct dns_ask *ask, struct arena *a, str name, enum dns_type type,
             uint64_t timeout_ms, dns_answered *answered, void *user)
{
	char key_bytes[KEY_MAX];
	struct dns_question *q;
	str key;

	must(!ask->out);
	*ask = (struct dns_ask){
		.answered = answered, .user = user, .dns = dns, .arena = a, .out = true
	};
	ask->until_ms = clock_ms() + (timeout_ms ? timeout_ms : dns->timeout_ms);
	dns->out++;
	stat_add(stat_first + ASKED, 1);
	name = dns_name_check(name);
	if (name.n == 0 || dns->closing) {
		tell_early(ask, name.n == 0 ? DNS_BADNAME : DNS_TIMEOUT);
		return;
	}
	key = key_make(name, type, key_bytes);
	q = map_get(&dns->asked, key);
	if (q != NULL) {
		stat_add(stat_first + JOINED, 1);
		question_join(q, ask);
		/* The timer stands at the first one's deadline or before it. */
		if (ask->until_ms < SUPER(q->asks.next, struct dns_ask, link)->until_ms)
			deadline_set(q);
		return;
	}
	q = question_new(dns, key, type);
	if (q == NULL) {
		tell_early(ask, DNS_SERVFAIL);
		return;
	}
	question_start(q, ask);
}

void dns_cancel(struct dns_ask *ask)
{
	struct dns_question *q = ask->question;

	if (!ask->out)
		return;
	ask_end(ask);
	if (q != NULL && list_empty(&q->asks) && !q->telling)
		question_drop(q);
}

/* ---- life ----------------------------------------------------------------- */

struct dns *dns_with(struct dns_source *source, struct loop *loop, uint64_t timeout_ms)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct dns *dns = source ? calloc(1, sizeof(*dns)) : NULL;

	pthread_once(&once, stats_register);
	if (dns == NULL) {
		if (source != NULL)
			source->close(source);
		return NULL;
	}
	dns->source = source;
	dns->loop = loop;
	dns->timeout_ms = timeout_ms;
	map_init(&dns->asked, false);
	list_init(&dns->questions);
	list_init(&dns->early);
	return dns;
}

void dns_free(struct dns *dns)
{
	if (dns == NULL)
		return;
	dns->closing = true;
	while (!list_empty(&dns->questions)) {
		struct dns_question *q = SUPER(dns->questions.next, struct dns_question, link);

		q->telling = true;
		while (!list_empty(&q->asks))
			ask_tell(first_ask(&q->asks), DNS_TIMEOUT, NULL);
		question_drop(q);
	}
	while (!list_empty(&dns->early))
		ask_tell(first_ask(&dns->early), DNS_TIMEOUT, NULL);
	loop_undefer(&dns->early_call);
	dns->source->close(dns->source);
	map_fini(&dns->asked);
	free(dns);
}

size_t dns_out(const struct dns *dns)
{
	return dns->out;
}

void dns_watch(struct dns *dns, dns_watcher *watcher, void *user)
{
	dns->watcher = watcher;
	dns->watcher_user = user;
}
