/* SPDX-License-Identifier: ISC */
/* authres and trace: whatever the values, the field is one field with our id,
 * in lines that hold; and ids and receivers are read without harm. */
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/authres.h"
#include "smtpd/mail/trace.h"

static void one_field(str f)
{
	size_t line = 0;

	must(f.n > 2 && f.p[f.n - 2] == '\r' && f.p[f.n - 1] == '\n');
	for (size_t i = 0; i < f.n; i++) {
		unsigned char c = (unsigned char)f.p[i];

		must(c >= ' ' || c == '\t' || c == '\r' || c == '\n');
		must(c != '\n' || f.p[i - 1] == '\r');
		must(c != '\r' || (f.p[i + 1] == '\n' && (i + 2 == f.n || is_wsp(f.p[i + 2]))));
		line = c == '\n' ? 0 : line + 1;
		must(line <= 999);
	}
}

static str value_of(str f)
{
	f.n -= 2;
	return str_skip(f, str_find(f, ':') + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	str              in = { (const char *)data, size }, id, field;
	str              a1 = str_head(in, size / 2), a2 = str_skip(in, size / 2);
	struct trace     t = { a1, a2, STR("192.0.2.1"), STR("h.test"), STR("id"), a2, 1, 1, 1, 0, 0, 0, a1, a2, 128, 1 };
	struct trace_spf s = { STR("fail"), a1, STR("192.0.2.1"), a2, a1, STR("h.test"), a2, a1, in };
	struct authres   r;
	struct arena     a;

	arena_init(&a, (size_t)32 << 20);
	authres_init(&r, &a, STR("h.test"));
	authres_method(&r, "spf", "fail", a1);
	authres_property(&r, "smtp.mailfrom", a2);
	authres_comment(&r, in);
	authres_method(&r, "dkim", "pass", a2);
	authres_property(&r, "header.d", a1);
	field = authres_field(&r, "Authentication-Results");
	one_field(field);
	must(authres_id(&a, value_of(field), &id) && str_is(id, "h.test"));
	one_field(trace_received(&a, &t));
	field = trace_received_spf(&a, &s);
	one_field(field);
	must(trace_received_spf_receiver(&a, value_of(field), &id) && str_is(id, "h.test"));
	if (authres_id(&a, in, &id))
		must(id.n != 0);
	if (trace_received_spf_receiver(&a, in, &id))
		must(id.n != 0);
	arena_fini(&a);
	return 0;
}
