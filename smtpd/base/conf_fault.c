/* SPDX-License-Identifier: ISC */
/*
 * conf_fault: the list of faults, always sorted by file and line.
 *
 * Faults of one line stand in the order in which they were found.  The list's
 * room is the power of two at or above its length, so it needs no field.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/conf_inside.h"

#define SHOWN_MAX 60

static int fault_order(const struct conf_fault *f, const char *file, int line)
{
	int by_file = strcmp(f->file, file);

	return by_file != 0 ? by_file : (f->line > line) - (f->line < line);
}

static bool faults_grow(struct conf_faults *faults, struct arena *arena)
{
	size_t n = faults->n;
	struct conf_fault *v;

	if (n != 0 && (n & (n - 1)) != 0)
		return true;
	v = ARENA_ARRAY(arena, struct conf_fault, n == 0 ? 1 : 2 * n);
	if (v == NULL)
		return false;
	if (n != 0)
		memcpy(v, faults->v, n * sizeof(*v));
	faults->v = v;
	return true;
}

void conf_faults_put(struct conf_faults *faults, struct arena *arena, const char *file, int line,
		     str text)
{
	size_t at = faults->n;

	if (faults->n >= CONF_FAULTS_MAX || text.p == NULL || !faults_grow(faults, arena))
		return;
	while (at > 0 && fault_order(&faults->v[at - 1], file, line) > 0)
		at--;
	memmove(&faults->v[at + 1], &faults->v[at], (faults->n - at) * sizeof(*faults->v));
	faults->v[at] = (struct conf_fault){.file = file, .line = line, .text = text};
	faults->n++;
}

static str textf(struct arena *arena, const char *format, va_list ap)
{
	char text[1024];
	int n = vsnprintf(text, sizeof(text), format, ap);

	if (n < 0)
		return STR_NONE;
	return str_keep(arena,
			(str){text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1});
}

void conf_faultf(struct conf_reader *r, int line, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	conf_faults_put(r->faults, r->arena, r->text != NULL ? r->text->path : r->main_file, line,
			textf(r->arena, format, ap));
	va_end(ap);
}

void conf_text_faultf(struct conf_reader *r, struct conf_text *t, int line, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	conf_faults_put(&t->faults, r->arena, t->path, line, textf(r->arena, format, ap));
	va_end(ap);
}

static const struct conf_lines *line_of(const struct conf_head *head, const char *option)
{
	for (const struct conf_lines *l = head->lines; l != NULL && option != NULL; l = l->next)
		if (strcmp(l->option, option) == 0)
			return l;
	return NULL;
}

bool conf_given(const struct conf_head *head, const char *option)
{
	return line_of(head, option) != NULL;
}

/* Where to look: the option, else its section, else the top of the file. */
static void put_at(struct conf_faults *faults, struct arena *arena, const struct conf_head *head,
		   const char *option, const char *main_file, str text)
{
	const struct conf_lines *l = line_of(head, option);

	if (l != NULL)
		conf_faults_put(faults, arena, l->file, l->line, text);
	else if (head->file != NULL)
		conf_faults_put(faults, arena, head->file, head->line, text);
	else
		conf_faults_put(faults, arena, main_file, 1, text);
}

void conf_fault(struct conf_reader *r, const struct conf_head *head, const char *option,
		const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	put_at(r->faults, r->arena, head, option, r->main_file, textf(r->arena, format, ap));
	va_end(ap);
}

void conf_fault_add(struct conf_faults *faults, struct arena *arena, const struct conf_head *head,
		    const char *option, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	put_at(faults, arena, head, option, "configuration", textf(arena, format, ap));
	va_end(ap);
}

str conf_show(struct arena *arena, str s)
{
	char text[SHOWN_MAX + 4];
	size_t n = s.n > SHOWN_MAX ? SHOWN_MAX : s.n;

	for (size_t i = 0; i < n; i++)
		text[i] = (unsigned char)s.p[i] < ' ' || s.p[i] == 127 ? '?' : s.p[i];
	if (s.n > SHOWN_MAX) {
		/* Not in the middle of a UTF-8 character. */
		while (n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
			n--;
		memcpy(text + n, "...", 3);
		n += 3;
	}
	return str_keep(arena, (str){text, n});
}

str conf_where(struct arena *arena, const struct conf_scope *scope)
{
	return scope->up == NULL ? STR_NONE : arena_printf(arena, " in section `%s`", scope->name);
}
