/* SPDX-License-Identifier: ISC */
/*
 * The commands that move no mail: RSET NOOP VRFY EXPN QUIT.
 */
#include "smtpd/session/internal.h"

enum step cmd_rset(struct session *s, str args)
{
	(void)args;
	session_forget_message(s);
	return tell(s, 250, "2.0.0", "Forgotten");
}

enum step cmd_noop(struct session *s, str args)
{
	(void)args;
	return tell(s, 250, "2.0.0", "Fine");
}

/* RFC 5321 3.5.3, 7.3: whether a name exists is said at RCPT only, where limits count. */
enum step cmd_vrfy(struct session *s, str args)
{
	if (args.n == 0)
		return refuse(s, 501, "5.5.4", "Syntax: VRFY ADDRESS");
	return tell(s, 252, "2.0.0", "Try RCPT, which will tell");
}

enum step cmd_expn(struct session *s, str args)
{
	(void)args;
	return refuse(s, 502, "5.5.1", "Lists are not shown here");
}

enum step cmd_quit(struct session *s, str args)
{
	(void)args;
	tell(s, 221, "2.0.0", "Good-bye");
	return STEP_CLOSE;
}
