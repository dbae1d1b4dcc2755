/* SPDX-License-Identifier: ISC */
/*
 * json: one document, over jansson (json.c alone includes it).
 *
 * A tiny writer: objects and arrays nest by handle; what is added belongs to
 * its parent.  Text that is not UTF-8 has its bad bytes shown as U+FFFD.
 *
 * A tiny reader, for text of strangers: what is not there, or of another kind,
 * is simply not found.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdio.h>

#include "smtpd/base/str.h"

struct json;                                     /* an object or array; freed with its root */

struct json *json_new_object(void);              /* a root (jansson owns the shorter names) */
struct json *json_new_array(void);               /* a root */
void json_set(struct json *, const char *key, str);           /* {NULL,0}: null */
void json_set_c(struct json *, const char *key, const char *);/* NULL: null */
void json_set_num(struct json *, const char *key, int64_t);
void json_set_bool(struct json *, const char *key, bool);
void json_set_null(struct json *, const char *key);
struct json *json_set_object(struct json *, const char *key);
struct json *json_set_array(struct json *, const char *key);
void json_add(struct json *, str);
struct json *json_add_object(struct json *);
void json_print(struct json *root, FILE *);      /* indented, a newline at the end; frees it */
char *json_text(struct json *root);              /* one line, malloc'ed; frees it */

/* RFC 8259, but no key twice in an object and no NUL in a string; NULL: it is
 * not that, or not enough memory. */
struct json *json_read(str text);
void json_free(struct json *root);               /* NULL is harmless */
const struct json *json_at(const struct json *object, const char *key);
size_t json_count(const struct json *array);     /* 0: empty, or no array */
const struct json *json_nth(const struct json *array, size_t);
bool json_holds_members(const struct json *);
bool json_get_text(const struct json *, str *out); /* lives with the root */
bool json_get_whole(const struct json *, int64_t *); /* a number, its fraction cut off */
bool json_get_bool(const struct json *, bool *);

#endif
