/* SPDX-License-Identifier: ISC */
/*
 * The formats: Mozilla's autoconfig 1.1, Microsoft's [MS-OXDSCLI] 2006a (POX),
 * RFC 8461 3.2.  Whatever is not ours by configuration is escaped.
 */
#include "smtpd/setup/autoconfig.h"

#include "smtpd/base/buf.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"

#define DOCUMENT_MOST ((size_t)64 << 10)

/* ---- what is told ---------------------------------------------------------------------------- */

static uint16_t port_of(const struct listener_conf *l)
{
	struct endpoint e;

	for (size_t i = 0; i < l->address.n; i++)
		if (endpoint_parse(l->address.v[i], 0, &e) && !e.is_unix)
			return e.port;
	return 0;
}

static void find_submission(const struct config *c, struct autoconfig *out)
{
	for (size_t i = 0; i < c->listeners.n; i++) {
		const struct listener_conf *l = c->listeners.v[i];
		struct autoconfig_server *to = l->tls == TLS_IMPLICIT ? &out->submissions : &out->submission;

		if (l->role == ROLE_SUBMISSION && l->tls != TLS_NONE && to->port == 0)
			*to = (struct autoconfig_server){ c->hostname, port_of(l) };
	}
}

static void find_imap(const struct config *c, struct autoconfig *out)
{
	struct endpoint e;

	if (c->web.imap.n == 0)
		out->imap = (struct autoconfig_server){ c->hostname, 993 };
	else if (endpoint_parse(c->web.imap, 993, &e))
		out->imap = (struct autoconfig_server){ e.host, e.port };
}

void autoconfig_of(const struct config *c, str domain, struct arena *a, struct autoconfig *out)
{
	*out = (struct autoconfig){
		.domain = domain, .hostname = c->hostname, .sts = c->web.sts,
		.sts_max_age_s = c->web.sts_max_age_ms / 1000, .sts_mx = c->web.sts_mx, .served = c->web.address.n > 0,
	};
	find_submission(c, out);
	if (!str_is(c->web.imap, "none"))
		find_imap(c, out);
	if (out->sts_mx.n == 0) {
		out->sts_mx.v = ARENA_ARRAY(a, str, 1);
		if (out->sts_mx.v != NULL)
			out->sts_mx.v[out->sts_mx.n++] = c->hostname;
	}
}

/* ---- writing ------------------------------------------------------------------------------------- */

static void add_escaped(struct buf *b, str text)
{
	static const struct { char c; const char *as; } table[] = {
		{ '&', "&amp;" }, { '<', "&lt;" }, { '>', "&gt;" }, { '"', "&quot;" }, { '\'', "&apos;" },
	};

	for (size_t i = 0; i < text.n; i++) {
		const char *as = NULL;

		for (size_t k = 0; k < COUNT(table) && as == NULL; k++)
			if (text.p[i] == table[k].c)
				as = table[k].as;
		if (as != NULL)
			buf_add(b, str_of(as));
		else
			buf_add_char(b, (unsigned char)text.p[i] < 0x20 ? ' ' : text.p[i]);
	}
}

static void add_element(struct buf *b, const char *indent, const char *name, str value)
{
	buf_addf(b, "%s<%s>", indent, name);
	add_escaped(b, value);
	buf_addf(b, "</%s>\n", name);
}

static void add_number(struct buf *b, const char *indent, const char *name, unsigned value)
{
	buf_addf(b, "%s<%s>%u</%s>\n", indent, name, value, name);
}

static str finished(struct buf *b, struct arena *a)
{
	str text = b->failed ? STR_NONE : str_keep(a, buf_str(b));

	buf_fini(b);
	return text;
}

/* ---- Thunderbird ------------------------------------------------------------------------------------ */

static void add_mozilla(struct buf *b, const char *element, const char *type, const struct autoconfig_server *s,
                        const char *socket)
{
	if (s->port == 0)
		return;
	buf_addf(b, "    <%s type=\"%s\">\n", element, type);
	add_element(b, "      ", "hostname", s->host);
	add_number(b, "      ", "port", s->port);
	add_element(b, "      ", "socketType", str_of(socket));
	add_element(b, "      ", "authentication", STR("password-cleartext"));   /* inside TLS */
	add_element(b, "      ", "username", STR("%EMAILADDRESS%"));
	buf_addf(b, "    </%s>\n", element);
}

