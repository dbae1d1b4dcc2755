/* SPDX-License-Identifier: ISC */
/*
 * otpauth: whatever host and address are called, the URI is one, parts where it
 * should and nowhere else, and says both again; and labels go through a field.
 */
#include <string.h>

#include "auth/auth.h"
#include "auth/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int hex_of(char c)
{
	return is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void says(str text, str want)
{
	size_t at = 0;

	for (size_t i = 0; i < text.n; i++, at++) {
		char c = text.p[i];

		if (c == '%') {
			must(i + 2 < text.n && hex_of(text.p[i + 1]) >= 0 && hex_of(text.p[i + 2]) >= 0);
			c = (char)(hex_of(text.p[i + 1]) << 4 | hex_of(text.p[i + 2]));
			i += 2;
		} else {
			must(is_alnum(c) || strchr("-._~", c) != NULL);
		}
		must(at < want.n && want.p[at] == c);
	}
	must(at == want.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str all = { (const char *)data, n < 512 ? n : 512 }, issuer, address, uri, path, label;
	struct arena a;

	arena_init(&a, ARENA_UNBOUNDED);
	issuer = str_head(all, str_find(all, '\n'));
	address = str_skip(all, issuer.n + 1);
	uri = otpauth_uri(&a, issuer, address, STR("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"));
	must(str_starts(uri, "otpauth://totp/"));
	path = str_skip(uri, 15);
	says(str_head(path, str_find(path, ':')), issuer);
	path = str_skip(path, str_find(path, ':') + 1);
	says(str_head(path, str_find(path, '?')), address);
	label = fields_escape(&a, all);
	for (size_t i = 0; i < label.n; i++)
		must(strchr(" %:\n", label.p[i]) == NULL && label.p[i] != '\0');
	label = fields_unescape(&a, label);
	must(str_eq(label, all));
	arena_fini(&a);
	return 0;
}
