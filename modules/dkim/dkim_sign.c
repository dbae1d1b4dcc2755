/* SPDX-License-Identifier: ISC */
/*
 * dkim_sign: writes a DKIM-Signature (RFC 6376 3.5, 5) or an
 * ARC-Message-Signature (RFC 8617 4.1.2).
 *
 * The default list of names is oversigned: each name stands in h= once more
 * often than the message has it, so that a second From or Subject put in later
 * breaks the signature.  Lines are folded at 78 columns.  Any thread.
 */
#include "modules/dkim/dkim.h"

#include <string.h>

#define COLUMNS 78

/* Not Sender, Received or Return-Path: others on the way write these. */
static const char *const default_headers[] = {
	"From", "To", "Cc", "Subject", "Date", "Reply-To", "Message-ID", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "List-Unsubscribe",
};

struct folder {
	struct buf text;
	size_t     column;
};

static void put(struct folder *f, str s)
{
	buf_add(&f->text, s);
	f->column += s.n;
}

/* A piece of three parts that stays whole, on this line if it fits; `glued`
 * pieces need no space before them when it does. */
static void piece_of(struct folder *f, const str parts[static 3], bool glued)
{
	if (f->column + !glued + parts[0].n + parts[1].n + parts[2].n > COLUMNS) {
		buf_add(&f->text, STR("\r\n "));
		f->column = 1;
	} else if (!glued) {
		put(f, STR(" "));
	}
	for (size_t i = 0; i < 3; i++)
		put(f, parts[i]);
}

static void piece(struct folder *f, str s, bool glued)
{
	piece_of(f, (str[]){ s, STR_NONE, STR_NONE }, glued);
}

/* A tag and its value: "d=" "example.org" ";". */
static void tag(struct folder *f, str name, str value)
{
	piece_of(f, (str[]){ name, value, STR(";") }, false);
}

/* Text that may break anywhere: base64. */
static void stretch(struct folder *f, str s)
{
	while (s.n > 0) {
		size_t room = f->column < COLUMNS ? COLUMNS - f->column : 0;
		str head = str_head(s, room);

		put(f, head);
		s = str_skip(s, head.n);
		if (s.n > 0) {
			buf_add(&f->text, STR("\r\n "));
			f->column = 1;
		}
	}
}

static bool plain(char c)
{
	return c > 32 && c < 127 && c != ';' && c != '=' && c != '|';
}

/* dkim-quoted-printable (RFC 6376 2.11). */
static str identity_text(struct arena *a, str identity)
{
	static const char hex[] = "0123456789ABCDEF";
	char *p = arena_alloc(a, identity.n * 3 + 1);
	size_t n = 0;

	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < identity.n; i++) {
		unsigned char c = (unsigned char)identity.p[i];

		if (plain((char)c)) {
			p[n++] = (char)c;
			continue;
		}
		p[n++] = '=';
		p[n++] = hex[c >> 4];
		p[n++] = hex[c & 15];
	}
	return (str){ p, n };
}

static enum err headers_default(struct arena *a, const struct dkim_index *x, struct dkim_signature *sig)
{
	/* Each of them once: the next on the way may sign, too (RFC 8617 4.1.2). */
	size_t signatures = sig->kind == DKIM_ARC_MESSAGE ? dkim_index_count(x, STR("DKIM-Signature")) : 0;
	size_t n = signatures;

	for (size_t i = 0; i < COUNT(default_headers); i++)
		n += dkim_index_count(x, str_of(default_headers[i])) + 1;
	sig->h = ARENA_ARRAY(a, str, n);
	if (sig->h == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < COUNT(default_headers); i++) {
		size_t times = dkim_index_count(x, str_of(default_headers[i])) + 1;

		while (times-- > 0)
			sig->h[sig->nh++] = str_of(default_headers[i]);
	}
	while (signatures-- > 0)
		sig->h[sig->nh++] = STR("DKIM-Signature");
	/* A verifier may stop reading a list that long; nothing honest has it. */
	return sig->nh > DKIM_H_MAX ? ERR_BAD : OK;
}

static enum err headers_given(const struct strs *given, struct dkim_signature *sig)
{
	sig->h = given->v;
	sig->nh = given->n;
	for (size_t i = 0; i < given->n; i++)
		if (str_is_nocase(given->v[i], "From"))
			return given->n > DKIM_H_MAX ? ERR_BAD : OK;
	return ERR_BAD;
}

static const char *canon_text(enum canon c)
{
	return c == CANON_RELAXED ? "relaxed" : "simple";
}

