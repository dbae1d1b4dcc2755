/* SPDX-License-Identifier: ISC */
/*
 * deny_module: refuses whom the administrator named, at RCPT, so that
 * postmaster and abuse stay reachable for those who want to know why.
 *
 * Who is met at connect, HELO or MAIL holds the other modules back: nobody
 * asks DNS about him, but for the PTR that an entry may be about.  When a
 * recipient lets him go on, they are asked what they missed.  Submission is not
 * concerned: there a login decides.  Loop thread.
 */
#include <string.h>

#include "modules/deny/deny.h"
#include "modules/iprev/iprev.h"
#include "modules/module.h"
#include "modules/role.h"
#include "smtpd/base/clock.h"

enum { PTR_ASKED = DENY_KINDS };

static const struct stat_def stats[] = {
	[DENY_CLIENT]    = { "client",    "recipients refused for the client's address" },
	[DENY_PTR]       = { "ptr",       "recipients refused for the client's name" },
	[DENY_HELO]      = { "helo",      "recipients refused for the name in HELO" },
	[DENY_SENDER]    = { "sender",    "recipients refused for the sender" },
	[DENY_RECIPIENT] = { "recipient", "recipients that are denied" },
	[PTR_ASKED]      = { "waited",    "connections that waited for the client's name" },
};

struct deny_state {                       /* of the connection */
	struct mod       *mod;
	struct iprev_wait wait;
	const struct deny_hit *client, *helo;   /* NULL: not met */
};

struct deny_msg {
	const struct deny_hit *sender;
};

static const struct deny_conf *conf_of(const struct mod *m)
{
	static const struct deny_conf nobody;

	return m->conf != NULL ? m->conf : &nobody;
}

/* ---- looking up: the configuration's entries, then those of run time --------- */

struct subject {
	enum deny_kind kind;
	const struct sockaddr *ip;
	str name;
	const struct path *path;
};

static const struct deny_entry *find_in(const struct deny_table *t, const struct subject *s)
{
	int64_t now = clock_wall();

	if (s->ip != NULL)
		return deny_find_client(t, s->ip, now);
	if (s->path != NULL)
		return deny_find_path(t, s->kind, s->path, now);
	return deny_find_name(t, s->kind, s->name, now);
}

static const struct deny_table *live_table(const struct mod *m)
{
	struct deny_live *live = conf_of(m)->live;

	return live != NULL ? atomic_load_explicit(&live->table, memory_order_acquire) : NULL;
}

/* Copies what it found: the live table may be gone at the loop's next turn.  NULL:
 * nothing.  Who was found is not let pass for want of memory. */
static const struct deny_hit *look_up(struct mod *m, const struct subject *s, struct arena *a)
{
	static const struct deny_hit no_memory = { .code = 452, .esc = "4.3.1" };
	const struct deny_entry *e = find_in(conf_of(m)->fixed, s);
	struct deny_hit         *hit;

	if (e == NULL)
		e = find_in(live_table(m), s);
	if (e == NULL)
		return NULL;
	hit = ARENA_NEW(a, struct deny_hit);
	if (hit == NULL)
		return &no_memory;
	*hit = (struct deny_hit){
		.kind = s->kind,
		.name = str_keep(a, e->name),
		.value = str_keep(a, e->value),
		.code = e->code,
		.esc = str_cstr(a, str_of(e->esc)),
		.text = str_keep(a, e->text),
	};
	return hit;
}

static const struct deny_hit *hit_of(const struct deny_state *c, const struct deny_msg *d)
{
	if (c != NULL && c->client != NULL)
		return c->client;
	if (c != NULL && c->helo != NULL)
		return c->helo;
	return d != NULL ? d->sender : NULL;
}

static void hold_or_release(struct mod *m)
{
	if (hit_of(m->conn, m->msg) != NULL)
		mod_hold(m);
	else
		mod_release(m);
}

/* ---- the refusal -------------------------------------------------------------- */

static str general_text(struct mod *m, const struct deny_hit *h)
{
	static const char *const about[] = {
		[DENY_CLIENT] = "your address",	     [DENY_PTR] = "the name of your address",
		[DENY_HELO] = "your HELO name",	     [DENY_SENDER] = "this sender",
		[DENY_RECIPIENT] = "this recipient",
	};

	if (h->kind == DENY_RECIPIENT)
		return STR("No mail is taken for this recipient");
	return arena_printf(m->arena,
			    "Mail is refused here for %s (%.*s); postmaster@%.*s can tell why",
			    about[h->kind], STR_ARG(h->value), STR_ARG(m->in->host));
}

