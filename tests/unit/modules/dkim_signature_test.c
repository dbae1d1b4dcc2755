/* SPDX-License-Identifier: ISC */
/*
 * dkim_signature: what a DKIM-Signature says, and what is wrong with it.
 */
#include "tests/unit/modules/dkim_help.h"

#define BH "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
#define GOOD "v=1; a=rsa-sha256; d=example.com; s=sel; h=From:To; b=AAAA; " BH

static struct dkim_signature read_as(struct arena *a, str value, enum dkim_kind kind)
{
	static struct field f;
	struct dkim_signature sig;

	f = (struct field){ .name = STR("DKIM-Signature"), .value = value, .raw = value };
	dkim_signature_parse(a, &f, kind, &sig);
	return sig;
}

static void faults_are_told(void **state)
{
	static const struct { const char *value, *want; } cases[] = {
		{ GOOD, NULL },
		{ GOOD ";", NULL },
		{ "  v = 1 ; a = rsa-sha256 ; d=Example.COM;\r\n\ts=sel; h=From :\r\n To; b=AA\r\n AA; " BH, NULL },
		{ "a=rsa-sha256; d=example.com; s=sel; h=From; b=AAAA; " BH, "v= is missing" },
		{ "v=2; a=rsa-sha256; d=example.com; s=sel; h=From; b=AAAA; " BH, "v= is not 1" },
		{ "v=1; d=example.com; s=sel; h=From; b=AAAA; " BH, "a= is missing" },
		{ "v=1; a=rsa-sha512; d=example.com; s=sel; h=From; b=AAAA; " BH, "algorithm that is not known" },
		{ "v=1; a=rsa-sha1; d=example.com; s=sel; h=From; b=AAAA; " BH, "rsa-sha1 is historic" },
		{ "v=1; a=rsa-sha256; s=sel; h=From; b=AAAA; " BH, "d= is missing" },
		{ "v=1; a=rsa-sha256; d=example.com; h=From; b=AAAA; " BH, "s= is missing" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; b=AAAA; " BH, "h= is missing" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=To:Subject; b=AAAA; " BH, "does not cover From" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=; b=AAAA; " BH, "h= holds something" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=From::To; b=AAAA; " BH, "h= holds something" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=Fr om; b=AAAA; " BH, "h= holds something" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=From; " BH, "b= is missing" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=From; b=; " BH, "b= is not base64" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=From; b=%%%%; " BH, "b= is not base64" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=From; b=AAAA", "bh= is missing" },
		{ "v=1; a=rsa-sha256; d=example.com; s=sel; h=From; b=AAAA; bh=AAAA", "length is wrong" },
		{ GOOD "; l=ten", "l= is not a number" },
		{ GOOD "; l=-1", "l= is not a number" },
		{ GOOD "; l=", "l= is not a number" },
		{ GOOD "; t=1x", "t= is not a number" },
		{ GOOD "; x=y", "x= is not a number" },
		{ GOOD "; t=100; x=99", "x= is not later than t=" },
		{ GOOD "; t=100; x=100", "x= is not later than t=" },
		{ GOOD "; t=100; x=101", NULL },
		{ GOOD "; x=99999999999999999999999999", NULL },
		{ GOOD "; c=relaxed", NULL },
		{ GOOD "; c=relaxed/simple", NULL },
		{ GOOD "; c=Relaxed/Relaxed", NULL },
		{ GOOD "; c=nowsp", "c= names a canonical form" },
		{ GOOD "; c=simple/", "c= names a canonical form" },
		{ GOOD "; c=simple/simple/simple", "c= names a canonical form" },
		{ GOOD "; q=dns/txt", NULL },
		{ GOOD "; q=http:dns/txt", NULL },
		{ GOOD "; q=http", "q= names no way" },
		{ GOOD "; i=joe@example.com", NULL },
		{ GOOD "; i=@sub.example.com", NULL },
		{ GOOD "; i=joe=40x@example.com", NULL },
		{ GOOD "; i=joe@badexample.com", "not within d=" },
		{ GOOD "; i=joe@com", "not a domain name" },
		{ GOOD "; i=joe", "i= holds no @" },
		{ GOOD "; i=jo=4@example.com", "not dkim-quoted-printable" },
		{ GOOD "; d=other.example", "stands in it twice" },
		{ GOOD "; nonsense", "not a list" },
		{ GOOD "; z=From:x|To:y", NULL },
		{ GOOD "; unknown=ignored", NULL },
		{ "", "missing" },
		{ "garbage", "not a list" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;

		arena_init(&a, ARENA_UNBOUNDED);
		struct dkim_signature sig = read_as(&a, str_of(cases[i].value), DKIM_SIGNATURE);

		if (cases[i].want == NULL && sig.fault != NULL)
			fail_msg("%s: %s", cases[i].value, sig.fault);
		if (cases[i].want != NULL && (sig.fault == NULL || strstr(sig.fault, cases[i].want) == NULL))
			fail_msg("%s: got %s, want %s", cases[i].value, sig.fault ? sig.fault : "no fault", cases[i].want);
		arena_fini(&a);
	}
}

/* What is no name never becomes a shorter one: it is a fault, and empty. */
static void odd_names_reach_nobody(void **state)
{
#define D(d) "v=1; a=rsa-sha256; d=" d "; s=sel; h=From; b=AAAA; " BH
#define S(s) "v=1; a=rsa-sha256; d=example.com; s=" s "; h=From; b=AAAA; " BH
	static const struct { str value; bool domain; } cases[] = {
		{ STR(D("legit.com(.attacker.com")), true },
		{ STR(D("legit.com\0.attacker.com")), true },
		{ STR(D("legit.com'.attacker.com")), true },
		{ STR(D("legit.com\".attacker.com")), true },
		{ STR(D("legit.com .attacker.com")), true },
		{ STR(D("legit.com\r\n .attacker.com")), true },
		{ STR(D("legit..com")), true },
		{ STR(D(".legit.com")), true },
		{ STR(D("legit.com.")), true },
		{ STR(D("com")), true },
		{ STR(D("")), true },
		{ STR(D("[192.0.2.1]")), true },
		{ STR(D("legit.com/x")), true },
		{ STR(D("legit.com\\.attacker.com")), true },
		{ STR(D("\xff.example.com")), true },
		{ STR(D("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example")), true },
		{ STR(S("sel\0")), false },
		{ STR(S("sel\0.x")), false },
		{ STR(S("sel..x")), false },
		{ STR(S("sel.")), false },
		{ STR(S("sel(x")), false },
		{ STR(S("\"sel\"")), false },
		{ STR(S("sel x")), false },
		{ STR(S("")), false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;

		arena_init(&a, ARENA_UNBOUNDED);
		struct dkim_signature sig = read_as(&a, cases[i].value, DKIM_SIGNATURE);
		str got = cases[i].domain ? sig.domain : sig.selector;

		if (sig.fault == NULL || got.n != 0)
			fail_msg("case %zu: fault %s, name \"%.*s\"", i, sig.fault ? sig.fault : "none", STR_ARG(got));
		arena_fini(&a);
	}
}

static void values_are_read(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	struct dkim_signature sig = read_as(&a, STR(
		" v=1; a=ed25519-sha256; d=Example.COM; s=Sel.One; c=relaxed/simple; h=From : To:from;\r\n"
		" i=joe=3Bx@Sub.Example.com; l=17; t=100; x=200; b=AA\r\n EC; " BH), DKIM_SIGNATURE);

	assert_null(sig.fault);
	assert_true(str_is(sig.domain, "example.com"));
	assert_true(str_is(sig.selector, "sel.one"));
	assert_true(str_is(sig.identity, "joe;x@sub.example.com"));
	assert_int_equal(sig.algorithm, DKIM_ED25519_SHA256);
	assert_int_equal(sig.header_canon, CANON_RELAXED);
	assert_int_equal(sig.body_canon, CANON_SIMPLE);
	assert_int_equal(sig.nh, 3);
	assert_true(str_is(sig.h[2], "from"));
	assert_true(sig.has_length && sig.length == 17);
	assert_true(sig.has_time && sig.time == 100 && sig.has_expiry && sig.expiry == 200);
	assert_true(str_is(sig.b_text, "AAEC"));
	assert_int_equal(sig.b.n, 3);
	assert_int_equal(sig.bh.n, 32);
	assert_true(dkim_expired(&sig, 201));
	assert_false(dkim_expired(&sig, 200));

	sig = read_as(&a, STR(GOOD), DKIM_SIGNATURE);
	assert_true(str_is(sig.identity, "@example.com"));
	assert_int_equal(sig.header_canon, CANON_SIMPLE);
	assert_int_equal(sig.body_canon, CANON_SIMPLE);
	arena_fini(&a);
}

/* RFC 8616 4: a U-label in d= is asked for as its A-label. */
static void u_labels_become_a_labels(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	struct dkim_signature sig = read_as(&a, STR("v=1; a=rsa-sha256; d=b\xc3\xbc" "cher.example; s=sel; h=From; "
	                                            "b=AAAA; i=j\xc3\xb6@b\xc3\xbc" "cher.example; " BH), DKIM_SIGNATURE);

	assert_null(sig.fault);
	assert_true(str_is(sig.domain, "xn--bcher-kva.example"));
	assert_true(str_is(sig.identity, "j\xc3\xb6@xn--bcher-kva.example"));
	arena_fini(&a);
}

/* RFC 8617 4.1.2: no v=, and i= is a number. */
static void arc_message_signatures_are_read(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	struct dkim_signature sig = read_as(&a, STR("i=1; a=rsa-sha256; d=example.com; s=sel; h=From; b=AAAA; " BH),
	                                    DKIM_ARC_MESSAGE);

	assert_null(sig.fault);
	assert_int_equal(sig.identity.n, 0);
	arena_fini(&a);
}

static void floods_are_capped(void **state)
{
	struct arena a;
	struct buf b;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	buf_init(&b, BUF_UNBOUNDED);
	buf_add(&b, STR(GOOD "; c=simple"));
	for (int i = 0; i < 20000; i++)
		buf_addf(&b, "; t%d=x", i);
	assert_non_null(read_as(&a, buf_str(&b), DKIM_SIGNATURE).fault);
	buf_clear(&b);
	buf_add(&b, STR("v=1; a=rsa-sha256; d=example.com; s=sel; b=AAAA; " BH "; h=From"));
	for (int i = 0; i < 100000; i++)
		buf_add(&b, STR(":From"));
	assert_string_equal(read_as(&a, buf_str(&b), DKIM_SIGNATURE).fault,
	                    "h= names more fields than are looked at (500)");
	buf_clear(&b);
	buf_add(&b, STR("v=1; a=rsa-sha256; d=example.com; s=sel; h=From; " BH "; b="));
	for (int i = 0; i < 20000; i++)
		buf_add_char(&b, 'A');
	assert_string_equal(read_as(&a, buf_str(&b), DKIM_SIGNATURE).fault, "b= is longer than any signature");
	buf_fini(&b);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_are_told),
		cmocka_unit_test(odd_names_reach_nobody),
		cmocka_unit_test(values_are_read),
		cmocka_unit_test(u_labels_become_a_labels),
		cmocka_unit_test(arc_message_signatures_are_read),
		cmocka_unit_test(floods_are_capped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
