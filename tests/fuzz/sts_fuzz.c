/* SPDX-License-Identifier: ISC */
/* A policy file, a TXT record and a host name: three strangers' inputs, split at NULs. */
#include <stddef.h>
#include <stdint.h>

#include "queue/deliver/sts_policy.h"
#include "smtpd/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str rest = { (const char *)data, n }, host, txt, why, id;
	struct sts_policy p = { 0 };
	struct arena a;

	if (n == 0 || !str_cut(&rest, '\0', &host) || !str_cut(&rest, '\0', &txt))
		return 0;
	arena_init(&a, (size_t)1 << 20);
	if (sts_record_parse(txt, &id) == STS_RECORD_GOOD)
		must(id.n >= 1 && id.n <= 32 && id.p >= txt.p && id.p + id.n <= txt.p + txt.n);
	if (sts_policy_parse(rest, &a, &p, &why)) {
		must(p.mx.n > 0 || p.mode == STS_NONE);
		must(p.mx.n <= STS_MX_MOST && p.max_age_s <= STS_MAX_AGE_MOST);
		for (size_t i = 0; i < p.mx.n; i++)
			must(p.mx.v[i].n > 0 && p.mx.v[i].n <= 255);
		if (sts_mx_matches(&p, host))
			must(host.n > 0);
	} else {
		must(why.n > 0 && p.mx.n == 0 && p.mode == STS_NONE);
	}
	arena_fini(&a);
	return 0;
}
