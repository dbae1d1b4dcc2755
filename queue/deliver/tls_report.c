/* SPDX-License-Identifier: ISC */
/*
 * Sums in a map by their note's key.  What changed since it was last written is
 * marked; a note is made of it when its time has come.  Timetable thread.
 */
#include "queue/deliver/tls_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/base/map.h"

#define PREFIX     "tlsrpt:"
#define KEY_ROOM   64
#define DAY        86400
#define WRITE_MS   60000
#define SUM_MEMORY ((size_t)96 << 10)
#define LINES_MOST ((size_t)8 << 10)       /* octets of a policy's own words */
#define NOTE_MOST  ((size_t)60 << 10)      /* queue.h has 64 KiB */

struct failure {
	struct failure *next;
	str      result, host, from, to;
	uint64_t count;
};

struct sum {
	struct arena    arena;
	str             key;
	int64_t         day;               /* since the epoch */
	str             domain, policy_domain;
	const char     *kind;
	struct strs     lines, mx;
	uint64_t        good, bad;
	struct failure *failures;
	size_t          nfailures;
	bool            changed;
};

struct tls_report {
	struct queue *queue;
	struct mbox  *home;
	struct map    sums;
	size_t        changed, out;
	uint64_t      write_at_ms;
	int64_t       swept;               /* the day that was looked at last */
};

static const char *const kinds[] = {
	[KIND_NONE] = "no-policy-found", [KIND_TLSA] = "tlsa", [KIND_STS] = "sts",
};

static int64_t today(void)
{
	return clock_wall() / DAY;
}

/* ---- keys ---------------------------------------------------------------------------- */

static void add_to_digest(struct digest *d, str s)
{
	digest_add(d, s);
	digest_add(d, (str){ "", 1 });
}

static str key_of(const struct tls_result *r, int64_t day, char out[static KEY_ROOM])
{
	unsigned char bytes[DIGEST_MAX];
	struct digest d;
	time_t at = day * DAY;
	struct tm tm;
	size_t n;

	if (digest_begin(&d, DIGEST_SHA256) != OK)
		return STR_NONE;
	add_to_digest(&d, r->domain);
	add_to_digest(&d, r->policy_domain);
	add_to_digest(&d, str_of(kinds[r->kind]));
	for (size_t i = 0; i < r->lines.n; i++)
		add_to_digest(&d, r->lines.v[i]);
	digest_end(&d, bytes);
	gmtime_r(&at, &tm);
	n = strftime(out, KEY_ROOM, PREFIX "%Y-%m-%d:", &tm);
	for (size_t i = 0; i < 16; i++)
		n += (size_t)snprintf(out + n, KEY_ROOM - n, "%02x", bytes[i]);
	return (str){ out, n };
}

/* The day in a key; false: it is none of ours. */
static bool day_of(str key, int64_t *day)
{
	char text[11];
	struct tm tm = { 0 };
	str rest = str_skip(key, sizeof(PREFIX) - 1);

	if (rest.n < sizeof(text))
		return false;
	memcpy(text, rest.p, 10);
	text[10] = '\0';
	if (strptime(text, "%Y-%m-%d", &tm) == NULL)
		return false;
	*day = timegm(&tm) / DAY;
	return true;
}

/* ---- sums ------------------------------------------------------------------------------- */

static void sum_free(struct sum *s)
{
	arena_fini(&s->arena);
	free(s);
}

static struct sum *sum_new(struct tls_report *t, str key, int64_t day)
{
	struct sum *s = t->sums.n < TLS_REPORT_MOST ? calloc(1, sizeof(*s)) : NULL;

	if (s == NULL)
		return NULL;
	arena_init(&s->arena, SUM_MEMORY);
	s->key = str_keep(&s->arena, key);
	s->day = day;
	if (s->arena.spent || !map_put(&t->sums, s->key, s)) {
		sum_free(s);
		return NULL;
	}
	return s;
}

static struct strs keep_lines(struct arena *a, const struct strs *in)
{
	struct strs out = { ARENA_ARRAY(a, str, in->n), 0 };
	size_t octets = 0;

	for (size_t i = 0; i < in->n && out.v != NULL; i++) {
		octets += in->v[i].n;
		if (octets > LINES_MOST)
			break;
		out.v[out.n++] = str_keep(a, in->v[i]);
	}
	return out;
}

