/* SPDX-License-Identifier: ISC */
/*
 * What the session counts, under "smtp.".  Registered before threads.
 */
#include "smtpd/session/internal.h"

static const struct stat_def defs[COUNTERS] = {
	[CONNECTIONS]          = { "connections", "connections that were let in" },
	[CONNECTIONS_REFUSED]  = { "connections.refused", "over a limit, or refused by a module" },
	[CONNECTIONS_SHED]     = { "connections.shed", "idle ones closed to make room" },
	[TLS_STARTED]          = { "tls.started", "TLS handshakes that succeeded" },
	[TLS_FAILED]           = { "tls.failed", "TLS handshakes that did not" },
	[LOGINS]               = { "logins", "logins that succeeded" },
	[LOGINS_REFUSED]       = { "logins.refused", "logins that did not" },
	[COMMANDS_REFUSED]     = { "commands.refused", "commands answered with an error" },
	[RCPTS_REFUSED]        = { "recipients.refused", "unknown here, or refused by a module" },
	[RELAY_REFUSED]        = { "relay.refused", "recipients elsewhere, without a login" },
	[MESSAGES_STORED]      = { "messages.stored", "messages answered with 250" },
	[MESSAGES_REFUSED]     = { "messages.refused", "refused for good after their last byte" },
	[MESSAGES_DEFERRED]    = { "messages.deferred", "refused for now after their last byte" },
	[MESSAGES_QUARANTINED] = { "messages.quarantined", "messages stored for the Junk folder" },
	[MESSAGES_WOULD_REFUSE] = { "messages.would-refuse", "messages that a trial let pass" },
	[BYTES_STORED]         = { "bytes.stored", "octets of stored messages" },
	[LETTERS_STORED]       = { "letters.stored", "our own mail that was stored" },
	[LETTERS_FAILED]       = { "letters.failed", "our own mail that could not be" },
	[TIMEOUTS]             = { "timeouts", "clients silent or slow for too long" },
};

static unsigned first;

void session_counters(void)
{
	first = stat_register("smtp", defs, COUNTERS);
	limits_setup();
	reflect_limit_setup();
}

void count_n(enum counter c, uint64_t n)
{
	stat_add(first + c, n);
}

void count(enum counter c)
{
	count_n(c, 1);
}
