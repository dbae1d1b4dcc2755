/* SPDX-License-Identifier: ISC */
/*
 * The real source of facts: the loop's resolver, the desk, connections.
 *
 * Each fact begun comes exactly once: an answer, or the time that it may take is
 * over.  What is on the desk has an arena of its own, which is freed at the end.
 * Loop thread, but for servers_work.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "queue/deliver/sts.h"
#include "smtpd/setup/deliver_test.h"
#include "smtpd/setup/doctor/facts.h"
#include "smtpd/setup/doctor/host.h"

struct work {                          /* one fact on its way */
	struct fact    *fact;
	struct dns_ask  ask;
	struct dns_answer answer;
	struct spf_query query;
	struct spf_check *spf;
	struct spf_tree_check *tree;
	struct sts_ask  sts_ask;
	struct sts_seen sts;
	struct probe    probe;
	struct policy   policy;
	struct talk     talk;
	struct servers_job *job;
};

static struct work *work_of(struct fact *f)
{
	struct work *w = ARENA_NEW(f->doctor->arena, struct work);

	must(w != NULL || f->doctor->arena->spent);
	if (w != NULL)
		w->fact = f;
	f->work = w;
	return w;
}

/* ---- DNS ------------------------------------------------------------------------------------ */

static void answered(struct dns_ask *ask, const struct dns_answer *a)
{
	struct work *w = ask->user;

	w->answer = *a;
	fact_came(w->fact, &w->answer);
}

static void begin_dns(struct work *w)
{
	struct doctor *d = w->fact->doctor;

	dns_ask(d->loop->dns, &w->ask, d->arena, w->fact->name, (enum dns_type)w->fact->number, 0, answered, w);
}

static void stop_dns(struct work *w)
{
	dns_cancel(&w->ask);
}

/* ---- SPF ------------------------------------------------------------------------------------- */

static void spf_came(struct spf_check *c, void *user)
{
	struct work *w = user;

	w->spf = NULL;
	fact_came(w->fact, spf_outcome(c));
}

static void begin_spf(struct work *w)
{
	struct doctor *d = w->fact->doctor;
	str domain = str_head(w->fact->name, str_find(w->fact->name, ' '));

	w->query = (struct spf_query){ .helo = domain, .limits = SPF_LIMITS_DEFAULT, .ip = w->fact->from,
		                       .receiver = d->host != NULL ? d->host->hostname : domain };
	path_build(d->arena, STR("postmaster"), domain, &w->query.sender);
	w->spf = spf_start(d->loop->dns, d->arena, &w->query, spf_came, w);
	if (w->spf == NULL)
		fact_came(w->fact, NULL);
}

static void stop_spf(struct work *w)
{
	if (w->spf != NULL)
		spf_cancel(w->spf);
}

static void tree_came(const struct spf_tree *t, void *user)
{
	struct work *w = user;

	w->tree = NULL;
	fact_came(w->fact, t);
}

static void begin_tree(struct work *w)
{
	struct doctor *d = w->fact->doctor;

	w->tree = spf_tree_start(d->loop->dns, d->arena, w->fact->name, tree_came, w);
	if (w->tree == NULL)
		fact_came(w->fact, NULL);
}

static void stop_tree(struct work *w)
{
	if (w->tree != NULL)
		spf_tree_cancel(w->tree);
}

/* ---- MTA-STS ------------------------------------------------------------------------------------ */

static void sts_came(struct sts_ask *ask, const struct sts_policy *p)
{
	struct work *w = ask->user;

	w->sts = (struct sts_seen){ *p, ask->fault, ask->why };
	fact_came(w->fact, &w->sts);
}

static void begin_sts(struct work *w)
{
	struct doctor *d = w->fact->doctor;

	w->sts_ask.user = w;
	if (d->sts != NULL)
		sts_find(d->sts, d->loop, d->arena, w->fact->name, &w->sts_ask, sts_came);
	else
		fact_came(w->fact, &w->sts);
}

static void stop_sts(struct work *w)
{
	sts_stop(&w->sts_ask);
}

