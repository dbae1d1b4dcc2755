/* SPDX-License-Identifier: ISC */
/*
 * postern account add|passwd|require|list|remove ADDRESS, and the table of the
 * whole family.
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
	buf_addf(out, "%.*s:%.*s" NO_FIELDS "%.*s\n", STR_ARG(w->key), STR_ARG(l->password), STR_ARG(l->extra));
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
		return fail_address(REFUSED, w, "is no account",
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

static int add(struct work *w)
{
	if (!w->tools->local(w->tools->arg, w->domain))
		return fail_str(REFUSED, w,
		                arena_printf(&w->arena,
		                             "%.*s is not a domain of this server: add domain "
		                             "\"%.*s\" {} to the configuration first",
		                             STR_ARG(w->domain), STR_ARG(w->domain)));
	return set_verifier(w, false);
}

static int passwd(struct work *w)
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
		if (accounts_line(one, &name, &password, &rest) && accounts_key(&w->arena, name, &key) &&
		    str_eq(key, w->key))
			for (rest = accounts_extra(rest); str_cut(&rest, ' ', &field);)
				if (field.n > 0 && !str_starts(field, "require="))
					line.extra = arena_printf(&w->arena, "%.*s%s%.*s", STR_ARG(line.extra),
					                          line.extra.n > 0 ? " " : "", STR_ARG(field));
	if (strcmp(word, "default") != 0)
		line.extra = arena_printf(&w->arena, "%.*s%srequire=%s", STR_ARG(line.extra),
		                          line.extra.n > 0 ? " " : "", word);
	return put_line(w, text, &line, out);
}

static bool is_require(const char *word)
{
	for (size_t i = 0; auth_require_words[i] != NULL; i++)
		if (strcmp(word, auth_require_words[i]) == 0)
			return true;
	return false;
}

static int require(struct work *w)
{
	const struct account *a;
	struct accounts *t;
	bool lacks_secret, is_device;
	int status;

	if (!is_require(w->word) && strcmp(w->word, "default") != 0)
		return fail(MISUSED, w, "say what is required: password, app-password, certificate, totp, "
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
		return fail_address(REFUSED, w, "has no codes yet",
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
static int remove_account(struct work *w)
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

/* ---- list ------------------------------------------------------------------------------------- */

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

static void list_text(const struct account *a)
{
	printf("%.*s\t%.*s", STR_ARG(a->address), STR_ARG(a->scheme.n > 0 ? a->scheme : STR("no password")));
	if (a->require != REQUIRE_PASSWORD)
		printf("\trequires %s", auth_require_words[a->require]);
	putchar('\n');
}

static void list_json(struct json *all, const struct account *a, const struct seen *s)
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
}

static int list(struct work *w)
{
	struct json *all = NULL;
	struct accounts *t;
	struct map seen;
	int status = tables_read(w, &t);

	if (status != DONE)
		return status;
	if (w->key.n > 0 && accounts_find(t, w->key) == NULL) {
		accounts_free(t);
		return fail_address(REFUSED, w, "is no account", "`postern account list` names all");
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
			list_json(all, a, last_use(&seen, a));
		else
			list_text(a);
	}
	if (all != NULL)
		json_print(all, stdout);
	map_fini(&seen);
	accounts_free(t);
	return DONE;
}

/* ---- which of them ------------------------------------------------------------------------ */

enum takes {
	MAY_STAND_ALONE = 1, TAKES_WORD = 2, LABEL = 4, EXPIRES = 8, FROM = 16, SEND_ONLY = 32, JSON = 64,
	REQUIRE = 128, DAYS = 256, OUT = 512, LEGACY = 1024, QR = 2048,
};

