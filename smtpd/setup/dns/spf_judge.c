/* SPDX-License-Identifier: ISC */
/*
 * spf_judge: what a whole tree costs, and what is wrong with it.  A fault is what
 * makes receivers fail or pass the wrong mail; a warning what will one day, or
 * says something other than was meant; a note is for the reader.  Pure.
 */
#include <string.h>

#include "smtpd/setup/dns/spf_tree_inside.h"

#define FINDINGS_MOST 200
#define NETS_TOLD     3000
#define WIDE4         8        /* prefixes that hold more than anybody sends from */
#define WIDE6         16

typedef void looker(struct spf_tree_check *, struct spf_node *);

const char *spf_severity_word(enum spf_severity s)
{
	static const char *const words[] = {
		[SPF_SAYS_NOTE] = "note", [SPF_SAYS_WARNING] = "warning", [SPF_SAYS_FAULT] = "fault",
	};

	return words[s];
}

/* ---- findings --------------------------------------------------------------------------------- */

static void find(struct spf_tree_check *c, enum spf_severity s, const struct spf_node *n, str text, str todo)
{
	struct spf_tree *tree = &c->tree;

	if (tree->findings == NULL)
		tree->findings = ARENA_ARRAY(c->arena, struct spf_finding, FINDINGS_MOST);
	if (tree->findings == NULL || tree->n_findings == FINDINGS_MOST)
		return;
	for (size_t i = 0; i < tree->n_findings; i++) {        /* a record that is included twice is judged twice */
		const struct spf_finding *f = &tree->findings[i];

		if (f->severity == s && str_eq(f->domain, n->domain) && str_eq(f->text, text) && str_eq(f->todo, todo))
			return;
	}
	tree->findings[tree->n_findings++] = (struct spf_finding){ s, n->domain, text, todo };
	tree->faults += s == SPF_SAYS_FAULT;
	tree->warnings += s == SPF_SAYS_WARNING;
}

/* What somebody else's record lacks can only be told to him. */
static str mend(struct spf_tree_check *c, const struct spf_node *n, const char *ours)
{
	const struct spf_node *top = n;

	if (n->up == NULL)
		return str_of(ours);
	while (top->up->up != NULL)
		top = top->up;
	return arena_printf(c->arena, "tell the operator of %.*s, or take %.*s out of your record until it is mended", STR_ARG(n->domain),
	                    STR_ARG(top->domain));
}

/* Our own record, or one that stands in its place by redirect=. */
static bool speaks_for_us(const struct spf_node *n)
{
	for (; n->up != NULL; n = n->up) {
		bool redirected = false;

		for (size_t i = 0; i < n->up->n_terms; i++)
			redirected = redirected || (n->up->terms[i].node == n && n->up->terms[i].parsed.kind == SPF_REDIRECT);
		if (!redirected)
			return false;
	}
	return true;
}

static enum spf_severity if_ours(const struct spf_node *n, enum spf_severity s)
{
	return n->up == NULL || s == SPF_SAYS_FAULT ? s : SPF_SAYS_NOTE;
}

static void each_node(struct spf_tree_check *c, struct spf_node *n, looker *look)
{
	look(c, n);
	for (size_t i = 0; i < n->n_terms; i++)
		if (n->terms[i].node != NULL && n->terms[i].reached)
			each_node(c, n->terms[i].node, look);
}

/* ---- counts --------------------------------------------------------------------------------------- */

static void count(struct spf_node *n)
{
	for (size_t i = 0; i < n->n_terms; i++) {
		struct spf_tree_term *t = &n->terms[i];

		if (!t->counts)
			continue;
		if (t->node != NULL) {
			count(t->node);
			t->status = t->node->status;
			t->is_void = t->is_void6 = t->node->state == SPF_NODE_NXDOMAIN ||
			                           (t->node->state == SPF_NODE_NO_RECORD && t->node->status == DNS_NODATA);
			n->lookups += t->node->lookups;
			n->voids += t->node->voids;
			n->voids6 += t->node->voids6;
		}
		n->lookups++;
		n->voids += t->is_void;
		n->voids6 += t->is_void6;
	}
}

