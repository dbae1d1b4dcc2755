/* SPDX-License-Identifier: ISC */
/*
 * What the files of the dkim module share.
 */
#ifndef MODULES_DKIM_INSIDE_H
#define MODULES_DKIM_INSIDE_H

#include "modules/dkim/dkim.h"
#include "modules/module.h"

struct dkim_out {                       /* one message of ours on its way to the queue */
	struct dkim_choice choice;
	int                wish[SIGNING_HASHES];   /* by body form; -1: not wished */
};

/* In body_next: who may sign, and the hashes that they need. */
void dkim_out_begin(struct mod *, const struct dkim_keyring *, struct dkim_out *);
/* In queue: signs; `signatures` is raised by what was made. */
enum say dkim_out_sign(struct mod *, struct dkim_out *, struct added *, size_t *signatures);

/* The author as rules see him: the first address of From. */
struct path dkim_author(const struct from *);
/* Each of `choice` that is out signs `fields`, whose body hashed to `hashes`; one
 * whose form was not hashed takes the other.  The fields, in the keyring's order,
 * are in out[0 … *n); *until is when the first of them runs out.  The first fault
 * is returned and named in *at when nothing could be signed. */
enum err dkim_sign_all(const struct dkim_choice *, const struct fields *, const str hashes[SIGNING_HASHES], int64_t now,
                       int64_t not_before, struct arena *, str out[DKIM_SIGNERS_MAX], size_t *n, int64_t *until);

#endif