static const struct {
	const char *words[2];
	const char *verb;
	int       (*run)(struct work *);
	unsigned    takes;
	const char *missing;           /* what is said when the second word is */
} verbs[] = {
	{ { "add" }, "account add", add, REQUIRE, NULL },
	{ { "passwd" }, "account passwd", passwd, 0, NULL },
	{ { "require" }, "account require", require, TAKES_WORD,
	  "say what is required: password, app-password, certificate, totp, oauth or default" },
	{ { "list" }, "account list", list, MAY_STAND_ALONE | JSON, NULL },
	{ { "remove" }, "account remove", remove_account, 0, NULL },
	{ { "app-password", "add" }, "account app-password add", device_add,
	  LABEL | EXPIRES | FROM | SEND_ONLY, NULL },
	{ { "app-password", "list" }, "account app-password list", device_list, MAY_STAND_ALONE | JSON, NULL },
	{ { "app-password", "remove" }, "account app-password remove", device_remove, TAKES_WORD,
	  "name the device password by its label or login name: `postern account app-password list` "
	  "shows them" },
	{ { "certificate", "issue" }, "account certificate issue", certificate_issue, DAYS | OUT | LEGACY, NULL },
	{ { "certificate", "list" }, "account certificate list", certificate_list, MAY_STAND_ALONE | JSON, NULL },
	{ { "certificate", "revoke" }, "account certificate revoke", certificate_revoke, TAKES_WORD,
	  "name the certificate by its serial number, or say all: `postern account certificate list` "
	  "shows them" },
	{ { "totp", "enrol" }, "account totp enrol", totp_enrol, QR, NULL },
	{ { "totp", "remove" }, "account totp remove", totp_remove, 0, NULL },
};

/* In the file a name ends at its first colon. */
static bool take_address(struct work *w, const char *text)
{
	struct path p;

	if (!path_of(&w->arena, str_of(text), &p) || p.domain.n == 0 || p.text.p[0] == '#' ||
	    str_holds(p.text, ':') || p.is_literal)
		return false;
	w->address = p.text;
	w->domain = p.domain;
	w->key = str_keep_lower(&w->arena, p.text);
	return true;
}

static int take_from(struct work *w, const char *value)
{
	str all = str_of(value), one, why;
	str *v = ARENA_ARRAY(&w->arena, str, 64);
	struct cidr net;

	w->wishes.from = (struct strs){ v, 0 };
	while (v != NULL && str_cut(&all, ',', &one)) {
		if (w->wishes.from.n == 64 || !cidr_parse(one, &net, &w->arena, &why))
			return fail_str(MISUSED, w, arena_printf(&w->arena, "--from %.*s is no network: write it like "
			                                         "192.0.2.0/24, several parted by commas", STR_ARG(one)));
		v[w->wishes.from.n++] = cidr_text(&w->arena, &net);
	}
	return v != NULL ? DONE : fail(LATER, w, "out of memory: try again");
}

static int take_value(struct work *w, unsigned what, const char *value)
{
	int64_t at;

	switch (what) {
	case LABEL:
		w->wishes.label = value;
		return DONE;
	case EXPIRES:
		w->wishes.expires = value;
		return fields_time(str_of(value), true, &at) ? DONE
		       : fail(MISUSED, w, "--expires needs a day such as 2027-01-01");
	case REQUIRE:
		w->wishes.require = value;
		return is_require(value) && strcmp(value, "totp") != 0 ? DONE
		       : fail(MISUSED, w, "--require takes password, app-password, certificate or oauth; codes come "
		                          "with `postern account totp enrol`");
	case DAYS:
		return str_to_u64(str_of(value), &w->wishes.days) && w->wishes.days > 0 && w->wishes.days <= 3650 ? DONE
		       : fail(MISUSED, w, "--days needs a number from 1 to 3650");
	case OUT:
		w->wishes.out = value;
		return DONE;
	default:
		return take_from(w, value);
	}
}

static const struct { const char *name; unsigned what; bool has_value; } options[] = {
	{ "--label", LABEL, true }, { "--expires", EXPIRES, true }, { "--from", FROM, true },
	{ "--require", REQUIRE, true }, { "--days", DAYS, true }, { "--out", OUT, true },
	{ "--send-only", SEND_ONLY, false }, { "--json", JSON, false }, { "--legacy", LEGACY, false },
	{ "--qr", QR, false },
};

