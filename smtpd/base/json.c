/* SPDX-License-Identifier: ISC */
/*
 * json: a struct json is jansson's json_t under another name; children are
 * owned by their parents, so a handle ends with its root.  Documents are small
 * and made by verbs: out of memory is the end of the process.
 */
#include "smtpd/base/json.h"

#include <jansson.h>
#include <stdlib.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

static json_t *node(struct json *j)
{
	return (json_t *)j;
}

/* Length of the well-formed UTF-8 sequence at the beginning (RFC 3629 4), or 0. */
static size_t utf8_length(str s)
{
	unsigned char a = (unsigned char)s.p[0];
	unsigned char b = s.n > 1 ? (unsigned char)s.p[1] : 0;
	unsigned char low = 0x80, high = 0xbf;
	size_t        n;

	if (a < 0x80)
		return 1;
	if (a < 0xc2 || a > 0xf4)
		return 0;
	n = a < 0xe0 ? 2 : a < 0xf0 ? 3 : 4;
	if (a == 0xe0)
		low = 0xa0;
	else if (a == 0xed)
		high = 0x9f;
	else if (a == 0xf0)
		low = 0x90;
	else if (a == 0xf4)
		high = 0x8f;
	if (s.n < n || b < low || b > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (((unsigned char)s.p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static json_t *mended(str s)
{
	struct buf b;
	json_t    *v;

	buf_init(&b, BUF_UNBOUNDED);
	while (s.n) {
		size_t n = utf8_length(s);

		buf_add(&b, n ? str_head(s, n) : STR("\xef\xbf\xbd"));
		s = str_skip(s, n ? n : 1);
	}
	must(!b.failed);
	v = json_stringn(buf_str(&b).p, b.n);
	buf_fini(&b);
	return v;
}

static json_t *text(str s)
{
	json_t *v;

	if (s.p == NULL)
		return json_null();
	v = json_stringn(s.p, s.n); /* NULL when it is not UTF-8 */
	return v ? v : mended(s);
}

static void set(struct json *j, const char *key, json_t *v)
{
	must(v != NULL && json_object_set_new(node(j), key, v) == 0);
}

static void add(struct json *j, json_t *v)
{
	must(v != NULL && json_array_append_new(node(j), v) == 0);
}

struct json *json_new_object(void)
{
	json_t *v = json_object();

	must(v != NULL);
	return (struct json *)v;
}

struct json *json_new_array(void)
{
	json_t *v = json_array();

	must(v != NULL);
	return (struct json *)v;
}

void json_set(struct json *j, const char *key, str s)
{
	set(j, key, text(s));
}

void json_set_c(struct json *j, const char *key, const char *terminated)
{
	set(j, key, text(str_of(terminated)));
}

void json_set_num(struct json *j, const char *key, int64_t n)
{
	set(j, key, json_integer(n));
}

void json_set_bool(struct json *j, const char *key, bool b)
{
	set(j, key, json_boolean(b));
}

void json_set_null(struct json *j, const char *key)
{
	set(j, key, json_null());
}

struct json *json_set_object(struct json *j, const char *key)
{
	struct json *child = json_new_object();

	set(j, key, node(child));
	return child;
}

struct json *json_set_array(struct json *j, const char *key)
{
	struct json *child = json_new_array();

	set(j, key, node(child));
	return child;
}

void json_add(struct json *j, str s)
{
	add(j, text(s));
}

struct json *json_add_object(struct json *j)
{
	struct json *child = json_new_object();

	add(j, node(child));
	return child;
}

void json_print(struct json *root, FILE *out)
{
	json_dumpf(node(root), out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	fputc('\n', out);
	json_decref(node(root));
}

char *json_text(struct json *root)
{
	char *line = json_dumps(node(root), JSON_COMPACT | JSON_PRESERVE_ORDER);

	must(line != NULL);
	json_decref(node(root));
	return line;
}

/* ---- reading --------------------------------------------------------------------- */

struct json *json_read(str s)
{
	return (struct json *)json_loadb(s.n > 0 ? s.p : "", s.n, JSON_REJECT_DUPLICATES, NULL);
}

void json_free(struct json *root)
{
	json_decref(node(root));
}

/* jansson's readers take what they only look at as const, but for handles. */
static const json_t *leaf(const struct json *j)
{
	return (const json_t *)j;
}

const struct json *json_at(const struct json *object, const char *key)
{
	return (const struct json *)json_object_get(leaf(object), key);
}

size_t json_count(const struct json *array)
{
	return json_array_size(leaf(array));
}

const struct json *json_nth(const struct json *array, size_t i)
{
	return (const struct json *)json_array_get(leaf(array), i);
}

bool json_holds_members(const struct json *j)
{
	return j != NULL && json_typeof(leaf(j)) == JSON_OBJECT;
}

bool json_get_text(const struct json *j, str *out)
{
	if (!json_is_string(leaf(j)))
		return false;
	*out = (str){ json_string_value(leaf(j)), json_string_length(leaf(j)) };
	return true;
}

bool json_get_whole(const struct json *j, int64_t *out)
{
	double real;

	if (json_is_integer(leaf(j))) {
		*out = json_integer_value(leaf(j));
		return true;
	}
	real = json_real_value(leaf(j));
	if (!json_is_real(leaf(j)) || real < -9e15 || real > 9e15)
		return false;
	*out = (int64_t)real;
	return true;
}

bool json_get_bool(const struct json *j, bool *out)
{
	if (!json_is_boolean(leaf(j)))
		return false;
	*out = json_is_true(leaf(j));
	return true;
}
