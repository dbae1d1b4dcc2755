/* SPDX-License-Identifier: ISC */
/*
 * generation: one configuration and all that is made of it.
 *
 * Immutable once built.  Loops and the timetable use it; main frees it when
 * every loop and the timetable have said that they use a newer one.
 */
#ifndef SETUP_GENERATION_H
#define SETUP_GENERATION_H

#include "smtpd/session/relay_test.h"
#include "smtpd/setup/aliases.h"
#include "smtpd/setup/knowledge.h"

struct generation {
	struct arena         arena;
	struct config       *config;
	struct directory    *directory;
	struct chain        *chain;
	struct knowledge     knowledge;
	struct tls_server   *tls;
	struct alias_seen   *aliases;       /* parallel to the domains */
	struct key         **keys;          /* DKIM; freed with the generation */
	size_t               nkeys;
	struct session_setup session;
	struct deliver_setup deliver;
	unsigned             users;         /* loops and the timetable; main counts them down */
};

/* What a generation is made with and does not own. */
struct generation_needs {
	conf_open    *open_file;
	struct auth  *auth;
	struct queue *queue;
	const unsigned char *secret;        /* SRS_SECRET octets, the process's */
	struct deny_live *denied;
};

/* Reads nothing but what `config` names.  Takes the generation's arena with
 * `config` in it.  OK, or the sentence in *why (in the arena). */
enum err generation_build(struct generation *, const struct generation_needs *, str *why);
/* The directory alone, of g->config and these accounts: for relay-test. */
enum err generation_directory(struct generation *, conf_open *, const struct strs *accounts, str *why);
/* The relay tricks against its directory: how many are let through. */
size_t   generation_relay_test(const struct generation *, relay_seen *, void *arg);
/* The settings of dnsbl: a list of struct dnsbl_zone. */
const struct conf_list *generation_zones(const struct generation *);
/* An alias file holds other text than when it was read, or looked at last. */
bool     generation_is_behind(struct generation *, conf_open *);
void     generation_free(struct generation *);      /* and itself */

/* breaker_watch.c: deliver_setup.bounced, with the session setup; timetable. */
void     server_bounced(void *session, str login, size_t n);

/* A whole small file, through the opener; at most `most` bytes; text in the arena. */
enum err file_read(conf_open *, str path, size_t most, struct arena *, str *text, str *why);

#endif
