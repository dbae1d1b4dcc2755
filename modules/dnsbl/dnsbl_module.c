/* SPDX-License-Identifier: ISC */
/*
 * dnsbl_module: asks the zones about strangers: the address at connect, names
 * as they become known; a recipient waits for the answers.
 *
 * A zone that fails its test is asked but does not count; one whose first test
 * is still out is waited for a little.  DNS failures list nobody.  Postmaster
 * and abuse stay reachable; what comes for them alone is marked.  Loop thread.
 */
#include <arpa/inet.h>
#include <string.h>

#include "modules/dnsbl/dnsbl_inside.h"
#include "modules/iprev/iprev.h"
#include "modules/module.h"
#include "modules/role.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/loop.h"

#define SCRATCH_MAX   ((size_t)128 << 10)
#define TEST_LOOK_MS  20              /* between looks whether a zone's first test is done */
#define TEST_WAIT_MS  3000

enum { CLEAR, LISTED, REFUSED, QUARANTINED, ALLOWED, FAILED, UNUSED };

static const struct stat_def stats[] = {
	[CLEAR]       = { "clear",       "questions about clients and names that are not listed" },
	[LISTED]      = { "listed",      "listings that were found" },
	[REFUSED]     = { "refused",     "recipients refused for listings" },
	[QUARANTINED] = { "quarantined", "messages marked for listings" },
	[ALLOWED]     = { "allowed",     "messages that an allow list spared" },
	[FAILED]      = { "failed",      "questions that DNS gave no answer for" },
	[UNUSED]      = { "unused",      "listings of zones that fail their test" },
};

/* ---- what is said of it ------------------------------------------------------------ */

static void reply(struct mod *m, const struct dnsbl_lookup *l)
{
	str text;

	if (l->zone->reply.n > 0)
		text = l->zone->reply;
	else if (l->reason.n > 0)
		text = arena_printf(m->arena, "%.*s is listed in %.*s: %.*s", STR_ARG(l->subject),
				    STR_ARG(l->zone->zone), STR_ARG(l->reason));
	else
		text = arena_printf(
			m->arena, "%.*s is listed in %.*s (%.*s); ask its operators why",
			STR_ARG(l->subject), STR_ARG(l->zone->zone), STR_ARG(l->answer));
	mod_reply(m, 550, "5.7.1", text);
}

static enum say objected(struct mod *m, const struct dnsbl_sum *s)
{
	if (s->say == SAY_REJECT) {
		stat_add(m->stats + REFUSED, 1);
		reply(m, s->because);
	} else if (s->say == SAY_QUARANTINE) {
		stat_add(m->stats + QUARANTINED, 1);
		mod_reply(m, 250, "2.7.1",
			  arena_printf(m->arena, "%.*s is listed in %.*s",
				       STR_ARG(s->because->subject),
				       STR_ARG(s->because->zone->zone)));
	}
	return s->say;
}

/* A recipient is refused or not; to mark is the message's affair. */
static enum say rcpt_verdict(struct mod *m, struct dnsbl_sum s)
{
	if (s.say != SAY_REJECT)
		return SAY_NEXT;
	((struct dnsbl_msg *)m->msg)->refused = true;
	return objected(m, &s);
}

/* What is left after recipients were refused, or came for postmaster alone, is
 * marked.  Without recipients it is verify or explain that asks. */
static enum say message_verdict(struct mod *m, struct dnsbl_sum s)
{
	if (s.allowed)
		stat_add(m->stats + ALLOWED, 1);
	if (s.say == SAY_REJECT && m->in->nrcpts > 0)
		s.say = SAY_QUARANTINE;
	return objected(m, &s);
}

/* ---- waiting --------------------------------------------------------------------- */

static bool still_waits(struct mod *m, const struct dnsbl_sum *s)
{
	struct dnsbl_conn *c = m->conn;

	if (c->out > 0 || c->ptr_out)
		return true;
	if (!s->untested)
		return false;
	if (c->look_until_ms == 0)
		c->look_until_ms = clock_ms() + TEST_WAIT_MS;
	if (clock_ms() >= c->look_until_ms)
		return false;
	loop_timer_set(&c->look, TEST_LOOK_MS);
	return true;
}

static enum say verdict(struct mod *m, bool of_rcpt)
{
	struct dnsbl_conn *c = m->conn;
	struct dnsbl_sum   s = dnsbl_sum_up(m);

	if (still_waits(m, &s)) {
		c->waiting = of_rcpt ? RCPT_WAITS : MESSAGE_WAITS;
		return SAY_WAIT;
	}
	c->waiting = NOBODY_WAITS;
	return of_rcpt ? rcpt_verdict(m, s) : message_verdict(m, s);
}

static void look_again(struct dnsbl_conn *c)
{
	enum say say;

	if (c->waiting == NOBODY_WAITS)
		return;
	say = verdict(c->mod, c->waiting == RCPT_WAITS);
	if (say != SAY_WAIT)
		mod_go(c->mod, say);
}

