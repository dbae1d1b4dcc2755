/* SPDX-License-Identifier: ISC */
/*
 * params: ESMTP parameters (RFC 5321 4.1.2) of MAIL and RCPT, two tables.
 *
 * Each keyword stands once in its table with the function that reads its value;
 * a keyword that came twice, is not in the table, or whose value does not fit
 * its grammar to the letter is refused.  Pure; memory is the arena's.
 */
#include <time.h>

#include "smtpd/mail/orcpt.h"
#include "smtpd/session/internal.h"

/* ---- the grammar ----------------------------------------------------------- */

static bool is_keyword(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && !(s.p[i] == '-' && i > 0))
			return false;
	return s.n > 0;
}

/* esmtp-value: no control bytes, no space, no '='; UTF-8 by RFC 6531 3.3. */
static bool is_value(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '=' || s.p[i] == 0x7f)
			return false;
	return s.n > 0;
}

int param_next(str *rest, struct param *p)
{
	str    text = *rest, word;
	size_t equals;

	while (text.n > 0 && is_wsp(text.p[0]))
		text = str_skip(text, 1);
	if (text.n == 0)
		return 0;
	if (text.n == rest->n)          /* nothing stood between it and what came before */
		return -1;
	word = str_head(text, str_find(text, ' '));
	*rest = str_skip(text, word.n);
	equals = str_find(word, '=');
	p->key = str_head(word, equals);
	p->has_value = equals < word.n;
	p->value = str_skip(word, equals + 1);
	return is_keyword(p->key) && (!p->has_value || is_value(p->value)) ? 1 : -1;
}

static int hex_of(char c)
{
	return is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What comes out is printable: it will stand in notices and in the log. */
bool xtext_decode(struct arena *a, str in, bool utf8, str *out)
{
	char  *p = arena_alloc(a, in.n);
	size_t n = 0;

	for (size_t i = 0; i < in.n && p != NULL; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (c == '+') {
			int high = i + 2 < in.n ? hex_of(in.p[i + 1]) : -1,
			    low = high < 0 ? -1 : hex_of(in.p[i + 2]);

			if (low < 0)
				return false;
			c = (unsigned char)(high << 4 | low);
			i += 2;
			if (c < ' ' || c > '~')
				return false;
		} else if (c <= ' ' || c == '=' || c == 0x7f || (c > 0x7f && !utf8)) {
			return false;
		}
		p[n++] = (char)c;
	}
	*out = (str){ p, n };
	return p != NULL;
}

/* ---- MAIL ------------------------------------------------------------------- */

struct reading {
	struct arena       *arena;
	struct mail_params *mail;
	struct rcpt_params *rcpt;
	bool                utf8;
	struct param_fault *fault;
};

static bool wrong(struct reading *r, const char *text)
{
	*r->fault = (struct param_fault){ 501, text };
	return false;
}

static bool size_came(struct reading *r, str value)            /* RFC 1870 */
{
	/* Twenty digits and more are more than any limit. */
	if (value.n > 20)
		return wrong(r, "SIZE takes at most 20 digits");
	for (size_t i = 0; i < value.n; i++)
		if (!is_digit(value.p[i]))
			return wrong(r, "SIZE takes a number of octets");
	if (!str_to_u64(value, &r->mail->size))
		r->mail->size = UINT64_MAX;
	return true;
}

static bool body_came(struct reading *r, str value) /* RFC 6152; BINARYMIME is not offered */
{
	r->mail->body8bit = str_is_nocase(value, "8BITMIME");
	if (r->mail->body8bit || str_is_nocase(value, "7BIT"))
		return true;
	if (!str_is_nocase(value, "BINARYMIME"))
		return wrong(r, "BODY takes 7BIT or 8BITMIME");
	*r->fault = (struct param_fault){
		555, "BINARYMIME is not offered here: send the message encoded"};
	return false;
}

static bool smtputf8_came(struct reading *r, str value)        /* RFC 6531 */
{
	(void)value;
	r->mail->utf8 = true;
	return true;
}

static bool ret_came(struct reading *r, str value)             /* RFC 3461 4.3 */
{
	if (str_is_nocase(value, "FULL"))
		r->mail->flags |= MESSAGE_RET_FULL;
	else if (str_is_nocase(value, "HDRS"))
		r->mail->flags |= MESSAGE_RET_HDRS;
	else
		return wrong(r, "RET takes FULL or HDRS");
	return true;
}

static bool envid_came(struct reading *r, str value)           /* RFC 3461 4.4 */
{
	if (value.n > 100 || !xtext_decode(r->arena, value, false, &r->mail->envid))
		return wrong(r, "ENVID takes at most 100 characters of xtext");
	return true;
}

static bool requiretls_came(struct reading *r, str value)      /* RFC 8689 2 */
{
	(void)value;
	r->mail->flags |= MESSAGE_REQUIRETLS;
	return true;
}

/* RFC 4865 4: one of the two, and not both. */
static bool holds_once(struct reading *r)
{
	return (r->mail->hold_for == 0 && r->mail->hold_until == 0) ||
	       wrong(r, "HOLDFOR and HOLDUNTIL do not go together: take one of them out");
}

static bool holdfor_came(struct reading *r, str value)         /* RFC 4865 4 */
{
	uint64_t seconds;

	if (value.n > 9 || value.p[0] == '0' || !str_to_u64(value, &seconds))
		return wrong(r, "HOLDFOR takes a number of seconds, at most 9 digits");
	if (!holds_once(r))
		return false;
	r->mail->hold_for = (int64_t)seconds;
	return true;
}

/* `n` digits, and then `behind`. */
static bool digits(str *rest, size_t n, char behind, int *out)
{
	*out = 0;
	if (rest->n < n + (behind != 0))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(rest->p[i]))
			return false;
		*out = *out * 10 + (rest->p[i] - '0');
	}
	if (behind != 0 && to_lower(rest->p[n]) != behind)
		return false;
	*rest = str_skip(*rest, n + (behind != 0));
	return true;
}

