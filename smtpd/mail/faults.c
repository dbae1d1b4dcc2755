/* SPDX-License-Identifier: ISC */
/*
 * The rules, one function each, in the order of telling.  What is shown of the
 * message is cut; the reader of the text makes it safe to show.
 */
#include <string.h>
#include <time.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/faults.h"

#define SHOWN      120
#define LINE_MOST  998                    /* RFC 5322 2.1.1 */
#define AHEAD      ((int64_t)3 * 3600)
#define BEHIND     ((int64_t)2 * 86400)

struct finding {
	struct arena *arena;
	const struct faults_of *of;
	struct fault *out;
	size_t n;
};

static void tell(struct finding *f, str what, const char *todo)
{
	if (f->n < FAULTS_MOST && what.n > 0)
		f->out[f->n++] = (struct fault){ what, str_of(todo) };
}

static str shown(str s)
{
	return str_head(str_trim(s), SHOWN);
}

static str value_of(struct finding *f, const char *name)
{
	const struct field *first = fields_first(f->of->fields, name);

	return first == NULL ? STR_NONE : field_unfold(f->arena, first->value);
}

/* ---- the date (RFC 5322 3.3) ------------------------------------------------------ */

static bool number(str *s, size_t least, size_t most, int *out)
{
	size_t n = 0;

	*out = 0;
	for (; n < s->n && n < most && is_digit(s->p[n]); n++)
		*out = *out * 10 + (s->p[n] - '0');
	*s = str_skip(*s, n);
	return n >= least && (s->n == 0 || !is_digit(s->p[0]));
}

static bool take(str *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = str_skip(*s, 1);
	return true;
}

static bool white(str *s)
{
	size_t n = s->n;

	while (s->n > 0 && (is_wsp(s->p[0]) || s->p[0] == '\r' || s->p[0] == '\n'))
		*s = str_skip(*s, 1);
	return s->n < n;
}

/* The three letters' place in a list of such. */
static bool name(str *s, const char *names, int *out)
{
	for (*out = 0; names[3 * *out] != '\0'; ++*out)
		if (str_eq_nocase(str_head(*s, 3), (str){ names + 3 * *out, 3 })) {
			*s = str_skip(*s, 3);
			return true;
		}
	return false;
}

/* Seconds east.  Words other than these say nothing (RFC 5322 4.3). */
static bool zone(str *s, int *east)
{
	static const struct { const char *word; int hours; } words[] = {
		{ "EDT", -4 }, { "EST", -5 }, { "CDT", -5 }, { "CST", -6 }, { "MDT", -6 }, { "MST", -7 }, { "PDT", -7 }, { "PST", -8 },
	};
	bool west = s->n > 0 && s->p[0] == '-';
	int hhmm;

	*east = 0;
	if (take(s, '+') || take(s, '-')) {
		if (!number(s, 4, 4, &hhmm) || hhmm % 100 > 59)
			return false;
		*east = (hhmm / 100 * 3600 + hhmm % 100 * 60) * (west ? -1 : 1);
		return true;
	}
	if (s->n == 0 || !is_alpha(s->p[0]))
		return false;
	for (size_t i = 0; i < COUNT(words); i++)
		if (str_starts_nocase(*s, words[i].word))
			*east = words[i].hours * 3600;
	return true;
}

static bool year(str *s, int *out)
{
	size_t before = s->n;

	if (!number(s, 2, 4, out))
		return false;
	if (before - s->n == 2)
		*out += *out < 50 ? 2000 : 1900;
	else if (before - s->n == 3)
		*out += 1900;
	return *out >= 1900;
}

