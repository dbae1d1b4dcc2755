/* SPDX-License-Identifier: ISC */
/*
 * conf_fill: sections and values, as they are met, into the caller's structs.
 *
 * The frame is the section being read.  An unknown section has a frame without
 * a struct: what stands in it is passed over in silence, its name was the fault.
 */
#include <string.h>

#include "smtpd/base/conf_inside.h"

/* ---- tables and their defaults -------------------------------------------- */

struct conf_scope *conf_scope_new(struct conf_reader *r, struct conf_scope *up,
				  const struct conf_section *section, const char *shaped)
{
	struct conf_scope *scope = ARENA_NEW(r->arena, struct conf_scope);

	if (scope == NULL)
		return NULL;
	*scope = (struct conf_scope){.up = up, .section = section, .shaped = shaped};
	scope->name = str_cstr(r->arena, str_head(str_of(shaped), str_find(str_of(shaped), ':')));
	if (up != NULL) {
		scope->next = up->subs;
		up->subs = scope;
	}
	for (size_t i = 0;
	     section != NULL && section->sections != NULL && section->sections[i] != NULL; i++) {
		const struct conf_section *sub = section->sections[i];
		str name = arena_printf(r->arena, "%s%s", sub->name,
					sub->titled ? CONF_SHAPE_TITLED : CONF_SHAPE_SECTION);

		conf_scope_new(r, scope, sub, str_cstr(r->arena, name));
	}
	return r->arena->spent ? NULL : scope;
}

/* `out` is zeroed. */
static void fill_defaults(struct conf_reader *r, const struct conf_section *section, void *out)
{
	for (const struct conf_option *o = section->options; o != NULL && o->name != NULL; o++)
		must(conf_fill_default(o, (char *)out + o->offset, r->arena));
	for (size_t i = 0; section->sections != NULL && section->sections[i] != NULL; i++)
		if (!section->sections[i]->titled)
			fill_defaults(r, section->sections[i],
				      (char *)out + section->sections[i]->offset);
}

bool conf_start(struct conf_reader *r)
{
	struct conf_head *head = r->out;

	r->faults->n = 0;
	r->deep = r->includes = 0;
	r->environment = r->skip = false;
	r->environment_line = 0;
	r->missing = NULL;
	memset(r->out, 0, r->scopes->section->size);
	fill_defaults(r, r->scopes->section, r->out);
	head->file = r->main_file;
	head->line = 1;
	head->given = true;
	r->frame = r->frames;
	*r->frame = (struct conf_frame){.scope = r->scopes, .out = head};
	return !r->arena->spent;
}

/* ---- sections -------------------------------------------------------------- */

static void *struct_new(struct conf_reader *r, const struct conf_section *section)
{
	void *out = arena_alloc(r->arena, section->size);

	if (out != NULL)
		fill_defaults(r, section, out);
	return out;
}

static bool list_add(struct conf_reader *r, struct conf_list *list, void *out)
{
	size_t n = list->n;

	if ((n & (n - 1)) == 0) { /* its room is the power of two at or above n */
		void **v = ARENA_ARRAY(r->arena, void *, n == 0 ? 1 : 2 * n);

		if (v == NULL)
			return false;
		if (n != 0)
			memcpy(v, list->v, n * sizeof(*v));
		list->v = v;
	}
	list->v[list->n++] = out;
	return true;
}

static struct conf_head *titled_begun(struct conf_reader *r, const struct conf_section *section,
				      str title, int line)
{
	struct conf_list *list = (struct conf_list *)((char *)r->frame->out + section->offset);
	struct conf_head *out = struct_new(r, section);
	str shown = conf_show(r->arena, title);

	if (title.n == 0)
		conf_faultf(r, line, "section `%s` needs a title: %s \"NAME\" { … }", section->name,
			    section->name);
	for (size_t i = 0; i < list->n; i++) {
		const struct conf_head *other = list->v[i];

		if (title.n == 0 || !str_eq_nocase(other->title, title))
			continue;
		conf_faultf(r, line,
			    "section `%s \"%.*s\"` stands here again, it began at %s:%d: make one "
			    "of the two",
			    section->name, STR_ARG(shown), other->file, other->line);
		return out; /* read for its faults, kept nowhere */
	}
	if (out == NULL || !list_add(r, list, out))
		return NULL;
	out->title = str_keep(r->arena, title);
	return out;
}

