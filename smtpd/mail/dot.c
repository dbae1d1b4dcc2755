/* SPDX-License-Identifier: ISC */
/*
 * dot: the final dot found, stuffed dots taken out, and put in again.
 *
 * A line begins at the front of the message and behind CRLF, nowhere else: what
 * others take for a line end neither ends the message nor hides a dot.  Bytes
 * are looked at in blocks; a block in which anything is to be seen to is gone
 * through a line at a time.  A piece that goes out spans as many lines as need no
 * change.  Only ".", CR at a piece's end are held over, and they come back as
 * constants.  Loop thread.
 */
#include "smtpd/mail/dot.h"

#define BLOCK 128

enum state {
	LINE_START,   /* nothing of the line has come */
	IN_LINE,
	AFTER_CR,     /* the CR has gone out already */
	AFTER_DOT,    /* the first of the line, held */
	AFTER_DOT_CR, /* both held */
};

void dot_init(struct dot *d, bool repair)
{
	*d = (struct dot){ .state = LINE_START, .repair = repair };
}

static void bare_cr(struct dot *d)
{
	d->faults |= DOT_BARE_CR;
	d->state = IN_LINE;
}

/* The text of one line in in[from..to), its line end apart. */
static void look_at_text(struct dot *d, str text)
{
	if (str_holds(text, '\r'))
		d->faults |= DOT_BARE_CR;
	if (str_holds(text, '\0'))
		d->faults |= DOT_NUL;
}

/* One line or its beginning, at in[at]; where the next one is. */
static size_t line_passed(struct dot *d, str in, size_t at)
{
	size_t lf = at + str_find(str_skip(in, at), '\n');
	bool   cr = lf > at && in.p[lf - 1] == '\r';

	if (d->state == AFTER_CR && lf > at)
		bare_cr(d);
	look_at_text(d, (str){ in.p + at, lf - at - cr });
	if (lf == in.n) {
		d->state = cr ? AFTER_CR : IN_LINE;
		return lf;
	}
	if (cr || d->state == AFTER_CR) {
		d->state = LINE_START;
		return lf + 1;
	}
	d->state = IN_LINE;
	if (d->repair)
		return lf;              /* the caller sees it and ends the piece */
	d->faults |= DOT_BARE_LF;
	return lf + 1;
}

/* No NUL, no CR or LF without the other, no line that begins with a dot: of the
 * block at p, behind p[-1].  Written without branches so that compilers make
 * vector code of it: that takes less than half of the time that two memchr for
 * each line and one for all took. */
static bool block_clean(const char *p)
{
	unsigned char found = 0;

	for (int i = 0; i < BLOCK; i++)
		found |= (unsigned char)((p[i] == '\0') | ((p[i] == '\n') ^ (p[i - 1] == '\r')) |
		                         ((p[i] == '.') & (p[i - 1] == '\n')));
	return found == 0;
}

/* Where the clean blocks from in[at] on end; in[at - 1] has been passed. */
static size_t blocks_passed(struct dot *d, str in, size_t at)
{
	size_t from = at;

	while (in.n - at >= BLOCK && block_clean(in.p + at))
		at += BLOCK;
	if (at > from)
		d->state = in.p[at - 1] == '\n' ? LINE_START : in.p[at - 1] == '\r' ? AFTER_CR : IN_LINE;
	return at;
}

/* The longest piece at the front of *in that goes out as it is. */
static str piece_passed(struct dot *d, str *in, bool dots)
{
	size_t at = 0;
	str    piece;

	while (at < in->n) {
		if (dots && d->state == LINE_START && in->p[at] == '.')
			break;
		if (d->repair && d->state == IN_LINE && in->p[at] == '\n')
			break;
		at = line_passed(d, *in, at);
		if (at > 0)
			at = blocks_passed(d, *in, at);
	}
	piece = str_head(*in, at);
	*in = str_skip(*in, at);
	return piece;
}

/* Is the LF in front a bare one that is to be repaired? */
static bool wants_repair(const struct dot *d, str in)
{
	return d->repair && in.p[0] == '\n' && (d->state == IN_LINE || d->state == LINE_START);
}

static str repaired(struct dot *d, str *in)
{
	*in = str_skip(*in, 1);
	d->repaired = true;
	d->state = IN_LINE;
	return STR("\r\n");
}

/* A dot began the line: what the next byte makes of it.  True: look again. */
static bool dot_settled(struct dot *d, str *in)
{
	if (d->state == LINE_START && in->p[0] == '.') {
		d->state = AFTER_DOT;
		*in = str_skip(*in, 1);
		return true;
	}
	if (d->state != AFTER_DOT)
		return false;
	if (in->p[0] == '\r') {
		d->state = AFTER_DOT_CR;
		*in = str_skip(*in, 1);
		return true;
	}
	d->state = IN_LINE;             /* RFC 5321 4.5.2: the dot is deleted */
	return false;
}

str dot_next(struct dot *d, str *in)
{
	while (in->n && !d->done) {
		if (d->state == AFTER_DOT_CR) {
			if (in->p[0] != '\n') {
				bare_cr(d);
				return STR("\r");
			}
			*in = str_skip(*in, 1);
			d->done = true;
			break;
		}
		if (dot_settled(d, in))
			continue;
		return wants_repair(d, *in) ? repaired(d, in) : piece_passed(d, in, true);
	}
	return STR_NONE;
}

str dot_pass(struct dot *d, str *in)
{
	if (in->n == 0)
		return STR_NONE;
	return wants_repair(d, *in) ? repaired(d, in) : piece_passed(d, in, false);
}

void dot_end(struct dot *d)
{
	if (d->state == AFTER_CR || d->state == AFTER_DOT_CR)
		bare_cr(d);
}

void dot_out_init(struct dot_out *o)
{
	*o = (struct dot_out){ .at_line_start = true };
}

void dot_out_feed(struct dot_out *o, str in, void (*sink)(void *, str), void *arg)
{
	size_t at = 0;

	while (in.n) {
		if (at == 0 && o->at_line_start && in.p[0] == '.')
			sink(arg, STR("."));
		at += str_find(str_skip(in, at), '\n');
		if (at < in.n) {
			o->at_line_start = at ? in.p[at - 1] == '\r' : o->cr;
			at++;
			o->cr = false;
		} else {
			o->at_line_start = false;
			o->cr = in.p[in.n - 1] == '\r';
		}
		if (at == in.n || (o->at_line_start && in.p[at] == '.')) {
			sink(arg, str_head(in, at));
			in = str_skip(in, at);
			at = 0;
		}
	}
}

str dot_out_end(const struct dot_out *o)
{
	return o->at_line_start ? STR(".\r\n") : STR("\r\n.\r\n");
}
