/* SPDX-License-Identifier: ISC */
/*
 * buf: one piece of storage with a moving front.  Bytes move to its beginning
 * only when at least half of it was eaten, so each byte moves about once.
 * Storage that is left behind while growing is zeroed: it may hold secrets.
 */
#include "smtpd/base/buf.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/base/format.h"

#define ROOM_LEAST ((size_t)256)

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_fini(struct buf *b)
{
	free(b->p);
	buf_init(b, b->max);
}

void buf_wipe(struct buf *b)
{
	if (b->p != NULL)
		explicit_bzero(b->p, b->room);
	buf_fini(b);
}

static size_t doubled(const struct buf *b)
{
	size_t room = b->room < ROOM_LEAST / 2 ? ROOM_LEAST : b->room;

	if (b->room != 0 && room <= SIZE_MAX / 2)
		room *= 2;
	return room < b->max ? room : b->max;
}

static bool grow(struct buf *b, size_t need)
{
	size_t room = doubled(b);
	char  *p;

	if (room < need)
		room = need;
	p = malloc(room);
	if (p == NULL)
		return false;
	if (b->p != NULL) {
		if (b->n)
			memcpy(p, b->p + b->head, b->n);
		explicit_bzero(b->p, b->room);
		free(b->p);
	}
	b->p = p;
	b->head = 0;
	b->room = room;
	return true;
}

/* Whether n more bytes are within max; latches `failed` when not. */
static bool allowed(struct buf *b, size_t more)
{
	if (b->n > b->max || more > b->max - b->n)
		b->failed = true;
	return !b->failed;
}

/* Makes p[head+n .. head+n+more) writable, or latches `failed`. */
static bool stored(struct buf *b, size_t more)
{
	if (b->p != NULL && more <= b->room - b->head - b->n)
		return true;
	if (b->p != NULL && more <= b->room - b->n &&
	    (b->head >= b->room / 2 || b->room >= b->max)) {
		memmove(b->p, b->p + b->head, b->n);
		b->head = 0;
		return true;
	}
	if (more > SIZE_MAX - b->n || !grow(b, b->n + more))
		b->failed = true;
	return !b->failed;
}

void buf_add(struct buf *b, str s)
{
	if (s.n == 0 || !allowed(b, s.n) || !stored(b, s.n))
		return;
	memcpy(b->p + b->head + b->n, s.p, s.n);
	b->n += s.n;
}

void buf_add_char(struct buf *b, char c)
{
	buf_add(b, (str){ &c, 1 });
}

/* Most texts are short: they are made once, on the stack. */
#define SHORT 256

void buf_addf(struct buf *b, const char *format, ...)
{
	char    made[SHORT];
	va_list args;
	int     n;

	va_start(args, format);
	n = format_text(made, sizeof(made), format, args);
	va_end(args);
	if (n >= 0 && (size_t)n < sizeof(made)) {
		buf_add(b, (str){ made, (size_t)n });
		return;
	}
	if (n < 0)
		b->failed = true;
	/* The NUL needs a byte of storage, which does not count. */
	if (n <= 0 || !allowed(b, (size_t)n) || !stored(b, (size_t)n + 1))
		return;
	va_start(args, format);
	format_text(b->p + b->head + b->n, (size_t)n + 1, format, args);
	va_end(args);
	b->n += (size_t)n;
}

void buf_eat(struct buf *b, size_t n)
{
	must(n <= b->n);
	b->n -= n;
	b->head = b->n ? b->head + n : 0;
}

void buf_clear(struct buf *b)
{
	b->head = 0;
	b->n = 0;
	b->failed = false;
}

void buf_release(struct buf *b)
{
	if (b->n != 0 || b->p == NULL)
		return;
	free(b->p);
	b->p = NULL;
	b->head = 0;
	b->room = 0;
}

str buf_str(const struct buf *b)
{
	return b->p ? (str){ b->p + b->head, b->n } : STR_NONE;
}

char *buf_room(struct buf *b, size_t n)
{
	if (!allowed(b, n) || !stored(b, n ? n : 1))
		return NULL;
	return b->p + b->head + b->n;
}

void buf_filled(struct buf *b, size_t n)
{
	must(n <= b->room - b->head - b->n);
	b->n += n;
}
