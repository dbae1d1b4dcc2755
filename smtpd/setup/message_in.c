/* SPDX-License-Identifier: ISC */
/*
 * message_in: see message_in.h.  The verbs' thread.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/setup/message_in.h"

static bool has_crlf(str s)
{
	while (s.n > 1) {
		size_t at = str_find(s, '\r');

		if (at + 1 >= s.n)
			return false;
		if (s.p[at + 1] == '\n')
			return true;
		s = str_skip(s, at + 1);
	}
	return false;
}

static void lf_to_crlf(str in, struct buf *out)
{
	str line;

	while (in.n > 0) {
		size_t at = str_find(in, '\n');

		line = str_head(in, at);
		buf_add(out, line);
		if (at < in.n)
			buf_add(out, STR("\r\n"));
		in = str_skip(in, at + 1);
	}
}

static bool read_all(struct message_in *m, int fd, const char **why)
{
	for (;;) {
		char *p = buf_room(&m->raw, (size_t)64 << 10);
		ssize_t n;

		if (p == NULL) {
			*why = "the message is larger than 512 MiB, or there is no memory for it";
			return false;
		}
		n = read(fd, p, (size_t)64 << 10);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*why = strerror(errno);
			return false;
		}
		if (n == 0)
			return true;
		buf_filled(&m->raw, (size_t)n);
	}
}

bool message_in_read(struct message_in *m, int fd, const char **why)
{
	memset(m, 0, sizeof(*m));
	buf_init(&m->raw, MESSAGE_IN_MAX);
	buf_init(&m->made, 2 * MESSAGE_IN_MAX);
	if (!read_all(m, fd, why))
		return false;
	m->crlf = has_crlf(buf_str(&m->raw));
	if (m->crlf) {
		m->text = buf_str(&m->raw);
		return true;
	}
	lf_to_crlf(buf_str(&m->raw), &m->made);
	m->text = buf_str(&m->made);
	if (m->made.failed)
		*why = "there is no memory for the message";
	return !m->made.failed;
}

void message_in_split(struct message_in *m, struct arena *a)
{
	str back = STR_NONE;

	splitter_init(&m->splitter, a, MESSAGE_IN_HEADER, MESSAGE_IN_FIELD, MESSAGE_IN_FIELDS);
	size_t used = splitter_feed(&m->splitter, m->text, &back);

	m->body = str_skip(m->text, used);
	if (!m->splitter.done)
		splitter_end(&m->splitter, &back);
	m->body_front = back;
}

void message_in_fini(struct message_in *m)
{
	splitter_fini(&m->splitter);
	buf_fini(&m->raw);
	buf_fini(&m->made);
}

void message_out(FILE *out, const struct message_in *m, str text)
{
	str line;

	if (m->crlf) {
		fwrite(text.p, 1, text.n, out);
		return;
	}
	while (str_cut(&text, '\n', &line)) {
		bool ended = text.p != NULL;

		if (ended && line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		fwrite(line.p != NULL ? line.p : "", 1, line.n, out);
		if (ended)
			fputc('\n', out);
	}
}
