/* SPDX-License-Identifier: ISC */
/*
 * opendkim_tables: OpenDKIM's KeyTable and SigningTable, as opendkim.conf(5) has
 * them, read as values.  Pure; texts are borrowed.  Any thread.
 */
#ifndef SETUP_KEYS_OPENDKIM_TABLES_H
#define SETUP_KEYS_OPENDKIM_TABLES_H

#include "smtpd/base/arena.h"

/* NAME DOMAIN:SELECTOR:FILE; DOMAIN may be %, the author's; % in FILE, too. */
struct opendkim_key {
	unsigned line;
	str      name, domain, selector, value;
	bool     is_file;                     /* value is a path; else the key itself, PEM or base64 */
};

/* PATTERN NAME[:SIGNER]; NAME may be %. */
struct opendkim_rule {
	unsigned line;
	str      pattern, key;
};

struct opendkim_fault { unsigned line; const char *text; };

struct opendkim_tables {
	struct opendkim_key   *keys;
	struct opendkim_rule  *rules;
	struct opendkim_fault *faults;
	size_t nkeys, nrules, nfaults;
};

/* Adds; false: no memory.  What is not as the manual has it is a fault. */
bool opendkim_read_keys(struct opendkim_tables *, str text, struct arena *);
bool opendkim_read_rules(struct opendkim_tables *, str text, struct arena *);

/* "file:/etc/x", "refile:/etc/x", "/etc/x": the path; false: another kind of table. */
bool opendkim_table_path(str word, str *path, bool *regular);

/* Whose mail a rule is for, as far as section signing can say it. */
enum opendkim_whose {
	OPENDKIM_EVERYBODY,                   /* any address */
	OPENDKIM_DOMAIN,                      /* `domain` */
	OPENDKIM_ADDRESS,                     /* `local` at `domain`; domain empty: at any */
	OPENDKIM_OTHER,                       /* no words for it here */
};
struct opendkim_author { enum opendkim_whose whose; str local, domain; };
struct opendkim_author opendkim_author(const struct opendkim_rule *, bool regular);

/* `text` with each % replaced. */
str opendkim_expand(str text, str domain, struct arena *);

#endif
