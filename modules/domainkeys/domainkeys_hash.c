/* SPDX-License-Identifier: ISC */
/*
 * domainkeys_hash: the digest that a DomainKeys signature signs (RFC 4870 3.4).
 *
 * The fields below the signature's own, in the order of the message, then the
 * empty line, then the body.  A body of nothing but empty lines takes the empty
 * line with it.  Loop thread.
 */
#include "modules/domainkeys/domainkeys.h"

#include "smtpd/base/map.h"

static void body_sunk(void *arg, str bytes)
{
	struct domainkeys_hash *h = arg;

	if (!h->any && h->ending && str_is(bytes, "\r\n"))
		return;                 /* what the simple form makes of an empty body */
	if (!h->any)
		digest_add(&h->digest, STR("\r\n"));
	h->any = true;
	digest_add(&h->digest, bytes);
}

static bool header_hashed(struct domainkeys_hash *h, const struct fields *f,
			  const struct domainkeys_signature *sig)
{
	struct map named;
	struct buf b;
	bool done = true;

	map_init(&named, true);
	buf_init(&b, BUF_UNBOUNDED);
	for (size_t i = 0; i < sig->nh; i++)
		done = done && map_put(&named, sig->h[i], &sig->h[i]);
	for (size_t i = (size_t)(sig->field - f->v) + 1; i < f->n && done; i++) {
		if (sig->has_h && map_get(&named, f->v[i].name) == NULL)
			continue;
		canon_field(sig->canon, f->v[i].raw, &b);
		digest_add(&h->digest, buf_str(&b));
		done = !b.failed;
		buf_clear(&b);
	}
	buf_fini(&b);
	map_fini(&named);
	return done;
}

bool domainkeys_hash_begin(struct domainkeys_hash *h, const struct fields *f,
			   const struct domainkeys_signature *sig)
{
	*h = (struct domainkeys_hash){ 0 };
	if (digest_begin(&h->digest, DIGEST_SHA1) != OK)
		return false;
	h->open = true;
	canon_body_init(&h->body, sig->canon);
	if (header_hashed(h, f, sig))
		return true;
	domainkeys_hash_drop(h);
	return false;
}

void domainkeys_hash_body(struct domainkeys_hash *h, str chunk)
{
	if (h->open)
		canon_body_feed(&h->body, chunk, body_sunk, h);
}

size_t domainkeys_hash_end(struct domainkeys_hash *h, unsigned char out[static DIGEST_MAX])
{
	if (!h->open)
		return 0;
	h->ending = true;
	canon_body_end(&h->body, body_sunk, h);
	h->open = false;
	return digest_end(&h->digest, out);
}

void domainkeys_hash_drop(struct domainkeys_hash *h)
{
	if (h->open)
		digest_drop(&h->digest);
	h->open = false;
}
