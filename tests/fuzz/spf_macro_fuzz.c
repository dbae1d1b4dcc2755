/* SPDX-License-Identifier: ISC */
/*
 * Macro strings, with values that the same stranger chose: the first line of
 * the input stands for every letter, the rest is the text.  What was cut from
 * the left ends as the whole does.
 */
#include <stddef.h>
#include <stdint.h>

#include "modules/spf/spf_macro.h"
#include "smtpd/base/err.h"

#define KEEP 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str               text = { (const char *)data, size }, value;
	struct spf_macros m;
	struct buf        whole, cut;

	if (size > 4096 || !str_cut(&text, '\n', &value))
		return 0;
	spf_domain_spec_fault(text);
	spf_macro_uses(text, 'p');
	if (spf_macro_fault(text, SPF_MACROS_ALL) != NULL)
		return 0;
	for (size_t i = 0; i < COUNT(m.v); i++)
		m.v[i] = value;
	buf_init(&whole, 1 << 24);
	buf_init(&cut, 1 << 24);
	spf_macro_expand(text, &m, 0, &whole);
	spf_macro_expand(text, &m, KEEP, &cut);
	if (!whole.failed) {
		str w = buf_str(&whole), c = buf_str(&cut);

		must(c.n <= w.n && (c.n >= KEEP || c.n == w.n));
		if (c.n > KEEP)
			c = str_skip(c, c.n - KEEP);
		must(str_eq(str_skip(w, w.n - c.n), c));
	}
	buf_fini(&whole);
	buf_fini(&cut);
	return 0;
}
