/* SPDX-License-Identifier: ISC */
/*
 * The header field TLS-Required (RFC 8689).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/session/internal.h"

static const struct { const char *header; unsigned flags, want; } rows[] = {
	{ "Subject: x\r\n", 0, 0 },
	{ "TLS-Required: No\r\n", 0, MESSAGE_TLS_OPTIONAL },
	{ "tls-required:no\r\n", MESSAGE_8BIT, MESSAGE_8BIT | MESSAGE_TLS_OPTIONAL },
	{ "Subject: x\r\nTLS-Required:\r\n\tNo \r\nTo: y\r\n", 0, MESSAGE_TLS_OPTIONAL },
	{ "TLS-Required: Yes\r\n", 0, 0 },
	{ "TLS-Required: No, really\r\n", 0, 0 },
	{ "TLS-Required:\r\n", 0, 0 },
	{ "X-TLS-Required: No\r\n", 0, 0 },
	/* More than one must not be (RFC 8689 3). */
	{ "TLS-Required: No\r\nTLS-Required: No\r\n", 0, 0 },
	/* The parameter of MAIL counts (RFC 8689 4.1). */
	{ "TLS-Required: No\r\n", MESSAGE_REQUIRETLS, MESSAGE_REQUIRETLS },
};

static void what_the_header_asks_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena a;
		struct splitter s;
		str back;
		unsigned got;

		arena_init(&a, 1 << 16);
		splitter_init(&s, &a, 1 << 14, 1 << 14, 100);
		splitter_feed(&s, str_of(rows[i].header), &back);
		splitter_end(&s, &back);
		got = tls_required_flags(&s.fields, rows[i].flags);
		if (got != rows[i].want)
			fail_msg("row %zu: %u, want %u", i, got, rows[i].want);
		splitter_fini(&s);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_header_asks_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
