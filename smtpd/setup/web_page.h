/* SPDX-License-Identifier: ISC */
/*
 * web_page: which document belongs to a question over HTTPS.  Pure: what a
 * stranger asked in, a text out, or none.
 */
#ifndef SETUP_WEB_PAGE_H
#define SETUP_WEB_PAGE_H

#include "smtpd/setup/autoconfig.h"

struct web_question {
	const char *path;
	bool        post;          /* else GET */
	str         host;          /* the Host field, as it came */
	str         address;       /* the argument emailaddress, or empty */
	str         body;
};

/* Empty: there is nothing here, or the arena is spent. */
str web_page(const struct config *, const struct web_question *, struct arena *, const char **type);

#endif
