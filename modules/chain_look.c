/* SPDX-License-Identifier: ISC */
/*
 * chain_look: what askers see of a chain, and what modules see and say beside
 * their answers.  Loop thread.
 */
#include <string.h>

#include "modules/chain_inside.h"
#include "smtpd/base/err.h"

const struct verdict *chain_verdict(const struct chain_conn *c)
{
	return &c->verdict;
}

const struct verdict *chain_would_refuse(const struct chain_conn *c)
{
	return c->conn_would != NULL ? c->conn_would : c->msg_would;
}

void mod_hold(struct mod *m)
{
	m->chain->held = true;
}

void mod_release(struct mod *m)
{
	m->chain->held = false;
}

void mod_vouch(struct mod *m, const struct trust_entry *e)
{
	struct chain_conn *c = m->chain;

	must(c->in != NULL);
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->seats[i]->msg_excuse == NULL && trust_skips(e, c->chain->modules[i]->name))
			c->seats[i]->msg_excuse = e;
}

void mod_fragile(struct mod *m, str why)
{
	m->chain->fragile = str_keep(m->arena, why);
}

str chain_fragile(const struct chain_conn *c)
{
	return c->fragile;
}

const struct trust_entry *mod_excused(const struct mod *m)
{
	return chain_excuse(m->chain->seats[m->index]);
}

const struct trust_entry *mod_excused_as(const struct mod *m, const struct module *other)
{
	return chain_excused(m->chain, other);
}

static const struct mod *seat_of(const struct chain_conn *c, const struct module *m)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i] == m && c->seats[i] != NULL)
			return &c->seats[i]->mod;
	return NULL;
}

const struct trust_entry *chain_excused(const struct chain_conn *c, const struct module *m)
{
	for (size_t i = 0; i < c->chain->n; i++)
		if (c->chain->modules[i] == m && c->seats[i] != NULL)
			return chain_excuse(c->seats[i]);
	return NULL;
}

const void *chain_msg(const struct chain_conn *c, const struct module *m)
{
	const struct mod *mod = seat_of(c, m);

	return mod != NULL ? mod->msg : NULL;
}

const void *chain_connstate(const struct chain_conn *c, const struct module *m)
{
	const struct mod *mod = seat_of(c, m);

	return mod != NULL ? mod->conn : NULL;
}

const void *mod_other_msg(const struct mod *m, const struct module *other)
{
	return chain_msg(m->chain, other);
}

const void *mod_other_conn(const struct mod *m, const struct module *other)
{
	return chain_connstate(m->chain, other);
}

void mod_reply(struct mod *m, int code, const char *esc, str text)
{
	static const struct said no_memory = { .code = 452, .esc = "4.3.1", .of_message = true };
	struct said *said = ARENA_NEW(m->arena, struct said);

	if (said != NULL)
		*said = (struct said){
			.code = code,
			.esc = esc,
			.text = str_keep(m->arena, text),
			.of_message = m->arena != m->conn_arena,
		};
	m->chain->seats[m->index]->said = said != NULL ? said : &no_memory;
}

void mod_set_ptr(struct mod *m, str confirmed_name)
{
	m->chain->peer->ptr = confirmed_name;
}

void added_field(struct added *a, str field)
{
	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 8;
		str   *v = ARENA_ARRAY(a->arena, str, room);

		if (v == NULL)
			return;          /* the arena is spent, and its owner looks at that */
		if (a->n)
			memcpy(v, a->v, a->n * sizeof(*v));
		a->v = v;
		a->room = room;
	}
	a->v[a->n++] = str_keep(a->arena, field);
}
