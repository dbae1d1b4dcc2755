/* SPDX-License-Identifier: ISC */
/*
 * How a text that is there differs from the one that would be written: by lines, as
 * `diff -u` shows it.  Pure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/setup/setup/setup.h"

#define LINES_MOST 2000
#define AROUND     2

struct lines { str v[LINES_MOST]; size_t n; bool cut; };

static void split(str text, struct lines *out)
{
	str line;

	out->n = 0;
	while (str_cut(&text, '\n', &line) && (text.p != NULL || line.n > 0)) {
		if (out->n == LINES_MOST) {
			out->cut = true;
			return;
		}
		out->v[out->n++] = line;
	}
}

/* length[i][j]: of the longest common subsequence of what follows i there and j here. */
static void measure(const struct lines *a, const struct lines *b, uint16_t *length)
{
	size_t w = b->n + 1;

	for (size_t i = a->n; i-- > 0;)
		for (size_t j = b->n; j-- > 0;)
			length[i * w + j] = str_eq(a->v[i], b->v[j]) ? (uint16_t)(length[(i + 1) * w + j + 1] + 1)
			                    : length[(i + 1) * w + j] >= length[i * w + j + 1] ? length[(i + 1) * w + j]
			                                                                       : length[i * w + j + 1];
}

struct shown { char sign; str line; };

static size_t walk(const struct lines *a, const struct lines *b, const uint16_t *length, struct shown *out)
{
	size_t i = 0, j = 0, n = 0, w = b->n + 1;

	while (i < a->n || j < b->n)
		if (i < a->n && j < b->n && str_eq(a->v[i], b->v[j])) {
			out[n++] = (struct shown){ ' ', a->v[i++] };
			j++;
		} else if (j == b->n || (i < a->n && length[(i + 1) * w + j] >= length[i * w + j + 1])) {
			out[n++] = (struct shown){ '-', a->v[i++] };
		} else {
			out[n++] = (struct shown){ '+', b->v[j++] };
		}
	return n;
}

static bool is_near(const struct shown *all, size_t n, size_t at)
{
	for (size_t i = at > AROUND ? at - AROUND : 0; i < n && i <= at + AROUND; i++)
		if (all[i].sign != ' ')
			return true;
	return false;
}

static void print(const struct shown *all, size_t n)
{
	bool gap = false;

	for (size_t i = 0; i < n; i++) {
		if (!is_near(all, n, i)) {
			gap = true;
			continue;
		}
		if (gap)
			puts("      ...");
		gap = false;
		printf("      %c %.*s\n", all[i].sign, STR_ARG(all[i].line));
	}
}

void print_difference(str there, str would)
{
	struct lines *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	uint16_t *length = NULL;
	struct shown *all = NULL;

	if (a != NULL && b != NULL) {
		split(there, a);
		split(would, b);
		length = calloc((a->n + 1) * (b->n + 1), sizeof(*length));
		all = calloc(a->n + b->n + 1, sizeof(*all));
	}
	if (length != NULL && all != NULL) {
		measure(a, b, length);
		print(all, walk(a, b, length, all));
		if (a->cut || b->cut)
			puts("      ... and more");
	}
	free(all);
	free(length);
	free(b);
	free(a);
}