static void test_may_be_done(struct loop_timer *t)
{
	look_again(SUPER(t, struct dnsbl_conn, look));
}

/* ---- who is asked about ------------------------------------------------------------ */

void dnsbl_looked_up(struct dnsbl_lookup *l)
{
	struct dnsbl_conn *c = l->mod->conn;
	unsigned           counter = l->found == NO_ANSWER ? FAILED : l->found != IS_LISTED ? CLEAR
	                           : dnsbl_health(l) == DNSBL_BAD ? UNUSED : LISTED;

	stat_add(l->mod->stats + counter, 1);
	if (--c->out == 0)
		look_again(c);
}

static struct dnsbl_lookup *places(struct mod *m, struct arena *a)
{
	struct dnsbl_lookup *set = ARENA_ARRAY(a, struct dnsbl_lookup, dnsbl_zones(m)->n);

	for (size_t i = 0; set != NULL && i < dnsbl_zones(m)->n; i++)
		set[i] = (struct dnsbl_lookup){ .mod = m, .zone = dnsbl_zones(m)->v[i] };
	return set;
}

static void cancel(const struct mod *m, struct dnsbl_lookup *set)
{
	struct dnsbl_conn *c = m->conn;

	for (size_t i = 0; set != NULL && i < dnsbl_zones(m)->n; i++) {
		c->out -= set[i].found == OUT;
		dns_cancel(&set[i].address);
		dns_cancel(&set[i].text);
		set[i].found = set[i].found == OUT ? NOT_ASKED : set[i].found;
	}
}

static bool is_wanted(const struct mod *m, const struct dnsbl_zone *z)
{
	return !dnsbl_exempts_client(z, &m->peer->addr.sa);
}

static void ask(struct mod *m, struct dnsbl_lookup *l, const struct dnsbl_zone *z, str question,
                str subject, struct dnsbl_memory at)
{
	struct dnsbl_conn *c = m->conn;

	dnsbl_ask(m, l, z, question, subject, at);
	c->out += l->found == OUT;
}

static void ask_ip(struct mod *m, struct dnsbl_conn *c)
{
	struct dnsbl_memory at = { &c->scratch, m->conn_arena };

	c->ip = places(m, m->conn_arena);
	for (size_t i = 0; c->ip != NULL && i < dnsbl_zones(m)->n; i++) {
		const struct dnsbl_zone *z = dnsbl_zones(m)->v[i];

		if (z->type == DNSBL_IP && is_wanted(m, z))
			ask(m, &c->ip[i], z,
			    dnsbl_question_ip(m->conn_arena, z, &m->peer->addr.sa), m->peer->ip, at);
	}
}

static void ask_name(struct mod *m, struct dnsbl_lookup *set, size_t of, str name,
		     struct dnsbl_memory at)
{
	for (size_t i = 0; set != NULL && i < dnsbl_zones(m)->n; i++) {
		const struct dnsbl_zone *z = dnsbl_zones(m)->v[i];

		if (*(const bool *)((const char *)z + of) && is_wanted(m, z) &&
		    !dnsbl_exempts_name(z, name))
			ask(m, &set[i], z, dnsbl_question_name(at.keep, z, name), name, at);
	}
}

/* ---- hooks ------------------------------------------------------------------------- */

static bool concerned(const struct mod *m)
{
	return dnsbl_zones(m)->n > 0 && !m->peer->submission && mod_excused(m) == NULL &&
	       (m->in == NULL || m->in->origin == FROM_STRANGER);
}

static void ask_ptr(struct mod *m)
{
	struct dnsbl_conn          *c = m->conn;
	const struct iprev_outcome *o = iprev_state_outcome(mod_other_conn(m, &iprev_module));

	if (o == NULL || o->result != IPREV_PASS)
		return;
	c->ptr = places(m, m->conn_arena);
	ask_name(m, c->ptr, offsetof(struct dnsbl_zone, by_ptr), o->name,
		 (struct dnsbl_memory){&c->scratch, m->conn_arena});
}

static void ptr_known(struct iprev_wait *w)
{
	struct dnsbl_conn *c = SUPER(w, struct dnsbl_conn, ptr_wait);

	c->ptr_out = false;
	ask_ptr(c->mod);
	if (c->out == 0)
		look_again(c);
}

static bool asks_ptr(const struct mod *m)
{
	for (size_t i = 0; i < dnsbl_zones(m)->n; i++)
		if (((const struct dnsbl_zone *)dnsbl_zones(m)->v[i])->by_ptr)
			return true;
	return false;
}

static enum say connect_hook(struct mod *m)
{
	struct dnsbl_conn *c = m->conn;

