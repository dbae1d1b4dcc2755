/* SPDX-License-Identifier: ISC */
/*
 * dsn: delivery status notifications (RFC 3464; RFC 6522 multipart/report;
 * RFC 6533 when the way is UTF-8).
 *
 * Three parts: what happened in plain words, the same for programs, and the
 * original or its header.  What peers said is made printable and wrapped, so
 * no line passes 998 octets.  Any thread.
 */
#include "smtpd/mail/dsn.h"

#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/field.h"
#include "smtpd/mail/fold.h"
#include "smtpd/mail/orcpt.h"

#define TEXT_WIDTH   72
#define LINE_MAX_    998
#define HEADER_MOST  ((size_t)64 << 10)   /* of the original that comes back as header alone */
#define SUBJECT_MOST 150

static const struct kind {
	const char *action;          /* RFC 3464 2.3.3 */
	const char *status;          /* when none was given */
	const char *subject, *intro;
} kinds[] = {
	[DSN_FAILED] = {"failed", "5.0.0", "Not delivered",
			"Your message could not be delivered to the recipients below. No further "
			"attempt will be made."},
	[DSN_DELAYED] = {"delayed", "4.0.0", "Delayed",
			 "Your message has not reached the recipients below yet. Attempts "
			 "continue, and you need not send it again; you will hear from this server "
			 "if they fail in the end."},
	[DSN_DELIVERED] = {"delivered", "2.0.0", "Delivered",
			   "Your message was delivered to the recipients below."},
	[DSN_RELAYED] = {"relayed", "2.0.0", "Relayed",
			 "Your message was handed on for the recipients below, to a server that "
			 "does not report whether it arrives."},
	[DSN_EXPANDED] = {"expanded", "2.0.0", "Delivered to a list",
			  "Your message was delivered to the list addresses below, which send it "
			  "on to their members."},
};

struct writer {
	struct buf       *out;
	const struct dsn *d;
	struct arena      arena;
	char              boundary[33];
};

static bool has_8bit(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

/* Made of what only we know together; the same in dsn_write and dsn_end. */
static void make_boundary(const struct dsn *d, char boundary[static 33])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char     sum[DIGEST_MAX];
	struct buf        b;

	buf_init(&b, BUF_UNBOUNDED);
	buf_addf(&b, "%.*s %.*s %.*s %lld", STR_ARG(d->message_id), STR_ARG(d->id),
		 STR_ARG(d->host), (long long)d->now);
	digest_of(DIGEST_SHA256, buf_str(&b), sum);
	buf_fini(&b);
	for (size_t i = 0; i < 16; i++) {
		boundary[2 * i] = hex[sum[i] >> 4];
		boundary[2 * i + 1] = hex[sum[i] & 15];
	}
	boundary[32] = '\0';
}

/* Printable; ASCII too, unless the way is UTF-8.  Line breaks become spaces. */
static str shown(struct writer *w, str s)
{
	str   safe = fold_safe(&w->arena, s);
	char *p = (char *)safe.p;

	for (size_t i = 0; i < safe.n; i++) {
		if (s.p[i] == '\n' || s.p[i] == '\r' || s.p[i] == '\t')
			p[i] = ' ';
		else if ((unsigned char)p[i] >= 0x80 && !w->d->utf8)
			p[i] = '?';
	}
	return safe;
}

/* "Name: text", folded between words. */
static void add_field(struct writer *w, const char *name, str text)
{
	struct fold f;
	str         word;

	fold_init(&f, &w->arena);
	fold_add(&f, arena_printf(&w->arena, "%s:", name));
	for (str rest = text; str_cut(&rest, ' ', &word);)
		if (word.n)
			fold_word(&f, word);
	fold_add(&f, STR("\r\n"));
	w->out->failed |= f.failed;
	buf_add(w->out, fold_str(&f));
}

static void add_date(struct writer *w, const char *name, int64_t when)
{
	char text[40];

	add_field(w, name, clock_date(when, text));
}

