/* SPDX-License-Identifier: ISC */
/*
 * explain_body: why a body hash failed, as far as the message allows to tell.
 *
 * Each thing that servers on the way do to bodies is undone in turn; when the
 * hash then is the signer's, that is what happened.  What cannot be undone is
 * only named.  The verb's thread; a message too large for it is not tried.
 */
#include <stdio.h>
#include <string.h>

#include "smtpd/setup/explain.h"

#define LINES_TRIED 200
#define BODY_MOST   ((size_t)4 << 20)

/* ---- hashing what might have been signed -------------------------------------- */

static bool hash_is(struct story *st, const struct dkim_signature *sig, enum canon kind,
		    uint64_t length, str body)
{
	struct bodyhash *h = bodyhash_new(st->arena);
	int wish = h == NULL ? -1 : bodyhash_wish(h, kind, DIGEST_SHA256, length);
	bool same = false;

	if (wish >= 0) {
		bodyhash_feed(h, body);
		bodyhash_end(h);
		same = str_eq(bodyhash_result(h, wish), sig->bh);
	}
	bodyhash_drop(h);
	return same;
}

static bool was_signed(struct story *st, const struct dkim_signature *sig, str body)
{
	return hash_is(st, sig, sig->body_canon, sig->has_length ? sig->length : BODYHASH_WHOLE,
		       body);
}

/* ---- undoing --------------------------------------------------------------------- */

static bool line_cut(str *rest, str *line)
{
	return rest->n > 0 && str_cut(rest, '\n', line);
}

static void line_put(struct buf *out, str line, bool ended)
{
	buf_add(out, line);
	if (ended)
		buf_add(out, STR("\r\n"));
}

static str without_cr(str line)
{
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

static void blanks_at_ends_off(str in, struct buf *out)
{
	str line;

	while (line_cut(&in, &line)) {
		while (line.n > 0 && (is_wsp(line.p[line.n - 1]) || line.p[line.n - 1] == '\r'))
			line.n--;
		line_put(out, line, in.p != NULL);
	}
}

static void every_end_crlf(str in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];

		if (c == '\r' && i + 1 < in.n && in.p[i + 1] == '\n')
			i++;
		if (c == '\r' || c == '\n')
			buf_add(out, STR("\r\n"));
		else
			buf_add_char(out, c);
	}
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	return to_lower(c) >= 'a' && to_lower(c) <= 'f' ? to_lower(c) - 'a' + 10 : -1;
}

/* RFC 2045 6.7 */
static void quoted_printable_off(str in, struct buf *out)
{
	str line;

	while (line_cut(&in, &line)) {
		bool soft;

		line = without_cr(line);
		while (line.n > 0 && is_wsp(line.p[line.n - 1]))
			line.n--;
		soft = line.n > 0 && line.p[line.n - 1] == '=';
		line.n -= soft;
		for (size_t i = 0; i < line.n; i++) {
			int high = i + 2 < line.n ? hex_value(line.p[i + 1]) : -1;
			int low = i + 2 < line.n ? hex_value(line.p[i + 2]) : -1;

			if (line.p[i] == '=' && high >= 0 && low >= 0) {
				buf_add_char(out, (char)(high * 16 + low));
				i += 2;
			} else {
				buf_add_char(out, line.p[i]);
			}
		}
		if (!soft && in.p != NULL)
			buf_add(out, STR("\r\n"));
	}
}

static void mbox_quotes_off(str in, struct buf *out)
{
	str line;

	while (line_cut(&in, &line)) {
		line = without_cr(line);
		line_put(out, str_starts(line, ">From ") ? str_skip(line, 1) : line, in.p != NULL);
	}
}

static void dots_off(str in, struct buf *out)
{
	str line;

	while (line_cut(&in, &line)) {
		line = without_cr(line);
		line_put(out, str_starts(line, "..") ? str_skip(line, 1) : line, in.p != NULL);
	}
}

static void dots_on(str in, struct buf *out)
{
	str line;

	while (line_cut(&in, &line)) {
		line = without_cr(line);
		if (str_starts(line, "."))
			buf_add_char(out, '.');
		line_put(out, line, in.p != NULL);
	}
}

