/* SPDX-License-Identifier: ISC */
/* Which answers of a zone count: what never may, never does. */
#include <string.h>

#include "modules/dnsbl/dnsbl.h"
#include "smtpd/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct dnsbl_code code;
	struct dnsbl_zone zone = { .code = &code };
	struct in_addr    a;
	unsigned char    *ip = (unsigned char *)&a;

	if (n < 4)
		return 0;
	memcpy(&a, data, 4);
	zone.ncodes = dnsbl_code_parse((str){ (const char *)data + 4, n - 4 }, &code);
	if (zone.ncodes > 0)
		must(code.low[0] == 127 && code.high[0] == 127 && code.low[3] <= code.high[3]);
	if (ip[0] != 127 || (ip[1] == 255 && ip[2] == 255) || memcmp(ip, "\x7f\0\0\1", 4) == 0)
		must(dnsbl_answer(&zone, a) == DNSBL_NEVER_COUNTS);
	else
		must(dnsbl_answer(&zone, a) != DNSBL_NEVER_COUNTS);
	return 0;
}
