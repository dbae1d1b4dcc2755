/* SPDX-License-Identifier: ISC */
/*
 * Every row of a damaged file, good or not, in an index.
 *
 * A row says itself what it is (record.h), so it counts wherever it lies: in its
 * tree, in a page that no tree leads to any more, or between the ruins of a
 * page.  Nobody can mail us a row: its head has zero octets, which no stored
 * content has (RFC 5321 4.5.2; they are refused).  What lies in a page that is
 * called free, or in front of a page's rows, may be an old copy.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/salvage_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/map.h"

#define VALUE_LEAST 24            /* no row is shorter */
#define EXPLAINED   64
#define NUMBER_AHEAD_US ((uint64_t)86400 * 1000000)     /* a number from farther ahead is none */

struct gather {
	struct finds *f;
	struct pages *p;
	struct arena  arena;
	char         *value;      /* of the row that is looked at, when it had to be read */
	bool          current;    /* what is found now is no old copy */
	uint64_t      ruins;      /* pages of nobody knows which table */
	uint64_t      explained[EXPLAINED];   /* ruins of other tables than the recipients' */
	size_t        nexplained;
};

static const struct { const char *table; enum record_kind kind; } kinds[] = {
	{ "message", RECORD_MESSAGE }, { "rcpt", RECORD_RCPT },         { "body", RECORD_BODY_ROW },
	{ "mark", RECORD_MARK },       { "finished", RECORD_FINISHED }, { "note", RECORD_NOTE },
};

static int kind_of(str table)
{
	for (size_t i = 0; i < COUNT(kinds); i++)
		if (str_is(table, kinds[i].table))
			return kinds[i].kind;
	return 0;
}

/* ---- what a row is -------------------------------------------------------------------- */

static struct find *add(struct finds *f)
{
	if (f->n == f->room) {
		size_t room = f->room ? 2 * f->room : 1024;
		struct find *v = realloc(f->v, room * sizeof(*v));

		if (v == NULL) {
			f->failed = true;
			return NULL;
		}
		f->v = v;
		f->room = room;
	}
	return &f->v[f->n++];
}

/* A row of version 1 leaves it to its key to say whose it is. */
static bool is_version_1(str row, str key, struct record_name *name)
{
	str body;

	for (int kind = RECORD_MESSAGE; kind <= RECORD_BODY_ROW; kind++) {
		*name = (struct record_name){ (enum record_kind)kind, record_key_id(key), record_key_number(key) };
		if (record_open(row, *name, &body))
			return name->id != 0 && key.n == (kind == RECORD_MESSAGE ? 8 : 12);
	}
	return false;
}

static bool is_good(str row, str key, struct record_name *name)
{
	size_t length;

	return (record_recognise(row, name, &length) && length == row.n) || is_version_1(row, key, name);
}

static const uint8_t note_key[16] = "notes by key  01";

/* Fills in what its kind calls for; false: it is none of ours after all. */
static bool describe(struct gather *g, const struct record_name *name, str row, struct find *out)
{
	struct queue_rcpt r = { 0 };
	str key, value;
	bool ok = true;

	out->kind = (unsigned char)name->kind;
	out->id = name->id;
	out->number = name->kind == RECORD_MARK ? 0 : name->number;
	out->good = true;
	if (name->kind == RECORD_RCPT) {
		ok = record_read_rcpt(row, name->id, name->number, &g->arena, &r);
		out->changed = r.changed;
		out->state = (unsigned char)r.state;
		arena_fini(&g->arena);
	} else if (name->kind == RECORD_NOTE) {
		ok = record_read_note(row, &key, &value);
		out->id = ok ? siphash(note_key, key) : 0;
	}
	return ok && name->kind >= RECORD_MESSAGE && name->kind <= RECORD_NOTE && out->id != 0;
}

/* Any good copy will do, wherever it lies: "random" never changes, and "reserved"
 * may be too high.  "journal" may not: what it says is in the store must be.  So an
 * old or never committed copy of it says no more than that it may be. */
