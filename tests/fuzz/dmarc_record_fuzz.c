/* SPDX-License-Identifier: ISC */
/*
 * dmarc_record: any bytes as a TXT record.
 */
#include "modules/dmarc/dmarc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct dmarc_record r;

	if (dmarc_record_parse((str){ (const char *)data, n }, &r)) {
		must(r.text.n == n);
		must(!r.rua_valid || r.rua.n > 0);
		must(dmarc_policies_bad(&r) || r.p >= DMARC_TAG_NONE);
	}
	return 0;
}
