/* SPDX-License-Identifier: ISC */
/*
 * conf: reading a configuration, from the first byte to the last fault.
 *
 * libconfuse ends at a name it does not know.  So such a name is added to its
 * section's table as one that is known to be wrong, and everything is read
 * again; the last reading meets no unknown name and finds every fault.
 * Main thread.
 */
#include "smtpd/base/conf.h"

#include <string.h>

#include "smtpd/base/conf_inside.h"

static bool unknown_added(struct conf_reader *r)
{
	struct conf_scope *scope = r->frame->scope;
	struct conf_name *name;

	if (str_holds(str_of(r->missing), ':'))
		return conf_scope_new(r, scope, NULL, r->missing) != NULL;
	name = ARENA_NEW(r->arena, struct conf_name);
	if (name == NULL)
		return false;
	*name = (struct conf_name){.next = scope->unknown, .name = r->missing};
	scope->unknown = name;
	return true;
}

static void read_text(struct conf_reader *r, struct conf_text *t)
{
	for (int attempts = 0; conf_start(r) && !conf_parse(r, t); attempts++) {
		if (attempts == CONF_UNKNOWN_MAX) {
			conf_faultf(r, 1,
				    "more than %d names are unknown: is this a configuration of "
				    "postern?",
				    CONF_UNKNOWN_MAX);
			return;
		}
		if (!unknown_added(r))
			return;
	}
	if (!r->arena->spent)
		conf_finish(r);
}

enum err conf_read(const char *file, conf_open *open, const struct conf_section *root, void *out,
		   struct arena *arena, struct conf_faults *faults)
{
	struct conf_reader r = {
		.open = open, .arena = arena, .faults = faults, .main_file = file, .out = out};
	struct conf_text *t;

	*faults = (struct conf_faults){NULL, 0};
	memset(out, 0, root->size);
	r.main_file = str_cstr(arena, str_of(file));
	r.scopes = conf_scope_new(&r, NULL, root, "");
	t = r.scopes != NULL && r.main_file != NULL ? conf_text_get(&r, str_of(r.main_file)) : NULL;
	if (t != NULL && t->why.p != NULL)
		conf_faultf(&r, 1, "cannot be read: %.*s", STR_ARG(t->why));
	else if (t != NULL)
		read_text(&r, t);
	conf_texts_free(&r);
	if (arena->spent)
		return ERR_MEMORY;
	return faults->n == 0 ? OK : ERR_BAD;
}
