/* SPDX-License-Identifier: ISC */
/* dns_ub_event: libunbound's pluggable event base over one loop's libev. */
#ifndef BASE_DNS_UB_EVENT_H
#define BASE_DNS_UB_EVENT_H

#include <unbound-event.h>

#include "smtpd/base/loop.h"

struct dns_ub_base {              /* must outlive the context that uses it */
	struct ub_event_base ub;  /* first */
	struct loop         *loop;
};

void dns_ub_base_init(struct dns_ub_base *, struct loop *);

#endif
