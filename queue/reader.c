/* SPDX-License-Identifier: ISC */
/*
 * Reading for deliveries and reports: each call its own short read
 * transaction.  Disk desk, verbs, and the main thread before the others run.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "queue/internal.h"
#include "smtpd/base/log.h"

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static void name_bad(uint64_t id, const char *what)
{
	char text[QUEUE_ID_TEXT];

	log_event(NULL, LOG_ERROR, "record.damaged", KV("id", queue_id_text(id, text)), KV_C("what", what),
	          KV_C("why", "its checksum does not hold: it is left alone, everything else goes on"));
}

struct filling { struct queue_entry *entry; bool bad; };

static bool fill_rcpt(void *arg, str key, str row)
{
	struct filling *f = arg;
	uint32_t n = record_key_number(key);

	if (n >= f->entry->nrcpts || !record_read_rcpt(row, &f->entry->arena, &f->entry->rcpts[n]))
		f->bad = true;
	return true;
}

enum err entry_read(struct store_txn *t, str row, struct queue_entry **out)
{
	struct filling f = { .entry = entry_new() };
	struct record_key k;

	if (f.entry == NULL)
		return ERR_MEMORY;
	if (!record_read_message(row, f.entry)) {
		queue_entry_free(f.entry);
		return ERR_BAD;
	}
	k = record_key_message(f.entry->id);
	store_each(t, TABLE_RCPT, key_of(&k), fill_rcpt, &f);
	if (f.bad || t->err != OK) {
		queue_entry_free(f.entry);
		return f.bad ? ERR_BAD : t->err;
	}
	*out = f.entry;
	return OK;
}

enum err queue_load(struct queue *q, uint64_t id, struct queue_entry **out)
{
	struct record_key k = record_key_message(id);
	struct store_txn t;
	enum err e = ERR_ABSENT;
	str row;

	store_read(q->store, &t);
	if (store_get(&t, TABLE_MESSAGE, key_of(&k), &row))
		e = entry_read(&t, row, out);
	else if (t.err != OK)
		e = t.err;
	store_end(&t);
	if (e == ERR_BAD)
		name_bad(id, "message");
	return e;
}

/* ---- all of them ------------------------------------------------------------------- */

struct walking {
	struct store_txn *t;
	void (*seen)(void *, struct queue_entry *);
	void *arg;
	enum err err;
};

static bool walk_one(void *arg, str key, str row)
{
	struct walking *w = arg;
	struct queue_entry *e = NULL;
	enum err got = entry_read(w->t, row, &e);

	if (got == OK)
		w->seen(w->arg, e);
	else if (got == ERR_BAD)
		name_bad(record_key_id(key), "message");
	else
		w->err = got;
	return w->err == OK;
}

enum err queue_walk(struct queue *q, void (*seen)(void *, struct queue_entry *), void *arg)
{
	struct store_txn t;
	struct walking w = { &t, seen, arg, OK };

	store_read(q->store, &t);
	store_each(&t, TABLE_MESSAGE, STR_NONE, walk_one, &w);
	if (t.err != OK)
		w.err = t.err;
	store_end(&t);
	return w.err;
}

/* ---- content ------------------------------------------------------------------------- */

static enum err read_file(struct queue *q, uint64_t id, uint64_t offset, char *out, size_t n, size_t *got)
{
	char path[BODY_PATH];
	int fd = open(body_path(q, id, path), O_RDONLY | O_CLOEXEC);
	enum err e = fd < 0 ? err_of_errno(errno) : OK;

	while (e == OK && *got < n) {
		ssize_t r = pread(fd, out + *got, n - *got, (off_t)(offset + *got));

		if (r == 0)
			break;
		if (r < 0 && errno != EINTR)
			e = ERR_IO;
		if (r > 0)
			*got += (size_t)r;
	}
	if (fd >= 0)
		close(fd);
	return e;
}

static enum err read_rows(struct queue *q, uint64_t id, uint64_t offset, char *out, size_t n, size_t *got)
{
	struct store_txn t;
	enum err e = OK;

	store_read(q->store, &t);
	while (e == OK && *got < n) {
		uint64_t at = offset + *got;
		struct record_key k = record_key_part(id, (uint32_t)(at / RECORD_BODY));
		str row, body;

		if (!store_get(&t, TABLE_BODY, key_of(&k), &row))
			break;
		if (!record_open(row, RECORD_BODY_ROW, &body)) {
			name_bad(id, "body");
			e = ERR_BAD;
			break;
		}
		body = str_head(str_skip(body, at % RECORD_BODY), n - *got);
		if (body.n == 0)
			break;
		memcpy(out + *got, body.p, body.n);
		*got += body.n;
	}
	if (t.err != OK)
		e = t.err;
	store_end(&t);
	return e;
}

enum err queue_read(struct queue *q, uint64_t id, bool in_file, uint64_t offset, char *out, size_t n, size_t *got)
{
	*got = 0;
	return in_file ? read_file(q, id, offset, out, n, got) : read_rows(q, id, offset, out, n, got);
}
