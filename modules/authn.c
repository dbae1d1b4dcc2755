/* SPDX-License-Identifier: ISC */
/*
 * authn: our Authentication-Results, and which fields from outside pretend to
 * be ours (RFC 8601 5).  What cannot be read might be read as ours by somebody
 * else, so it counts as forged.  Pure but for the chain's results; loop thread.
 */
#include "modules/authn.h"

#include "smtpd/mail/trace.h"

/* Names are compared as DNS would: case, a root dot and the script apart. */
static str comparable(struct arena *a, str name)
{
	str ascii;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	return domain_to_ascii(a, name, &ascii) ? ascii : name;
}

static bool same_name(struct arena *a, str theirs, str ours)
{
	return str_eq_nocase(theirs, ours) ||
	       str_eq_nocase(comparable(a, theirs), comparable(a, ours));
}

bool authn_forged(struct arena *a, const struct field *f, str authserv_id, str host)
{
	str theirs = STR_NONE;

	if (field_is(f, "Authentication-Results"))
		return !authres_id(a, f->value, &theirs) || same_name(a, theirs, authserv_id);
	if (field_is(f, "Received-SPF"))
		return !trace_received_spf_receiver(a, f->value, &theirs) || theirs.n == 0 ||
		       same_name(a, theirs, host);
	return false;
}

str authn_field(struct chain_conn *c, struct arena *a, str authserv_id, str login)
{
	struct authres r;

	authres_init(&r, a, authserv_id);
	if (login.n > 0) {
		authres_method(&r, "auth", "pass", STR_NONE);
		authres_property(&r, "smtp.auth", login);
	}
	chain_results(c, &r);
	return authres_field(&r, "Authentication-Results");
}
