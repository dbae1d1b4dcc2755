/* SPDX-License-Identifier: ISC */
/*
 * The table.  Rows are looked at from the top: those with words first, then by
 * status, the exact ones before those that end with a dot and stand for all
 * below.  Codes: RFC 3463, 7372 (5.7.20 to 5.7.29), 7505 (5.1.10), 7504 (5.3.2),
 * 8689 (5.7.30); those above 500 are Microsoft's.
 */
#include "smtpd/base/err.h"
#include "smtpd/mail/advice.h"

#define ASK_ADMIN "Please tell the administrator of your mail server."

static const struct row {
	const char *status;      /* NULL: any; "5.7." all below */
	const char *words;       /* NULL, or words of which one has to be there, with | between */
	const char *sender, *operator;
} rows[] = {
	/* ---- by what is said ---- */
	{ NULL, "spamhaus|zen.|sbl.|xbl.|pbl.|css.",
	  "The other server refuses mail from your provider's address because a block list names it. " ASK_ADMIN,
	  "Look this server's address up at check.spamhaus.org; an entry of the PBL goes with a static address and a PTR record, "
	  "others after their cause is mended" },
	{ NULL, "spamcop|barracuda|sorbs|uceprotect|spfbl|abuseat|psbl|dnsbl|rbl|block list|blocklist|blacklist|blocked using|listed at|listed in",
	  "The other server refuses mail from your provider's address because a block list names it. " ASK_ADMIN,
	  "Find the list's name in the answer, look this server's address up there, mend the cause, then ask to be taken off" },
	{ "4.", "greylist|grey list|graylist|gray list|come back later|try again in",
	  "The other server asks for patience the first time somebody writes. Nothing has to be done.",
	  "Greylisting: the next try usually goes through" },
	{ NULL, "quota|mailbox full|mailbox is full|over storage|out of storage|insufficient storage|disk full",
	  "The mailbox is full. Try again in a few days, or tell the recipient in another way.",
	  NULL },
	{ NULL, "too many connections|rate limit|ratelimit|too many messages|throttl|temporarily deferred|too fast|unusual rate",
	  NULL,
	  "The other side wants fewer messages at a time: postern slows down for that provider by itself" },
	{ NULL, "reverse dns|ptr record|rdns|no ptr|reverse lookup|reverse hostname",
	  "The other server finds no proper name for your mail server's address. " ASK_ADMIN,
	  "Ask your provider for a PTR record that names this host, and give that name the same address" },
	/* ---- our own sentences about mailboxes here ---- */
	{ NULL, "no such folder|is not a maildir|permission denied|read-only file system|no space left",
	  NULL, "The answer says which folder or disk: put it right, then `postern queue retry ID`" },
	/* ---- by status ---- */
	{ "5.1.1", NULL, "Check the address for typing errors, or ask the recipient for the right one.", NULL },
	{ "5.1.2", NULL, "Check the part behind the @ for typing errors: there is no such domain.", NULL },
	{ "5.1.3", NULL, "Check the address for typing errors.", NULL },
	{ "5.1.6", NULL, "The mailbox has moved. Ask the recipient for the new address.", NULL },
	{ "5.1.7", NULL, "The other server does not take your own address. " ASK_ADMIN,
	  "The envelope's sender was refused: look at its domain's MX and address records" },
	{ "5.1.8", NULL, "The other server finds no mail server for your own address. " ASK_ADMIN,
	  "The envelope's sender was refused: look at its domain's MX and address records" },
	{ "5.1.10", NULL, "The domain takes no mail at all. Ask the recipient for another address.", NULL },
	{ "5.2.1", NULL, "The mailbox is switched off. Try to reach the recipient in another way.", NULL },
	{ "4.2.2", NULL, "The mailbox is full. Try again in a few days, or tell the recipient in another way.", NULL },
	{ "5.2.2", NULL, "The mailbox is full. Try again in a few days, or tell the recipient in another way.", NULL },
	{ "5.2.3", NULL, "The message is too large for that mailbox. Send a smaller one, or a link instead of the attachment.", NULL },
	{ "5.3.2", NULL, "The other server takes no mail. Ask the recipient for another address.", NULL },
	{ "5.3.4", NULL, "The message is too large for that server. Send a smaller one, or a link instead of the attachment.", NULL },
	{ "4.4.1", NULL, NULL, "The other side does not answer. If that is so for every domain, port 25 is closed here: ask the provider, "
	  "or send by a smarthost" },
	{ "5.4.1", NULL, "The other server does not know the recipient, or takes no mail for the domain. Check the address.", NULL },
	{ "5.4.4", NULL, "The domain has no mail server that can be reached. Check the part behind the @.", NULL },
	{ "5.4.6", NULL, "The mail goes in circles. " ASK_ADMIN,
	  "A loop: look where the domain's MX, aliases and routes lead" },
	{ "5.4.7", NULL, "The other server could not be reached for a long time. Try later, or reach the recipient in another way.", NULL },
	{ "5.6.3", NULL, "The other server cannot take letters beyond ASCII in a message's text. " ASK_ADMIN, NULL },
	{ "5.6.7", NULL, "The other server cannot take addresses with letters beyond a-z. Use another address.", NULL },
	{ "5.6.9", NULL, "The other server cannot take such letters in the header. Send it with a plain subject and plain names.", NULL },
	{ "5.7.8", NULL, ASK_ADMIN, "The smarthost refuses our login: correct smarthost-login and its password file, then reload" },
	{ "4.7.8", NULL, NULL, "The smarthost refuses our login: correct smarthost-login and its password file, then reload" },
	{ "5.7.10", NULL, "The message asks for encryption that the other side does not offer. Send it without, or ask your administrator.", NULL },
	{ "5.7.20", NULL, "The other server finds no good signature (DKIM) in the message. " ASK_ADMIN,
	  "Look whether the domain's DKIM record is out and equals the key: `postern key test DOMAIN`" },
	{ "5.7.21", NULL, "The other server finds no signature (DKIM) that it accepts. " ASK_ADMIN,
	  "Look whether the domain's DKIM record is out and equals the key: `postern key test DOMAIN`" },
	{ "5.7.22", NULL, "The other server finds no signature (DKIM) of the author's domain. " ASK_ADMIN,
	  "Give the domain a dkim section, and publish its record" },
	{ "5.7.23", NULL, "The domain of your address does not name your mail server as its sender (SPF). " ASK_ADMIN,
	  "Put this server into the domain's SPF record: `postern spf check DOMAIN`" },
	{ "5.7.24", NULL, "The domain of your address has a faulty SPF record. " ASK_ADMIN,
	  "Mend the domain's SPF record: `postern spf check DOMAIN`" },
	{ "5.7.25", NULL, "The address of your mail server has no proper name in DNS. " ASK_ADMIN,
	  "Ask your provider for a PTR record that names this host, and give that name the same address" },
	{ "5.7.26", NULL, "The other server could not make sure that the message is from you. " ASK_ADMIN,
	  "SPF and DKIM have both failed there: compare the domain's records with `postern dns DOMAIN`" },
	{ "5.7.27", NULL, "Your address's domain says that it takes no mail, so answers could not reach you. " ASK_ADMIN,
	  "The sender's domain has a null MX: give it a mail server, or send with another address" },
	{ "5.7.28", NULL, "The other server has seen too much mail of this kind. Try again later.",
	  "Slow down and look whether an account was stolen: `postern account logins ADDRESS`" },
	{ "5.7.29", NULL, "The other server refuses the message because of its ARC chain. " ASK_ADMIN, NULL },
	{ "5.7.30", NULL, "The message asks for encryption all the way (REQUIRETLS), which the other side does not offer.", NULL },
	{ "5.7.509", NULL, "The other server could not make sure that the message is from you. " ASK_ADMIN,
	  "DMARC has failed there and the domain says p=reject: compare its records with `postern dns DOMAIN`" },
	{ "5.7.511", NULL, "The other server has banned your mail server's address. " ASK_ADMIN,
	  "Ask for removal at the address that the answer names" },
	{ "5.7.515", NULL, "The other server wants SPF, DKIM and DMARC of your domain to be right. " ASK_ADMIN,
	  "Compare the domain's SPF, DKIM and DMARC records with `postern dns DOMAIN`: all three have to pass there" },
	{ "5.7.606", NULL, "The other server has banned your mail server's address. " ASK_ADMIN,
	  "Ask for removal at the address that the answer names" },
	{ "5.7.708", NULL, "The other server refuses mail from this address because too little is known of it. " ASK_ADMIN,
	  "A new address earns trust slowly: send little at first, or by a smarthost" },
	{ "4.7.5", NULL, NULL, "The other side's certificate or its DANE or MTA-STS policy does not hold: `postern deliver-test DOMAIN` shows what is seen" },
	{ "5.7.5", NULL, "The other side cannot be reached safely. " ASK_ADMIN,
	  "The other side's certificate or its DANE or MTA-STS policy does not hold: `postern deliver-test DOMAIN` shows what is seen" },
	{ "4.7.", NULL, NULL, "The other side wants patience: postern slows down for that provider by itself" },
	{ "5.7.1", NULL, "The other server refuses this message by a rule of its own. Ask the recipient, or your administrator.",
	  "The answer may name a page that says more; often it is the address's or domain's reputation" },
	{ "5.7.", NULL, "The other server refuses this message for safety's sake. Ask your administrator.", NULL },
	{ "5.5.", NULL, "The two mail servers do not understand each other. " ASK_ADMIN, "Tell the other side's postmaster, with the answer" },
};

