/* SPDX-License-Identifier: ISC */
/*
 * postern account app-password add|list|remove.
 *
 * A device password is a line of its own: a login name, a SCRAM verifier, and
 * user=ACCOUNT with what else is to be known among the extra fields, so that
 * Dovecot takes it as it is.  It is printed once and kept nowhere.  No threads.
 */
#include <stdio.h>
#include <string.h>

#include "auth/verb_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"

/* ---- add ------------------------------------------------------------------------- */

/* alice+phone@example.org, or with a number behind when that name is taken. */
static str free_name(struct work *w, const struct accounts *t, str label)
{
	size_t at = str_rfind(w->key, '@');
	str local = str_head(w->key, at), domain = str_skip(w->key, at);
	str slug = device_slug(&w->arena, label), number, name, key;
	char mark[2] = { w->tools->mark, '\0' };

	for (unsigned i = 1; i < 100; i++) {
		number = i > 1 ? arena_printf(&w->arena, "%u", i) : STR_NONE;
		name = arena_printf(&w->arena, "%.*s%s%.*s%.*s%.*s", STR_ARG(local), mark,
				    STR_ARG(slug), STR_ARG(number), STR_ARG(domain));
		if (accounts_key(&w->arena, name, &key) && accounts_find(t, key) == NULL)
			return key;
	}
	return STR_NONE;
}

static str join(struct arena *a, const struct strs *v)
{
	str out = STR_NONE;

	for (size_t i = 0; i < v->n; i++)
		out = arena_printf(a, "%.*s%s%.*s", STR_ARG(out), i > 0 ? "," : "",
				   STR_ARG(v->v[i]));
	return out;
}

static str extra_fields(struct work *w, str label, const struct quick *quick)
{
	const struct wishes *o = &w->wishes;
	struct arena *a = &w->arena;
	char made[FIELDS_TIME];
	str s = arena_printf(a, "user=%.*s", STR_ARG(w->key)), part;

	if (o->from.n > 0) {
		part = join(a, &o->from);
		s = arena_printf(a, "%.*s allow_nets=%.*s", STR_ARG(s), STR_ARG(part));
	}
	if (o->send_only)
		s = arena_printf(a, "%.*s nologin postern_send_only", STR_ARG(s));
	if (o->expires != NULL)
		s = arena_printf(a, "%.*s postern_expires=%s", STR_ARG(s), o->expires);
	part = fields_escape(a, label);
	s = arena_printf(a, "%.*s postern_label=%.*s", STR_ARG(s), STR_ARG(part));
	part = fields_time_text(clock_wall(), made);
	s = arena_printf(a, "%.*s postern_made=%.*s", STR_ARG(s), STR_ARG(part));
	part = quick_text(a, quick);
	return arena_printf(a, "%.*s postern_hash=%.*s", STR_ARG(s), STR_ARG(part));
}

static bool append_line(struct work *w, str text, void *arg, struct buf *out)
{
	const str *line = arg;

	(void)w;
	buf_add(out, text);
	if (text.n > 0 && text.p[text.n - 1] != '\n')
		buf_add_char(out, '\n');
	buf_add(out, *line);
	return true;
}

static int make(struct work *w, str name, str label)
{
	char password[DEVICE_TEXT + 1];
	str said = { password, DEVICE_TEXT }, verifier, extra, line;
	struct quick quick;
	struct verifier v;
	int status = LATER;

	device_draw(password);
	quick_make(said, &quick);
	if (verifier_make(&w->arena, said, w->tools->iterations, &v) != OK)
		status = fail(LATER, w, "out of memory: try again");
	else {
		verifier = verifier_text(&w->arena, &v);
		extra = extra_fields(w, label, &quick);
		line = arena_printf(&w->arena, "%.*s:%.*s::::::%.*s\n", STR_ARG(name),
				    STR_ARG(verifier), STR_ARG(extra));
		status = file_change(w, w->tools->devices, append_line, &line);
	}
	if (status == DONE) {
		printf("login name  %.*s\npassword    %s\n", STR_ARG(name), password);
		fprintf(stderr,
			"The password is not shown again. Programs that log in with PLAIN or LOGIN "
			"may use %.*s, too.\n",
			STR_ARG(w->address));
	}
	crypt_wipe(password, sizeof(password));
	return status;
}

