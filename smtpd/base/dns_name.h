/* SPDX-License-Identifier: ISC */
/*
 * dns_name: domain names between their three forms.
 *
 *   text    labels between dots, any byte but NUL and dot inside a label: what
 *           the rest of the house speaks
 *   wire    length octets and labels, RFC 1035 3.1
 *   escaped text in which every byte that is not a letter, digit, '-' or '_' is
 *           \DDD: what libraries that parse names are given
 *
 * A name that one form cannot hold is refused, never cut.  Any thread.
 */
#ifndef BASE_DNS_NAME_H
#define BASE_DNS_NAME_H

#include "smtpd/base/str.h"

#define DNS_TEXT_MAX    253                      /* octets, without the root dot */
#define DNS_WIRE_MAX    255
#define DNS_ESCAPED_MAX (4 * DNS_TEXT_MAX + 1)   /* with the NUL */

/* The name without its root dot; STR_NONE when DNS cannot hold it or when it is
 * the root itself.  The bytes are the caller's. */
str    dns_name_check(str text);
/* Small letters for capital ones (ASCII); returns `out` as a str. */
str    dns_name_lower(str checked, char out[static DNS_TEXT_MAX]);
/* Writes the terminated escaped form, returns its length without the NUL. */
size_t dns_name_escape(str checked, char out[static DNS_ESCAPED_MAX]);
/* Length in wire form; the empty str is the root. */
size_t dns_name_to_wire(str checked, uint8_t out[static DNS_WIRE_MAX]);
/* Text, lower case, of an uncompressed wire name; false when a label holds a
 * NUL or a dot.  The root is the empty str. */
bool   dns_name_of_wire(const uint8_t *wire, char out[static DNS_TEXT_MAX], str *text);

#endif
