/* SPDX-License-Identifier: ISC */
/*
 * The table of accounts that have sent: slots that are filled once, by whichever
 * thread is first, and stay.  Only names that have logged in (or are a device's)
 * come here, so it is as large as the office is.
 */
#include "smtpd/session/breaker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/map.h"

#define SLOTS    16384u                  /* a power of two */
#define QUARTER  900
#define QUARTERS 97u                     /* of a day, and the one at work */
#define HOUR     4u                      /* quarters beside the one at work */
#define DAY      96u
#define SETS     512u
#define WAYS     8u
#define WHY_ROOM 256u

enum kind { MESSAGES, RECIPIENTS, STRANGERS, BOUNCES, KINDS };

struct sender {
	str              name;
	_Atomic int      state;          /* enum breaker_state */
	atomic_bool      changed;
	_Atomic uint64_t count[KINDS][QUARTERS];     /* quarter << 32 | n */
	_Atomic uint32_t known[SETS][WAYS];          /* the newest first; 0: free */
	int64_t          since;          /* shut since; with `why` main's alone */
	char             why[WHY_ROOM];
	char             text[];
};

struct breaker {
	_Atomic(struct sender *) slot[SLOTS];
	uint8_t      key[16];            /* the same in every life of the server: tags are kept */
	struct mbox *home;
	void       (*shut)(struct baton *);
};

struct breaker *breaker_new(const unsigned char secret[32], struct mbox *home, void (*shut)(struct baton *))
{
	struct breaker *b = calloc(1, sizeof(*b));
	unsigned char   own[32];

	if (b == NULL)
		return NULL;
	hmac_sha256((str){ (const char *)secret, 32 }, STR("recipients known to an account"), own);
	memcpy(b->key, own, sizeof(b->key));
	b->home = home;
	b->shut = shut;
	return b;
}

void breaker_free(struct breaker *b)
{
	for (size_t i = 0; b != NULL && i < SLOTS; i++)
		free(atomic_load(&b->slot[i]));
	free(b);
}

/* ---- who ------------------------------------------------------------------------- */

static struct sender *sender_new(str name)
{
	struct sender *s = calloc(1, sizeof(*s) + name.n + 1);

	if (s == NULL)
		return NULL;
	for (size_t i = 0; i < name.n; i++)
		s->text[i] = to_lower(name.p[i]);
	s->name = (str){ s->text, name.n };
	return s;
}

static uint64_t hash_of(const struct breaker *b, str text)
{
	char low[ADDR_PATH_MAX + 1];

	text = str_head(text, sizeof(low));
	for (size_t i = 0; i < text.n; i++)
		low[i] = to_lower(text.p[i]);
	return siphash(b->key, (str){ low, text.n });
}

/* NULL: not there (with `make`: no memory, or no slot). */
static struct sender *find(const struct breaker *b, str name, bool make)
{
	uint64_t h = hash_of(b, name);

	for (size_t i = 0; i < SLOTS; i++) {
		_Atomic(struct sender *) *at = (void *)(uintptr_t)&b->slot[(h + i) & (SLOTS - 1)];
		struct sender *s = atomic_load_explicit(at, memory_order_acquire), *mine;

		if (s != NULL && str_eq_nocase(s->name, name))
			return s;
		if (s != NULL)
			continue;
		mine = make ? sender_new(name) : NULL;
		if (mine == NULL)
			return NULL;
		if (atomic_compare_exchange_strong(at, &s, mine))
			return mine;
		free(mine);              /* somebody was quicker: it may be the same name */
		if (str_eq_nocase(s->name, name))
			return s;
	}
	return NULL;
}

/* ---- counting -------------------------------------------------------------------- */

static void add(struct sender *s, enum kind kind, uint64_t n, int64_t now)
{
	uint64_t q = (uint64_t)now / QUARTER, next;
	_Atomic uint64_t *at = &s->count[kind][q % QUARTERS];
	uint64_t is = atomic_load(at);

	do
		next = is >> 32 == q ? is + n : q << 32 | n;
	while (!atomic_compare_exchange_weak(at, &is, next));
	atomic_store(&s->changed, true);
}

static uint64_t sum(const struct sender *s, enum kind kind, uint64_t quarters, int64_t now)
{
	uint64_t q = (uint64_t)now / QUARTER, n = 0;

	for (uint64_t i = 0; i <= quarters; i++) {
		uint64_t is = atomic_load(&s->count[kind][(q - i) % QUARTERS]);

		if (is >> 32 == q - i)
			n += is & UINT32_MAX;
	}
	return n;
}

/* The oldest of its set makes room.  Two loops that meet may forget one: it is
 * new once more. */
