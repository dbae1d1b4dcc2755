/* SPDX-License-Identifier: ISC */
/*
 * directory: who receives here.
 *
 * Two hash tables in the generation's arena, keyed by lower-case domain and by
 * lower-case local@domain; filled by the main thread, then only read, so that
 * any thread may ask.  Nothing is freed singly.
 */
#include "smtpd/mail/directory.h"

#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/map.h"

#define DEPTH_MAX 10
#define NAME_LONGEST 255      /* of a file system */

struct slot {
	str   key;
	void *value;          /* NULL: free */
};

struct table {
	struct arena *arena;
	struct slot  *slots;
	size_t        n, room;
	uint8_t       secret[16];
};

struct domain {
	struct directory_domain pub;
	struct strs             catch_all;
};

struct address {
	str                account;     /* text; empty: alias only */
	const struct strs *targets;     /* NULL: account only */
	const struct place *place;      /* NULL: its domain's */
};

struct directory {
	struct arena  *arena;
	char           plus;
	struct table   domains, addresses;
	struct domain *first;
	struct strs    postmaster;
};

static struct slot *slot_of(const struct table *t, str key)
{
	size_t i = (size_t)siphash(t->secret, key) & (t->room - 1);

	while (t->slots[i].value != NULL && !str_eq(t->slots[i].key, key))
		i = (i + 1) & (t->room - 1);
	return &t->slots[i];
}

static void *table_get(const struct table *t, str key)
{
	return t->n ? slot_of(t, key)->value : NULL;
}

static bool table_grow(struct table *t)
{
	struct table wider = *t;

	wider.room = t->room ? 2 * t->room : 16;
	wider.slots = ARENA_ARRAY(t->arena, struct slot, wider.room);
	if (wider.slots == NULL)
		return false;
	for (size_t i = 0; i < t->room; i++)
		if (t->slots[i].value != NULL)
			*slot_of(&wider, t->slots[i].key) = t->slots[i];
	*t = wider;
	return true;
}

/* The key is not there yet. */
static bool table_put(struct table *t, str key, void *value)
{
	if (2 * (t->n + 1) > t->room && !table_grow(t))
		return false;
	*slot_of(t, key) = (struct slot){ key, value };
	t->n++;
	return true;
}

static void table_init(struct table *t, struct arena *a)
{
	*t = (struct table){ .arena = a };
	random_bytes(t->secret, sizeof(t->secret));
}

/* local@domain with small letters, whatever the local part holds. */
static str address_key(struct arena *a, str local, str domain)
{
	char *p = arena_alloc(a, local.n + 1 + domain.n);

	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < local.n; i++)
		p[i] = to_lower(local.p[i]);
	p[local.n] = '@';
	if (domain.n > 0)
		memcpy(p + local.n + 1, domain.p, domain.n);
	return (str){ p, local.n + 1 + domain.n };
}

static bool one_target(struct arena *a, str address, struct strs *out)
{
	*out = (struct strs){ 0 };
	if (address.n == 0)
		return true;
	out->v = ARENA_NEW(a, str);
	if (out->v == NULL)
		return false;
	out->v[0] = str_keep(a, address);
	out->n = 1;
	return out->v[0].p != NULL;
}

struct directory *directory_new(struct arena *a, char plus)
{
	struct directory *d = ARENA_NEW(a, struct directory);

	if (d == NULL)
		return NULL;
	d->arena = a;
	d->plus = plus;
	table_init(&d->domains, a);
	table_init(&d->addresses, a);
	return d;
}

static bool kept(struct arena *a, str *s)
{
	bool empty = s->n == 0;

	*s = str_keep(a, *s);
	return empty || s->p != NULL;
}

static bool place_kept(struct arena *a, struct place *p)
{
	return kept(a, &p->path) && kept(a, &p->lmtp);
}

enum err directory_add_domain(struct directory *d, const struct directory_domain *from)
{
	struct domain *new = ARENA_NEW(d->arena, struct domain);
	struct directory_domain *pub;

	if (new == NULL)
		return ERR_MEMORY;
	pub = &new->pub;
	*pub = *from;
	if (!domain_to_ascii(d->arena, from->name, &pub->name))
		return d->arena->spent ? ERR_MEMORY : ERR_BAD;
	if (table_get(&d->domains, pub->name) != NULL)
		return ERR_EXISTS;
	if (!place_kept(d->arena, &pub->place) ||
	    !kept(d->arena, &pub->route) || !kept(d->arena, &pub->catch_all) ||
	    !kept(d->arena, &pub->copy) || !one_target(d->arena, pub->catch_all, &new->catch_all) ||
	    !table_put(&d->domains, pub->name, new))
		return ERR_MEMORY;
	if (d->first == NULL)
		d->first = new;
	return OK;
}

/* The entry of an address of ours, made if it is not there. */
static enum err address_entry(struct directory *d, str text, struct path *path,
			      struct address **out)
{
	str key;

