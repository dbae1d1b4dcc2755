/* SPDX-License-Identifier: ISC */
/*
 * tls_inside: what the OpenSSL files of base share; nobody else includes it.
 */
#ifndef BASE_TLS_INSIDE_H
#define BASE_TLS_INSIDE_H

#include <openssl/ssl.h>
#include <sys/stat.h>
#include <time.h>

#include "smtpd/base/tls.h"

/* A connection's SSL with its role set; NULL: no memory.  Any loop. */
SSL *tls_server_ssl(struct tls_server *, enum tls_ask);
SSL *tls_client_ssl(struct tls_client *, const char *name);   /* name may be NULL */
SSL *tls_client_ssl_for(struct tls_client *, const struct tls_expect *);
void tls_judge(const SSL *, struct tls_state *);   /* fills verified, by_dane, fault and why */

/* Whether the client's certificate still verifies under the authorities that are
 * in force now; *by remembers under which that was found, begins with NULL. */
bool tls_client_stands(struct tls_server *, SSL *, const void **by);

void tls_ignore_sigpipe(void);                     /* OpenSSL writes to sockets with write(2) */

/* tls_names.c: `which` of enum tls_name, in that order; at most 16. */
void tls_names_of(X509 *, unsigned which, struct arena *, struct strs *out);

/* tls_self.c, for tls_ca.c too: pieces of a certificate in the making. */
bool tls_text_of(BIO *, char **out);               /* terminated, malloc'ed */
bool tls_set_serial(X509 *);                       /* at random */
bool tls_add_extension(X509 *, X509 *issuer, int nid, const char *value);

/* tls_ticket.c: keys of the process, for every context. */
void tls_ticket_setup(SSL_CTX *);
void tls_ticket_rotate(uint64_t now_ms);       /* main thread; makes the first, then one every 12 h */

/* tls_pair.c: files to contexts.  `why` gets one sentence. */
#define TLS_WHY 512

struct tls_stamp {                             /* differs when the file does */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed, written;
};

struct tls_ca {                                /* who may sign client certificates; empty: nobody is asked */
	X509_STORE *store;
	STACK_OF(X509_NAME) *names;
	unsigned char id[32];                  /* a session is resumed only under the same authorities */
};

bool tls_stamp_eq(const struct tls_stamp *, const struct tls_stamp *);
bool tls_stamp_read(tls_open *, str path, struct tls_stamp *);
bool tls_ca_load(tls_open *, str path, struct tls_ca *, struct tls_stamp *, char why[static TLS_WHY]);
void tls_ca_free(struct tls_ca *);
SSL_CTX *tls_pair_load(tls_open *, const struct tls_pair *, bool minimum_13, const struct tls_ca *,
                       struct tls_stamp stamps[static 2], char why[static TLS_WHY]);
void tls_reason(char *out, size_t room);       /* the last OpenSSL error in words; empties the queue */

#endif
