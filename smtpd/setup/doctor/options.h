/* SPDX-License-Identifier: ISC */
/* options: the section doctor {}, at the top of the configuration. */
#ifndef SETUP_DOCTOR_OPTIONS_H
#define SETUP_DOCTOR_OPTIONS_H

#include "smtpd/base/conf.h"

struct doctor_options {
	struct conf_head head;
	uint64_t every_ms;             /* how often the server looks at itself; 0: never */
	str      mail_to;              /* whom it writes to; empty: postmaster of the first domain */
	str      outside_domain, outside_name;
};
extern const struct conf_section doctor_section;     /* its offset is config.c's to set */

#endif