	if (!path_of(d->arena, text, path))
		return d->arena->spent ? ERR_MEMORY : ERR_BAD;
	if (table_get(&d->domains, path->domain) == NULL)
		return ERR_ABSENT;
	key = address_key(d->arena, path->local, path->domain);
	if (key.p == NULL)
		return ERR_MEMORY;
	*out = table_get(&d->addresses, key);
	if (*out != NULL)
		return OK;
	*out = ARENA_NEW(d->arena, struct address);
	return *out != NULL && table_put(&d->addresses, key, *out) ? OK : ERR_MEMORY;
}

enum err directory_add_account(struct directory *d, str address)
{
	struct address *entry;
	struct path     path;
	enum err        e = address_entry(d, address, &path, &entry);

	if (e != OK)
		return e;
	if (entry->account.n)
		return ERR_EXISTS;
	entry->account = path.text;
	return OK;
}

enum err directory_set_place(struct directory *d, str address, const struct place *place)
{
	struct place   *own = ARENA_NEW(d->arena, struct place);
	struct address *entry;
	struct path     path;
	str             key;

	if (!path_of(d->arena, address, &path))
		return d->arena->spent ? ERR_MEMORY : ERR_BAD;
	key = address_key(d->arena, path.local, path.domain);
	if (own == NULL || key.p == NULL)
		return ERR_MEMORY;
	entry = table_get(&d->addresses, key);
	if (entry == NULL || entry->account.n == 0)
		return ERR_ABSENT;
	*own = *place;
	if (!place_kept(d->arena, own))
		return ERR_MEMORY;
	entry->place = own;
	return OK;
}

enum err directory_add_alias(struct directory *d, str address, const struct strs *targets)
{
	struct address *entry;
	struct strs    *copy = ARENA_NEW(d->arena, struct strs);
	struct path     path;
	enum err        e = address_entry(d, address, &path, &entry);

	if (e != OK)
		return e;
	if (entry->targets != NULL)
		return ERR_EXISTS;
	if (copy == NULL || (copy->v = ARENA_ARRAY(d->arena, str, targets->n)) == NULL)
		return ERR_MEMORY;
	for (copy->n = 0; copy->n < targets->n; copy->n++) {
		copy->v[copy->n] = targets->v[copy->n];
		if (!kept(d->arena, &copy->v[copy->n]))
			return ERR_MEMORY;
	}
	entry->targets = copy;
	return OK;
}

void directory_set_postmaster(struct directory *d, str address)
{
	if (!one_target(d->arena, address, &d->postmaster))
		d->postmaster = (struct strs){ 0 };
}

const struct directory_domain *directory_home(const struct directory *d)
{
	return d->first ? &d->first->pub : NULL;
}

const struct directory_domain *directory_domain(const struct directory *d, str domain)
{
	char           small[ADDR_DOMAIN_MAX];
	struct domain *found;

	if (domain.n > sizeof(small))
		return NULL;
	for (size_t i = 0; i < domain.n; i++)
		small[i] = to_lower(domain.p[i]);
	found = table_get(&d->domains, (str){ small, domain.n });
	return found != NULL ? &found->pub : NULL;
}

static const struct address *address_of(const struct directory *d, struct arena *a, str local,
					str domain)
{
	str key = address_key(a, local, domain);

	return key.p != NULL ? table_get(&d->addresses, key) : NULL;
}

/* An alias that names itself keeps its mailbox: "bob: bob, carol". */
static void says_targets(struct directory_answer *out, const struct strs *targets)
{
	out->says = DIRECTORY_TARGETS;
	out->targets = targets;
	for (size_t i = 0; out->account.n && i < targets->n; i++)
		out->keeps = out->keeps || str_eq_nocase(targets->v[i], out->account);
}

static void says_address(struct directory_answer *out, const struct address *found)
{
	out->account = found->account;
	if (found->account.n)
		out->place = found->place != NULL ? found->place : &out->domain->place;
	if (found->targets != NULL)
		says_targets(out, found->targets);
	else
		out->says = DIRECTORY_MAILBOX;
}

static bool is_role(str local)
{
	return str_is_nocase(local, "postmaster") || str_is_nocase(local, "abuse");
}

void directory_find(const struct directory *d, struct arena *a, const struct path *path,
		    struct directory_answer *out)
{
	const struct domain *domain =
		path->domain.n ? table_get(&d->domains, path->domain) : d->first;
	const struct address *found;
	size_t                plus;

