/* SPDX-License-Identifier: ISC */
/*
 * log_line: how a line looks.  What comes from peers is quoted, cut and
 * escaped here, so that a line is a line and no terminal takes orders from it.
 * Any thread; no state.
 */
#include "smtpd/base/log.h"

#include <stdio.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/log_ring.h"

static const char *const level_names[] = { "debug", "info", "notice", "warn", "error" };

static bool is_bare(char c)
{
	return is_alnum(c) || (c != '\0' && strchr("._:@/+=<>-[],", c) != NULL);
}

static char *put(char *p, str s)
{
	if (s.n)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

static char *put_escaped(char *p, str s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\') {
			*p++ = '\\';
			*p++ = (char)c;
		} else if (c < 0x20 || c >= 0x7f) {
			*p++ = '\\';
			*p++ = 'x';
			*p++ = hex[c >> 4];
			*p++ = hex[c & 15];
		} else {
			*p++ = (char)c;
		}
	}
	return p;
}

str log_value(str s, char out[static LOG_VALUE_ROOM])
{
	bool  cut = s.n > LOG_VALUE, quote = s.n == 0;
	char *p = out;

	s = str_head(s, LOG_VALUE);
	for (size_t i = 0; i < s.n && !quote; i++)
		quote = !is_bare(s.p[i]);
	if (quote)
		*p++ = '"';
	p = quote ? put_escaped(p, s) : put(p, s);
	if (cut)
		p = put(p, STR("..."));
	if (quote)
		*p++ = '"';
	return (str){ out, (size_t)(p - out) };
}

struct draft {
	char  *p, *end;
	bool   full;
};

/* " key=value", or nothing and `full` when it does not fit. */
static void draft_pair(struct draft *d, const char *key, str value)
{
	str k = str_of(key);

	if (d->full || (size_t)(d->end - d->p) < k.n + value.n + 2) {
		d->full = true;
		return;
	}
	*d->p++ = ' ';
	d->p = put(d->p, k);
	*d->p++ = '=';
	d->p = put(d->p, value);
}

static void draft_kv(struct draft *d, const struct log_kv *kv)
{
	char value[LOG_VALUE_ROOM];

	if (kv->kind == LOG_STR) {
		draft_pair(d, kv->key, log_value(kv->s, value));
		return;
	}
	snprintf(value, sizeof(value), kv->kind == LOG_NUM ? "%llu" : "%lld",
	         kv->kind == LOG_NUM ? (long long)kv->num : (long long)kv->i);
	draft_pair(d, kv->key, str_of(value));
}

void log_line_make(struct log_line *line, const struct log *l, enum log_level level,
                   const char *event, const struct log_kv *kv, size_t n)
{
	static const str cut = { " cut=yes\n", 9 };
	struct draft     d = { line->text, line->text + sizeof(line->text) - cut.n, false };
	char             stamp[40];

	line->us = clock_wall_us();
	line->level = (uint8_t)level;
	d.p = put(d.p, clock_stamp(line->us, stamp));
	*d.p++ = ' ';
	d.p = put(d.p, str_of(level_names[level]));
	*d.p++ = ' ';
	line->event_at = (uint8_t)(d.p - line->text);
	d.p = put(d.p, str_head(str_of(event), 64));
	if (l != NULL && l->id.n)
		draft_kv(&d, &KV("id", l->id));
	if (l != NULL && l->module.n)
		draft_kv(&d, &KV("module", l->module));
	for (size_t i = 0; i < n; i++)
		draft_kv(&d, &kv[i]);
	d.p = d.full ? put(d.p, cut) : put(d.p, STR("\n"));
	line->n = (uint16_t)(d.p - line->text);
}
