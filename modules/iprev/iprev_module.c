/* SPDX-License-Identifier: ISC */
/*
 * iprev_module: does the client's address have a name, and the name the
 * address (RFC 8601 3)?
 *
 * Asked at connect, so that MAIL, RCPT and the header have long gone by when
 * the final dot waits for it; a confirmed name is the peer's at once.  At most
 * ten names are asked back, all together, for the client's own address family.
 * What DNS answers lies in a budget of its own until the end is known: whoever
 * connects chooses how long his names are.  Loop thread.
 */
#include <string.h>

#include "modules/iprev/iprev.h"
#include "modules/module.h"

#define NAMES_MOST  10
#define SCRATCH_MAX ((size_t)64 << 10)

struct iprev_conf {
	struct conf_head head;
	bool verify;
	int  on_fail, on_temperror, on_permerror;        /* enum action */
};

enum action { MARK, QUARANTINE, DEFER, REJECT };

static const struct stat_def stats[] = {
	[IPREV_NOT_DONE]  = { "skipped",   "connections that were not asked about" },
	[IPREV_PASS]      = { "pass",      "clients whose name has their address" },
	[IPREV_FAIL]      = { "fail",      "clients whose names do not" },
	[IPREV_TEMPERROR] = { "temperror", "clients that DNS gave no answer for" },
	[IPREV_PERMERROR] = { "permerror", "clients without a name" },
};

struct look {                                    /* until the last answer is there */
	struct arena    scratch;                 /* of this, too */
	struct dns_ask  ptr, *back;              /* `n` of the second */
	str            *names;                   /* `n` */
	bool           *confirmed;
	size_t          n, out;
	bool            failed;                  /* some question back */
};

struct iprev_conn {
	struct mod          *mod;
	struct look         *look;
	str                 *names;              /* `n` that lead back */
	unsigned             n;
	bool                 waiting;
	struct iprev_wait   *others;             /* that wait, too */
	struct iprev_outcome outcome;
};

const char *iprev_result_word(enum iprev_result r)
{
	static const char *const words[] = {
		[IPREV_PASS] = "pass",           [IPREV_FAIL] = "fail",
		[IPREV_TEMPERROR] = "temperror", [IPREV_PERMERROR] = "permerror",
	};

	return (size_t)r < COUNT(words) ? words[r] : NULL;
}

static const struct iprev_conf *conf_of(const struct mod *m)
{
	static const struct iprev_conf defaults = { .verify = true };

	return m->conf != NULL ? m->conf : &defaults;
}

static const str no_memory = { "There is no memory left to look at its names.", 45 };

/* ---- from result to action ------------------------------------------------ */

static enum action action_for(const struct iprev_conf *conf, enum iprev_result r)
{
	switch (r) {
	case IPREV_FAIL:
		return (enum action)conf->on_fail;
	case IPREV_TEMPERROR:
		return (enum action)conf->on_temperror;
	case IPREV_PERMERROR:
		return (enum action)conf->on_permerror;
	default:
		return MARK;
	}
}

/* RFC 7372 3.3 */
static enum say verdict(struct mod *m)
{
	const struct iprev_conn *c = m->conn;
	enum action              action = action_for(conf_of(m), c->outcome.result);
	str                      text;

	if (action == MARK || action == QUARANTINE)
		return action == MARK ? SAY_NEXT : SAY_QUARANTINE;
	text = arena_printf(m->arena,
			    "Reverse DNS: %.*s Ask whoever runs this address to give it a "
			    "PTR record whose name leads back to it",
			    STR_ARG(c->outcome.reason));
	mod_reply(m, action == DEFER ? 451 : 550, action == DEFER ? "4.7.25" : "5.7.25", text);
	return action == DEFER ? SAY_DEFER : SAY_REJECT;
}

/* ---- the questions -------------------------------------------------------- */

static str without_root_dot(str name)
{
	return name.n > 1 && name.p[name.n - 1] == '.' ? str_head(name, name.n - 1) : name;
}

/* The name that is also HELO's is the one that counts; else the first. */
static void choose_name(struct iprev_conn *c)
{
	struct mod *m = c->mod;
	str         helo = without_root_dot(m->peer->helo), best = STR_NONE;

	c->outcome.helo_matches = false;
	for (size_t i = 0; i < c->n && !c->outcome.helo_matches; i++) {
		c->outcome.helo_matches = str_eq_nocase(c->names[i], helo);
		if (best.n == 0 || c->outcome.helo_matches)
			best = c->names[i];
	}
	c->outcome.name = best;
	if (!str_eq(best, m->peer->ptr))
		mod_set_ptr(m, best);
}

static void forget_look(struct iprev_conn *c)
{
	struct arena scratch = c->look->scratch;

	c->look = NULL;
	arena_fini(&scratch);
}

