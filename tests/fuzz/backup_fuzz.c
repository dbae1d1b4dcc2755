/* SPDX-License-Identifier: ISC */
/* An archive that somebody calls a backup. */
#include <string.h>

#include "queue/backup.h"
#include "queue/tar.h"

struct octets { const uint8_t *p; size_t n; };

static long read_octets(void *arg, void *out, size_t n)
{
	struct octets *o = arg;

	n = n < o->n ? n : o->n;
	if (n > 1000)
		n = 1000;               /* as a pipe gives it */
	if (n > 0)
		memcpy(out, o->p, n);
	o->p += n;
	o->n -= n;
	return (long)n;
}

static bool row_came(void *arg, enum backup_table table, str key, str value)
{
	unsigned char *sum = arg;

	must(table >= BACKUP_MESSAGE && table <= BACKUP_NOTE && key.n > 0);
	for (size_t i = 0; i < value.n; i++)
		*sum ^= (unsigned char)value.p[i];
	return true;
}

static bool file_came(void *arg, uint64_t id, struct tar_in *t)
{
	char piece[700];

	(void)arg;
	must(id != 0);
	while (t->left > 0)
		if (!tar_read(t, piece, t->left < sizeof(piece) ? (size_t)t->left : sizeof(piece)))
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct octets o = { data, size };
	struct backup_seen seen;
	struct tar_in t;
	unsigned char sum = 0;

	crypt_setup();
	tar_in_init(&t, read_octets, &o);
	backup_read(&t, &seen, row_came, file_came, &sum);
	tar_in_drop(&t);
	return 0;
}
