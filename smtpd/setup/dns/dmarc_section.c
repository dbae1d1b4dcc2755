/* SPDX-License-Identifier: ISC */
/*
 * dmarc_section: what a domain asks of receivers, as `postern dns` prints it.  The
 * server itself never looks at it: mail is judged by what DNS has.
 */
#include "smtpd/base/buf.h"
#include "smtpd/base/conf.h"
#include "smtpd/setup/dns/dns_records.h"

static const char *const policies[] = { "none", "quarantine", "reject", NULL };
static const char *const lower[] = { "same", "none", "quarantine", "reject", NULL };

static bool is_report_address(str value, struct arena *a, str *why)
{
	struct path p;

	if (path_of(a, value, &p) && !p.is_literal && p.domain.n > 0 && !p.is_utf8)
		return true;
	*why = STR("must be a mail address, as reports@example.org");
	return false;
}

#define OPT(field, type_, name_, fallback_, help_) \
	.name = (name_), .type = (type_), .offset = offsetof(struct dmarc_section, field), .fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{ OPT(policy, CONF_WORD, "policy", "none", "p=: what receivers are asked to do with mail that fails; `postern dmarc plan` says which is safe"), .words = policies },
	{ OPT(subdomains, CONF_WORD, "subdomains", "same", "sp=: the same for mail from subdomains; same: as policy"), .words = lower },
	{ OPT(missing, CONF_WORD, "missing", "same", "np=: the same for mail from subdomains that do not exist; same: as subdomains"), .words = lower },
	{ OPT(reports, CONF_LIST, "reports", NULL, "rua=: mail addresses that receivers send daily reports to; default postmaster of the domain"), .check = is_report_address,
	  .example = "reports@example.org" },
	{ 0 },
};

const struct conf_section config_dmarc = {
	.name = "dmarc", .options = options, .size = sizeof(struct dmarc_section), .offset = offsetof(struct domain_section, dmarc),
	.help = "The DMARC record that `postern dns` prints for the domain.",
};

static void add_address(struct buf *b, str address)
{
	static const char hex[] = "0123456789ABCDEF";

	buf_add(b, STR("mailto:"));
	for (size_t i = 0; i < address.n; i++) {
		unsigned char c = (unsigned char)address.p[i];

		/* RFC 6068 2, and what a DMARC record gives a meaning (RFC 9989 4.7) */
		if (is_alnum((char)c) || c == '@' || c == '.' || c == '-' || c == '_' || c == '+')
			buf_add_char(b, (char)c);
		else
			buf_addf(b, "%%%c%c", hex[c >> 4], hex[c & 15]);
	}
}

str dns_dmarc_text(const struct domain_section *d, struct arena *a)
{
	struct buf b;
	str text;

	buf_init(&b, 16 << 10);
	buf_addf(&b, "v=DMARC1; p=%s", policies[d != NULL ? d->dmarc.policy : 0]);
	if (d != NULL && d->dmarc.subdomains > 0)
		buf_addf(&b, "; sp=%s", lower[d->dmarc.subdomains]);
	if (d != NULL && d->dmarc.missing > 0)
		buf_addf(&b, "; np=%s", lower[d->dmarc.missing]);
	buf_add(&b, STR("; rua="));
	for (size_t i = 0; d != NULL && i < d->dmarc.reports.n; i++) {
		if (i > 0)
			buf_add_char(&b, ',');
		add_address(&b, d->dmarc.reports.v[i]);
	}
	if (d != NULL && d->dmarc.reports.n == 0)
		buf_addf(&b, "mailto:postmaster@%.*s", STR_ARG(d->name));
	text = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return text;
}