/* A paragraph of words at this indent. */
static void add_text(struct writer *w, size_t indent, str text)
{
	size_t column = 0;
	str    word;

	while (str_cut(&text, ' ', &word)) {
		if (word.n == 0)
			continue;
		if (column && column + 1 + word.n > TEXT_WIDTH) {
			buf_add(w->out, STR("\r\n"));
			column = 0;
		}
		if (column == 0)
			buf_addf(w->out, "%*s", (int)indent, "");
		else
			buf_add_char(w->out, ' ');
		column += column ? 1 + word.n : indent + word.n;
		buf_add(w->out, word);
	}
	buf_add(w->out, STR("\r\n"));
}

static void add_text_c(struct writer *w, size_t indent, const char *text)
{
	add_text(w, indent, str_of(text));
}

static void add_blank(struct writer *w)
{
	buf_add(w->out, STR("\r\n"));
}

/* The worst of them names the whole. */
static enum dsn_action worst(const struct dsn *d)
{
	enum dsn_action a = DSN_EXPANDED;

	for (size_t i = 0; i < d->nrcpts; i++)
		if (d->rcpts[i].action < a)
			a = d->rcpts[i].action;
	return a;
}

static str subject_cut(struct writer *w)
{
	str s = shown(w, str_head(field_unfold(&w->arena, w->d->subject_of), SUBJECT_MOST));

	return has_8bit(w->d->subject_of) && !w->d->utf8 ? STR_NONE : str_trim(s);
}

/* The original's Message-ID, for In-Reply-To: mail programs show both together. */
static str original_id(struct writer *w)
{
	const struct field *f;
	struct splitter     s;
	str                 back, id = STR_NONE;

	splitter_init(&s, &w->arena, HEADER_MOST, HEADER_MOST, 2000);
	splitter_feed(&s, str_head(w->d->original_header, HEADER_MOST), &back);
	splitter_end(&s, &back);
	f = fields_first(&s.fields, "Message-ID");
	if (f != NULL)
		id = field_unfold(&w->arena, f->value);
	splitter_fini(&s);
	if (id.n < 3 || id.n > 500 || id.p[0] != '<' || has_8bit(id) || str_holds(id, ' '))
		return STR_NONE;
	return shown(w, id);
}

static str postmaster(struct writer *w)
{
	const struct dsn *d = w->d;

	if (d->postmaster.n > 0)
		return shown(w, d->postmaster);
	return arena_printf(&w->arena, "postmaster@%.*s", STR_ARG(shown(w, d->host)));
}

static void add_header(struct writer *w)
{
	const struct dsn *d = w->d;
	str               subject = subject_cut(w), id = original_id(w);

	add_date(w, "Date", d->now);
	add_field(w, "From",
		  arena_printf(&w->arena, "\"Mail Delivery System\" <%.*s>",
			       STR_ARG(postmaster(w))));
	add_field(w, "To", arena_printf(&w->arena, "<%.*s>", STR_ARG(shown(w, d->to))));
	add_field(w, "Subject",
		  arena_printf(&w->arena, "%s%s%.*s", kinds[worst(d)].subject,
			       subject.n ? ": " : "", STR_ARG(subject)));
	add_field(w, "Message-ID",
		  arena_printf(&w->arena, "<%.*s>", STR_ARG(shown(w, d->message_id))));
	if (id.n) {
		add_field(w, "In-Reply-To", id);
		add_field(w, "References", id);
	}
	add_field(w, "Auto-Submitted", STR("auto-replied"));    /* RFC 3834 5 */
	add_field(w, "MIME-Version", STR("1.0"));
	add_field(w, "Content-Type",
		  arena_printf(&w->arena,
			       "multipart/report; report-type=delivery-status; boundary=\"%s\"",
			       w->boundary));
}

static void begin_part(struct writer *w, const char *type, bool eight_bit)
{
	buf_addf(w->out, "\r\n--%s\r\n", w->boundary);
	add_field(w, "Content-Type", str_of(type));
	add_field(w, "Content-Transfer-Encoding", eight_bit ? STR("8bit") : STR("7bit"));
	add_blank(w);
}