static void judge_counts(struct spf_tree_check *c)
{
	const struct spf_tree *t = &c->tree;

	if (t->lookups > SPF_TREE_LOOKUPS)
		find(c, SPF_SAYS_FAULT, t->root, arena_printf(c->arena, "%u look-ups, %u are allowed: receivers that need them all end "
		     "with permerror, as if there were no record", t->lookups, SPF_TREE_LOOKUPS),
		     STR("take out what no longer sends, or put ip4: and ip6: in place of a, mx and include:"));
	else if (t->lookups == SPF_TREE_LOOKUPS)
		find(c, SPF_SAYS_WARNING, t->root, STR("all 10 look-ups that are allowed are used: one more include in somebody else's "
		     "record breaks yours"), STR("take out what no longer sends"));
	if (t->voids > SPF_TREE_VOIDS)
		find(c, SPF_SAYS_FAULT, t->root, arena_printf(c->arena, "%u look-ups find nothing, %u may: receivers end with permerror, as if there were no record",
		     t->voids, SPF_TREE_VOIDS), STR("take out the terms marked void"));
	else if (t->voids6 > SPF_TREE_VOIDS)
		find(c, SPF_SAYS_WARNING, t->root, arena_printf(c->arena, "for mail from IPv6 addresses %u look-ups find nothing, %u may: "
		     "receivers that count strictly end with permerror", t->voids6, SPF_TREE_VOIDS),
		     STR("give the hosts AAAA records, or name them by ip4:"));
}

/* ---- a record as a whole ---------------------------------------------------------------------------- */

static str pathway(struct spf_tree_check *c, const struct spf_node *n)
{
	return n->up == NULL ? n->domain : arena_printf(c->arena, "%.*s, which the record of %.*s leads to,", STR_ARG(n->domain),
	                                                STR_ARG(n->up->domain));
}

static void judge_missing(struct spf_tree_check *c, struct spf_node *n)
{
	str who = pathway(c, n);

	if (n->state == SPF_NODE_NXDOMAIN)
		find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "%.*s does not exist", STR_ARG(who)),
		     n->up == NULL ? STR("register the domain, or check its spelling")
		                   : mend(c, n->up, "take the term out, or correct the name"));
	else if (n->nearly.n > 0)
		find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "%.*s has no SPF record, only a text that was meant as one: %.*s",
		     STR_ARG(who), STR_ARG(str_head(n->nearly, 80))),
		     mend(c, n, "let the record begin with v=spf1 and a space, without quotation marks in the value"));
	else
		find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "%.*s has no SPF record", STR_ARG(who)),
		     n->up == NULL ? STR("`postern spf build` writes one") : mend(c, n->up, "take the term out, or correct the name"));
}

static void judge_state(struct spf_tree_check *c, struct spf_node *n)
{
	struct arena *a = c->arena;
	str who = pathway(c, n);

	switch (n->state) {
	case SPF_NODE_NXDOMAIN:
	case SPF_NODE_NO_RECORD:
		judge_missing(c, n);
		break;
	case SPF_NODE_SEVERAL:
		find(c, SPF_SAYS_FAULT, n, arena_printf(a, "%.*s has %zu SPF records: receivers take none of them (permerror)", STR_ARG(who),
		     n->records), mend(c, n, "join them: one v=spf1, the terms of both, one all at the end"));
		break;
	case SPF_NODE_FAILED:
		find(c, SPF_SAYS_WARNING, n, arena_printf(a, "the question for %.*s had no answer (%s)", STR_ARG(n->domain),
		     dns_status_text(n->status)), STR("ask again later; if it stays, look at the domain's name servers"));
		break;
	case SPF_NODE_LOOP:
		find(c, SPF_SAYS_FAULT, n, arena_printf(a, "%.*s leads back to itself: receivers end with permerror", STR_ARG(n->domain)),
		     mend(c, n->up, "take the term out"));
		break;
	case SPF_NODE_MACRO:
		find(c, SPF_SAYS_NOTE, n, arena_printf(a, "%.*s depends on the sender: counted as one look-up, not followed",
		     STR_ARG(n->domain)), STR_NONE);
		break;
	default:
		break;
	}
}

