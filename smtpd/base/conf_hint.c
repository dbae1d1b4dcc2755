/* SPDX-License-Identifier: ISC */
/*
 * conf_hint: what would be right instead of a name that is not known.
 *
 * In this order: the same name in its other shape; the same name in another
 * section; the nearest name here; all names here, if they are few.
 */
#include <string.h>

#include "smtpd/base/conf_inside.h"

#define NAMES_MAX  256
#define LISTED_MAX 12

static const struct conf_section *sub_named(const struct conf_section *section, const char *name)
{
	for (size_t i = 0; section->sections != NULL && section->sections[i] != NULL; i++)
		if (strcmp(section->sections[i]->name, name) == 0)
			return section->sections[i];
	return NULL;
}

static bool has_option(const struct conf_section *section, const char *name)
{
	for (const struct conf_option *o = section->options; o != NULL && o->name != NULL; o++)
		if (strcmp(o->name, name) == 0)
			return true;
	return false;
}

static str other_shape(struct conf_reader *r, const struct conf_section *section, const char *name)
{
	const struct conf_section *sub = sub_named(section, name);

	if (sub != NULL && sub->titled)
		return arena_printf(r->arena, "it is a section with a title: %s \"NAME\" { … }",
				    name);
	if (sub != NULL)
		return arena_printf(r->arena, "it is a section without a title: %s { … }", name);
	if (has_option(section, name))
		return arena_printf(r->arena, "it is an option: %s = VALUE", name);
	if (strcmp(name, "include") == 0)
		return STR("another file is read by include(\"FILE\")");
	return STR_NONE;
}

/* The section below `section` that has this name, in this shape. */
static const struct conf_section *home_of(const struct conf_section *section, const char *name,
					  bool is_section)
{
	if (is_section ? sub_named(section, name) != NULL : has_option(section, name))
		return section;
	for (size_t i = 0; section->sections != NULL && section->sections[i] != NULL; i++) {
		const struct conf_section *home = home_of(section->sections[i], name, is_section);

		if (home != NULL)
			return home;
	}
	return NULL;
}

static str elsewhere(struct conf_reader *r, const char *name, bool is_section)
{
	bool builtin = strcmp(name, "environment") == 0 && !is_section;
	const struct conf_section *home =
		builtin ? r->scopes->section : home_of(r->scopes->section, name, is_section);

	if (home == NULL)
		return STR_NONE;
	if (home == r->scopes->section)
		return STR("it belongs at the top, outside all sections (is a `}` missing before "
			   "it?)");
	return arena_printf(r->arena, "it belongs in section `%s`", home->name);
}

static size_t names_here(const struct conf_section *section, const char **names)
{
	size_t n = 0;

	for (const struct conf_option *o = section->options;
	     o != NULL && o->name != NULL && n < NAMES_MAX; o++)
		if (!o->hidden)
			names[n++] = o->name;
	for (size_t i = 0;
	     section->sections != NULL && section->sections[i] != NULL && n < NAMES_MAX; i++)
		names[n++] = section->sections[i]->name;
	return n;
}

static str listed(struct conf_reader *r, const char *const *names, size_t n)
{
	struct buf text;
	str s;

	if (n == 0)
		return STR("no option is known here");
	if (n > LISTED_MAX)
		return STR("remove it, or look up the right name in postern.conf(5)");
	buf_init(&text, 1024);
	buf_addf(&text, "known here: ");
	for (size_t i = 0; i < n; i++)
		buf_addf(&text, "%s%s", i == 0 ? "" : ", ", names[i]);
	s = str_keep(r->arena, buf_str(&text));
	buf_fini(&text);
	return s;
}

str conf_hint(struct conf_reader *r, const struct conf_scope *scope, const char *name, bool section)
{
	const char *names[NAMES_MAX], *near;
	size_t n = names_here(scope->section, names);
	str hint = other_shape(r, scope->section, name);

	if (hint.p == NULL)
		hint = elsewhere(r, name, section);
	if (hint.p != NULL)
		return hint;
	near = conf_nearest(str_of(name), names, n);
	if (near != NULL)
		return arena_printf(r->arena, "did you mean `%s`?", near);
	return listed(r, names, n);
}
