/* SPDX-License-Identifier: ISC */
/*
 * The verbs that work on the queue's files and not through the server: queue
 * check, export, backup, restore and salvage.
 *
 * What they open in the state directory they open as its owner, so that nothing
 * of root's is left there; the operator's files are the operator's.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/backup.h"
#include "queue/check.h"
#include "queue/report.h"
#include "queue/salvage.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

#define TRIES    3                /* of a backup whose map is full */
#define WAIT_MS  2000             /* between them */

struct files_verb {
	const char        *file;   /* the configuration */
	bool               json, all, force;
	const char        *word, *name;       /* the verb's and its argument */
	struct arena       arena;
	struct config     *config;
	struct queue_conf  conf;
};

/* ---- who we are -------------------------------------------------------------------------- */

static bool is_owner;

static void as_owner(struct files_verb *v)
{
	char *path = str_cstr(&v->arena, v->conf.state);
	struct stat st;

	if (geteuid() != 0 || path == NULL || stat(path, &st) != 0 || st.st_uid == 0)
		return;
	is_owner = setegid(st.st_gid) == 0 && seteuid(st.st_uid) == 0;
}

static void as_ourselves(void)
{
	if (is_owner)
		must(seteuid(0) == 0 && setegid(0) == 0);
	is_owner = false;
}

static int fail(enum err e, str why)
{
	return verb_fail(e == ERR_BUSY ? EXIT_LATER : EXIT_FINDING, "queue", "%.*s", STR_ARG(why));
}

static struct queue *open_reading(struct files_verb *v, int *status)
{
	str why = STR_NONE;
	struct queue *q;

	as_owner(v);
	q = queue_open_reading(&v->conf, &v->arena, &why);
	as_ourselves();
	if (q == NULL)
		*status = fail(ERR_IO, why);
	return q;
}

/* While no server runs LMDB meets a sound file only.  NULL: it may. */
static const char *stopped_and_damaged(struct files_verb *v)
{
	char *lock = str_cstr(&v->arena, arena_printf(&v->arena, "%.*s/queue/lock", STR_ARG(v->conf.state)));
	char *path = str_cstr(&v->arena, arena_printf(&v->arena, "%.*s/queue/queue.mdb", STR_ARG(v->conf.state)));
	int fd = open(lock, O_RDONLY | O_CLOEXEC);
	const char *fault = NULL;
	enum err e;

	if (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0)
		fault = queue_pages_fault(path, &v->arena, &e);
	if (fd >= 0)
		close(fd);
	return fault != NULL && fault[0] != '\0' ? fault : NULL;
}

#define TODO_START "start the server: it keeps this file and salvages what it holds"

static bool refused_as_damaged(struct files_verb *v, int *status)
{
	const char *fault = stopped_and_damaged(v);

	if (fault != NULL)
		*status = verb_fail(EXIT_FINDING, "queue", "the store is damaged (%s): " TODO_START, fault);
	return fault != NULL;
}

/* ---- check ---------------------------------------------------------------------------------- */

struct checked { struct json *list; };

static void found_wrong(void *arg, uint64_t id, const char *what, const char *todo)
{
	struct checked *c = arg;
	char text[QUEUE_ID_TEXT];
	str name = id != 0 ? queue_id_text(id, text) : STR("-");

	if (c->list == NULL) {
		printf("%-11.*s  %s: %s\n", STR_ARG(name), what, todo);
		return;
	}
	struct json *one = json_add_object(c->list);

	json_set(one, "id", id != 0 ? name : STR_NONE);
	json_set_c(one, "what", what);
	json_set_c(one, "todo", todo);
}

static void print_counts(struct json *root, const struct check_counts *n)
{
	if (root == NULL) {
		printf("%" PRIu64 " messages, %" PRIu64 " recipients, %" PRIu64 " octets of content (%" PRIu64 " files), %" PRIu64
		       " finished, %" PRIu64 " notes: %s\n", n->messages, n->recipients, n->bytes, n->files, n->finished, n->notes,
		       n->wrong == 0 ? "nothing is wrong" : n->wrong == 1 ? "one thing is wrong" : "see above");
		return;
	}
	json_set_bool(root, "ok", n->wrong == 0);
	json_set_num(root, "messages", (int64_t)n->messages);
	json_set_num(root, "recipients", (int64_t)n->recipients);
	json_set_num(root, "rows", (int64_t)n->rows);
	json_set_num(root, "files", (int64_t)n->files);
	json_set_num(root, "bytes", (int64_t)n->bytes);
	json_set_num(root, "finished", (int64_t)n->finished);
	json_set_num(root, "notes", (int64_t)n->notes);
	json_print(root, stdout);
}

