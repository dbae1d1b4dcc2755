/* SPDX-License-Identifier: ISC */
/*
 * A passwd-file's text with one line changed: every other line, comments and
 * order stay as they are, and of the changed line what is not meant.  Pure.
 */
#include "auth/inside.h"

#define EMPTY_FIELDS ":::::"           /* uid, gid, gecos, home, shell: Dovecot's */

static bool is_line_of(struct arena *a, str line, str key)
{
	str name, password, rest, this;

	return accounts_line(line, &name, &password, &rest) && accounts_key(a, name, &this) &&
	       str_eq(this, key);
}

/* Behind the password: the five fields as they are, then the extra fields. */
static void write_rest(str rest, const struct account_edit *edit, struct buf *out)
{
	str extra = accounts_extra(rest), five;

	if (!edit->set_extra) {
		buf_add(out, rest.n > 0 ? rest : STR(EMPTY_FIELDS ":"));
		return;
	}
	five = str_head(rest, rest.n - extra.n);
	buf_add(out, five);
	for (size_t i = 0, colons = 0; i <= five.n; i++) {
		if (i < five.n) {
			colons += five.p[i] == ':';
			continue;
		}
		while (colons++ < 6)
			buf_add_char(out, ':');
	}
	buf_add(out, edit->extra);
}

static void write_line(str line, const struct account_edit *edit, struct buf *out)
{
	bool cr = line.n > 0 && line.p[line.n - 1] == '\r';
	str name, password, rest;

	if (!accounts_line(line, &name, &password, &rest))
		return;
	buf_add(out, name);
	buf_add_char(out, ':');
	buf_add(out, edit->password.p != NULL ? edit->password : password);
	write_rest(rest, edit, out);
	if (cr)
		buf_add_char(out, '\r');
}

bool account_text_edit(struct arena *a, str text, const struct account_edit *edit, struct buf *out)
{
	bool found = false;

	while (text.n > 0) {
		size_t end = str_find(text, '\n');
		str line = str_head(text, end), whole = str_head(text, end + 1);

		if (!is_line_of(a, line, edit->key)) {
			buf_add(out, whole);
		} else {
			found = true;
			write_line(line, edit, out);
			if (whole.n > line.n)
				buf_add_char(out, '\n');
		}
		text = str_skip(text, whole.n);
	}
	return found;
}

void account_text_drop(struct arena *a, str text, str key, struct buf *out)
{
	while (text.n > 0) {
		size_t end = str_find(text, '\n');
		str line = str_head(text, end), whole = str_head(text, end + 1);

		if (!is_line_of(a, line, key))
			buf_add(out, whole);
		text = str_skip(text, whole.n);
	}
}