/* Some servers break lines over 990 octets with "!", a line end and a space. */
static void breaks_off(str in, struct buf *out)
{
	while (in.n > 0) {
		size_t at = str_find(in, '!');

		buf_add(out, str_head(in, at));
		in = str_skip(in, at);
		if (str_starts(in, "!\r\n ")) {
			in = str_skip(in, 4);
		} else if (in.n > 0) {
			buf_add_char(out, '!');
			in = str_skip(in, 1);
		}
	}
}

/* ---- who is suspected --------------------------------------------------------------- */

static str encoding_of(struct story *st)
{
	const struct field *f = fields_first(st->msg->fields, "Content-Transfer-Encoding");

	return f == NULL ? STR_NONE : str_trim(f->value);
}

static const struct {
	void      (*undo)(str, struct buf *);
	const char *encoding;    /* only in a message of this Content-Transfer-Encoding */
	const char *what;
} suspects[] = {
	{every_end_crlf, NULL,
	 "some lines came with another end than CR LF; the signer saw CR LF at all of them"},
	{blanks_at_ends_off, NULL,
	 "blanks were added at the ends of lines; a signature with c=relaxed/relaxed survives "
	 "that"},
	{quoted_printable_off, "quoted-printable",
	 "a server on the way converted the body from 8-bit to quoted-printable after it was "
	 "signed; signers should send 7-bit text"},
	{mbox_quotes_off, NULL,
	 "a > was put in front of lines that begin with From (an mbox file on the way); "
	 "quoted-printable text avoids that"},
	{dots_off, NULL,
	 "dots at the beginnings of lines were doubled and not undone (RFC 5321 4.5.2)"},
	{dots_on, NULL, "a dot at the beginning of some line was lost (RFC 5321 4.5.2)"},
	{breaks_off, NULL,
	 "lines longer than SMTP allows were broken on the way; signers should send lines under "
	 "998 octets"},
};

static bool suspect_found(struct story *st, const struct dkim_signature *sig, str body)
{
	struct buf b;
	bool found = false;

	buf_init(&b, 4 * BODY_MOST);
	for (size_t i = 0; i < COUNT(suspects) && !found; i++) {
		if (suspects[i].encoding != NULL &&
		    !str_is_nocase(encoding_of(st), suspects[i].encoding))
			continue;
		buf_clear(&b);
		suspects[i].undo(body, &b);
		found = !b.failed && was_signed(st, sig, buf_str(&b));
		if (found)
			fprintf(st->out, "  what happened: %s\n", suspects[i].what);
	}
	buf_fini(&b);
	return found;
}

static bool base64_found(struct story *st, const struct dkim_signature *sig, str body)
{
	str decoded;

	if (!str_is_nocase(encoding_of(st), "base64") ||
	    !base64_decode(st->arena, body, true, &decoded) || !was_signed(st, sig, decoded))
		return false;
	fprintf(st->out, "  what happened: a server on the way converted the body to base64 after it was "
	       "signed; signers should send 7-bit text\n");
	return true;
}

/* Without its last lines, or without its first. */
static bool lines_added(struct story *st, const struct dkim_signature *sig, str whole)
{
	str body = whole;

	for (size_t lines = 1; lines <= LINES_TRIED && body.n > 0; lines++) {
		size_t end = body.n - (body.p[body.n - 1] == '\n');
		size_t at = str_rfind(str_head(body, end), '\n');

		body = str_head(body, at < end ? at + 1 : 0);
		if (was_signed(st, sig, body)) {
			fprintf(st->out, "  what happened: without its last %zu line%s the body is the one "
			       "that was signed; somebody on the way appended them (a list footer, "
			       "a disclaimer)\n",
			       lines, lines == 1 ? "" : "s");
			return true;
		}
	}
	body = whole;
	for (size_t lines = 1; lines <= LINES_TRIED / 4 && body.n > 0; lines++) {
		body = str_skip(body, str_find(body, '\n') + 1);
		if (was_signed(st, sig, body)) {
			fprintf(st->out, "  what happened: without its first %zu line%s the body is the one "
			       "that was signed; somebody on the way put them in front (a warning, "
			       "a banner)\n",
			       lines, lines == 1 ? "" : "s");
			return true;
		}
	}
	return false;
}