static void judge_length(struct spf_tree_check *c, struct spf_node *n)
{
	if (n->record.n > SPF_TREE_LONG)
		find(c, if_ours(n, SPF_SAYS_WARNING), n, arena_printf(c->arena, "the record has %zu octets: over %d the answer may not fit "
		     "a UDP packet, and some receivers fail on it", n->record.n, SPF_TREE_LONG),
		     mend(c, n, "move some terms to a record of their own and include: it"));
	if (n->strings > 1)
		find(c, SPF_SAYS_NOTE, n, arena_printf(c->arena, "the record is cut into %zu strings, which are joined without a space",
		     n->strings), STR_NONE);
}

/* What the default at the end is (RFC 7208 4.7). */
static void judge_end(struct spf_tree_check *c, struct spf_node *n)
{
	for (size_t i = 0; i < n->n_terms; i++)
		if (n->terms[i].fault == NULL && (n->terms[i].parsed.kind == SPF_ALL || n->terms[i].parsed.kind == SPF_REDIRECT))
			return;
	if (speaks_for_us(n))
		find(c, SPF_SAYS_WARNING, n, STR("the record ends without all: mail from anywhere else is neutral, as if nothing was said"),
		     mend(c, n, "add -all, or ~all while you are not sure that you named everybody"));
}

/* ---- a term ---------------------------------------------------------------------------------------------- */

static void judge_bad(struct spf_tree_check *c, struct spf_node *n, const struct spf_tree_term *t)
{
	find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "\"%.*s\": %s: receivers end with permerror, as if there were no record",
	     STR_ARG(str_head(t->text, 100)), t->fault),
	     mend(c, n, n->strings > 1 ? "correct the term; strings are joined without a space, so a cut between terms needs one"
	                               : "correct the term"));
}

static void judge_all(struct spf_tree_check *c, struct spf_node *n, const struct spf_tree_term *t)
{
	if (t->parsed.qualifier == SPF_PASS)
		find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "%.*s: the whole world may send for the domain", STR_ARG(t->text)),
		     mend(c, n, "make it -all, or ~all while you are not sure that you named everybody"));
	else if (t->parsed.qualifier == SPF_NEUTRAL && speaks_for_us(n))
		find(c, SPF_SAYS_WARNING, n, STR("?all: mail from anywhere else is neutral, as if nothing was said"),
		     mend(c, n, "make it ~all, then -all"));
}

static void judge_width(struct spf_tree_check *c, struct spf_node *n, const struct spf_tree_term *t)
{
	const struct cidr *widest = NULL;

	for (size_t i = 0; i < t->n_nets; i++)
		if (t->nets[i].bits <= (t->nets[i].v4 ? WIDE4 : WIDE6) && (widest == NULL || t->nets[i].bits < widest->bits))
			widest = &t->nets[i];
	if (widest == NULL || t->parsed.qualifier != SPF_PASS)
		return;
	find(c, widest->bits == 0 ? SPF_SAYS_FAULT : SPF_SAYS_WARNING, n,
	     widest->bits == 0 ? arena_printf(c->arena, "%.*s: every IPv%s address may send for the domain", STR_ARG(t->text),
	                                      widest->v4 ? "4" : "6")
	                       : arena_printf(c->arena, "%.*s: a network of /%u holds more than anybody sends from", STR_ARG(t->text),
	                                      widest->bits),
	     mend(c, n, "name the networks that really send"));
}

static void judge_dead(struct spf_tree_check *c, struct spf_node *n, const struct spf_tree_term *t)
{
	if (t->node != NULL || t->parsed.kind == SPF_PTR)
		return;
	if (dns_failed(t->status))
		find(c, SPF_SAYS_WARNING, n, arena_printf(c->arena, "the question of %.*s had no answer (%s)", STR_ARG(t->text),
		     dns_status_text(t->status)), STR("ask again later; if it stays, look at the name servers of the name"));
	else if (t->is_void && t->is_void6)
		find(c, if_ours(n, SPF_SAYS_WARNING), n, arena_printf(c->arena, "%.*s is dead: %s", STR_ARG(t->text),
		     t->status == DNS_NXDOMAIN ? "the name does not exist" : "the name has no such record"),
		     mend(c, n, "take it out, or give the name its record"));
	if (t->parsed.kind == SPF_MX && t->hosts > 10)
		find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "%.*s leads to %zu hosts, 10 are allowed: receivers end with permerror",
		     STR_ARG(t->text), t->hosts), mend(c, n, "name the networks by ip4: and ip6: instead"));
	if (t->parsed.kind == SPF_EXP && !dns_failed(t->status) && !str_holds(t->parsed.spec, '%') && t->hosts != 1)
		find(c, SPF_SAYS_NOTE, n, arena_printf(c->arena, "%.*s: there is not exactly one text, so it explains nothing",
		     STR_ARG(t->text)), mend(c, n, "publish one TXT record there, or take it out"));
}