static struct conf_head *untitled_begun(struct conf_reader *r, const struct conf_section *section,
					int line)
{
	struct conf_head *out = (struct conf_head *)((char *)r->frame->out + section->offset);

	if (!out->given)
		return out;
	conf_faultf(r, line,
		    "section `%s` stands here again, it began at %s:%d: make one of the two",
		    section->name, out->file, out->line);
	return struct_new(r, section);
}

static struct conf_head *section_begun(struct conf_reader *r, const struct conf_scope *scope,
				       str title, int line)
{
	struct conf_head *out;

	if (scope->section->titled)
		out = titled_begun(r, scope->section, title, line);
	else
		out = untitled_begun(r, scope->section, line);
	if (out == NULL)
		return NULL;
	out->given = true;
	out->file = r->text->path;
	out->line = line;
	return out;
}

void conf_opened(struct conf_reader *r, const char *shaped, const char *title, int line)
{
	struct conf_scope *scope = r->frame->scope->subs;
	struct conf_frame *frame = r->frame + 1;

	while (scope != NULL && strcmp(scope->shaped, shaped) != 0)
		scope = scope->next;
	must(scope != NULL);
	must(frame < r->frames + COUNT(r->frames)); /* the screening counts per file */
	*frame = (struct conf_frame){.scope = scope};
	if (r->frame->out != NULL && scope->section == NULL) {
		str where = conf_where(r->arena, r->frame->scope);
		str hint = conf_hint(r, r->frame->scope, scope->name, true);

		conf_faultf(r, line, "unknown section `%s`%.*s: %.*s", scope->name, STR_ARG(where),
			    STR_ARG(hint));
	} else if (r->frame->out != NULL) {
		frame->out = section_begun(r, scope, str_trim(str_of(title)), line);
	}
	r->frame = frame;
}

void conf_closed(struct conf_reader *r)
{
	must(r->frame > r->frames);
	r->frame--;
}

/* ---- options ---------------------------------------------------------------- */

