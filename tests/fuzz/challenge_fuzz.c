/* SPDX-License-Identifier: ISC */
/* A request over HTTP for a token, and a text that wants to be one. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/setup/setup/setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char good[] = "GET /.well-known/acme-challenge/to-ken_1 ";
	str request = { (const char *)data, n };

	/* Nothing but the token itself is answered, whatever follows it. */
	if (challenge_asked(request, STR("to-ken_1")))
		must(n >= sizeof(good) - 1 && memcmp(data, good, sizeof(good) - 1) == 0);
	if (challenge_token(request))
		must(n > 0 && n <= 512 && memchr(data, '/', n) == NULL && memchr(data, '\0', n) == NULL && memchr(data, '\r', n) == NULL);
	return 0;
}
