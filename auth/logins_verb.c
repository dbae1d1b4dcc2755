/* SPDX-License-Identifier: ISC */
/*
 * postern account logins ADDRESS: when, from where and by what somebody logged in,
 * or tried to; the newest first.  No threads.
 */
#include <stdio.h>

#include "auth/verb_inside.h"
#include "smtpd/base/json.h"

/* What its owner calls it; of one that is gone, its login name. */
static str label_of(const struct accounts *t, str by)
{
	const struct account *d = accounts_find(t, by);

	if (str_is(by, "-"))
		return STR_NONE;
	return d != NULL && d->fields.label.n > 0 ? d->fields.label : by;
}

static void show_json(const struct accounts *t, const struct login *v, size_t n)
{
	struct json *all = json_new_array();
	char when[FIELDS_TIME];

	for (size_t i = 0; i < n; i++) {
		struct json *j = json_add_object(all);

		json_set(j, "time", fields_time_text(v[i].when, when));
		json_set(j, "ip", v[i].ip);
		json_set(j, "mechanism", v[i].mechanism);
		json_set(j, "device", label_of(t, v[i].by));
		json_set_bool(j, "passed", str_is(v[i].result, "passed"));
		json_set(j, "result", v[i].result);
	}
	json_print(all, stdout);
}

static void show_text(const struct accounts *t, const struct login *v, size_t n)
{
	char when[FIELDS_TIME];

	for (size_t i = 0; i < n; i++) {
		str time = fields_time_text(v[i].when, when), label = label_of(t, v[i].by);

		printf("%.*s\t%.*s\t%.*s\t%.*s\t%.*s\n", STR_ARG(time), STR_ARG(v[i].ip),
		       STR_ARG(v[i].mechanism), STR_ARG(v[i].result), STR_ARG(label));
	}
}

int account_logins(struct work *w)
{
	const struct account *a;
	struct accounts *t;
	struct login *v;
	size_t n;
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	if (!logins_read(w->tools->logins, a->owner != NULL ? a->owner->key : a->key, &w->arena, &v, &n))
		status = fail_str(REFUSED, w, arena_printf(&w->arena, "%s cannot be read: run this as root or "
		                  "as the server's user", w->tools->logins));
	else if (w->wishes.json)
		show_json(t, v, n);
	else
		show_text(t, v, n);
	accounts_free(t);
	return status;
}
