/* SPDX-License-Identifier: ISC */
/* OpenDKIM's tables: the first octet says which, the rest is the file. */
#include <stdint.h>

#include "smtpd/setup/keys/opendkim_tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct opendkim_tables t = { 0 };
	struct arena a;
	str text = { (const char *)data + 1, size - 1 };

	if (size < 1 || size > 1 << 16)
		return 0;
	arena_init(&a, 64 << 20);
	if (data[0] & 1) {
		opendkim_read_keys(&t, text, &a);
		for (size_t i = 0; i < t.nkeys; i++)
			opendkim_expand(t.keys[i].value, STR("example.org"), &a);
	} else {
		opendkim_read_rules(&t, text, &a);
		for (size_t i = 0; i < t.nrules; i++)
			opendkim_author(&t.rules[i], data[0] & 2);
	}
	arena_fini(&a);
	return 0;
}
