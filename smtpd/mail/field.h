/* SPDX-License-Identifier: ISC */
/*
 * field: header fields, split as they arrive.
 *
 * The splitter takes a message in pieces of any size and gives each complete
 * field, byte for byte, once.  The header ends at the first empty line, at the
 * end of input, or – a message may be wrong – at the first line that can be no
 * field, which then begins the body.
 */
#ifndef MAIL_FIELD_H
#define MAIL_FIELD_H

#include "smtpd/base/arena.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/str.h"

struct field {
	str  name;     /* as written, without white space before the colon */
	str  value;    /* all between the colon and the last CRLF, folds and leading space included */
	str  raw;      /* the whole field with its last CRLF */
	bool spaced;   /* white space stood between name and colon (obsolete syntax) */
	bool omitted;  /* will not be stored: forged, Bcc */
};

struct fields {            /* in order of arrival */
	struct field *v;
	size_t        n, room;
};

struct splitter {
	struct arena *arena;
	struct fields fields;
	struct buf    line;        /* a field that has begun */
	size_t        bytes;       /* header bytes so far */
	size_t        max_bytes, max_field, max_fields;
	enum { SPLIT_OK, SPLIT_BYTES, SPLIT_FIELD, SPLIT_FIELDS, SPLIT_MEMORY } over; /* a limit passed: later fields are dropped */
	bool          done;        /* the header is complete */
	bool          no_blank;    /* it ended without an empty line */
	bool          at_line_start;
	bool          cr;          /* private: the last byte of a value was CR */
	unsigned char state;       /* private */
};

void splitter_init(struct splitter *, struct arena *, size_t max_bytes, size_t max_field, size_t max_fields);
void splitter_fini(struct splitter *);
/* Takes from the front of `in` what belongs to the header, including the empty
 * line; returns how much.  After `done` it takes nothing.  When the header ended
 * at a line that is no field, *put_back holds bytes taken earlier that belong
 * to the body's front (usually empty; after `over` they are lost).  It points
 * into the splitter: use it before splitter_fini. */
size_t splitter_feed(struct splitter *, str in, str *put_back);
void   splitter_end(struct splitter *, str *put_back);   /* the message ended */

/* Behind a header that ended without an empty line: a mail program that skips
 * what is no field may read on.  True from the first line that it would take for
 * a field, up to the next empty line.  Zeroed before the first piece. */
struct read_on {
	unsigned char state;       /* private */
	bool          over, found;
};
bool read_on_feed(struct read_on *, str piece);

const struct field *fields_first(const struct fields *, const char *name);   /* case apart; omitted ones too */
size_t              fields_count(const struct fields *, const char *name);
bool                field_is(const struct field *, const char *name);
str  field_unfold(struct arena *, str value);            /* CRLF before white space removed, trimmed */

/* From, judged once for everybody: what a mail program would show. */
enum from_state { FROM_GOOD, FROM_ABSENT, FROM_SEVERAL_FIELDS, FROM_MALFORMED, FROM_NO_DOMAIN, FROM_SEVERAL_DOMAINS };
struct mailboxes;
struct from {
	enum from_state   state;
	str               domain;       /* FROM_GOOD: the one Author Domain, A-labels; or a literal */
	bool              is_literal;
	struct mailboxes *mailboxes;    /* of the first From field; NULL when absent or not read */
	const char       *why;          /* a sentence for the reply when not FROM_GOOD */
};
void from_judge(struct arena *, const struct fields *, struct from *out);

#endif
