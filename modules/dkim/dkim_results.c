/* SPDX-License-Identifier: ISC */
/*
 * dkim_results: verdicts as Authentication-Results has them (RFC 8601 2.7.1,
 * RFC 6008).  Text output only: nobody reads a verdict from it.
 */
#include "modules/dkim/dkim.h"
#include "smtpd/mail/authres.h"

/* header.b: the first eight characters, or as many as tell it from the others
 * (RFC 6008 3). */
static str b_beginning(const struct dkim_verdict *v, size_t of, size_t which)
{
	str b = v[which].sig.b_text;
	size_t n = 8;

	for (size_t i = 0; i < of; i++) {
		str other = v[i].sig.b_text;

		if (i == which || str_eq(other, b))
			continue;
		while (n < b.n && str_eq(str_head(b, n), str_head(other, n)))
			n++;
	}
	return str_head(b, n);
}

static void property(struct authres *r, const char *name, str value)
{
	if (value.n > 0)
		authres_property(r, name, value);
}

static void one_write(const struct dkim_verdict *v, size_t of, size_t which, struct authres *r)
{
	const struct dkim_signature *sig = &v[which].sig;

	authres_method(r, "dkim", dkim_result_word(v[which].result), v[which].reason);
	property(r, "header.d", sig->domain);
	property(r, "header.i", sig->identity);
	property(r, "header.s", sig->selector);
	if (sig->algorithm != DKIM_UNKNOWN_ALGORITHM)
		property(r, "header.a", sig->algorithm_text);
	if (sig->b.n > 0)
		property(r, "header.b", b_beginning(v, of, which));
}

void dkim_results_write(const struct dkim_verdict *v, size_t n, size_t most, struct arena *a, struct authres *r)
{
	size_t shown = n < most ? n : most;

	if (n == 0)
		authres_method(r, "dkim", "none", STR_NONE);
	for (size_t i = 0; i < shown; i++)
		if (v[i].result != DKIM_NOT_DONE)
			one_write(v, shown, i, r);
	if (n > most)
		authres_method(r, "dkim", "policy", arena_printf(a, "%zu more signatures were not looked at", n - most));
}
