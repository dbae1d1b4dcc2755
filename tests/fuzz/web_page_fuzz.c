/* SPDX-License-Identifier: ISC */
/* A question over HTTPS: method, path, Host, address and body, parted at NULs. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/setup/web_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static str submissions_at[] = { STR("0.0.0.0:465") }, web_at[] = { STR("0.0.0.0:443") };
static struct listener_conf submissions = { .address = { submissions_at, 1 }, .role = ROLE_SUBMISSION, .tls = TLS_IMPLICIT };
static struct domain_section example = { .name = STR("example.org") }, other = { .name = STR("xn--bcher-kva.test") };
static void *listeners[] = { &submissions }, *domains[] = { &example, &other };

/* What a stranger said stands in it as text, or not at all. */
static void look_at_document(str text)
{
	size_t open = 0, close = 0;

	must(text.n < 64 * 1024);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		must(c >= 0x20 || c == '\n' || c == '\r' || c == '\t');
		open += c == '<';
		close += c == '>';
	}
	must(open == close);
}

static void look_at_address(str body, struct arena *a)
{
	struct path p;

	if (!autodiscover_address(body, a, &p))
		return;
	must(p.domain.n > 0 && p.text.n <= 320 && !p.is_null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct config c = {
		.hostname = STR("mail.example.org"), .listeners = { listeners, 1 }, .domains = { domains, 2 },
		.web = { .address = { web_at, 1 }, .sts = WEB_STS_ENFORCE, .sts_max_age_ms = 604800000 },
	};
	str rest = { (const char *)data, n }, method, path, host, address, text;
	struct web_question q = { 0 };
	const char *type = NULL;
	struct arena a;

	if (n == 0 || !str_cut(&rest, '\0', &method) || !str_cut(&rest, '\0', &path) || !str_cut(&rest, '\0', &host) ||
	    !str_cut(&rest, '\0', &address))
		return 0;
	arena_init(&a, (size_t)1 << 20);
	q = (struct web_question){ str_cstr(&a, path), str_is(method, "POST"), host, address, rest };
	must(q.path != NULL);
	text = web_page(&c, &q, &a, &type);
	if (text.n > 0) {
		must(type != NULL && (str_starts(text, "<?xml") || str_starts(text, "version: STSv1\r\n")));
		look_at_document(text);
	}
	look_at_address(rest, &a);
	arena_fini(&a);
	return 0;
}
