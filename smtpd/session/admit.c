/* SPDX-License-Identifier: ISC */
/*
 * admit: the relay rule, all of it.
 *
 * Who has not logged in may write to people here and to nobody else.  Who has
 * may write to anybody; that the sender's address is his own is asked at MAIL.
 * Whether a listener lets anybody log in at all was decided before.
 *
 * Source routes (RFC 5321 C) were dropped by the parser, so <@here:user@there>
 * is user@there.  What is left of the old ways to ask for relaying hides in the
 * local part: user%there@here, there!user@here, "user@there"@here.  They are
 * names of people here only if such a mailbox really exists; a catch-all or an
 * alias pattern does not make them one.  Domain literals are never local.
 *
 * One thing from outside leaves us again for outside: a bounce of mail that we
 * forwarded, to the sender that we had given it.  The address carries our hash
 * and its day, so nobody else can make one, and it leads to one address only.
 */
#include "smtpd/session/internal.h"

static bool hides_a_route(str local)
{
	return str_holds(local, '%') || str_holds(local, '!') || str_holds(local, '@') ||
	       str_holds(local, ':');
}

enum admit admit_rcpt(const struct directory *directory, struct arena *arena, bool logged_in,
                      const struct path *to, struct directory_answer *found)
{
	directory_find(directory, arena, to, found);
	if (found->says == DIRECTORY_ELSEWHERE)
		return logged_in ? ADMIT_ANYWHERE : ADMIT_NO_RELAY;
	if (found->says == DIRECTORY_MAILBOX)
		return ADMIT_LOCAL;
	if (!logged_in && hides_a_route(to->local))
		return ADMIT_NO_RELAY;
	return found->says == DIRECTORY_TARGETS ? ADMIT_LOCAL : ADMIT_UNKNOWN_USER;
}

enum admit admit_return(struct txn *t, const struct path *to, struct path *origin)
{
	switch (forward_return(t, to, origin)) {
	case SRS_GOOD:
		return ADMIT_RETURN;
	case SRS_FORGED:
	case SRS_OLD:
		return ADMIT_NO_RETURN;
	default:
		return ADMIT_LOCAL;
	}
}
