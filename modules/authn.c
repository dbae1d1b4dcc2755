/* SPDX-License-Identifier: ISC */
/*
 * authn: our Authentication-Results, and which fields from outside pretend to
 * be ours (RFC 8601 5).  What cannot be read might be read as ours by somebody
 * else, so it counts as forged.  Pure but for the chain's results; loop thread.
 */
#include <string.h>

#include "modules/authn.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/trace.h"

/* Names are compared as DNS would: case, a root dot and the script apart. */
static str comparable(struct arena *a, str name)
{
	str ascii;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	return domain_to_ascii(a, name, &ascii) ? ascii : name;
}

static bool same_name(struct arena *a, str theirs, str ours)
{
	return str_eq_nocase(theirs, ours) ||
	       str_eq_nocase(comparable(a, theirs), comparable(a, ours));
}

bool authn_forged(struct arena *a, const struct field *f, str authserv_id, str host)
{
	str theirs = STR_NONE;

	if (field_is(f, "Authentication-Results"))
		return !authres_id(a, f->value, &theirs) || same_name(a, theirs, authserv_id);
	if (field_is(f, "Received-SPF"))
		return !trace_received_spf_receiver(a, f->value, &theirs) || theirs.n == 0 ||
		       same_name(a, theirs, host);
	return false;
}

str authn_field(struct chain_conn *c, struct arena *a, str authserv_id, str login)
{
	struct authres r;

	authres_init(&r, a, authserv_id);
	if (login.n > 0) {
		authres_method(&r, "auth", "pass", STR_NONE);
		authres_property(&r, "smtp.auth", login);
	}
	chain_results(c, &r);
	return authres_field(&r, "Authentication-Results");
}

/* ---- the log's line ---------------------------------------------------------- */

static struct log_kv *said_before(struct judged *j, const char *key)
{
	for (size_t i = 0; i < j->n; i++)
		if (strcmp(j->v[i].key, key) == 0)
			return &j->v[i];
	return NULL;
}

static bool room_for(struct judged *j)
{
	size_t         room = j->room ? 2 * j->room : 32;
	struct log_kv *v;

	if (j->n < j->room)
		return true;
	v = ARENA_ARRAY(j->arena, struct log_kv, room);
	if (v == NULL)
		return false;
	if (j->n > 0)
		memcpy(v, j->v, j->n * sizeof(*v));
	j->v = v;
	j->room = room;
	return true;
}

/* Values are cut by the log; what is joined is kept short here already. */
static void put(struct judged *j, const char *key, str value, const char *between)
{
	struct log_kv *old = said_before(j, key);

	if (old != NULL && old->s.n < LOG_VALUE)
		old->s = arena_printf(j->arena, "%.*s%s%.*s", STR_ARG(old->s), between,
				      STR_ARG(str_head(value, LOG_VALUE)));
	else if (old == NULL && room_for(j))
		j->v[j->n++] = KV(key, str_keep(j->arena, str_head(value, LOG_VALUE)));
}

void judged_add(struct judged *j, const char *method, const char *verdict, str reason)
{
	put(j, method, str_of(verdict), ",");
	if (reason.n > 0) {
		const char *key = str_cstr(j->arena, arena_printf(j->arena, "%s_reason", method));

		if (key != NULL)
			put(j, key, reason, "; ");
	}
}

static void method_seen(void *arg, const char *method, const char *result, str reason)
{
	judged_add(arg, method, result, reason);
}

void authn_judged(struct chain_conn *c, struct arena *a, struct judged *j)
{
	struct authres r;

	*j = (struct judged){ .arena = a };
	authres_init(&r, a, STR_NONE);
	r.seen = method_seen;
	r.seen_arg = j;
	chain_results(c, &r);
	chain_judged(c, j);
}
