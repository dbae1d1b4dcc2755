/* SPDX-License-Identifier: ISC */
/*
 * Passwords that were right a while ago, so that a busy client costs no PBKDF2.
 *
 * Only tags are kept: HMAC-SHA-256 under a random key of this process over
 * (name, verifier, password).  A tag that is there means that very password was
 * right for that very verifier; a failure leaves none, and a changed verifier
 * makes another tag.  Fixed in size: a full set forgets its oldest.  Each seat
 * of the login desk has its share, so there is nothing to lock.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"

struct remembered {
	unsigned char tag[TAG_SIZE];
	uint64_t      until_ms;        /* 0: free */
};

void memory_init(struct memory *m, unsigned seats)
{
	*m = (struct memory){ .sets = MEMORY_ALL / (seats ? seats : 1) / MEMORY_WAYS };
	if (m->sets == 0)
		m->sets = 1;
}

void memory_wipe(struct memory *m)
{
	if (m->v != NULL)
		crypt_wipe(m->v, m->sets * MEMORY_WAYS * sizeof(m->v[0]));
	free(m->v);
	m->v = NULL;
}

void memory_serves(struct memory *m, uint64_t serial)
{
	if (m->serial != serial)
		memory_wipe(m);
	m->serial = serial;
}

/* Tags are MACs: any bytes of them are as good as a hash. */
static struct remembered *set_of(const struct memory *m, const unsigned char tag[TAG_SIZE])
{
	uint64_t h;

	memcpy(&h, tag, sizeof(h));
	return &m->v[h % m->sets * MEMORY_WAYS];
}

bool memory_holds(const struct memory *m, const unsigned char tag[TAG_SIZE], uint64_t now_ms)
{
	const struct remembered *set;
	bool found = false;

	if (m->v == NULL)
		return false;
	set = set_of(m, tag);
	for (size_t i = 0; i < MEMORY_WAYS; i++)
		found |= crypt_equal(set[i].tag, tag, TAG_SIZE) & (set[i].until_ms > now_ms);
	return found;
}

void memory_keep(struct memory *m, const unsigned char tag[TAG_SIZE], uint64_t now_ms,
                 uint64_t for_ms)
{
	struct remembered *set, *oldest;

	if (for_ms == 0)
		return;
	if (m->v == NULL)
		m->v = calloc(m->sets * MEMORY_WAYS, sizeof(m->v[0]));
	if (m->v == NULL)
		return;                /* it costs a PBKDF2 the next time, no more */
	set = oldest = set_of(m, tag);
	for (size_t i = 0; i < MEMORY_WAYS; i++) {
		if (crypt_equal(set[i].tag, tag, TAG_SIZE)) {
			oldest = &set[i];
			break;
		}
		if (set[i].until_ms < oldest->until_ms)
			oldest = &set[i];
	}
	memcpy(oldest->tag, tag, TAG_SIZE);
	oldest->until_ms = now_ms + for_ms;
}

static void add_sized(struct buf *b, str s)
{
	uint32_t n = (uint32_t)s.n;

	buf_add(b, (str){ (const char *)&n, sizeof(n) });
	buf_add(b, s);
}

void memory_tag(const unsigned char key[32], str name, const struct verifier *v, str password,
                unsigned char tag[static TAG_SIZE])
{
	struct buf b;

	/* Room at once: a buffer that grew would leave the password in what it left. */
	buf_init(&b, BUF_UNBOUNDED);
	buf_room(&b, name.n + v->salt.n + password.n + 128);
	add_sized(&b, name);
	add_sized(&b, (str){ (const char *)&v->iterations, sizeof(v->iterations) });
	add_sized(&b, v->salt);
	add_sized(&b, (str){ (const char *)v->stored, sizeof(v->stored) });
	add_sized(&b, password);
	must(!b.failed);
	hmac_sha256((str){ (const char *)key, 32 }, buf_str(&b), tag);
	buf_wipe(&b);
}
