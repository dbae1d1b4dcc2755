/* SPDX-License-Identifier: ISC */
/*
 * gates: whether a key may sign now, by domain and selector; they outlive every
 * configuration generation.  Main thread; loops and desks look at `open`.
 */
#ifndef SETUP_KEYS_GATES_H
#define SETUP_KEYS_GATES_H

#include "modules/dkim/dkim.h"
#include "smtpd/setup/config.h"

/* The gate of a key; a new one is `open` or not.  NULL: no memory. */
struct dkim_gate *key_gate(str domain, str selector, bool open);

/* All keys of a managed domain that may ever sign, with their gates, for the ring of
 * a generation; `keep` is given each private key.  A key that cannot be read is
 * logged and left out.  A domain without a section keys has none. */
enum err key_ring_add(struct dkim_keyring *, const struct config *, const struct domain_section *, struct arena *,
                      void (*keep)(void *arg, struct key *), void *arg, str *why);
/* Of a key that a dkim section names; NULL: it has none. */
const struct dkim_gate *key_gate_by_hand(const struct config *, const struct domain_section *, const struct dkim_section *);

/* For verbs: those that sign for like->domain now, each as `like` but for selector
 * and key, and the expiry unless that `expires`; of a domain that is not managed, all
 * its dkim sections.  ERR_ABSENT: none does; `why` is a sentence. */
enum err key_signers_now(const struct config *, const struct dkim_signer *like, bool expires, struct arena *,
                         struct dkim_signer **, size_t *n, str *why);
void     key_signers_drop(struct dkim_signer *, size_t n);

#endif
