/* SPDX-License-Identifier: ISC */
/*
 * spf_tree: asks.  A node's record is one question; once it is there every term
 * of it asks at the same time, and an include becomes a node that asks in turn.
 * When nothing is out any more the tree is judged (spf_judge.c) and told.
 *
 * All memory is the asker's arena, so nothing is freed here.  One thread.
 */
#include "smtpd/setup/dns/spf_tree_inside.h"

#include <string.h>

#define DEPTH_MOST    20
#define NODES_MOST    100
#define TERMS_MOST    100      /* of one record */
#define QUESTIONS_MOST 400
#define HOSTS_MOST    10       /* of an mx (RFC 7208 4.6.4) */
#define NETS_MOST     64       /* of one term */

struct question {
	struct dns_ask ask;
	struct question *next;            /* all of them: to be cancelled */
	struct spf_tree_check *check;
	struct spf_node *node;
	struct spf_tree_term *term;       /* NULL: for the node's record */
	enum dns_type type;
};

static void follow(struct spf_tree_check *, struct spf_node *);

/* ---- questions ------------------------------------------------------------------------------- */

static void finish(struct spf_tree_check *c)
{
	c->over = true;
	spf_tree_judge(c);
	c->done(&c->tree, c->user);
}

static bool ask(struct spf_tree_check *c, struct spf_node *node, struct spf_tree_term *t, str name, enum dns_type type,
                dns_answered *answered)
{
	struct question *q;

	if (c->questions >= QUESTIONS_MOST) {
		c->cut = true;
		return false;
	}
	q = ARENA_NEW(c->arena, struct question);
	if (q == NULL)
		return false;
	q->check = c;
	q->node = node;
	q->term = t;
	q->type = type;
	q->next = c->all;
	c->all = q;
	c->questions++;
	c->out++;
	dns_ask(c->dns, &q->ask, c->arena, name, type, 0, answered, q);
	return true;
}

static void came(struct spf_tree_check *c, enum dns_status status)
{
	if (dns_failed(status))
		c->tree.incomplete = true;
	if (--c->out == 0 && !c->over)
		finish(c);
}

/* ---- what a term stands for ---------------------------------------------------------------------- */

static void add_net(struct spf_tree_check *c, struct spf_tree_term *t, bool v4, const void *ip, unsigned bits)
{
	struct cidr *net;
	size_t bytes = v4 ? 4 : 16;

	if (t->nets == NULL)
		t->nets = ARENA_ARRAY(c->arena, struct cidr, NETS_MOST);
	if (t->nets == NULL || t->n_nets == NETS_MOST)
		return;
	net = &t->nets[t->n_nets++];
	net->v4 = v4;
	net->bits = bits;
	memcpy(net->ip, ip, bytes);
	for (size_t i = 0; i < bytes; i++)       /* what lies beyond the prefix says nothing */
		if (8 * i >= bits)
			net->ip[i] = 0;
		else if (8 * (i + 1) > bits)
			net->ip[i] &= (unsigned char)(0xff << (8 * (i + 1) - bits));
}

static void host_answered(struct dns_ask *asked, const struct dns_answer *answer)
{
	struct question *q = asked->user;
	struct spf_tree_term *t = q->term;

	for (size_t i = 0; answer->status == DNS_FOUND && i < answer->n; i++)
		if (q->type == DNS_A)
			add_net(q->check, t, true, &answer->rr[i].a, t->parsed.bits4);
		else
			add_net(q->check, t, false, &answer->rr[i].aaaa, t->parsed.bits6);
	if (t->parsed.kind != SPF_MX) {
		bool none = answer->status == DNS_NXDOMAIN || answer->status == DNS_NODATA;

		if (q->type == DNS_A)
			t->is_void = none;
		else
			t->is_void6 = none;
		if (q->type == DNS_A || dns_failed(answer->status))
			t->status = answer->status;
	}
	came(q->check, answer->status);
}

/* exists asks for A whatever the sender's address (RFC 7208 5.7). */
static void exists_answered(struct dns_ask *asked, const struct dns_answer *answer)
{
	struct question *q = asked->user;

	q->term->status = answer->status;
	q->term->is_void = q->term->is_void6 = answer->status == DNS_NXDOMAIN || answer->status == DNS_NODATA;
	came(q->check, answer->status);
}