static void take_flag(struct wishes *w, unsigned what)
{
	w->send_only |= what == SEND_ONLY;
	w->json |= what == JSON;
	w->legacy |= what == LEGACY;
	w->qr |= what == QR;
}

/* One option at argv[*i]; -1: it is none of this verb's. */
static int take_option(struct work *w, unsigned takes, int argc, char **argv, int *i)
{
	for (size_t k = 0; k < COUNT(options); k++) {
		size_t n = strlen(options[k].name);
		const char *word = argv[*i];

		if (strncmp(word, options[k].name, n) != 0 || (word[n] != '\0' && word[n] != '=') ||
		    !(takes & options[k].what))
			continue;
		if (!options[k].has_value) {
			if (word[n] != '\0')
				return -1;
			take_flag(&w->wishes, options[k].what);
			return DONE;
		}
		if (word[n] == '=')
			return take_value(w, options[k].what, word + n + 1);
		if (*i + 1 >= argc)
			return fail_str(MISUSED, w, arena_printf(&w->arena, "%s needs a value: see `postern help account`",
			                                         options[k].name));
		return take_value(w, options[k].what, argv[++*i]);
	}
	return -1;
}

static int take_words(struct work *w, unsigned takes, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		int status = DONE;

		if (argv[i][0] == '-' && argv[i][1] != '\0') {
			status = take_option(w, takes, argc, argv, &i);
			if (status < 0)
				return fail(MISUSED, w, "there are no such options: see `postern help account`");
		} else if (w->address.n == 0) {
			if (!take_address(w, argv[i]))
				status = fail(MISUSED, w, "that is not an address for an account: write it like "
				              "user@example.org");
		} else if ((takes & TAKES_WORD) && w->word == NULL) {
			w->word = argv[i];
		} else {
			status = fail(MISUSED, w, takes & TAKES_WORD ? "too many words: see `postern help account`"
			              : "one address at a time: leave the others out");
		}
		if (status != DONE)
			return status;
	}
	return DONE;
}

static int run(struct work *w, size_t which, int argc, char **argv)
{
	int status;

	w->verb = verbs[which].verb;
	status = take_words(w, verbs[which].takes, argc, argv);
	if (status != DONE)
		return status;
	if (w->address.n == 0 && !(verbs[which].takes & MAY_STAND_ALONE))
		return fail(MISUSED, w,
		            "the address is missing: name one, such as user@example.org");
	if ((verbs[which].takes & TAKES_WORD) && w->word == NULL)
		return fail(MISUSED, w, verbs[which].missing);
	return verbs[which].run(w);
}

/* -1: none of them. */
static int find(int argc, char **argv, int *skip)
{
	for (size_t i = 0; argc >= 2 && i < COUNT(verbs); i++) {
		*skip = verbs[i].words[1] != NULL ? 3 : 2;
		if (strcmp(argv[1], verbs[i].words[0]) == 0 &&
		    (verbs[i].words[1] == NULL || (argc >= 3 && strcmp(argv[2], verbs[i].words[1]) == 0)))
			return (int)i;
	}
	return -1;
}

int account_verb(int argc, char **argv, const struct account_tools *tools, bool *changed)
{
	struct work w = { .verb = "account", .tools = tools };
	int skip, which = find(argc, argv, &skip), status;

	*changed = false;
	arena_init(&w.arena, ARENA_UNBOUNDED);
	if (which >= 0)
		status = run(&w, (size_t)which, argc - skip, argv + skip);
	else
		status = fail(MISUSED, &w, "say add, passwd, require, list, remove, app-password add|list|remove, "
		              "certificate issue|list|revoke or totp enrol|remove: see `postern help account`");
	*changed = w.changed;
	arena_wipe(&w.arena);
	return status;
}
