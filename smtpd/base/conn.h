/* SPDX-License-Identifier: ISC */
/*
 * conn: one TCP or unix connection on a loop, clear or TLS, with back-pressure.
 *
 * Reading goes into the loop's scratch buffer and is shown to `bytes`, which
 * says how much it used; the rest is kept (that is the only time a conn holds
 * an input buffer) and shown again, with what has come since, after
 * conn_resume.  A `bytes` that used a part and is not paused is shown the rest
 * again at once; one that used nothing although it was not paused waits for
 * more (at most 256 KiB).  What `bytes` is shown may lie in the loop's scratch
 * buffer: it must not use that for anything else before it has read its input.  Writing gathers until the end of the turn (conn_flush at once);
 * output over CONN_OUT_HIGH pauses reading until it has drained.
 *
 * `ended` fires exactly once, never inside conn_open, conn_dial, conn_write,
 * conn_secure, conn_resume or conn_close; after conn_close nothing fires.
 * Loop thread only.
 */
#ifndef BASE_CONN_H
#define BASE_CONN_H

#include <sys/socket.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"
#include "smtpd/base/tls.h"

#define CONN_OUT_HIGH ((size_t)128 << 10)

enum conn_end {
	CONN_EOF,         /* the peer closed */
	CONN_RESET,       /* read or write error; conn_errno */
	CONN_TIMEOUT,     /* the deadline passed */
	CONN_TLS_FAILED,  /* handshake or record error; conn_why */
	CONN_DIAL_FAILED, /* connect(2); conn_errno */
};

struct conn;

struct conn_events {
	size_t (*bytes)(struct conn *, str in);        /* returns how many were used, from the front */
	void   (*connected)(struct conn *);            /* conn_dial only; may be NULL */
	void   (*secured)(struct conn *);              /* the TLS handshake is done; may be NULL */
	void   (*drained)(struct conn *);              /* all output has left; may be NULL */
	void   (*ended)(struct conn *, enum conn_end);
	/* The deadline has passed, and the connection stands; NULL: it ends with CONN_TIMEOUT. */
	void   (*late)(struct conn *);
};

struct conn;  /* made by the calls below, freed by conn_close */

/* An accepted descriptor, taken over.  NULL: no memory (the descriptor is closed). */
struct conn *conn_open(struct loop *, int fd, const struct conn_events *, void *user);

/* Outbound, non-blocking; `from` (may be NULL) is the source address. */
struct conn *conn_dial(struct loop *, const struct sockaddr *to, socklen_t n,
                       const struct sockaddr *from, socklen_t nfrom,
                       const struct conn_events *, void *user);

void  conn_close(struct conn *);                        /* socket closed at once, unsent output lost, memory freed */
void  conn_close_politely(struct conn *);               /* the user is done: flushes (30 s at most), shuts down, frees */
size_t conn_leaving(const struct loop *);               /* how many of the loop's are still at that */
void  conn_leave_now(const struct loop *);              /* ends those at once: before loop_free */
void *conn_user(const struct conn *);
struct loop *conn_loop(const struct conn *);
int   conn_fd(const struct conn *);

void  conn_write(struct conn *, str);
void  conn_writef(struct conn *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void  conn_flush(struct conn *);
size_t conn_unsent(const struct conn *);
uint64_t conn_bytes_in(const struct conn *);            /* payload since the beginning, TLS undone */
uint64_t conn_bytes_out(const struct conn *);

void  conn_pause(struct conn *);                        /* `bytes` is not called until resume */
void  conn_resume(struct conn *);                       /* at the next turn */
/* Unused input held, or in TLS' own buffer; inside `bytes` all that it was shown. */
size_t conn_pending(const struct conn *);
/* Throws unused input away (STARTTLS); inside `bytes` all that it was shown,
 * whatever it returns. */
void  conn_drop_pending(struct conn *);

void  conn_deadline(struct conn *, uint64_t in_ms);     /* replaces the earlier one; 0: none */

/* TLS starts once what was written before has left; what is written after goes
 * encrypted.  The server form waits for the peer's hello.  Input already held is
 * the caller's to drop first: clear bytes are never shown as if they had come
 * encrypted, so what is still held when TLS would start ends in CONN_TLS_FAILED. */
void  conn_secure_server(struct conn *, struct tls_server *);
void  conn_secure_client(struct conn *, struct tls_client *, const char *server_name);
void  conn_secure_expecting(struct conn *, struct tls_client *, const struct tls_expect *);
/* Right behind conn_secure_server, whose default is TLS_ASK. */
void  conn_ask_client(struct conn *, enum tls_ask);
struct tls_state conn_tls(const struct conn *);
/* The names (addresses) in the client's certificate, when it verified: none else.
 * `which`: enum tls_name, or'ed.  They live in the arena. */
void  conn_tls_names(const struct conn *, unsigned which, struct arena *, struct strs *out);
/* A certificate of the client's that verified then does so now, with what `now`
 * has read since: it has not expired, and nobody has revoked it.  True when there
 * was none.  Cheap while the authorities stay the same. */
bool  conn_tls_client_stands(const struct conn *, struct tls_server *now);
/* RFC 9266, 5929; 0: none.  `out` NULL: how long it would be; to make it takes 25 µs. */
size_t conn_tls_binding(const struct conn *, unsigned char *out, size_t room, const char **type);

/* The certificates that the peer showed, leaf first; at most `room`. */
size_t conn_tls_chain(const struct conn *, struct arena *, struct tls_cert *out, size_t room);

int   conn_errno(const struct conn *);
str   conn_why(const struct conn *);                    /* a sentence about how it ended */

/* Addresses as text without port: "192.0.2.1", "2001:db8::1", "unix". */
struct addr_text { char s[64]; };
struct addr_text addr_text(const struct sockaddr *);

/* ADDR:PORT, HOST:PORT, [V6]:PORT, unix:/path.  Host names are left for the
 * caller (is_name); false: neither. */
struct endpoint {
	bool is_unix, is_name;
	str  host;                      /* name, address text, or the path */
	uint16_t port;
	struct sockaddr_storage at;     /* when !is_name */
	socklen_t n;
};
bool endpoint_parse(str text, uint16_t default_port, struct endpoint *out); /* default_port 0: a port must be there */

#endif
