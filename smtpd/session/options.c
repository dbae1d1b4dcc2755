/* SPDX-License-Identifier: ISC */
/*
 * The options of `listener`, `limits`, `forward` and `submission`, with the defaults of the manual.
 * Tables only.
 */
#include <stddef.h>

#include "smtpd/session/internal.h"

/* ---- listener ---------------------------------------------------------------- */

static bool address_good(str value, struct arena *a, str *why)
{
	struct endpoint e;

	(void)a;
	*why = STR("must be ADDR:PORT, [V6]:PORT or unix:/path");
	return endpoint_parse(value, 0, &e) && !e.is_name;
}

static const char *const roles[] = { "inbound", "submission", NULL };
static const char *const certificate_words[] = { "auto", "none", "request", "require", NULL };
static const char *const tls_words[] = { "none", "starttls", "required", "implicit", NULL };

#define AT(member) offsetof(struct listener_conf, member)

static const struct conf_option listener_options[] = {
	{ .name = "address", .type = CONF_LIST, .offset = AT(address), .check = address_good,
	  .help = "where it listens: ADDR:PORT, [V6]:PORT or unix:/path, any number of them",
	  .example = "0.0.0.0:25,[::]:25" },
	{ .name = "role", .type = CONF_WORD, .offset = AT(role), .fallback = "inbound",
	  .words = roles,
	  .help = "inbound takes mail for local domains from anybody; submission takes mail for "
	          "anywhere from those who log in" },
	{ .name = "tls", .type = CONF_WORD, .offset = AT(tls), .fallback = "starttls",
	  .words = tls_words,
	  .help = "none, starttls (offered), required (nothing works before STARTTLS), implicit "
	          "(TLS from the first byte)" },
	{ .name = "mechanisms", .type = CONF_LIST, .offset = AT(mechanisms),
	  .check = auth_mechanism_good, .example = "SCRAM-SHA-256,PLAIN",
	  .help = "how a mail program may log in here; default: as auth {} says" },
	{ .name = "client-certificate", .type = CONF_WORD, .offset = AT(client_certificate),
	  .fallback = "auto", .words = certificate_words,
	  .help = "whether clients are asked for a certificate of tls { client-ca }: auto asks at "
	          "submission listeners, request asks, require takes none without" },
	{ .name = "loopback-unlimited", .type = CONF_BOOL, .offset = AT(loopback_unlimited),
	  .fallback = "no",
	  .help = "whether connections from this machine are spared the limit of one address" },
	{ 0 },
};

#undef AT

static void listener_check(void *section, struct conf_reader *r)
{
	const struct listener_conf *l = section;

	if (l->address.n == 0 && !conf_given(&l->head, "address"))
		conf_fault(r, &l->head, NULL,
		           "listener \"%.*s\" has no address: add address = {\"0.0.0.0:25\"}",
		           STR_ARG(l->head.title));
	if (l->role == ROLE_SUBMISSION && l->tls == TLS_NONE)
		conf_fault(r, &l->head, "tls",
		           "a submission listener without TLS could log nobody in: "
		           "set tls = required or implicit");
	if (l->role == ROLE_INBOUND && l->mechanisms.n > 0)
		conf_fault(r, &l->head, "mechanisms",
		           "nobody logs in at an inbound listener: take it out, or set role = submission");
	if (l->tls == TLS_NONE && l->client_certificate >= CERTIFICATE_REQUEST)
		conf_fault(r, &l->head, "client-certificate",
		           "certificates come with TLS: set tls = required or implicit");
}

const struct conf_section listener_section = {
	.name = "listener",
	.options = listener_options,
	.size = sizeof(struct listener_conf),
	.titled = true,
	.help = "A door for mail; without any, there are mx (25), submission (587) and "
	        "submissions (465).",
	.check = listener_check,
};

/* ---- limits ------------------------------------------------------------------ */

#define AT(member) offsetof(struct limits_conf, member)
#define MIB ((uint64_t)1 << 20)

