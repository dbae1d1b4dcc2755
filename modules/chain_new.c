/* SPDX-License-Identifier: ISC */
/*
 * chain_new: one generation's modules, sorted by their `after` and set up, and
 * what holds for all of its connections.  Main thread.
 */
#include <string.h>

#include "modules/chain_inside.h"
#include "smtpd/base/err.h"

static struct { const struct module *module; unsigned first; } counted[MODULES_MOST];
static size_t ncounted;

static unsigned counters_of(const struct module *m)
{
	for (size_t i = 0; i < ncounted; i++)
		if (counted[i].module == m)
			return counted[i].first;
	if (m->nstats == 0)
		return 0;
	must(ncounted < MODULES_MOST);
	counted[ncounted].module = m;
	counted[ncounted].first = stat_register(m->name, m->stats, m->nstats);
	return counted[ncounted++].first;
}

void chain_counters(const struct module *const *modules)
{
	for (; *modules != NULL; modules++)
		counters_of(*modules);
}

/* Whether `m` wants to stand behind `other`. */
static bool stands_after(const struct module *m, const struct module *other)
{
	for (const char *const *name = m->after; name != NULL && *name != NULL; name++)
		if (strcmp(*name, other->name) == 0)
			return true;
	return false;
}

/* Which of the n modules may come next: nothing that is left stands before it. */
static size_t next_free(const struct module *const *modules, size_t n, set left)
{
	for (size_t i = 0; i < n; i++) {
		bool held = !(left & chain_bit(i));

		for (size_t j = 0; j < n && !held; j++)
			held = (left & chain_bit(j)) && stands_after(modules[i], modules[j]);
		if (!held)
			return i;
	}
	return n;
}

static str circle_text(const struct module *const *modules, size_t n, set left, struct arena *a)
{
	str names = STR_NONE;

	for (size_t i = 0; i < n; i++)
		if (left & chain_bit(i))
			names = arena_printf(a, "%.*s%s%s", STR_ARG(names), names.n ? ", " : "",
			                     modules[i]->name);
	return arena_printf(a, "modules wait for each other in a circle: %.*s: "
	                    "correct their `after`", STR_ARG(names));
}

static void take_place(struct chain *c, size_t place, const struct module *m, const void *conf)
{
	c->modules[place] = m;
	c->confs[place] = conf;
	c->stats[place] = counters_of(m);
	for (size_t j = 0; j < place; j++)
		if (stands_after(m, c->modules[j]))
			c->needs[place] |= chain_bit(j) | c->needs[j];
}

/* All n, also those that rest: a circle is one whatever the settings. */
static bool sort_by_after(struct chain *c, const struct module *const *modules, size_t n,
                          const void *const *confs, struct arena *a, str *why)
{
	set left = n == MODULES_MOST ? ~(set)0 : chain_bit(n) - 1;

	while (left != 0) {
		size_t      i = next_free(modules, n, left);
		const void *conf = i < n && confs != NULL ? confs[i] : NULL;

		if (i == n) {
			*why = circle_text(modules, n, left, a);
			return false;
		}
		if (modules[i]->rests == NULL || !modules[i]->rests(conf))
			take_place(c, c->n++, modules[i], conf);
		left &= ~chain_bit(i);
	}
	return true;
}

static bool minds_connections(const struct module *m)
{
	return m->conn_size > 0 || m->connect != NULL || m->helo != NULL || m->gone != NULL;
}

static void find_who_sits(struct chain *c)
{
	c->conn_size = arena_size(sizeof(struct chain_conn)) + arena_size(c->n * sizeof(struct seat *));
	for (size_t i = 0; i < c->n; i++) {
		if (!minds_connections(c->modules[i]))
			continue;
		c->sits |= chain_bit(i);
		c->conn_size += arena_size(sizeof(struct seat));
		if (c->modules[i]->conn_size > 0)
			c->conn_size += arena_size(c->modules[i]->conn_size);
	}
}

static bool set_up(const struct chain *c, struct arena *a, str *why)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct module *m = c->modules[i];
		str                  reason = STR_NONE;
		enum err             e = m->setup != NULL ? m->setup(c->confs[i], a, &reason) : OK;

		if (e == OK)
			continue;
		if (reason.n == 0)
			reason = str_of(err_text(e));
		*why = arena_printf(a, "module %s could not be set up: %.*s", m->name,
				    STR_ARG(reason));
		return false;
	}
	return true;
}

struct chain *chain_new(const struct module *const *modules, const void *const *confs,
                        struct arena *a, str *why)
{
	struct chain *c = ARENA_NEW(a, struct chain);
	size_t        n = 0;

	while (modules[n] != NULL)
		n++;
	must(n <= MODULES_MOST);
	if (c != NULL) {
		c->modules = ARENA_ARRAY(a, const struct module *, n);
		c->confs = ARENA_ARRAY(a, const void *, n);
		c->needs = ARENA_ARRAY(a, set, n);
		c->stats = ARENA_ARRAY(a, unsigned, n);
	}
	if (a->spent) {
		*why = STR("no memory for the modules");
		return NULL;
	}
	if (!sort_by_after(c, modules, n, confs, a, why) || !set_up(c, a, why))
		return NULL;
	find_who_sits(c);
	return c;
}

size_t chain_conn_size(const struct chain *c)
{
	return c->conn_size;
}

void chain_trust(struct chain *c, const struct trust *t)
{
	c->trust = t;
}

void chain_trial(struct chain *c, bool on)
{
	c->trial = on;
}
