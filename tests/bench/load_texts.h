/* SPDX-License-Identifier: ISC */
/* What load sends: messages with dots doubled and the final dot, made or read once. */
#ifndef TESTS_BENCH_LOAD_TEXTS_H
#define TESTS_BENCH_LOAD_TEXTS_H

#include <stdlib.h>

struct text { char *p; size_t n; };
struct texts { struct text *v; size_t n; };

/* Every file of the folder; the program ends when there is none. */
struct texts texts_read(const char *folder);
/* One, of so many octets. */
struct texts texts_make(size_t size, const char *from, const char *to);

/* Without memory the program ends. */
void *must_have(void *);

#endif