static bool has_label(const struct account *a, str label)
{
	for (const struct account *d = a->devices; d != NULL; d = d->next_device)
		if (str_eq_nocase(d->fields.label, label))
			return true;
	return false;
}

static const char *label_fault(str label)
{
	if (label.n == 0)
		return "say which device it is for: --label \"phone\"";
	if (label.n > 64)
		return "the label is over 64 bytes long: choose a shorter one";
	for (size_t i = 0; i < label.n; i++)
		if ((unsigned char)label.p[i] < ' ' || label.p[i] == 0x7f)
			return "the label holds a control character: leave it out";
	return utf8_valid(label)
		       ? NULL
		       : "the label is not UTF-8: set the terminal to UTF-8, or use ASCII";
}

int device_add(struct work *w)
{
	str label = str_trim(str_of(w->wishes.label)), name;
	const char *wrong = label_fault(label);
	const struct account *a;
	struct accounts *t;
	int status = wrong != NULL ? fail(MISUSED, w, wrong) : account_read(w, &t, &a);
	int64_t ends = 0;

	if (status != DONE)
		return status;
	if (w->wishes.expires != NULL)
		fields_time(str_of(w->wishes.expires), true, &ends);
	name = free_name(w, t, label);
	if (account_is_device(a))
		status =
			fail_address(REFUSED, w, "is a device password itself", "name its account");
	else if (a->ndevices >= DEVICES_MOST)
		status =
			fail_address(REFUSED, w, "has 16 device passwords",
				     "remove one first with `postern account app-password remove`");
	else if (has_label(a, label))
		status = fail_address(REFUSED, w, "has a device password of that label",
		                      "choose another label, or remove that one first");
	else if (ends != 0 && ends < clock_wall())
		status =
			fail(REFUSED, w, "--expires names a day that has passed: name a later one");
	else if (name.n == 0)
		status = fail(REFUSED, w, "no login name is free: choose another label");
	accounts_free(t);
	return status == DONE ? make(w, name, label) : status;
}

/* ---- list --------------------------------------------------------------------------- */

static str nets_text(struct arena *a, const struct fields *f)
{
	str out = STR_NONE, one;

	for (size_t i = 0; i < f->nnets; i++) {
		one = cidr_text(a, &f->nets[i]);
		out = arena_printf(a, "%.*s%s%.*s", STR_ARG(out), i > 0 ? "," : "", STR_ARG(one));
	}
	return out;
}

static str day_text(int64_t t, char out[static FIELDS_TIME])
{
	return t > 0 ? str_head(fields_time_text(t, out), 10) : STR("-");
}

static void show_json(struct work *w, struct json *all, const struct account *d,
		      const struct seen *s)
{
	struct json *j = json_add_object(all), *nets;
	char made[FIELDS_TIME], ends[FIELDS_TIME], when[FIELDS_TIME];

	json_set(j, "account", d->owner->address);
	json_set(j, "label", d->fields.label);
	json_set(j, "login", d->address);
	json_set(j, "created",
		 d->fields.made > 0 ? fields_time_text(d->fields.made, made) : STR_NONE);
	json_set(j, "expires",
		 d->fields.expires > 0 ? fields_time_text(d->fields.expires, ends) : STR_NONE);
	json_set_bool(j, "expired", d->fields.expires > 0 && d->fields.expires < clock_wall());
	json_set_bool(j, "send_only", d->fields.send_only);
	nets = json_set_array(j, "from");
	for (size_t i = 0; i < d->fields.nnets; i++)
		json_add(nets, cidr_text(&w->arena, &d->fields.nets[i]));
	json_set(j, "last_use", s != NULL ? fields_time_text(s->when, when) : STR_NONE);
	json_set(j, "last_ip", s != NULL ? s->ip : STR_NONE);
}

