/* SPDX-License-Identifier: ISC */
/*
 * conf_token: the signs and words of a configuration text, for conf_screen.
 *
 * Line breaks and blanks go to the output as they are met, comments only as
 * their line breaks, so that a line keeps its number all the way through.
 */
#ifndef BASE_CONF_TOKEN_H
#define BASE_CONF_TOKEN_H

#include "smtpd/base/conf_inside.h"

enum { TOK_END = 0, TOK_WORD = 'w', TOK_QUOTED = 'q' }; /* the others are their own sign */

struct token {
	int kind;
	int line;
	str text;     /* as it will be written out; until the next token */
};

struct tokens {
	struct conf_reader *r;
	struct conf_text   *text;
	struct buf         *out;
	struct buf          quoted;    /* the token's text, when it had to be rewritten */
	const char         *p, *end;
	int                 line;
	bool                nul_told;
};

struct token token_next(struct tokens *);
bool token_name_char(char);                          /* letters, digits, - and _ */
bool token_follows(const struct tokens *, const char *signs); /* one of them, on this line */

#endif
