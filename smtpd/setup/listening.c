/* SPDX-License-Identifier: ISC */
/*
 * Listening sockets: opened, kept and closed.
 *
 * Each endpoint is bound once, however many generations and loops use it; what a
 * generation wants is opened before it is in use, and what none wants any more is
 * closed when no loop can be watching it.  Main thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/keeper.h"
#include "smtpd/setup/serve.h"

struct opened *server_find_opened(struct server *s, str endpoint)
{
	for (size_t i = 0; i < s->nopened; i++)
		if (str_eq(s->opened[i].endpoint, endpoint))
			return &s->opened[i];
	return NULL;
}

static void say_opened(str name, str endpoint, int fd)
{
	struct sockaddr_storage at;
	socklen_t n = sizeof(at);
	struct arena a;
	unsigned port = 0;

	arena_init(&a, 4096);
	if (getsockname(fd, (struct sockaddr *)&at, &n) == 0 && at.ss_family == AF_INET)
		port = ntohs(((struct sockaddr_in *)&at)->sin_port);
	else if (at.ss_family == AF_INET6)
		port = ntohs(((struct sockaddr_in6 *)&at)->sin6_port);
	log_event(NULL, LOG_NOTICE, "listener.opened", KV("name", name), KV("endpoint", endpoint),
	          KV("address", port == 0 ? endpoint : arena_printf(&a, at.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
	                                                           addr_text((struct sockaddr *)&at).s, port)));
	arena_fini(&a);
}

static void say_why_not(struct server *s, str name, str endpoint, int errnum, str *why)
{
	struct port_holder holder = { 0 };

	if (errnum == EADDRINUSE)
		keeper_port_holder(endpoint, &holder);
	if (errnum == EADDRINUSE && holder.who[0] != '\0')
		*why = arena_printf(&s->arena, "listener \"%.*s\": %.*s is in use by %s: stop it with `%s`, or change the "
		                    "listener's address", STR_ARG(name), STR_ARG(endpoint), holder.who, holder.stop);
	else if (errnum == EADDRINUSE)
		*why = arena_printf(&s->arena, "listener \"%.*s\": %.*s is in use by another program: `ss -ltnp` shows "
		                    "which; stop it, or change the listener's address",
		                    STR_ARG(name), STR_ARG(endpoint));
	else if (errnum == EACCES || errnum == EPERM)
		*why = arena_printf(&s->arena, "listener \"%.*s\": %.*s needs a privilege: start as root, or give the "
		                    "program CAP_NET_BIND_SERVICE (the shipped unit file does)",
		                    STR_ARG(name), STR_ARG(endpoint));
	else
		*why = arena_printf(&s->arena, "listener \"%.*s\": %.*s: %s: correct the address",
		                    STR_ARG(name), STR_ARG(endpoint), strerror(errnum));
}

static int given_fd(str endpoint, const struct serve_given *given, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq(given[i].endpoint, endpoint))
			return given[i].fd;
	return -1;
}

/* A host without IPv6 (or without IPv4) starts with the default file: the
 * wildcard address of a family that is not there is a note. */
static bool family_is_absent(str endpoint, int errnum)
{
	return (errnum == EAFNOSUPPORT || errnum == EADDRNOTAVAIL) &&
	       (str_starts(endpoint, "[::]:") || str_starts(endpoint, "0.0.0.0:"));
}

static enum err open_one(struct server *s, str name, str endpoint,
                         const struct serve_given *given, size_t ngiven, str *why)
{
	struct opened *o = server_find_opened(s, endpoint);
	struct opened *more;
	int fd;

	if (o != NULL) {
		o->wanted = true;
		return OK;
	}
	fd = given_fd(endpoint, given, ngiven);
	if (fd < 0)
		fd = keeper_listen(endpoint);
	if (fd < 0 && family_is_absent(endpoint, errno)) {
		log_event(NULL, LOG_NOTICE, "listener.skipped", KV("name", name), KV("address", endpoint),
		          KV_C("why", "this host does not have that address family"));
		return OK;
	}
	if (fd < 0) {
		say_why_not(s, name, endpoint, errno, why);
		return ERR_DENIED;
	}
	more = realloc(s->opened, (s->nopened + 1) * sizeof(*more));
	if (more == NULL) {
		close(fd);
		return ERR_MEMORY;
	}
	s->opened = more;
	s->opened[s->nopened++] = (struct opened){ str_keep(&s->arena, endpoint), fd, true };
	say_opened(name, endpoint, fd);
	return OK;
}

static enum err open_all(struct server *s, str name, const struct strs *endpoints, const struct serve_given *given,
                         size_t ngiven, str *why)
{
	enum err e = OK;

	for (size_t i = 0; e == OK && i < endpoints->n; i++)
		e = open_one(s, name, endpoints->v[i], given, ngiven, why);
	return e;
}

enum err server_open_listeners(struct server *s, const struct config *c, const struct serve_given *given,
                               size_t ngiven, str *why)
{
	enum err e = OK;

	for (size_t i = 0; i < s->nopened; i++)
		s->opened[i].wanted = false;
	for (size_t i = 0; e == OK && i < c->listeners.n; i++) {
		const struct listener_conf *l = c->listeners.v[i];

		e = open_all(s, l->head.title, &l->address, given, ngiven, why);
	}
	return e == OK ? open_all(s, STR("web"), &c->web.address, given, ngiven, why) : e;
}

void server_close_unwanted(struct server *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->nopened; i++) {
		if (s->opened[i].wanted) {
			s->opened[kept++] = s->opened[i];
			continue;
		}
		log_event(NULL, LOG_NOTICE, "listener.closed", KV("endpoint", s->opened[i].endpoint));
		close(s->opened[i].fd);
	}
	s->nopened = kept;
}

void server_listeners_for(const struct server *s, const struct config *c, struct front_swap *f)
{
	const struct listener_conf **listeners = calloc(s->nopened + 1, sizeof(*listeners));
	int *fds = calloc(s->nopened + 1, sizeof(*fds));
	size_t n = 0;

	must(listeners != NULL && fds != NULL);
	for (size_t i = 0; i < c->listeners.n; i++) {
		const struct listener_conf *l = c->listeners.v[i];

		for (size_t k = 0; k < l->address.n; k++)
			for (size_t o = 0; o < s->nopened; o++)
				if (s->opened[o].wanted && n < s->nopened &&
				    str_eq(s->opened[o].endpoint, l->address.v[k])) {
					listeners[n] = l;
					fds[n++] = s->opened[o].fd;
				}
	}
	f->listeners = listeners;
	f->fds = fds;
	f->nlisteners = n;
}
