/* SPDX-License-Identifier: ISC */
/*
 * conf: any bytes as a configuration that may include itself, read the whole
 * way.  Whatever they are: a result or a fault, and the next reading is
 * not disturbed.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smtpd/base/conf.h"

struct inner { struct conf_head head; struct strs list; int word; };
struct outer { struct conf_head head; str text; uint64_t size, time; bool flag; struct inner one; struct conf_list many; };

static const char *const words[] = { "a", "b", NULL };
static const struct conf_option inner_options[] = {
	{ .name = "list", .type = CONF_LIST, .offset = offsetof(struct inner, list), .fallback = "a,b" },
	{ .name = "word", .type = CONF_WORD, .offset = offsetof(struct inner, word), .words = words },
	{ .name = NULL },
};
static const struct conf_section one = {
	.name = "one", .options = inner_options, .size = sizeof(struct inner), .offset = offsetof(struct outer, one),
};
static const struct conf_section many = {
	.name = "many", .options = inner_options, .size = sizeof(struct inner), .offset = offsetof(struct outer, many),
	.titled = true,
};
static const struct conf_section root = {
	.options = (const struct conf_option[]){
		{ .name = "text", .type = CONF_STRING, .offset = offsetof(struct outer, text), .fallback = "x" },
		{ .name = "size", .type = CONF_SIZE, .offset = offsetof(struct outer, size), .most = 1000 },
		{ .name = "time", .type = CONF_TIME, .offset = offsetof(struct outer, time), .fallback = "5m" },
		{ .name = "flag", .type = CONF_BOOL, .offset = offsetof(struct outer, flag) },
		{ .name = NULL } },
	.sections = (const struct conf_section *const[]){ &one, &many, NULL },
	.size = sizeof(struct outer),
};

static const uint8_t *bytes;
static size_t length;

static int open_bytes(str path)
{
	int fd = path.n < 100 ? memfd_create("conf", MFD_CLOEXEC) : -1;

	if (fd >= 0 && (write(fd, bytes, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) != 0))
		abort();
	return fd;
}

static enum err read_bytes(const uint8_t *data, size_t n, size_t *faults)
{
	struct outer out;
	struct conf_faults found;
	struct arena arena;
	enum err e;

	bytes = data;
	length = n;
	arena_init(&arena, (size_t)64 << 20);
	e = conf_read("main", open_bytes, &root, &out, &arena, &found);
	/* The screening leaves nothing for libconfuse to object to. */
	for (size_t i = 0; i < found.n; i++)
		must(!str_starts(found.v[i].text, "syntax: "));
	*faults = found.n;
	arena_fini(&arena);
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint8_t good[] = "many \"t\" { word = b }\n";
	size_t faults;
	enum err e = read_bytes(data, n, &faults);

	must(e == ERR_MEMORY || (e == OK) == (faults == 0));
	must(read_bytes(good, sizeof(good) - 1, &faults) == OK);
	return 0;
}
