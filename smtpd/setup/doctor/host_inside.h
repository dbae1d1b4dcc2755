/* SPDX-License-Identifier: ISC */
/* host_inside: what host.c and host_config.c share. */
#ifndef SETUP_DOCTOR_HOST_INSIDE_H
#define SETUP_DOCTOR_HOST_INSIDE_H

#include "smtpd/setup/doctor/host.h"

#define HOST_FILES_MOST 256

/* What the configuration leads to: certificates, listeners, accounts, zones. */
void host_see_config(const struct config *, struct generation *running, conf_open *, struct arena *, struct host_facts *);

#endif
