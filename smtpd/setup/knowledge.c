/* SPDX-License-Identifier: ISC */
/*
 * knowledge: see knowledge.h.
 */
#include "smtpd/setup/deny_store.h"
#include "smtpd/setup/knowledge.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

static void give(struct config *c, const struct module *to, const void *conf)
{
	for (size_t i = 0; builtin_modules[i] != NULL; i++)
		if (builtin_modules[i] == to)
			c->module_confs[i] = conf;
}

enum err knowledge_make(struct knowledge *k, struct config *c, struct deny_live *live,
			struct arena *a, str *why)
{
	struct deny_entry *v;
	size_t n;

	*k = (struct knowledge){ .trust = trust_new(&c->trusts, a, why) };
	if (k->trust == NULL)
		return ERR_BAD;
	v = deny_from_sections(&c->denies, a, &n);
	k->denied = v != NULL ? deny_table_new(v, n) : NULL;
	if (k->denied == NULL) {
		*why = STR("no memory for deny");
		return ERR_MEMORY;
	}
	k->deny = (struct deny_conf){ k->denied, live };
	give(c, &deny_module, &k->deny);
	return OK;
}

void knowledge_free(struct knowledge *k)
{
	deny_table_free(k->denied);
	k->denied = NULL;
}

struct deny_table *knowledge_read_denied(const struct config *c)
{
	struct deny_table *t = NULL;
	struct deny_store  store;
	struct arena       a;
	str                why = STR_NONE;
	const char        *path;

	arena_init(&a, ARENA_UNBOUNDED);
	path = str_cstr(&a, server_deny_path(c, &a));
	if (deny_store_open(&store, path, false, &a, &why) == OK)
		t = deny_table_new(store.v, store.n);
	else
		log_event(NULL, LOG_ERROR, "deny.unread", KV_C("file", path), KV("why", why));
	if (t != NULL && store.bad > 0)
		log_event(NULL, LOG_ERROR, "deny.unread", KV_C("file", path),
			  KV_N("line", store.bad),
			  KV_C("why", "this line is no entry and denies nobody: correct it, or "
				      "take it out"));
	deny_store_close(&store);
	arena_fini(&a);
	return t;
}