static int run_check(struct files_verb *v)
{
	struct json *root = v->json ? json_new_object() : NULL;
	struct checked c = { .list = root ? json_set_array(root, "wrong") : NULL };
	struct check_counts n = { 0 };
	const char *fault = stopped_and_damaged(v);
	int status = EXIT_DONE;
	struct queue *q = NULL;
	enum err e = OK;

	if (fault != NULL) {
		found_wrong(&c, 0, str_cstr(&v->arena, arena_printf(&v->arena, "the store is damaged (%s)", fault)), TODO_START);
		n.wrong++;
	} else {
		q = open_reading(v, &status);
		if (q == NULL)
			return status;
		e = queue_check(q, &n, found_wrong, &c);
		queue_close(q);
	}
	if (e != OK)
		return fail(e, arena_printf(&v->arena, "the store cannot be read to its end: %s", err_text(e)));
	print_counts(root, &n);
	return n.wrong > 0 ? EXIT_FINDING : EXIT_DONE;
}

/* ---- export --------------------------------------------------------------------------------- */

static int say_export(enum err e, const char *id, const char *why)
{
	if (e == OK)
		return EXIT_DONE;
	if (e == ERR_ABSENT)
		return verb_fail(EXIT_FINDING, "queue", "no message %s is in the queue: `postern queue list` shows what is there", id);
	return verb_fail(EXIT_FINDING, "queue", "%s: %s%s", id, why != NULL ? why : err_text(e),
	                 e == ERR_BAD ? ": the rest was written" : "");
}

static bool collect(void *arg, uint64_t id)
{
	buf_add(arg, (str){ (const char *)&id, sizeof(id) });
	return !((struct buf *)arg)->failed;
}

static int export_to(struct queue *q, int folder, uint64_t id)
{
	char text[QUEUE_ID_TEXT], name[32];
	const char *why = NULL;
	FILE *out;
	enum err e;
	int fd;

	snprintf(name, sizeof(name), "%s.eml", queue_id_text(id, text).p);
	fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (out == NULL)
		return verb_fail(EXIT_FINDING, "queue", "%s: %s", name, strerror(errno));
	e = queue_export(q, id, out, &why);
	if (fclose(out) != 0 && e == OK)
		return verb_fail(EXIT_FINDING, "queue", "%s: %s", name, strerror(errno));
	if (e == ERR_ABSENT) {
		unlinkat(folder, name, 0);      /* it has finished meanwhile */
		return EXIT_DONE;
	}
	return say_export(e, text, why);
}

