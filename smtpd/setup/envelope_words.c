/* SPDX-License-Identifier: ISC */
/*
 * The client's address and the sender, as the command lines of verify, explain and
 * spf have them.  Pure.
 */
#include "smtpd/setup/envelope_words.h"

#include <arpa/inet.h>

bool envelope_ip(const char *text, struct sockaddr_storage *out)
{
	struct sockaddr_in  *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		out->ss_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		out->ss_family = AF_INET6;
	return out->ss_family != AF_UNSPEC;
}

void envelope_path(struct arena *a, str text, struct path *out)
{
	size_t at;

	if (text.n >= 2 && text.p[0] == '<' && text.p[text.n - 1] == '>')
		text = str_head(str_skip(text, 1), text.n - 2);
	if (text.n == 0) {
		*out = (struct path){ .text = STR(""), .is_null = true };
		return;
	}
	if (path_of(a, text, out))
		return;
	at = str_rfind(text, '@');
	*out = (struct path){ .text = text };
	out->local = at < text.n ? str_head(text, at) : STR_NONE;
	out->domain = str_keep_lower(a, at < text.n ? str_skip(text, at + 1) : text);
}
