/* SPDX-License-Identifier: ISC */
/*
 * faults: a HELO name, a line end, a message; whatever it is, the list is short,
 * each fault has something to do, and the pieces it comes in make no difference.
 */
#include "smtpd/base/err.h"
#include "smtpd/mail/faults.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t find(str helo, str header, size_t piece, struct fault *out, struct arena *a)
{
	struct splitter s;
	struct from from;
	struct body_look look = { 0 };
	str back = STR_NONE, body;
	size_t took, found;

	splitter_init(&s, a, 1 << 20, 1 << 18, 2000);
	took = splitter_feed(&s, header, &back);
	if (!s.done)
		splitter_end(&s, &back);
	from_judge(a, &s.fields, &from);
	for (body = str_skip(header, took); body.n > 0; body = str_skip(body, piece))
		body_look_feed(&look, str_head(body, piece));
	body_look_end(&look);
	found = faults_find(a, &(struct faults_of){ .fields = &s.fields, .from = &from, .body = &look, .helo = helo,
	                                            .host = STR("mail.here.test"), .no_blank = s.no_blank, .now = 1763762908 }, out);
	splitter_fini(&s);
	return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str all = { (const char *)data, n }, helo = STR_NONE;
	struct fault one[FAULTS_MOST], other[FAULTS_MOST];
	struct arena a;
	size_t n1, n2;

	arena_init(&a, ARENA_UNBOUNDED);
	if (!str_cut(&all, '\n', &helo) || all.p == NULL)
		all = STR("");
	n1 = find(helo, all, 1, one, &a);
	n2 = find(helo, all, 4096, other, &a);
	must(n1 == n2 && n1 <= FAULTS_MOST);
	for (size_t i = 0; i < n1; i++)
		must(str_eq(one[i].what, other[i].what) && one[i].what.n > 0 && one[i].what.n < 400 && one[i].todo.n > 0);
	arena_fini(&a);
	return 0;
}
