/* SPDX-License-Identifier: ISC */
/* A request's words: within bounds, and never more of them than there is room. */
#include "smtpd/base/control_inside.h"
#include "smtpd/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct control_call call = { .nwords = 99 };
	size_t sum = 0;

	if (n > CONTROL_LINE)
		return 0;
	arena_init(&call.arena, (size_t)1 << 20);
	if (control_words(&call, (str){ (const char *)data, n })) {
		must(call.nwords > 0 && call.nwords <= COUNT(call.words));
		for (size_t i = 0; i < call.nwords; i++) {
			must(!str_holds(call.words[i], '\n') || str_holds((str){ (const char *)data, n }, '\n'));
			sum += call.words[i].n;
		}
		must(sum <= n);
	}
	must(!call.arena.spent);
	arena_fini(&call.arena);
	return 0;
}
