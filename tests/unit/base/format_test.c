/* SPDX-License-Identifier: ISC */
/* format: the same as vsnprintf, whatever the directives and the room. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/format.h"

#define ROOM 64

static void same(size_t room, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void same(size_t room, const char *format, ...)
{
	char    got[ROOM], want[ROOM];
	va_list a, b;
	int     n, m;

	memset(got, '#', sizeof(got));
	memset(want, '#', sizeof(want));
	va_start(a, format);
	va_copy(b, a);
	n = format_text(got, room, format, a);
	m = vsnprintf(want, room, format, b);
	va_end(b);
	va_end(a);
	assert_int_equal(n, m);
	assert_string_equal(got, want);
	/* Nothing behind the room. */
	assert_memory_equal(got + room, want + room, ROOM - room);
}

static void texts(void **state)
{
	static const size_t rooms[] = { 1, 2, 3, 7, 8, 9, 20, ROOM };

	(void)state;
	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		size_t r = rooms[i];

		same(r, "%s", "");
		same(r, "plain");
		same(r, "%s", "word");
		same(r, "%s=%s;", "name", "value");
		same(r, "%.*s", 3, "abcdef");
		same(r, "%.*s", 0, "abcdef");
		same(r, "%.*s", 9, "abc");              /* ends at the NUL */
		same(r, "a%.*sb", -1, "abc");           /* as if there were none */
		same(r, "100%% of %s", "it");
		same(r, "%u %u %u", 0U, 7U, UINT_MAX);
		same(r, "%zu", SIZE_MAX);
		same(r, "%llu", ULLONG_MAX);
		/* These are the C library's, also behind what is not. */
		same(r, "%s %d", "n", -5);
		same(r, "%u:%02x:%s", 12U, 10U, "tail");
		same(r, "%.3s|%5s|%-5s|%c", "abcdef", "r", "l", 'c');
		same(r, "%lld %ld %lu %zd", -1LL, -2L, 3UL, (ssize_t)-4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(texts) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