static void settle(struct iprev_conn *c, enum iprev_result result, str reason)
{
	forget_look(c);
	c->outcome.result = result;
	c->outcome.reason = reason;
	stat_add(c->mod->stats + result, 1);
	if (result == IPREV_PASS)
		choose_name(c);
	while (c->others != NULL) {
		struct iprev_wait *w = c->others;

		iprev_wait_end(w);
		w->known(w);
	}
	if (!c->waiting)
		return;
	c->waiting = false;
	mod_go(c->mod, verdict(c->mod));
}

/* What stays of them for as long as the connection. */
static bool keep_confirmed(struct iprev_conn *c)
{
	const struct look *l = c->look;
	struct arena      *a = c->mod->conn_arena;
	size_t             n = 0;

	for (size_t i = 0; i < l->n; i++)
		n += l->confirmed[i];
	c->names = n > 0 ? ARENA_ARRAY(a, str, n) : NULL;
	for (size_t i = 0; c->names != NULL && i < l->n; i++)
		if (l->confirmed[i])
			c->names[c->n++] = str_keep(a, l->names[i]);
	return n == 0 || !a->spent;
}

static void settle_names(struct iprev_conn *c)
{
	struct arena *a = c->mod->conn_arena;
	str           ip = c->mod->peer->ip;

	if (!keep_confirmed(c)) {
		settle(c, IPREV_TEMPERROR, no_memory);
	} else if (c->n > 0) {
		settle(c, IPREV_PASS, STR("its name leads back to it"));
	} else if (c->look->failed) {
		c->outcome.name = str_keep(a, c->look->names[0]);
		settle(c, IPREV_TEMPERROR,
		       arena_printf(a, "DNS gave no answer for the names of %.*s.", STR_ARG(ip)));
	} else {
		c->outcome.name = str_keep(a, c->look->names[0]);
		settle(c, IPREV_FAIL,
		       arena_printf(a, "%.*s calls itself %.*s, which does not lead back to it.",
		                    STR_ARG(ip), STR_ARG(c->outcome.name)));
	}
}

static bool leads_back(const struct mod *m, const struct dns_answer *a, enum dns_type type)
{
	const union peer_addr *at = &m->peer->addr;
	const void            *ip = &at->in6.sin6_addr;

	if (type == DNS_A)
		ip = at->sa.sa_family == AF_INET ? (const void *)&at->in.sin_addr
		                                 : &at->in6.sin6_addr.s6_addr[12];
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (memcmp(type == DNS_A ? (const void *)&a->rr[i].a : &a->rr[i].aaaa, ip,
		           type == DNS_A ? 4 : 16) == 0)
			return true;
	return false;
}

/* A mapped address is IPv4, as it was dialled. */
static enum dns_type address_type(const struct mod *m)
{
	const struct sockaddr_in6 *v6 = &m->peer->addr.in6;

	if (v6->sin6_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return DNS_AAAA;
	return DNS_A;
}

static void address_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct iprev_conn *c = ask->user;
	struct look       *l = c->look;

	l->confirmed[ask - l->back] = leads_back(c->mod, a, address_type(c->mod));
	l->failed = l->failed || dns_failed(a->status);
	if (--l->out == 0)
		settle_names(c);
}

static bool room_for_names(struct look *l, size_t n)
{
	l->back = ARENA_ARRAY(&l->scratch, struct dns_ask, n);
	l->names = ARENA_ARRAY(&l->scratch, str, n);
	l->confirmed = ARENA_ARRAY(&l->scratch, bool, n);
	l->n = l->back != NULL && l->names != NULL && l->confirmed != NULL ? n : 0;
	return l->n > 0;
}

static void names_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct iprev_conn *c = ask->user;
	struct mod        *m = c->mod;
	struct look       *l = c->look;

	l->out = 0;
	if (dns_failed(a->status)) {
		settle(c, IPREV_TEMPERROR,
		       arena_printf(m->conn_arena, "DNS gave no answer for the name of %.*s (%s).",
		                    STR_ARG(m->peer->ip), dns_status_text(a->status)));
		return;
	}
	if (a->status != DNS_FOUND) {
		settle(c, IPREV_PERMERROR,
		       arena_printf(m->conn_arena, "%.*s has no name in DNS.",
				    STR_ARG(m->peer->ip)));
		return;
	}
	if (!room_for_names(l, a->n < NAMES_MOST ? a->n : NAMES_MOST)) {
		settle(c, IPREV_TEMPERROR, no_memory);
		return;
	}
	l->out = l->n;
	for (size_t i = 0; i < l->n; i++) {
		l->names[i] = a->rr[i].name;
		dns_ask(m->dns, &l->back[i], &l->scratch, l->names[i], address_type(m), 0,
		        address_arrived, c);
	}
}

