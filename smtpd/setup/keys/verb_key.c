/* SPDX-License-Identifier: ISC */
/*
 * postern key: its commands, and of them generate, list and show.
 *
 * Managed keys (domain { keys {} }) stand in the domain's book; the others are
 * STATE/keys/DOMAIN/SELECTOR.pem, or what a `dkim "SELECTOR" {}` section names: such
 * a key signs because the section says so.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/key_inside.h"
#include "smtpd/setup/keys/verb_key_parts.h"
#include "smtpd/setup/verbs.h"

struct asked {
	const char *file, *what, *domain, *selector;
	enum key_kind kind;
	unsigned bits;
	bool json;
};

static int parse(int argc, char **argv, struct asked *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "algorithm", required_argument, NULL, 'a' },
		{ "bits", required_argument, NULL, 'b' }, { "json", no_argument, NULL, 'j' },
		{ "now", required_argument, NULL, 'n' }, { 0 },
	};
	uint64_t now;
	int c;

	*out = (struct asked){ .file = CONFIG_FILE, .kind = KEY_RSA, .bits = 2048, .what = argv[0] };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			out->file = optarg;
		else if (c == 'j' && strcmp(out->what, "list") == 0)
			out->json = true;
		else if (c == 'n' && str_to_u64(str_of(optarg), &now) && now < (uint64_t)1 << 40)
			clock_fix((int64_t)now);
		else if (c == 'n')
			return verb_misused("key", "--now %s is no number of seconds since 1970", optarg);
		else if (c == 'a' && strncmp(optarg, "rsa", 3) == 0)
			out->kind = KEY_RSA;
		else if (c == 'a' && strncmp(optarg, "ed25519", 7) == 0)
			out->kind = KEY_ED25519;
		else if (c == 'a')
			return verb_misused("key", "\"%s\" is no algorithm: rsa-sha256 or ed25519-sha256", optarg);
		else if (c == 'b' && str_to_u32(str_of(optarg), &out->bits) && out->bits >= 1024 && out->bits <= 4096)
			;
		else if (c == 'b')
			return verb_misused("key", "--bits is 1024 to 4096, 2048 is what everybody takes");
		else
			return verb_misused("key", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
	}
	if (argc - optind > 2)
		return verb_misused("key", "%s takes a domain and a selector", out->what);
	out->domain = optind < argc ? argv[optind] : NULL;
	out->selector = optind + 1 < argc ? argv[optind + 1] : NULL;
	return -1;
}

/* ---- generate ---------------------------------------------------------------------- */

static void tell_record(const struct key_file *k, struct arena *a)
{
	str record;

	if (dkim_key_record(k->key, a, &record) != OK)
		return;
	printf("\nPublish this TXT record:\n\n");
	key_file_print_record(k->domain, k->selector, record, stdout);
	printf("\nThen let it sign: in the configuration, inside domain \"%.*s\" { }, add\n\n    dkim \"%.*s\" {}\n\n"
	       "and run `postern reload`.\n",
	       STR_ARG(k->domain), STR_ARG(k->selector));
}

static int generate(const struct asked *asked, const struct config *c, struct arena *a)
{
	struct key_file k = { 0 };
	str why = STR_NONE;

	if (!domain_to_ascii(a, str_of(asked->domain), &k.domain))
		return verb_misused("key", "\"%s\" is not a domain name", asked->domain);
	k.selector = str_of(asked->selector);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "making the key …\n");
	k.key = key_generate(asked->kind, asked->bits);
	if (k.key == NULL)
		return verb_fail(EXIT_FINDING, "key", "OpenSSL made no key: try again");
	switch (key_file_write(c->state, &k, a, &why)) {
	case OK:
		break;
	case ERR_EXISTS:
		key_free(k.key);
		return verb_fail(EXIT_FINDING, "key", "%.*s is there already: take another selector, or move the file away",
		                 STR_ARG(k.path));
	default:
		key_free(k.key);
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	}
	printf("%.*s\n", STR_ARG(k.path));
	tell_record(&k, a);
	key_free(k.key);
	return EXIT_DONE;
}

/* ---- list ----------------------------------------------------------------------------- */

static bool is_named(const struct config *c, const struct key_file *k)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		for (size_t s = 0; str_eq(d->name, k->domain) && s < d->dkim.n; s++)
			if (str_eq(((const struct dkim_section *)d->dkim.v[s])->key, k->path))
				return true;
	}
	return false;
}

