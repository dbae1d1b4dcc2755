/* SPDX-License-Identifier: ISC */
/*
 * endpoint: addresses as people write them, and as the log shows them.
 *
 * Pure; any thread.  The forms are ADDR:PORT, HOST:PORT, [V6]:PORT and
 * unix:/path; nothing here asks DNS.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "smtpd/base/conn.h"

#define NAME_MAX_BYTES 253   /* RFC 1035 2.3.4, without the root's dot */
#define LABEL_MAX_BYTES 63

/* A copy with a NUL behind it; false when it does not fit or holds a NUL. */
static bool terminated(str s, char *out, size_t room)
{
	if (s.n == 0 || s.n >= room || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

static bool parse_unix(str path, struct endpoint *e)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&e->at;

	if (!str_starts(path, "/") || !terminated(path, un->sun_path, sizeof(un->sun_path)))
		return false;
	un->sun_family = AF_UNIX;
	e->is_unix = true;
	e->host = path;
	e->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	return true;
}

static bool parse_port(str digits, uint16_t *port)
{
	uint32_t n;

	if (digits.n > 5 || !str_to_u32(digits, &n) || n > UINT16_MAX)
		return false;
	*port = (uint16_t)n;
	return true;
}

static bool is_v4(str host, struct endpoint *e)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&e->at;
	char text[INET_ADDRSTRLEN];

	if (!terminated(host, text, sizeof(text)) || inet_pton(AF_INET, text, &in->sin_addr) != 1)
		return false;
	in->sin_family = AF_INET;
	in->sin_port = htons(e->port);
	e->n = sizeof(*in);
	return true;
}

/* The zone of a link-local address (RFC 4007 11): an interface of this machine. */
static bool zone_index(str zone, uint32_t *index)
{
	char name[IF_NAMESIZE];

	if (!terminated(zone, name, sizeof(name)))
		return false;
	*index = if_nametoindex(name);
	return *index != 0 || str_to_u32(zone, index);
}

static bool is_v6(str host, struct endpoint *e)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&e->at;
	char text[INET6_ADDRSTRLEN];
	size_t percent = str_find(host, '%');

	if (!terminated(str_head(host, percent), text, sizeof(text)))
		return false;
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
		return false;
	if (percent < host.n && !zone_index(str_skip(host, percent + 1), &in6->sin6_scope_id))
		return false;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(e->port);
	e->n = sizeof(*in6);
	return true;
}

/* RFC 1123 2.1, with the underscore that container networks use; the last label
 * is not all digits, or a mistyped address would pass for a name. */
static bool is_host_name(str host)
{
	str rest = host, label = STR_NONE;
	bool digits = false;

	if (host.n == 0 || host.n > NAME_MAX_BYTES)
		return false;
	while (str_cut(&rest, '.', &label)) {
		if (label.n == 0 || label.n > LABEL_MAX_BYTES)
			return false;
		if (label.p[0] == '-' || label.p[label.n - 1] == '-')
			return false;
		digits = true;
		for (size_t i = 0; i < label.n; i++) {
			if (!is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
			digits = digits && is_digit(label.p[i]);
		}
	}
	return !digits;
}

/* Splits at the colon before the port: what stands before it, and the port. */
static bool split_port(str text, uint16_t default_port, str *host, uint16_t *port, bool *bracketed)
{
	size_t end;

	*bracketed = str_starts(text, "[");
	end = *bracketed ? str_find(text, ']') : str_find(text, ':');
	if (*bracketed) {
		if (end == text.n)
			return false;
		*host = str_head(str_skip(text, 1), end - 1);
		end++;
	} else {
		*host = str_head(text, end);
	}
	if (end == text.n) {
		*port = default_port;
		return default_port != 0;
	}
	return text.p[end] == ':' && parse_port(str_skip(text, end + 1), port);
}

bool endpoint_parse(str text, uint16_t default_port, struct endpoint *out)
{
	bool bracketed;

	memset(out, 0, sizeof(*out));
	if (str_starts(text, "unix:"))
		return parse_unix(str_skip(text, 5), out);
	if (!split_port(text, default_port, &out->host, &out->port, &bracketed))
		return false;
	if (bracketed)
		return is_v6(out->host, out);
	if (is_v4(out->host, out))
		return true;
	out->is_name = is_host_name(out->host);
	return out->is_name;
}

struct addr_text addr_text(const struct sockaddr *sa)
{
	struct addr_text out = { "unknown" };
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	switch (sa->sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, out.s, sizeof(out.s));
		break;
	case AF_INET6:
		/* An IPv4 client of a dual socket is an IPv4 client. */
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out.s, sizeof(out.s));
		else
			inet_ntop(AF_INET6, &in6->sin6_addr, out.s, sizeof(out.s));
		break;
	case AF_UNIX:
		memcpy(out.s, "unix", sizeof("unix"));
		break;
	}
	return out;
}