static bool is_new(const struct breaker *b, struct sender *s, str address)
{
	uint64_t h = hash_of(b, address);
	_Atomic uint32_t *set = s->known[h % SETS];
	uint32_t tag = (uint32_t)(h >> 32) | 1u;

	for (size_t i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&set[i], memory_order_relaxed) == tag)
			return false;
	for (size_t i = WAYS - 1; i > 0; i--)
		atomic_store_explicit(&set[i], atomic_load_explicit(&set[i - 1], memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&set[0], tag, memory_order_relaxed);
	return true;
}

/* ---- shutting -------------------------------------------------------------------- */

static void keep(char *to, size_t room, str from)
{
	from = str_head(from, room - 1);
	if (from.n > 0)
		memcpy(to, from.p, from.n);
}

/* Who shuts it tells of it, nobody else. */
static void shut(struct breaker *b, struct sender *s, str ip, const char *what, uint64_t count, uint64_t most)
{
	struct breaker_news *n;
	int open = BREAKER_OPEN;

	if (!atomic_compare_exchange_strong(&s->state, &open, BREAKER_HELD))
		return;
	atomic_store(&s->changed, true);
	n = calloc(1, sizeof(*n));
	if (n == NULL)
		return;                  /* it is held all the same, and `queue list` shows it */
	keep(n->account, sizeof(n->account), s->name);
	keep(n->ip, sizeof(n->ip), ip);
	n->what = what;
	n->count = count;
	n->most = most;
	n->baton.arrived = b->shut;
	mbox_send(b->home, &n->baton);
}

bool breaker_takes(struct breaker *b, const struct allowance_conf *a, const struct breaker_message *m, int64_t now)
{
	struct sender *s = find(b, m->account, true);
	uint64_t strangers = 0;

	if (s == NULL)
		return true;             /* what cannot be counted is held */
	if (atomic_load(&s->state) != BREAKER_OPEN)
		return true;
	for (size_t i = 0; i < m->noutside; i++)
		strangers += is_new(b, s, m->outside[i]->text);
	add(s, MESSAGES, 1, now);
	add(s, RECIPIENTS, m->nrcpt, now);
	add(s, STRANGERS, strangers, now);
	const struct { const char *what; uint64_t count, most; } looks[] = {
		{ "recipients of one message", m->nrcpt, a->recipients_message },
		{ "messages in an hour", sum(s, MESSAGES, HOUR, now), a->messages_hour },
		{ "messages in a day", sum(s, MESSAGES, DAY, now), a->messages_day },
		{ "recipients in an hour", sum(s, RECIPIENTS, HOUR, now), a->recipients_hour },
		{ "recipients in a day", sum(s, RECIPIENTS, DAY, now), a->recipients_day },
		{ "recipients in an hour that it never wrote to before", sum(s, STRANGERS, HOUR, now), a->new_hour },
	};

	for (size_t i = 0; i < COUNT(looks); i++)
		if (looks[i].most > 0 && looks[i].count > looks[i].most)
			shut(b, s, m->ip, looks[i].what, looks[i].count, looks[i].most);
	return atomic_load(&s->state) != BREAKER_OPEN;
}

void breaker_bounced(struct breaker *b, const struct allowance_conf *a, str account, uint64_t n, int64_t now)
{
	struct sender *s = find(b, account, true);
	uint64_t back, sent;

	if (s == NULL || atomic_load(&s->state) != BREAKER_OPEN)
		return;
	add(s, BOUNCES, n, now);
	back = sum(s, BOUNCES, DAY, now);
	sent = sum(s, RECIPIENTS, DAY, now);
	if (a->bounces_percent > 0 && back >= BREAKER_BOUNCES_LEAST && back * 100 > sent * a->bounces_percent)
		shut(b, s, STR_NONE, "percent of a day's recipients whose mail came back", sent > 0 ? back * 100 / sent : 100,
		     a->bounces_percent);
}

enum breaker_state breaker_state(const struct breaker *b, str account)
{
	const struct sender *s = find(b, account, false);

	return s == NULL ? BREAKER_OPEN : (enum breaker_state)atomic_load(&s->state);
}

/* On one line: it is written down so. */
static void explain(struct sender *s, str why)
{
	size_t n = why.n < WHY_ROOM - 1 ? why.n : WHY_ROOM - 1;

	for (size_t i = 0; i < n; i++)
		s->why[i] = (unsigned char)why.p[i] < 0x20 ? '?' : why.p[i];
	s->why[n] = '\0';
	s->since = clock_wall();
}

bool breaker_set(struct breaker *b, str account, enum breaker_state state)
{
	struct sender *s = find(b, account, true);

	if (s == NULL)
		return false;
	for (size_t k = 0; k < KINDS && state == BREAKER_OPEN; k++)
		for (size_t q = 0; q < QUARTERS; q++)
			atomic_store(&s->count[k][q], 0);
	atomic_store(&s->state, (int)state);
	s->since = 0;
	s->why[0] = '\0';
	if (state == BREAKER_LOCKED)
		explain(s, STR("somebody locked it with `postern account lock`"));
	atomic_store(&s->changed, true);
	return true;
}

