/* SPDX-License-Identifier: ISC */
/*
 * device: a printer or scanner that can neither log in nor do TLS.  Who connects
 * from exactly its hosts counts as logged in as its account, at any listener,
 * with the account's rights and allowance; with `to = local` only people here can
 * be written to.  What a listener asks for beside (TLS) it asks of devices, too.
 *
 * The address is all there is to know them by: whatever comes through a proxy or
 * NAT of that address is the device.  Loop thread.
 */
#include <stddef.h>

#include "smtpd/base/cidr.h"
#include "smtpd/session/internal.h"

#define WIDEST_V4 29u
#define WIDEST_V6 125u

static const char *const to_words[] = { "local", "any", NULL };

static bool address_good(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be a mail address such as \"scanner@example.org\"");
	return path_of(a, value, &p) && p.domain.n > 0;
}

static const struct conf_option options[] = {
	{ .name = "address", .type = CONF_LIST, .offset = offsetof(struct device_conf, address), .check = cidr_check,
	  .example = "192.168.1.20", .help = "where it connects from: addresses, or small networks" },
	{ .name = "as", .type = CONF_STRING, .offset = offsetof(struct device_conf, as), .check = address_good,
	  .example = "scanner@example.org", .help = "whose login it counts as, with that account's rights and allowance" },
	{ .name = "to", .type = CONF_WORD, .offset = offsetof(struct device_conf, to), .fallback = "local", .words = to_words,
	  .help = "whom it may write to: people here, or anybody; any is refused for networks wider than /29 (IPv6: /125)" },
	{ 0 },
};

static bool is_wide(str address)
{
	struct arena a;
	struct cidr c;
	str why;
	bool wide;

	arena_init(&a, 4096);
	wide = cidr_parse(address, &c, &a, &why) && c.bits < (c.v4 ? WIDEST_V4 : WIDEST_V6);
	arena_fini(&a);
	return wide;
}

bool device_sends_out(const struct device_conf *d)
{
	return d->to == DEVICE_ANY;
}

bool device_is_open(const struct device_conf *d)
{
	for (size_t i = 0; device_sends_out(d) && i < d->address.n; i++)
		if (is_wide(d->address.v[i]))
			return true;
	return false;
}

static void device_check(void *section, struct conf_reader *r)
{
	const struct device_conf *d = section;

	if (d->address.n == 0 && !conf_given(&d->head, "address"))
		conf_fault(r, &d->head, NULL, "device \"%.*s\" has no address: add address = {\"192.168.1.20\"}", STR_ARG(d->head.title));
	if (d->as.n == 0 && !conf_given(&d->head, "as"))
		conf_fault(r, &d->head, NULL, "device \"%.*s\" has no account: add as = \"scanner@example.org\"", STR_ARG(d->head.title));
	for (size_t i = 0; device_sends_out(d) && i < d->address.n; i++)
		if (is_wide(d->address.v[i]))
			conf_fault(r, &d->head, "address", "whoever is in %.*s could send to anybody: name the hosts, at most a /29 (IPv6: /125), or "
			           "set to = local", STR_ARG(d->address.v[i]));
}

const struct conf_section device_section = {
	.name = "device", .options = options, .size = sizeof(struct device_conf), .titled = true, .check = device_check,
	.help = "A printer or scanner that can neither log in nor do TLS: who connects from its address counts as logged in. "
	        "Whatever comes through a proxy or NAT of that address does, too.",
};

const struct device_conf *device_of(const struct session_setup *s, const struct sockaddr *from)
{
	const struct device_conf *found = NULL;
	struct arena a;

	arena_init(&a, 64 << 10);
	for (size_t i = 0; s->devices != NULL && i < s->devices->n && found == NULL; i++) {
		const struct device_conf *d = s->devices->v[i];

		for (size_t k = 0; k < d->address.n; k++) {
			struct cidr c;
			str why;

			if (cidr_parse(d->address.v[k], &c, &a, &why) && cidr_holds(&c, from))
				found = d;
		}
	}
	arena_fini(&a);
	return found;
}
