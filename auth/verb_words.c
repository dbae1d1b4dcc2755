/* SPDX-License-Identifier: ISC */
/*
 * The words of `postern account`: which verb, which options, whose address.
 * Wrong usage is told before anything is read.  No threads.
 */
#include <stdio.h>
#include <string.h>

#include "auth/verb_inside.h"

enum takes {
	MAY_STAND_ALONE = 1, TAKES_WORD = 2, LABEL = 4, EXPIRES = 8, FROM = 16, SEND_ONLY = 32,
	JSON = 64, REQUIRE = 128, DAYS = 256, OUT = 512, LEGACY = 1024, QR = 2048,
};

static const struct {
	const char *words[2];
	const char *verb;
	int       (*run)(struct work *);
	unsigned    takes;
	const char *missing;           /* what is said when the second word is */
} verbs[] = {
	{ { "add" }, "account add", account_add, REQUIRE, NULL },
	{ { "passwd" }, "account passwd", account_passwd, 0, NULL },
	{ { "require" }, "account require", account_require, TAKES_WORD,
	  "say what is required: password, app-password, certificate, totp, oauth or default" },
	{ { "list" }, "account list", account_list, MAY_STAND_ALONE | JSON, NULL },
	{ { "logins" }, "account logins", account_logins, JSON, NULL },
	{ { "remove" }, "account remove", account_remove, 0, NULL },
	{ { "app-password", "add" }, "account app-password add", device_add,
	  LABEL | EXPIRES | FROM | SEND_ONLY, NULL },
	{ { "app-password", "list" }, "account app-password list", device_list,
	  MAY_STAND_ALONE | JSON, NULL },
	{ { "app-password", "remove" }, "account app-password remove", device_remove, TAKES_WORD,
	  "name the device password by its label or login name: `postern account app-password "
	  "list` shows them" },
	{ { "certificate", "issue" }, "account certificate issue", certificate_issue,
	  DAYS | OUT | LEGACY, NULL },
	{ { "certificate", "list" }, "account certificate list", certificate_list,
	  MAY_STAND_ALONE | JSON, NULL },
	{ { "certificate", "revoke" }, "account certificate revoke", certificate_revoke, TAKES_WORD,
	  "name the certificate by its serial number, or say all: `postern account certificate "
	  "list` shows them" },
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
			return fail_str(MISUSED, w,
					arena_printf(&w->arena,
						     "--from %.*s is no network: write it like "
						     "192.0.2.0/24, several parted by commas",
						     STR_ARG(one)));
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
		return require_known(value) && strcmp(value, "totp") != 0
			       ? DONE
			       : fail(MISUSED, w,
				      "--require takes password, app-password, certificate or "
				      "oauth; codes come "
				      "with `postern account totp enrol`");
	case DAYS:
		return str_to_u64(str_of(value), &w->wishes.days) && w->wishes.days > 0 &&
				       w->wishes.days <= 3650
			       ? DONE
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
	{ "--send-only", SEND_ONLY, false }, { "--json", JSON, false },
	{ "--legacy", LEGACY, false }, { "--qr", QR, false },
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
			return fail_str(MISUSED, w,
					arena_printf(&w->arena,
						     "%s needs a value: see `postern help account`",
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
				return fail(
					MISUSED, w,
					"there are no such options: see `postern help account`");
		} else if (w->address.n == 0) {
			if (!take_address(w, argv[i]))
				status =
					fail(MISUSED, w,
					     "that is not an address for an account: write it like "
					     "user@example.org");
		} else if ((takes & TAKES_WORD) && w->word == NULL) {
			w->word = argv[i];
		} else {
			status = fail(MISUSED, w,
				      takes & TAKES_WORD
					      ? "too many words: see `postern help account`"
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
		    (verbs[i].words[1] == NULL ||
		     (argc >= 3 && strcmp(argv[2], verbs[i].words[1]) == 0)))
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
		status = fail(
			MISUSED, &w,
			"say add, passwd, require, list, logins, remove, app-password add|list|remove, "
			"certificate issue|list|revoke or totp enrol|remove: see `postern help "
			"account`");
	*changed = w.changed;
	arena_wipe(&w.arena);
	return status;
}