static void add_rcpt_text(struct writer *w, const struct dsn_rcpt *r)
{
	str  said = shown(w, r->said), remote = shown(w, r->remote), advice = shown(w, r->advice);
	char until[40];

	add_text(w, 2, arena_printf(&w->arena, "<%.*s>", STR_ARG(shown(w, r->final))));
	if (said.n && remote.n)
		add_text(w, 6,
			 arena_printf(&w->arena, "The server %.*s answered: %.*s", STR_ARG(remote),
				      STR_ARG(said)));
	else if (said.n)
		add_text(w, 6, said);
	if (r->action == DSN_DELAYED && r->will_retry_until > 0)
		add_text(w, 6, arena_printf(&w->arena, "Attempts go on until %.*s.",
		                            STR_ARG(clock_date(r->will_retry_until, until))));
	if (advice.n)
		add_text(w, 6, arena_printf(&w->arena, "What you can do: %.*s", STR_ARG(advice)));
	add_blank(w);
}

static void add_section(struct writer *w, enum dsn_action action)
{
	bool any = false;

	for (size_t i = 0; i < w->d->nrcpts; i++) {
		if (w->d->rcpts[i].action != action)
			continue;
		if (!any) {
			add_text_c(w, 0, kinds[action].intro);
			add_blank(w);
		}
		any = true;
		add_rcpt_text(w, &w->d->rcpts[i]);
	}
}

static void add_explanation(struct writer *w)
{
	const struct dsn *d = w->d;
	str subject = shown(w, str_head(field_unfold(&w->arena, d->subject_of), SUBJECT_MOST));
	char              date[40];

	begin_part(w, "text/plain; charset=utf-8", d->utf8);
	for (size_t action = 0; action < COUNT(kinds); action++)
		add_section(w, (enum dsn_action)action);
	add_text(w, 0,
		 arena_printf(&w->arena, "The message arrived here on %.*s as number %.*s.",
			      STR_ARG(clock_date(d->arrived, date)), STR_ARG(shown(w, d->id))));
	if (str_trim(subject).n)
		add_text(w, 0, arena_printf(&w->arena, "Its subject: %.*s", STR_ARG(subject)));
	add_blank(w);
	add_text(
		w, 0,
		arena_printf(&w->arena,
			     "The mail server %.*s wrote this notice by itself. For help, write to "
			     "%.*s and quote the number above.",
			     STR_ARG(shown(w, d->host)), STR_ARG(postmaster(w))));
}

static void add_final(struct writer *w, str address)
{
	str kept = address;

	address = str_head(address, 600);
	if (!has_8bit(kept))
		kept = arena_printf(&w->arena, "rfc822; %.*s", STR_ARG(shown(w, address)));
	else if (w->d->utf8)
		kept = arena_printf(&w->arena, "utf-8; %.*s", STR_ARG(shown(w, address)));
	else
		kept = arena_printf(&w->arena, "utf-8; %.*s",
				    STR_ARG(orcpt_encode(&w->arena, utf8_valid(address) ? address
									: shown(w, address), false)));
	add_field(w, "Final-Recipient", kept);
}

static void add_original_recipient(struct writer *w, str orcpt)
{
	size_t semicolon = str_find(orcpt, ';');
	str type = shown(w, str_head(orcpt, semicolon)), address = str_skip(orcpt, semicolon + 1);

	if (semicolon == orcpt.n || address.n == 0)
		return;
	if (!w->d->utf8 && (has_8bit(address) || orcpt_is_utf8(orcpt)))
		address = orcpt_encode(&w->arena, str_head(address, 600), false);
	add_field(w, "Original-Recipient",
		  arena_printf(&w->arena, "%.*s;%.*s", STR_ARG(type), STR_ARG(shown(w, address))));
}

/* "5.1.1", and of the class that the action has; else the action's own. */
static str status_of(struct writer *w, const struct dsn_rcpt *r)
{
	const char *usual = kinds[r->action].status;
	str         rest = r->status, part;
	uint32_t    number;
	size_t      parts = 0;

	while (str_cut(&rest, '.', &part) && parts < 4) {
		if (part.n > 3 || !str_to_u32(part, &number))
			return str_of(usual);
		parts++;
	}
	if (parts != 3 || r->status.p[0] != usual[0] || r->status.p[1] != '.')
		return str_of(usual);
	return shown(w, r->status);
}

/* "mx.example.org[192.0.2.1]" is a name of type dns up to the bracket (RFC 3464 2.3.5). */
static str mta_name(str remote)
{
	size_t bracket = str_find(remote, '[');

	return bracket > 0 ? str_head(remote, bracket) : remote;
}

