/* SPDX-License-Identifier: ISC */
/*
 * dns_local: answers from a table in memory – the playground's domains, and the
 * fake DNS of unit tests:
 *
 *     struct dns *dns = dns_with(dns_local_source(zone), loop, 5000);
 *
 * The zone text has one record a line, `NAME [TTL] TYPE DATA`, fields between
 * blanks.  Empty lines and lines that begin with '#' or ';' are skipped.
 *
 *     home.test            MX    10 mail.home.test       "0 ." is the null MX
 *     mail.home.test       A     127.0.0.1
 *     mail.home.test       AAAA  ::1
 *     www.home.test        CNAME mail.home.test
 *     home.test            NS    ns.home.test
 *     1.0.0.127.in-addr.arpa PTR mail.home.test
 *     home.test            TXT   v=spf1 mx -all          the rest of the line, one text
 *     home.test            TXT   "two " "strings"        quoted: \" \\ and \DDD inside
 *     _25._tcp.mail.home.test TLSA 3 1 1 0123abcd…       hexadecimal, blanks allowed
 *     *.home.test          A     192.0.2.1               wildcard, RFC 4592
 *
 * A text over 255 octets becomes several strings, as a zone file would have it.
 * TTL is in seconds, 300 if absent.  Instead of data, unquoted, one of these
 * words makes trouble for that name and type (TYPE may be ANY: every type):
 *
 *     slow.test   TXT  SERVFAIL | NXDOMAIN | NODATA | BOGUS
 *     slow.test   TXT  TIMEOUT      DNS_TIMEOUT at the next turn, without waiting
 *     slow.test   TXT  SILENT       no answer: the asker's own deadline ends it
 *     dane.test   ANY  SECURE       this name and all below it count as validated
 *
 * A name that owns a line, and all names below it, are answered here alone:
 * names between (empty non-terminals) exist without data, all others are
 * NXDOMAIN.  What lies outside goes to `beyond`, or is NXDOMAIN without one.
 * Thread: the loop's; the table never changes.
 */
#ifndef BASE_DNS_LOCAL_H
#define BASE_DNS_LOCAL_H

#include "smtpd/base/dns.h"

/* NULL with a reason in the arena, which names the line's number and text; then
 * `beyond` is still the caller's.  Otherwise it is closed with this source.  An
 * alias that leads out of the table is a fault when there is a beyond. */
struct dns_source *dns_local_new(struct strs lines, struct dns_source *beyond, struct arena *, str *why);

/* Reads the lines without keeping them: `postern check`. */
bool dns_local_check(struct strs lines, struct arena *, str *why);

/* For units: a bad text is said on standard error and ends the process. */
struct dns_source *dns_local_source(const char *zone_text);

#endif
