/* SPDX-License-Identifier: ISC */
/*
 * line: one command line off the front of what came.
 *
 * The connection keeps what is not used, so a line is looked at where it lies
 * and nothing is copied.  A line ends at LF: with CR before it, it is good;
 * without, the client hears of it at once instead of waiting for an answer.
 * A line that grows past the longest is thrown away up to its LF.
 */
#include "smtpd/session/internal.h"

static bool is_clean(str text)
{
	return !str_holds(text, '\r') && !str_holds(text, '\0');
}

enum line_says line_take(struct line *l, str *in, str *out)
{
	size_t lf = str_find(*in, '\n');
	bool   skipped = l->skipping;
	str    text = str_head(*in, lf);

	*out = STR_NONE;
	if (lf == in->n) {
		if (skipped || in->n > LINE_MAX_ANY) {
			l->skipping = true;
			*in = str_skip(*in, in->n);
		}
		return LINE_MORE;
	}
	*in = str_skip(*in, lf + 1);
	l->skipping = false;
	if (skipped || lf + 1 > LINE_MAX_ANY)
		return LINE_LONG;
	if (text.n == 0 || text.p[text.n - 1] != '\r')
		return LINE_FAULTY;
	*out = str_head(text, text.n - 1);
	return is_clean(*out) ? LINE_GOOD : LINE_FAULTY;
}
