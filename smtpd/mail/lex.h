/* SPDX-License-Identifier: ISC */
/*
 * lex: the tokens of structured header fields (RFC 5322 3.2, 4.1; RFC 6532).
 * Linear, without recursion; views into the text.  Private to this room.
 */
#ifndef MAIL_LEX_H
#define MAIL_LEX_H

#include "smtpd/base/buf.h"
#include "smtpd/base/str.h"

struct lex {
	str   in;          /* what is left */
	bool  broken;      /* something that no grammar allows was skipped */
	void (*comment)(void *arg, str content);   /* may be NULL: sees each outermost comment */
	void  *arg;
};

enum lex_kind {
	LEX_END,
	LEX_ATOM,
	LEX_QUOTED,        /* text is what stands between the quotes, as written */
	LEX_LITERAL,       /* with its brackets */
	LEX_SPECIAL,       /* one of ( ) < > [ ] : ; @ \ , . */
	LEX_BAD,           /* a control character, an unclosed quote */
};

struct lex_token {
	enum lex_kind kind;
	str           text;
	bool          spaced;   /* white space or a comment stood in front */
};

bool lex_space(struct lex *);    /* skips white space, folds and comments; was there any? */
void lex_next(struct lex *, struct lex_token *);
bool lex_is(const struct lex_token *, char special);
/* Adds a quoted string's content, folds and backslashes undone. */
void lex_unquote(struct buf *, str quoted);
/* A MIME token (RFC 2045 5.1), or n == 0. */
str  lex_mime_token(struct lex *);

#endif