/* All up to and including "b=". */
static void field_begin(struct arena *a, struct folder *f, const struct dkim_signer *s,
                        const struct dkim_signature *sig, unsigned instance, str body_hash, int64_t now)
{
	bool arc = sig->kind == DKIM_ARC_MESSAGE;

	put(f, arc ? arena_printf(a, "ARC-Message-Signature: i=%u;", instance) : STR("DKIM-Signature: v=1;"));
	piece(f, str_of(key_kind(s->key) == KEY_ED25519 ? "a=ed25519-sha256;" : "a=rsa-sha256;"), false);
	piece(f, arena_printf(a, "c=%s/%s;", canon_text(s->header_canon), canon_text(s->body_canon)), false);
	tag(f, STR("d="), s->domain);
	tag(f, STR("s="), s->selector);
	if (s->identity.n > 0 && !arc)
		tag(f, STR("i="), identity_text(a, s->identity));
	piece(f, arena_printf(a, "t=%lld;", (long long)now), false);
	if (s->expire_s > 0)
		piece(f, arena_printf(a, "x=%lld;", (long long)(now + s->expire_s)), false);
	for (size_t i = 0; i < sig->nh; i++)
		piece_of(f, (str[]){ i == 0 ? STR("h=") : STR_NONE, sig->h[i], i + 1 < sig->nh ? STR(":") : STR(";") }, i > 0);
	piece(f, STR("bh="), false);
	stretch(f, base64_encode(a, body_hash));
	put(f, STR(";"));
	piece(f, STR("b="), false);
}

static void digested(void *arg, str bytes)
{
	digest_add(arg, bytes);
}

static enum err header_sign(const struct dkim_signer *s, struct dkim_index *x, const struct dkim_signature *sig,
                            unsigned char out[static SIGNATURE_MAX], size_t *n)
{
	struct digest d;
	unsigned char hash[DIGEST_MAX];
	enum err e = digest_begin(&d, DIGEST_SHA256);

	if (e != OK)
		return e;
	dkim_header_bytes(x, sig, digested, &d);
	size_t len = digest_end(&d, hash);

	return key_sign(s->key, DIGEST_SHA256, (str){ (const char *)hash, len }, out, n);
}

int dkim_sign_wish(const struct dkim_signer *s, struct bodyhash *b)
{
	return bodyhash_wish(b, s->body_canon, DIGEST_SHA256, BODYHASH_WHOLE);
}

static enum err field_finish(const struct dkim_signer *s, struct dkim_index *x, struct dkim_signature *sig,
                             struct arena *a, struct folder *f, str *out)
{
	unsigned char b[SIGNATURE_MAX];
	size_t n = 0;
	struct field own = { .raw = buf_str(&f->text) };

	sig->field = &own;
	enum err e = header_sign(s, x, sig, b, &n);

	if (e != OK)
		return e;
	stretch(f, base64_encode(a, (str){ (const char *)b, n }));
	put(f, STR("\r\n"));
	*out = str_keep(a, buf_str(&f->text));
	return f->text.failed || a->spent ? ERR_MEMORY : OK;
}

static enum err field_make(const struct dkim_signer *s, enum dkim_kind kind, unsigned instance,
                           const struct fields *fields, str body_hash, int64_t now, struct arena *a, str *field)
{
	struct dkim_index *x = dkim_index_new(a, fields, false);
	struct dkim_signature sig = { .kind = kind, .header_canon = s->header_canon, .body_canon = s->body_canon };
	struct folder f = { .column = 0 };

	if (x == NULL)
		return ERR_MEMORY;
	enum err e = s->headers != NULL ? headers_given(s->headers, &sig) : headers_default(a, x, &sig);

	if (e != OK)
		return e;
	buf_init(&f.text, BUF_UNBOUNDED);
	field_begin(a, &f, s, &sig, instance, body_hash, now);
	e = f.text.failed || a->spent ? ERR_MEMORY : field_finish(s, x, &sig, a, &f, field);
	buf_fini(&f.text);
	return e;
}

enum err dkim_sign(const struct dkim_signer *s, const struct fields *fields, str body_hash, int64_t now,
                   struct arena *a, str *field)
{
	return field_make(s, DKIM_SIGNATURE, 0, fields, body_hash, now, a, field);
}

enum err dkim_sign_arc(const struct dkim_signer *s, unsigned instance, const struct fields *fields, str body_hash,
                       int64_t now, struct arena *a, str *field)
{
	return field_make(s, DKIM_ARC_MESSAGE, instance, fields, body_hash, now, a, field);
}
