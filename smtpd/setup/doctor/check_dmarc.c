/* SPDX-License-Identifier: ISC */
/*
 * DMARC (RFC 9989), whether those whom it names take the reports (RFC 9990 4), and
 * TLSRPT (RFC 8460).  Pure.
 */
#include "modules/dmarc/dmarc.h"
#include "smtpd/setup/doctor/checks.h"

/* ---- the record --------------------------------------------------------------------------------------- */

/* The record that applies: the domain's own, or the nearest above (RFC 9989 4.10).
 * NULL: answers are on their way.  `n`: how many there are where it was found. */
static const struct dns_answer *find_record(struct exam *e, str *at, str *text, size_t *n)
{
	const struct dns_answer *a = NULL;
	str name = e->subject;

	*n = 0;
	for (int steps = 0; steps < 8 && name.n > 0; steps++) {
		a = fact_dns(e, SAYS(e, "_dmarc.%.*s", STR_ARG(name)), DNS_TXT);
		*at = name;
		if (a == NULL || dns_failed(a->status))
			return a;
		*n = txt_records(a, "v=DMARC1", text);
		if (*n > 0)
			return a;
		name = str_skip(name, str_find(name, '.') + 1);
		if (!str_holds(name, '.'))
			break;
	}
	*at = e->subject;
	return a;
}

static bool has_tag(str record, const char *name)
{
	str part;

	while (str_cut(&record, ';', &part))
		if (str_is_nocase(str_trim(str_head(part, str_find(part, '='))), name))
			return true;
	return false;
}

static void judge_policy(struct exam *e, const struct dmarc_record *r, bool own_record)
{
	static const char *const words[] = { [DMARC_TAG_NONE] = "none", [DMARC_TAG_QUARANTINE] = "quarantine", [DMARC_TAG_REJECT] = "reject" };
	enum dmarc_tag p = own_record || r->sp == DMARC_TAG_ABSENT ? r->p : r->sp;
	const char *word = p >= DMARC_TAG_NONE ? words[p] : "none";

	if (p < DMARC_TAG_QUARANTINE || r->testing)
		exam_found(e, DOCTOR_NOTE, STR_NONE, SAYS(e, "the policy is %s%s: it asks for reports and protects nobody yet", word,
		           r->testing ? " for a test (t=y)" : ""),
		           e->own ? SAYS(e, "`postern dmarc plan %.*s` says which policy is safe now", STR_ARG(e->subject)) : STR_NONE);
	else
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "the policy is %s", word), STR_NONE);
}

static void judge_record(struct exam *e, str text, bool own_record)
{
	struct dmarc_record r;

	if (!dmarc_record_parse(text, &r) || dmarc_policies_bad(&r)) {
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "the record cannot be read: %.*s", STR_ARG(str_head(text, 200))),
		           STR("write it anew: v=DMARC1; p=none; rua=mailto:..."));
		return;
	}
	judge_policy(e, &r, own_record);
	if (!r.rua_valid)
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("nobody gets reports (no rua=)"), SAYS(e, "add rua=mailto:postmaster@%.*s", STR_ARG(e->subject)));
	if (has_tag(text, "pct"))
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("pct= has no meaning any more (RFC 9989)"), STR("take it out"));
}

void check_dmarc(struct exam *e)
{
	str at, text;
	size_t n;
	const struct dns_answer *a = find_record(e, &at, &text, &n);

	if (a == NULL || exam_failed(e, STR_NONE, a))
		return;
	if (n == 0)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("there is no DMARC record: anybody can write in its name, and large receivers trust its "
		           "mail less"), SAYS(e, "add a TXT record at _dmarc.%.*s, such as v=DMARC1; p=none; rua=mailto:postmaster@%.*s",
		           STR_ARG(e->subject), STR_ARG(e->subject)));
	else if (n > 1)
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "there are %zu DMARC records: none of them counts", n), STR("leave one of them"));
	else
		judge_record(e, text, str_eq(at, e->subject));
}

/* ---- reports ---------------------------------------------------------------------------------------------- */

/* mailto:USER@DOMAIN[!SIZE]; empty: another kind of URI. */
static str report_domain(str uri)
{
	uri = str_trim(uri);
	if (!str_starts_nocase(uri, "mailto:"))
		return STR_NONE;
	uri = str_head(uri, str_find(uri, '!'));
	return str_skip(uri, str_rfind(uri, '@') + 1);
}

/* The authorisation may stand at a wildcard; every record counts (RFC 9990 4). */
static void judge_report_domain(struct exam *e, str from, str to, bool *good)
{
	str name = SAYS(e, "%.*s._report._dmarc.%.*s", STR_ARG(from), STR_ARG(to)), text;
	const struct dns_answer *a = fact_dns(e, name, DNS_TXT);

	if (a == NULL || exam_failed(e, to, a) || txt_records(a, "v=DMARC1", &text) > 0)
		return;
	*good = false;
	exam_found(e, DOCTOR_FAULT, to, SAYS(e, "reports are to go there, and %.*s does not say that it takes them: nobody sends them",
	           STR_ARG(to)), SAYS(e, "have a TXT record v=DMARC1 added at %.*s, or name an address of the domain itself", STR_ARG(name)));
}

static void judge_uris(struct exam *e, str from, str uris, bool *good, size_t *others)
{
	str uri;

	while (str_cut(&uris, ',', &uri)) {
		str to = report_domain(uri);

		if (to.n == 0 || is_same_or_below(to, from) || is_same_or_below(from, to))
			continue;
		(*others)++;
		judge_report_domain(e, from, to, good);
	}
}

void check_dmarc_reports(struct exam *e)
{
	struct dmarc_record r;
	bool good = true;
	size_t n, others = 0;
	str at, text;
	const struct dns_answer *a = find_record(e, &at, &text, &n);

	if (a == NULL || n != 1 || !dmarc_record_parse(text, &r))
		return;
	judge_uris(e, at, r.rua, &good, &others);
	judge_uris(e, at, r.ruf, &good, &others);
	if (good && e->waits == 0)
		exam_found(e, DOCTOR_OK, STR_NONE, others > 0 ? STR("those who are to get the reports take them")
		           : STR("reports stay in the domain"), STR_NONE);
}

/* ---- TLS reports --------------------------------------------------------------------------------------------- */

void check_tls_reports(struct exam *e)
{
	const struct dns_answer *a = fact_dns(e, SAYS(e, "_smtp._tls.%.*s", STR_ARG(e->subject)), DNS_TXT);
	str text;
	size_t n;

	if (a == NULL || exam_failed(e, STR_NONE, a))
		return;
	n = txt_records(a, "v=TLSRPTv1", &text);
	if (n > 1)
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "there are %zu records: none of them counts (RFC 8460 3)", n),
		           STR("leave one of them"));
	else if (n == 1 && !has_tag(text, "rua"))
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("the record names nobody who gets the reports"),
		           SAYS(e, "add rua=mailto:postmaster@%.*s", STR_ARG(e->subject)));
	else if (n == 1)
		exam_found(e, DOCTOR_OK, STR_NONE, STR("who sends here reports TLS that fails"), STR_NONE);
	else if (!e->own)
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("it asks nobody for reports about TLS that fails"), STR_NONE);
	else
		exam_found(e, DOCTOR_OK, STR_NONE, STR("no reports about TLS are asked for"), STR_NONE);
}
