/* SPDX-License-Identifier: ISC */
/* The configuration's part of direct: who resolves, where servers answer.  Any thread. */
#include "smtpd/setup/config.h"
#include "smtpd/setup/dns/direct.h"

enum { TIMEOUT_MS = 4000 };

void direct_conf_of(const struct config *c, struct direct_conf *out, struct dns_conf *resolver)
{
	*resolver = (struct dns_conf){
		.forward = c->resolver.forward, .trust_anchor = config_trust_anchor(c),
		.timeout_ms = c->resolver.timeout_ms,
	};
	*out = (struct direct_conf){
		.resolver = resolver, .port = (uint16_t)c->resolver.authority_port, .timeout_ms = TIMEOUT_MS,
		.ipv6 = direct_has_ipv6(),
	};
}
