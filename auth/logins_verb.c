/* SPDX-License-Identifier: ISC */
/*
 * postern account logins ADDRESS: when, from where and by what somebody logged in,
 * or tried to; the newest first.  No threads.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

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

/* ---- a table for people ------------------------------------------------------------- */

#define COLUMNS 5

/* The clock on the wall, and which one that is. */
static str local_time(struct arena *a, int64_t when)
{
	time_t t = (time_t)when;
	char text[64];
	struct tm tm;

	if (localtime_r(&t, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
		return STR("?");
	return str_keep(a, str_of(text));
}

/* What stands beneath each other begins in one column, in cells of a terminal:
 * labels are any UTF-8. */
static size_t width_of(str text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

static void fill_row(struct arena *a, const struct accounts *t, const struct login *v, str cell[static COLUMNS])
{
	cell[0] = local_time(a, v->when);
	cell[1] = v->ip;
	cell[2] = v->mechanism;
	cell[3] = v->result;
	cell[4] = label_of(t, v->by);
}

static void print_row(const str cell[static COLUMNS], const size_t width[static COLUMNS])
{
	size_t last = COLUMNS - 1;

	while (last > 0 && cell[last].n == 0)
		last--;
	for (size_t c = 0; c < last; c++)
		printf("%.*s%*s", STR_ARG(cell[c]), (int)(width[c] - width_of(cell[c]) + 2), "");
	printf("%.*s\n", STR_ARG(cell[last]));
}

static void show_text(struct arena *a, const struct accounts *t, const struct login *v, size_t n)
{
	static const str heads[COLUMNS] = { STR("TIME"), STR("FROM"), STR("MECHANISM"), STR("RESULT"), STR("DEVICE") };
	str (*rows)[COLUMNS] = arena_alloc(a, (n + 1) * sizeof(*rows));
	size_t width[COLUMNS] = { 0 };

	if (rows == NULL || n == 0)
		return;
	memcpy(rows[0], heads, sizeof(heads));
	for (size_t i = 0; i < n; i++)
		fill_row(a, t, &v[i], rows[i + 1]);
	for (size_t i = 0; i <= n; i++)
		for (size_t c = 0; c < COLUMNS; c++)
			if (width_of(rows[i][c]) > width[c])
				width[c] = width_of(rows[i][c]);
	for (size_t i = 0; i <= n; i++)
		print_row(rows[i], width);
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
		show_text(&w->arena, t, v, n);
	accounts_free(t);
	return status;
}
