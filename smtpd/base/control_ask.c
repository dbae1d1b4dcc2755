/* SPDX-License-Identifier: ISC */
/*
 * A verb's side of the control socket.  Blocking; any thread without a loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtpd/base/control_inside.h"

#define ANSWER_S 300          /* a server that says nothing for so long is stuck */

static int dial(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd;

	if (path == NULL || strlen(path) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(to.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		int kept = errno;

		close(fd);
		errno = kept;
		return -1;
	}
	return fd;
}

static void add_word(struct buf *out, const char *word)
{
	buf_add_char(out, '"');
	for (; *word != '\0'; word++) {
		if (*word == '"' || *word == '\\')
			buf_add_char(out, '\\');
		buf_add_char(out, *word == '\n' ? ' ' : *word);
	}
	buf_add(out, STR("\" "));
}

/* Copies lines to `out` until the one that says how it ended. */
static int copy_answer(FILE *in, FILE *out)
{
	char *line = NULL, *held = NULL;
	size_t room = 0, held_room = 0;
	ssize_t n, nheld = 0;
	int status = -1;

	while ((n = getline(&line, &room, in)) > 0) {
		char *other = held;
		size_t other_room = held_room;

		if (nheld > 0)
			fwrite(held, 1, (size_t)nheld, out);
		held = line;
		held_room = room;
		nheld = n;
		line = other;
		room = other_room;
	}
	if (n < 0 && ferror(in) && errno == EAGAIN)
		errno = ETIMEDOUT;
	else if (nheld == 0 || sscanf(held, "exit %d", &status) != 1)
		errno = ECONNRESET;
	free(held);
	free(line);
	return status;
}

static bool send_words(int fd, const char *const words[], size_t n)
{
	struct buf request;
	bool sent;

	buf_init(&request, CONTROL_LINE);
	for (size_t i = 0; i < n; i++)
		add_word(&request, words[i]);
	buf_add_char(&request, '\n');
	if (request.failed)
		errno = E2BIG;
	sent = !request.failed &&
	       send(fd, buf_str(&request).p, buf_str(&request).n, MSG_NOSIGNAL) == (ssize_t)buf_str(&request).n;
	buf_fini(&request);
	return sent;
}

int control_ask(const char *path, const char *const words[], size_t n, FILE *out)
{
	const struct timeval patience = { .tv_sec = ANSWER_S };
	int fd = dial(path), status = -1, kept;
	FILE *in;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	in = fdopen(fd, "r");
	if (in == NULL) {
		close(fd);
		return -1;
	}
	if (send_words(fd, words, n))
		status = copy_answer(in, out);
	kept = errno;
	fclose(in);
	errno = kept;
	return status;
}
