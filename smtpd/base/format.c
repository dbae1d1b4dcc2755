/* SPDX-License-Identifier: ISC */
/*
 * format: see format.h.  What is not known here is noticed before it matters: the
 * whole text is then made anew by the C library, from the same arguments.  Any
 * thread.
 */
#include "smtpd/base/format.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct text {
	char   *p;
	size_t  room, n;        /* n counts what found no room too */
	va_list args;
};

static void put(struct text *t, const char *s, size_t n)
{
	size_t left = t->n < t->room ? t->room - t->n : 0;

	memcpy(t->p + (t->room - left), s, n < left ? n : left);
	t->n += n;
}

static void put_number(struct text *t, unsigned long long v)
{
	char   digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	put(t, digits + at, sizeof(digits) - at);
}

/* With a precision it ends there, or at a NUL before. */
static const char *put_cut(struct text *t, const char *behind)
{
	int         most = va_arg(t->args, int);
	const char *s = va_arg(t->args, const char *);

	if (s == NULL || most < 0)
		return NULL;
	put(t, s, strnlen(s, (size_t)most));
	return behind;
}

static const char *put_string(struct text *t, const char *behind)
{
	const char *s = va_arg(t->args, const char *);

	if (s == NULL)
		return NULL;
	put(t, s, strlen(s));
	return behind;
}

/* `at` is behind the percent sign; where the format goes on, NULL: not known here. */
static const char *put_directive(struct text *t, const char *at)
{
	switch (at[0]) {
	case '%':
		put(t, at, 1);
		return at + 1;
	case 's':
		return put_string(t, at + 1);
	case '.':
		return at[1] == '*' && at[2] == 's' ? put_cut(t, at + 3) : NULL;
	case 'u':
		put_number(t, va_arg(t->args, unsigned));
		return at + 1;
	case 'z':
		if (at[1] != 'u')
			return NULL;
		put_number(t, va_arg(t->args, size_t));
		return at + 2;
	case 'l':
		if (at[1] != 'l' || at[2] != 'u')
			return NULL;
		put_number(t, va_arg(t->args, unsigned long long));
		return at + 3;
	default:
		return NULL;
	}
}

static const char *put_piece(struct text *t, const char *at)
{
	const char *end = strchrnul(at, '%');

	if (end != at)
		put(t, at, (size_t)(end - at));
	return *end == '%' ? put_directive(t, end + 1) : end;
}

int format_text(char *out, size_t room, const char *format, va_list args)
{
	struct text t = { .p = out, .room = room };
	const char *at = format;

	va_copy(t.args, args);
	while (at != NULL && *at != '\0')
		at = put_piece(&t, at);
	va_end(t.args);
	if (at == NULL)
		return vsnprintf(out, room, format, args);
	if (t.n > INT_MAX)
		return -1;
	out[t.n < room ? t.n : room - 1] = '\0';
	return (int)t.n;
}
