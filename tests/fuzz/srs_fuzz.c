/* SPDX-License-Identifier: ISC */
/* srs: nothing that was not made here is taken, and what was made here comes back. */
#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/srs.h"

#define NOW ((int64_t)1795300000)

static const unsigned char secret[SRS_SECRET] = "thirty-two octets that are known";

static void there_and_back(struct arena *a, const struct path *p)
{
	struct path made, again;

	if (!srs_forward(a, secret, p, STR("ours.test"), NOW, &made))
		return;
	must(str_is(made.domain, "ours.test") && made.text.n <= 254);
	must(srs_return(a, secret, &made, NOW, 21, &again) == SRS_GOOD);
	must(made.local.p[3] == '1' || path_eq(p, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct arena a;
	struct path p, out;
	str in = { (const char *)data, size };

	if (!ready)
		crypt_setup();
	ready = true;
	arena_init(&a, (size_t)16 << 20);
	if (path_of(&a, in, &p)) {
		must(srs_return(&a, secret, &p, NOW, 21, &out) != SRS_GOOD);
		there_and_back(&a, &p);
	}
	arena_fini(&a);
	return 0;
}
