/* SPDX-License-Identifier: ISC */
/*
 * accounts: three files, parted by a line "====", are a table in which every
 * account is found again, or one line that says why not.
 */
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool scheme_right(const struct account *one)
{
	if (one->kept == KEPT_SCRAM)
		return one->verifier.iterations > 0 && one->verifier.iterations <= ITERATIONS_MAX && one->verifier.salt.n > 0;
	if (one->kept == KEPT_CRYPT)
		return one->other.setting != NULL && one->other.cost.rounds <= 500000;
	return one->kept == KEPT_SALTED && one->other.salt.n > 0 && one->other.digest_n <= 64;
}

static void device_right(const struct account *d)
{
	const struct account *found = NULL;

	must(d->fields.user.n > 0);
	if (d->owner == NULL) {
		must(!d->can_log_in);
		return;
	}
	must(!account_is_device(d->owner) && str_eq(d->owner->key, d->fields.user));
	for (const struct account *o = d->owner->devices; o != NULL; o = o->next_device)
		if (o == d)
			found = o;
	must(found != NULL);
}

static void looks_right(const struct accounts *t, struct arena *a)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct account *one = &t->v[i];
		str key;

		must(one->address.n > 0 && !str_holds(one->address, '\0') && one->line > 0);
		must(accounts_find(t, one->key) == one);
		must(accounts_key(a, one->address, &key) && str_eq(key, one->key));
		must(!one->can_log_in || (one->scheme.n > 0 && scheme_right(one)));
		must(one->fields.nnets == 0 || one->fields.nets != NULL);
		must(one->require <= REQUIRE_OAUTH && (one->code_secret.n == 0 || one->code_secret.n >= 16));
		if (account_is_device(one))
			device_right(one);
	}
	must(t->ncosts <= COSTS_MOST && t->devices_most <= DEVICES_MOST);
}

/* A line of the text changed is that line changed. */
static void edits_right(str text, const struct accounts *t, struct arena *a)
{
	const struct account_edit edit = { t->v[0].key, STR("{SSHA}x"), STR("y=z"), true };
	struct buf out;
	str line, all, name, password, rest, key;
	size_t found = 0;

	buf_init(&out, BUF_UNBOUNDED);
	must(account_text_edit(a, text, &edit, &out) || t->v[0].source != SOURCE_ACCOUNTS);
	for (all = buf_str(&out); str_cut(&all, '\n', &line);)
		if (accounts_line(line, &name, &password, &rest) && accounts_key(a, name, &key) && str_eq(key, t->v[0].key)) {
			must(str_is(password, "{SSHA}x") && str_is(accounts_extra(rest), "y=z"));
			found++;
		}
	must(found == 1 || t->v[0].source != SOURCE_ACCOUNTS);
	buf_clear(&out);
	account_text_drop(a, text, t->v[0].key, &out);
	must(memmem(text.p, text.n, "\n", 1) != NULL || out.n == 0 || t->v[0].source != SOURCE_ACCOUNTS);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct accounts_text from = { .file = { STR("FILE"), STR("FILE"), STR("FILE") } };
	str rest = { (const char *)data, n };
	struct accounts *t;
	struct arena a;
	str why;

	log_level_set(LOG_ERROR);
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < SOURCES; i++) {
		const char *end = i + 1 < SOURCES && rest.n > 0 ? memmem(rest.p, rest.n, "====\n", 5) : NULL;

		from.text[i] = end != NULL ? str_head(rest, (size_t)(end - rest.p)) : rest;
		rest = str_skip(rest, from.text[i].n + (end != NULL ? 5 : 0));
	}
	t = accounts_make(&from, &a, &why);
	if (t != NULL)
		looks_right(t, &a);
	else
		must(str_starts(why, "FILE:"));
	if (t != NULL && t->n > 0)
		edits_right(from.text[0], t, &a);
	accounts_free(t);
	arena_fini(&a);
	return 0;
}
