/* SPDX-License-Identifier: ISC */
/*
 * tls_required: the header field TLS-Required (RFC 8689 3, 4.1).
 *
 * "No" lets a message go where the recipient's own policy would stop it, as a
 * report about a broken certificate must.  One field and nothing but that word:
 * what is doubtful does not weaken anything.  Pure.
 */
#include "smtpd/session/internal.h"

unsigned tls_required_flags(const struct fields *f, unsigned flags)
{
	str value = STR_NONE;

	if ((flags & MESSAGE_REQUIRETLS) || fields_count(f, "TLS-Required") != 1)
		return flags;
	for (size_t i = 0; i < f->n; i++)
		if (field_is(&f->v[i], "TLS-Required"))
			value = str_trim(f->v[i].value);
	return str_is_nocase(value, "No") ? flags | MESSAGE_TLS_OPTIONAL : flags;
}