static void judge_term(struct spf_tree_check *c, struct spf_node *n, const struct spf_tree_term *t)
{
	if (!t->reached) {
		find(c, if_ours(n, SPF_SAYS_WARNING), n, arena_printf(c->arena, t->parsed.kind == SPF_REDIRECT
		     ? "%.*s is never looked at: the record has an all" : "%.*s stands behind all and is never looked at", STR_ARG(t->text)),
		     mend(c, n, t->parsed.kind == SPF_REDIRECT ? "keep one of the two" : "move it in front of all, or take it out"));
		return;
	}
	if (t->parsed.kind == SPF_ALL)
		judge_all(c, n, t);
	if (t->parsed.kind == SPF_PTR)
		find(c, if_ours(n, SPF_SAYS_WARNING), n, arena_printf(c->arena, "%.*s: slow, unsure, and some receivers ignore it "
		     "(RFC 7208 5.5)", STR_ARG(t->text)), mend(c, n, "name the hosts by a: or the networks by ip4: and ip6:"));
	if (t->node == NULL && t->parsed.kind != SPF_UNKNOWN_MODIFIER && str_holds(t->parsed.spec, '%'))
		find(c, SPF_SAYS_NOTE, n, arena_printf(c->arena, "%.*s depends on the sender: counted, not asked", STR_ARG(t->text)), STR_NONE);
	judge_width(c, n, t);
	judge_dead(c, n, t);
}

/* A modifier that stands twice is a fault of the record, not of a term. */
static void judge_modifiers(struct spf_tree_check *c, struct spf_node *n)
{
	struct spf_modifiers modifiers;
	const char *why = NULL;
	str terms, bad;

	if (n->state != SPF_NODE_RECORD || !spf_record_is(n->record, NULL, &terms) || spf_terms_check(terms, &modifiers, &bad, &why))
		return;
	n->state = SPF_NODE_BAD;
	find(c, SPF_SAYS_FAULT, n, arena_printf(c->arena, "\"%.*s\": %s: receivers end with permerror, as if there were no record",
	     STR_ARG(str_head(bad, 100)), why), mend(c, n, "keep one of the two"));
}

static void judge_node(struct spf_tree_check *c, struct spf_node *n)
{
	judge_state(c, n);
	if (n->records != 1)
		return;
	judge_length(c, n);
	judge_modifiers(c, n);
	for (size_t i = 0; i < n->n_terms; i++)
		if (n->terms[i].fault != NULL)
			judge_bad(c, n, &n->terms[i]);
		else
			judge_term(c, n, &n->terms[i]);
	if (n->n_terms == 0 || n->state == SPF_NODE_RECORD)
		judge_end(c, n);
}

/* ---- said twice ---------------------------------------------------------------------------------------- */

struct covering { const struct cidr *net; const struct spf_node *node; const struct spf_tree_term *term; };
struct coverings { struct covering *v; size_t n; };

/* What passes: terms with +, in records that are included with +. */
static void gather(struct coverings *all, const struct spf_node *n)
{
	for (size_t i = 0; i < n->n_terms; i++) {
		const struct spf_tree_term *t = &n->terms[i];

		if (t->fault != NULL || !t->reached || (t->parsed.kind != SPF_REDIRECT && t->parsed.qualifier != SPF_PASS))
			continue;
		for (size_t k = 0; k < t->n_nets && all->n < NETS_TOLD; k++)
			all->v[all->n++] = (struct covering){ &t->nets[k], n, t };
		if (t->node != NULL)
			gather(all, t->node);
	}
}

static bool lies_in(const struct cidr *in, const struct cidr *out)
{
	unsigned whole = out->bits / 8, rest = out->bits % 8;

	return in->v4 == out->v4 && in->bits >= out->bits && memcmp(in->ip, out->ip, whole) == 0 &&
	       (rest == 0 || ((in->ip[whole] ^ out->ip[whole]) >> (8 - rest)) == 0);
}