static str kind_text(const struct key *key, struct arena *a)
{
	return key_kind(key) == KEY_RSA ? arena_printf(a, "rsa-%u", key_bits(key))
	     : key_kind(key) == KEY_ED25519 ? STR("ed25519") : STR("unknown");
}

/* One row of the table, whatever it is about. */
struct row {
	str domain, selector, algorithm, next;
	const char *state;
	int64_t since, when;                   /* 0: not known; no date */
	bool signs, managed;
	const struct life_key *key;            /* of a managed one */
};

static str day_of(int64_t epoch, struct arena *a)
{
	time_t t = (time_t)epoch;
	struct tm tm;
	char text[24];

	if (epoch == 0 || localtime_r(&t, &tm) == NULL)
		return STR("-");
	strftime(text, sizeof(text), "%Y-%m-%d", &tm);
	return str_keep(a, str_of(text));
}

/* A date that is near is told with its hour. */
static str when_of(int64_t epoch, struct arena *a)
{
	time_t t = (time_t)epoch;
	struct tm tm;
	char text[24];
	int64_t away = epoch - clock_wall();

	if (away > 2 * 86400 || away < -2 * 86400 || localtime_r(&t, &tm) == NULL)
		return day_of(epoch, a);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
	return str_keep(a, str_of(text));
}

/* What DNS shows instead of some keys' records: told once below the table. */
struct reason { struct reason *next; str domain, said, selectors; int64_t again; bool by_hand; };

struct listing {
	const struct config *config;
	const struct asked  *asked;
	struct arena  *arena;
	struct json   *json;
	struct reason *reasons;
	str    domain;
	int    wide;                           /* the column of domains */
	size_t n;
};

static void print_row(const struct listing *l, const struct row *r)
{
	static const char format[] = "%-*.*s %-8.*s %-9.*s %-9s %-10.*s %.*s%s%.*s\n";
	str since = day_of(r->since, l->arena), when = r->when != 0 ? when_of(r->when, l->arena) : STR("");

	if (l->n == 0)
		printf("%-*s %-8s %-9s %-9s %-10s %s\n", l->wide, "DOMAIN", "SELECTOR", "ALGORITHM", "STATE", "SINCE", "NEXT");
	printf(format, l->wide, STR_ARG(r->domain), STR_ARG(r->selector), STR_ARG(r->algorithm), r->state, STR_ARG(since),
	       STR_ARG(r->next), r->when != 0 ? ", " : "", STR_ARG(when));
}

static void add_reason(struct listing *l, const struct step *s, const struct life_key *k)
{
	struct reason **at = &l->reasons;

	for (; *at != NULL; at = &(*at)->next)
		if (str_eq((*at)->domain, s->plan.domain) && str_eq((*at)->said, k->said)) {
			(*at)->selectors = arena_printf(l->arena, "%.*s, %.*s", STR_ARG((*at)->selectors), STR_ARG(k->selector));
			return;
		}
	*at = ARENA_NEW(l->arena, struct reason);
	if (*at != NULL)
		**at = (struct reason){ .domain = s->plan.domain, .said = k->said, .selectors = k->selector,
			                .by_hand = s->plan.update == NULL && k->state <= LIFE_ACTIVE,
			                .again = life_look_due(&s->plan.life, &s->book, k) };
}

/* A row has room for "waits for DNS", not for which server shows what. */
static str short_next(struct listing *l, const struct step *s, const struct life_key *k, str next)
{
	if (k->said.n == 0 || next.n < k->said.n + 2 || !str_eq(str_skip(next, next.n - k->said.n), k->said))
		return next;
	add_reason(l, s, k);
	return str_head(next, next.n - k->said.n - 2);
}

static void print_reasons(const struct listing *l)
{
	for (const struct reason *r = l->reasons; r != NULL; r = r->next) {
		printf("\n%.*s: %.*s:\n  %.*s\n", STR_ARG(r->domain), STR_ARG(r->selectors), STR_ARG(r->said));
		if (r->by_hand)
			printf("  what to do: put into DNS what `postern key show %.*s` prints\n", STR_ARG(r->domain));
		if (r->again > clock_wall() && r->again < INT64_MAX)
			printf("  looked at again: %.*s\n", STR_ARG(when_of(r->again, l->arena)));
	}
}

static void widen(struct listing *l, str domain)
{
	if ((l->domain.n == 0 || str_eq(l->domain, domain)) && (int)domain.n > l->wide)
		l->wide = (int)domain.n;
}

static void add_time(struct json *j, const char *name, int64_t t)
{
	if (t != 0)
		json_set_num(j, name, t);
	else
		json_set_null(j, name);
}