str autoconfig_thunderbird(const struct autoconfig *c, struct arena *a)
{
	struct buf b;

	buf_init(&b, DOCUMENT_MOST);
	buf_addf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"");
	add_escaped(&b, c->domain);
	buf_addf(&b, "\">\n");
	add_element(&b, "    ", "domain", c->domain);
	add_element(&b, "    ", "displayName", c->domain);
	add_element(&b, "    ", "displayShortName", c->domain);
	add_mozilla(&b, "incomingServer", "imap", &c->imap, "SSL");
	add_mozilla(&b, "outgoingServer", "smtp", &c->submissions, "SSL");      /* RFC 8314: first choice */
	add_mozilla(&b, "outgoingServer", "smtp", &c->submission, "STARTTLS");
	buf_addf(&b, "  </emailProvider>\n</clientConfig>\n");
	return finished(&b, a);
}

/* ---- Outlook -------------------------------------------------------------------------------------------- */

static void add_protocol(struct buf *b, const char *type, const struct autoconfig_server *s, const char *encryption,
                         str address)
{
	if (s->port == 0)
		return;
	buf_addf(b, "      <Protocol>\n");
	add_element(b, "        ", "Type", str_of(type));
	add_element(b, "        ", "Server", s->host);
	add_number(b, "        ", "Port", s->port);
	add_element(b, "        ", "DomainRequired", STR("off"));
	if (address.n > 0)
		add_element(b, "        ", "LoginName", address);
	add_element(b, "        ", "SPA", STR("off"));
	add_element(b, "        ", "SSL", STR("on"));
	add_element(b, "        ", "Encryption", str_of(encryption));
	add_element(b, "        ", "AuthRequired", STR("on"));
	buf_addf(b, "      </Protocol>\n");
}

/* It takes the first of a type, so there is one way to send. */
str autoconfig_outlook(const struct autoconfig *c, str address, struct arena *a)
{
	struct buf b;

	buf_init(&b, DOCUMENT_MOST);
	buf_addf(&b, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
	         "<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n"
	         "  <Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a\">\n"
	         "    <Account>\n      <AccountType>email</AccountType>\n      <Action>settings</Action>\n");
	add_protocol(&b, "IMAP", &c->imap, "SSL", address);
	if (c->submissions.port != 0)
		add_protocol(&b, "SMTP", &c->submissions, "SSL", address);
	else
		add_protocol(&b, "SMTP", &c->submission, "TLS", address);
	buf_addf(&b, "    </Account>\n  </Response>\n</Autodiscover>\n");
	return finished(&b, a);
}

/* The text of the first element of that name, whatever its prefix. */
static str element_text(str xml, const char *name)
{
	str tag = str_of(name);

	for (size_t at = 0; at + tag.n < xml.n; at++) {
		str rest = str_skip(xml, at);

		if (at > 0 && (xml.p[at - 1] == '<' || xml.p[at - 1] == ':') && str_starts(rest, name) &&
		    rest.p[tag.n] == '>') {
			rest = str_skip(rest, tag.n + 1);
			return str_trim(str_head(rest, str_find(rest, '<')));
		}
	}
	return STR_NONE;
}

bool autodiscover_address(str body, struct arena *a, struct path *out)
{
	str text = element_text(body, "EMailAddress");

	return text.n > 0 && text.n <= 320 && path_of(a, text, out) && out->domain.n > 0;
}

/* ---- MTA-STS ------------------------------------------------------------------------------------------------ */

static const char *const modes[] = { [WEB_STS_OFF] = "none", [WEB_STS_NONE] = "none", [WEB_STS_TESTING] = "testing",
	                             [WEB_STS_ENFORCE] = "enforce" };

str autoconfig_policy(const struct autoconfig *c, struct arena *a)
{
	struct buf b;

	buf_init(&b, DOCUMENT_MOST);
	buf_addf(&b, "version: STSv1\r\nmode: %s\r\n", modes[c->sts]);
	for (size_t i = 0; i < c->sts_mx.n; i++)
		buf_addf(&b, "mx: %.*s\r\n", STR_ARG(c->sts_mx.v[i]));
	buf_addf(&b, "max_age: %llu\r\n", (unsigned long long)c->sts_max_age_s);
	return finished(&b, a);
}

str autoconfig_policy_id(const struct autoconfig *c, struct arena *a)
{
	unsigned char digest[DIGEST_MAX];
	str policy = autoconfig_policy(c, a);

	digest_of(DIGEST_SHA256, policy, digest);
	return arena_printf(a, "%02x%02x%02x%02x%02x%02x%02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3],
	                    digest[4], digest[5], digest[6], digest[7], digest[8], digest[9]);
}
