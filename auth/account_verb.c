/* SPDX-License-Identifier: ISC */
/*
 * postern account add|passwd|require|list|remove ADDRESS.
 *
 * Lines that are not the account's own, comments and order stay as they are;
 * of the account's line only what is meant is written.  A file that the server
 * would refuse is not changed but mended first.
 */
#include <stdio.h>
#include <string.h>

#include "auth/password.h"
#include "auth/verb_inside.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"

#define NO_FIELDS "::::::"             /* uid, gid, gecos, home, shell, extra: Dovecot's, empty */

/* ---- add, passwd ---------------------------------------------------------------------- */

struct line { str password, extra; bool set_extra, there; };

static bool put_line(struct work *w, str text, void *arg, struct buf *out)
{
	const struct line *l = arg;
	const struct account_edit edit = { w->key, l->password, l->extra, l->set_extra };

	if (l->there) {
		if (account_text_edit(&w->arena, text, &edit, out))
			return true;
		fail_address(REFUSED, w, "is an account no more", "somebody removed it just now");
		return false;
	}
	buf_add(out, text);
	if (text.n > 0 && text.p[text.n - 1] != '\n')
		buf_add_char(out, '\n');
	/* In small letters: Dovecot looks a login up so, and %u of a Maildir's path
	 * is its %n then. */
	buf_addf(out, "%.*s:%.*s" NO_FIELDS "%.*s\n", STR_ARG(w->key), STR_ARG(l->password),
		 STR_ARG(l->extra));
	return true;
}

static int is_there(struct work *w, bool wanted)
{
	struct accounts *t;
	bool there;
	int status = tables_read(w, &t);

	if (status != DONE)
		return status;
	there = accounts_find(t, w->key) != NULL;
	accounts_free(t);
	if (there && !wanted)
		return fail_address(REFUSED, w, "is an account already",
		                    "set its password with `postern account passwd`");
	if (!there && wanted)
		return fail_address(
			REFUSED, w, "is no account",
			"see `postern account list`, or make it with `postern account add`");
	return DONE;
}

static int take_verifier(struct work *w, str *verifier)
{
	char room[PASSWORD_MAX + 2];
	struct verifier v;
	const char *fault;
	str password;
	enum err e = OK;

	fault = password_take(room, &password);
	if (fault == NULL)
		e = verifier_make(&w->arena, password, w->tools->iterations, &v);
	crypt_wipe(room, sizeof(room));
	if (fault != NULL)
		return fail(REFUSED, w, fault);
	if (e == OK)
		*verifier = verifier_text(&w->arena, &v);
	return e == OK && verifier->n > 0 ? DONE : fail(LATER, w, "out of memory: try again");
}

/* Looks before the password is asked for, so that nobody types in vain, and again
 * behind the lock. */
static int set_verifier(struct work *w, bool there)
{
	struct line line = { .there = there };
	int status = is_there(w, there);

	if (status == DONE && w->wishes.require != NULL && !there)
		line.extra = arena_printf(&w->arena, "require=%s", w->wishes.require);
	if (status == DONE)
		status = take_verifier(w, &line.password);
	return status == DONE ? file_change(w, w->tools->accounts, put_line, &line) : status;
}

int account_add(struct work *w)
{
	if (!w->tools->local(w->tools->arg, w->domain))
		return fail_str(REFUSED, w,
		                arena_printf(&w->arena,
		                             "%.*s is not a domain of this server: add domain "
		                             "\"%.*s\" {} to the configuration first",
		                             STR_ARG(w->domain), STR_ARG(w->domain)));
	return set_verifier(w, false);
}

int account_passwd(struct work *w)
{
	return set_verifier(w, true);
}

/* ---- require ----------------------------------------------------------------------------- */

/* The line's extra fields with another `require`; none: the domain's holds. */
static bool put_require(struct work *w, str text, void *arg, struct buf *out)
{
	struct line line = { .there = true, .set_extra = true };
	const char *word = arg;
	str one, name, password, rest, key, field;

	for (str all = text; str_cut(&all, '\n', &one);)
		if (accounts_line(one, &name, &password, &rest) &&
		    accounts_key(&w->arena, name, &key) && str_eq(key, w->key))
			for (rest = accounts_extra(rest); str_cut(&rest, ' ', &field);)
				if (field.n > 0 && !str_starts(field, "require="))
					line.extra = arena_printf(
						&w->arena, "%.*s%s%.*s", STR_ARG(line.extra),
						line.extra.n > 0 ? " " : "", STR_ARG(field));
	if (strcmp(word, "default") != 0)
		line.extra = arena_printf(&w->arena, "%.*s%srequire=%s", STR_ARG(line.extra),
		                          line.extra.n > 0 ? " " : "", word);
	return put_line(w, text, &line, out);
}

bool require_known(const char *word)
{
	for (size_t i = 0; auth_require_words[i] != NULL; i++)
		if (strcmp(word, auth_require_words[i]) == 0)
			return true;
	return false;
}

int account_require(struct work *w)
{
	const struct account *a;
	struct accounts *t;
	bool lacks_secret, is_device;
	int status;

	if (!require_known(w->word) && strcmp(w->word, "default") != 0)
		return fail(MISUSED, w,
			    "say what is required: password, app-password, certificate, totp, "
			    "oauth, or default for what the domain requires");
	status = account_read(w, &t, &a);
	if (status != DONE)
		return status;
	is_device = account_is_device(a);
	lacks_secret = strcmp(w->word, "totp") == 0 && a->code_secret.n == 0;
	accounts_free(t);
	if (is_device)
		return fail_address(REFUSED, w, "is a device password", "name its account");
	if (lacks_secret)
		return fail_address(
			REFUSED, w, "has no codes yet",
			"enrol first with `postern account totp enrol`, which requires them too");
	return file_change(w, w->tools->accounts, put_require, (void *)(uintptr_t)w->word);
}