static void describe(struct sum *s, const struct tls_result *r)
{
	s->domain = str_keep(&s->arena, r->domain);
	s->policy_domain = str_keep(&s->arena, r->policy_domain);
	s->kind = kinds[r->kind];
	s->lines = keep_lines(&s->arena, &r->lines);
	s->mx = keep_lines(&s->arena, &r->mx);
}

static void add_failure(struct sum *s, str result, str host, str from, str to, uint64_t count)
{
	struct failure *f;

	for (f = s->failures; f != NULL; f = f->next)
		if (str_eq(f->result, result) && str_eq(f->host, host) && str_eq(f->from, from) && str_eq(f->to, to)) {
			f->count += count;
			return;
		}
	f = s->nfailures < TLS_REPORT_FAILURES ? ARENA_ARRAY(&s->arena, struct failure, 1) : NULL;
	if (f == NULL)
		return;
	*f = (struct failure){ .next = s->failures, .result = str_keep(&s->arena, result), .host = str_keep(&s->arena, host),
		               .from = str_keep(&s->arena, from), .to = str_keep(&s->arena, to), .count = count };
	s->failures = f;
	s->nfailures++;
}

static void mark(struct tls_report *t, struct sum *s)
{
	if (s->changed)
		return;
	s->changed = true;
	if (t->changed++ == 0)
		t->write_at_ms = clock_ms() + WRITE_MS;
}

static void add_one(struct tls_report *t, const struct tls_result *r)
{
	char text[KEY_ROOM];
	str key = key_of(r, today(), text);
	struct sum *s = map_get(&t->sums, key);

	if (s == NULL && key.n > 0) {
		s = sum_new(t, key, today());
		if (s != NULL)
			describe(s, r);
	}
	if (s == NULL)
		return;
	if (r->failure == NULL) {
		s->good++;
	} else {
		s->bad++;
		add_failure(s, str_of(r->failure), r->host, r->from, r->to, 1);
	}
	mark(t, s);
}

void tls_report_add(struct tls_report *t, const struct tls_result *r)
{
	for (; r != NULL; r = r->next)
		add_one(t, r);
}

/* ---- writing ------------------------------------------------------------------------------ */

static void add_lines(struct json *j, const char *key, const struct strs *v)
{
	struct json *list = json_set_array(j, key);

	for (size_t i = 0; i < v->n; i++)
		json_add(list, v->v[i]);
}

static char *encode(const struct sum *s, size_t failures)
{
	struct json *j = json_new_object(), *list;

	json_set(j, "domain", s->domain);
	json_set_c(j, "policy-type", s->kind);
	json_set(j, "policy-domain", s->policy_domain);
	add_lines(j, "policy-string", &s->lines);
	add_lines(j, "mx-host", &s->mx);
	json_set_num(j, "successful", (int64_t)s->good);
	json_set_num(j, "failed", (int64_t)s->bad);
	list = json_set_array(j, "failures");
	for (const struct failure *f = s->failures; f != NULL && failures > 0; f = f->next, failures--) {
		struct json *one = json_add_object(list);

		json_set(one, "result-type", f->result);
		json_set(one, "sending-mta-ip", f->from);
		json_set(one, "receiving-ip", f->to);
		json_set(one, "receiving-mx-hostname", f->host);
		json_set_num(one, "failed-session-count", (int64_t)f->count);
	}
	return json_text(j);
}

/* A host's name may be all escapes: then some of the details are left out. */
static char *encode_what_fits(const struct sum *s)
{
	char *text = encode(s, s->nfailures);

	for (size_t most = s->nfailures / 2; text != NULL && strlen(text) > NOTE_MOST && most > 0; most /= 2) {
		free(text);
		text = encode(s, most);
	}
	return text;
}

static void note_came_home(struct baton *b)
{
	struct queue_note *n = SUPER(b, struct queue_note, baton);
	struct tls_report *t = n->user;

	t->out--;
	queue_note_free(n);
}

static void put_note(struct tls_report *t, str key, str value)
{
	struct queue_note *n = queue_note_new();

	if (n == NULL)
		return;
	n->key = str_keep(&n->arena, key);
	n->value = value.p != NULL ? str_keep(&n->arena, value) : STR_NONE;
	n->baton.home = t->home;
	n->baton.arrived = note_came_home;
	n->user = t;
	t->out++;
	queue_note_put(t->queue, n);
}

