/* SPDX-License-Identifier: ISC */
/*
 * house_help: whole messages through spf, dkim, dmarc and the historic methods
 * (off unless a test switches them on), over a DNS in memory that counts its
 * questions.
 */
#ifndef TESTS_HOUSE_HELP_H
#define TESTS_HOUSE_HELP_H

#include <fcntl.h>
#include <stdio.h>

#include "modules/adsp/adsp.h"
#include "modules/arc/arc.h"
#include "modules/authn.h"
#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/senderid/senderid.h"
#include "modules/spf/spf.h"
#include "smtpd/base/dns_local.h"
#include "tests/unit/modules/dkim_help.h"

static const struct module *const house_modules[] = {
	&spf_module, &dkim_module, &dmarc_module, &domainkeys_module, &senderid_module, &adsp_module, &arc_module, NULL,
};
enum { HOUSE_SPF, HOUSE_DKIM, HOUSE_DMARC, HOUSE_DOMAINKEYS, HOUSE_SENDERID, HOUSE_ADSP, HOUSE_ARC, HOUSE_MODULES };

struct house {
	struct arena       arena, msg_arena;
	struct loop       *loop;
	struct dns        *dns;
	struct dns_source  source, *inner;
	char               asked[8192];
	struct chain      *chain;
	struct chain_conn *conn;
	struct peer        peer;
	struct message     in;
	struct splitter    splitter;
	void              *confs[HOUSE_MODULES];
	str                field;           /* Authentication-Results */
	struct buf         zone;
	struct trust      *trust;           /* before the message arrives; may be NULL */
};

static struct house *house_now;

static void house_start(struct dns_source *s, struct dns_question *q)
{
	struct house *h = house_now;
	size_t at = strlen(h->asked);
	str name = dns_question_name(q);

	(void)s;
	snprintf(h->asked + at, sizeof(h->asked) - at, "%.*s ", STR_ARG(name));
	h->inner->start(h->inner, q);
}

static void house_cancel(struct dns_source *s, struct dns_question *q)
{
	(void)s;
	if (house_now->inner->cancel != NULL)
		house_now->inner->cancel(house_now->inner, q);
}

static void house_close(struct dns_source *s)
{
	(void)s;
	house_now->inner->close(house_now->inner);
}

static int house_open(str path)
{
	(void)path;
	return open("/dev/null", O_RDONLY);
}

/* Every module's defaults, by its own table. */
static void house_defaults(struct house *h)
{
	struct conf_section sections[HOUSE_MODULES];
	const struct conf_section *list[HOUSE_MODULES + 1] = { NULL };
	struct conf_section root = { .sections = list, .size = 64 };
	struct conf_faults faults = { 0 };

	for (size_t i = 0; i < HOUSE_MODULES; i++) {
		sections[i] = *house_modules[i]->section;
		sections[i].offset = root.size;
		list[i] = &sections[i];
		root.size += (sections[i].size + 63) / 64 * 64;
	}
	char *all = arena_alloc(&h->arena, root.size);

	assert_int_equal(conf_read("empty", house_open, &root, all, &h->arena, &faults), OK);
	for (size_t i = 0; i < HOUSE_MODULES; i++)
		h->confs[i] = all + sections[i].offset;
}

static inline void house_begin(struct house *h)
{
	memset(h, 0, sizeof(*h));
	house_now = h;
	arena_init(&h->arena, ARENA_UNBOUNDED);
	arena_init(&h->msg_arena, ARENA_UNBOUNDED);
	buf_init(&h->zone, BUF_UNBOUNDED);
	h->loop = loop_new(0, NULL);
	house_defaults(h);
}

static inline void house_end(struct house *h)
{
	splitter_fini(&h->splitter);
	if (h->in.hashes != NULL)
		bodyhash_drop(h->in.hashes);
	if (h->conn != NULL)
		chain_close(h->conn);
	if (h->dns != NULL)
		dns_free(h->dns);
	loop_free(h->loop);
	buf_fini(&h->zone);
	arena_fini(&h->msg_arena);
	arena_fini(&h->arena);
}

static void house_told(struct chain_conn *c, void *user)
{
	(void)c;
	loop_stop(user);
}

static void house_stage(struct house *h, enum say say)
{
	if (say == SAY_WAIT)
		loop_run(h->loop);
}