/* ---- talks ---------------------------------------------------------------------------------------- */

static void talked(struct probe *p)
{
	struct work *w = p->user;
	struct talk *t = &w->talk;

	t->connected = p->greeting.n > 0 || p->tls_state.on || p->talked;
	t->greeted = p->greeted;
	t->said = p->said;
	t->starttls = p->starttls || (p->tls_state.on && !p->implicit);
	t->tls = p->tls_state;
	t->ncerts = p->ncerts < COUNT(t->certs) ? p->ncerts : COUNT(t->certs);
	memcpy(t->certs, p->certs, t->ncerts * sizeof(t->certs[0]));
	fact_came(w->fact, t);
}

static void begin_talk(struct work *w)
{
	struct doctor *d = w->fact->doctor;
	const struct talk_wish *wish = w->fact->wish;

	w->policy.expect = (struct tls_expect){ .name = wish->name, .tlsa = wish->tlsa, .ntlsa = wish->ntlsa };
	w->probe = (struct probe){
		.loop = d->loop, .arena = d->arena, .tls = d->tls, .policy = &w->policy, .implicit = wish->implicit,
		.hostname = d->host != NULL ? d->host->hostname : STR("localhost.localdomain"),
		.wait_ms = d->timeout_ms, .done = talked, .user = w,
	};
	probe_start(&w->probe, (const struct sockaddr *)&wish->to, wish->n);
}

static void stop_talk(struct work *w)
{
	probe_stop(&w->probe);
}

/* ---- authoritative servers -------------------------------------------------------------------------- */

struct servers_job {
	struct job     job;
	struct work   *work;           /* NULL: nobody waits any more */
	struct arena   arena;          /* of all that it reads and writes: it may outlive the doctor */
	struct dns_conf resolver;
	struct direct_conf conf;
	str            domain;
	struct shown_list wishes;
	struct servers_seen seen;
	_Atomic bool   stopped;
};

static void ask_one(struct servers_job *j, struct direct *direct, struct shown *s)
{
	const struct shown_wish *w = &s->wish;

	s->e = direct_ask(direct, &j->seen.zone, w->name, w->type, &j->arena, &s->replies, &s->n);
	if (s->e == OK && w->wanted.n > 0)
		gate_judge(&j->seen.zone, s->replies, s->n, w->name, w->wanted, &j->arena, &s->look);
	/* The name may lie in a zone of its own. */
	if (s->e == OK && w->wanted.n > 0 && s->look.sight != GATE_SHOWN)
		s->e = gate_look(direct, w->name, w->wanted, &j->arena, &s->look);
}

static void ask_all(struct servers_job *j, struct direct *direct)
{
	struct servers_seen *seen = &j->seen;

	seen->e = direct_zone_of(direct, j->domain, &j->arena, &seen->zone, &seen->why);
	seen->v = seen->e == OK ? ARENA_ARRAY(&j->arena, struct shown, j->wishes.n + 2) : NULL;
	if (seen->v == NULL)
		return;
	seen->v[0].wish = (struct shown_wish){ .name = seen->zone.name, .type = DNS_SOA };
	seen->v[1].wish = (struct shown_wish){ .name = seen->zone.name, .type = DNS_NS };
	for (size_t i = 0; i < j->wishes.n; i++)
		seen->v[i + 2].wish = j->wishes.v[i];
	for (seen->n = 0; seen->n < j->wishes.n + 2 && !atomic_load(&j->stopped); seen->n++)
		ask_one(j, direct, &seen->v[seen->n]);
}

static void servers_work(struct job *job)
{
	struct servers_job *j = SUPER(job, struct servers_job, job);
	struct direct *direct = atomic_load(&j->stopped) ? NULL : direct_open(&j->conf, &j->arena, &j->seen.why);

	j->seen.e = ERR_BUSY;
	if (direct == NULL)
		return;
	ask_all(j, direct);
	direct_close(direct);
}