static bool time_of_day(str *s, struct tm *tm)
{
	if (!number(s, 1, 2, &tm->tm_hour) || !take(s, ':') || !number(s, 2, 2, &tm->tm_min))
		return false;
	if (take(s, ':') && !number(s, 2, 2, &tm->tm_sec))
		return false;
	return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

bool date_read(str s, int64_t *epoch)
{
	struct tm tm = { 0 };
	int day, y, east;

	white(&s);
	if (name(&s, "MonTueWedThuFriSatSun", &day)) {
		white(&s);
		if (!take(&s, ','))
			return false;
		white(&s);
	}
	if (!number(&s, 1, 2, &tm.tm_mday) || !white(&s) || !name(&s, "JanFebMarAprMayJunJulAugSepOctNovDec", &tm.tm_mon) || !white(&s) ||
	    !year(&s, &y) || !white(&s) || !time_of_day(&s, &tm) || !white(&s) || !zone(&s, &east))
		return false;
	if (tm.tm_mday < 1 || tm.tm_mday > 31)
		return false;
	tm.tm_year = y - 1900;
	*epoch = (int64_t)timegm(&tm) - east;
	return true;
}

static str apart(struct arena *a, int64_t s)
{
	if (s >= 2 * 86400)
		return arena_printf(a, "%lld days", (long long)(s / 86400));
	return arena_printf(a, "%lld hours", (long long)((s + 1800) / 3600));
}

static void date_look(struct finding *f)
{
	str date = value_of(f, "Date");
	int64_t at, now = f->of->now;

	if (fields_first(f->of->fields, "Date") == NULL)
		tell(f, STR("there is no Date"), "let the program that writes the mail put one in");
	else if (!date_read(date, &at))
		tell(f, arena_printf(f->arena, "Date cannot be read: %.*s", STR_ARG(shown(date))),
		     "write it as RFC 5322 has it: Sat, 21 Nov 2026 22:08:28 +0000");
	else if (at > now + AHEAD)
		tell(f, arena_printf(f->arena, "Date is %.*s ahead", STR_ARG(apart(f->arena, at - now))), "set the sender's clock and time zone");
	else if (at < now - BEHIND)
		tell(f, arena_printf(f->arena, "Date is %.*s old", STR_ARG(apart(f->arena, now - at))),
		     "set the sender's clock, or find out where the message lay so long");
}

/* ---- who and what ------------------------------------------------------------------ */

static void id_look(struct finding *f)
{
	str id = value_of(f, "Message-ID");
	size_t at = str_rfind(id, '@');

	if (fields_first(f->of->fields, "Message-ID") == NULL) {
		tell(f, STR("there is no Message-ID"), "let the program that writes the mail, or the first server, put one in");
		return;
	}
	if (id.n < 5 || id.p[0] != '<' || id.p[id.n - 1] != '>' || at == id.n || str_holds(id, ' ')) {
		tell(f, arena_printf(f->arena, "Message-ID is not <word@host>: %.*s", STR_ARG(shown(id))), "make it <something unique@your domain>");
		return;
	}
	id = str_skip(str_head(id, id.n - 1), at + 1);
	if (id.n == 0 || !str_holds(id, '.') || str_ends_nocase(id, STR(".local")) || str_ends_nocase(id, STR(".localdomain")))
		tell(f, arena_printf(f->arena, "Message-ID ends in \"%.*s\", which is no name in DNS", STR_ARG(shown(id))),
		     "give the machine that writes the mail its full host name");
}

static void from_look(struct finding *f)
{
	const struct from *from = f->of->from;
	const struct mailboxes *m = from->mailboxes;

	if (from->state != FROM_GOOD) {
		tell(f, from->why != NULL ? str_of(from->why) : STR("From cannot be judged"), "write one From field with one address of a domain of yours");
		return;
	}
	if (m != NULL && m->n > 1 && fields_first(f->of->fields, "Sender") == NULL)
		tell(f, STR("From has several addresses and there is no Sender (RFC 5322 3.6.2)"), "write one address in From");
	if (m != NULL && m->n > 0 && m->v[0].obsolete)
		tell(f, STR("From is written in an obsolete way, which programs read differently"), "write it as Name <user@domain>");
}

static void addressed_look(struct finding *f)
{
	str subject = value_of(f, "Subject");

	if (fields_first(f->of->fields, "To") == NULL && fields_first(f->of->fields, "Cc") == NULL)
		tell(f, STR("there is neither To nor Cc"), "name the recipient in To");
	if (subject.n == 0)
		tell(f, STR("there is no Subject, or it is empty"), "write one");
}

static void twice_look(struct finding *f)
{
	static const char *const once[] = {      /* RFC 5322 3.6, RFC 2045 3 */
		"Date", "Message-ID", "From", "Sender", "Reply-To", "To", "Cc", "Subject", "In-Reply-To", "References", "MIME-Version",
		"Content-Type", "Content-Transfer-Encoding",
	};

	for (size_t i = 0; i < COUNT(once); i++) {
		size_t n = fields_count(f->of->fields, once[i]);

		if (n > 1)
			tell(f, arena_printf(f->arena, "%s stands there %zu times, and only once is right", once[i], n),
			     "find the program or server that adds the second, and let it add none");
	}
}

static void left_in_look(struct finding *f)
{
	if (fields_first(f->of->fields, "Bcc") != NULL)
		tell(f, STR("Bcc was left in: every recipient can read who got a blind copy"), "let the sending program or server take Bcc out");
	if (fields_first(f->of->fields, "Return-Path") != NULL)
		tell(f, STR("Return-Path is there already, which only the last server writes"), "do not send a message on as it was taken out of a mailbox");
}

/* ---- the form ------------------------------------------------------------------------ */

static bool has_high(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

static size_t longest_line(str raw)
{
	size_t most = 0;
	str line;

	while (str_cut(&raw, '\n', &line))
		most = line.n > most ? line.n : most;
	return most;
}

static void fields_look(struct finding *f)
{
	const struct field *high = NULL, *longer = NULL, *spaced = NULL;

	for (size_t i = 0; i < f->of->fields->n; i++) {
		const struct field *one = &f->of->fields->v[i];

		high = high == NULL && has_high(one->raw) ? one : high;
		longer = longer == NULL && longest_line(one->raw) > LINE_MOST + 1 ? one : longer;
		spaced = spaced == NULL && one->spaced ? one : spaced;
	}
	if (high != NULL && !f->of->smtputf8)
		tell(f, arena_printf(f->arena, "%.*s holds letters beyond ASCII as they are", STR_ARG(shown(high->name))),
		     "write them as encoded words (=?utf-8?q?...?=), or send with SMTPUTF8");
	if (longer != NULL)
		tell(f, arena_printf(f->arena, "%.*s has a line of more than 998 octets", STR_ARG(shown(longer->name))), "fold the field");
	if (spaced != NULL)
		tell(f, arena_printf(f->arena, "%.*s has a space before its colon, which servers read differently", STR_ARG(shown(spaced->name))),
		     "write the colon right behind the name");
	if (f->of->no_blank)
		tell(f, STR("the header ends without an empty line, at a line that is no field"), "put an empty line between header and text");
}

static void form_look(struct finding *f)
{
	const struct body_look *b = f->of->body;
	str type = value_of(f, "Content-Type"), encoding = value_of(f, "Content-Transfer-Encoding");
	bool mime = fields_first(f->of->fields, "MIME-Version") != NULL;

	if (!mime && type.n > 0)
		tell(f, STR("there is Content-Type but no MIME-Version"), "add MIME-Version: 1.0");
	if (b->high && (!mime || type.n == 0))
		tell(f, STR("the text has 8-bit letters, and no MIME field says what they are"),
		     "add MIME-Version: 1.0 and Content-Type: text/plain; charset=utf-8");
	else if (b->high && !str_starts_nocase(type, "multipart/") && !str_is_nocase(encoding, "8bit") && !str_is_nocase(encoding, "binary"))
		tell(f, STR("the text has 8-bit letters, but Content-Transfer-Encoding does not say 8bit"),
		     "add Content-Transfer-Encoding: 8bit, or encode the text as quoted-printable");
	if (b->longest > LINE_MOST)
		tell(f, arena_printf(f->arena, "the text has a line of %zu octets; 998 are allowed", b->longest), "break the lines, or encode the text as quoted-printable");
	if (b->bytes == 0)
		tell(f, STR("the text is empty"), "write some");
	if (str_starts_nocase(type, "text/html") || (str_starts_nocase(type, "multipart/") && b->has_html && !b->has_plain))
		tell(f, STR("the message is HTML only"), "send it as multipart/alternative with a text/plain part");
}

/* ---- how it came ------------------------------------------------------------------------ */

static bool is_bare_ip(str s)
{
	struct sockaddr_storage ip;
	char text[64];

	if (s.n == 0 || s.n + 3 > sizeof(text) || s.p[0] == '[')
		return false;
	text[0] = '[';
	memcpy(text + 1, s.p, s.n);
	text[s.n + 1] = ']';
	return literal_parse((str){ text, s.n + 2 }, &ip);
}

static void helo_look(struct finding *f)
{
	str helo = f->of->helo, host;
	const char *todo = "let the sending server name itself by its full host name, the one that its address's PTR record has";
	struct sockaddr_storage ip;

	if (helo.n > 0 && helo.p[0] == '[') {
		if (!literal_parse(helo, &ip))
			tell(f, arena_printf(f->arena, "HELO is no name: %.*s", STR_ARG(shown(helo))), todo);
		else
			tell(f, arena_printf(f->arena, "HELO is a bare address: %.*s", STR_ARG(shown(helo))), todo);
	} else if (is_bare_ip(helo)) {
		tell(f, arena_printf(f->arena, "HELO is a bare address, and not even in brackets: %.*s", STR_ARG(shown(helo))), todo);
	} else if (!domain_to_ascii(f->arena, helo, &host)) {
		tell(f, arena_printf(f->arena, "HELO is no host name: %.*s", STR_ARG(shown(helo))), todo);
	} else if (!str_holds(host, '.')) {
		tell(f, arena_printf(f->arena, "HELO is a bare word: %.*s", STR_ARG(shown(host))), todo);
	} else if (str_ends_nocase(host, STR(".local")) || str_ends_nocase(host, STR(".localdomain")) || str_ends_nocase(host, STR(".lan")) ||
	           str_ends_nocase(host, STR(".internal"))) {
		tell(f, arena_printf(f->arena, "HELO is a name that nobody else can look up: %.*s", STR_ARG(shown(host))), todo);
	} else if (str_eq_nocase(host, f->of->host)) {
		tell(f, arena_printf(f->arena, "HELO is our own name: %.*s", STR_ARG(shown(host))), todo);
	}
}

/* " by HOST" of a Received value. */
static bool says_by(str value, str host)
{
	for (size_t i = 0; i + 4 + host.n <= value.n; i++)
		if (is_wsp(value.p[i]) && str_starts_nocase(str_skip(value, i + 1), "by ") &&
		    str_eq_nocase(str_head(str_skip(value, i + 4), host.n), host) &&
		    (i + 4 + host.n == value.n || is_wsp(value.p[i + 4 + host.n]) || value.p[i + 4 + host.n] == ';'))
			return true;
	return false;
}

static void received_look(struct finding *f)
{
	bool ours = false, unreadable = false, ahead = false;
	int64_t at;

	for (size_t i = 0; i < f->of->fields->n; i++) {
		const struct field *one = &f->of->fields->v[i];
		str value;
		size_t semicolon;

		if (!field_is(one, "Received"))
			continue;
		value = field_unfold(f->arena, one->value);
		semicolon = str_rfind(value, ';');
		ours = ours || says_by(value, f->of->host);
		if (!date_read(str_skip(value, semicolon + 1), &at))
			unreadable = true;
		else
			ahead = ahead || at > f->of->now + AHEAD;
	}
	if (ours)
		tell(f, STR("a Received field says that this server has had the message before"),
		     "take forged Received fields out; if it really was here, the message goes in circles");
	if (unreadable)
		tell(f, STR("a Received field has no date that can be read"), "let the server that wrote it write a date as RFC 5322 has it");
	if (ahead)
		tell(f, STR("a Received field is dated hours ahead"), "set the clock of the server that wrote it");
}

static void ours_look(struct finding *f)
{
	for (size_t i = 0; i < f->of->fields->n; i++) {
		const struct field *one = &f->of->fields->v[i];

		if (!one->omitted)
			continue;
		tell(f, arena_printf(f->arena, "%.*s pretends to be written by this server; it was taken out", STR_ARG(shown(one->name))),
		     "let nothing on your side write fields in our name");
		return;
	}
}

size_t faults_find(struct arena *a, const struct faults_of *of, struct fault out[static FAULTS_MOST])
{
	struct finding f = { .arena = a, .of = of, .out = out };

	from_look(&f);
	date_look(&f);
	id_look(&f);
	addressed_look(&f);
	twice_look(&f);
	left_in_look(&f);
	fields_look(&f);
	form_look(&f);
	helo_look(&f);
	received_look(&f);
	ours_look(&f);
	return f.n;
}

/* ---- the body as it passes --------------------------------------------------------------- */

static void line_over(struct body_look *b)
{
	str begun = { b->begun, b->line < sizeof(b->begun) ? b->line : sizeof(b->begun) };

	b->longest = b->line > b->longest ? b->line : b->longest;
	b->has_plain = b->has_plain || str_starts(begun, "content-type: text/plain");
	b->has_html = b->has_html || str_starts(begun, "content-type: text/html");
	b->line = 0;
}

void body_look_feed(struct body_look *b, str piece)
{
	b->bytes += piece.n;
	for (size_t i = 0; i < piece.n; i++) {
		char c = piece.p[i];

		if (c == '\n') {
			line_over(b);
			continue;
		}
		b->high = b->high || (unsigned char)c >= 0x80;
		if (c == '\r')
			continue;
		if (b->line < sizeof(b->begun))
			b->begun[b->line] = to_lower(c);
		b->line++;
	}
}

void body_look_end(struct body_look *b)
{
	line_over(b);
}
