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

/* How files are opened: keeper_open, or plain open(2). */
typedef int tls_open(str path);                        /* descriptor, or -1 with errno */

struct tls_server *tls_server_new(const struct tls_conf *, tls_open *, struct arena *why_arena, str *why); /* NULL with a reason */
void tls_server_look_again(struct tls_server *);       /* main thread: re-read what has changed */
void tls_server_free(struct tls_server *);             /* when no conn uses it any more */

/* Outbound.  Opportunistic: any certificate.  A later issue adds DANE and names. */
struct tls_client *tls_client_new(void);
void               tls_client_free(struct tls_client *);

enum err tls_self_signed(const char *const names[], size_t n, int days, char **cert_pem, char **key_pem); /* ECDSA P-256; malloc'ed */

/* What was negotiated, for Received and the log; views into the connection. */
struct tls_state {
	bool on;
	str  version;          /* "TLSv1.3" */
	str  cipher;           /* "TLS_AES_256_GCM_SHA384" */
	unsigned bits;
	str  sni;
	bool client_cert;      /* one came and verified against client-ca */
	bool verified;         /* outbound: the chain and name held */
};

#endif
