/* SPDX-License-Identifier: ISC */
/*
 * denied: the running server's view of STATE/deny.  Looked at on the control
 * verb and every minute; a file that cannot be read leaves the old table in
 * force.  The old table goes once every loop has taken a turn.  Main thread.
 */
#include <sys/stat.h>

#include "smtpd/setup/serve.h"

str server_deny_path(const struct config *c, struct arena *a)
{
	return arena_printf(a, "%.*s/deny", STR_ARG(c->state));
}

static bool stamp_of(const char *path, struct file_stamp *out)
{
	struct stat st;

	*out = (struct file_stamp){ 0 };
	if (path == NULL || stat(path, &st) != 0)
		return false;
	*out = (struct file_stamp){st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (uint64_t)st.st_size,
				   (uint64_t)st.st_ino};
	return true;
}

static bool same_stamp(const struct file_stamp *x, const struct file_stamp *y)
{
	return x->seconds == y->seconds && x->nanos == y->nanos && x->size == y->size &&
	       x->inode == y->inode;
}

static void table_unused(struct server *s, void *arg)
{
	(void)s;
	deny_table_free(arg);
}

void server_look_at_denied(struct server *s)
{
	struct deny_table *fresh, *old;
	struct file_stamp  now;
	struct arena       a;
	size_t             n;

	arena_init(&a, 64 << 10);
	stamp_of(str_cstr(&a, server_deny_path(s->now->config, &a)), &now);
	arena_fini(&a);
	if (same_stamp(&now, &s->denied_stamp))
		return;
	s->denied_stamp = now;
	fresh = knowledge_read_denied(s->now->config);
	if (fresh == NULL)
		return;
	old = atomic_exchange(&s->denied.table, fresh);
	deny_table_entries(fresh, &n);
	log_event(NULL, LOG_NOTICE, "deny.loaded", KV_N("entries", n));
	if (old != NULL)
		server_when_all_turned(s, table_unused, old);
}