static void mx_answered(struct dns_ask *asked, const struct dns_answer *answer)
{
	struct question *q = asked->user;
	struct spf_tree_term *t = q->term;

	t->status = answer->status;
	t->is_void = t->is_void6 = answer->status == DNS_NXDOMAIN || answer->status == DNS_NODATA;
	t->hosts = answer->status == DNS_FOUND ? answer->n : 0;
	for (size_t i = 0; i < t->hosts && i < HOSTS_MOST; i++) {
		str host = answer->rr[i].mx.host;

		if (host.n == 0)
			continue;
		ask(q->check, q->node, t, host, DNS_A, host_answered);
		ask(q->check, q->node, t, host, DNS_AAAA, host_answered);
	}
	came(q->check, answer->status);
}

static void exp_answered(struct dns_ask *asked, const struct dns_answer *answer)
{
	struct question *q = asked->user;

	q->term->status = answer->status;
	q->term->hosts = answer->status == DNS_FOUND ? answer->n : 0;
	came(q->check, answer->status);
}

/* ---- nodes -------------------------------------------------------------------------------------- */

static bool stands_above(const struct spf_node *n, str domain)
{
	for (; n != NULL; n = n->up)
		if (str_eq_nocase(n->domain, domain))
			return true;
	return false;
}

static str without_root_dot(str name)
{
	return name.n > 1 && name.p[name.n - 1] == '.' ? str_head(name, name.n - 1) : name;
}

static struct spf_node *node_new(struct spf_tree_check *c, struct spf_node *up, str domain)
{
	struct spf_node *n = ARENA_NEW(c->arena, struct spf_node);

	if (n == NULL)
		return NULL;
	n->domain = str_keep_lower(c->arena, without_root_dot(domain));
	n->up = up;
	n->depth = up != NULL ? up->depth + 1 : 0;
	n->state = SPF_NODE_CUT;
	c->nodes++;
	return n;
}

static void lead_on(struct spf_tree_check *c, struct spf_node *n, struct spf_tree_term *t)
{
	t->node = node_new(c, n, t->parsed.spec);
	if (t->node == NULL)
		return;
	if (str_holds(t->parsed.spec, '%'))
		t->node->state = SPF_NODE_MACRO;
	else if (stands_above(n, t->node->domain))
		t->node->state = SPF_NODE_LOOP;
	else if (t->node->depth > DEPTH_MOST || c->nodes > NODES_MOST)
		c->cut = true;
	else
		follow(c, t->node);
}

static void begin_term(struct spf_tree_check *c, struct spf_node *n, struct spf_tree_term *t)
{
	str name = t->parsed.spec.n > 0 ? without_root_dot(t->parsed.spec) : n->domain;
	bool macro = str_holds(t->parsed.spec, '%');

	switch (t->parsed.kind) {
	case SPF_IP4:
		add_net(c, t, true, &t->parsed.ip4, t->parsed.bits4);
		break;
	case SPF_IP6:
		add_net(c, t, false, &t->parsed.ip6, t->parsed.bits6);
		break;
	case SPF_INCLUDE:
	case SPF_REDIRECT:
		lead_on(c, n, t);
		break;
	case SPF_A:
		if (!macro && ask(c, n, t, name, DNS_A, host_answered))
			ask(c, n, t, name, DNS_AAAA, host_answered);
		break;
	case SPF_MX:
		if (!macro)
			ask(c, n, t, name, DNS_MX, mx_answered);
		break;
	case SPF_EXISTS:
		if (!macro)
			ask(c, n, t, name, DNS_A, exists_answered);
		break;
	case SPF_EXP:
		if (!macro)
			ask(c, n, t, name, DNS_TXT, exp_answered);
		break;
	default:
		break;
	}
}

/* The qualifier, if any, stands before what the parser calls the term's text. */
static str whole_term(str record, str text)
{
	if (text.p > record.p && memchr("+-~?", text.p[-1], 4) != NULL)
		return (str){ text.p - 1, text.n + 1 };
	return text;
}

static size_t words_of(str terms)
{
	size_t n = 0;

	for (size_t i = 0; i < terms.n; i++)
		n += terms.p[i] != ' ' && (i == 0 || terms.p[i - 1] == ' ');
	return n;
}

