/* SPDX-License-Identifier: ISC */
/*
 * Rights: what a login may call itself.
 *
 * Its own address, that with a detail behind the plus, and every address whose
 * mail comes to it: what one may read one may answer.  Loop thread.
 */
#include "auth/auth.h"

#define FINALS_MOST 1000

/* Does mail for this address, aliases done, lie in the login's mailbox? */
static bool lies_at(const struct directory *d, struct arena *a, const struct path *final,
                    const struct path *own)
{
	struct directory_answer says;
	struct path account;

	if (path_eq_nocase(final, own))
		return true;
	directory_find(d, a, final, &says);
	return says.account.n > 0 && path_of(a, says.account, &account) &&
	       path_eq_nocase(&account, own);
}

static bool leads_to(const struct directory *d, struct arena *a, const struct path *as,
                     const struct path *own)
{
	struct path *finals;
	size_t n = 0;

	if (directory_expand(d, a, as, FINALS_MOST, &finals, &n) != OK)
		return false;
	for (size_t i = 0; i < n; i++)
		if (lies_at(d, a, &finals[i], own))
			return true;
	return false;
}

bool auth_owns(const struct directory *d, struct arena *a, str login, const struct path *as)
{
	struct arena scratch;
	struct path own;
	bool owns;

	if (as->is_null || login.n == 0 || !path_of(a, login, &own) || own.domain.n == 0)
		return false;
	if (path_eq_nocase(&own, as))
		return true;
	/* A list of a thousand members should not cost the message's budget. */
	arena_init(&scratch, (size_t)4 << 20);
	owns = leads_to(d, &scratch, as, &own);
	arena_fini(&scratch);
	return owns;
}