static enum say refused(struct mod *m, const struct deny_hit *h)
{
	stat_add(m->stats + h->kind, 1);
	mod_reply(m, h->code, h->esc, h->text.n > 0 ? h->text : general_text(m, h));
	return h->code < 500 ? SAY_DEFER : SAY_REJECT;
}

/* ---- hooks -------------------------------------------------------------------- */

static bool concerned(const struct mod *m)
{
	return !m->peer->submission && (m->in == NULL || m->in->origin == FROM_STRANGER) &&
	       mod_excused(m) == NULL;
}

static void look_at_ptr(struct mod *m)
{
	struct deny_state          *c = m->conn;
	const struct iprev_outcome *o = iprev_state_outcome(mod_other_conn(m, &iprev_module));

	if (o != NULL && o->name.n > 0)
		c->client = look_up(m, &(struct subject){ .kind = DENY_PTR, .name = o->name }, m->conn_arena);
}

static void ptr_known(struct iprev_wait *w)
{
	struct deny_state *c = SUPER(w, struct deny_state, wait);

	look_at_ptr(c->mod);
	hold_or_release(c->mod);
	mod_go(c->mod, SAY_NEXT);
}

static enum say connect_hook(struct mod *m)
{
	struct deny_state *c = m->conn;
	struct subject s = { .kind = DENY_CLIENT, .ip = &m->peer->addr.sa };

	c->mod = m;
	if (!concerned(m))
		return SAY_NEXT;
	c->client = look_up(m, &s, m->conn_arena);
	if (c->client == NULL &&
	    (deny_table_has(conf_of(m)->fixed, DENY_PTR) || deny_table_has(live_table(m), DENY_PTR))) {
		if (iprev_wait(mod_other_conn(m, &iprev_module), &c->wait, ptr_known)) {
			stat_add(m->stats + PTR_ASKED, 1);
			return SAY_WAIT;
		}
		look_at_ptr(m);
	}
	hold_or_release(m);
	return SAY_NEXT;
}

static enum say helo(struct mod *m, str name)
{
	struct deny_state *c = m->conn;

	if (!concerned(m))
		return SAY_NEXT;
	c->helo = look_up(m, &(struct subject){ .kind = DENY_HELO, .name = name }, m->conn_arena);
	hold_or_release(m);
	return SAY_NEXT;
}

static enum say mail(struct mod *m, const struct path *from)
{
	struct deny_msg *d = m->msg;

	if (!concerned(m))
		return SAY_NEXT;
	d->sender = look_up(m, &(struct subject){ .kind = DENY_SENDER, .path = from }, m->arena);
	hold_or_release(m);
	return SAY_NEXT;
}

static enum say rcpt(struct mod *m, const struct path *to)
{
	const struct deny_hit *hit = hit_of(m->conn, m->msg);

	if (!concerned(m))
		return SAY_NEXT;
	if (role_is_open(to)) {
		mod_release(m);
		return SAY_NEXT;
	}
	if (hit == NULL)
		hit = look_up(m, &(struct subject){ .kind = DENY_RECIPIENT, .path = to }, m->arena);
	return hit != NULL ? refused(m, hit) : SAY_NEXT;
}

/* A message without recipients is judged for verify and explain alone. */
static enum say message(struct mod *m)
{
	const struct deny_hit *hit = hit_of(m->conn, m->msg);

	return hit != NULL && m->in->nrcpts == 0 && concerned(m) ? refused(m, hit) : SAY_NEXT;
}

static void judged(const struct mod *m, struct judged *j)
{
	const struct deny_hit *hit = hit_of(m->conn, m->msg);

	if (hit != NULL)
		judged_add(j, "deny", deny_kind_word(hit->kind), hit->name);
}

static void gone(struct mod *m)
{
	iprev_wait_end(&((struct deny_state *)m->conn)->wait);
}

const struct deny_hit *deny_state_hit(const void *conn, const void *msg)
{
	return hit_of(conn, msg);
}

static const char *const after[] = { "iprev", NULL };

const struct module deny_module = {
	.name      = "deny",
	.after     = after,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.conn_size = sizeof(struct deny_state),
	.msg_size  = sizeof(struct deny_msg),
	.connect   = connect_hook,
	.helo      = helo,
	.mail      = mail,
	.rcpt      = rcpt,
	.message   = message,
	.judged    = judged,
	.gone      = gone,
};
