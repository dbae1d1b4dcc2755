/* SPDX-License-Identifier: ISC */
/*
 * STATE/deny and its patterns: the first line is looked up in what the rest
 * says; what was read is written and read again the same.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "modules/deny/deny.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

static void look_up(const struct deny_table *t, str subject, struct arena *a)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	struct path p;

	for (size_t i = 0; i < 4 && i < subject.n; i++)
		((char *)&sa.sin_addr)[i] = subject.p[i];
	deny_find_client(t, (const struct sockaddr *)&sa, 1);
	deny_find_name(t, DENY_HELO, subject, 1);
	deny_find_name(t, DENY_PTR, subject, 1);
	if (path_of(a, subject, &p)) {
		deny_find_path(t, DENY_SENDER, &p, 1);
		deny_find_path(t, DENY_RECIPIENT, &p, 1);
	}
}

/* Nothing is lost on the way through the file. */
static void write_and_read(const struct deny_entry *v, size_t n, struct arena *a)
{
	struct deny_entry *again;
	size_t m, bad;
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	deny_file_write(v, n, &b);
	again = deny_file_read(buf_str(&b), a, &m, &bad);
	must(again != NULL && bad == 0 && m == n);
	for (size_t i = 0; i < n; i++)
		must(v[i].kind == again[i].kind && str_eq(v[i].value, again[i].value) && v[i].until == again[i].until &&
		     str_eq(v[i].reply, again[i].reply));
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str text = { (const char *)data, n }, subject;
	struct deny_entry *v;
	struct deny_table *t;
	size_t count, bad;
	struct arena a;

	arena_init(&a, ARENA_UNBOUNDED);
	if (!str_cut(&text, '\n', &subject))
		subject = STR_NONE;
	v = deny_file_read(text, &a, &count, &bad);
	must(v != NULL);
	write_and_read(v, count, &a);
	t = deny_table_new(v, count);
	must(t != NULL);
	look_up(t, subject, &a);
	deny_table_free(t);
	deny_glob(text, subject);
	arena_fini(&a);
	return 0;
}
