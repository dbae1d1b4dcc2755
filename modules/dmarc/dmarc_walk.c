/* SPDX-License-Identifier: ISC */
/*
 * dmarc_walk: see dmarc_walk.h.  Questions go one after another, because what
 * a record says (psd) decides whether the next is asked.  Loop thread.
 */
#include "modules/dmarc/dmarc_walk.h"

#include <string.h>

size_t dmarc_labels(str name)
{
	size_t n = name.n > 0;

	for (size_t i = 0; i < name.n; i++)
		n += name.p[i] == '.';
	return n;
}

str dmarc_rightmost(str name, size_t labels)
{
	for (size_t i = name.n; i > 0; i--)
		if (name.p[i - 1] == '.' && --labels == 0)
			return str_skip(name, i);
	return name;
}

bool dmarc_below(str name, str above)
{
	return name.n > above.n + 1 && name.p[name.n - above.n - 1] == '.' &&
	       str_eq_nocase(str_skip(name, name.n - above.n), above);
}

static struct dmarc_node *node_find(const struct dmarc_walker *w, str name)
{
	for (struct dmarc_node *n = w->known; n != NULL; n = n->next)
		if (str_eq(n->name, name))
			return n;
	return NULL;
}

void dmarc_step_note(struct dmarc_walker *w, str name, enum dns_status status, const struct dmarc_record *rec, size_t records)
{
	if (w->nsteps == w->room) {
		size_t room = w->room == 0 ? 8 : w->room * 2;
		struct dmarc_step *v = ARENA_ARRAY(w->arena, struct dmarc_step, room);

		if (v == NULL)
			return;
		if (w->nsteps > 0)
			memcpy(v, w->steps, w->nsteps * sizeof(v[0]));
		w->steps = v;
		w->room = room;
	}
	w->steps[w->nsteps++] = (struct dmarc_step){
		.name = name, .status = status, .records = records, .record = rec == NULL ? STR_NONE : rec->text,
	};
}

/* Two records at one name are none (RFC 9989 4.10). */
static void node_fill(struct dmarc_walker *w, struct dmarc_node *node, str asked, const struct dns_answer *a)
{
	struct dmarc_record r;
	size_t records = 0;

	node->failed = dns_failed(a->status);
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (dmarc_record_parse(a->rr[i].txt, &r)) {
			node->record = r;
			records++;
		}
	node->has_record = records == 1;
	dmarc_step_note(w, asked, a->status, records == 1 ? &node->record : NULL, records);
}

enum went { WENT_OUT, WENT_TO_THE_END };

static bool ends_walk(const struct dmarc_node *n)
{
	return n->failed || (n->has_record && n->record.psd != DMARC_PSD_UNKNOWN) || !str_holds(n->name, '.');
}

static str name_next(const struct dmarc_walk *k)
{
	size_t labels = dmarc_labels(k->nodes[k->n - 1]->name) - 1;

	return dmarc_rightmost(k->start, labels < 7 ? labels : 7);
}

static void node_arrived(struct dns_ask *, const struct dns_answer *);

/* Takes nodes that are known; asks for the first that is not. */
static enum went walk_on(struct dmarc_walker *w)
{
	struct dmarc_walk *k = w->now;

	for (;;) {
		if (k->n > 0 && ends_walk(k->nodes[k->n - 1])) {
			k->incomplete = k->nodes[k->n - 1]->failed;
			return WENT_TO_THE_END;
		}
		must(k->n < DMARC_QUERIES_MAX);
		str name = k->n == 0 ? k->start : name_next(k);
		struct dmarc_node *node = node_find(w, name);

		if (node == NULL)
			break;
		k->nodes[k->n++] = node;
	}
	w->asking = arena_printf(w->arena, "_dmarc.%.*s", STR_ARG(k->n == 0 ? k->start : name_next(k)));
	if (w->asking.n == 0) {         /* no memory: not known is the only honest answer */
		k->incomplete = true;
		return WENT_TO_THE_END;
	}
	dns_ask(w->dns, &w->ask, w->arena, w->asking, DNS_TXT, 0, node_arrived, w);
	return WENT_OUT;
}

static void node_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct dmarc_walker *w = ask->user;
	struct dmarc_node *node = ARENA_NEW(w->arena, struct dmarc_node);

	if (node == NULL) {
		w->now->incomplete = true;
		w->now = NULL;
		w->walked(w->arg);
		return;
	}
	node->name = str_skip(w->asking, sizeof("_dmarc.") - 1);
	node_fill(w, node, w->asking, answer);
	node->next = w->known;
	w->known = node;
	if (walk_on(w) == WENT_TO_THE_END) {
		w->now = NULL;
		w->walked(w->arg);
	}
}

bool dmarc_walk(struct dmarc_walker *w, struct dmarc_walk *k, str start)
{
	*k = (struct dmarc_walk){ .start = start };
	w->now = k;
	if (walk_on(w) == WENT_OUT)
		return false;
	w->now = NULL;
	return true;
}

str dmarc_org(const struct dmarc_walk *k)
{
	const struct dmarc_node *last = k->n > 0 ? k->nodes[k->n - 1] : NULL;

	if (last != NULL && last->has_record && last->record.psd == DMARC_PSD_NO)
		return last->name;
	if (last != NULL && last->has_record && last->record.psd == DMARC_PSD_YES && k->n > 1)
		return dmarc_rightmost(k->start, dmarc_labels(last->name) + 1);
	for (size_t i = k->n; i-- > 0;)
		if (k->nodes[i]->has_record)
			return k->nodes[i]->name;
	return k->start;
}

const struct dmarc_node *dmarc_walk_record(const struct dmarc_walk *k, str name)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->nodes[i]->has_record && str_eq(k->nodes[i]->name, name))
			return k->nodes[i];
	return NULL;
}
