/* SPDX-License-Identifier: ISC */
/*
 * reply: SMTP replies.  What is written is printable ASCII in lines of at most
 * 512 octets, whatever the text came from; what is read is bounded and loses
 * its control bytes, so that it can be logged and quoted.  Loop thread.
 */
#include "smtpd/mail/reply.h"

#include <string.h>

/* Printable ASCII; a tab is a space. */
static void add_safe(struct buf *out, str s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(out, s.p[i] == '\t'		 ? ' '
				  : s.p[i] < ' ' || s.p[i] > '~' ? '?'
								 : s.p[i]);
}

static str without_end(str line)
{
	while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\r'))
		line.n--;
	return line;
}

/* Takes one line of at most `width` octets off *text, cut between words. */
static str line_cut(str *text, size_t width)
{
	str    line = str_head(*text, str_find(*text, '\n'));
	size_t n = line.n;

	if (without_end(line).n <= width) {
		*text = str_skip(*text, n + 1);
		return without_end(line);
	}
	n = str_rfind(str_head(line, width + 1), ' ');
	if (n == 0 || n > width)
		n = width;
	*text = str_skip(*text, n);
	while (text->n && text->p[0] == ' ')
		*text = str_skip(*text, 1);
	return without_end(str_head(line, n));
}

void reply_write(struct buf *out, int code, const char *esc, str text)
{
	str    status = str_of(esc), line;
	size_t width = REPLY_LINE_MAX - 2 - 4 - (status.n ? status.n + 1 : 0);

	text = str_trim(text);
	do {
		line = line_cut(&text, width);
		buf_addf(out, "%03d%c", code, text.n ? '-' : ' ');
		buf_add(out, status);
		if (status.n && line.n)
			buf_add_char(out, ' ');
		add_safe(out, line);
		buf_add(out, STR("\r\n"));
	} while (text.n);
}

void reply_reader_init(struct reply_reader *r)
{
	*r = (struct reply_reader){ 0 };
	buf_init(&r->line, REPLY_TOTAL_MAX);
	buf_init(&r->text, REPLY_TOTAL_MAX);
}

void reply_reader_fini(struct reply_reader *r)
{
	buf_fini(&r->line);
	buf_fini(&r->text);
}

static void reader_again(struct reply_reader *r)
{
	buf_clear(&r->line);
	buf_clear(&r->text);
	r->code = 0;
	r->esc_seen = false;
	r->bytes = r->lines = 0;
}

/* Up to three digits in front of s, or 0. */
static size_t number_length(str s)
{
	size_t n = 0;

	while (n < s.n && n < 4 && is_digit(s.p[n]))
		n++;
	return n < 4 ? n : 0;
}

/* "2.1.5", "5.7.26" (RFC 3463 2) of this class, and nothing or a space behind; its length, or 0. */
static size_t esc_length(str s, int code)
{
	size_t n = 0;

	if (s.n < 5 || s.p[0] != '0' + code / 100 || s.p[1] != '.')
		return 0;
	n = 2;
	for (int part = 0; part < 2; part++) {
		size_t digits = number_length(str_skip(s, n));

		if (digits == 0)
			return 0;
		n += digits;
		if (part == 0 && (n == s.n || s.p[n++] != '.'))
			return 0;
	}
	return n == s.n || is_wsp(s.p[n]) ? n : 0;
}

static void take_esc(struct reply_reader *r, str *text)
{
	size_t n = esc_length(*text, r->code);

	if (n == 0 || n >= sizeof(r->esc))
		return;
	if (!r->esc_seen) {
		memcpy(r->esc, text->p, n);
		r->esc[n] = '\0';
		r->esc_seen = true;
	}
	*text = str_skip(*text, n);
	if (text->n)
		*text = str_skip(*text, 1);
}

static void add_text(struct buf *out, str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		buf_add_char(out, c == '\t' ? ' ' : c < ' ' || c == 0x7f ? '?' : s.p[i]);
	}
}

/* One line without its end.  False: no reply's line. */
static bool line_read(struct reply_reader *r, str line, bool *last)
{
	uint32_t code;

	if (line.n < 3 || !str_to_u32(str_head(line, 3), &code) || code < 200 || code > 599)
		return false;
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return false;
	if (r->code != 0 && (uint32_t)r->code != code)
		return false;
	r->code = (int)code;
	*last = line.n == 3 || line.p[3] == ' ';
	line = str_skip(line, 4);
	take_esc(r, &line);
	if (r->lines++)
		buf_add_char(&r->text, '\n');
	add_text(&r->text, line);
	return !r->text.failed;
}

static bool reply_made(struct reply_reader *r, struct arena *a, struct reply *out)
{
	str text = buf_str(&r->text);

	out->code = r->code;
	out->text = text.n ? str_keep(a, text) : STR("");
	out->esc = r->esc_seen ? str_keep(a, str_of(r->esc)) : STR("");
	out->first = str_head(out->text, str_find(out->text, '\n'));
	return out->text.p != NULL && out->esc.p != NULL;
}

/* The next line, without its end, is in r->line.  False: more bytes are needed. */
static bool line_gathered(struct reply_reader *r, str in, size_t *used)
{
	str    rest = str_skip(in, *used);
	size_t lf = str_find(rest, '\n');

	buf_add(&r->line, str_head(rest, lf));
	*used += lf < rest.n ? lf + 1 : lf;
	r->bytes += lf;
	return lf < rest.n;
}

size_t reply_read(struct reply_reader *r, struct arena *a, str in, struct reply *out, bool *done,
		  bool *bad)
{
	size_t used = 0;

	*done = *bad = false;
	while (line_gathered(r, in, &used)) {
		str  line = buf_str(&r->line);
		bool last = false;

		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (r->line.failed || !line_read(r, line, &last)) {
			*bad = true;
			return used;
		}
		buf_clear(&r->line);
		if (!last)
			continue;
		*done = reply_made(r, a, out);
		*bad = !*done;
		reader_again(r);
		return used;
	}
	*bad = r->line.failed || r->bytes > REPLY_TOTAL_MAX;
	return used;
}
