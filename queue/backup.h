/* SPDX-License-Identifier: ISC */
/*
 * backup: the queue as one tar archive, and back.
 *
 *   postern-backup   what this is: format, time, version; one "name value" a line
 *   store/000001 …   the rows of one consistent snapshot: table (1), length of
 *                    key (2) and value (4), little-endian, key, value
 *   body/ID …        the large contents of exactly that snapshot
 *   end              counts, and the SHA-256 of everything before
 *
 * A backup is made beside a running server or without one.  Large contents are
 * pinned by a second name first, so that the snapshot is held only while rows
 * are written; a message whose content went in that moment has finished, and
 * its rows are left out, too.  In a verb.
 */
#ifndef QUEUE_BACKUP_H
#define QUEUE_BACKUP_H

#include "queue/queue.h"

#define BACKUP_MAP_PERCENT 85      /* of the map in use: a backup gives way to mail */

enum backup_table { BACKUP_MESSAGE = 1, BACKUP_RCPT, BACKUP_BODY, BACKUP_META, BACKUP_FINISHED, BACKUP_NOTE };

struct backup { uint64_t messages, rows, files, left_out; };

/* To a descriptor.  ERR_BUSY: the map is, or became, too full to hold a
 * snapshot; ERR_CLOSED: nobody reads any more. */
enum err queue_backup(const struct queue_conf *, const char *version, int fd, struct backup *, struct arena *, str *why);

struct restore {
	bool      force;           /* also in the place of a queue that is not empty */
	int64_t   written;         /* when the backup was made */
	uint64_t  messages, files, damaged;
	char     *kept;            /* where the queue that was there lies now; NULL: there was none */
};

/* From a descriptor of a plain file.  Everything is checked before anything is
 * touched.  ERR_DENIED: a server runs, or the queue is not empty; ERR_BAD: the
 * archive is not whole. */
enum err queue_restore(const struct queue_conf *, int fd, struct restore *, struct arena *, str *why);
/* NULL: whole; else what is wrong.  For its fuzz target, too. */
struct tar_in;
struct backup_seen { int64_t written; uint64_t messages, rows, files; };
typedef bool backup_row(void *arg, enum backup_table, str key, str value);
typedef bool backup_file(void *arg, uint64_t id, struct tar_in *);
const char *backup_read(struct tar_in *, struct backup_seen *, backup_row *, backup_file *, void *arg);

#endif