static bool zone_of(str rest, int64_t *ahead)
{
	int hours, minutes;
	char sign = rest.n > 0 ? rest.p[0] : 0;

	*ahead = 0;
	if (rest.n == 1)
		return to_lower(sign) == 'z';
	if (sign != '+' && sign != '-')
		return false;
	rest = str_skip(rest, 1);
	if (!digits(&rest, 2, ':', &hours) || !digits(&rest, 2, 0, &minutes) || rest.n > 0 || hours > 23 || minutes > 59)
		return false;
	*ahead = (sign == '-' ? -60 : 60) * (int64_t)(hours * 60 + minutes);
	return true;
}

/* RFC 3339 5.6 date-time, "2026-12-24T18:00:00Z": erratum 2040 of RFC 4865 says
 * that this is meant.  Fractions of a second are read and forgotten. */
bool param_date_time(str text, int64_t *epoch)
{
	struct tm tm = { 0 }, given;
	int64_t ahead;

	if (!digits(&text, 4, '-', &tm.tm_year) || !digits(&text, 2, '-', &tm.tm_mon) || !digits(&text, 2, 't', &tm.tm_mday) ||
	    !digits(&text, 2, ':', &tm.tm_hour) || !digits(&text, 2, ':', &tm.tm_min) || !digits(&text, 2, 0, &tm.tm_sec))
		return false;
	if (text.n > 1 && text.p[0] == '.') {
		text = str_skip(text, 1);
		if (!is_digit(text.p[0]))
			return false;
		while (text.n > 0 && is_digit(text.p[0]))
			text = str_skip(text, 1);
	}
	if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || !zone_of(text, &ahead))
		return false;
	tm.tm_sec -= tm.tm_sec == 60;             /* a leap second */
	tm.tm_year -= 1900;
	tm.tm_mon--;
	given = tm;
	*epoch = (int64_t)timegm(&tm);
	/* 31 April comes back as 1 May. */
	if (tm.tm_year != given.tm_year || tm.tm_mon != given.tm_mon || tm.tm_mday != given.tm_mday)
		return false;
	*epoch -= ahead;
	return *epoch > 0;
}

static bool holduntil_came(struct reading *r, str value)       /* RFC 4865 4 */
{
	int64_t at;

	if (!param_date_time(value, &at))
		return wrong(r, "HOLDUNTIL takes a date and time such as 2026-12-24T18:00:00Z");
	if (!holds_once(r))
		return false;
	r->mail->hold_until = at;
	return true;
}

/* RFC 4954 5: read and not believed; who sends is known by the login. */
static bool auth_came(struct reading *r, str value)
{
	str ignored;

	if (!xtext_decode(r->arena, value, false, &ignored))
		return wrong(r, "AUTH takes <> or an address in xtext");
	return true;
}

