/* SPDX-License-Identifier: ISC */
/*
 * record_forms: texts of records.  A text is cut after 255 octets wherever that
 * falls: DNS joins the strings without a space.  Pure but for what it prints.
 */
#include "smtpd/setup/dns/record_forms.h"

#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/setup/dns/dns_verbs.h"

#define AROUND 12        /* octets shown on each side of a cut */

bool dns_record_is_txt(const struct dns_record *r)
{
	return strcmp(r->type, "TXT") == 0;
}

/* RFC 1035 5.1: quoted, with what would end it or escape escaped. */
static void add_strings(struct buf *b, str text)
{
	do {
		str piece = str_head(text, RECORD_STRING_MOST);

		buf_add(b, STR(" \""));
		for (size_t i = 0; i < piece.n; i++) {
			unsigned char c = (unsigned char)piece.p[i];

			if (c == '"' || c == '\\')
				buf_addf(b, "\\%c", c);
			else if (c < 0x20 || c > 0x7e)
				buf_addf(b, "\\%03u", c);
			else
				buf_add_char(b, (char)c);
		}
		buf_add_char(b, '"');
		text = str_skip(text, piece.n);
	} while (text.n > 0);
}

static str taken(struct buf *b, struct arena *a)
{
	str s = b->failed ? STR_NONE : str_keep(a, buf_str(b));

	buf_fini(b);
	return s;
}

str dns_record_zone(const struct dns_record *r, struct arena *a)
{
	bool several = dns_record_is_txt(r) && r->value.n > RECORD_STRING_MOST;
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_addf(&b, "%.*s. %d IN %s%s", STR_ARG(r->name), RECORD_TTL, r->type, several ? " (" : "");
	if (dns_record_is_txt(r))
		add_strings(&b, r->value);
	else
		buf_addf(&b, " %.*s", STR_ARG(r->value));
	if (several)
		buf_add(&b, STR(" )"));
	return taken(&b, a);
}

str dns_record_line(const struct dns_record *r, struct arena *a)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_addf(&b, "%.*s. %s", STR_ARG(r->name), r->type);
	if (dns_record_is_txt(r))
		add_strings(&b, r->value);
	else
		buf_addf(&b, " %.*s", STR_ARG(r->value));
	return taken(&b, a);
}

str dns_record_host(const struct dns_record *r, str zone, struct arena *a)
{
	if (str_eq_nocase(r->name, zone))
		return STR("@");
	if (r->name.n > zone.n + 1 && str_ends_nocase(r->name, zone) && r->name.p[r->name.n - zone.n - 1] == '.')
		return str_head(r->name, r->name.n - zone.n - 1);
	return arena_printf(a, "%.*s", STR_ARG(r->name));
}

/* ---- web forms ------------------------------------------------------------------------------- */

/* Forms ask for MX and SRV in several fields; the last word is the value. */
static size_t fields_of(const struct dns_record *r, const char *const **names)
{
	static const char *const mx[] = { "priority", "value" }, *const srv[] = { "priority", "weight", "port", "target" },
	                  *const tlsa[] = { "usage", "selector", "matching", "value" }, *const one[] = { "value" };

	if (strcmp(r->type, "MX") == 0)
		return *names = mx, COUNT(mx);
	if (strcmp(r->type, "SRV") == 0)
		return *names = srv, COUNT(srv);
	if (strcmp(r->type, "TLSA") == 0)
		return *names = tlsa, COUNT(tlsa);
	return *names = one, COUNT(one);
}

static void print_cuts(str text, FILE *out)
{
	fprintf(out, "           %zu octets", text.n);
	if (text.n <= RECORD_STRING_MOST) {
		fprintf(out, ", one string\n");
		return;
	}
	fprintf(out, "; a form that takes no more than %d wants strings:\n", RECORD_STRING_MOST);
	for (size_t at = 0; at < text.n; at += RECORD_STRING_MOST) {
		str piece = str_head(str_skip(text, at), RECORD_STRING_MOST);

		fprintf(out, "           \"%.*s\"\n", STR_ARG(piece));
	}
	for (size_t at = RECORD_STRING_MOST; at < text.n; at += RECORD_STRING_MOST)
		fprintf(out, "           cut after octet %zu: …%.*s | %.*s…\n", at, STR_ARG(str_skip(str_head(text, at), at - AROUND)),
		        STR_ARG(str_head(str_skip(text, at), AROUND)));
}

void dns_record_print_form(const struct dns_record *r, str zone, struct arena *a, FILE *out)
{
	const char *const *names;
	size_t n = fields_of(r, &names);
	str rest = r->value, word, host = dns_record_host(r, zone, a);

	fprintf(out, "%.*s\n", STR_ARG(r->note));
	if (r->ask_of.n > 0)
		fprintf(out, "  ask      %.*s\n", STR_ARG(r->ask_of));
	fprintf(out, "  name     %.*s\n", STR_ARG(r->name));
	if (!str_eq(host, r->name))
		fprintf(out, "  host     %.*s   (in a form that adds .%.*s itself)\n", STR_ARG(host), STR_ARG(zone));
	fprintf(out, "  type     %s\n", r->type);
	for (size_t i = 0; i + 1 < n && str_cut(&rest, ' ', &word); i++)
		fprintf(out, "  %-8s %.*s\n", names[i], STR_ARG(word));
	fprintf(out, "  %-8s %.*s\n", names[n - 1], STR_ARG(rest));
	if (dns_record_is_txt(r))
		print_cuts(r->value, out);
}

void dns_record_json(const struct dns_record *r, str zone, struct arena *a, struct json *o)
{
	const char *const *names;
	size_t n = fields_of(r, &names);
	str rest = r->value, word;
	struct json *list;

	json_set(o, "name", r->name);
	json_set_c(o, "type", r->type);
	json_set_num(o, "ttl", RECORD_TTL);
	json_set(o, "value", r->value);
	json_set(o, "note", r->note);
	json_set(o, "ask_of", r->ask_of.n > 0 ? r->ask_of : STR_NONE);
	json_set(o, "zone", dns_record_zone(r, a));
	json_set(o, "line", dns_record_line(r, a));
	json_set(o, "host", dns_record_host(r, zone, a));
	list = json_set_object(o, "fields");
	for (size_t i = 0; i + 1 < n && str_cut(&rest, ' ', &word); i++)
		json_set(list, names[i], word);
	json_set(list, names[n - 1], rest);
	json_set_num(o, "length", (int64_t)r->value.n);
	if (!dns_record_is_txt(r))
		return;
	list = json_set_array(o, "strings");
	for (rest = r->value; rest.n > 0; rest = str_skip(rest, RECORD_STRING_MOST))
		json_add(list, str_head(rest, RECORD_STRING_MOST));
}

void record_print_forms(const struct dns_record *r, str zone, struct arena *a)
{
	str in_zone = dns_record_zone(r, a), line = dns_record_line(r, a);

	dns_record_print_form(r, zone, a, stdout);
	printf("\nIn a zone file:\n  %.*s\nOn one line:\n  %.*s\n", STR_ARG(in_zone), STR_ARG(line));
}