/* ---- hooks ---------------------------------------------------------------- */

static struct look *look_new(void)
{
	struct arena scratch;
	struct look *l;

	arena_init(&scratch, SCRATCH_MAX);
	l = ARENA_NEW(&scratch, struct look);
	if (l != NULL)
		l->scratch = scratch;
	return l;
}

static enum say connect_hook(struct mod *m)
{
	struct iprev_conn     *c = m->conn;
	const struct sockaddr *sa = &m->peer->addr.sa;

	c->mod = m;
	if (m->peer->submission || !conf_of(m)->verify ||
	    (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)) {
		stat_add(m->stats + IPREV_NOT_DONE, 1);
		return SAY_NEXT;
	}
	c->look = look_new();
	if (c->look == NULL) {
		stat_add(m->stats + IPREV_NOT_DONE, 1);
		return SAY_NEXT;
	}
	c->look->out = 1;
	dns_ask(m->dns, &c->look->ptr, &c->look->scratch, dns_reverse_name(&c->look->scratch, sa), DNS_PTR, 0,
	        names_arrived, c);
	return SAY_NEXT;
}

static enum say helo_hook(struct mod *m, str name)
{
	struct iprev_conn *c = m->conn;

	(void)name;
	if (c->outcome.result == IPREV_PASS)
		choose_name(c);
	return SAY_NEXT;
}

static enum say message(struct mod *m)
{
	struct iprev_conn *c = m->conn;

	if (m->in->origin != FROM_STRANGER)
		return SAY_NEXT;
	c->waiting = c->look != NULL;
	return c->waiting ? SAY_WAIT : verdict(m);
}

static void results(const struct mod *m, struct authres *r)
{
	const struct iprev_outcome *o = iprev_state_outcome(m->conn);

	if (o == NULL || m->in == NULL || m->in->origin != FROM_STRANGER)
		return;
	authres_method(r, "iprev", iprev_result_word(o->result),
	               o->result == IPREV_PASS ? STR_NONE : o->reason);
	authres_property(r, "policy.iprev", m->peer->ip);
	if (o->name.n > 0)
		authres_comment(r, o->name);
}

static void done(struct mod *m)
{
	struct iprev_conn *c = m->conn;

	c->waiting = false;
}

static void gone(struct mod *m)
{
	struct iprev_conn *c = m->conn;

	if (c->look == NULL)
		return;
	dns_cancel(&c->look->ptr);
	for (size_t i = 0; i < c->look->n; i++)
		dns_cancel(&c->look->back[i]);
	forget_look(c);
}

const struct iprev_outcome *iprev_state_outcome(const void *conn)
{
	const struct iprev_conn *c = conn;

	return c != NULL && c->outcome.result != IPREV_NOT_DONE ? &c->outcome : NULL;
}

bool iprev_wait(const void *conn, struct iprev_wait *w, void (*known)(struct iprev_wait *))
{
	struct iprev_conn *c = (struct iprev_conn *)(uintptr_t)conn;

	if (c == NULL || c->look == NULL)
		return false;
	*w = (struct iprev_wait){ known, c->others, &c->others };
	if (w->next != NULL)
		w->next->at = &w->next;
	c->others = w;
	return true;
}

void iprev_wait_end(struct iprev_wait *w)
{
	if (w->at == NULL)
		return;
	*w->at = w->next;
	if (w->next != NULL)
		w->next->at = w->at;
	w->at = NULL;
}

/* ---- the module ----------------------------------------------------------- */

static const char *const actions[] = { "mark", "quarantine", "defer", "reject", NULL };
static const char *const later[] = { "mark", "quarantine", "defer", NULL };

#define OPT(field, type_, name_, fallback_, help_)                                                 \
	.name = (name_), .type = (type_), .offset = offsetof(struct iprev_conf, field),            \
	.fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{OPT(verify, CONF_BOOL, "verify", "yes",
	     "look for the client's name and whether it leads back to the address")},
	{OPT(on_fail, CONF_WORD, "fail", "mark", "what is done when the name does not lead back"),
	 .words = actions},
	{OPT(on_permerror, CONF_WORD, "permerror", "mark", "what is done when there is no name"),
	 .words = actions},
	{OPT(on_temperror, CONF_WORD, "temperror", "mark", "what is done when DNS gives no answer"),
	 .words = later},
	{0},
};

static const struct conf_section section = {
	.name = "iprev", .options = options, .size = sizeof(struct iprev_conf),
	.help = "Reverse DNS (iprev, RFC 8601): the client's name, confirmed.",
};

const struct module iprev_module = {
	.name      = "iprev",
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.conn_size = sizeof(struct iprev_conn),
	.connect   = connect_hook,
	.helo      = helo_hook,
	.message   = message,
	.results   = results,
	.done      = done,
	.gone      = gone,
};
