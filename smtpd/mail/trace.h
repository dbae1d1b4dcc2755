/* SPDX-License-Identifier: ISC */
/*
 * trace: Received (RFC 5321 4.4, keywords RFC 3848 and 6531 4.3), Return-Path,
 * Delivered-To, Received-SPF (RFC 7208 9.1), and the Date and Message-ID that
 * submission adds (RFC 6409 8).  All end with CRLF and are folded.
 */
#ifndef MAIL_TRACE_H
#define MAIL_TRACE_H

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"

struct trace {
	str  helo;           /* what the client called itself */
	str  ptr;            /* its confirmed name, or empty ("unknown") */
	str  ip;             /* address text; empty: local submission */
	str  by;             /* our host name */
	str  id;             /* queue id */
	str  for_rcpt;       /* only when there is one recipient; else empty */
	bool esmtp, tls, auth, utf8, lmtp;
	bool hide_client;    /* submission: no name and address of the client */
	str  tls_version, tls_cipher;
	unsigned tls_bits;
	int64_t when;
};
str trace_received(struct arena *, const struct trace *);
str trace_return_path(struct arena *, str sender);          /* "" gives <> */
str trace_delivered_to(struct arena *, str rcpt);
str trace_date(struct arena *, int64_t when);
str trace_message_id(struct arena *, str id, str host);

struct trace_spf {
	str result, comment, client_ip, envelope_from, helo, receiver, identity, mechanism, problem;
};
str trace_received_spf(struct arena *, const struct trace_spf *);
/* The receiver= of a Received-SPF value, to recognise a forged one of ours. */
bool trace_received_spf_receiver(struct arena *, str value, str *receiver);

#endif
