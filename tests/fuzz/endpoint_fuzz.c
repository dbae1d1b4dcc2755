/* SPDX-License-Identifier: ISC */
/* endpoint: whatever is accepted lies within its input and has a usable address. */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str text = { (const char *)data, n };

	for (unsigned port = 0; port < 2; port++) {
		struct endpoint e;

		if (!endpoint_parse(text, (uint16_t)(port * 25), &e))
			continue;
		must(e.host.n > 0 && e.host.p >= text.p && e.host.p + e.host.n <= text.p + text.n);
		must(!str_holds(e.host, '\0'));
		must(e.is_name == (e.n == 0) && e.n <= sizeof(e.at));
		must(!e.is_unix || e.host.p[0] == '/');
		if (!e.is_name)
			must(strlen(addr_text((struct sockaddr *)&e.at).s) > 0);
	}
	return 0;
}