/* Of two that are equal our own goes, or the later one. */
static const struct covering *coverer_of(const struct coverings *all, const struct covering *one)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct covering *o = &all->v[i];
		bool earlier = o < one || o->node->up != NULL;

		if (o->term != one->term && lies_in(one->net, o->net) && (o->net->bits < one->net->bits || earlier))
			return o;
	}
	return NULL;
}

static void judge_covered(struct spf_tree_check *c, const struct coverings *all)
{
	for (size_t i = 0; i < all->n;) {
		const struct spf_tree_term *t = all->v[i].term;
		const struct covering *by = NULL;
		bool whole = true;
		size_t from = i;

		for (; i < all->n && all->v[i].term == t; i++) {
			const struct covering *o = all->v[i].node->up == NULL && whole ? coverer_of(all, &all->v[i]) : NULL;

			whole = whole && o != NULL;
			by = by == NULL ? o : by;
		}
		if (!whole || by == NULL)
			continue;
		find(c, SPF_SAYS_WARNING, all->v[from].node, arena_printf(c->arena, "%.*s is covered by %.*s%s%.*s", STR_ARG(t->text),
		     STR_ARG(by->term->text), by->node->up != NULL ? " in the record of " : "",
		     STR_ARG(by->node->up != NULL ? by->node->domain : STR_NONE)), STR("take it out"));
	}
}

/* The first node in the tree's order that follows the same record. */
static const struct spf_node *first_of(const struct spf_node *n, str domain)
{
	if (str_eq(n->domain, domain) && (n->state == SPF_NODE_RECORD || n->state == SPF_NODE_BAD))
		return n;
	for (size_t i = 0; i < n->n_terms; i++) {
		const struct spf_node *found = n->terms[i].node != NULL ? first_of(n->terms[i].node, domain) : NULL;

		if (found != NULL)
			return found;
	}
	return NULL;
}

static void judge_again(struct spf_tree_check *c, struct spf_node *n)
{
	const struct spf_node *first = first_of(c->tree.root, n->domain);

	if (n->state != SPF_NODE_RECORD || first == NULL || first == n || n->up == NULL)
		return;
	/* below a record that comes again everything does */
	if (n->up->up != NULL && first_of(c->tree.root, n->up->domain) != n->up)
		return;
	find(c, SPF_SAYS_WARNING, n, arena_printf(c->arena, "%.*s is included twice, by %.*s and by %.*s: its %u look-up%s count%s twice",
	     STR_ARG(n->domain), STR_ARG(first->up->domain), STR_ARG(n->up->domain), n->lookups + 1, n->lookups > 0 ? "s" : "",
	     n->lookups > 0 ? "" : "s"), mend(c, n->up, "take one of them out"));
}

/* ---- the whole ------------------------------------------------------------------------------------------ */

static void faults_first(struct spf_tree_check *c)
{
	struct spf_tree *t = &c->tree;
	struct spf_finding *v = ARENA_ARRAY(c->arena, struct spf_finding, t->n_findings);
	size_t n = 0;

	if (v == NULL)
		return;
	for (int s = SPF_SAYS_FAULT; s >= SPF_SAYS_NOTE; s--)
		for (size_t i = 0; i < t->n_findings; i++)
			if ((int)t->findings[i].severity == s)
				v[n++] = t->findings[i];
	t->findings = v;
}

void spf_tree_judge(struct spf_tree_check *c)
{
	struct spf_tree *t = &c->tree;
	struct coverings all = { ARENA_ARRAY(c->arena, struct covering, NETS_TOLD), 0 };

	count(t->root);
	t->lookups = t->root->lookups;
	t->voids = t->root->voids;
	t->voids6 = t->root->voids6;
	judge_counts(c);
	each_node(c, t->root, judge_node);
	each_node(c, t->root, judge_again);
	if (all.v != NULL) {
		gather(&all, t->root);
		judge_covered(c, &all);
	}
	if (c->cut)
		find(c, SPF_SAYS_WARNING, t->root, STR("the tree is larger than anybody's mail needs: the rest was not looked at"),
		     STR("take out what no longer sends"));
	if (t->n_findings > 0)
		faults_first(c);
}
