/* SPDX-License-Identifier: ISC */
/*
 * postern check looks at the world, too: are the files there that the
 * configuration names?  Main thread.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "modules/arc/arc.h"
#include "smtpd/setup/config.h"

struct look { conf_open *open_file; struct arena *a; struct conf_faults *faults; };

static void look_at(const struct look *l, str file, const struct conf_head *head, const char *option, const char *mend)
{
	int fd = l->open_file(file);

	if (fd >= 0)
		close(fd);
	else
		conf_fault_add(l->faults, l->a, head, option, "%.*s: %s: %s", STR_ARG(file), strerror(errno), mend);
}

void config_check_files(const struct config *c, conf_open *open_file, struct arena *a, struct conf_faults *faults)
{
	struct look l = { open_file, a, faults };
	const char *readable = "make it, or make it readable for the server's user";
	const struct arc_conf *arc = config_module(c, &arc_module);

	for (size_t i = 0; !c->self_signed && i < c->tls.certificate.n; i++)
		look_at(&l, c->tls.certificate.v[i], &c->tls.head, "certificate", readable);
	for (size_t i = 0; !c->self_signed && i < c->tls.key.n; i++)
		look_at(&l, c->tls.key.v[i], &c->tls.head, "key", readable);
	if (c->tls.client_ca.n > 0)
		look_at(&l, c->tls.client_ca, &c->tls.head, "client-ca", readable);
	if (c->resolver.records.n > 0)
		look_at(&l, c->resolver.records, &c->resolver.head, "records", readable);
	if (arc->seal && arc->key.n > 0)
		look_at(&l, arc->key, &arc->head, "key", "make the key with `postern key generate`, or take seal = yes out");
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		if (d->aliases.n > 0)
			look_at(&l, d->aliases, &d->head, "aliases", readable);
		for (size_t k = 0; k < d->dkim.n; k++) {
			const struct dkim_section *key = d->dkim.v[k];

			look_at(&l, key->key, &key->head, key->head.file ? "key" : NULL,
			        "make the key with `postern key generate`, or take the dkim section out");
		}
	}
}