static const struct conf_option limits_options[] = {
	{ .name = "message-size", .type = CONF_SIZE, .offset = AT(message_size),
	  .fallback = "50 MiB", .least = 65536,
	  .most = (uint64_t)1 << 40, .help = "largest message; 552 5.3.4" },
	{ .name = "header-size", .type = CONF_SIZE, .offset = AT(header_size), .fallback = "1 MiB",
	  .least = 4096,
	  .most = 64 * MIB, .help = "largest header; 554 5.6.0" },
	{ .name = "field-size", .type = CONF_SIZE, .offset = AT(field_size), .fallback = "256 KiB",
	  .least = 1000,
	  .most = 64 * MIB, .help = "largest header field; 554 5.6.0" },
	{ .name = "fields", .type = CONF_NUMBER, .offset = AT(fields), .fallback = "2000",
	  .least = 10, .most = 1000000,
	  .help = "header fields of a message; 554 5.6.0" },
	{ .name = "recipients", .type = CONF_NUMBER, .offset = AT(recipients), .fallback = "1000",
	  .least = 100,
	  .most = 100000, .help = "recipients of a message; 452 4.5.3 for those beyond" },
	{ .name = "recipients-before-good", .type = CONF_NUMBER,
	  .offset = AT(recipients_before_good), .fallback = "100",
	  .least = 1, .most = 100000,
	  .help = "recipients a stranger may guess at before the first that exists; 452 4.5.3" },
	{ .name = "messages-inbound", .type = CONF_NUMBER, .offset = AT(messages_inbound),
	  .fallback = "100", .least = 1,
	  .most = 1000000000,
	  .help = "messages of a connection on an inbound listener; 421 4.7.0" },
	{ .name = "messages-submission", .type = CONF_NUMBER, .offset = AT(messages_submission),
	  .fallback = "1000",
	  .least = 1, .most = 1000000000,
	  .help = "messages of a connection on a submission listener; 421 4.7.0" },
	{ .name = "errors", .type = CONF_NUMBER, .offset = AT(errors), .fallback = "10", .least = 1,
	  .most = 1000000000,
	  .help = "errors of a connection; 421 4.7.0" },
	{ .name = "idle-commands", .type = CONF_NUMBER, .offset = AT(idle_commands),
	  .fallback = "50", .least = 5,
	  .most = 1000000000, .help = "commands in a row that lead to no message; 421 4.7.0" },
	{ .name = "connections", .type = CONF_NUMBER, .offset = AT(connections), .fallback = "1000",
	  .least = 2,
	  .most = 1000000,
	  .help = "connections at a time, of which inbound ones may take half; 421 4.7.0" },
	{ .name = "connections-address", .type = CONF_NUMBER, .offset = AT(connections_address),
	  .fallback = "20",
	  .least = 1, .most = 1000000, .help = "connections of one address; 421 4.7.0" },
	{ .name = "connections-network", .type = CONF_NUMBER, .offset = AT(connections_network),
	  .fallback = "50",
	  .least = 1, .most = 1000000, .help = "connections of one IPv6 /64; 421 4.7.0" },
	{ .name = "received-fields", .type = CONF_NUMBER, .offset = AT(received_fields),
	  .fallback = "100", .least = 10,
	  .most = 10000,
	  .help = "Received fields, beyond which a message goes in circles; 554 5.4.6" },
	{ .name = "command-timeout", .type = CONF_TIME, .offset = AT(command_timeout_ms),
	  .fallback = "5m",
	  .least = 1000, .most = 86400000,
	  .help = "wait for the next command (RFC 5321 4.5.3.2.7); 421 4.4.2" },
	{ .name = "data-timeout", .type = CONF_TIME, .offset = AT(data_timeout_ms),
	  .fallback = "3m", .least = 1000,
	  .most = 86400000,
	  .help = "wait for the next piece of a message (RFC 5321 4.5.3.2.5); 421 4.4.2" },
	{ .name = "tls-timeout", .type = CONF_TIME, .offset = AT(tls_timeout_ms), .fallback = "30s",
	  .least = 1000,
	  .most = 86400000, .help = "wait for a TLS handshake" },
	{ .name = "crawl-bytes", .type = CONF_SIZE, .offset = AT(crawl_bytes), .fallback = "100",
	  .help = "a message that brings fewer bytes a second than this …; 0: may crawl" },
	{ .name = "crawl-time", .type = CONF_TIME, .offset = AT(crawl_ms), .fallback = "10m",
	  .least = 1000,
	  .most = 86400000, .help = "… for this long is cut off; 421 4.4.2" },
	{ .name = "memory", .type = CONF_SIZE, .offset = AT(memory), .fallback = "256 MiB",
	  .least = MIB,
	  .most = (uint64_t)1 << 40,
	  .help = "memory of all messages being received; 452 4.3.1 at MAIL" },
	{ .name = "reflector-sender", .type = CONF_NUMBER, .offset = AT(reflector_sender), .fallback = "5", .most = 10000,
	  .help = "reports that a reflector's address writes to one sender in a day (UTC); 550 5.7.1" },
	{ .name = "reflector-network", .type = CONF_NUMBER, .offset = AT(reflector_network), .fallback = "20", .most = 10000,
	  .help = "the same for all senders of one network (IPv4 /24, IPv6 /48)" },
	{ 0 },
};

