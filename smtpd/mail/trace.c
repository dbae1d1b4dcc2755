/* SPDX-License-Identifier: ISC */
/*
 * trace: the fields that tell a message's way.  Whatever a client says about
 * itself is reduced to bytes that cannot end a word.  Any thread.
 */
#include "smtpd/mail/trace.h"

#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/fold.h"
#include "smtpd/mail/lex.h"

#define HOST_MAX 255

/* RFC 3848, RFC 6531 4.3: [UTF8](SMTP|ESMTP|LMTP)[S][A] */
static str with_keyword(struct arena *a, const struct trace *t)
{
	const char *base = t->lmtp			   ? "LMTP"
			   : t->utf8			   ? "SMTP"
			   : t->esmtp || t->tls || t->auth ? "ESMTP"
							   : "SMTP";

	return arena_printf(a, "%s%s%s%s", t->utf8 ? "UTF8" : "", base, t->tls ? "S" : "",
			    t->auth ? "A" : "");
}

/* A name or literal as it is; else what is left of it in harmless letters. */
static str safe_host(struct arena *a, str host)
{
	str   ascii;
	char *p;

	if (host.n == 0)
		return STR("unknown");
	if (literal_to_text(a, host, &ascii) || domain_to_ascii(a, host, &ascii))
		return ascii;
	host = str_head(host, HOST_MAX);
	p = arena_alloc(a, host.n);
	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < host.n; i++)
		p[i] = is_alnum(host.p[i]) || host.p[i] == '-' || host.p[i] == '_' ||
				       (host.p[i] == '.' && i && p[i - 1] != '.' && i + 1 < host.n)
			       ? host.p[i]
			       : '?';
	return (str){ p, host.n };
}

static str ip_literal(struct arena *a, str ip)
{
	return arena_printf(a, "[%s%.*s]", str_holds(ip, ':') ? "IPv6:" : "", STR_ARG(ip));
}

/* from NAME (PTR [IP]) */
static void add_client(struct fold *f, const struct trace *t)
{
	str ip = ip_literal(f->arena, fold_safe(f->arena, t->ip));
	str tcp = arena_printf(f->arena, "(%.*s %.*s)", STR_ARG(safe_host(f->arena, t->ptr)),
			       STR_ARG(ip));

	fold_word(f, STR("from"));
	fold_word(f, safe_host(f->arena, t->helo));
	fold_word(f, tcp);
	fold_line(f);
}

static void add_tls(struct fold *f, const struct trace *t)
{
	if (!t->tls || t->tls_version.n == 0)
		return;
	fold_line(f);
	fold_comment(f, arena_printf(f->arena, "version=%.*s cipher=%.*s bits=%u",
				     STR_ARG(t->tls_version), STR_ARG(t->tls_cipher), t->tls_bits));
}

static void add_date(struct fold *f, int64_t when)
{
	char date[40];

	fold_add(f, STR(";"));
	fold_line(f);
	fold_add(f, clock_date(when, date));
}

str trace_received(struct arena *a, const struct trace *t)
{
	bool        client = t->ip.n != 0 && !t->hide_client;
	struct fold f;

	fold_init(&f, a);
	fold_add(&f, STR("Received:"));
	if (client)
		add_client(&f, t);
	fold_word(&f, STR("by"));
	fold_word(&f, safe_host(a, t->by));
	fold_word(&f, STR("(postern)"));
	if (t->ip.n != 0 || t->esmtp || t->hide_client) {
		fold_word(&f, STR("with"));
		fold_word(&f, with_keyword(a, t));
	}
	fold_word(&f, STR("id"));
	fold_word(&f, fold_safe(a, t->id));
	if (t->for_rcpt.n) {
		fold_line(&f);
		fold_word(&f, arena_printf(a, "for <%.*s>", STR_ARG(fold_safe(a, t->for_rcpt))));
	}
	add_tls(&f, t);
	add_date(&f, t->when);
	fold_add(&f, STR("\r\n"));
	return fold_str(&f);
}

str trace_return_path(struct arena *a, str sender)
{
	return arena_printf(a, "Return-Path: <%.*s>\r\n", STR_ARG(fold_safe(a, sender)));
}

