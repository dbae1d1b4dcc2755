/* SPDX-License-Identifier: ISC */
/*
 * buf: bytes that come at the end and go at the front.
 *
 * Grows as needed up to `max`; the first addition that does not fit latches
 * `failed` and later ones do nothing, so text is built in many steps and
 * checked once.  Holds no memory while empty after buf_fini or buf_release.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "smtpd/base/str.h"

struct buf {
	char  *p;         /* the storage */
	size_t head, n;   /* the bytes are p[head .. head+n) */
	size_t room, max;
	bool   failed;
};

#define BUF_UNBOUNDED SIZE_MAX

void buf_init(struct buf *, size_t max);
void buf_fini(struct buf *);
void buf_wipe(struct buf *);                 /* zero, then free */
void buf_add(struct buf *, str);
void buf_add_char(struct buf *, char);
void buf_addf(struct buf *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_eat(struct buf *, size_t n);        /* drops n bytes at the front */
void buf_clear(struct buf *);                /* drops all bytes, keeps the storage, resets failed */
void buf_release(struct buf *);              /* frees the storage if nothing is in it */
str  buf_str(const struct buf *);            /* valid until the next change */
/* At least n bytes of room behind the last byte, to be filled by the caller,
 * who then says how many came with buf_filled; NULL, with `failed` latched,
 * when they do not fit into max. */
char *buf_room(struct buf *, size_t n);
void  buf_filled(struct buf *, size_t n);

#endif