static void servers_home(struct baton *b)
{
	struct servers_job *j = SUPER(SUPER(b, struct job, baton), struct servers_job, job);
	struct work *w = j->work;

	if (w == NULL) {                /* nobody waits any more */
		arena_fini(&j->arena);
		free(j);
		return;
	}
	fact_came(w->fact, &j->seen);
}

static bool copy_wishes(struct servers_job *j, const struct shown_list *from)
{
	struct shown_wish *v = ARENA_ARRAY(&j->arena, struct shown_wish, from->n + 1);

	for (size_t i = 0; v != NULL && i < from->n; i++)
		v[i] = (struct shown_wish){ str_keep(&j->arena, from->v[i].name), from->v[i].type, str_keep(&j->arena, from->v[i].wanted) };
	j->wishes = (struct shown_list){ v, from->n };
	return v != NULL;
}

static bool copy_resolver(struct servers_job *j, const struct direct_conf *from)
{
	const struct dns_conf *r = from->resolver;
	str *v = ARENA_ARRAY(&j->arena, str, r->forward.n + 1);

	for (size_t i = 0; v != NULL && i < r->forward.n; i++)
		v[i] = str_keep(&j->arena, r->forward.v[i]);
	j->resolver = *r;
	j->resolver.forward.v = v;
	j->resolver.only = str_keep(&j->arena, r->only);
	j->resolver.trust_anchor = str_keep(&j->arena, r->trust_anchor);
	j->resolver.local = (struct strs){ 0 };
	j->conf = *from;
	j->conf.resolver = &j->resolver;
	return v != NULL;
}

static struct servers_job *job_new(struct work *w)
{
	struct doctor *d = w->fact->doctor;
	struct servers_job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	arena_init(&j->arena, ARENA_UNBOUNDED);
	j->work = w;
	j->domain = str_keep(&j->arena, w->fact->name);
	j->job.work = servers_work;
	j->job.baton.home = d->loop->mbox;
	j->job.baton.arrived = servers_home;
	if (copy_wishes(j, w->fact->wish) && copy_resolver(j, d->direct))
		return j;
	arena_fini(&j->arena);
	free(j);
	return NULL;
}

static void begin_servers(struct work *w)
{
	static const struct servers_seen nobody = { .e = ERR_BUSY, .why = STR("nobody could be asked") };
	struct doctor *d = w->fact->doctor;

	w->job = d->desk != NULL && d->direct != NULL ? job_new(w) : NULL;
	if (w->job != NULL)
		desk_submit_anyway(d->desk, &w->job->job);
	else
		fact_came(w->fact, &nobody);
}

/* It ends behind the question that it is at, and finds nobody at home. */
static void stop_servers(struct work *w)
{
	if (w->job != NULL)
		atomic_store(&w->job->stopped, true);
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

static const struct { void (*begin)(struct work *), (*stop)(struct work *); } kinds[] = {
	[FACT_DNS] = { begin_dns, stop_dns },
	[FACT_SPF] = { begin_spf, stop_spf },
	[FACT_SPF_TREE] = { begin_tree, stop_tree },
	[FACT_STS] = { begin_sts, stop_sts },
	[FACT_SERVERS] = { begin_servers, stop_servers },
	[FACT_TALK] = { begin_talk, stop_talk },
};

static void begin(struct fact *f)
{
	struct work *w = work_of(f);

	if (w != NULL)
		kinds[f->kind].begin(w);
	else
		fact_came(f, NULL);
}

static void stop(struct fact *f)
{
	if (f->work != NULL)
		kinds[f->kind].stop(f->work);
}

static void close_all(struct doctor *d)
{
	for (struct fact *f = d->facts; f != NULL; f = f->next) {
		struct work *w = f->work;
		struct servers_job *j = w != NULL ? w->job : NULL;

		if (j == NULL)
			continue;
		w->job = NULL;
		j->work = NULL;
		if (f->known) {
			arena_fini(&j->arena);
			free(j);
		}
	}
}

const struct fact_source fact_source = { .begin = begin, .stop = stop, .close = close_all };