str trace_delivered_to(struct arena *a, str rcpt)
{
	return arena_printf(a, "Delivered-To: %.*s\r\n", STR_ARG(fold_safe(a, rcpt)));
}

str trace_date(struct arena *a, int64_t when)
{
	char date[40];

	return arena_printf(a, "Date: %.*s\r\n", STR_ARG(clock_date(when, date)));
}

str trace_message_id(struct arena *a, str id, str host)
{
	return arena_printf(a, "Message-ID: <%.*s@%.*s>\r\n", STR_ARG(fold_safe(a, id)),
			    STR_ARG(fold_safe(a, host)));
}

/* dot-atom of RFC 7208 9.1's key-value-pair */
static bool is_dot_atom(str s)
{
	if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && (s.p[i] == '\0' || strchr("-_+./", s.p[i]) == NULL))
			return false;
	return true;
}

static void add_pair(struct fold *f, const char *key, str value, bool *more)
{
	if (value.n == 0)
		return;
	if (*more)
		fold_add(f, STR(";"));
	*more = true;
	if (is_dot_atom(value) && value.n < HOST_MAX)
		fold_word(f, arena_printf(f->arena, "%s%.*s", key, STR_ARG(value)));
	else
		fold_quoted(f, key, value);
}

str trace_received_spf(struct arena *a, const struct trace_spf *s)
{
	struct fold f;
	bool        more = false;

	fold_init(&f, a);
	fold_add(&f, STR("Received-SPF:"));
	fold_word(&f, fold_safe(a, s->result));
	if (s->comment.n)
		fold_comment(&f, s->comment);
	fold_line(&f);
	add_pair(&f, "client-ip=", s->client_ip, &more);
	add_pair(&f, "envelope-from=", s->envelope_from, &more);
	add_pair(&f, "helo=", s->helo, &more);
	add_pair(&f, "receiver=", s->receiver, &more);
	add_pair(&f, "identity=", s->identity, &more);
	add_pair(&f, "mechanism=", s->mechanism, &more);
	add_pair(&f, "problem=", s->problem, &more);
	fold_add(&f, STR("\r\n"));
	return fold_str(&f);
}

/* A run of bytes that neither end a value nor begin a comment or a quote. */
static str plain_word(struct lex *l, const char *ends)
{
	size_t n = 0;
	str    word;

	while (n < l->in.n && (unsigned char)l->in.p[n] > ' ' && l->in.p[n] != 0x7f &&
	       strchr(ends, l->in.p[n]) == NULL)
		n++;
	word = str_head(l->in, n);
	l->in = str_skip(l->in, n);
	return word;
}

static bool read_value(struct arena *a, struct lex *l, str *value)
{
	struct lex_token t;
	struct buf       b;

	lex_space(l);
	if (l->in.n == 0 || l->in.p[0] != '"') {
		*value = plain_word(l, ";(\"");
		return true;
	}
	lex_next(l, &t);
	if (t.kind != LEX_QUOTED)
		return false;
	buf_init(&b, BUF_UNBOUNDED);
	lex_unquote(&b, t.text);
	*value = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return value->p != NULL || t.text.n == 0;
}

static bool ate(struct lex *l, char c)
{
	lex_space(l);
	if (l->in.n == 0 || l->in.p[0] != c)
		return false;
	l->in = str_skip(l->in, 1);
	return true;
}

bool trace_received_spf_receiver(struct arena *a, str value, str *receiver)
{
	struct lex l = { .in = value };
	size_t     found = 0;

	lex_space(&l);
	plain_word(&l, ";(\"=");                /* the result */
	for (lex_space(&l); l.in.n; lex_space(&l)) {
		str key = plain_word(&l, ";(\"="), v;

		if (key.n == 0 || !ate(&l, '=') || !read_value(a, &l, &v))
			return false;
		if (str_is_nocase(key, "receiver") && found++ == 0)
			*receiver = v;
		if (!ate(&l, ';') && l.in.n)
			return false;
	}
	return found == 1 && receiver->n != 0 && !l.broken;
}
