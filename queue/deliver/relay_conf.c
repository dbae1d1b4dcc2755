/* SPDX-License-Identifier: ISC */
/*
 * The options of `relay`, with the defaults of the manual.  A table only.
 */
#include <stddef.h>

#include "queue/deliver/deliver.h"
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

static const struct conf_option options[] = {
	{ .name = "smarthost", .type = CONF_STRING, .offset = AT(smarthost), .check = is_host_and_port,
	  .example = "smtp.example.net:25",
	  .help = "HOST:PORT that takes everything which is not local; default: straight to each domain's MX hosts" },
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
	{ .name = "ipv6", .type = CONF_BOOL, .offset = AT(ipv6), .fallback = "no",
	  .help = "send over IPv6 too; turn it on when the server's IPv6 address has a PTR record that leads back to it" },
	{ .name = "connect-timeout", .type = CONF_TIME, .offset = AT(connect_ms), .fallback = "30s", .least = 100,
	  .most = 10 * MINUTE, .help = "wait for a connection to one address" },
	{ .name = "port", .type = CONF_NUMBER, .offset = AT(port), .fallback = "25", .least = 1, .most = 65535,
	  .help = "the port of MX hosts; anything but 25 is for tests" },
	{ 0 },
};

static void check(void *section, struct conf_reader *r)
{
	const struct relay_conf *c = section;

	if (c->retry_first_ms > c->retry_most_ms)
		conf_fault(r, &c->head, "retry-first", "the first wait is longer than the longest: lower it or raise retry-most");
	if (c->destination_concurrency > c->concurrency && conf_given(&c->head, "destination-concurrency"))
		conf_fault(r, &c->head, "destination-concurrency",
		           "more connections to one destination than in all: lower it or raise concurrency");
}

const struct conf_section relay_section = {
	.name = "relay",
	.options = options,
	.size = sizeof(struct relay_conf),
	.help = "The way out: where mail for others goes, when it is tried again, when it is given up.",
	.check = check,
};
