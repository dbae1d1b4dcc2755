/* SPDX-License-Identifier: ISC */
/*
 * tls_names: whose a client certificate is, in addresses.
 *
 * The certificate has been verified, so the authority answers for what it says;
 * what it says is read as foreign text all the same.  A name with a NUL in it,
 * which some readers would take for a shorter one, is no name.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/tls_inside.h"

#define NAMES_MOST 16
#define NAME_MOST  320      /* an address: 64 @ 255 */

static void add(struct strs *out, struct arena *a, const void *p, int n)
{
	str name = { p, n > 0 ? (size_t)n : 0 };

	if (name.n == 0 || name.n > NAME_MOST || str_holds(name, '\0') || out->n == NAMES_MOST)
		return;
	name = str_keep(a, name);
	if (name.n > 0)
		out->v[out->n++] = name;
}

/* RFC 5280 4.2.1.6: rfc822Name. */
static void add_alternatives(X509 *x, struct strs *out, struct arena *a)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

		if (name->type == GEN_EMAIL)
			add(out, a, ASN1_STRING_get0_data(name->d.rfc822Name),
			    ASN1_STRING_length(name->d.rfc822Name));
	}
	GENERAL_NAMES_free(all);
}

static void add_of_subject(X509 *x, int nid, struct strs *out, struct arena *a)
{
	X509_NAME *subject = X509_get_subject_name(x);

	for (int i = -1; (i = X509_NAME_get_index_by_NID(subject, nid, i)) >= 0;) {
		unsigned char *text = NULL;
		int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(
		                                           X509_NAME_get_entry(subject, i)));

		add(out, a, text, n);
		OPENSSL_free(text);
	}
}

void tls_names_of(X509 *x, unsigned which, struct arena *a, struct strs *out)
{
	out->n = 0;
	out->v = ARENA_ARRAY(a, str, NAMES_MOST);
	if (out->v == NULL)
		return;
	if (which & TLS_NAME_SAN)
		add_alternatives(x, out, a);
	if (which & TLS_NAME_EMAIL)
		add_of_subject(x, NID_pkcs9_emailAddress, out, a);
	if (which & TLS_NAME_CN)
		add_of_subject(x, NID_commonName, out, a);
	ERR_clear_error();
}
