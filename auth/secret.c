/* SPDX-License-Identifier: ISC */
/*
 * A server's secret: one makes up verifiers of unknown names, one senders of
 * what is forwarded.
 *
 * It must be the same after a restart: a name whose salt changes is a name
 * without an account.  One file of 64 hexadecimal digits, mode 0600, made by
 * the first start.  Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

#define DIGITS 64

static int digit_of(char c)
{
	c = to_lower(c);
	return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool from_digits(const char text[DIGITS], unsigned char secret[32])
{
	for (size_t i = 0; i < 32; i++) {
		int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		secret[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static bool read_it(const char *file, unsigned char secret[32])
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[DIGITS];
	bool good;

	if (fd < 0)
		return false;
	good = read(fd, text, sizeof(text)) == (ssize_t)sizeof(text) && from_digits(text, secret);
	if (!good)
		errno = EINVAL;
	crypt_wipe(text, sizeof(text));
	close(fd);
	return good;
}

static bool make_it(const char *file, const unsigned char secret[32])
{
	static const char digits[] = "0123456789abcdef";
	char text[DIGITS + 1];
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool good;

	if (fd < 0)
		return false;
	for (size_t i = 0; i < 32; i++) {
		text[2 * i] = digits[secret[i] >> 4];
		text[2 * i + 1] = digits[secret[i] & 15];
	}
	text[DIGITS] = '\n';
	good = write(fd, text, sizeof(text)) == (ssize_t)sizeof(text) && fsync(fd) == 0;
	crypt_wipe(text, sizeof(text));
	close(fd);
	if (!good)
		unlink(file);
	return good;
}

bool secret_load(const char *file, unsigned char secret[static 32], struct arena *a, str *why)
{
	if (read_it(file, secret))
		return true;
	random_bytes(secret, 32);
	if (errno == ENOENT && make_it(file, secret))
		return true;
	*why = arena_printf(a, "%s: %s: mend or remove this file", file,
	                    errno == EINVAL ? "it does not hold 64 hexadecimal digits"
	                                    : strerror(errno));
	return false;
}
