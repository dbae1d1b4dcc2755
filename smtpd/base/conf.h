/* SPDX-License-Identifier: ISC */
/*
 * conf: option tables over libconfuse.
 *
 * Each room describes its sections as tables; reading a file fills plain
 * structs in an arena that lives as long as the configuration generation.
 * Reading never stops at the first fault: every fault is kept with FILE:LINE,
 * and an unknown option names the nearest known one.
 *
 * Everywhere in a file `include("OTHER")` reads another (a relative name is
 * looked up beside the including file), and at the top `environment = yes`
 * allows "${NAME}" in values; both are known without standing in a table.
 * A setting or a title given twice is a fault, `+=` does not exist, values are
 * trimmed and hold no control characters.
 *
 * libconfuse keeps its state in globals: main thread only, not from a check.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"

enum conf_type {
	CONF_STRING,   /* str */
	CONF_LIST,     /* struct strs; {"a", "b"} in the file */
	CONF_BOOL,     /* bool; yes|no, true|false, on|off */
	CONF_NUMBER,   /* uint64_t */
	CONF_SIZE,     /* uint64_t bytes; "50 MiB", "64 KiB", "1000" */
	CONF_TIME,     /* uint64_t milliseconds; "30s", "5m", "4h", "5d", "250ms" */
	CONF_WORD,     /* int: index into words[] */
};

struct conf_reader;

struct conf_option {
	const char        *name;
	enum conf_type     type;
	size_t             offset;      /* in the section's struct */
	const char        *fallback;    /* the default, as it would stand in the file (lists: a,b); NULL: none */
	const char        *help;        /* one sentence: the sample file and the manual use it */
	const char *const *words;       /* CONF_WORD: NULL-terminated */
	uint64_t           least, most; /* numbers, sizes, times; both 0: any */
	bool             (*check)(str value, struct arena *, str *why); /* one value; false with "must be …" */
	const char        *example;     /* what the sample shows, commented out, when there is no fallback; lists: a,b */
	bool               hidden;      /* known only to be refused: its check says why; not in the sample */
	bool               required;    /* the sample sets it to its example; that it is there is its owner's check */
};

/* Every section's struct begins with this. */
struct conf_head {
	str         title;              /* of `domain "example.org" {`; lower case is the owner's business */
	const char *file;               /* where it began; NULL: not in the file */
	int         line;
	bool        given;              /* stands in the file */
	struct conf_lines *lines;       /* option → line, for faults found later */
};

struct conf_section {
	const char                *name;      /* NULL in the root */
	const struct conf_option  *options;   /* ends with .name == NULL; may be NULL */
	const struct conf_section *const *sections; /* ends with NULL; may be NULL */
	size_t                     size;      /* of the section's struct, conf_head first */
	size_t                     offset;    /* in the parent's struct: of the struct itself, or, when titled, of a struct conf_list */
	bool                       titled;    /* any number, each with a title */
	const char                *help;
	/* Looks at the filled struct: faults between options. conf_fault for each.
	 * Called once the file is read, subsections first, for untitled sections
	 * that are not in the file too; not called when the text itself is broken. */
	void (*check)(void *section, struct conf_reader *);
	bool                       optional;  /* its being there means something: commented out in the sample */
	const char                *example;   /* titled: the title in the sample; NULL: the section is commented out */
};

struct conf_list { void **v; size_t n; };     /* pointers to section structs, in file order */

struct conf_fault {
	const char *file;
	int         line;
	str         text;
};

struct conf_faults { struct conf_fault *v; size_t n; };

/* Opens a configuration file: plain open(2) or the keeper's. */
typedef int conf_open(str path);

/* Reads `file` by the root table into `out` (root->size bytes, zeroed here and
 * filled with defaults).  All memory is the arena's.  OK, or ERR_BAD with at
 * least one fault, sorted by file and line, or ERR_MEMORY. */
enum err conf_read(const char *file, conf_open *, const struct conf_section *root, void *out,
                   struct arena *, struct conf_faults *);

/* For check hooks: a fault at an option's line (option NULL: the section's). */
void conf_fault(struct conf_reader *, const struct conf_head *, const char *option,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for faults found after reading (missing files, …). */
void conf_fault_add(struct conf_faults *, struct arena *, const struct conf_head *, const char *option,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
bool conf_given(const struct conf_head *, const char *option);  /* stands in the file, not defaulted */

/* `50 MiB`, `64KiB`, `1000`: B, K, M, G, KiB, MiB, GiB.  `250ms`, `30s`, `5m`,
 * `4h`, `5d`: milliseconds.  For options given to verbs, too. */
bool conf_size(str, uint64_t *bytes);
bool conf_time(str, uint64_t *ms);

/* "option `certificat` … did you mean `certificate`": the nearest, or NULL if
 * none is near (edit distance over a third). */
const char *conf_nearest(str word, const char *const *words, size_t n);

/* Writes the whole table as a configuration file with every default and help
 * line, the options commented in: etc/postern.conf is compared with it. */
struct buf;
void conf_sample(const struct conf_section *root, struct buf *out);

#endif
