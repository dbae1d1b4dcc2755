/* SPDX-License-Identifier: ISC */
/*
 * knowledge: what the configuration's root tells modules beyond their own
 * sections: whom to trust, whom to deny.  Main thread, or the verb's.
 */
#ifndef SETUP_KNOWLEDGE_H
#define SETUP_KNOWLEDGE_H

#include "modules/chain.h"
#include "modules/deny/deny.h"
#include "smtpd/setup/config.h"

struct knowledge {
	struct trust      *trust;
	struct deny_table *denied;     /* of the configuration; owned */
	struct deny_conf   deny;
};

/* Before chain_new: module settings.  `live` may be NULL. */
enum err knowledge_make(struct knowledge *, struct config *, struct deny_live *live, struct arena *,
			str *why);
void     knowledge_free(struct knowledge *);

/* What STATE/deny holds, as a table.  Lines that cannot be read are logged and
 * left out; NULL (logged) when the file cannot be. */
struct deny_table *knowledge_read_denied(const struct config *);

#endif
