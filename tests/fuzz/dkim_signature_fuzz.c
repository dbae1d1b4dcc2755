/* SPDX-License-Identifier: ISC */
/*
 * dkim_signature: any bytes as a DKIM-Signature, read, and its header hashed.
 * A name that comes out is one that DNS can be asked for, whole.
 */
#include "modules/dkim/dkim.h"
#include "smtpd/mail/addr.h"

static void counted(void *arg, str bytes)
{
	*(size_t *)arg += bytes.n;
}

static void name_is_whole(str name)
{
	must(name.n == 0 || domain_valid(name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena a;
	str value = { (const char *)data, n };
	struct field v[] = {
		{ .name = STR("From"), .raw = STR("From: a@b.example\r\n"), .value = STR(" a@b.example") },
		{ .name = STR("DKIM-Signature") },
		{ .name = STR("to"), .raw = STR("to: x\r\n"), .value = STR(" x") },
	};
	struct fields fields = { .v = v, .n = COUNT(v) };
	struct dkim_signature sig;
	size_t bytes = 0;

	arena_init(&a, (size_t)64 << 20);
	struct buf raw;

	buf_init(&raw, BUF_UNBOUNDED);
	buf_add(&raw, STR("DKIM-Signature:"));
	buf_add(&raw, value);
	buf_add(&raw, STR("\r\n"));
	v[1].raw = buf_str(&raw);
	v[1].value = str_head(str_skip(v[1].raw, 15), n);
	for (int kind = DKIM_SIGNATURE; kind <= DKIM_ARC_MESSAGE; kind++) {
		dkim_signature_parse(&a, &v[1], kind, &sig);
		name_is_whole(sig.domain);
		name_is_whole(sig.selector);
		must(sig.nh <= DKIM_H_MAX);
		if (sig.fault == NULL)
			dkim_header_bytes(dkim_index_new(&a, &fields, true), &sig, counted, &bytes);
	}
	buf_fini(&raw);
	arena_fini(&a);
	return 0;
}