/* The signer's own fault, or a body that never arrived. */
static bool signer_erred(struct story *st, const struct dkim_signature *sig, str body)
{
	enum canon other = sig->body_canon == CANON_SIMPLE ? CANON_RELAXED : CANON_SIMPLE;
	uint64_t length = sig->has_length ? sig->length : BODYHASH_WHOLE;

	if (body.n > 0 && hash_is(st, sig, sig->body_canon, BODYHASH_WHOLE, STR_NONE))
		fprintf(st->out, "  what happened: the signature was made over an empty body, before the "
		       "text was there\n");
	else if (hash_is(st, sig, other, length, body))
		fprintf(st->out, "  what happened: the signer hashed the %s form, but c= says the other one: "
		       "the signer's program is at fault\n",
		       other == CANON_SIMPLE ? "simple" : "relaxed");
	else if (sig->has_length && hash_is(st, sig, sig->body_canon, BODYHASH_WHOLE, body))
		fprintf(st->out, "  what happened: the hash is that of the whole body, but l= says "
		       "otherwise: the signer's program is at fault\n");
	else
		return false;
	return true;
}

/* ---- what can only be named ---------------------------------------------------------- */

static bool holds_8bit(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

static bool holds_encoded_part(str body)
{
	str line;

	while (line_cut(&body, &line))
		if (str_starts_nocase(line, "Content-Transfer-Encoding:") &&
		    (str_is_nocase(str_trim(str_skip(line, 26)), "quoted-printable") ||
		     str_is_nocase(str_trim(str_skip(line, 26)), "base64")))
			return true;
	return false;
}

static void possibilities_tell(struct story *st, const struct dkim_signature *sig, str body)
{
	str encoding = encoding_of(st);
	bool encoded = str_is_nocase(encoding, "quoted-printable") ||
		       str_is_nocase(encoding, "base64") || holds_encoded_part(body);

	if (body.n == 0)
		fprintf(st->out, "  what may have happened: the body is empty; it was lost on the way\n");
	if (sig->body_canon == CANON_SIMPLE)
		fprintf(st->out, "  what may have happened: c=.../simple breaks by any change of white space "
		       "or of empty lines; relaxed survives most\n");
	if (encoded && !holds_8bit(body))
		fprintf(st->out, "  what may have happened: text of the body is encoded; if it was 8-bit "
		       "when it was signed, a server on the way converted it: signers should send "
		       "7-bit text\n");
	if (!st->in->crlf)
		fprintf(st->out, "  note: the input has LF line ends; if some lines had other ends before, "
		       "that alone breaks the hash\n");
	fprintf(st->out, "  what may have happened: text was changed within the body, or its end is missing; "
	       "nothing that is usual explains this hash, so compare with what was sent "
	       "(--canonical DIR writes what was hashed here)\n");
}

static str body_whole(struct story *st)
{
	str front = st->in->body_front, rest = st->in->body;
	char *p = front.n == 0 ? NULL : arena_alloc(st->arena, front.n + rest.n);

	if (p == NULL)
		return rest;
	memcpy(p, front.p, front.n);
	if (rest.n > 0)
		memcpy(p + front.n, rest.p, rest.n);
	return (str){ p, front.n + rest.n };
}

void explain_body(struct story *st, const struct dkim_signature *sig)
{
	str body = st->in->body.n > BODY_MOST ? st->in->body : body_whole(st);

	if (body.n > BODY_MOST) {
		possibilities_tell(st, sig, body);
		return;
	}
	if (suspect_found(st, sig, body) || base64_found(st, sig, body) ||
	    signer_erred(st, sig, body) || lines_added(st, sig, body))
		return;
	possibilities_tell(st, sig, body);
}
