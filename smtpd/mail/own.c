/* SPDX-License-Identifier: ISC */
/*
 * What strangers say in these fields' values is reduced to harmless bytes as in
 * trace.c.  Pure.
 */
#include "smtpd/mail/own.h"

#include "smtpd/base/buf.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/mail/fold.h"

#define MARK        16          /* hexadecimal digits: 64 bits */
#define MARKS_MOST  20          /* fields that are looked at; ours stand in front */
#define REASON_MOST 300

bool own_is(const struct field *f)
{
	return str_starts_nocase(f->name, "X-Postern-");
}

str own_quarantine(struct arena *a, const char *by, str reason)
{
	struct fold f;

	fold_init(&f, a);
	fold_add(&f, STR("X-Postern-Quarantine:"));
	fold_word(&f, STR("yes;"));
	fold_word(&f, arena_printf(a, "by=%s%s", by, reason.n > 0 ? ";" : ""));
	if (reason.n > 0)
		fold_quoted(&f, "reason=", str_head(reason, REASON_MOST));
	fold_add(&f, STR("\r\n"));
	return fold_str(&f);
}

/* ---- copies ---------------------------------------------------------------------- */

str own_mark(struct arena *a, const unsigned char secret[static OWN_SECRET], str id, str address)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char mac[32];
	char text[MARK];
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	buf_add(&b, STR("copy\n"));
	buf_add(&b, id);
	buf_add_char(&b, '\n');
	for (size_t i = 0; i < address.n; i++)
		buf_add_char(&b, to_lower(address.p[i]));
	hmac_sha256((str){ (const char *)secret, OWN_SECRET }, buf_str(&b), mac);
	for (size_t i = 0; i < MARK; i++)
		text[i] = digits[i % 2 ? mac[i / 2] & 15 : mac[i / 2] >> 4];
	id = b.failed ? STR_NONE : str_keep(a, (str){ text, MARK });
	buf_fini(&b);
	return id;
}

str own_copy_id(struct arena *a, str id, str mark)
{
	return arena_printf(a, "X-Postern-Copy-Id: %.*s %.*s\r\n", STR_ARG(fold_safe(a, id)), STR_ARG(mark));
}

static bool is_mark_for(struct arena *a, const unsigned char *secret, str value, str address)
{
	str all = str_trim(value), id = all, mark, want;

	for (size_t i = all.n; i-- > 0;)
		if (is_wsp(all.p[i]) || all.p[i] == '\r' || all.p[i] == '\n')
			id.n = i;
	mark = str_trim(str_skip(all, id.n));
	if (mark.n != MARK)
		return false;
	want = own_mark(a, secret, id, address);
	return want.n == MARK && crypt_equal(mark.p, want.p, MARK);
}

bool own_was_copied(struct arena *a, const unsigned char secret[static OWN_SECRET], const struct fields *f, str address)
{
	size_t looked = 0;

	for (size_t i = 0; i < f->n && looked < MARKS_MOST; i++)
		if (field_is(&f->v[i], "X-Postern-Copy-Id")) {
			looked++;
			if (is_mark_for(a, secret, f->v[i].value, address))
				return true;
		}
	return false;
}

static str client_field(struct arena *a, const struct own_copy *c)
{
	struct fold f;

	if (c->ip.n == 0)
		return STR_NONE;
	fold_init(&f, a);
	fold_add(&f, STR("X-Postern-Copy-Client:"));
	fold_word(&f, arena_printf(a, "[%s%.*s]", str_holds(c->ip, ':') ? "IPv6:" : "", STR_ARG(fold_safe(a, c->ip))));
	if (c->ptr.n > 0)
		fold_word(&f, fold_safe(a, c->ptr));
	if (c->helo.n > 0)
		fold_quoted(&f, "helo=", c->helo);
	fold_add(&f, STR("\r\n"));
	return fold_str(&f);
}

static str to_field(struct arena *a, const struct own_copy *c)
{
	struct fold f;

	fold_init(&f, a);
	fold_add(&f, STR("X-Postern-Copy-To:"));
	for (size_t i = 0; i < c->nrcpts; i++)
		fold_word(&f, arena_printf(a, "<%.*s>%s", STR_ARG(fold_safe(a, c->rcpts[i]->text)), i + 1 < c->nrcpts ? "," : ""));
	fold_add(&f, STR("\r\n"));
	return fold_str(&f);
}

str own_copy_fields(struct arena *a, const struct own_copy *c)
{
	char date[40];
	str id = own_copy_id(a, c->id, c->mark), client = client_field(a, c), to = to_field(a, c), out;
	str login = c->login.n == 0 ? STR_NONE
	                            : arena_printf(a, "X-Postern-Copy-Login: %.*s\r\n", STR_ARG(fold_safe(a, c->login)));

	out = arena_printf(a, "%.*sX-Postern-Copy-Date: %.*s\r\n%.*s%.*sX-Postern-Copy-From: <%.*s>\r\n%.*s", STR_ARG(id),
	                   STR_ARG(clock_date(c->when, date)), STR_ARG(client), STR_ARG(login),
	                   STR_ARG(fold_safe(a, c->sender)), STR_ARG(to));
	return a->spent || id.n == 0 || to.n == 0 ? STR_NONE : out;
}

/* ---- loops --------------------------------------------------------------------------- */

bool own_was_delivered(const struct fields *f, str address)
{
	for (size_t i = 0; i < f->n; i++)
		if (field_is(&f->v[i], "Delivered-To") && str_eq_nocase(str_trim(f->v[i].value), address))
			return true;
	return false;
}