	*out = (struct directory_answer){ .says = DIRECTORY_ELSEWHERE };
	if (path->is_null || domain == NULL)
		return;
	out->domain = &domain->pub;
	out->says = DIRECTORY_UNKNOWN;
	found = address_of(d, a, path->local, domain->pub.name);
	plus = d->plus ? str_find(path->local, d->plus) : path->local.n;
	if (found == NULL && plus != 0 && plus < path->local.n) {
		found = address_of(d, a, str_head(path->local, plus), domain->pub.name);
		if (found != NULL)
			out->detail = str_skip(path->local, plus + 1);
	}
	if (found != NULL)
		says_address(out, found);
	else if (is_role(path->local) && d->postmaster.n)
		says_targets(out, &d->postmaster);
	else if (domain->catch_all.n)
		says_targets(out, &domain->catch_all);
}

/* Addresses still to be asked, and those that were: one list, walked once. */
struct walk {
	const struct directory *d;
	struct arena           *arena;
	struct table            seen;
	struct step { struct path path; size_t depth; } *steps;
	size_t                  n, room, most, finals, dead;
	enum err                err;
};

static bool walk_room(struct walk *w)
{
	size_t       room = w->room ? 2 * w->room : 16;
	struct step *steps;

	if (w->n < w->room)
		return true;
	steps = ARENA_ARRAY(w->arena, struct step, room);
	if (steps == NULL)
		return false;
	if (w->n)
		memcpy(steps, w->steps, w->n * sizeof(*steps));
	w->steps = steps;
	w->room = room;
	return true;
}

static void walk_add(struct walk *w, const struct path *path, size_t depth)
{
	str key = address_key(w->arena, path->local, path->domain);

	if (key.p == NULL) {
		w->err = ERR_MEMORY;
		return;
	}
	if (depth > DEPTH_MAX || table_get(&w->seen, key) != NULL)
		return;
	if (w->n >= DEPTH_MAX * w->most + DEPTH_MAX) {
		w->err = ERR_FULL;
		return;
	}
	if (!walk_room(w) || !table_put(&w->seen, key, w)) {
		w->err = ERR_MEMORY;
		return;
	}
	w->steps[w->n++] = (struct step){ *path, depth };
}

static void walk_targets(struct walk *w, const struct strs *targets, size_t depth)
{
	struct path path;

	for (size_t i = 0; i < targets->n && w->err == OK; i++)
		if (path_of(w->arena, targets->v[i], &path))
			walk_add(w, &path, depth);
}

static void walk_step(struct walk *w, struct step at, struct path *finals)
{
	struct directory_answer says;

	directory_find(w->d, w->arena, &at.path, &says);
	if (says.says == DIRECTORY_UNKNOWN)
		w->dead++;
	if (says.says == DIRECTORY_TARGETS) {
		walk_targets(w, says.targets, at.depth + 1);
		if (!says.keeps)
			return;
	}
	if (w->err == OK && w->finals == w->most)
		w->err = ERR_FULL;
	if (w->err == OK)
		finals[w->finals++] = at.path;
}

enum err directory_expand(const struct directory *d, struct arena *a, const struct path *path,
			  size_t most, struct path **out, size_t *n)
{
	struct walk w = { .d = d, .arena = a, .most = most };

	*n = 0;
	*out = ARENA_ARRAY(a, struct path, most);
	if (*out == NULL)
		return ERR_MEMORY;
	table_init(&w.seen, a);
	walk_add(&w, path, 0);
	for (size_t i = 0; i < w.n && w.err == OK; i++)
		walk_step(&w, w.steps[i], *out);
	if (w.err != OK)
		return w.err;
	*n = w.finals > w.dead ? w.finals : 0;
	return *n ? OK : ERR_ABSENT;
}

static bool is_name(str part)
{
	if (part.n == 0 || part.n > NAME_LONGEST || part.p[0] == '.')
		return false;
	for (size_t i = 0; i < part.n; i++)
		if ((unsigned char)part.p[i] < ' ' || part.p[i] == '/' || part.p[i] == 0x7f)
			return false;
	return true;
}

static bool add_filled(struct buf *b, char what, const struct path *who)
{
	if (what == 'd')
		buf_add(b, who->domain);
	else if (what == 'u')
		buf_add(b, who->local);
	else if (what == '%')
		buf_add_char(b, '%');
	else
		return false;
	return true;
}

bool place_maildir(struct arena *a, const struct place *place, str account, str *out)
{
	str         rest = place->path;
	struct path who;
	struct buf  b;
	bool        good = place->kind == PLACE_MAILDIR && rest.n != 0;

	if (!good || !path_of(a, account, &who) || !is_name(who.local) || !is_name(who.domain))
		return false;
	buf_init(&b, BUF_UNBOUNDED);
	while (good && rest.n) {
		size_t percent = str_find(rest, '%');

		buf_add(&b, str_head(rest, percent));
		rest = str_skip(rest, percent);
		if (rest.n)
			good = rest.n > 1 && add_filled(&b, rest.p[1], &who);
		rest = str_skip(rest, 2);
	}
	*out = good && !b.failed ? str_keep(a, buf_str(&b)) : STR_NONE;
	buf_fini(&b);
	return out->p != NULL;
}