/* "450 4.2.0 …" is a server's, also when it is not known any more whose. */
static bool is_reply(const struct dsn_rcpt *r)
{
	const char *p = r->said.p;

	return r->remote.n > 0 || (r->said.n > 3 && is_digit(p[0]) && is_digit(p[1]) && is_digit(p[2]) &&
				   (p[3] == ' ' || p[3] == '-'));
}

static void add_rcpt_fields(struct writer *w, const struct dsn_rcpt *r)
{
	add_blank(w);
	if (r->orcpt.n)
		add_original_recipient(w, r->orcpt);
	add_final(w, r->final);
	add_field(w, "Action", str_of(kinds[r->action].action));
	add_field(w, "Status", status_of(w, r));
	if (r->remote.n)
		add_field(w, "Remote-MTA",
			  arena_printf(&w->arena, "dns; %.*s", STR_ARG(shown(w, mta_name(r->remote)))));
	if (r->said.n)
		add_field(w, "Diagnostic-Code",
			  arena_printf(&w->arena, "%s; %.*s", is_reply(r) ? "smtp" : "x-postern",
				       STR_ARG(shown(w, r->said))));
	if (r->last_try > 0)
		add_date(w, "Last-Attempt-Date", r->last_try);
	if (r->action == DSN_DELAYED && r->will_retry_until > 0)
		add_date(w, "Will-Retry-Until", r->will_retry_until);
}

static void add_status(struct writer *w)
{
	const struct dsn *d = w->d;

	begin_part(w, d->utf8 ? "message/global-delivery-status" : "message/delivery-status",
		   d->utf8);
	add_field(w, "Reporting-MTA",
		  arena_printf(&w->arena, "dns; %.*s", STR_ARG(shown(w, d->host))));
	if (d->envid.n)
		add_field(w, "Original-Envelope-Id", shown(w, d->envid));
	add_field(w, "X-Postern-Queue-ID", shown(w, d->id));
	if (d->arrived > 0)
		add_date(w, "Arrival-Date", d->arrived);
	for (size_t i = 0; i < d->nrcpts; i++)
		add_rcpt_fields(w, &d->rcpts[i]);
}

/* One line of the original's header; what is too long is folded. */
static void add_original_line(struct writer *w, str line)
{
	while (line.n) {
		size_t n = line.n > LINE_MAX_ - 1 ? LINE_MAX_ - 1 : line.n;
		char  *p = buf_room(w->out, n);

		if (p == NULL)
			return;
		for (size_t i = 0; i < n; i++)
			p[i] = line.p[i] == '\0' || line.p[i] == '\r' || line.p[i] == '\n'
				       ? '?'
				       : line.p[i];
		buf_filled(w->out, n);
		line = str_skip(line, n);
		if (line.n)
			buf_add(w->out, STR("\r\n "));
	}
	add_blank(w);
}

static void add_original_header(struct writer *w)
{
	str  rest = w->d->original_header;
	bool eight = has_8bit(rest);

	begin_part(w, w->d->utf8 || eight ? "message/global-headers" : "text/rfc822-headers", eight);
	rest = str_head(rest, HEADER_MOST);
	while (rest.n) {
		const char *end = memmem(rest.p, rest.n, "\r\n", 2);
		size_t      n = end != NULL ? (size_t)(end - rest.p) : rest.n;

		if (n == 0)
			break;
		if (end != NULL ||
		    w->d->original_header.n <= HEADER_MOST) /* no line that the limit cut */
			add_original_line(w, str_head(rest, n));
		rest = str_skip(rest, n + 2);
	}
}

void dsn_write(struct buf *out, const struct dsn *d, bool body_follows)
{
	struct writer w = { .out = out, .d = d };

	arena_init(&w.arena, ARENA_UNBOUNDED);
	make_boundary(d, w.boundary);
	add_header(&w);
	add_explanation(&w);
	add_status(&w);
	if (body_follows) {
		begin_part(&w, d->utf8 ? "message/global" : "message/rfc822", true);
	} else {
		add_original_header(&w);
		dsn_end(out, d);
	}
	out->failed |= w.arena.spent;
	arena_fini(&w.arena);
}

void dsn_end(struct buf *out, const struct dsn *d)
{
	char boundary[33];

	make_boundary(d, boundary);
	buf_addf(out, "\r\n--%s--\r\n", boundary);
}
