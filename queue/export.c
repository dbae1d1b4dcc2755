/* SPDX-License-Identifier: ISC */
/*
 * One message as a file, whole or as much as is there.  Its rows are read in one
 * transaction, which ends before anything is written.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/check.h"
#include "queue/internal.h"

struct rows { FILE *out; uint64_t id, next, bytes; bool gap; };

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static bool write_row(void *arg, str key, str row)
{
	struct rows *r = arg;
	struct record_name name = { RECORD_BODY_ROW, r->id, record_key_number(key) };
	str body;

	if (name.number != r->next)
		r->gap = true;
	r->next = (uint64_t)name.number + 1;
	if (!record_open(row, name, &body))
		r->gap = true;
	else
		r->bytes += fwrite(body.p, 1, body.n, r->out);
	return ferror(r->out) == 0;
}

static enum err write_file(struct queue *q, uint64_t id, FILE *out, uint64_t *bytes)
{
	char path[BODY_PATH], piece[16 << 10];
	FILE *in = fopen(body_path(q, id, path), "rbe");
	size_t n;

	*bytes = 0;
	if (in == NULL)
		return ERR_BAD;
	while ((n = fread(piece, 1, sizeof(piece), in)) > 0 && ferror(out) == 0)
		*bytes += fwrite(piece, 1, n, out);
	n = (size_t)ferror(in);
	fclose(in);
	return n != 0 ? ERR_BAD : OK;
}

/* What is read in the transaction waits in memory: whoever takes it may be slow. */
struct taken { FILE *out; uint64_t file_bytes; bool file, damaged_file; const char *why; };

/* Without its own row nobody knows how long the content should be, or where it lies. */
static void take_ruin(struct store_txn *t, uint64_t id, struct taken *k)
{
	struct record_key key = record_key_message(id);
	struct rows r = { .out = k->out, .id = id };

	store_each(t, TABLE_BODY, key_of(&key), write_row, &r);
	k->file = k->damaged_file = r.bytes == 0;
	k->why = "its row is damaged: sender, recipients and the fields that were added here are not known";
}

static void take_entry(struct store_txn *t, const struct queue_entry *e, struct taken *k)
{
	struct record_key key = record_key_message(e->id);
	struct rows r = { .out = k->out, .id = e->id };

	if (e->head.n > 0)
		fwrite(e->head.p, 1, e->head.n, k->out);
	k->file = e->in_file;
	k->file_bytes = e->bytes;
	if (e->in_file)
		return;
	store_each(t, TABLE_BODY, key_of(&key), write_row, &r);
	if (r.gap || r.bytes != e->bytes)
		k->why = "a part of its content is damaged and left out";
}

static enum err take(struct queue *q, uint64_t id, struct taken *k)
{
	struct record_key key = record_key_message(id);
	struct queue_entry e = { 0 };
	struct store_txn t;
	enum err err = OK;
	str row;

	arena_init(&e.arena, (size_t)64 << 20);
	store_read(q->store, &t);
	if (!store_get(&t, TABLE_MESSAGE, key_of(&key), &row))
		err = t.err != OK ? t.err : ERR_ABSENT;
	else if (record_read_message(row, id, &e))
		take_entry(&t, &e, k);
	else
		take_ruin(&t, id, k);
	if (err == OK)
		err = t.err;
	store_end(&t);
	arena_fini(&e.arena);
	return err;
}

enum err queue_export(struct queue *q, uint64_t id, FILE *out, const char **why)
{
	char *text = NULL;
	size_t n = 0;
	uint64_t bytes = 0;
	struct taken k = { .out = open_memstream(&text, &n) };
	enum err e = k.out != NULL ? take(q, id, &k) : ERR_MEMORY;

	if (k.out != NULL && fclose(k.out) != 0)
		e = ERR_MEMORY;
	if (e == OK)
		fwrite(text, 1, n, out);
	free(text);
	if (e == OK && k.file && (write_file(q, id, out, &bytes) != OK || bytes != k.file_bytes) && !k.damaged_file)
		k.why = "the file of its content is missing or not as long as it should be";
	*why = k.why;
	if (e == OK && (fflush(out) != 0 || ferror(out))) {
		*why = strerror(errno);
		return ERR_IO;
	}
	return e == OK && k.why != NULL ? ERR_BAD : e;
}

struct ids { bool (*seen)(void *, uint64_t); void *arg; };

static bool id_seen(void *arg, str key, str row)
{
	struct ids *i = arg;

	(void)row;
	return key.n != 8 || i->seen(i->arg, record_key_id(key));
}

void queue_ids(struct queue *q, bool (*seen)(void *, uint64_t), void *arg)
{
	struct ids ids = { seen, arg };
	struct store_txn t;

	store_read(q->store, &t);
	store_each(&t, TABLE_MESSAGE, STR_NONE, id_seen, &ids);
	store_end(&t);
}