static void limits_check(void *section, struct conf_reader *r)
{
	const struct limits_conf *l = section;

	if (l->field_size > l->header_size)
		conf_fault(r, &l->head, "field-size",
		           "no field is larger than the header: lower it, or raise header-size");
	if (l->header_size > l->message_size)
		conf_fault(r, &l->head, "header-size",
		           "no header is larger than the message: lower it, or raise message-size");
}

const struct conf_section limits_section = {
	.name = "limits",
	.options = limits_options,
	.size = sizeof(struct limits_conf),
	.help = "What one message, connection or client may take up.",
	.check = limits_check,
};

/* ---- forward ----------------------------------------------------------------- */

#undef AT
#define AT(member) offsetof(struct forward_conf, member)
#define DAY ((uint64_t)24 * 3600 * 1000)

static const char *const doomed_words[] = { "send", "keep", "bounce", NULL };

static const struct conf_option forward_options[] = {
	{ .name = "srs", .type = CONF_BOOL, .offset = AT(srs), .fallback = "yes",
	  .help = "whether mail of others that leaves again for an alias is given a sender of ours (SRS), so "
	          "that SPF passes and bounces find back" },
	{ .name = "srs-domain", .type = CONF_STRING, .offset = AT(srs_domain), .example = "example.org",
	  .help = "the domain of such senders, one that receives here; empty: the alias's own" },
	{ .name = "srs-age", .type = CONF_TIME, .offset = AT(srs_age_ms), .fallback = "21d", .least = DAY, .most = 1000 * DAY,
	  .help = "how long bounces to such senders are taken" },
	{ .name = "srs-bounces-only", .type = CONF_BOOL, .offset = AT(srs_bounces_only), .fallback = "yes",
	  .help = "whether such senders take mail from the null sender only" },
	{ .name = "doomed", .type = CONF_WORD, .offset = AT(doomed), .fallback = "send", .words = doomed_words,
	  .help = "what is done with mail that would surely be refused where it is forwarded to, because the "
	          "domain in From publishes p=reject or p=quarantine and no signature of its own holds: send it all "
	          "the same, keep it held in the queue, or bounce it; the log says so (forward.doomed)" },
	{ 0 },
};

const struct conf_section forward_section = {
	.name = "forward",
	.options = forward_options,
	.size = sizeof(struct forward_conf),
	.help = "Mail that leaves this server again for an alias.",
};

/* ---- submission -------------------------------------------------------------- */

#undef AT
#define AT(member) offsetof(struct submission_conf, member)

static const char *const unmarked_words[] = { "mark", "refuse", "pass", NULL };

static const char *const notice_words[] = { "auto", "yes", "no", NULL };

static const struct conf_option submission_options[] = {
	{ .name = "unmarked-8bit", .type = CONF_WORD, .offset = AT(unmarked), .fallback = "mark", .words = unmarked_words,
	  .help = "text with octets beyond ASCII and no MIME fields that say what it is: mark it (as UTF-8 where it is "
	          "that, else as unknown-8bit), refuse it with 554 5.6.0, or pass it on as it came" },
	{ .name = "hide-client", .type = CONF_BOOL, .offset = AT(hide_client), .fallback = "yes",
	  .help = "whether Received says nothing of the address and name of who logged in; the log always does" },
	{ .name = "grace", .type = CONF_TIME, .offset = AT(grace.wait_ms), .fallback = "0s", .most = 7 * DAY,
	  .help = "how long each message waits in the queue before it leaves, for people here, too; until then its sender "
	          "can stop it by a reply to the notice, and you by `postern queue remove`; an account may have another" },
	{ .name = "grace-notice", .type = CONF_WORD, .offset = AT(grace.notice), .fallback = "auto", .words = notice_words,
	  .help = "whether the sender is sent a notice of each message that waits, whose answer stops it: auto is yes for "
	          "those that wait five minutes or longer" },
	{ .name = "future-release", .type = CONF_TIME, .offset = AT(future_release_ms), .fallback = "30d", .most = (uint64_t)999999999 * 1000,
	  .help = "the longest that a mail program may ask a message to wait (FUTURERELEASE, RFC 4865); 0s: that is not offered" },
	{ 0 },
};

const struct conf_section submission_section = {
	.name = "submission",
	.options = submission_options,
	.size = sizeof(struct submission_conf),
	.help = "What is done with a message of those who log in (RFC 6409).",
};
