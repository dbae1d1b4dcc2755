/* SPDX-License-Identifier: ISC */
/*
 * drop: a file that anybody left is a message or none, and says the same when it
 * is written again; what a program writes on standard input becomes a message
 * whose file can be read.
 */
#include "smtpd/base/err.h"
#include "smtpd/setup/drop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct drop *a, const struct drop *b)
{
	if (a->rcpts.n != b->rcpts.n)
		return false;
	for (size_t i = 0; i < a->rcpts.n; i++)
		if (!str_eq(a->rcpts.v[i], b->rcpts.v[i]))
			return false;
	return str_eq(a->sender, b->sender) && str_eq(a->notify, b->notify) && str_eq(a->ret, b->ret) &&
	       str_eq(a->envid, b->envid) && str_eq(a->message, b->message);
}

static void there_and_back(struct arena *a, const struct drop *d)
{
	struct buf file;
	struct drop again;
	const char *why;

	buf_init(&file, BUF_UNBOUNDED);
	drop_print(&file, d);
	buf_add(&file, d->message);
	if (drop_parse(a, buf_str(&file), &again, &why))
		must(same(d, &again));
	buf_fini(&file);
}

static void compose(struct arena *a, str text, bool root)
{
	str rcpts[] = { STR("bob") };
	struct drop_wish w = {
		.user = STR("alice"), .domain = STR("ours.test"), .root = root, .full_name = str_head(text, 20),
		.read_recipients = true, .rcpts = { rcpts, 1 },
	};
	struct buf made;
	struct drop d;
	str why;
	bool dot;

	buf_init(&made, BUF_UNBOUNDED);
	w.text = root ? text : drop_until_dot(text, &dot);
	if (drop_compose(a, &made, &w, &d, &why)) {
		must(d.rcpts.n >= 1 && str_ends_nocase(d.message, STR("\r\n")));
		for (size_t i = 0; i < d.message.n; i++)
			must(d.message.p[i] != '\n' || (i > 0 && d.message.p[i - 1] == '\r'));
		there_and_back(a, &d);
	}
	buf_fini(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str in = { (const char *)data, size };
	struct arena a;
	struct drop d;
	const char *why;

	arena_init(&a, (size_t)64 << 20);
	if (drop_parse(&a, in, &d, &why))
		there_and_back(&a, &d);
	compose(&a, in, true);
	compose(&a, in, false);
	arena_fini(&a);
	return 0;
}
