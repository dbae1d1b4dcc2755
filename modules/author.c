/* SPDX-License-Identifier: ISC */
/*
 * author: see author.h.  Pure.
 */
#include "modules/author.h"

static bool within(str name, str domain)
{
	return domain.n > 0 && str_ends_nocase(name, domain) &&
	       (name.n == domain.n || (name.n > domain.n && name.p[name.n - domain.n - 1] == '.'));
}

/* The identifier is what stands in the field's last angle brackets. */
static str list_id(str value)
{
	size_t open = str_rfind(value, '<');
	str    id = str_skip(value, open < value.n ? open + 1 : 0);

	return str_trim(str_head(id, str_find(id, '>')));
}

bool author_is_within(const struct message *in, str domain)
{
	return in->from.state == FROM_GOOD && within(in->from.domain, domain);
}

bool list_is_within(const struct message *in, str domain)
{
	const struct field *f = in->fields != NULL ? fields_first(in->fields, "List-Id") : NULL;

	return f != NULL && within(list_id(f->value), domain);
}
