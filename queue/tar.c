/* SPDX-License-Identifier: ISC */
/*
 * The head of a file, 512 octets (POSIX.1-2001, ustar): name 100, mode 8, uid 8,
 * gid 8, size 12, mtime 12, checksum 8, kind 1, link 100, "ustar\0" "00", owner 32,
 * group 32, device 16, prefix 155.  Numbers are octal digits.
 */
#include <stdio.h>
#include <string.h>

#include "queue/tar.h"

enum { AT_MODE = 100, AT_UID = 108, AT_GID = 116, AT_SIZE = 124, AT_TIME = 136, AT_SUM = 148, AT_KIND = 156, AT_MAGIC = 257 };

static const char nothing[TAR_BLOCK];

/* The sum of all octets, with blanks where it stands itself. */
static unsigned sum_of(const char *head)
{
	unsigned sum = 0;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= AT_SUM && i < AT_SUM + 8 ? ' ' : (unsigned char)head[i];
	return sum;
}

static unsigned padding(uint64_t bytes)
{
	return (unsigned)(-bytes & (TAR_BLOCK - 1));
}

/* ---- writing -------------------------------------------------------------------------- */

void tar_out_init(struct tar_out *t, enum err (*write)(void *, str), void *arg, int64_t time)
{
	*t = (struct tar_out){ .write = write, .arg = arg, .time = time };
	t->err = digest_begin(&t->digest, DIGEST_SHA256);
	t->hashing = t->err == OK;
}

void tar_out_drop(struct tar_out *t)
{
	if (t->hashing)
		digest_drop(&t->digest);
	t->hashing = false;
}

static void out(struct tar_out *t, str s)
{
	if (t->err != OK || s.n == 0)
		return;
	if (t->hashing)
		digest_add(&t->digest, s);
	t->err = t->write(t->arg, s);
}

void tar_file(struct tar_out *t, const char *name, uint64_t bytes)
{
	char head[TAR_BLOCK] = { 0 };
	size_t n = strlen(name);

	must(t->left == 0 && n <= TAR_NAME && bytes <= TAR_MOST);
	memcpy(head, name, n);
	snprintf(head + AT_MODE, 8, "%07o", 0600);
	snprintf(head + AT_UID, 8, "%07o", 0);
	snprintf(head + AT_GID, 8, "%07o", 0);
	snprintf(head + AT_SIZE, 12, "%011llo", (unsigned long long)bytes);
	snprintf(head + AT_TIME, 12, "%011llo", (unsigned long long)t->time & 077777777777ull);
	head[AT_KIND] = '0';
	memcpy(head + AT_MAGIC, "ustar\00000", 8);
	snprintf(head + AT_SUM, 8, "%06o", sum_of(head));
	head[AT_SUM + 7] = ' ';
	out(t, (str){ head, sizeof(head) });
	t->left = bytes;
	t->pad = padding(bytes);
}

void tar_add(struct tar_out *t, str s)
{
	must(s.n <= t->left);
	t->left -= s.n;
	out(t, s);
	if (t->left > 0)
		return;
	out(t, (str){ nothing, t->pad });
	t->pad = 0;
}

void tar_end(struct tar_out *t)
{
	out(t, (str){ nothing, sizeof(nothing) });
	out(t, (str){ nothing, sizeof(nothing) });
}

void tar_out_digest(struct tar_out *t, unsigned char digest[static DIGEST_MAX])
{
	memset(digest, 0, DIGEST_MAX);
	if (t->hashing)
		digest_end(&t->digest, digest);
	t->hashing = false;
}

/* ---- reading --------------------------------------------------------------------------- */

void tar_in_init(struct tar_in *t, long (*read)(void *, void *, size_t), void *arg)
{
	*t = (struct tar_in){ .read = read, .arg = arg };
	t->hashing = digest_begin(&t->digest, DIGEST_SHA256) == OK;
	t->wrong = t->hashing ? NULL : "out of memory";
}

void tar_in_drop(struct tar_in *t)
{
	if (t->hashing)
		digest_drop(&t->digest);
	t->hashing = false;
}

static void digest_head(struct tar_in *t)
{
	if (t->head_waits && t->hashing)
		digest_add(&t->digest, (str){ t->head, TAR_BLOCK });
	t->head_waits = false;
}

/* Exactly n octets; false: it ends before, or cannot be read. */
static bool in(struct tar_in *t, void *to, size_t n)
{
	size_t got = 0;

	while (got < n && t->wrong == NULL) {
		long r = t->read(t->arg, (char *)to + got, n - got);

		if (r <= 0 || (size_t)r > n - got)
			t->wrong = r == 0 ? "it is cut off" : "it cannot be read";
		else
			got += (size_t)r;
	}
	return t->wrong == NULL;
}

static bool octal(const char *p, size_t n, uint64_t *out_)
{
	size_t i = 0;

	for (*out_ = 0; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		*out_ = *out_ << 3 | (uint64_t)(p[i] - '0');
	return i > 0 && (i == n || p[i] == '\0' || p[i] == ' ');
}

static bool name_is_plain(const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(name[i]) && strchr("._-/", name[i]) == NULL)
			return false;
	return n > 0;
}

static const char *head_fault(struct tar_in *t)
{
	uint64_t sum;
	size_t n = strnlen(t->head, TAR_NAME);

	if (!octal(t->head + AT_SUM, 8, &sum) || sum != sum_of(t->head))
		return "the head of a file in it is damaged";
	if (memcmp(t->head + AT_MAGIC, "ustar", 5) != 0 || (t->head[AT_KIND] != '0' && t->head[AT_KIND] != '\0') ||
	    t->head[345] != '\0')
		return "it holds something else than plain files";
	if (!octal(t->head + AT_SIZE, 12, &t->bytes) || t->bytes > TAR_MOST || !name_is_plain(t->head, n))
		return "it holds a file with a strange name or size";
	memcpy(t->name, t->head, n);
	t->name[n] = '\0';
	return NULL;
}

static bool skip(struct tar_in *t, uint64_t n)
{
	char piece[8 << 10];

	for (; n > 0 && t->wrong == NULL; n -= n < sizeof(piece) ? n : sizeof(piece)) {
		size_t some = n < sizeof(piece) ? (size_t)n : sizeof(piece);

		if (in(t, piece, some) && t->hashing)
			digest_add(&t->digest, (str){ piece, some });
	}
	return t->wrong == NULL;
}

bool tar_next(struct tar_in *t)
{
	digest_head(t);
	if (t->ended || !skip(t, t->left + t->pad))
		return false;
	t->left = t->pad = 0;
	if (!in(t, t->head, TAR_BLOCK))
		return false;
	if (memcmp(t->head, nothing, TAR_BLOCK) == 0) {
		t->ended = true;
		return false;
	}
	t->wrong = head_fault(t);
	if (t->wrong != NULL)
		return false;
	t->head_waits = true;
	t->left = t->bytes;
	t->pad = padding(t->bytes);
	return true;
}

bool tar_read(struct tar_in *t, void *to, size_t n)
{
	if (t->wrong == NULL && n > t->left)
		t->wrong = "a file in it is shorter than what it should hold";
	if (t->wrong != NULL)
		return false;
	digest_head(t);
	if (!in(t, to, n))
		return false;
	if (t->hashing)
		digest_add(&t->digest, (str){ to, n });
	t->left -= n;
	return true;
}

void tar_in_digest(struct tar_in *t, unsigned char digest[static DIGEST_MAX])
{
	memset(digest, 0, DIGEST_MAX);
	if (t->hashing)
		digest_end(&t->digest, digest);
	t->hashing = false;
}
