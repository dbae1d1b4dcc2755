/* SPDX-License-Identifier: ISC */
/* accounts: a file is a table in which every account is found again, or one line that says why not. */
#include "auth/inside.h"
#include "smtpd/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void looks_right(const struct accounts *t, struct arena *a)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct account *one = &t->v[i];
		str key;

		must(one->address.n > 0 && !str_holds(one->address, '\0') && one->line > 0);
		must(accounts_find(t, one->key) == one);
		must(accounts_key(a, one->address, &key) && str_eq(key, one->key));
		must(!one->can_log_in || (one->scheme.n > 0 && one->verifier.iterations > 0 &&
		                          one->verifier.iterations <= ITERATIONS_MAX && one->verifier.salt.n > 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct accounts *t;
	struct arena a;
	str why;

	log_level_set(LOG_ERROR);
	arena_init(&a, ARENA_UNBOUNDED);
	t = accounts_parse(STR("FILE"), (str){ (const char *)data, n }, &a, &why);
	if (t != NULL)
		looks_right(t, &a);
	else
		must(str_starts(why, "FILE:"));
	accounts_free(t);
	arena_fini(&a);
	return 0;
}