	c->mod = m;
	if (!concerned(m))
		return SAY_NEXT;
	arena_init(&c->scratch, SCRATCH_MAX);
	loop_timer_init(&c->look, m->loop, "dnsbl.test", test_may_be_done);
	ask_ip(m, c);
	if (asks_ptr(m)) {
		c->ptr_out = iprev_wait(mod_other_conn(m, &iprev_module), &c->ptr_wait, ptr_known);
		if (!c->ptr_out)
			ask_ptr(m);
	}
	return SAY_NEXT;
}

static enum say helo(struct mod *m, str name)
{
	struct dnsbl_conn *c = m->conn;

	if (!concerned(m) || c->mod == NULL)
		return SAY_NEXT;
	if (c->helo == NULL)
		c->helo = places(m, m->conn_arena);
	else
		cancel(m, c->helo);
	for (size_t i = 0; c->helo != NULL && i < dnsbl_zones(m)->n; i++)
		c->helo[i].found = NOT_ASKED;
	ask_name(m, c->helo, offsetof(struct dnsbl_zone, by_helo), name,
		 (struct dnsbl_memory){&c->scratch, m->conn_arena});
	return SAY_NEXT;
}

static enum say mail(struct mod *m, const struct path *from)
{
	struct dnsbl_conn *c = m->conn;
	struct dnsbl_msg  *d = m->msg;

	if (!concerned(m) || c->mod == NULL || from->is_null || from->is_literal)
		return SAY_NEXT;
	d->sender = places(m, m->arena);
	ask_name(m, d->sender, offsetof(struct dnsbl_zone, by_sender), from->domain,
		 (struct dnsbl_memory){m->arena, m->arena});
	return SAY_NEXT;
}

static enum say rcpt(struct mod *m, const struct path *to)
{
	const struct dnsbl_conn *c = m->conn;

	return concerned(m) && c->mod != NULL && !role_is_open(to) ? verdict(m, true) : SAY_NEXT;
}

static enum say message(struct mod *m)
{
	const struct dnsbl_conn *c = m->conn;

	return concerned(m) && c->mod != NULL ? verdict(m, false) : SAY_NEXT;
}

static void done(struct mod *m)
{
	struct dnsbl_conn *c = m->conn;

	cancel(m, ((struct dnsbl_msg *)m->msg)->sender);
	c->waiting = NOBODY_WAITS;
	if (c->mod != NULL && c->look.loop != NULL)
		loop_timer_stop(&c->look);
}

static void gone(struct mod *m)
{
	struct dnsbl_conn *c = m->conn;

	iprev_wait_end(&c->ptr_wait);
	if (c->look.loop != NULL)
		loop_timer_stop(&c->look);
	cancel(m, c->ip);
	cancel(m, c->helo);
	cancel(m, c->ptr);
	arena_fini(&c->scratch);
}

/* ---- what is told --------------------------------------------------------------------- */

static const struct dnsbl_finding *findings(const struct mod *m, size_t *n)
{
	*n = 0;
	if (m->in == NULL || !concerned(m))
		return NULL;
	return dnsbl_findings(m->conn, m->msg, m->arena, n);
}

/* Allow lists have a method (RFC 8904); block lists have none. */
static void results(const struct mod *m, struct authres *r)
{
	size_t n;
	const struct dnsbl_finding *v = findings(m, &n);

	for (size_t i = 0; i < n; i++) {
		if (v[i].action != DNSBL_ACCEPT || !v[i].asked)
			continue;
		authres_method(r, "dnswl", v[i].listed ? "pass" : "none", STR_NONE);
		authres_property(r, "dns.zone", v[i].zone);
		if (v[i].listed)
			authres_property(r, "policy.ip", v[i].answer);
		if (v[i].listed && v[i].reason.n > 0)
			authres_property(r, "policy.txt", v[i].reason);
	}
}

static void judged(const struct mod *m, struct judged *j)
{
	size_t n;
	const struct dnsbl_finding *v = findings(m, &n);
	bool listed = false;

	for (size_t i = 0; i < n; i++) {
		if (!v[i].listed || v[i].action == DNSBL_ACCEPT)
			continue;
		listed = true;
		judged_add(j, "dnsbl", str_cstr(m->arena, v[i].zone),
		           v[i].reason.n > 0 ? v[i].reason : v[i].answer);
	}
	if (n > 0 && !listed)
		judged_add(j, "dnsbl", "clear", STR_NONE);
}

static bool rests(const void *conf)
{
	return conf == NULL || ((const struct conf_list *)conf)->n == 0;
}

static const char *const after[] = { "iprev", "deny", NULL };

const struct module dnsbl_module = {
	.name      = "dnsbl",
	.after     = after,
	.section   = &dnsbl_section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.conn_size = sizeof(struct dnsbl_conn),
	.msg_size  = sizeof(struct dnsbl_msg),
	.rests     = rests,
	.setup     = dnsbl_setup,
	.connect   = connect_hook,
	.helo      = helo,
	.mail      = mail,
	.rcpt      = rcpt,
	.message   = message,
	.results   = results,
	.judged    = judged,
	.done      = done,
	.gone      = gone,
};