static const struct conf_option *option_named(const struct conf_section *section, const char *name)
{
	for (const struct conf_option *o = section->options; o != NULL && o->name != NULL; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

static void *field_of(const struct conf_frame *frame, const struct conf_option *o)
{
	return (char *)frame->out + o->offset;
}

/* The first value of a setting; false: it was set before. */
static bool setting_begun(struct conf_reader *r, const struct conf_option *o, int line)
{
	struct conf_head *head = r->frame->out;
	struct conf_lines *l;

	for (l = head->lines; l != NULL; l = l->next) {
		if (strcmp(l->option, o->name) != 0)
			continue;
		str where = conf_where(r->arena, r->frame->scope);

		conf_faultf(r, line,
			    "option `%s`%.*s is set again, first at %s:%d: keep one of the two",
			    o->name, STR_ARG(where), l->file, l->line);
		return false;
	}
	l = ARENA_NEW(r->arena, struct conf_lines);
	if (l == NULL)
		return false;
	*l = (struct conf_lines){
		.next = head->lines, .option = o->name, .file = r->text->path, .line = line};
	head->lines = l;
	if (o->type == CONF_LIST)
		*(struct strs *)field_of(r->frame, o) = (struct strs){NULL, 0};
	return true;
}

static void value_taken(struct conf_reader *r, const struct conf_option *o, str value, int line)
{
	str why, shown, where;

	if (conf_convert(o, value, field_of(r->frame, o), r->arena, &why))
		return;
	shown = conf_show(r->arena, value);
	where = conf_where(r->arena, r->frame->scope);
	conf_faultf(r, line, "option `%s`%.*s: `%.*s` %.*s", o->name, STR_ARG(where),
		    STR_ARG(shown), STR_ARG(why));
}

static void option_met(struct conf_reader *r, const struct conf_option *o, size_t index, str value,
		       int line)
{
	bool none = str_is(value, CONF_EMPTY);

	if (index == 0)
		r->skip = !setting_begun(r, o, line);
	if (r->skip)
		return;
	if (o->type != CONF_LIST && (index > 0 || none)) {
		str where = conf_where(r->arena, r->frame->scope);

		conf_faultf(r, line, "option `%s`%.*s takes one value, not a list: %s = VALUE",
			    o->name, STR_ARG(where), o->name);
		r->skip = true;
	} else if (!none) {
		value_taken(r, o, value, line);
	}
}

/* Known at the top of every configuration, whether a table has it or not. */
static bool environment_met(struct conf_reader *r, const char *name, size_t index, str value,
			    int line)
{
	static const struct conf_option environment = {.name = "environment", .type = CONF_BOOL};
	str why;

	if (r->frame != r->frames || strcmp(name, environment.name) != 0)
		return false;
	conf_convert(&environment, value, &r->environment, r->arena, &why);
	if (option_named(r->frame->scope->section, name) != NULL)
		return false; /* the table's own: it goes its way too */
	if (why.p != NULL || index > 0)
		conf_faultf(r, line, "option `environment`: must be yes or no");
	else if (r->environment_line != 0)
		conf_faultf(r, line, "option `environment` is set again: keep one of the two");
	r->environment_line = line;
	return true;
}

void conf_value(struct conf_reader *r, const char *name, size_t index, const char *value, int line)
{
	const struct conf_option *o;
	str trimmed = str_is(str_of(value), CONF_EMPTY) ? str_of(value) : str_trim(str_of(value));

	if (r->frame->out == NULL || environment_met(r, name, index, trimmed, line))
		return;
	o = option_named(r->frame->scope->section, name);
	if (o != NULL) {
		option_met(r, o, index, trimmed, line);
	} else if (index == 0) {
		str where = conf_where(r->arena, r->frame->scope);
		str hint = conf_hint(r, r->frame->scope, name, false);

		conf_faultf(r, line, "unknown option `%s`%.*s: %.*s", name, STR_ARG(where),
			    STR_ARG(hint));
	}
}

/* ---- the end ----------------------------------------------------------------- */

static void check_section(struct conf_reader *r, const struct conf_section *section, void *out)
{
	for (size_t i = 0; section->sections != NULL && section->sections[i] != NULL; i++) {
		const struct conf_section *sub = section->sections[i];
		void *field = (char *)out + sub->offset;
		struct conf_list *list = field;

		if (!sub->titled)
			check_section(r, sub, field);
		for (size_t j = 0; sub->titled && j < list->n; j++)
			check_section(r, sub, list->v[j]);
	}
	if (section->check != NULL)
		section->check(out, r);
}

static void environment_judged(struct conf_reader *r, const struct conf_text *t)
{
	for (const struct conf_env *e = t->env; e != NULL; e = e->next) {
		str name = conf_show(r->arena, e->name);

		if (!r->environment)
			conf_faults_put(
				r->faults, r->arena, t->path, e->line,
				arena_printf(r->arena,
					     "`${%.*s}` is not expanded: set `environment = yes` "
					     "at the top to allow it",
					     STR_ARG(name)));
		else if (e->unset)
			conf_faults_put(
				r->faults, r->arena, t->path, e->line,
				arena_printf(r->arena,
					     "`${%.*s}` is not set in the environment: set it, or "
					     "write ${%.*s:-VALUE}",
					     STR_ARG(name), STR_ARG(name)));
	}
}

void conf_finish(struct conf_reader *r)
{
	bool broken = false;

	for (struct conf_text *t = r->texts; t != NULL; t = t->next) {
		broken = broken || t->faults.n > 0;
		for (size_t i = 0; i < t->faults.n; i++)
			conf_faults_put(r->faults, r->arena, t->path, t->faults.v[i].line,
					t->faults.v[i].text);
		environment_judged(r, t);
	}
	if (!broken)
		check_section(r, r->scopes->section, r->out);
}
