/* SPDX-License-Identifier: ISC */
/*
 * adsp_record: any bytes as an ADSP record.
 */
#include "modules/adsp/adsp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;

	arena_init(&a, (size_t)64 << 20);
	must(adsp_record_parse(&a, (str){ (const char *)data, n }) <= ADSP_SAYS_DISCARDABLE);
	arena_fini(&a);
	return 0;
}