/* ---- remove --------------------------------------------------------------------------------- */

static bool drop_line(struct work *w, str text, void *arg, struct buf *out)
{
	(void)arg;
	account_text_drop(&w->arena, text, w->key, out);
	return true;
}

/* What hangs on the account goes first: a name that is given away again later
 * must not bring old passwords along. */
int account_remove(struct work *w)
{
	const struct account *a;
	struct accounts *t;
	bool is_device;
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	is_device = account_is_device(a);
	accounts_free(t);
	if (is_device)
		return fail_address(REFUSED, w, "is a device password",
		                    "remove it with `postern account app-password remove`");
	status = devices_drop(w);
	if (status == DONE)
		status = totp_drop(w);
	if (status == DONE)
		status = certificates_drop(w);
	return status == DONE ? file_change(w, w->tools->accounts, drop_line, NULL) : status;
}

/* ---- list -------------------------------------------------------------------------- */

/* The newest use of the account or any of its device passwords. */
static const struct seen *last_use(const struct map *seen, const struct account *a)
{
	const struct seen *newest = map_get(seen, a->key);

	for (const struct account *d = a->devices; d != NULL; d = d->next_device) {
		const struct seen *s = map_get(seen, d->key);

		if (s != NULL && (newest == NULL || s->when > newest->when))
			newest = s;
	}
	return newest;
}

/* What the circuit breaker (or an operator's lock) says of it. */
struct shut { bool locked; int64_t since; str why; };

static bool is_shut(const struct work *w, const struct account *a, struct shut *out)
{
	str all = w->tools->shut, line, state, since, address;
	uint64_t t;

	while (all.n > 0 && str_cut(&all, '\n', &line)) {
		if (!str_cut(&line, ' ', &state) || !str_cut(&line, ' ', &since) || !str_cut(&line, ' ', &address) ||
		    !str_eq_nocase(address, a->address) || !str_to_u64(since, &t))
			continue;
		*out = (struct shut){ str_is(state, "locked"), (int64_t)t, line };
		return true;
	}
	return false;
}

static str shut_next(struct work *w, const struct account *a, const struct shut *s)
{
	if (s->locked)
		return arena_printf(&w->arena, "`postern account release %.*s` opens it, drop throws away what is held",
		                    STR_ARG(a->address));
	return arena_printf(&w->arena, "`postern account release %.*s` sends what is held, drop throws it away, lock ends its logins",
	                    STR_ARG(a->address));
}

static str shut_since(const struct shut *s, char when[FIELDS_TIME])
{
	return s->since > 0 ? fields_time_text(s->since, when) : STR_NONE;
}

static void shut_text(struct work *w, const struct account *a)
{
	char when[FIELDS_TIME];
	struct shut s;

	if (!is_shut(w, a, &s))
		return;
	printf("\t%s", s.locked ? "locked" : "held");
	if (s.since > 0)
		printf(" since %.*s", STR_ARG(shut_since(&s, when)));
	if (s.why.n > 0)
		printf(": %.*s", STR_ARG(s.why));
	printf(": %.*s", STR_ARG(shut_next(w, a, &s)));
}

/* Null when there is no server to ask. */
static void shut_json(struct json *j, struct work *w, const struct account *a)
{
	char when[FIELDS_TIME];
	struct json *b;
	struct shut s;
	bool shut = is_shut(w, a, &s);

	if (w->tools->shut.p == NULL) {
		json_set_null(j, "breaker");
		return;
	}
	b = json_set_object(j, "breaker");
	json_set_c(b, "state", !shut ? "open" : s.locked ? "locked" : "held");
	json_set(b, "since", shut ? shut_since(&s, when) : STR_NONE);
	json_set(b, "why", shut && s.why.n > 0 ? s.why : STR_NONE);
	json_set(b, "next", shut ? shut_next(w, a, &s) : STR_NONE);
}

static void list_text(struct work *w, const struct account *a)
{
	printf("%.*s\t%.*s", STR_ARG(a->address),
	       STR_ARG(a->scheme.n > 0 ? a->scheme : STR("no password")));
	if (a->require != REQUIRE_PASSWORD)
		printf("\trequires %s", auth_require_words[a->require]);
	shut_text(w, a);
	putchar('\n');
}

static void list_json(struct json *all, struct work *w, const struct account *a, const struct seen *s)
{
	struct json *j = json_add_object(all);
	char when[FIELDS_TIME];

	json_set(j, "address", a->address);
	json_set(j, "scheme", a->scheme.n > 0 ? a->scheme : STR_NONE);
	json_set_bool(j, "usable", a->can_log_in);
	json_set_c(j, "require", auth_require_words[a->require]);
	json_set_num(j, "app_passwords", a->ndevices);
	json_set_bool(j, "totp", a->code_secret.n > 0);
	json_set(j, "last_use", s != NULL ? fields_time_text(s->when, when) : STR_NONE);
	json_set(j, "last_ip", s != NULL ? s->ip : STR_NONE);
	shut_json(j, w, a);
}

int account_list(struct work *w)
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
		const struct account *a = &t->v[i];

		if (account_is_device(a) || (w->key.n > 0 && !str_eq(w->key, a->key)))
			continue;
		if (all != NULL)
			list_json(all, w, a, last_use(&seen, a));
		else
			list_text(w, a);
	}
	if (all != NULL)
		json_print(all, stdout);
	map_fini(&seen);
	accounts_free(t);
	return DONE;
}