/* Up to the end of the body; `client` and `sender` may be empty. */
static inline void house_arrive(struct house *h, const char *client, const char *sender, enum origin origin, str text)
{
	str why = STR_NONE, back = STR_NONE;

	buf_add(&h->zone, STR("x.invalid A 192.0.2.1\n"));
	buf_add_char(&h->zone, '\0');
	h->inner = dns_local_source(buf_str(&h->zone).p);
	h->source = (struct dns_source){ house_start, house_cancel, house_close };
	h->dns = dns_with(&h->source, h->loop, 5000);
	h->loop->dns = h->dns;
	h->chain = chain_new(house_modules, (const void *const *)h->confs, &h->arena, &why);
	assert_non_null(h->chain);
	chain_trust(h->chain, h->trust);
	struct sockaddr_in *v4 = (struct sockaddr_in *)&h->peer.addr;

	v4->sin_family = AF_INET;
	v4->sin_addr.s_addr = htonl(0xc0000201);      /* 192.0.2.1 */
	h->peer.ip = STR("192.0.2.1");
	h->peer.helo = str_of(client);
	h->conn = chain_open(h->chain, h->loop, &h->peer, &h->arena, NULL);
	h->in.id = STR("test");
	h->in.origin = origin;
	h->in.now = 1700000000;
	h->in.host = h->in.authserv_id = STR("mx.test");
	if (sender[0] == '\0')
		h->in.sender.is_null = true;
	else
		assert_true(path_of(&h->arena, str_of(sender), &h->in.sender));
	house_stage(h, chain_connect(h->conn, house_told, h->loop));
	house_stage(h, chain_helo(h->conn, h->peer.helo, house_told, h->loop));
	house_stage(h, chain_mail(h->conn, &h->in, &h->msg_arena, NULL, house_told, h->loop));
	splitter_init(&h->splitter, &h->msg_arena, SIZE_MAX, SIZE_MAX, SIZE_MAX);
	size_t used = splitter_feed(&h->splitter, text, &back);

	assert_true(h->splitter.done);
	h->in.fields = &h->splitter.fields;
	h->in.hashes = bodyhash_new(&h->msg_arena);
	for (size_t i = 0; i < h->in.fields->n; i++)
		chain_header(h->conn, &h->in.fields->v[i]);
	from_judge(&h->msg_arena, h->in.fields, &h->in.from);
	chain_body_next(h->conn);
	bodyhash_feed(h->in.hashes, str_skip(text, used));
	chain_body(h->conn, str_skip(text, used));
	bodyhash_end(h->in.hashes);
}

static inline const struct verdict *house_judge(struct house *h, const char *client, const char *sender, str text)
{
	house_arrive(h, client, sender, FROM_STRANGER, text);
	house_stage(h, chain_message(h->conn, house_told, h->loop));
	h->field = authn_field(h->conn, &h->msg_arena, h->in.authserv_id, STR_NONE);
	return chain_verdict(h->conn);
}

/* Signs `text` and publishes the key: a signature by d=domain, s=selector. */
static inline str house_sign(struct house *h, const char *domain, const char *selector, str text, uint64_t length)
{
	struct key *key = key_generate(KEY_ED25519, 0);
	struct dkim_signer s = { .domain = str_of(domain), .selector = str_of(selector), .key = key,
		                 .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED };
	struct mail m;
	str field, record;
	uint64_t whole;

	mail_read(&m, text);
	str hash = mail_hash(&m, CANON_RELAXED, length, &whole);

	assert_int_equal(dkim_sign(&s, m.fields, hash, 1600000000, &h->arena, &field), OK);
	assert_int_equal(dkim_key_record(key, &h->arena, &record), OK);
	buf_addf(&h->zone, "%s._domainkey.%s TXT %.*s\n", selector, domain, STR_ARG(record));
	str out = arena_printf(&h->arena, "%.*s%.*s", STR_ARG(field), STR_ARG(text));

	mail_drop(&m);
	key_free(key);
	return out;
}

/* The field without its folds. */
static inline const char *house_field(struct house *h)
{
	char *p = arena_alloc(&h->arena, h->field.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < h->field.n; i++) {
		char c = h->field.p[i] == '\t' ? ' ' : h->field.p[i];

		if (c != '\r' && c != '\n' && (c != ' ' || n == 0 || p[n - 1] != ' '))
			p[n++] = c;
	}
	return p;
}

static inline size_t house_times(const char *text, const char *part)
{
	size_t n = 0;

	while ((text = strstr(text, part)) != NULL)
		n++, text++;
	return n;
}

#endif