static void add_row(struct json *list, const struct row *r)
{
	struct json *j = json_add_object(list);

	json_set(j, "domain", r->domain);
	json_set(j, "selector", r->selector);
	json_set(j, "algorithm", r->algorithm);
	json_set_bool(j, "managed", r->managed);
	json_set_c(j, "state", r->state);
	json_set_bool(j, "signs", r->signs);
	add_time(j, "since", r->since);
	json_set(j, "next", r->next);
	add_time(j, "when", r->when);
	if (r->key == NULL)
		return;
	json_set_num(j, "set", r->key->set);
	json_set_bool(j, "out", r->key->out);
	json_set_c(j, "sight", life_sight_word(r->key->sight));
	json_set(j, "said", r->key->said.n > 0 ? r->key->said : STR(""));
	add_time(j, "looked", r->key->looked);
	for (int i = 0; i < LIFE_STATES; i++)
		add_time(j, life_state_word((enum life_state)i), r->key->at[i]);
}

static void put_row(struct listing *l, const struct row *r)
{
	if (l->json != NULL)
		add_row(l->json, r);
	else
		print_row(l, r);
	l->n++;
}

static bool is_asked_for(const struct listing *l, str domain, str selector)
{
	return (l->domain.n == 0 || str_eq(l->domain, domain)) &&
	       (l->asked->selector == NULL || str_is(selector, l->asked->selector));
}

static void list_book(struct listing *l, const struct step *s)
{
	for (size_t i = 0; i < s->book.n; i++) {
		const struct life_key *k = &s->book.keys[i];
		struct row r = { .domain = s->plan.domain, .selector = k->selector, .algorithm = str_of(life_algorithm_word(k->algorithm)),
			         .state = life_state_word(k->state), .since = k->at[k->state], .signs = life_signs(&s->book, k),
			         .managed = true, .key = k };

		r.next = life_next_text(&s->plan.life, &s->book, k, s->now, l->arena, &r.when);
		if (!is_asked_for(l, r.domain, r.selector) || (k->state == LIFE_REMOVED && l->json == NULL))
			continue;
		if (l->json == NULL)
			r.next = short_next(l, s, k, r.next);
		put_row(l, &r);
	}
}

static void list_file(struct listing *l, const struct key_file *k)
{
	bool named = is_named(l->config, k);
	struct row r = { .domain = k->domain, .selector = k->selector, .algorithm = kind_text(k->key, l->arena), .state = "by hand",
		         .signs = named, .next = named ? STR("signs unless DNS shows another record") : STR("does not sign: no dkim section names it") };

	if (is_asked_for(l, r.domain, r.selector))
		put_row(l, &r);
}

/* ---- all keys there are -------------------------------------------------------------- */

static bool is_in_book(const struct step *books, size_t n, const struct key_file *k)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(books[i].plan.domain, k->domain) && life_find(&books[i].book, k->selector) != NULL)
			return true;
	return false;
}

static void show_book(struct listing *l, const struct step *s)
{
	for (size_t i = 0; i < s->book.n; i++)
		if (is_asked_for(l, s->plan.domain, s->book.keys[i].selector)) {
			key_print_wanted(&s->plan, &s->book.keys[i]);
			l->n++;
		}
}

static void show_file(struct listing *l, const struct key_file *k)
{
	str record;

	if (!is_asked_for(l, k->domain, k->selector) || dkim_key_record(k->key, l->arena, &record) != OK)
		return;
	key_file_print_record(k->domain, k->selector, record, stdout);
	l->n++;
}

static enum err read_books(const struct config *c, struct arena *a, struct step *books, size_t *n, str *why)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		struct step *s = &books[*n];
		enum err e;

		*s = (struct step){ .config = c, .domain = c->domains.v[i], .arena = a, .now = clock_wall() };
		if (!s->domain->keys.head.given)
			continue;
		e = step_look_at(s, why);
		if (e != OK)
			return e;
		(*n)++;
	}
	return OK;
}

