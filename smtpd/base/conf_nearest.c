/* SPDX-License-Identifier: ISC */
/*
 * conf_nearest: which known word was probably meant.
 *
 * Distance: insertions, deletions, substitutions and swaps of neighbours
 * (optimal string alignment), case apart.  Pure.
 */
#include <string.h>

#include "smtpd/base/conf.h"

#define WORD_MAX 64

static size_t least_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(str a, str b)
{
	size_t rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= b.n; j++)
		last[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t *spare = before;

		now[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			char x = to_lower(a.p[i - 1]), y = to_lower(b.p[j - 1]);

			now[j] =
				least_of(least_of(last[j], now[j - 1]) + 1, last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == to_lower(b.p[j - 2]) &&
			    y == to_lower(a.p[i - 2]))
				now[j] = least_of(now[j], before[j - 2] + 1);
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[b.n];
}

const char *conf_nearest(str word, const char *const *words, size_t n)
{
	const char *best = NULL;
	size_t best_distance = WORD_MAX;

	if (word.n == 0 || word.n > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		str w = str_of(words[i]);
		size_t longer = w.n > word.n ? w.n : word.n, d;

		if (w.n == 0 || w.n > WORD_MAX)
			continue;
		d = distance(word, w);
		if (3 * d <= longer && d < best_distance) {
			best_distance = d;
			best = words[i];
		}
	}
	return best;
}
