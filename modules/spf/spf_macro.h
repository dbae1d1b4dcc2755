/* SPDX-License-Identifier: ISC */
/*
 * spf_macro: macro strings (RFC 7208 7), checked and expanded.  Pure.
 */
#ifndef MODULES_SPF_MACRO_H
#define MODULES_SPF_MACRO_H

#include "smtpd/base/buf.h"
#include "smtpd/base/str.h"

#define SPF_MACROS_DOMAIN "slodipvh"         /* in a domain-spec */
#define SPF_MACROS_ALL    "slodipvhcrt"      /* in explanations and unknown modifiers */

/* What each letter stands for, lower case ones by index: values.v['d' - 'a']. */
struct spf_macros { str v[26]; };

/* NULL when every macro is well formed and its letter one of `letters`; else
 * what is wrong.  Other characters are the caller's to judge. */
const char *spf_macro_fault(str text, const char *letters);

/* The same for a domain-spec: macros, then a top label or a macro at the end. */
const char *spf_domain_spec_fault(str spec);

/* Whether the macro letter (lower case; either case counts) occurs. */
bool spf_macro_uses(str text, char letter);

/* Expands a checked string to the end of `out`.  With keep > 0 only the last
 * part of what it expands to is kept, at least `keep` bytes of it: the left
 * side of a domain name is cut anyway (7.3), and out stays small. */
void spf_macro_expand(str text, const struct spf_macros *, size_t keep, struct buf *out);

#endif