static int walk(const struct asked *asked, const struct config *c, struct arena *a)
{
	struct listing l = { .config = c, .asked = asked, .arena = a, .wide = (int)strlen("DOMAIN") };
	struct step *books = ARENA_ARRAY(a, struct step, c->domains.n + 1);
	struct key_files files = { 0 };
	bool show = strcmp(asked->what, "show") == 0;
	str why = STR_NONE;
	size_t n = 0;

	if (asked->domain != NULL && !domain_to_ascii(a, str_of(asked->domain), &l.domain))
		return verb_misused("key", "\"%s\" is not a domain name", asked->domain);
	if (books == NULL || read_books(c, a, books, &n, &why) != OK || key_files_read(c->state, c, a, &files, &why) != OK) {
		key_files_free(&files);
		return verb_fail(EXIT_FINDING, "key", "%.*s", STR_ARG(why));
	}
	l.json = asked->json ? json_new_array() : NULL;
	for (size_t i = 0; i < n; i++)
		widen(&l, books[i].plan.domain);
	for (size_t i = 0; i < files.n; i++)
		widen(&l, files.v[i].domain);
	for (size_t i = 0; i < n; i++)
		(show ? show_book : list_book)(&l, &books[i]);
	for (size_t i = 0; i < files.n; i++)
		if (!is_in_book(books, n, &files.v[i]))
			(show ? show_file : list_file)(&l, &files.v[i]);
	key_files_free(&files);
	print_reasons(&l);
	if (l.json != NULL)
		json_print(l.json, stdout);
	if (l.n > 0 || (n > 0 && asked->json))
		return EXIT_DONE;
	for (size_t i = 0; i < n && asked->selector == NULL; i++)
		if (str_eq(books[i].plan.domain, l.domain))
			return verb_fail(EXIT_FINDING, "key", "no key of %.*s has been made yet: start the server, or run `postern key step %.*s`",
			                 STR_ARG(l.domain), STR_ARG(l.domain));
	return verb_fail(EXIT_FINDING, "key", "no such key: `postern key generate DOMAIN SELECTOR` makes one by hand; those of a section "
	                 "keys are made when the server starts, or by `postern key step`");
}

/* ---- the verb -------------------------------------------------------------------------- */

/* Before the configuration is looked for: wrong usage is wrong without one, too. */
static int words_fit(const struct asked *asked)
{
	if (strcmp(asked->what, "generate") == 0 && asked->selector == NULL)
		return verb_misused("key", "generate needs a domain and a selector");
	if (strcmp(asked->what, "show") == 0 && asked->domain == NULL)
		return verb_misused("key", "show needs a domain");
	if (asked->selector != NULL && !domain_valid(str_of(asked->selector)))
		return verb_misused("key", "\"%s\" is not a selector: letters, digits, - and dots", asked->selector);
	return -1;
}

static int do_it(int argc, char **argv, int (*run)(const struct asked *, const struct config *, struct arena *))
{
	struct asked asked;
	struct arena a;
	struct config *c;
	int status = parse(argc, argv, &asked);

	if (status < 0)
		status = words_fit(&asked);
	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("key", asked.file, &a, &status);
	if (c != NULL)
		status = run(&asked, c, &a);
	arena_fini(&a);
	return status;
}

int verb_key_generate(int argc, char **argv) { return do_it(argc, argv, generate); }
int verb_key_list(int argc, char **argv)     { return do_it(argc, argv, walk); }
int verb_key_show(int argc, char **argv)     { return do_it(argc, argv, walk); }

static const struct { const char *name; verb_run *run; } commands[] = {
	{ "generate", verb_key_generate },
	{ "list", verb_key_list },
	{ "show", verb_key_show },
	{ "test", verb_key_test },
	{ "import", verb_key_import },
	{ "prepare", verb_key_prepare },
	{ "rotate", verb_key_rotate },
	{ "step", verb_key_step },
};

/* The command's word may stand behind options; those with a value are told by
 * their names. */
static int command_at(int argc, char **argv)
{
	static const char *const with_value[] = { "-c", "--config", "--algorithm", "--bits", "--now", "--resolver", "--opendkim", "--signing-table" };

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			return i;
		for (size_t k = 0; k < COUNT(with_value); k++)
			if (strcmp(argv[i], with_value[k]) == 0) {
				i++;
				break;
			}
	}
	return 0;
}

int verb_key(int argc, char **argv)
{
	int at = command_at(argc, argv);

	if (at == 0 && argc > 1 && strcmp(argv[1], "-c") != 0 && strcmp(argv[1], "--config") != 0)
		return verb_misused("key", "unknown option %s", argv[1]);
	if (at == 0)
		return verb_misused("key", "say generate, list, show, test, import, prepare, rotate or step");
	for (size_t i = 0; i < COUNT(commands); i++)
		if (strcmp(argv[at], commands[i].name) == 0) {
			memmove(&argv[at], &argv[at + 1], (size_t)(argc - at) * sizeof(*argv));
			argv[0] = (char *)(uintptr_t)commands[i].name;
			return commands[i].run(argc - 1, argv);
		}
	return verb_misused("key", "unknown command \"%s\"", argv[at]);
}
