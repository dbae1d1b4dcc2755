/* SPDX-License-Identifier: ISC */
/*
 * The notify protocol is one datagram of KEY=VALUE lines to a unix socket.
 * Main thread.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/setup/notify.h"

void notify_say(const char *words)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, n);
	if (path[0] == '@')
		to.sun_path[0] = '\0';          /* the abstract name space */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, words, strlen(words), MSG_NOSIGNAL, (struct sockaddr *)&to,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

void notify_reloading(void)
{
	char words[80];

	snprintf(words, sizeof(words), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_ms() * 1000);
	notify_say(words);
}

uint64_t notify_watchdog_ms(void)
{
	const char *text = getenv("WATCHDOG_USEC");
	uint64_t us = 0;

	if (text == NULL || !str_to_u64(str_of(text), &us))
		return 0;
	return us / 2000;
}
