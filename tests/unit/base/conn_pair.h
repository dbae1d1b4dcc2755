/* SPDX-License-Identifier: ISC */
/*
 * conn_pair: two connections that talk to each other on one loop, in the clear or
 * under TLS.  The certificate is in descriptors of unnamed memory files.
 */
#ifndef TESTS_CONN_PAIR_H
#define TESTS_CONN_PAIR_H

#include "tests/unit/base/wire.h"

#include "smtpd/base/crypt.h"

static struct loop *l;

static char *pem[2];

static int open_pem(str path)
{
	const char *text = str_is(path, "cert") ? pem[0] : pem[1];
	int fd = memfd_create("pem", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static struct tls_server *server;
static struct tls_client *client;

static int set_up(void **state)
{
	const char *const names[] = { "localhost" };
	struct tls_pair pair = { STR("cert"), STR("key") };
	struct tls_conf conf = { .pairs = &pair, .npairs = 1 };
	str why;

	(void)state;
	crypt_setup();
	l = loop_new(0, NULL);
	if (tls_self_signed(names, 1, 1, &pem[0], &pem[1]) != OK)
		return -1;
	server = tls_server_new(&conf, open_pem, NULL, &why);
	client = tls_client_new();
	return l != NULL && server != NULL && client != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tls_server_free(server);
	tls_client_free(client);
	free(pem[0]);
	free(pem[1]);
	loop_free(l);
	return 0;
}

static void open_both(struct side *a, struct side *b, bool tls)
{
	int fds[2];

	pair_of_fds(fds);
	side_open(a, l, fds[0]);
	side_open(b, l, fds[1]);
	if (!tls)
		return;
	conn_secure_server(a->c, server);
	conn_secure_client(b->c, client, "localhost");
	turn_until(l, a->secured && b->secured);
}

static size_t eat_line(struct side *s, str in)
{
	size_t lf = str_find(in, '\n');

	(void)s;
	return lf < in.n ? lf + 1 : 0;
}

#endif
