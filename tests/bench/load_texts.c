/* SPDX-License-Identifier: ISC */
/* The messages that load sends, as they stand behind DATA. */
#include "tests/bench/load_texts.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void *must_have(void *p)
{
	if (p == NULL) {
		fprintf(stderr, "load: out of memory\n");
		exit(1);
	}
	return p;
}

static void add(struct texts *all, struct text t)
{
	all->v = must_have(realloc(all->v, (all->n + 1) * sizeof(*all->v)));
	all->v[all->n++] = t;
}

/* RFC 5321 4.5.2; lines end in CRLF. */
static struct text as_data(const char *p, size_t n)
{
	struct text t = { must_have(malloc(2 * n + 8)), 0 };

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '.' && (i == 0 || p[i - 1] == '\n'))
			t.p[t.n++] = '.';
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			t.p[t.n++] = '\r';
		t.p[t.n++] = p[i];
	}
	memcpy(t.p + t.n, ".\r\n", 3);
	t.n += 3;
	return t;
}

struct texts texts_read(const char *folder)
{
	struct texts all = { 0 };
	DIR *d = opendir(folder);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char path[4096];
		struct stat st;
		FILE *f;
		char *p;

		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (f = fopen(path, "r")) == NULL)
			continue;
		p = must_have(malloc((size_t)st.st_size + 1));
		add(&all, as_data(p, fread(p, 1, (size_t)st.st_size, f)));
		free(p);
		fclose(f);
	}
	if (d != NULL)
		closedir(d);
	if (all.n == 0) {
		fprintf(stderr, "load: %s holds no message\n", folder);
		exit(1);
	}
	return all;
}

struct texts texts_make(size_t size, const char *from, const char *to)
{
	struct texts all = { 0 };
	size_t room = size + 1024;
	char *p = must_have(malloc(room));
	size_t n = (size_t)snprintf(p, room, "From: Load <%s>\r\nTo: <%s>\r\nSubject: load\r\n"
	                            "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@load.test>\r\n\r\n", from, to);

	while (n < size) {
		size_t line = size - n < 76 ? size - n : 76;

		memset(p + n, 'x', line);
		memcpy(p + n + line, "\r\n", 2);
		n += line + 2;
	}
	add(&all, as_data(p, n));
	free(p);
	return all;
}
