/* SPDX-License-Identifier: ISC */
/*
 * addr: addresses as SMTP (RFC 5321 4.1.2, 6531 3.3) and header fields
 * (RFC 5322 3.4, 6854, 6532) write them.  Pure: text in, values out; all memory
 * is the arena's.
 */
#ifndef MAIL_ADDR_H
#define MAIL_ADDR_H

#include <sys/socket.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"

#define ADDR_LOCAL_MAX  64    /* RFC 5321 4.5.3.1.1, octets, unquoted; enforced when strict (bounce addresses are longer) */
#define ADDR_DOMAIN_MAX 255
#define ADDR_PATH_MAX   256   /* with < and >; UTF-8 paths may take 512 octets */

/* One envelope or header address. */
struct path {
	str  text;        /* local@domain as we write it: quoted where it must be, domain in A-labels; "" for <> */
	str  local;       /* quotes and backslashes undone; any octet but CR, LF, NUL */
	str  domain;      /* lower case, A-labels, no root dot; "[192.0.2.1]" or "[IPv6:…]" for a literal; "" for <> and <postmaster> */
	bool is_null;     /* <> */
	bool is_literal;
	bool is_utf8;     /* local part holds non-ASCII: needs SMTPUTF8 all the way */
	bool was_utf8;    /* as given, local part or domain held non-ASCII */
};

/* Reads "<…>" at the front of `in`, source routes dropped (RFC 5321 C); `rest`
 * is what follows '>' (parameters, with their leading space).  Lenient forms
 * (no brackets, space after the colon) are taken as Postfix takes them when
 * `strict` is false.  false: `why` is a short reason ("unbalanced quotes"). */
bool path_parse(struct arena *, str in, bool utf8_allowed, bool strict, struct path *out, str *rest, const char **why);
/* "local@domain" and nothing else, as in configuration and on the command line. */
bool path_of(struct arena *, str text, struct path *out);
/* From an unquoted local part and a domain or literal as they are in memory. */
bool path_build(struct arena *, str local, str domain, struct path *out);
bool path_eq(const struct path *, const struct path *);    /* local parts to the letter (domains are lower case already) */
bool path_eq_nocase(const struct path *, const struct path *);
bool path_copy(struct arena *, const struct path *, struct path *out);
bool path_is_postmaster(const struct path *);              /* <postmaster> or postmaster@…, any case */

/* A host name in any script → lower-case A-labels without root dot (IDNA2008,
 * UTS 46 non-transitional, by libidn2).  False: not a name: empty labels, over
 * 63/253, bytes other than letters, digits, '-', '_' (after conversion). */
bool domain_to_ascii(struct arena *, str name, str *out);
/* Letters, digits, '-', '_' in labels of 1–63, 253 in all, no root dot. */
bool domain_valid(str ascii);
/* A-labels shown as U-labels where that is safe; else as they are. */
str  domain_to_unicode(struct arena *, str ascii);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
bool literal_parse(str literal, struct sockaddr_storage *out);
bool literal_to_text(struct arena *, str literal, str *out);   /* the one spelling of each address */

bool utf8_valid(str);          /* RFC 3629: no overlong forms, no surrogates */

/* Header side. */
struct mailbox {
	str         display;      /* phrase, unquoted, encoded words left alone */
	struct path path;
	bool        usable;       /* path holds a domain we could read */
	bool        obsolete;     /* a route, or space or a comment inside the address: legal once, read differently */
};
struct mailboxes {
	struct mailbox *v;
	size_t          n;
	bool            malformed;  /* something in it was not RFC 5322, even by its obsolete grammar */
	bool            group;      /* group syntax was used */
};
/* An address-list: From, To, Cc, Sender, Reply-To … with comments, folding,
 * groups, obsolete routes, quoted strings.  Never fails but for memory; what it
 * cannot read is `malformed` and the readable rest is still there.  Linear. */
void mailboxes_parse(struct arena *, str value, struct mailboxes *out);

#endif
