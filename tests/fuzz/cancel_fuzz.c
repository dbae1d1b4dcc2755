/* SPDX-License-Identifier: ISC */
/* cancel: nothing that was not made here is taken, and what was made here comes back. */
#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/cancel.h"

static const unsigned char secret[CANCEL_SECRET] = "thirty-two octets that are known";

static void there_and_back(struct arena *a, str login)
{
	struct path made;
	str id;

	if (!cancel_address(a, secret, STR("1m0vvwq_81m"), login, &made))
		return;
	must(cancel_read(a, secret, &made, login, &id) == CANCEL_GOOD && str_is(id, "1m0vvwq_81m"));
	must(cancel_read(a, secret, &made, STR_NONE, &id) == CANCEL_FOREIGN);
	must(cancel_read(a, secret, &made, STR("other@here.test"), &id) == CANCEL_FOREIGN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct arena a;
	struct path p;
	str in = { (const char *)data, size }, id;

	if (!ready)
		crypt_setup();
	ready = true;
	arena_init(&a, (size_t)16 << 20);
	if (path_of(&a, in, &p)) {
		must(cancel_read(&a, secret, &p, STR("alice@here.test"), &id) != CANCEL_GOOD);
		if (p.domain.n > 0 && !p.is_literal && !str_eq_nocase(p.text, STR("other@here.test")))
			there_and_back(&a, p.text);
	}
	arena_fini(&a);
	return 0;
}
