/* SPDX-License-Identifier: ISC */
/*
 * conf_inside: what the files of conf share among themselves; nobody else's.
 *
 *   conf_text     reads a file through conf_open, keeps it for the whole reading
 *   conf_screen   checks its grammar (over conf_token) and writes what libconfuse
 *                 shall parse
 *   conf_parse    runs libconfuse over it, again after each unknown name
 *   conf_fill     puts values into the caller's structs as they are met
 *   conf_types    text to values;  conf_fault  the list;  conf_hint  the advice
 *
 * Invariant: each parse starts with no faults, no values and no frames, so that
 * only the last one, which knew all unknown names, leaves traces.
 */
#ifndef BASE_CONF_INSIDE_H
#define BASE_CONF_INSIDE_H

#include <sys/types.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/conf.h"

#define CONF_FILE_MAX     ((size_t)4 << 20)
#define CONF_FILES_MAX    64     /* different files in one configuration */
#define CONF_INCLUDES_MAX 1000   /* include() calls in one reading */
#define CONF_INCLUDE_DEEP 8
#define CONF_NEST_DEEP    32
#define CONF_UNKNOWN_MAX  100    /* different unknown names, each costs a parse */
#define CONF_FAULTS_MAX   1000

/* The shape of a statement is written into its name before libconfuse sees it,
 * so that one name never has two shapes: `hostname`, `tls:`, `domain::`,
 * `include!`.  None of these signs can stand in a name from the file. */
#define CONF_SHAPE_SECTION  ":"
#define CONF_SHAPE_TITLED   "::"
#define CONF_SHAPE_CALL     "!"

/* An option put behind each opening brace, for libconfuse tells of a section at
 * its end only; and the one item put into an empty list, of which it tells nothing. */
#define CONF_OPENED         ":"
#define CONF_EMPTY          "\001"

struct conf_env { /* one ${NAME} in a text */
	struct conf_env *next;
	str  name;
	int  line;
	bool unset;
};

struct conf_text {
	struct conf_text  *next;
	const char        *path;
	dev_t              dev;
	ino_t              ino;
	struct buf         screened;
	struct conf_faults faults;   /* of its grammar */
	struct conf_env   *env;
	str                why;      /* it could not be read */
	bool               busy;     /* being parsed: met again, it includes itself */
};

/* A table, or a section that no table knows. */
struct conf_scope {
	struct conf_scope         *next, *up, *subs;
	const struct conf_section *section;   /* NULL: unknown */
	const char                *shaped;    /* its name as libconfuse sees it */
	const char                *name;
	struct conf_name { struct conf_name *next; const char *name; } *unknown;
};

struct conf_frame { /* a section that is being read */
	struct conf_scope *scope;
	struct conf_head  *out;               /* NULL: unknown */
};

struct conf_lines {
	struct conf_lines *next;
	const char        *option, *file;
	int                line;
};

struct conf_reader {
	conf_open          *open;
	struct arena       *arena;
	struct conf_faults *faults;
	struct conf_text   *texts;            /* the first is the last one read */
	const char         *main_file;
	struct conf_scope  *scopes;           /* the root table's */
	void               *out;

	/* of the parse under way */
	struct conf_frame   frames[CONF_NEST_DEEP * (CONF_INCLUDE_DEEP + 1) + 1];
	struct conf_frame  *frame;            /* the innermost */
	struct conf_text   *text;
	unsigned            deep, includes;
	bool                environment, skip;
	int                 environment_line;
	const char         *missing;          /* what ended the parse: a name that no table has */
};

/* conf_text.c */
struct conf_text *conf_text_get(struct conf_reader *, str path);
void conf_texts_free(struct conf_reader *);
/* conf_screen.c */
void conf_screen(struct conf_reader *, struct conf_text *, str raw);
/* conf_parse.c: one attempt; false with r->missing when an unknown name ended it. */
bool conf_parse(struct conf_reader *, struct conf_text *);
/* conf_fill.c */
struct conf_scope *conf_scope_new(struct conf_reader *, struct conf_scope *up,
                                  const struct conf_section *, const char *shaped);
bool conf_start(struct conf_reader *);
void conf_opened(struct conf_reader *, const char *shaped, const char *title, int line);
void conf_closed(struct conf_reader *);
void conf_value(struct conf_reader *, const char *name, size_t index, const char *value, int line);
void conf_finish(struct conf_reader *);
/* conf_types.c: puts one value into the field (a list's grows by it). */
bool conf_convert(const struct conf_option *, str value, void *field, struct arena *, str *why);
bool conf_fill_default(const struct conf_option *, void *field, struct arena *);
/* conf_fault.c */
void conf_faults_put(struct conf_faults *, struct arena *, const char *file, int line, str text);
void conf_faultf(struct conf_reader *, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void conf_text_faultf(struct conf_reader *, struct conf_text *, int line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
str  conf_show(struct arena *, str);      /* for a message: cut, nothing unprintable */
str  conf_where(struct arena *, const struct conf_scope *); /* " in section `tls`"; root: nothing */
/* conf_hint.c: what would be right instead of a name that is not known here. */
str  conf_hint(struct conf_reader *, const struct conf_scope *, const char *name, bool section);

#endif