static int export_all(struct files_verb *v, struct queue *q)
{
	int folder, status = EXIT_DONE;
	size_t n = 0;
	struct buf ids;
	uint64_t id;

	if (mkdir(v->name, 0700) != 0 && errno != EEXIST)
		return verb_fail(EXIT_FINDING, "queue", "%s: %s", v->name, strerror(errno));
	folder = open(v->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return verb_fail(EXIT_FINDING, "queue", "%s: %s", v->name, strerror(errno));
	buf_init(&ids, BUF_UNBOUNDED);
	queue_ids(q, collect, &ids);
	for (str rest = buf_str(&ids); rest.n >= sizeof(id); rest = str_skip(rest, sizeof(id)), n++) {
		memcpy(&id, rest.p, sizeof(id));
		if (export_to(q, folder, id) != EXIT_DONE)
			status = EXIT_FINDING;
	}
	buf_fini(&ids);
	close(folder);
	printf("%zu message%s in %s\n", n, n == 1 ? "" : "s", v->name);
	return status;
}

static int run_export(struct files_verb *v)
{
	int status = EXIT_DONE;
	struct queue *q;
	const char *why = NULL;
	uint64_t id = 0;

	if (!v->all && !queue_id_parse(str_of(v->name), &id))
		return verb_misused("queue", "\"%s\" is not a message's number (`postern queue list` shows them)", v->name);
	if (refused_as_damaged(v, &status))
		return status;
	q = open_reading(v, &status);
	if (q == NULL)
		return status;
	status = v->all ? export_all(v, q) : say_export(queue_export(q, id, stdout, &why), v->name, why);
	queue_close(q);
	return status;
}

/* ---- backup ------------------------------------------------------------------------------------ */

static enum err write_backup(struct files_verb *v, int fd, struct backup *b, str *why)
{
	enum err e = ERR_BUSY;

	as_owner(v);
	for (int i = 0; i < TRIES && e == ERR_BUSY; i++) {
		if (i > 0 && (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0))
			break;                  /* what has left cannot be called back */
		if (i > 0)
			usleep(WAIT_MS * 1000);
		e = queue_backup(&v->conf, POSTERN_VERSION, fd, b, &v->arena, why);
	}
	as_ourselves();
	if (e == ERR_BUSY)
		*why = arena_printf(&v->arena, "more than %d %% of the queue's map is in use, and a backup would keep mail from using it: "
		                    "try again when there is less in the queue, or make queue { size } larger", BACKUP_MAP_PERCENT);
	return e;
}

static int backup_to_output(struct files_verb *v)
{
	struct backup b;
	str why = STR_NONE;
	enum err e;

	if (isatty(STDOUT_FILENO))
		return verb_misused("queue", "an archive is not for a terminal: name a file, or lead it into a command");
	e = write_backup(v, STDOUT_FILENO, &b, &why);
	return e == OK ? EXIT_DONE : fail(e, why);
}

/* Under another name until it is complete: an older backup stays until then. */
static int backup_to_file(struct files_verb *v)
{
	char *part = str_cstr(&v->arena, arena_printf(&v->arena, "%s.part", v->name));
	int fd;
	struct backup b;
	str why = STR_NONE;
	enum err e;

	unlink(part);
	fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return verb_fail(EXIT_FINDING, "queue", "%s: %s", part, strerror(errno));
	e = write_backup(v, fd, &b, &why);
	if (e == OK && (fsync(fd) != 0 || rename(part, v->name) != 0)) {
		why = arena_printf(&v->arena, "%s: %s", v->name, strerror(errno));
		e = ERR_IO;
	}
	close(fd);
	if (e != OK) {
		unlink(part);
		return fail(e, why);
	}
	printf("%" PRIu64 " messages, %" PRIu64 " rows, %" PRIu64 " large contents: %s\n", b.messages, b.rows, b.files, v->name);
	return EXIT_DONE;
}

static int run_backup(struct files_verb *v)
{
	int status;

	if (refused_as_damaged(v, &status))
		return status;
	signal(SIGPIPE, SIG_IGN);
	return strcmp(v->name, "-") == 0 ? backup_to_output(v) : backup_to_file(v);
}

/* ---- restore, salvage ------------------------------------------------------------------------------ */

static int run_restore(struct files_verb *v)
{
	struct restore r = { .force = v->force };
	int fd = open(v->name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	str why = STR_NONE;
	enum err e;

	if (fd < 0)
		return verb_fail(EXIT_FINDING, "queue", "%s: %s", v->name, strerror(errno));
	as_owner(v);
	e = queue_restore(&v->conf, fd, &r, &v->arena, &why);
	as_ourselves();
	close(fd);
	if (e != OK)
		return fail(e == ERR_BUSY ? ERR_IO : e, why);
	printf("%" PRIu64 " message%s back, held: `postern queue list` shows them, `postern queue release --all` sends them\n",
	       r.messages, r.messages == 1 ? " is" : "s are");
	if (r.damaged > 0)
		printf("%" PRIu64 " of them were damaged before the backup was made\n", r.damaged);
	if (r.kept != NULL)
		printf("the queue that was there is kept in %s\n", r.kept);
	return EXIT_DONE;
}

static void name_salvaged(void *arg, uint64_t id, enum salvage_what what, const char *why)
{
	static const char *const words[] = { [SALVAGE_HELD] = "held", [SALVAGE_DAMAGED] = "damaged", [SALVAGE_LOST] = "lost" };
	char text[QUEUE_ID_TEXT];

	(void)arg;
	printf("%-11s  %-8s %s\n", queue_id_text(id, text).p, words[what], why);
}

static int run_salvage(struct files_verb *v)
{
	struct salvage s = { .tell = name_salvaged };
	str why = STR_NONE;
	enum err e;

	as_owner(v);
	e = queue_salvage_file(&v->conf, v->name, &s, &v->arena, &why);
	as_ourselves();
	if (e != OK)
		return fail(e == ERR_BUSY ? ERR_IO : e, why);
	printf("%" PRIu64 " messages are back, held (%" PRIu64 " of them damaged); %" PRIu64 " are lost, %" PRIu64
	       " had ended, %" PRIu64 " were here already: `postern queue list` shows what is here, `postern queue release --all` sends it\n",
	       s.messages, s.damaged, s.lost, s.finished, s.present);
	return s.damaged + s.lost > 0 ? EXIT_FINDING : EXIT_DONE;
}

/* ---- the verb -------------------------------------------------------------------------------------------- */

static const struct form {
	const char *word;
	bool        named, json, all, force;
	int       (*run)(struct files_verb *);
} forms[] = {
	{ "check",   false, true,  false, false, run_check },   { "export",  true,  false, true,  false, run_export },
	{ "backup",  true,  false, false, false, run_backup },  { "restore", true,  false, false, true,  run_restore },
	{ "salvage", true,  false, false, false, run_salvage },
};

static const struct form *form_of(const char *word)
{
	for (size_t i = 0; word != NULL && i < COUNT(forms); i++)
		if (strcmp(word, forms[i].word) == 0)
			return &forms[i];
	return NULL;
}

static int parse(int argc, char **argv, struct files_verb *v)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' }, { "force", no_argument, NULL, 'f' }, { 0 },
	};
	int c, n = 0;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			v->file = optarg;
		else if (c == 'j')
			v->json = true;
		else if (c == 'a')
			v->all = true;
		else if (c == 'f')
			v->force = true;
		else if (c == ':')
			return verb_misused("queue", "%s needs a value", argv[optind - 1]);
		else
			return verb_misused("queue", "unknown option %s", argv[optind - 1]);
	}
	for (int i = optind; i < argc; i++, n++) {
		if (n == 0)
			v->word = argv[i];
		else if (n == 1)
			v->name = argv[i];
	}
	return n > 2 ? verb_misused("queue", "too many words") : -1;
}

