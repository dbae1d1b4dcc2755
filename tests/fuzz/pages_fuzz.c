/* SPDX-License-Identifier: ISC */
/*
 * A store as it may lie on a bad disk: walked, scanned, and every row of it put
 * into the index of what can be salvaged.  No octet of it is to be believed.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/salvage_inside.h"

struct octets { const uint8_t *p; size_t n; };

static bool read_octets(void *arg, uint64_t at, void *out, size_t n)
{
	const struct octets *o = arg;

	must(at <= o->n && n <= o->n - at);
	if (n > 0)
		memcpy(out, o->p + at, n);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct octets o = { data, size };
	const struct pages_file file = { read_octets, &o, size };
	struct pages p;
	struct finds f;
	const struct find *v;

	if (!pages_open(&p, &file))
		return 0;
	if (finds_gather(&f, &p) == OK)
		for (size_t i = 0; i < f.n; i++) {
			must(f.v[i].at <= size && f.v[i].n <= size - f.v[i].at);
			must(finds_of(&f, (enum record_kind)f.v[i].kind, f.v[i].id, &v) > 0);
			finds_rcpts_doubtful(&f, f.v[i].id);
		}
	finds_free(&f);
	pages_close(&p);
	return 0;
}
