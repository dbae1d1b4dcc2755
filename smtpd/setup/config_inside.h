/* SPDX-License-Identifier: ISC */
/*
 * What the files that read the configuration share.
 */
#ifndef SETUP_CONFIG_INSIDE_H
#define SETUP_CONFIG_INSIDE_H

#include "smtpd/setup/config.h"

#define MAX_MODULES 32

/* The tables of what no room owns. */
extern const struct conf_section config_tls, config_resolver, config_log, config_queue, config_domain, config_web;
extern const struct conf_option  config_root_options[], config_verify_options[];

/* What follows from what was read: defaults that depend on other options,
 * users and groups, the list of files.  Faults are added. */
enum err config_finish(struct config *, struct arena *, struct conf_faults *);

#endif
