/* SPDX-License-Identifier: ISC */
/*
 * postern deny: who is refused, added and taken away while the server runs.
 * The running server looks at once; a server that does not run reads the file
 * when it starts.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/control.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/deny_store.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

struct asked {
	const char *file, *until, *lasting, *reply;
	bool        json;
	const char *command;
	struct deny_entry entry;        /* add, remove */
};

static int parse(int argc, char **argv, struct asked *out)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"until", required_argument, NULL, 'u'},
		{"for", required_argument, NULL, 'f'},	  {"reply", required_argument, NULL, 'r'},
		{"json", no_argument, NULL, 'j'},	  {0},
	};
	int c;

	*out = (struct asked){ .file = CONFIG_FILE };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == ':')
			return verb_misused("deny", "%s needs a value", argv[optind - 1]);
		if (c == '?')
			return verb_misused("deny", "unknown option %s", argv[optind - 1]);
		if (c == 'j')
			out->json = true;
		else
			*(c == 'c'   ? &out->file
			  : c == 'u' ? &out->until
			  : c == 'f' ? &out->lasting
				     : &out->reply) = optarg;
	}
	if (optind < argc)
		out->command = argv[optind];
	return -1;
}

/* ---- words ---------------------------------------------------------------------- */

/* 2026-12-31 is the end of that day; with a time it is that minute; else seconds. */
static bool date_read(const char *text, int64_t *out)
{
	struct tm tm = { .tm_isdst = -1 };
	const char *rest = strptime(text, "%Y-%m-%d", &tm);
	uint64_t epoch;

	if (str_to_u64(str_of(text), &epoch) && epoch < (uint64_t)1 << 40) {
		*out = (int64_t)epoch;
		return true;
	}
	if (rest == NULL)
		return false;
	if (*rest == '\0') {
		tm.tm_hour = 23;
		tm.tm_min = tm.tm_sec = 59;
	} else if ((*rest != ' ' && *rest != 'T') ||
		   (rest = strptime(rest + 1, "%H:%M", &tm)) == NULL || *rest != '\0') {
		return false;
	}
	*out = (int64_t)mktime(&tm);
	return *out > 0;
}

static int read_end(struct asked *q)
{
	uint64_t ms;

	if (q->until != NULL && q->lasting != NULL)
		return verb_misused("deny", "either --until or --for");
	if (q->lasting != NULL) {
		if (!conf_time(str_of(q->lasting), &ms) || ms < 1000)
			return verb_misused("deny", "--for %s is no time such as 4h or 7d",
					    q->lasting);
		q->entry.until = clock_wall() + (int64_t)(ms / 1000);
	}
	if (q->until != NULL && !date_read(q->until, &q->entry.until))
		return verb_misused(
			"deny", "--until %s is no date such as 2026-12-31 or \"2026-12-31 18:00\"",
			q->until);
	if (q->entry.until != 0 && q->entry.until <= clock_wall())
		return verb_misused("deny", "--until %s is in the past", q->until);
	return -1;
}

static int read_entry(struct asked *q, int n, char **words, struct arena *a)
{
	str why = STR_NONE;

	if (n != 2)
		return verb_misused(
			"deny",
			"%s what? Say a kind (client, ptr, helo, sender, recipient) and one value",
			q->command);
	if (!deny_kind_read(str_of(words[0]), &q->entry.kind))
		return verb_misused(
			"deny", "\"%s\" is none of client, ptr, helo, sender, recipient", words[0]);
	q->entry.value = str_of(words[1]);
	if (!deny_value_check(q->entry.kind, q->entry.value, a, &why))
		return verb_misused("deny", "\"%s\" %.*s", words[1], STR_ARG(why));
	if (q->reply != NULL && strpbrk(q->reply, "\r\n\t") != NULL)
		return verb_misused("deny", "--reply has to be one line without tabs");
	if (q->reply != NULL && !deny_reply_check(str_of(q->reply), a, &why))
		return verb_misused("deny", "--reply %.*s", STR_ARG(why));
	q->entry.reply = str_of(q->reply);
	q->entry.added = clock_wall();
	return read_end(q);
}

/* ---- changes ---------------------------------------------------------------------- */

/* One spelling for each value: a table of one says which. */
static bool same_entry(const struct deny_entry *x, const struct deny_entry *y)
{
	const struct deny_entry both[] = { *x, *y };
	struct deny_table *t = deny_table_new(both, 2);
	size_t n;
	const struct deny_entry *v = deny_table_entries(t, &n);
	bool same = v != NULL && v[0].kind == v[1].kind && str_eq(v[0].value, v[1].value);

	deny_table_free(t);
	return same;
}

/* Those that fit `entry` or have ended go; how many fitted? */
static size_t take_out(struct deny_store *s, const struct deny_entry *entry)
{
	size_t kept = 0, fitted = 0;
	int64_t now = clock_wall();

	for (size_t i = 0; i < s->n; i++) {
		bool fits = same_entry(&s->v[i], entry);

		fitted += fits;
		if (!fits && (s->v[i].until == 0 || s->v[i].until > now))
			s->v[kept++] = s->v[i];
	}
	s->n = kept;
	return fitted;
}

static int change(const struct config *c, const struct asked *q, struct deny_store *s,
		  struct arena *a)
{
	bool add = strcmp(q->command, "add") == 0;
	str why = STR_NONE;
	enum err e;