static void number_found(struct finds *f, str row, bool current)
{
	uint64_t v;
	str name;

	if (!record_recognise_number(row, &name, &v))
		return;
	if (str_is(name, "random")) {
		f->random = v;
		f->random_sealed = true;
	} else if (str_is(name, "reserved") && v > f->reserved) {
		f->reserved = v;
	} else if (str_is(name, "journal")) {
		f->journal = current ? v : f->journal;
		f->journal_perhaps = v > f->journal_perhaps ? v : f->journal_perhaps;
	}
}

static void add_good(struct gather *g, const struct record_name *name, str row, uint64_t at, bool current)
{
	struct find found = { .at = at, .n = (uint32_t)row.n, .current = current }, *f;

	if (name->kind == RECORD_NUMBER)
		number_found(g->f, row, current);
	else if (describe(g, name, row, &found) && (f = add(g->f)) != NULL)
		*f = found;
}

/* In its tree: there was such a row, and it is not what was written. */
static void add_bad(struct gather *g, int kind, const struct pages_row *row)
{
	size_t want = kind == RECORD_RCPT || kind == RECORD_BODY_ROW ? 12 : 8;
	struct find *f;

	if (kind == RECORD_NOTE || kind == RECORD_MARK || row->key.n != want || record_key_id(row->key) == 0)
		return;
	f = add(g->f);
	if (f != NULL)
		*f = (struct find){ .id = record_key_id(row->key), .number = record_key_number(row->key), .at = row->at,
			            .n = (uint32_t)row->n, .kind = (unsigned char)kind, .current = g->current };
}

/* Of version 1, in its table: no checksum guards it. */
static void number_seen(struct finds *f, const struct pages_row *row)
{
	uint64_t v, latest = clock_wall_us() + NUMBER_AHEAD_US;

	if (row->value.p == NULL || !record_number_is_old(row->value) || !record_read_number(row->value, row->key, &v))
		return;
	if (str_is(row->key, "random") && !f->random_sealed)
		f->random = v;
	else if (str_is(row->key, "reserved") && v > f->reserved && v < latest)
		f->reserved = v;
}

/* As long as its head says, whatever else is said of it; in g->value. */
static bool long_row(struct gather *g, uint64_t at, struct record_name *name, str *row)
{
	unsigned char head[12];
	uint64_t left = g->p->file.bytes - at, n;
	size_t length;

	if (!pages_read(g->p, at, head, sizeof(head)))
		return false;
	n = RECORD_HEAD + ((uint64_t)head[8] | (uint64_t)head[9] << 8 | (uint64_t)head[10] << 16 | (uint64_t)head[11] << 24);
	if (n > left || n > PAGES_VALUE)
		return false;
	g->value = malloc((size_t)n);
	if (g->value == NULL || !pages_read(g->p, at, g->value, (size_t)n))
		return false;
	*row = (str){ g->value, (size_t)n };
	return record_recognise(*row, name, &length);
}

static void row_seen(void *arg, const struct pages_row *row)
{
	struct gather *g = arg;
	struct record_name name;
	str value = row->value;

	if (str_is(row->table, "meta"))
		number_seen(g->f, row);
	if (row->n < VALUE_LEAST)
		return;
	if (value.p == NULL) {
		g->value = malloc((size_t)row->n);
		value = (str){ g->value, (size_t)row->n };
		if (g->value == NULL)
			g->f->failed = true;
		else if (!pages_read(g->p, row->at, g->value, value.n))
			value.n = 0;
	}
	if (value.p != NULL && is_good(value, row->key, &name)) {
		add_good(g, &name, value, row->at, g->current);
		free(g->value);
		g->value = NULL;
		return;
	}
	free(g->value);
	g->value = NULL;
	if (long_row(g, row->at, &name, &value))
		add_good(g, &name, value, row->at, g->current);
	else if (row->table.n > 0)
		add_bad(g, kind_of(row->table), row);
	free(g->value);
	g->value = NULL;
}

