/* SPDX-License-Identifier: ISC */
/*
 * tls: certificates and contexts; conn does the talking.
 *
 * A tls_server is made per configuration generation and shared by all loops.
 * Certificate files are looked at again every minute and at reload; a changed
 * pair takes effect for new handshakes, a broken one is logged and the old one
 * stays.  One SSL_CTX per certificate; ticket keys belong to the process and
 * survive a reload.  TLS 1.2 and 1.3 only.
 */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <stdint.h>

#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

struct arena;
struct tls_server;
struct tls_client;

struct tls_pair { str certificate, key; };             /* PEM files: chain, private key */

struct tls_conf {
	const struct tls_pair *pairs;                  /* the first is the default, the others by SNI */
	size_t                 npairs;
	bool                   minimum_13;             /* minimum = "1.3" */
	str                    client_ca;              /* PEM file; empty: client certificates are not asked for */
};

/* Whether a client is asked for a certificate, where there is a client_ca. */
enum tls_ask {
	TLS_ASK,               /* it may have one */
	TLS_ASK_NONE,
	TLS_ASK_REQUIRE,       /* without one that verifies the handshake fails */
};

/* Where a certificate's names are taken from. */
enum tls_name { TLS_NAME_SAN = 1, TLS_NAME_EMAIL = 2, TLS_NAME_CN = 4 };

/* How files are opened: keeper_open, or plain open(2). */
typedef int tls_open(str path);                        /* descriptor, or -1 with errno */

struct tls_server *tls_server_new(const struct tls_conf *, tls_open *, struct arena *why_arena, str *why); /* NULL with a reason */
void tls_server_look_again(struct tls_server *);       /* main thread: re-read what has changed */
void tls_server_free(struct tls_server *);             /* when no conn uses it any more */

/* Outbound.  A handshake never ends because of the certificate: whoever asked
 * looks at tls_state afterwards, before a word is said, and decides.  Nobody may
 * sign until tls_client_trust has said who: to read a list of CAs takes 30 ms. */
struct tls_client *tls_client_new(void);
void               tls_client_free(struct tls_client *);
/* From now on the CAs of this PEM file (empty: the system's), read now unless it
 * is the same as last time, count for new connections.  One thread; connections
 * may be begun meanwhile.  False: why, and all stays. */
bool               tls_client_trust(struct tls_client *, str file, struct arena *why_arena, str *why);

/* One TLSA record, as DNS gave it (RFC 6698 2.1). */
struct tls_tlsa { uint8_t usage, selector, matching; str data; };
/* DANE-EE or DANE-TA, with parameters known and data that can be what it says
 * (RFC 7672 2.1, 3.1.3: the PKIX usages cannot be used for SMTP).  Any thread. */
bool               tls_tlsa_usable(struct tls_client *, const struct tls_tlsa *);

/* Whom we expect to meet; views, which live until `secured` or the end. */
struct tls_expect {
	str                    name;    /* for SNI, and the first that the certificate may hold; empty: neither */
	struct strs            others;  /* that it may hold instead (RFC 7672 3.2.2) */
	const struct tls_tlsa *tlsa;    /* usable ones; with any, they decide and the CAs do not */
	size_t                 ntlsa;
};

enum err tls_self_signed(const char *const names[], size_t n, int days, char **cert_pem, char **key_pem); /* ECDSA P-256; malloc'ed */

/* What was negotiated, for Received and the log; views into the connection. */
struct tls_state {
	bool on;
	bool client_cert;      /* one came and verified against client-ca */
	bool verified;         /* outbound: chain and name, or TLSA, held */
	bool by_dane;          /* … and it was the TLSA records that vouched */
	enum tls_fault {
		TLS_GOOD, TLS_NO_CERTIFICATE, TLS_UNTRUSTED, TLS_EXPIRED, TLS_NOT_YET, TLS_OTHER_NAME, TLS_NO_TLSA_MATCH,
		TLS_OTHERWISE,
	} fault;               /* outbound: why it is not verified */
	unsigned bits;
	str  version;          /* "TLSv1.3" */
	str  cipher;           /* "TLS_AES_256_GCM_SHA384" */
	str  sni;
	const char *why;       /* in OpenSSL's words, static */
};

/* What a server showed, leaf first: for people to read. */
struct tls_cert {
	str     subject, issuer;       /* one line each */
	struct strs names;             /* DNS names of the subject */
	int64_t not_before, not_after; /* seconds */
	str     spki_sha256;           /* hexadecimal: what "3 1 1" names */
};
/* The certificates of a PEM file's text, in their order, the first `room`; 0: there is none. */
size_t tls_chain_read(str pem, struct arena *, struct tls_cert *out, size_t room);

#endif