static void show(struct work *w, const struct account *d, const struct seen *s)
{
	char made[FIELDS_TIME], ends[FIELDS_TIME], when[FIELDS_TIME];
	str nets = nets_text(&w->arena, &d->fields);

	printf("%.*s\t%.*s\tmade %.*s", STR_ARG(d->fields.label.n > 0 ? d->fields.label : STR("-")),
	       STR_ARG(d->address), STR_ARG(day_text(d->fields.made, made)));
	if (s != NULL)
		printf("\tlast used %.*s from %.*s", STR_ARG(fields_time_text(s->when, when)),
		       STR_ARG(s->ip));
	else
		printf("\tnever used");
	if (d->fields.expires > 0)
		printf("\t%s %.*s", d->fields.expires < clock_wall() ? "expired" : "expires",
		       STR_ARG(day_text(d->fields.expires, ends)));
	if (nets.n > 0)
		printf("\tfrom %.*s", STR_ARG(nets));
	if (d->fields.send_only)
		printf("\tsend only");
	putchar('\n');
}

int device_list(struct work *w)
{
	struct json *all = NULL;
	struct accounts *t;
	struct map seen;
	int status = tables_read(w, &t);

	if (status != DONE)
		return status;
	if (w->key.n > 0 && accounts_find(t, w->key) == NULL) {
		accounts_free(t);
		return fail_address(REFUSED, w, "is no account",
				    "`postern account list` names all");
	}
	map_init(&seen, false);
	seen_read(w->tools->seen, &w->arena, &seen);
	if (w->wishes.json)
		all = json_new_array();
	for (size_t i = 0; i < t->n; i++) {
		const struct account *d = &t->v[i];

		if (!account_is_device(d) || d->owner == NULL ||
		    (w->key.n > 0 && !str_eq(d->owner->key, w->key)))
			continue;
		if (all != NULL)
			show_json(w, all, d, map_get(&seen, d->key));
		else
			show(w, d, map_get(&seen, d->key));
	}
	if (all != NULL)
		json_print(all, stdout);
	map_fini(&seen);
	accounts_free(t);
	return DONE;
}

/* ---- remove ----------------------------------------------------------------------------- */

static bool drop_key(struct work *w, str text, void *arg, struct buf *out)
{
	account_text_drop(&w->arena, text, *(const str *)arg, out);
	return true;
}

static const char *file_of(const struct work *w, const struct account *d)
{
	return d->source == SOURCE_DEVICES ? w->tools->devices : w->tools->accounts;
}

/* By label, login name, or what stands behind the mark. */
static const struct account *find_device(struct work *w, const struct account *a)
{
	str word = str_of(w->word), key;

	for (const struct account *d = a->devices; d != NULL; d = d->next_device)
		if (str_eq_nocase(d->fields.label, word) ||
		    (accounts_key(&w->arena, word, &key) && str_eq(key, d->key)))
			return d;
	return NULL;
}

int device_remove(struct work *w)
{
	const struct account *a, *d;
	struct accounts *t;
	const char *file;
	str key;
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	d = find_device(w, a);
	file = d != NULL ? file_of(w, d) : NULL;
	key = d != NULL ? str_keep(&w->arena, d->key) : STR_NONE;
	accounts_free(t);
	if (d == NULL)
		return fail_address(REFUSED, w, "has no such device password",
		                    "`postern account app-password list` shows those there are");
	return file_change(w, file, drop_key, &key);
}

static bool drop_all(struct work *w, str text, void *arg, struct buf *out)
{
	str line, name, password, rest;
	struct fields f;

	(void)arg;
	while (text.n > 0) {
		str whole = str_head(text, str_find(text, '\n') + 1);

		line = str_head(whole, str_find(whole, '\n'));
		if (!accounts_line(line, &name, &password, &rest) ||
		    fields_parse(&w->arena, accounts_extra(rest), &f) != NULL ||
		    !str_eq(f.user, w->key))
			buf_add(out, whole);
		text = str_skip(text, whole.n);
	}
	return true;
}

int devices_drop(struct work *w)
{
	const struct account *a;
	struct accounts *t;
	bool in[SOURCES] = { false };
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	for (const struct account *d = a->devices; d != NULL; d = d->next_device)
		in[d->source] = true;
	accounts_free(t);
	if (in[SOURCE_DEVICES])
		status = file_change(w, w->tools->devices, drop_all, NULL);
	if (status == DONE && in[SOURCE_ACCOUNTS])
		status = file_change(w, w->tools->accounts, drop_all, NULL);
	return status;
}