void breaker_explain(struct breaker *b, str account, str why)
{
	struct sender *s = find(b, account, false);

	if (s == NULL || atomic_load(&s->state) == BREAKER_OPEN)
		return;
	explain(s, why);
	atomic_store(&s->changed, true);
}

void breaker_each_shut(const struct breaker *b, void (*seen)(void *, const struct breaker_shut *), void *arg)
{
	for (size_t i = 0; i < SLOTS; i++) {
		const struct sender *s = atomic_load(&b->slot[i]);
		enum breaker_state state = s == NULL ? BREAKER_OPEN : (enum breaker_state)atomic_load(&s->state);

		if (state != BREAKER_OPEN)
			seen(arg, &(struct breaker_shut){ s->name, str_of(s->why), state, s->since });
	}
}

/* ---- what outlives the process ----------------------------------------------------- */

#define FORM "postern-allowance-1"

/* Text: FORM STATE, then lines "c KIND QUARTER N" and "k SET TAG...", tags with
 * the newest last, and "h SINCE WHY" of one that is shut. */
static void write_known(const struct sender *s, size_t set, struct buf *out)
{
	bool begun = false;

	for (size_t i = WAYS; i-- > 0;) {
		uint32_t tag = atomic_load(&s->known[set][i]);

		if (tag == 0)
			continue;
		if (!begun)
			buf_addf(out, "k %zx", set);
		begun = true;
		buf_addf(out, " %x", tag);
	}
	if (begun)
		buf_add_char(out, '\n');
}

static void write_down(const struct sender *s, struct buf *out)
{
	buf_addf(out, FORM " %d\n", atomic_load(&s->state));
	if (s->since > 0)
		buf_addf(out, "h %lld %s\n", (long long)s->since, s->why);
	for (size_t k = 0; k < KINDS; k++)
		for (size_t q = 0; q < QUARTERS; q++) {
			uint64_t is = atomic_load(&s->count[k][q]);

			if ((is & UINT32_MAX) != 0)
				buf_addf(out, "c %zu %llu %llu\n", k, (unsigned long long)(is >> 32),
				         (unsigned long long)(is & UINT32_MAX));
		}
	for (size_t set = 0; set < SETS; set++)
		write_known(s, set, out);
}

void breaker_each_changed(struct breaker *b, void (*seen)(void *, str account, str value), void *arg)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct sender *s = atomic_load(&b->slot[i]);
		struct buf out;

		if (s == NULL || !atomic_exchange(&s->changed, false))
			continue;
		buf_init(&out, (size_t)64 << 10);
		write_down(s, &out);
		if (!out.failed)
			seen(arg, s->name, buf_str(&out));
		buf_fini(&out);
	}
}

static void restore_known(struct sender *s, const char *text)
{
	char *end;
	unsigned long set = strtoul(text, &end, 16), tag;

	while (set < SETS && *end == ' ' && (tag = strtoul(end, &end, 16)) != 0 && tag <= UINT32_MAX) {
		for (size_t i = WAYS - 1; i > 0; i--)
			atomic_store(&s->known[set][i], atomic_load(&s->known[set][i - 1]));
		atomic_store(&s->known[set][0], (uint32_t)tag);
	}
}

static void restore_why(struct sender *s, str line)
{
	uint64_t since;
	str word;

	if (!str_cut(&line, ' ', &word) || !str_to_u64(word, &since) || since > INT64_MAX)
		return;
	explain(s, line);
	s->since = (int64_t)since;
}

static void restore_line(struct sender *s, str line)
{
	char text[128];
	unsigned long long q, n;
	size_t k;

	if (str_starts(line, "h "))
		restore_why(s, str_skip(line, 2));
	if (line.n >= sizeof(text) || line.n == 0)
		return;
	memcpy(text, line.p, line.n);
	text[line.n] = '\0';
	if (sscanf(text, "c %zu %llu %llu", &k, &q, &n) == 3 && k < KINDS && q <= UINT32_MAX && n <= UINT32_MAX)
		atomic_store(&s->count[k][q % QUARTERS], (uint64_t)q << 32 | n);
	else if (str_starts(line, "k "))
		restore_known(s, text + 2);
}

void breaker_restore(struct breaker *b, str account, str value)
{
	struct sender *s;
	str line;

	if (!str_cut(&value, '\n', &line) || line.n != sizeof(FORM) + 1 || !str_starts(line, FORM " ") ||
	    line.p[line.n - 1] > '0' + BREAKER_LOCKED || (s = find(b, account, true)) == NULL)
		return;
	atomic_store(&s->state, line.p[line.n - 1] - '0');
	while (str_cut(&value, '\n', &line))
		restore_line(s, line);
}
