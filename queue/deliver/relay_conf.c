/* SPDX-License-Identifier: ISC */
/*
 * The options of `relay`, with the defaults of the manual.  Main thread.
 */
#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "queue/deliver/policy.h"
#include "smtpd/base/conn.h"

#define AT(member) offsetof(struct relay_conf, member)
#define MINUTE     ((uint64_t)60 * 1000)
#define DAY        (24 * 60 * MINUTE)

static bool is_host_and_port(str value, struct arena *a, str *why)
{
	struct endpoint e;

	(void)a;
	*why = STR("must be HOST:PORT, ADDR:PORT or [V6]:PORT");
	return endpoint_parse(value, 0, &e) && !e.is_unix;
}

static bool is_absolute(str value, struct arena *a, str *why)
{
	(void)a;
	if (value.n > 0 && value.p[0] == '/')
		return true;
	*why = STR("must be a path that begins with /");
	return false;
}

/* The address's length, 0 when it is none. */
static socklen_t address_parse(str text, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	char s[64];

	memset(out, 0, sizeof(*out));
	snprintf(s, sizeof(s), "%.*s", STR_ARG(text));
	if (text.n >= sizeof(s))
		return 0;
	if (inet_pton(AF_INET, s, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, s, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		return sizeof(*v6);
	}
	return 0;
}

socklen_t relay_source(const struct relay_conf *c, int family, struct sockaddr_storage *out)
{
	for (size_t i = 0; i < c->source.n; i++) {
		socklen_t n = address_parse(c->source.v[i], out);

		if (n > 0 && out->ss_family == family)
			return n;
	}
	return 0;
}

static bool is_address(str value, struct arena *a, str *why)
{
	struct sockaddr_storage at;

	(void)a;
	*why = STR("must be an address of this machine: 192.0.2.1 or 2001:db8::1");
	return address_parse(value, &at) > 0;
}

static const char *const ipv6_words[] = { "off", "auto", "on", NULL };
static const char *const tls_words[] = { "auto", "starttls", "implicit", "may", NULL };

static const char *const eight_bit_words[] = { "send", "bounce", NULL };

static const struct conf_option options[] = {
	{ .name = "smarthost", .type = CONF_STRING, .offset = AT(smarthost.via), .check = is_host_and_port,
	  .example = "smtp.example.net:587",
	  .help = "HOST:PORT that takes everything which is not local; default: straight to each domain's MX hosts" },
	{ .name = "smarthost-tls", .type = CONF_WORD, .offset = AT(smarthost.tls), .fallback = "auto", .words = tls_words,
	  .help = "starttls: with a good certificate or not at all; implicit: the same from the first octet; may: if offered; "
	          "auto: implicit on port 465, starttls when there is a login, else may" },
	{ .name = "smarthost-any-certificate", .type = CONF_BOOL, .offset = AT(smarthost.any_certificate), .fallback = "no",
	  .help = "with starttls and implicit: whoever's certificate it is" },
	{ .name = "smarthost-login", .type = CONF_STRING, .offset = AT(smarthost.login), .example = "user",
	  .help = "name to log in with there (SCRAM-SHA-256, PLAIN or LOGIN, the best that is offered)" },
	{ .name = "smarthost-password-file", .type = CONF_STRING, .offset = AT(smarthost.password_file), .check = is_absolute,
	  .example = "/etc/postern/smarthost.secret",
	  .help = "file with the password as its one line, readable for its owner alone; read again at reload" },
	{ .name = "smarthost-insecure-login", .type = CONF_BOOL, .offset = AT(smarthost.insecure_login), .fallback = "no",
	  .help = "log in even where the password could be read by others: without TLS, or with any certificate" },
	{ .name = "retry-first", .type = CONF_TIME, .offset = AT(retry_first_ms), .fallback = "5m", .least = 1000,
	  .most = DAY, .help = "wait before the second try; it doubles from try to try …" },
	{ .name = "retry-most", .type = CONF_TIME, .offset = AT(retry_most_ms), .fallback = "4h", .least = 1000,
	  .most = 7 * DAY, .help = "… up to this" },
	{ .name = "give-up", .type = CONF_TIME, .offset = AT(give_up_ms), .fallback = "5d", .least = 1000,
	  .most = 100 * DAY, .help = "a message this old that could not be delivered goes back to its sender" },
	{ .name = "give-up-bounce", .type = CONF_TIME, .offset = AT(give_up_bounce_ms), .fallback = "1d", .least = 1000,
	  .most = 100 * DAY, .help = "the same for bounces, which are then dropped" },
	{ .name = "delay-notice", .type = CONF_TIME, .offset = AT(delay_notice_ms), .fallback = "4h", .most = 100 * DAY,
	  .help = "after this long the sender is told that a message still waits; 0s: never" },
	{ .name = "destination-concurrency", .type = CONF_NUMBER, .offset = AT(destination_concurrency), .fallback = "20",
	  .least = 1, .most = 10000, .help = "connections to one destination at a time" },
	{ .name = "concurrency", .type = CONF_NUMBER, .offset = AT(concurrency), .fallback = "100", .least = 1,
	  .most = 10000, .help = "outbound connections in all" },
	{ .name = "messages-per-connection", .type = CONF_NUMBER, .offset = AT(messages_per_connection), .fallback = "100",
	  .least = 1, .most = 1000000, .help = "messages sent over one connection before a new one is made" },
	{ .name = "idle", .type = CONF_TIME, .offset = AT(idle_ms), .fallback = "2s", .most = 10 * MINUTE,
	  .help = "how long a connection is kept for the destination's next message; 0s: not at all" },
	{ .name = "ipv6", .type = CONF_WORD, .offset = AT(ipv6), .fallback = "auto", .words = ipv6_words,
	  .help = "send to MX hosts over IPv6 too; auto: once the server's IPv6 address has a PTR record that leads back to it, "
	          "as large providers demand" },
	{ .name = "source", .type = CONF_LIST, .offset = AT(source), .check = is_address, .example = "192.0.2.1,2001:db8::1",
	  .help = "the addresses mail leaves from, one of IPv4, one of IPv6; default: the system's choice" },
	{ .name = "connect-timeout", .type = CONF_TIME, .offset = AT(connect_ms), .fallback = "30s", .least = 100,
	  .most = 10 * MINUTE, .help = "wait for a connection to one address" },
	{ .name = "command-timeout", .type = CONF_TIME, .offset = AT(command_ms), .fallback = "5m", .least = 100,
	  .most = 60 * MINUTE, .help = "wait for the greeting and for the answer to a command" },
	{ .name = "data-timeout", .type = CONF_TIME, .offset = AT(data_ms), .fallback = "3m", .least = 100,
	  .most = 60 * MINUTE, .help = "wait for the answer to DATA, and for each piece of a message to be taken" },
	{ .name = "final-timeout", .type = CONF_TIME, .offset = AT(final_ms), .fallback = "10m", .least = 100,
	  .most = 60 * MINUTE, .help = "wait for the answer to a whole message; less than ten minutes sends some twice" },
	{ .name = "tls-timeout", .type = CONF_TIME, .offset = AT(tls_ms), .fallback = "1m", .least = 100,
	  .most = 10 * MINUTE, .help = "wait for a TLS handshake" },
	{ .name = "port", .type = CONF_NUMBER, .offset = AT(port), .fallback = "25", .least = 1, .most = 65535,
	  .help = "the port of MX hosts; anything but 25 is for tests" },
	{ .name = "ca", .type = CONF_STRING, .offset = AT(ca), .fallback = "/etc/ssl/certs/ca-certificates.crt",
	  .check = is_absolute,
	  .help = "PEM file of the CAs by which other servers' certificates are checked, where a policy asks for it" },
	{ .name = "eight-bit", .type = CONF_WORD, .offset = AT(eight_bit), .fallback = "send", .words = eight_bit_words,
	  .help = "what becomes of a message with 8-bit text for a server that does not announce 8BITMIME: to convert it would "
	          "break its signatures, so it is sent as it is, or bounced" },
	{ .name = "notify-forged", .type = CONF_BOOL, .offset = AT(notify_forged), .fallback = "no",
	  .help = "send bounces and other notices even to the sender of a message from outside that was quarantined, or whose "
	          "sender failed SPF: it is most likely forged, and a notice would hit a stranger" },
	{ .name = "sts-port", .type = CONF_NUMBER, .offset = AT(sts_port), .fallback = "443", .least = 1, .most = 65535,
	  .help = "the port where MTA-STS policies are fetched; anything but 443 is for tests" },
	{ 0 },
};

static void check_sources(const struct relay_conf *c, struct conf_reader *r)
{
	bool v4 = false, v6 = false;

	for (size_t i = 0; i < c->source.n; i++) {
		bool *seen = str_holds(c->source.v[i], ':') ? &v6 : &v4;

		if (*seen)
			conf_fault(r, &c->head, "source", "one address of IPv4 and one of IPv6 are enough: take the others out");
		*seen = true;
	}
}

static void check(void *section, struct conf_reader *r)
{
	struct relay_conf *c = section;

	check_sources(c, r);
	hop_check(&c->smarthost, &c->head, "smarthost-", r);
	if (c->retry_first_ms > c->retry_most_ms)
		conf_fault(r, &c->head, "retry-first", "the first wait is longer than the longest: lower it or raise retry-most");
	if (c->destination_concurrency > c->concurrency && conf_given(&c->head, "destination-concurrency"))
		conf_fault(r, &c->head, "destination-concurrency",
		           "more connections to one destination than in all: lower it or raise concurrency");
}

static const struct conf_section *const sections[] = { &hop_route_section, &policy_section, NULL };

const struct conf_section relay_section = {
	.name = "relay",
	.options = options,
	.sections = sections,
	.size = sizeof(struct relay_conf),
	.help = "The way out: where mail for others goes, when it is tried again, when it is given up.",
	.check = check,
};

enum err relay_read_passwords(struct relay_conf *c, conf_open *open_file, struct arena *a, str *why)
{
	enum err e = hop_read_password(&c->smarthost, open_file, a, why);

	for (size_t i = 0; e == OK && i < c->routes.n; i++)
		e = hop_read_password(&((struct hop_route *)c->routes.v[i])->hop, open_file, a, why);
	return e;
}

void relay_wipe(struct relay_conf *c)
{
	hop_wipe(&c->smarthost);
	for (size_t i = 0; i < c->routes.n; i++)
		hop_wipe(&((struct hop_route *)c->routes.v[i])->hop);
}
