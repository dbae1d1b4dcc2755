/* SPDX-License-Identifier: ISC */
/*
 * client: one outbound SMTP or LMTP connection, for one destination after
 * another message.
 *
 * The timetable makes a client, gives it leases one at a time, and ends it.
 * Between those it lives on its loop.  A client whose lease is done keeps its
 * connection for the setup's idle_ms; a lease that finds none dials.  So the
 * timetable need not know whether one is open.
 */
#ifndef QUEUE_DELIVER_CLIENT_H
#define QUEUE_DELIVER_CLIENT_H

#include "queue/deliver/lease.h"
#include "smtpd/base/tls.h"

struct client;

/* The login at hops: main thread, before others, behind the server side's. */
bool client_auth_open(void);
void client_auth_close(void);

struct client_house {                     /* what all clients share; immutable, outlives them */
	struct queue      *queue;
	struct desk       *disk;
	struct tls_client *tls;
	struct mbox       *home;          /* the timetable's */
	const struct resting *resting;    /* NULL in units: nobody does */
	void             (*lease_home)(struct baton *);    /* of the lease; run at home */
	void             (*client_gone)(struct client *);  /* run at home; then client_free */
};

/* Called by the timetable. */
struct client *client_new(const struct client_house *, struct loop *, void *user);  /* NULL: no memory */
void  client_take(struct client *, struct lease *);  /* every recipient of it is settled when it comes home */
/* A client without a lease says QUIT and goes; one that has a lease lets go of
 * everything first, and the lease comes home deferred.  Once. */
void  client_end(struct client *);
void  client_free(struct client *);                  /* after client_gone, or before the first lease */
void *client_user(const struct client *);

#endif
