/* SPDX-License-Identifier: ISC */
/*
 * str: a borrowed view of bytes, pointer and length, not terminated.
 *
 * A str owns nothing and may hold NUL; who stores one copies it with
 * str_keep().  The empty string is {NULL, 0} or any p with n == 0.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

typedef struct str {
	const char *p;
	size_t      n;
} str;

struct strs { /* a list of them, as configuration and parsers make it */
	str   *v;
	size_t n;
};

#define STR(literal) ((str){ "" literal, sizeof(literal) - 1 })
#define STR_NONE     ((str){ NULL, 0 })

/* For printf: "%.*s" with STR_ARG(s). */
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

str  str_of(const char *terminated);         /* NULL gives STR_NONE */
bool str_is(str, const char *);              /* the same bytes */
bool str_is_nocase(str, const char *);       /* ASCII case apart */
bool str_eq(str, str);
bool str_eq_nocase(str, str);
int  str_cmp(str, str);                      /* as memcmp, the shorter first */
bool str_starts(str, const char *prefix);
bool str_starts_nocase(str, const char *prefix);
bool str_ends_nocase(str, str suffix);

str  str_head(str, size_t n);                /* the first n bytes, or all */
str  str_skip(str, size_t n);                /* all but the first n, or nothing */
str  str_trim(str);                          /* without SP, HT, CR, LF at both ends */

size_t str_find(str, char);                  /* index of the first, or s.n */
size_t str_rfind(str, char);                 /* index of the last, or s.n */
bool   str_holds(str, char);

/* Takes the word before `sep` off *rest.  False when *rest was used up
 * (p == NULL); "a,,b," gives "a" "" "b" "". */
bool str_cut(str *rest, char sep, str *word);

/* Decimal digits and nothing else, no overflow; false otherwise. */
bool str_to_u64(str, uint64_t *);
bool str_to_u32(str, uint32_t *);

/* ASCII only, whatever the locale. */
static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
static inline char to_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static inline bool is_alpha(char c) { return to_lower(c) >= 'a' && to_lower(c) <= 'z'; }
static inline bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
static inline bool is_wsp(char c) { return c == ' ' || c == '\t'; }

/* Copies that live as long as the arena; {NULL,0} when it is spent and s was
 * not empty.  str_cstr terminates (NULL when spent or when s holds a NUL). */
str   str_keep(struct arena *, str);
str   str_keep_lower(struct arena *, str);   /* ASCII letters made small */
char *str_cstr(struct arena *, str);

#endif
