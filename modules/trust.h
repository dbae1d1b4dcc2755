/* SPDX-License-Identifier: ISC */
/*
 * trust: who skips which checks, by what nobody can borrow: the client's
 * address, a valid DKIM signature, the seal of an ARC chain.
 *
 *     trust "NAME" { client = {CIDR}  dkim-domain = {…}  arc-sealer = {…}  skip = {spf, dmarc, …} }
 *
 * Any one of an entry's values is enough.  Knowledge for modules, one
 * generation's, given to the chain; immutable.  What follows from it:
 *
 *   - the chain excuses modules named in `skip`: what they object to does not
 *     count (their results are still written).  Clients are known at connect;
 *     for signatures and seals the module that verified them says mod_vouch().
 *     A module whose questions cost something looks at mod_excused() first.
 *   - without dmarc in `skip`, a sealer or a list's domain is a sign of an
 *     indirect way: dmarc quarantines where its policy says reject.
 *   - a dkim-domain vouches for mail whose author (From) it is, and for mail
 *     of the list that List-Id names (trust_dkim, trust_list).
 *
 * A trust by a name that anybody can write (MAIL FROM, From without a pass) is
 * a configuration fault.
 */
#ifndef MODULES_TRUST_H
#define MODULES_TRUST_H

#include <sys/socket.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"

struct trust_section { /* one in the file; the root of the configuration owns the list */
	struct conf_head head;            /* title: the entry's name, in the log and in reasons */
	struct strs client, dkim_domain, arc_sealer, skip;
	struct strs refused;              /* options that are known only to be refused */
};
extern const struct conf_section trust_section;

struct trust;
struct trust_entry;

/* From the sections, in file order; names are brought to A-labels here.  NULL
 * with a reason (a value that its check let pass, or memory). */
struct trust *trust_new(const struct conf_list *sections, struct arena *, str *why);

/* The first entry that fits, or NULL; a NULL trust holds nothing.  Domains are
 * A-labels in any case; "example.org" in the file is that very name,
 * "*.example.org" all below it. */
const struct trust_entry *trust_client(const struct trust *, const struct sockaddr *);
const struct trust_entry *trust_dkim(const struct trust *, str domain);
const struct trust_entry *trust_sealer(const struct trust *, str domain);
/* The next one behind `entry` that fits the client: entries add up. */
const struct trust_entry *trust_client_next(const struct trust *, const struct trust_entry *,
					    const struct sockaddr *);

str  trust_name(const struct trust_entry *);
bool trust_skips(const struct trust_entry *, const char *module);

#endif
