/* SPDX-License-Identifier: ISC */
/*
 * fold: a header field in the making (RFC 5322 2.2.3): words, quoted strings and
 * comments, lines of 78 columns where words allow it and never over 998.
 * Text of strangers is made safe here and only here.  Private to this room.
 */
#ifndef MAIL_FOLD_H
#define MAIL_FOLD_H

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"

struct fold {
	struct arena *arena;
	char         *p;
	size_t        n, room;
	size_t        column;
	bool          fresh;     /* nothing but the fold stands on this line */
	bool          failed;
};

void fold_init(struct fold *, struct arena *);
void fold_add(struct fold *, str);               /* as it is, no space in front */
void fold_line(struct fold *);                   /* CRLF and a tab */
void fold_word(struct fold *, str);              /* a space or a fold, then the word, as it is */
void fold_parts(struct fold *, const str *, size_t n);  /* a word that has n parts */
/* PREFIX"text" and (text): escaped, folded at the spaces inside. */
void fold_quoted(struct fold *, const char *prefix, str text);
void fold_comment(struct fold *, str text);
str  fold_str(const struct fold *);              /* STR_NONE when memory ended */

/* Control bytes, and 8-bit ones of what is no UTF-8, become '?'; at most 900 octets. */
str  fold_safe(struct arena *, str);

#endif
