/* SPDX-License-Identifier: ISC */
/*
 * Step 1: the file in tmp/.
 *
 * Return-Path and Delivered-To, the head, the content, CRLF as LF.  Its size is
 * part of its name and known at the end, so the file gets its full name when
 * it is complete.  A file that could not be finished is taken away.  Disk desk.
 */
#include "queue/deliver/maildir_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/map.h"
#include "smtpd/mail/trace.h"

/* ---- the name --------------------------------------------------------------------------------- */

static str host_of(struct arena *a, str hostname)
{
	str   kept = str_keep(a, hostname);
	char *p = (char *)(uintptr_t)kept.p;

	for (size_t i = 0; i < kept.n; i++)
		if (!is_alnum(p[i]) && p[i] != '.' && p[i] != '-' && p[i] != '_')
			p[i] = '-';
	return kept;
}

static uint32_t mailbox_hash(str dir)
{
	static const uint8_t key[16] = "postern maildir";

	return (uint32_t)siphash(key, dir);
}

/* Time and random number tell stores and lives apart, id and index messages and
 * recipients within one, the hash mailboxes. */
static str base_name(struct maildir_item *i)
{
	uint64_t us = clock_wall_us();
	char id[QUEUE_ID_TEXT];
	str text = queue_id_text(i->lease->entry->id, id);

	return arena_printf(&i->lease->arena, "%" PRIu64 ".M%06" PRIu64 "P%016" PRIx64 "Q%.*sR%" PRIu32 "H%08" PRIx32 ".%.*s",
	                    us / 1000000, us % 1000000, queue_random(i->batch->queue), STR_ARG(text), i->rcpt->index,
	                    mailbox_hash(i->dir), STR_ARG(host_of(&i->lease->arena, i->batch->hostname)));
}

/* ---- bytes -------------------------------------------------------------------------------------- */

struct writer {
	int      fd;
	char    *p;
	size_t   n, room;
	uint64_t written;
	bool     cr;            /* one is held back: LF may follow */
	int      errnum;
};

static void flush_out(struct writer *w)
{
	size_t at = 0;

	while (at < w->n && w->errnum == 0) {
		ssize_t n = write(w->fd, w->p + at, w->n - at);

		if (n == 0 || (n < 0 && errno != EINTR))
			w->errnum = n == 0 ? EIO : errno;
		else if (n > 0)
			at += (size_t)n;
	}
	w->written += at;
	w->n = 0;
}

static void put(struct writer *w, str s)
{
	while (s.n > 0 && w->errnum == 0) {
		size_t n = s.n < w->room - w->n ? s.n : w->room - w->n;

		memcpy(w->p + w->n, s.p, n);
		w->n += n;
		s = str_skip(s, n);
		if (w->n == w->room)
			flush_out(w);
	}
}

/* CRLF becomes LF; a CR alone stays. */
static void put_lines(struct writer *w, str s)
{
	while (s.n > 0) {
		size_t cr;

		if (w->cr && s.p[0] != '\n')
			put(w, STR("\r"));
		w->cr = false;
		cr = str_find(s, '\r');
		put(w, str_head(s, cr));
		w->cr = cr < s.n;
		s = str_skip(s, cr + 1);
	}
}

static enum err put_from_queue(struct maildir_item *i, struct writer *w, char *window, size_t room)
{
	const struct queue_entry *e = i->lease->entry;

	for (uint64_t at = 0; at < e->bytes && w->errnum == 0;) {
		uint64_t left = e->bytes - at;
		size_t got = 0;
		enum err err = queue_read(i->batch->queue, e->id, e->in_file, at, window, left < room ? (size_t)left : room, &got);

		if (err != OK)
			return err;
		if (got == 0)
			return ERR_BAD;
		put_lines(w, (str){ window, got });
		at += got;
	}
	return OK;
}

/* Half of the window gathers output, the other half takes what is read. */
static bool write_message(struct maildir_item *i, int fd, char *window, size_t room, uint64_t *size)
{
	const struct queue_entry *e = i->lease->entry;
	struct arena *a = &i->lease->arena;
	struct writer w = { .fd = fd, .p = window, .room = room / 2 };
	enum err err = OK;
	str said;

	put_lines(&w, trace_return_path(a, lease_sender(i->lease, i->rcpt)));
	put_lines(&w, trace_delivered_to(a, i->rcpt->address));
	put_lines(&w, i->rcpt->head);
	put_lines(&w, lease_head(i->lease));
	if (e->content.p != NULL)
		put_lines(&w, e->content);
	else
		err = put_from_queue(i, &w, window + room / 2, room / 2);
	if (w.cr)
		put(&w, STR("\r"));
	flush_out(&w);
	*size = w.written;
	if (err != OK) {
		enum fate fate = lease_unreadable(a, err, &said);

		lease_settle(i->lease, i->rcpt, fate, STR("4.3.0"), said);
	} else if (w.errnum != 0 || a->spent) {
		maildir_failed(i, "The message could not be written in", w.errnum != 0 ? w.errnum : ENOMEM);
	}
	return err == OK && w.errnum == 0 && !a->spent;
}

/* ---- the file ------------------------------------------------------------------------------------- */

static int make_file(struct maildir_item *i)
{
	const struct place *place = i->rcpt->place;
	char *name = str_cstr(&i->lease->arena, i->name);
	int fd = name == NULL ? -1 : openat(i->folder, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0) {
		maildir_failed(i, "No file could be made in", name == NULL ? ENOMEM : errno);
		return -1;
	}
	if ((place->gid != (gid_t)-1 && fchown(fd, (uid_t)-1, place->gid) != 0) || fchmod(fd, place->mode & 0666) != 0) {
		maildir_failed(i, "The group or mode of a file could not be set in", errno);
		close(fd);
		maildir_unwrite(i);
		return -1;
	}
	return fd;
}

static bool name_with_size(struct maildir_item *i, uint64_t size)
{
	struct arena *a = &i->lease->arena;
	str full = arena_printf(a, "%.*s,S=%" PRIu64, STR_ARG(i->name), size);
	char *from = str_cstr(a, i->name), *to = str_cstr(a, full);

	if (from == NULL || to == NULL || renameat(i->folder, from, i->folder, to) != 0) {
		maildir_failed(i, "A file could not be renamed in", to == NULL ? ENOMEM : errno);
		return false;
	}
	i->name = full;
	return true;
}

void maildir_unwrite(struct maildir_item *i)
{
	char *name = str_cstr(&i->lease->arena, i->name);

	if (name != NULL && i->folder >= 0)
		unlinkat(i->folder, name, 0);
}

bool maildir_write(struct maildir_item *i, char *window, size_t room)
{
	uint64_t size;

	i->folder = maildir_folder(i, "tmp", true);
	if (i->folder < 0)
		return false;
	i->name = base_name(i);
	i->file = make_file(i);
	if (i->file < 0)
		return false;
	if (write_message(i, i->file, window, room, &size) && name_with_size(i, size))
		return true;
	maildir_unwrite(i);
	return false;
}