static int fits(const struct form *f, const struct files_verb *v)
{
	if ((v->json && !f->json) || (v->all && !f->all) || (v->force && !f->force))
		return verb_misused("queue", "%s takes no --%s", f->word, v->json && !f->json ? "json" : v->all && !f->all ? "all" : "force");
	if (f->named && v->name == NULL)
		return verb_misused("queue", "%s needs %s", f->word, v->all ? "a directory" : f->all ? "an id, or --all and a directory" : "a file");
	if (!f->named && v->name != NULL)
		return verb_misused("queue", "%s takes no id", f->word);
	return -1;
}

bool verb_queue_is_about_files(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--config") == 0)
			i++;
		else if (argv[i][0] != '-')
			return form_of(argv[i]) != NULL;
	}
	return false;
}

int verb_queue_files(int argc, char **argv)
{
	struct files_verb v = { .file = CONFIG_FILE };
	int status = parse(argc, argv, &v);
	const struct form *f = form_of(v.word);

	if (status < 0)
		status = f != NULL ? fits(f, &v) : verb_misused("queue", "unknown command");
	if (status >= 0)
		return status;
	crypt_setup();
	arena_init(&v.arena, ARENA_UNBOUNDED);
	v.config = verb_config("queue", v.file, &v.arena, &status);
	if (v.config != NULL) {
		v.conf = (struct queue_conf){
			.state = v.config->state, .map_bytes = v.config->queue.map_bytes,
			.full_percent = v.config->queue.full_percent, .free_disk_percent = v.config->queue.free_disk_percent,
			.keep_finished_ms = v.config->queue.keep_finished_ms,
		};
		status = f->run(&v);
	}
	arena_fini(&v.arena);
	return status;
}