static void read_terms(struct spf_tree_check *c, struct spf_node *n, str terms)
{
	size_t room = words_of(terms);
	bool all = false, all_anywhere = false;

	n->state = SPF_NODE_RECORD;
	if (room > TERMS_MOST) {
		c->cut = true;
		room = TERMS_MOST;
	}
	n->terms = ARENA_ARRAY(c->arena, struct spf_tree_term, room);
	while (n->terms != NULL && n->n_terms < room) {
		struct spf_tree_term *t = &n->terms[n->n_terms];
		const char *why = NULL;
		enum spf_read got = spf_term_read(&terms, &t->parsed, &why);

		if (got == SPF_READ_END)
			break;
		n->n_terms++;
		t->text = whole_term(n->record, t->parsed.text);
		t->status = DNS_FOUND;
		t->reached = !all || t->parsed.kind == SPF_EXP || t->parsed.kind == SPF_UNKNOWN_MODIFIER;
		if (got == SPF_READ_BAD) {
			t->fault = why;
			n->state = SPF_NODE_BAD;
			continue;
		}
		all = all || t->parsed.kind == SPF_ALL;
		t->counts = t->parsed.kind == SPF_INCLUDE || t->parsed.kind == SPF_A || t->parsed.kind == SPF_MX ||
		            t->parsed.kind == SPF_PTR || t->parsed.kind == SPF_EXISTS || t->parsed.kind == SPF_REDIRECT;
	}
	for (size_t i = 0; i < n->n_terms; i++)
		all_anywhere = all_anywhere || (n->terms[i].fault == NULL && n->terms[i].parsed.kind == SPF_ALL);
	for (size_t i = 0; i < n->n_terms; i++) {
		struct spf_tree_term *t = &n->terms[i];

		if (t->fault == NULL && t->parsed.kind == SPF_REDIRECT && all_anywhere)
			t->reached = false;                     /* RFC 7208 6.1 */
		t->counts = t->counts && t->reached;
		if (t->fault == NULL && t->reached)
			begin_term(c, n, t);
	}
}

static void take_instead(struct spf_tree_check *c, struct spf_node *n)
{
	str terms;

	c->tree.published = n->records == 1 ? n->record : STR_NONE;
	n->status = DNS_FOUND;
	n->record = c->instead;
	n->records = 1;
	n->strings = 1;
	if (spf_record_is(n->record, NULL, &terms))
		read_terms(c, n, terms);
}

static void record_answered(struct dns_ask *asked, const struct dns_answer *answer)
{
	struct question *q = asked->user;
	struct spf_node *n = q->node;
	str terms = STR_NONE, those;

	n->status = answer->status;
	for (size_t i = 0; answer->status == DNS_FOUND && i < answer->n; i++) {
		str txt = answer->rr[i].txt;

		if (spf_record_is(txt, NULL, &those)) {
			terms = those;
			n->record = txt;
			n->strings = answer->rr[i].txt_strings;
			n->records++;
		} else if (str_starts_nocase(str_trim(txt), "v=spf") || str_starts_nocase(str_trim(txt), "\"v=spf")) {
			n->nearly = txt;
		}
	}
	if (n->up == NULL && q->check->instead.n > 0) {
		take_instead(q->check, n);
		came(q->check, DNS_FOUND);
		return;
	}
	if (dns_failed(answer->status))
		n->state = SPF_NODE_FAILED;
	else if (answer->status == DNS_NXDOMAIN || answer->status == DNS_BADNAME)
		n->state = SPF_NODE_NXDOMAIN;
	else if (n->records == 0)
		n->state = SPF_NODE_NO_RECORD;
	else if (n->records > 1)
		n->state = SPF_NODE_SEVERAL;
	else
		read_terms(q->check, n, terms);
	came(q->check, answer->status);
}

static void follow(struct spf_tree_check *c, struct spf_node *n)
{
	ask(c, n, NULL, n->domain, DNS_TXT, record_answered);
}

/* ---- from outside ---------------------------------------------------------------------------------- */

struct spf_tree_check *spf_tree_start(struct dns *dns, struct arena *a, str domain, spf_tree_done *done, void *user)
{
	return spf_tree_start_text(dns, a, domain, STR_NONE, done, user);
}

struct spf_tree_check *spf_tree_start_text(struct dns *dns, struct arena *a, str domain, str record, spf_tree_done *done,
                                           void *user)
{
	struct spf_tree_check *c = ARENA_NEW(a, struct spf_tree_check);

	if (c == NULL)
		return NULL;
	c->dns = dns;
	c->arena = a;
	c->done = done;
	c->user = user;
	c->instead = record;
	c->tree.root = node_new(c, NULL, domain);
	if (c->tree.root == NULL || !ask(c, c->tree.root, NULL, c->tree.root->domain, DNS_TXT, record_answered))
		return NULL;
	return c;
}

void spf_tree_cancel(struct spf_tree_check *c)
{
	if (c == NULL || c->over)
		return;
	c->over = true;
	for (struct question *q = c->all; q != NULL; q = q->next)
		dns_cancel(&q->ask);
}
