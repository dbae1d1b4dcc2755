/* SPDX-License-Identifier: ISC */
/*
 * conf_parse: one attempt of libconfuse at a screened text.
 *
 * Every option is declared as a list of strings, whatever it is, so that
 * libconfuse finds nothing to object to and its value callback tells of each
 * value at the line where it stands; the values themselves stay with conf_fill,
 * and libconfuse merging what is set twice does no harm.  It knows no user
 * pointer and keeps its scanner in globals: `current` is the one reader of the
 * process (main thread).
 */
#include <confuse.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/conf_inside.h"

static struct conf_reader *current;

static int value_met(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	/* The value is ours already; libconfuse copies what it is given. */
	*(const char **)result = "";
	if (strcmp(opt->name, CONF_OPENED) == 0)
		conf_opened(current, cfg_name(cfg), cfg_title(cfg), cfg->line);
	else
		conf_value(current, opt->name, opt->nvalues - 1, value, cfg->line);
	return 0;
}

static int section_ended(cfg_t *cfg, cfg_opt_t *opt)
{
	(void)cfg, (void)opt;
	conf_closed(current);
	return 0;
}

/* A relative name is looked up beside the file that names it. */
static str beside(struct conf_reader *r, str path)
{
	str from = str_of(r->text->path);
	size_t slash = str_rfind(from, '/');

	if (path.n == 0 || path.p[0] == '/' || slash == from.n)
		return path;
	return arena_printf(r->arena, "%.*s/%.*s", (int)slash, from.p, STR_ARG(path));
}

static bool includes_itself(const struct conf_reader *r, const struct conf_text *t)
{
	for (const struct conf_text *i = r->texts; i != NULL; i = i->next)
		if (i->busy && (i == t || (i->dev == t->dev && i->ino == t->ino)))
			return true;
	return false;
}

static int text_parsed(struct conf_reader *r, cfg_t *cfg, struct conf_text *t)
{
	struct conf_text *outer = r->text;
	str text = buf_str(&t->screened);
	FILE *f;
	int result;

	if (text.n == 0)
		return CFG_SUCCESS;
	f = fmemopen((void *)(uintptr_t)text.p, text.n, "r");
	if (f == NULL) {
		r->arena->spent = true;
		return CFG_SUCCESS;
	}
	t->busy = true;
	r->text = t;
	result = cfg_parse_fp(cfg, f);
	r->text = outer;
	t->busy = false;
	fclose(f);
	return result;
}

static int include_parsed(struct conf_reader *r, cfg_t *cfg, struct conf_text *t)
{
	int outer_line = cfg->line, result;

	r->deep++;
	result = text_parsed(r, cfg, t);
	r->deep--;
	cfg->line = outer_line;
	return result;
}

/* include("FILE"), in any section: 0 unless the parse has ended in there. */
static int include_met(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	struct conf_reader *r = current;
	str named = str_trim(argc == 1 ? str_of(argv[0]) : STR_NONE),
	    shown = conf_show(r->arena, named);
	struct conf_text *t;

	(void)opt;
	if (named.n == 0) {
		conf_faultf(r, cfg->line, "`include` needs one file: include(\"FILE\")");
		return 0;
	}
	t = conf_text_get(r, beside(r, named));
	if (t == NULL)
		return 0;
	if (t->why.p != NULL)
		conf_faultf(r, cfg->line, "cannot include `%.*s`: %.*s", STR_ARG(shown),
			    STR_ARG(t->why));
	else if (includes_itself(r, t))
		conf_faultf(r, cfg->line, "`%.*s` includes itself: remove one of the two includes",
			    STR_ARG(shown));
	else if (r->deep >= CONF_INCLUDE_DEEP)
		conf_faultf(r, cfg->line, "`%.*s` is included more than %d files deep",
			    STR_ARG(shown), CONF_INCLUDE_DEEP);
	else if (r->includes++ >= CONF_INCLUDES_MAX)
		conf_faultf(r, cfg->line, "more than %d includes: the rest is not read",
			    CONF_INCLUDES_MAX);
	else
		return include_parsed(r, cfg, t);
	return 0;
}

/* After the screening only an unknown name can end a parse.  The comparison
 * holds as long as nobody calls setlocale (libconfuse translates). */
static void error_met(cfg_t *cfg, const char *format, va_list ap)
{
	struct conf_reader *r = current;
	char text[256];

	if (strcmp(format, "no such option '%s'") == 0) {
		const char *name = va_arg(ap, const char *);

		r->missing = str_cstr(r->arena, str_of(name));
		return;
	}
	if (r->text != NULL && r->text->faults.n > 0)
		return;                 /* told already; what is left is how it was mended */
	vsnprintf(text, sizeof(text), format, ap);
	conf_faultf(r, cfg->line, "syntax: %s", text);
}

static size_t scope_options(const struct conf_scope *scope)
{
	size_t n = 0;

	if (scope->section != NULL && scope->section->options != NULL)
		while (scope->section->options[n].name != NULL)
			n++;
	return n;
}

static cfg_opt_t list_named(const char *name)
{
	return (cfg_opt_t){
		.name = name, .type = CFGT_STR, .flags = CFGF_LIST, .parsecb = value_met};
}

/* What libconfuse shall know in a section: its table, the unknown names met so
 * far, its subsections, include, and the marker. */
static cfg_opt_t *scope_table(struct conf_reader *r, const struct conf_scope *scope)
{
	size_t known = scope_options(scope), n = known + 4;
	cfg_opt_t *table, *o;

	for (const struct conf_name *u = scope->unknown; u != NULL; u = u->next)
		n++;
	for (const struct conf_scope *s = scope->subs; s != NULL; s = s->next)
		n++;
	table = o = ARENA_ARRAY(r->arena, cfg_opt_t, n);
	if (table == NULL)
		return NULL;
	for (size_t i = 0; i < known; i++)
		*o++ = list_named(scope->section->options[i].name);
	for (const struct conf_name *u = scope->unknown; u != NULL; u = u->next)
		*o++ = list_named(u->name);
	for (const struct conf_scope *s = scope->subs; s != NULL; s = s->next, o++) {
		bool titled = str_ends_nocase(str_of(s->shaped), STR(CONF_SHAPE_TITLED));

		*o = (cfg_opt_t){.name = s->shaped, .type = CFGT_SEC, .validcb = section_ended};
		o->flags = CFGF_MULTI | (titled ? CFGF_TITLE : CFGF_NONE);
		o->subopts = scope_table(r, s);
		if (o->subopts == NULL)
			return NULL;
	}
	*o++ = (cfg_opt_t)CFG_FUNC("include" CONF_SHAPE_CALL, include_met);
	if (scope->up != NULL)
		*o++ = list_named(CONF_OPENED);
	*o = (cfg_opt_t)CFG_END();
	return table;
}

bool conf_parse(struct conf_reader *r, struct conf_text *t)
{
	cfg_opt_t *table = scope_table(r, r->scopes);
	cfg_t *cfg = table != NULL ? cfg_init(table, CFGF_NONE) : NULL;
	int result;

	if (cfg == NULL) {
		r->arena->spent = true;
		return true;
	}
	must(current == NULL);
	current = r;
	cfg_set_error_function(cfg, error_met);
	result = text_parsed(r, cfg, t);
	cfg_free(cfg);
	current = NULL;
	return result == CFG_SUCCESS || r->missing == NULL;
}