/* ---- ruins -------------------------------------------------------------------------------- */

/* Not whole, but it says of which message it was. */
static void add_trace(struct gather *g, str head, uint64_t at)
{
	uint64_t id = 0;
	struct find *f;

	if (head.n < RECORD_HEAD || head.p[6] != RECORD_VERSION || head.p[7] != 0 || head.p[4] < RECORD_MESSAGE ||
	    head.p[4] > RECORD_MARK || head.p[5] != 0)
		return;
	for (size_t i = 8; i-- > 0;)
		id = id << 8 | (unsigned char)head.p[16 + i];
	f = id != 0 ? add(g->f) : NULL;
	if (f != NULL)
		*f = (struct find){ .id = id, .at = at, .kind = FIND_TRACE };
}

static bool is_explained(const struct gather *g, uint64_t page)
{
	for (size_t i = 0; i < g->nexplained; i++)
		if (g->explained[i] == page)
			return true;
	return false;
}

static void bytes_seen(void *arg, uint64_t at, str page, size_t sure, bool ruin)
{
	static const char magic[4] = { 'q', 'r', 't', 'p' };
	struct gather *g = arg;
	struct record_name name;
	size_t length;

	if (ruin && g->current && !is_explained(g, at / g->p->size))
		g->ruins++;
	for (size_t i = 0; i + VALUE_LEAST <= page.n; i += 2) {
		str rest = str_skip(page, i);
		bool current = g->current && i + sure >= page.n;

		if (memcmp(rest.p, magic, sizeof(magic)) != 0)
			continue;
		if (record_recognise(rest, &name, &length))
			add_good(g, &name, str_head(rest, length), at + i, current);
		else if (i == 16 && long_row(g, at + i, &name, &rest))
			add_good(g, &name, rest, at + i, current);
		else
			add_trace(g, rest, at + i);
		free(g->value);
		g->value = NULL;
	}
}

/* ---- what is missing ------------------------------------------------------------------------ */

static void fault_seen(void *arg, const struct pages_fault *fault)
{
	struct gather *g = arg;
	struct finds *f = g->f;

	if (fault->lost)
		f->unreadable++;
	if (fault->lost && !str_is(fault->table, "rcpt") && g->nexplained < EXPLAINED)
		g->explained[g->nexplained++] = fault->page;
	if (!fault->lost || !str_is(fault->table, "rcpt"))
		return;
	if (f->nlost == f->lost_room) {
		size_t room = f->lost_room ? 2 * f->lost_room : 16;
		struct range *v = realloc(f->lost, room * sizeof(*v));

		if (v == NULL) {
			f->failed = true;
			return;
		}
		f->lost = v;
		f->lost_room = room;
	}
	f->lost[f->nlost++] = (struct range){ record_key_id(fault->low),
		                              fault->high.n >= 8 ? record_key_id(fault->high) : UINT64_MAX };
}

bool finds_rcpts_doubtful(const struct finds *f, uint64_t id)
{
	for (size_t i = 0; !f->rcpts_whole && i < f->nlost; i++)
		if (id >= f->lost[i].low && id <= f->lost[i].high)
			return true;
	return false;
}

/* ---- the best copy ---------------------------------------------------------------------------- */

