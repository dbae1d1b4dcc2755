/* SPDX-License-Identifier: ISC */
/*
 * arc_scope: the bytes that a seal covers (RFC 8617 5.1.1): every field of the
 * chain in relaxed form, in the order results, message signature, seal of
 * instances 1 and up, its own last and without b=.  Private to this folder.
 */
#ifndef MODULES_ARC_SCOPE_H
#define MODULES_ARC_SCOPE_H

#include "modules/arc/arc.h"

struct arc_scope {
	struct arena *arena;
	str          *forms;      /* with CRLF, in order */
	size_t        n;
	bool          failed;
};

bool arc_scope_init(struct arc_scope *, struct arena *);
void arc_scope_add(struct arc_scope *, str raw);
void arc_scope_add_set(struct arc_scope *, const struct arc_set *);
/* Over the first n forms and the seal; 0: no memory. */
size_t arc_scope_digest(const struct arc_scope *, size_t n, str seal,
                        unsigned char out[static DIGEST_MAX]);

#endif
