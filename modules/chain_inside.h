/* SPDX-License-Identifier: ISC */
/*
 * What the files of the chain share; nobody else's.
 */
#ifndef MODULES_CHAIN_INSIDE_H
#define MODULES_CHAIN_INSIDE_H

#include "modules/chain.h"

#define MODULES_MOST 64       /* bits of a set */

typedef uint64_t set;         /* of modules, by index */

static inline set chain_bit(size_t i) { return (set)1 << i; }

struct chain {
	size_t                n;
	const struct module **modules;   /* sorted */
	const void          **confs;
	set                  *needs;     /* all that must have finished before, near and far */
	unsigned             *stats;
	const struct trust   *trust;
	bool                  trial;
};

#endif
