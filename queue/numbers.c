/* SPDX-License-Identifier: ISC */
/*
 * What the store knows of itself: its format, the random number of its Maildir
 * names, the ids that are reserved, and whether a server runs.  Inside whatever
 * transaction the caller has.
 */
#include <string.h>

#include "queue/internal.h"

static struct record_key meta_key(const char *name)
{
	struct record_key k = { .n = strlen(name) };

	must(k.n <= sizeof(k.b));
	memcpy(k.b, name, k.n);
	return k;
}

uint64_t meta_get(struct store_txn *t, const char *name)
{
	struct record_key k = meta_key(name);
	str key = { (char *)k.b, k.n }, row;
	uint64_t v;

	return store_get(t, TABLE_META, key, &row) && record_read_number(row, key, &v) ? v : 0;
}

void meta_put(struct store_txn *t, const char *name, uint64_t v)
{
	struct record_key k = meta_key(name);
	str key = { (char *)k.b, k.n };
	struct buf row;

	buf_init(&row, 4096);
	record_number(&row, key, v);
	if (!row.failed)
		store_put(t, TABLE_META, key, buf_str(&row));
	else if (t->err == OK)
		t->err = ERR_MEMORY;
	buf_fini(&row);
}

void meta_renew(struct store_txn *t)
{
	static const char *const names[] = { "format", "random", "reserved", "running" };

	for (size_t i = 0; i < COUNT(names); i++) {
		struct record_key k = meta_key(names[i]);
		str key = { (char *)k.b, k.n }, row;
		uint64_t v;

		if (store_get(t, TABLE_META, key, &row) && record_number_is_old(row) && record_read_number(row, key, &v))
			meta_put(t, names[i], v);
	}
}