	if (s->bad > 0)
		return verb_fail(EXIT_FINDING, "deny",
				 "%s:%zu cannot be read: correct that line, or take it out",
				 s->path, s->bad);
	if (take_out(s, &q->entry) == 0 && !add)
		return verb_fail(EXIT_FINDING, "deny",
				 "%s %.*s is not denied: `postern deny list` shows who is",
				 deny_kind_word(q->entry.kind), STR_ARG(q->entry.value));
	if (add)
		s->v[s->n++] = q->entry;
	e = deny_store_write(s, a, &why);
	if (e != OK)
		return verb_fail(EXIT_FINDING, "deny", "%.*s", STR_ARG(why));
	deny_store_close(s);
	control_ask(str_cstr(a, server_control_path(c, a)), (const char *const[]){"deny"}, 1,
		    stdout);
	return EXIT_DONE;
}

/* ---- the list ----------------------------------------------------------------------- */

static str end_text(int64_t until, struct arena *a)
{
	time_t    t = (time_t)until;
	struct tm tm;
	char      text[32];

	if (until == 0)
		return STR("for good");
	if (localtime_r(&t, &tm) == NULL)
		return STR("-");
	strftime(text, sizeof(text), "until %Y-%m-%d %H:%M", &tm);
	return str_keep(a, str_of(text));
}

static void show_json(const struct deny_entry *v, size_t n, struct json *list, int64_t now)
{
	for (size_t i = 0; i < n; i++) {
		struct json *j;

		if (v[i].until != 0 && v[i].until <= now)
			continue;
		j = json_add_object(list);
		json_set_c(j, "kind", deny_kind_word(v[i].kind));
		json_set(j, "value", v[i].value);
		json_set(j, "entry", v[i].name);
		if (v[i].until != 0)
			json_set_num(j, "until", v[i].until);
		else
			json_set_null(j, "until");
		json_set(j, "reply", v[i].reply.n > 0 ? v[i].reply : STR_NONE);
	}
}

static void show_text(const struct deny_entry *v, size_t n, struct arena *a, int64_t now)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].until == 0 || v[i].until > now)
			printf("%-9s  %-40.*s  %-22.*s  %.*s%s%.*s\n", deny_kind_word(v[i].kind),
			       STR_ARG(v[i].value), STR_ARG(end_text(v[i].until, a)),
			       STR_ARG(v[i].name), v[i].reply.n > 0 ? ": " : "",
			       STR_ARG(v[i].reply));
}

static int show(const struct config *c, const struct asked *q, struct deny_store *s,
		struct arena *a)
{
	size_t nfixed;
	struct deny_entry *fixed = deny_from_sections(&c->denies, a, &nfixed);
	int64_t now = clock_wall();

	if (fixed == NULL)
		return verb_fail(EXIT_LATER, "deny", "no memory: try again later");
	if (q->json) {
		struct json *list = json_new_array();

		show_json(fixed, nfixed, list, now);
		show_json(s->v, s->n, list, now);
		json_print(list, stdout);
	} else {
		show_text(fixed, nfixed, a, now);
		show_text(s->v, s->n, a, now);
	}
	if (s->bad == 0)
		return EXIT_DONE;
	return verb_fail(EXIT_FINDING, "deny",
			 "%s:%zu cannot be read: correct that line, or take it out", s->path,
			 s->bad);
}

/* ---- the verb ------------------------------------------------------------------------ */

static int with_store(const struct asked *q, struct arena *a)
{
	int status = EXIT_DONE;
	struct config *c = verb_config("deny", q->file, a, &status);
	bool list = strcmp(q->command, "list") == 0;
	struct deny_store store;
	str why = STR_NONE;

	if (c == NULL)
		return status;
	if (deny_store_open(&store, str_cstr(a, server_deny_path(c, a)), !list, a, &why) == OK)
		status = list ? show(c, q, &store, a) : change(c, q, &store, a);
	else
		status = verb_fail(EXIT_FINDING, "deny", "%.*s", STR_ARG(why));
	deny_store_close(&store);
	return status;
}

int verb_deny(int argc, char **argv)
{
	struct asked q;
	struct arena a;
	int status = parse(argc, argv, &q), left = argc - optind - 1;
	char **words = argv + optind + 1;

	if (status >= 0)
		return status;
	if (q.command == NULL)
		return verb_misused("deny", "say add, list or remove");
	arena_init(&a, ARENA_UNBOUNDED);
	if (strcmp(q.command, "list") == 0)
		status = left > 0 || q.until || q.lasting || q.reply
				 ? verb_misused("deny", "list takes no more than --json")
				 : -1;
	else if (strcmp(q.command, "add") == 0)
		status = q.json ? verb_misused("deny", "--json belongs to list")
				: read_entry(&q, left, words, &a);
	else if (strcmp(q.command, "remove") == 0)
		status = q.json || q.until || q.lasting || q.reply
				 ? verb_misused("deny", "remove takes a kind and a value")
				 : read_entry(&q, left, words, &a);
	else
		status = verb_misused("deny", "unknown command \"%s\"", q.command);
	if (status < 0)
		status = with_store(&q, &a);
	arena_fini(&a);
	return status;
}
