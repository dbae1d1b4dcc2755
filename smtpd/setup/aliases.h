/* SPDX-License-Identifier: ISC */
/*
 * aliases: a file in the usual format (`name: target, target`, # comments,
 * lines that begin with white space go on) into the directory.
 */
#ifndef SETUP_ALIASES_H
#define SETUP_ALIASES_H

#include "smtpd/base/conf.h"
#include "smtpd/base/crypt.h"
#include "smtpd/mail/directory.h"

#define ALIASES_MOST ((size_t)4 << 20)

/* Names without @ belong to `domain`, targets too.  ERR_BAD: FILE:LINE in *why;
 * or, when `faults` is given, each bad line is a fault there and the rest is read. */
enum err aliases_read(struct directory *, struct arena *, str text, str file, str domain,
                      struct conf_faults *faults, str *why);

/* What a look at the file saw. */
struct alias_stamp { int64_t modified, modified_ns, changed, changed_ns; uint64_t size, inode, device; };
struct alias_seen {
	struct alias_stamp stamp;
	bool               settled;       /* the same stamp means the same text */
	unsigned char      digest[DIGEST_MAX];
};
/* Other text than at the last look (there is none, counts as text of its own);
 * the first look at a zeroed `seen` only remembers. */
bool aliases_changed(struct alias_seen *, conf_open *, str path);

#endif