static int by_name(const struct find *a, const struct find *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* Of two copies of a recipient's row the newer one is right; one that is there
 * now and cannot be read is newer than any old copy. */
static int better(const struct find *a, const struct find *b)
{
	if (a->kind == RECORD_RCPT) {
		if (a->good && b->good && a->changed != b->changed)
			return a->changed > b->changed ? -1 : 1;
		if (a->current != b->current)
			return a->current ? -1 : 1;
		if (a->good != b->good)
			return a->good ? -1 : 1;
		return a->state > b->state ? -1 : a->state < b->state;
	}
	if (a->good != b->good)
		return a->good ? -1 : 1;
	return a->current != b->current ? (a->current ? -1 : 1) : 0;
}

static int by_name_best_first(const void *a, const void *b)
{
	int order = by_name(a, b);

	return order != 0 ? order : better(a, b);
}

/* A good copy of what is there now, wherever it was found, is what is there
 * now: but for recipients' rows, none is ever written a second time. */
static void keep_best(struct finds *f)
{
	size_t kept = 0;

	if (f->n > 0)
		qsort(f->v, f->n, sizeof(*f->v), by_name_best_first);
	for (size_t i = 0; i < f->n; i++) {
		if (kept == 0 || by_name(&f->v[kept - 1], &f->v[i]) != 0)
			f->v[kept++] = f->v[i];
		else if (f->v[i].kind != RECORD_RCPT)
			f->v[kept - 1].current |= f->v[i].current;
	}
	f->n = kept;
}

size_t finds_of(const struct finds *f, enum record_kind kind, uint64_t id, const struct find **out)
{
	struct find want = { .kind = (unsigned char)kind, .id = id };
	size_t low = 0, high = f->n, n = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (by_name(&f->v[middle], &want) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*out = f->v + low;
	while (low + n < f->n && f->v[low + n].kind == kind && f->v[low + n].id == id)
		n++;
	return n;
}

/* As many as the tree counts: then its missing pages were found again. */
static void count_rows(struct gather *g)
{
	const struct pages_table *rcpt = pages_table(g->p, "rcpt"), *finished = pages_table(g->p, "finished");
	struct finds *f = g->f;
	uint64_t rcpts = 0, ends = 0;

	for (size_t i = 0; i < f->n; i++) {
		rcpts += f->v[i].kind == RECORD_RCPT && f->v[i].current;
		ends += f->v[i].kind == RECORD_FINISHED && f->v[i].current && f->v[i].good;
		if (f->v[i].kind == RECORD_FINISHED && f->first_finished == 0)
			f->first_finished = f->v[i].id;
	}
	f->finished_whole = finished != NULL && ends >= finished->db.entries;
	if (rcpt != NULL) {
		f->rcpts_whole = rcpt->whole || rcpts >= rcpt->db.entries;
		return;
	}
	/* The table itself was not found: whole, if nothing is left that could be of it. */
	f->rcpts_whole = g->p->agree && g->p->spare_whole && g->ruins == 0 && g->p->meta[g->p->newest].last < g->p->n;
	f->lost[0] = (struct range){ 0, UINT64_MAX };
	f->nlost = 1;
}

/* Old copies, in free pages and between rows, of what could not be read: but for
 * recipients' rows they say the same. */
static void look_everywhere(struct gather *g)
{
	char *page = malloc(g->p->size);

	g->current = false;
	for (uint64_t i = 0; page != NULL && i < g->p->n; i++) {
		uint64_t at = i * g->p->size, left = g->p->file.bytes - at;
		size_t n = left < g->p->size ? (size_t)left : g->p->size;

		if (pages_read(g->p, at, page, n))
			bytes_seen(g, at, (str){ page, n }, 0, false);
	}
	free(page);
}

enum err finds_gather(struct finds *f, struct pages *p)
{
	struct gather g = { .f = f, .p = p };
	struct pages_look look = { .row = row_seen, .fault = fault_seen, .bytes = bytes_seen, .arg = &g };

	*f = (struct finds){ .lost = calloc(1, sizeof(*f->lost)), .lost_room = 1 };
	if (f->lost == NULL)
		return ERR_MEMORY;
	arena_init(&g.arena, PAGES_VALUE);
	g.current = true;
	pages_walk(p, &look);
	f->sure = p->agree && p->spare_whole;
	g.current = f->sure;
	pages_scan(p, false, &look);
	g.current = false;
	if (!f->sure)                   /* where an unknown commit wrote, or nobody knows what is free */
		pages_scan(p, true, &look);
	look_everywhere(&g);
	arena_fini(&g.arena);
	keep_best(f);
	count_rows(&g);
	return f->failed ? ERR_MEMORY : OK;
}

void finds_free(struct finds *f)
{
	free(f->v);
	free(f->lost);
}
