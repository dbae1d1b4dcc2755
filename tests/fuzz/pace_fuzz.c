/* SPDX-License-Identifier: ISC */
/* Whatever a server says when it refuses, and whatever its name is. */
#include <stddef.h>
#include <stdint.h>

#include "queue/deliver/pace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str text = { (const char *)data, size }, esc = str_head(text, 6), name = provider_name(text);

	for (int when = PACE_TO_US; when <= PACE_OF_MESSAGE; when++) {
		struct pace p = pace_of((enum pace_when)when, size % 2 ? 451 : 421, esc, text);

		if (p.after_s > PACE_MOST_S)
			__builtin_trap();
	}
	if (name.n > size || (name.n > 0 && (name.p < text.p || name.p + name.n > text.p + size)))
		__builtin_trap();
	return 0;
}
