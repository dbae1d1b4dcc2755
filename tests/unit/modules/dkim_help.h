/* SPDX-License-Identifier: ISC */
/*
 * dkim_help: a message in memory, its fields and body hashes, for the DKIM units.
 */
#ifndef TESTS_DKIM_HELP_H
#define TESTS_DKIM_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "modules/dkim/dkim.h"

#define RFC_BODY "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"

/* RFC 6376 A.2 */
#define RFC6376_FIELDS                                                      \
	"DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n" \
	"      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n" \
	"      h=Received : From : To : Subject : Date : Message-ID;\r\n"   \
	"      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"        \
	"      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r\n"  \
	"      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r\n"    \
	"      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r\n"    \
	"      4bmp/YzhwvcubU4=;\r\n"                                       \
	"Received: from client1.football.example.com  [192.0.2.1]\r\n"      \
	"      by submitserver.example.com with SUBMISSION;\r\n"            \
	"      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n"

#define RFC_FIELDS                                                   \
	"From: Joe SixPack <joe@football.example.com>\r\n"           \
	"To: Suzie Q <suzie@shopping.example.net>\r\n"               \
	"Subject: Is dinner ready?\r\n"                              \
	"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"            \
	"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"

#define RFC6376_KEY                                                             \
	"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/" \
	"DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2" \
	"UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNU" \
	"YckcQ2QIDAQAB"

/* RFC 8463 A.3 */
#define RFC8463_FIELDS                                                       \
	"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"      \
	" d=football.example.com; i=@football.example.com;\r\n"              \
	" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"            \
	" subject : date : message-id : from : subject : date;\r\n"          \
	" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"              \
	" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"    \
	" Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"                              \
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"          \
	" d=football.example.com; i=@football.example.com;\r\n"              \
	" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"      \
	" date : message-id : from : subject : date;\r\n"                    \
	" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"              \
	" b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n"    \
	" DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n"    \
	" dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"

#define RFC8463_ED25519_KEY "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define RFC8463_RSA_KEY                                                        \
	"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V" \
	"6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC" \
	"/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOT" \
	"IKT+l/K4w3QIDAQAB"

struct mail {
	struct arena     arena;
	struct splitter  splitter;
	struct fields   *fields;
	str              body;
};

static inline void mail_read(struct mail *m, str text)
{
	str back = STR_NONE;

	arena_init(&m->arena, ARENA_UNBOUNDED);
	splitter_init(&m->splitter, &m->arena, SIZE_MAX, SIZE_MAX, SIZE_MAX);
	size_t used = splitter_feed(&m->splitter, text, &back);

	assert_int_equal(back.n, 0);
	if (!m->splitter.done)
		splitter_end(&m->splitter, &back);
	m->fields = &m->splitter.fields;
	m->body = str_skip(text, used);
}

static inline void mail_drop(struct mail *m)
{
	splitter_fini(&m->splitter);
	arena_fini(&m->arena);
}

static inline str mail_hash(struct mail *m, enum canon c, uint64_t length, uint64_t *whole)
{
	struct bodyhash *h = bodyhash_new(&m->arena);
	int wish = bodyhash_wish(h, c, DIGEST_SHA256, length);

	assert_true(wish >= 0);
	bodyhash_feed(h, m->body);
	bodyhash_end(h);
	str hash = str_keep(&m->arena, bodyhash_result(h, wish));

	*whole = bodyhash_length(h, wish);
	bodyhash_drop(h);
	return hash;
}

/* The which-th DKIM-Signature judged with a key record of this text. */
static inline struct dkim_verdict mail_judge(struct mail *m, size_t which, const char *record)
{
	struct dkim_verdict v = { 0 };
	struct dkim_key key;
	const struct field *f = NULL;

	for (size_t i = 0; i < m->fields->n && f == NULL; i++)
		if (field_is(&m->fields->v[i], "DKIM-Signature") && which-- == 0)
			f = &m->fields->v[i];
	assert_non_null(f);
	dkim_signature_parse(&m->arena, f, DKIM_SIGNATURE, &v.sig);
	if (v.sig.fault != NULL) {
		v.result = DKIM_PERMERROR;
		v.reason = str_of(v.sig.fault);
		return v;
	}
	dkim_key_parse(&m->arena, str_of(record), v.sig.algorithm, &key);
	struct dkim_evidence e = {
		.arena = &m->arena, .index = dkim_index_new(&m->arena, m->fields, true), .key = &key, .minimum_bits = 1024,
	};

	e.body_hash = mail_hash(m, v.sig.body_canon, v.sig.has_length ? v.sig.length : BODYHASH_WHOLE, &e.body_length);
	dkim_judge(&e, &v);
	dkim_key_drop(&key);
	return v;
}

static inline bool str_has(str s, const char *part)
{
	size_t n = strlen(part);

	for (size_t i = 0; n > 0 && i + n <= s.n; i++)
		if (memcmp(s.p + i, part, n) == 0)
			return true;
	return n == 0;
}

#endif
