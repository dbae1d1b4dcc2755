/* SPDX-License-Identifier: ISC */
/*
 * signing: how our domains' mail is signed: the options, and what the keyring and
 * the queue's way out are given of them.
 */
#ifndef SETUP_SIGNING_H
#define SETUP_SIGNING_H

#include "modules/dkim/dkim.h"
#include "queue/deliver/deliver.h"
#include "smtpd/setup/config.h"

/* Section `signing` inside domain: struct signing_section. */
extern const struct conf_section config_signing;
/* "auto", "none" or a time: a check of option tables. */
bool     signing_expire_ok(str value, struct arena *, str *why);
/* x= in seconds after the moment a message may leave first; 0: none.  auto is as
 * long as the queue tries, and a day. */
int64_t  signing_expire_s(const struct config *, str value);
/* The rules and the policy of a domain, for the ring. */
enum err signing_add(struct dkim_keyring *, const struct config *, const struct domain_section *, struct arena *);
/* deliver_setup.sign_late, with the ring.  Disk desk. */
void     signing_late(void *ring, struct late *);
/* As file_read, and ERR_BAD with a sentence when others than the owner may open
 * it: a private key is his alone. */
enum err signing_key_text(conf_open *, str file, struct arena *, str *pem, str *why);

#endif
