/* SPDX-License-Identifier: ISC */
/*
 * web: an HTTPS server on loopback with a CA of its own, which answers by the
 * path asked and shows a certificate by the name asked.
 */
#ifndef TESTS_QUEUE_WEB_H
#define TESTS_QUEUE_WEB_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct web_identity { const char *name; X509 *cert; EVP_PKEY *key; };

struct web {
	int             fd;
	uint16_t        port;
	pthread_t       thread;
	_Atomic int     asked, stop;
	SSL_CTX        *ctx;
	struct web_identity of[8];
	size_t          n;
	char            ca_file[200];
	/* Writes the whole answer; may stay silent. */
	void          (*answer)(struct web *, SSL *, const char *path);
};

static inline X509 *web_certificate(EVP_PKEY *key, const char *cn, const char *san, X509 *by, EVP_PKEY *by_key, long from_s, long to_s)
{
	static long serial = 1;
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	X509_EXTENSION *e;
	X509V3_CTX c;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), from_s);
	X509_gmtime_adj(X509_getm_notAfter(x), to_s);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, by != NULL ? X509_get_subject_name(by) : name);
	X509_set_pubkey(x, key);
	X509V3_set_ctx_nodb(&c);
	X509V3_set_ctx(&c, by != NULL ? by : x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &c, NID_basic_constraints, by == NULL ? "critical,CA:TRUE" : "CA:FALSE");
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	if (san != NULL) {
		e = X509V3_EXT_conf_nid(NULL, &c, NID_subject_alt_name, san);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_sign(x, by_key, EVP_sha256());
	return x;
}

static inline void web_add(struct web *w, const char *name, const char *san, X509 *ca, EVP_PKEY *ca_key, long from_s, long to_s)
{
	struct web_identity *i = &w->of[w->n++];

	i->name = name;
	i->key = EVP_EC_gen("P-256");
	i->cert = web_certificate(i->key, name, san, ca, ca_key, from_s, to_s);
}

static inline int web_chooses(SSL *s, int *alert, void *arg)
{
	struct web *w = arg;
	const char *name = SSL_get_servername(s, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	for (size_t i = 0; name != NULL && i < w->n; i++)
		if (strcmp(name, w->of[i].name) == 0) {
			SSL_use_certificate(s, w->of[i].cert);
			SSL_use_PrivateKey(s, w->of[i].key);
		}
	return SSL_TLSEXT_ERR_OK;
}

static inline void web_talks(struct web *w, int fd)
{
	SSL *s = SSL_new(w->ctx);
	char line[4096], path[1000] = "";
	size_t n = 0;
	int got;

	SSL_set_fd(s, fd);
	if (SSL_accept(s) == 1) {
		while (n < sizeof(line) - 1 && (got = SSL_read(s, line + n, (int)(sizeof(line) - 1 - n))) > 0) {
			n += (size_t)got;
			line[n] = '\0';
			if (strstr(line, "\r\n\r\n") != NULL)
				break;
		}
		if (sscanf(line, "GET %999s", path) == 1) {
			atomic_fetch_add(&w->asked, 1);
			w->answer(w, s, path);
			SSL_shutdown(s);
		}
	}
	SSL_free(s);
	close(fd);
}

struct web_talk { struct web *web; int fd; };

static inline void *web_talk_thread(void *arg)
{
	struct web_talk *t = arg;

	web_talks(t->web, t->fd);
	free(t);
	return NULL;
}

static inline void *web_thread(void *arg)
{
	struct web *w = arg;
	pthread_t talking[200];
	size_t n = 0;
	int fd;

	while ((fd = accept(w->fd, NULL, NULL)) >= 0 && !atomic_load(&w->stop) && n < 200) {
		struct web_talk *t = malloc(sizeof(*t));

		*t = (struct web_talk){ w, fd };
		if (pthread_create(&talking[n], NULL, web_talk_thread, t) == 0)
			n++;
	}
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < n; i++)
		pthread_join(talking[i], NULL);
	return NULL;
}

static inline void web_write_ca(struct web *w, const char *folder, X509 *ca)
{
	FILE *f;

	snprintf(w->ca_file, sizeof(w->ca_file), "%s/ca.pem", folder);
	f = fopen(w->ca_file, "w");
	PEM_write_X509(f, ca);
	fclose(f);
}

/* Names: good.test expired.test future.test other.test (shows somebody else's)
 * stranger.test (of an unknown CA) cn.test (no subjectAltName), mta-sts.DOMAIN. */
static inline void web_start(struct web *w, const char *folder, const char *domain, void (*answer)(struct web *, SSL *, const char *))
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(at);
	EVP_PKEY *key = EVP_EC_gen("P-256"), *key2 = EVP_EC_gen("P-256");
	X509 *ca = web_certificate(key, "Test CA", NULL, NULL, key, -3600, 86400);
	X509 *ca2 = web_certificate(key2, "Unknown CA", NULL, NULL, key2, -3600, 86400);
	static char sts[300], sts_san[400];

	*w = (struct web){ .answer = answer };
	web_write_ca(w, folder, ca);
	snprintf(sts, sizeof(sts), "mta-sts.%s", domain);
	snprintf(sts_san, sizeof(sts_san), "DNS:%s", sts);
	web_add(w, "good.test", "DNS:good.test", ca, key, -3600, 86400);
	web_add(w, "expired.test", "DNS:expired.test", ca, key, -7200, -60);
	web_add(w, "future.test", "DNS:future.test", ca, key, 3600, 86400);
	web_add(w, "other.test", "DNS:elsewhere.test", ca, key, -3600, 86400);
	web_add(w, "stranger.test", "DNS:stranger.test", ca2, key2, -3600, 86400);
	web_add(w, "cn.test", NULL, ca, key, -3600, 86400);
	web_add(w, sts, sts_san, ca, key, -3600, 86400);
	X509_free(ca);
	X509_free(ca2);
	EVP_PKEY_free(key);
	EVP_PKEY_free(key2);
	w->ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_use_certificate(w->ctx, w->of[0].cert);
	SSL_CTX_use_PrivateKey(w->ctx, w->of[0].key);
	SSL_CTX_set_tlsext_servername_callback(w->ctx, web_chooses);
	SSL_CTX_set_tlsext_servername_arg(w->ctx, w);
	w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(w->fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(w->fd, 64) != 0 ||
	    getsockname(w->fd, (struct sockaddr *)&at, &n) != 0 || pthread_create(&w->thread, NULL, web_thread, w) != 0)
		abort();
	w->port = ntohs(at.sin_port);
}

static inline void web_stop(struct web *w)
{
	atomic_store(&w->stop, 1);
	shutdown(w->fd, SHUT_RDWR);
	pthread_join(w->thread, NULL);
	close(w->fd);
	SSL_CTX_free(w->ctx);
	for (size_t i = 0; i < w->n; i++) {
		X509_free(w->of[i].cert);
		EVP_PKEY_free(w->of[i].key);
	}
	unlink(w->ca_file);
}

static inline void web_say(SSL *s, const char *text)
{
	SSL_write(s, text, (int)strlen(text));
}

#endif
