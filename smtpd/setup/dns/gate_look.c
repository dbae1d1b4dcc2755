/* SPDX-License-Identifier: ISC */
/*
 * One look through the gate: the zone of a name, all its servers asked, their
 * answers judged; an alias that all agree on is followed.  Blocks.
 */
#include <string.h>

#include "smtpd/base/dns_name.h"
#include "smtpd/setup/dns/direct_inside.h"

enum { ALIASES_MAX = 8 };

/* A top level's servers know nothing of a domain below them that is not delegated. */
static bool is_undelegated(const struct direct_zone *z, str name)
{
	static const str mark = { "._domainkey.", 12 };
	str last = str_skip(name, str_rfind(name, '.') + 1);

	if (!str_eq_nocase(z->name, last))
		return false;
	return !(name.n > mark.n + last.n &&
	         str_starts_nocase(str_skip(name, name.n - last.n - mark.n), "._domainkey."));
}

static enum err nowhere(enum err e, str why, struct gate_look *look)
{
	look->said = why;
	if (e != ERR_ABSENT)
		return e;
	look->sight = GATE_NOWHERE;
	return OK;
}

static enum err look_once(struct direct *d, str name, str wanted, struct arena *a, struct gate_look *look)
{
	struct direct_reply *replies = NULL;
	struct direct_zone zone;
	str why = STR_NONE;
	size_t n = 0;
	enum err e = direct_zone_of(d, name, a, &zone, &why);

	*look = (struct gate_look){ .sight = GATE_SILENT };
	if (e == OK && is_undelegated(&zone, name)) {
		why = arena_printf(a, "%.*s is not in DNS: no server below the top level %.*s holds it", STR_ARG(name),
		                   STR_ARG(zone.name));
		e = ERR_ABSENT;
	}
	if (e != OK)
		return nowhere(e, why, look);
	e = direct_ask(d, &zone, name, DNS_TXT, a, &replies, &n);
	if (e != OK) {
		look->said = arena_printf(a, "the servers could not be asked: %s", err_text(e));
		return e;
	}
	gate_judge(&zone, replies, n, name, wanted, a, look);
	look->name = name;
	look->zone = zone;
	look->replies = replies;
	look->nreplies = n;
	return OK;
}

/* Who was silent on the way to an alias is silent still. */
static void keep_silent(const struct strs *before, struct arena *a, struct gate_look *look)
{
	str *all = before->n > 0 ? ARENA_ARRAY(a, str, before->n + look->silent.n) : NULL;

	if (all == NULL)
		return;
	memcpy(all, before->v, before->n * sizeof(str));
	if (look->silent.n > 0)
		memcpy(all + before->n, look->silent.v, look->silent.n * sizeof(str));
	look->silent = (struct strs){ all, before->n + look->silent.n };
}

enum err gate_look(struct direct *d, str name, str wanted, struct arena *a, struct gate_look *look)
{
	str checked = dns_name_check(name), first = checked;
	struct strs silent = { 0 };
	enum err e = OK;

	*look = (struct gate_look){ .sight = GATE_SILENT };
	if (checked.n == 0) {
		look->said = arena_printf(a, "\"%.*s\" is no name that DNS can hold", STR_ARG(name));
		return ERR_BAD;
	}
	for (unsigned i = 0; i <= ALIASES_MAX; i++) {
		e = look_once(d, checked, wanted, a, look);
		keep_silent(&silent, a, look);
		silent = look->silent;
		if (e != OK || look->alias.n == 0)
			break;
		checked = look->alias;
	}
	if (look->alias.n > 0)
		look->said = arena_printf(a, "%.*s is an alias of an alias of an alias, %d deep: publish the record itself",
		                          STR_ARG(first), ALIASES_MAX);
	else if (!str_eq(first, checked))
		look->said = arena_printf(a, "%.*s (an alias of %.*s)", STR_ARG(look->said), STR_ARG(checked));
	return e;
}