static bool is_word_start(str s, size_t at)
{
	return at == 0 || !is_alnum(s.p[at - 1]);
}

static bool says(str said, str word)
{
	for (size_t i = 0; i + word.n <= said.n; i++)
		if (is_word_start(said, i) && str_eq_nocase(str_head(str_skip(said, i), word.n), word))
			return true;
	return false;
}

static bool says_one(str said, const char *words)
{
	str rest = str_of(words), word;

	while (str_cut(&rest, '|', &word))
		if (says(said, word))
			return true;
	return false;
}

static bool is_status(str status, const char *row)
{
	str want = str_of(row);

	if (want.n > 0 && want.p[want.n - 1] == '.')
		return str_starts(status, row);
	return str_eq(status, want);
}

/* "5.7.1": class, subject, detail (RFC 3463 2); 0: it is none. */
static size_t status_length(str s)
{
	size_t n = 0, dots = 0, digits = 0;

	if (s.n < 5 || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
		return 0;
	for (; n < s.n && (is_digit(s.p[n]) || s.p[n] == '.'); n++) {
		digits = s.p[n] == '.' ? 0 : digits + 1;
		dots += s.p[n] == '.';
		if (digits > 3 || dots > 2)
			return 0;
	}
	return dots == 2 && digits > 0 ? n : 0;
}

str advice_status(str said)
{
	size_t at = 0;

	if (said.n > 4 && is_digit(said.p[0]) && is_digit(said.p[1]) && is_digit(said.p[2]) &&
	    (said.p[3] == ' ' || said.p[3] == '-'))
		at = 4;
	return str_head(str_skip(said, at), status_length(str_skip(said, at)));
}

static str text(const char *s)
{
	return s == NULL ? STR_NONE : str_of(s);
}

struct advice advice_for(str status, str said)
{
	if (status.n == 0)
		status = advice_status(said);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *r = &rows[i];

		if ((r->status == NULL || is_status(status, r->status)) && (r->words == NULL || says_one(said, r->words)))
			return (struct advice){ text(r->sender), text(r->operator) };
	}
	return (struct advice){ STR_NONE, STR_NONE };
}
