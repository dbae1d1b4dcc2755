/* SPDX-License-Identifier: ISC */
/*
 * tar: plain files in a POSIX ustar archive, written and read in one go.
 *
 * As much of the format as a backup needs: regular files with short names, in
 * pieces of known size, so that any tar program shows and unpacks them.  The
 * reader believes no octet.  Both keep a digest of all that went by.  One thread.
 */
#ifndef QUEUE_TAR_H
#define QUEUE_TAR_H

#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

#define TAR_BLOCK 512
#define TAR_NAME  100
#define TAR_MOST  (((uint64_t)1 << 33) - 1)     /* octets of one file: eleven octal digits */

struct tar_out {
	enum err (*write)(void *arg, str);
	void      *arg;
	int64_t    time;              /* of all files */
	uint64_t   left;              /* octets of the file that is being written */
	unsigned   pad;
	struct digest digest;         /* SHA-256 of everything so far, until tar_out_digest */
	bool       hashing;
	enum err   err;               /* latched */
};

void tar_out_init(struct tar_out *, enum err (*write)(void *, str), void *arg, int64_t time);
void tar_out_drop(struct tar_out *);
void tar_file(struct tar_out *, const char *name, uint64_t bytes);
void tar_add(struct tar_out *, str);             /* exactly as many octets as were announced */
void tar_end(struct tar_out *);                  /* the two empty blocks */
void tar_out_digest(struct tar_out *, unsigned char out[static DIGEST_MAX]);

struct tar_in {
	/* Up to n octets; 0 at the end; negative: an error. */
	long     (*read)(void *arg, void *out, size_t n);
	void      *arg;
	char       name[TAR_NAME + 1];  /* of the file that is being read … */
	uint64_t   bytes, left;         /* … its octets, and how many are still to come */
	unsigned   pad;
	char       head[TAR_BLOCK];     /* not in the digest before something behind it is read */
	bool       head_waits, hashing, ended;
	struct digest digest;
	const char *wrong;              /* latched: what is wrong with the archive */
};

void tar_in_init(struct tar_in *, long (*read)(void *, void *, size_t), void *arg);
void tar_in_drop(struct tar_in *);
/* Skips what is left and reads the next head; false: the end, or something is wrong. */
bool tar_next(struct tar_in *);
/* Exactly n octets of the file, no more than are left; false: something is wrong. */
bool tar_read(struct tar_in *, void *out, size_t n);
/* Of everything in front of the head of this file. */
void tar_in_digest(struct tar_in *, unsigned char out[static DIGEST_MAX]);

#endif