/* ---- RCPT ------------------------------------------------------------------- */

static bool notify_came(struct reading *r, str value)          /* RFC 3461 4.1 */
{
	static const struct { const char *word; unsigned flag; } words[] = {
		{ "NEVER", RCPT_NOTIFY_NEVER }, { "SUCCESS", RCPT_NOTIFY_SUCCESS },
		{ "FAILURE", RCPT_NOTIFY_FAILURE }, { "DELAY", RCPT_NOTIFY_DELAY },
	};
	str word;
	size_t n = 0;

	for (; str_cut(&value, ',', &word); n++) {
		size_t i = 0;

		while (i < COUNT(words) && !str_is_nocase(word, words[i].word))
			i++;
		if (i == COUNT(words))
			return wrong(r,
				     "NOTIFY takes NEVER, or a list of SUCCESS, FAILURE and DELAY");
		r->rcpt->flags |= words[i].flag;
	}
	if ((r->rcpt->flags & RCPT_NOTIFY_NEVER) && n > 1)
		return wrong(r, "NOTIFY=NEVER stands alone");
	return true;
}

static bool orcpt_address(struct reading *r, str value, str in, str *out)
{
	if (orcpt_is_utf8(value))
		return orcpt_decode(r->arena, in, r->utf8, out);
	return xtext_decode(r->arena, in, false, out);
}

static bool orcpt_came(struct reading *r, str value)           /* RFC 3461 4.2, RFC 6533 3 */
{
	size_t semicolon = str_find(value, ';');
	str    type = str_head(value, semicolon), address;

	if (value.n > ORCPT_MOST || !is_keyword(type) ||
	    !orcpt_address(r, value, str_skip(value, semicolon + 1), &address) || address.n == 0)
		return wrong(r, "ORCPT takes rfc822;ADDRESS in xtext, at most 500 characters");
	r->rcpt->orcpt = arena_printf(r->arena, "%.*s;%.*s", STR_ARG(type), STR_ARG(address));
	return true;
}

/* ---- both -------------------------------------------------------------------- */

struct known {
	const char *key;
	bool      (*came)(struct reading *, str value);
	bool        valued;
};

static const struct known of_mail[] = {
	{"SIZE", size_came, true},
	{"BODY", body_came, true},
	{"SMTPUTF8", smtputf8_came, false},
	{"RET", ret_came, true},
	{"ENVID", envid_came, true},
	{"AUTH", auth_came, true},
	{"REQUIRETLS", requiretls_came, false},
	{"HOLDFOR", holdfor_came, true},
	{"HOLDUNTIL", holduntil_came, true},
	{0},
};
static const struct known of_rcpt[] = {
	{ "NOTIFY", notify_came, true }, { "ORCPT", orcpt_came, true }, { 0 },
};

static bool read_one(struct reading *r, const struct known *table, const struct param *p,
		     unsigned *seen)
{
	const struct known *k = table;

	while (k->key != NULL && !str_is_nocase(p->key, k->key))
		k++;
	if (k->key == NULL) {
		*r->fault = (struct param_fault){ 555, "this parameter is not known here" };
		return false;
	}
	if (*seen & 1u << (k - table))
		return wrong(r, "the same parameter came twice");
	*seen |= 1u << (k - table);
	if (p->has_value != k->valued)
		return wrong(r, k->valued ? "this parameter needs a value"
					  : "this parameter takes no value");
	return k->came(r, p->value);
}

static bool read_all(struct reading *r, const struct known *table, str rest)
{
	struct param p;
	unsigned     seen = 0;
	int          came;

	while ((came = param_next(&rest, &p)) > 0)
		if (!read_one(r, table, &p, &seen))
			return false;
	return came == 0 ||
	       wrong(r, "parameters are KEYWORD or KEYWORD=VALUE with a space before each");
}

bool mail_params(struct arena *a, str rest, struct mail_params *out, struct param_fault *fault)
{
	struct reading r = { .arena = a, .mail = out, .fault = fault };

	*out = (struct mail_params){ 0 };
	return read_all(&r, of_mail, rest);
}

bool rcpt_params(struct arena *a, str rest, bool utf8, struct rcpt_params *out,
		 struct param_fault *fault)
{
	struct reading r = { .arena = a, .rcpt = out, .utf8 = utf8, .fault = fault };

	*out = (struct rcpt_params){ 0 };
	return read_all(&r, of_rcpt, rest);
}