static void write_sum(struct tls_report *t, struct sum *s)
{
	char *text = encode_what_fits(s);

	s->changed = false;
	t->changed--;
	if (text != NULL)
		put_note(t, s->key, str_of(text));
	free(text);
}

static void write_all(struct tls_report *t)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&t->sums, &at)) != NULL;)
		if (((struct sum *)e->value)->changed)
			write_sum(t, e->value);
}

/* ---- letting go ------------------------------------------------------------------------------ */

static bool is_old(int64_t day)
{
	return day < today() - TLS_REPORT_DAYS;
}

static void sweep(struct tls_report *t)
{
	struct map_entry *e;

	t->swept = today();
	for (size_t at = 0; (e = map_next(&t->sums, &at)) != NULL;) {
		struct sum *s = e->value;

		if (!is_old(s->day))
			continue;
		t->changed -= s->changed;
		put_note(t, s->key, STR_NONE);
		map_remove(&t->sums, s->key);
		sum_free(s);
	}
}

void tls_report_tick(struct tls_report *t, bool now)
{
	if (t->changed > 0 && (now || clock_ms() >= t->write_at_ms))
		write_all(t);
	if (t->swept != today())
		sweep(t);
}

uint64_t tls_report_next_ms(const struct tls_report *t)
{
	return t->changed > 0 ? t->write_at_ms : UINT64_MAX;
}

size_t tls_report_out(const struct tls_report *t)
{
	return t->out;
}

/* ---- what is kept ------------------------------------------------------------------------------ */

static str text_at(const struct json *j, const char *key)
{
	str s = STR_NONE;

	json_get_text(json_at(j, key), &s);
	return s;
}

static uint64_t number_at(const struct json *j, const char *key)
{
	int64_t n = 0;

	return json_get_whole(json_at(j, key), &n) && n > 0 ? (uint64_t)n : 0;
}

static struct strs lines_at(struct arena *a, const struct json *list)
{
	struct strs v = { ARENA_ARRAY(a, str, json_count(list)), 0 };
	str s;

	for (size_t i = 0; i < json_count(list) && v.v != NULL; i++)
		if (json_get_text(json_nth(list, i), &s))
			v.v[v.n++] = str_keep(a, s);
	return v;
}

static const char *kind_of(str word)
{
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (str_is(word, kinds[i]))
			return kinds[i];
	return kinds[KIND_NONE];
}

static void fill(struct sum *s, const struct json *j)
{
	const struct json *list = json_at(j, "failures");

	s->domain = str_keep(&s->arena, text_at(j, "domain"));
	s->policy_domain = str_keep(&s->arena, text_at(j, "policy-domain"));
	s->kind = kind_of(text_at(j, "policy-type"));
	s->lines = lines_at(&s->arena, json_at(j, "policy-string"));
	s->mx = lines_at(&s->arena, json_at(j, "mx-host"));
	s->good = number_at(j, "successful");
	s->bad = number_at(j, "failed");
	for (size_t i = json_count(list); i-- > 0;) {
		const struct json *f = json_nth(list, i);

		add_failure(s, text_at(f, "result-type"), text_at(f, "receiving-mx-hostname"), text_at(f, "sending-mta-ip"),
		            text_at(f, "receiving-ip"), number_at(f, "failed-session-count"));
	}
}

/* Old ones are taken in, too, so that the first sweep removes them. */
static bool seen(void *arg, str key, str value)
{
	struct tls_report *t = arg;
	struct json *j = json_read(value);
	struct sum *s;
	int64_t day;

	s = j != NULL && day_of(key, &day) ? sum_new(t, key, day) : NULL;
	if (s != NULL)
		fill(s, j);
	json_free(j);
	return true;
}

void tls_report_load(struct tls_report *t)
{
	queue_notes_each(t->queue, STR(PREFIX), seen, t);
}

/* ---- beginning and end ----------------------------------------------------------------------------- */

struct tls_report *tls_report_new(struct queue *q, struct mbox *home)
{
	struct tls_report *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->queue = q;
	t->home = home;
	map_init(&t->sums, false);
	return t;
}

void tls_report_free(struct tls_report *t)
{
	struct map_entry *e;

	if (t == NULL)
		return;
	for (size_t at = 0; (e = map_next(&t->sums, &at)) != NULL;)
		sum_free(e->value);
	map_fini(&t->sums);
	free(t);
}
