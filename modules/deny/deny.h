/* SPDX-License-Identifier: ISC */
/*
 * deny: who is refused, by what the administrator wrote: in the configuration
 * (`deny "NAME" {}`) and at run time (`postern deny add`, STATE/deny).
 *
 * A table is made once and never changes.  The running server has two: its
 * generation's, and a live one that main replaces when STATE/deny changes; a
 * hook that looks into the live one keeps no pointer of it when it returns, so
 * the old one may go once every loop has taken a turn.
 */
#ifndef MODULES_DENY_H
#define MODULES_DENY_H

#include <stdatomic.h>
#include <sys/socket.h>

#include "smtpd/base/cidr.h"
#include "smtpd/base/conf.h"
#include "smtpd/mail/addr.h"

struct deny_section { /* one in the file; the root of the configuration owns the list */
	struct conf_head head;
	struct strs client, ptr, helo, sender, recipient;
	str         reply;
};
extern const struct conf_section deny_section;

enum deny_kind { DENY_CLIENT, DENY_PTR, DENY_HELO, DENY_SENDER, DENY_RECIPIENT, DENY_KINDS };
const char *deny_kind_word(enum deny_kind);
bool        deny_kind_read(str word, enum deny_kind *);

struct deny_entry {
	enum deny_kind kind;
	str     value;                    /* as written, names in small letters */
	str     name;                     /* the section's title; "run time" */
	int64_t until;                    /* seconds since the epoch; 0: without end */
	int64_t added;
	str     reply;                    /* as written: "[CODE [X.Y.Z]] text"; empty: ours */
	/* made of value and reply */
	struct cidr net;
	str         key;
	int         code;
	const char *esc;
	str         text;
};

/* "example.org" is that very name, ".example.org" all below it, and * stands
 * for any run of characters; "user@example.org", "@example.org" and "<>" are
 * senders and recipients; CIDR for clients.  False with "must be …". */
bool deny_value_check(enum deny_kind, str value, struct arena *, str *why);
bool deny_reply_check(str reply, struct arena *, str *why);
/* Case and * alone; linear in the subject's length for each *. */
bool deny_glob(str pattern, str subject);

struct deny_table;
/* A table of its own memory; entries are copied, their derived parts made.
 * NULL: no memory. */
struct deny_table *deny_table_new(const struct deny_entry *, size_t n);
void               deny_table_free(struct deny_table *);
const struct deny_entry *deny_table_entries(const struct deny_table *, size_t *n);
bool deny_table_has(const struct deny_table *, enum deny_kind);
/* The first that fits and has not ended; NULL table: none. */
const struct deny_entry *deny_find_client(const struct deny_table *, const struct sockaddr *,
					  int64_t now);
const struct deny_entry *deny_find_name(const struct deny_table *, enum deny_kind, str name,
					int64_t now);
const struct deny_entry *deny_find_path(const struct deny_table *, enum deny_kind,
					const struct path *, int64_t now);

/* The configuration's sections as entries, in the arena. */
struct deny_entry *deny_from_sections(const struct conf_list *, struct arena *, size_t *n);

/* STATE/deny: `KIND VALUE UNTIL ADDED [REPLY]` a line, tabs between, # begins a
 * comment.  What cannot be read is left out; *bad is the first such line. */
#define DENY_FILE_MAX ((size_t)16 << 20)
struct deny_entry *deny_file_read(str text, struct arena *, size_t *n, size_t *bad);
struct buf;
void deny_file_write(const struct deny_entry *, size_t n, struct buf *);

struct deny_live { _Atomic(struct deny_table *) table; };

struct deny_conf {                        /* what the module works by; given by the main thread */
	const struct deny_table *fixed;
	struct deny_live        *live;    /* may be NULL */
};

extern const struct module deny_module;
/* The name of the entry that this client, HELO or sender met; for verify and explain. */
struct deny_hit {
	enum deny_kind kind;
	str name, value;
	int code;
	const char *esc;
	str text;
};
const struct deny_hit *deny_state_hit(const void *conn, const void *msg);   /* NULL: none */

#endif
