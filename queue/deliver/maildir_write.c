/* SPDX-License-Identifier: ISC */
/*
 * Step 1: the file in tmp/.
 *
 * Return-Path and Delivered-To, the head, the content, CRLF as LF.  Its size is
 * part of its name: what fits the window is gathered first and its file made with
 * the full name at once; a longer one gets its full name when it is complete.  A
 * file that could not be finished is taken away.  Disk desk.
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

/* ---- the file ------------------------------------------------------------------------------------- */

static int make_file(struct maildir_item *i)
{
	const struct place *place = i->rcpt->place;
	char *name = str_cstr(&i->lease->arena, i->name);
	int fd = name == NULL ? -1 : openat(i->folder->fd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0) {
		maildir_failed(i, "No file could be made in", name == NULL ? ENOMEM : errno);
		return -1;
	}
	if ((place->gid != (gid_t)-1 && fchown(fd, (uid_t)-1, place->gid) != 0) ||
	    ((place->mode & 0666) != 0600 && fchmod(fd, place->mode & 0666) != 0)) {
		maildir_failed(i, "The group or mode of a file could not be set in", errno);
		close(fd);
		maildir_unwrite(i);
		return -1;
	}
	return fd;
}

static str name_with_size(struct maildir_item *i, uint64_t size)
{
	return arena_printf(&i->lease->arena, "%.*s,S=%" PRIu64, STR_ARG(i->name), size);
}

static bool give_size(struct maildir_item *i, uint64_t size)
{
	struct arena *a = &i->lease->arena;
	str full = name_with_size(i, size);
	char *from = str_cstr(a, i->name), *to = str_cstr(a, full);

	if (from == NULL || to == NULL || renameat(i->folder->fd, from, i->folder->fd, to) != 0) {
		maildir_failed(i, "A file could not be renamed in", to == NULL ? ENOMEM : errno);
		return false;
	}
	i->name = full;
	return true;
}

/* ---- bytes -------------------------------------------------------------------------------------- */

struct writer {
	struct maildir_item *item;
	char    *p;
	size_t   n, room;
	uint64_t written;
	bool     cr;            /* one is held back: LF may follow */
	int      errnum;
	bool     settled;       /* there is no file, and the recipient has been told */
};

static bool has_failed(const struct writer *w)
{
	return w->errnum != 0 || w->settled;
}

static void flush_out(struct writer *w)
{
	size_t at = 0;

	if (w->item->file < 0)
		w->item->file = make_file(w->item);
	w->settled = w->item->file < 0;
	while (at < w->n && !has_failed(w)) {
		ssize_t n = write(w->item->file, w->p + at, w->n - at);

		if (n == 0 || (n < 0 && errno != EINTR))
			w->errnum = n == 0 ? EIO : errno;
		else if (n > 0)
			at += (size_t)n;
	}
	w->written += at;
	w->n = 0;
}

/* There is always room for one more. */
static void put_cr(struct writer *w)
{
	w->p[w->n++] = '\r';
	if (w->n == w->room)
		flush_out(w);
}

/* Copies s with LF for CRLF, a CR alone as it is; *cr: its last one is held back.
 * Returns how many bytes that were, never more than s has. */
static size_t copy_lines(char *out, str s, bool *cr)
{
	const char *p = s.p, *end = s.p + s.n, *at;
	char *to = out;

	while ((at = memchr(p, '\r', (size_t)(end - p))) != NULL) {
		memcpy(to, p, (size_t)(at - p));
		to += at - p;
		p = at + 1;
		if (p == end) {
			*cr = true;
			return (size_t)(to - out);
		}
		if (*p != '\n')
			*to++ = '\r';
	}
	memcpy(to, p, (size_t)(end - p));
	return (size_t)(to - out) + (size_t)(end - p);
}

static void put_lines(struct writer *w, str s)
{
	while (s.n > 0 && !has_failed(w)) {
		str part;

		if (w->cr && s.p[0] != '\n')
			put_cr(w);
		w->cr = false;
		part = str_head(s, w->room - w->n);
		w->n += copy_lines(w->p + w->n, part, &w->cr);
		s = str_skip(s, part.n);
		if (w->n == w->room)
			flush_out(w);
	}
}

static enum err put_rows(struct maildir_item *i, struct writer *w, struct maildir_window *window)
{
	const struct queue_entry *e = i->lease->entry;

	for (uint64_t at = 0; at < e->bytes && !has_failed(w);) {
		size_t got = 0;
		enum err err = queue_read(i->batch->queue, e->id, false, at, window->in, sizeof(window->in), &got);

		if (err != OK)
			return err;
		if (got == 0)
			return ERR_BAD;
		put_lines(w, (str){ window->in, got });
		at += got;
	}
	return OK;
}

static enum err put_file(struct maildir_item *i, struct writer *w, struct maildir_window *window)
{
	const struct queue_entry *e = i->lease->entry;
	int fd;
	enum err err = queue_body_open(i->batch->queue, e->id, &fd);

	for (uint64_t at = 0; err == OK && at < e->bytes && !has_failed(w);) {
		uint64_t left = e->bytes - at;
		size_t n = left < sizeof(window->in) ? (size_t)left : sizeof(window->in);

		err = queue_body_read(fd, at, window->in, n);
		if (err == OK)
			put_lines(w, (str){ window->in, n });
		at += n;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static enum err put_message(struct maildir_item *i, struct writer *w, struct maildir_window *window)
{
	const struct queue_entry *e = i->lease->entry;
	struct arena *a = &i->lease->arena;
	enum err err = OK;

	put_lines(w, trace_return_path(a, lease_sender(i->lease, i->rcpt)));
	put_lines(w, trace_delivered_to(a, i->rcpt->address));
	put_lines(w, i->rcpt->head);
	put_lines(w, lease_head(i->lease));
	if (e->content.p != NULL)
		put_lines(w, e->content);
	else
		err = e->in_file ? put_file(i, w, window) : put_rows(i, w, window);
	if (w->cr && !has_failed(w))
		put_cr(w);
	return err;
}

/* The last piece; a file that was not needed so far has its whole name from the start. */
static bool finish(struct maildir_item *i, struct writer *w)
{
	bool is_new = i->file < 0;

	if (is_new)
		i->name = name_with_size(i, w->n);
	flush_out(w);
	return !has_failed(w) && (is_new || give_size(i, w->written));
}

static bool write_message(struct maildir_item *i, struct maildir_window *window)
{
	struct writer w = { .item = i, .p = window->out, .room = window->room };
	enum err err = put_message(i, &w, window);
	str said;

	if (err != OK) {
		enum fate fate = lease_unreadable(&i->lease->arena, err, &said);

		lease_settle(i->lease, i->rcpt, fate, STR("4.3.0"), said);
		return false;
	}
	if (i->lease->arena.spent)
		w.errnum = ENOMEM;
	if (!has_failed(&w) && finish(i, &w))
		return true;
	if (w.errnum != 0)
		maildir_failed(i, "The message could not be written in", w.errnum);
	return false;
}

/* ---- both ---------------------------------------------------------------------------------------- */

void maildir_unwrite(struct maildir_item *i)
{
	char *name = str_cstr(&i->lease->arena, i->name);

	if (name != NULL && i->folder != NULL)
		unlinkat(i->folder->fd, name, 0);
}

bool maildir_write(struct maildir_item *i, struct maildir_window *window)
{
	i->folder = maildir_open(i, "tmp", true);
	if (i->folder == NULL)
		return false;
	i->name = base_name(i);
	if (write_message(i, window))
		return true;
	if (i->file >= 0)
		maildir_unwrite(i);
	return false;
}
