/* SPDX-License-Identifier: ISC */
/*
 * conn_inside: what conn.c (life and face), conn_flow.c (bytes in and out) and
 * conn_tls.c (OpenSSL) share; nobody else includes it.
 *
 * Callbacks are called by handlers of the loop only (between conn_enter and
 * conn_leave), never by what the user calls.  A call of the user's that finds
 * an end marks it (conn_doom) and wakes the next turn.  conn_close lets the
 * socket go at once; the memory goes when the handler that is running leaves.
 */
#ifndef BASE_CONN_INSIDE_H
#define BASE_CONN_INSIDE_H

#include <sys/types.h>

#include "smtpd/base/conn.h"

enum tls_phase {
	TLS_WAITING,   /* for the last clear output to leave */
	TLS_SHAKING,
	TLS_ON,
};

struct conn_tls {
	void *ssl;                    /* SSL *, from TLS_SHAKING on */
	struct tls_server *server;    /* one of the two */
	struct tls_client *client;
	enum tls_ask ask;             /* the server's */
	char  *name;                  /* the client's idea of the server; may be NULL */
	const struct tls_expect *expect;  /* instead of the name; lent until the handshake is over */
	size_t clear;                 /* bytes of output written before conn_secure_* */
	enum tls_phase phase;
	int    wants;                 /* TLS_SHAKING: EV_READ or EV_WRITE */
	bool   read_wants_write, write_wants_read;
	bool   stopped;               /* reading found its end behind bytes that had to be shown first */
	enum conn_end stopped_how;
	int    stopped_errno;
	const void *stood_under;      /* the authorities that the client's certificate was last looked at with */
	char  *why;                   /* malloc'ed; NULL: nothing is known to be wrong */
};

struct conn {
	struct loop              *loop;
	const struct conn_events *events;
	void                     *user;
	struct conn_tls          *tls;       /* NULL: clear */
	struct loop_io            io;
	struct loop_timer         timer;     /* the deadline; of the good-bye when leaving */
	struct loop_call          later;
	struct buf                in, out;   /* held input; gathered output */
	uint64_t                  bytes_in, bytes_out;
	struct conn              *next, **at; /* among those that leave politely */
	size_t                    shown;     /* bytes `bytes` is looking at */
	int                       fd, errnum;
	int                       broken;    /* errno of a failed write; input may still be there */
	enum conn_end             how;
	unsigned char             watching;  /* EV_READ, EV_WRITE */
	bool connecting, just_connected;
	bool paused, choked;                 /* by the user; by output over CONN_OUT_HIGH */
	bool again;                          /* held input is to be shown again */
	bool look;                           /* the socket, or TLS, may have input */
	bool blocked;                        /* output waits for the socket */
	bool tell_drained;
	bool dropped;                        /* conn_drop_pending inside `bytes` */
	bool doomed, over, closed;           /* end found; `ended` told; conn_close called */
	bool leaving, shut;                  /* conn_close_politely; its FIN is sent */
	bool busy;                           /* a handler is running */
};

/* conn.c */
void conn_doom(struct conn *, enum conn_end, int errnum);
void conn_wake(struct conn *);                 /* at the next turn */
static inline bool conn_stopped(const struct conn *c)
{
	return c->closed || c->over || c->doomed;
}

/* conn_flow.c */
void conn_pump(struct conn *);                 /* handler only: moves what can be moved */
void conn_push_out(struct conn *);             /* writes what can be written; calls nobody */
bool conn_may_show(const struct conn *);       /* `bytes` may be called, and reading makes sense */
void conn_farewell(struct conn *);             /* handler only: the steps of conn_close_politely */
void conn_write_broke(struct conn *, int errnum);

/* conn_tls.c.  Reads and writes return bytes, or 0 after setting the flags that
 * say what to wait for, or after conn_doom. */
bool   conn_tls_step(struct conn *);           /* true: the handshake has just ended well */
size_t conn_tls_read(struct conn *, char *, size_t);
size_t conn_tls_write(struct conn *, str);
size_t conn_tls_buffered(const struct conn *);
void   conn_tls_bye(struct conn *);            /* close_notify, if it can be sent at once */
void   conn_tls_free(struct conn *);

#endif
