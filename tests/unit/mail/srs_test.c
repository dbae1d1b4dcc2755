/* SPDX-License-Identifier: ISC */
/* srs: there and back, through other forwarders, and no way in for forgers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/mail/srs.h"

#define NOW  ((int64_t)1795300000)
#define DAY  86400
#define DAYS 21

static const unsigned char secret[SRS_SECRET] = "thirty-two octets that are known";
static const unsigned char other[SRS_SECRET] = "thirty-two octets of someone els";
static struct arena a;

static struct path path(const char *text)
{
	struct path p;

	if (!path_of(&a, str_of(text), &p))
		fail_msg("no address: %s", text);
	return p;
}

static struct path forwarded(const unsigned char *by, const char *sender, const char *domain)
{
	struct path from = path(sender), out;

	if (!srs_forward(&a, by, &from, str_of(domain), NOW, &out))
		fail_msg("not rewritten: %s", sender);
	return out;
}

static const char *back(const unsigned char *by, struct path p, int64_t now)
{
	static const char *const words[] = { [SRS_NOT] = "not", [SRS_FORGED] = "forged", [SRS_OLD] = "old" };
	struct path out = { 0 };
	enum srs_says says = srs_return(&a, by, &p, now, DAYS, &out);

	return says == SRS_GOOD ? str_cstr(&a, out.text) : words[says];
}

static void there_and_back(void **state)
{
	static const char *const senders[] = {
		"anna@a.test", "Anna.B@a.test", "a=b=c@a.test", "a+b-c@a.test", "\"a b\"@a.test", "\"a@b\"@sub.a.test", "x@xn--bcher-kva.test",
		"b\xc3\xbc@a.test", "srs0@a.test", "\"\"@a.test", "SRS0@a.test", "SRS2=a=b@a.test", "x@[192.0.2.1]",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(senders); i++) {
		struct path p = forwarded(secret, senders[i], "ours.test");

		assert_true(str_is(p.domain, "ours.test"));
		assert_true(str_starts(p.local, "SRS0="));
		assert_true(srs_is(p.local));
		assert_string_equal(back(secret, p, NOW), senders[i]);
		assert_string_equal(back(secret, p, NOW + DAYS * DAY), senders[i]);
		assert_string_equal(back(other, p, NOW), "forged");
	}
}

static void its_form_is_the_usual_one(void **state)
{
	struct path p = forwarded(secret, "anna@a.test", "ours.test");
	str rest = str_skip(p.local, 5), part;

	(void)state;
	assert_true(str_cut(&rest, '=', &part) && part.n == 8);
	assert_true(str_cut(&rest, '=', &part) && part.n == 2);
	assert_true(str_cut(&rest, '=', &part) && str_is(part, "a.test"));
	assert_true(str_is(rest, "anna"));
}

static void how_old_it_may_be(void **state)
{
	static const struct { int days; const char *want; } cases[] = {
		{ 0, "anna@a.test" }, { 1, "anna@a.test" }, { DAYS, "anna@a.test" }, { DAYS + 1, "old" }, { 100, "old" },
		{ 1000, "old" }, { -1, "anna@a.test" }, { -2, "anna@a.test" }, { -3, "old" },
		{ 1024, "anna@a.test" },        /* two letters of the calendar say no more */
	};
	struct path p = forwarded(secret, "anna@a.test", "ours.test");

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(back(secret, p, NOW + cases[i].days * (int64_t)DAY), cases[i].want);
}

/* first.test → second.test → third.test, and all the way back. */
static void through_several_forwarders(void **state)
{
	struct path first = forwarded(secret, "anna@a.test", "first.test");
	struct path second = forwarded(other, str_cstr(&a, first.text), "second.test");
	struct path third = forwarded(secret, str_cstr(&a, second.text), "third.test");

	(void)state;
	assert_true(str_starts(second.local, "SRS1="));
	assert_true(str_starts(third.local, "SRS1="));
	assert_true(memmem(third.local.p, third.local.n, "second.test", 11) == NULL);
	assert_string_equal(back(secret, third, NOW), str_cstr(&a, first.text));
	assert_string_equal(back(other, second, NOW), str_cstr(&a, first.text));
	assert_string_equal(back(secret, path(back(other, second, NOW)), NOW), "anna@a.test");
	assert_string_equal(back(other, third, NOW), "forged");
}

/* What others have made, separators of theirs included. */
static void senders_of_other_forwarders(void **state)
{
	static const struct { const char *sender, *back; } cases[] = {
		{ "SRS0=nhNl=TF=a.test=anna@first.test", "SRS0=nhNl=TF=a.test=anna@first.test" },
		{ "SRS0+nhNl=TF=a.test=anna@first.test", "SRS0+nhNl=TF=a.test=anna@first.test" },
		{ "srs0-nhNl=TF=a.test=anna@first.test", "SRS0-nhNl=TF=a.test=anna@first.test" },
		{ "SRS1=aPBn=first.test==nhNl=TF=a.test=anna@second.test", "SRS0=nhNl=TF=a.test=anna@first.test" },
		{ "SRS1+aPBn=first.test=+nhNl=TF=a.test=anna@second.test", "SRS0+nhNl=TF=a.test=anna@first.test" },
	};
	struct path odd;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct path p = forwarded(secret, cases[i].sender, "ours.test");

		assert_true(str_starts(p.local, "SRS1="));
		assert_string_equal(back(secret, p, NOW), cases[i].back);
	}
	/* It looks like one, and is none: wrapped as it is. */
	odd = forwarded(secret, "SRS1=aPBn=first.test=a.test=anna@second.test", "ours.test");
	assert_true(str_starts(odd.local, "SRS0="));
	assert_string_equal(back(secret, odd, NOW), "SRS1=aPBn=first.test=a.test=anna@second.test");
}

/* Mail systems on the way may change the case of letters, and nothing else. */
static void every_changed_octet_is_seen(void **state)
{
	struct path p = forwarded(secret, "anna@a.test", "ours.test");

	(void)state;
	for (size_t i = 0; i < p.local.n; i++)
		for (int c = 1; c < 256; c++) {
			char *copy = str_cstr(&a, p.local);
			struct path q = p;
			const char *said;

			if (tolower(c) == tolower((unsigned char)copy[i]))
				continue;
			copy[i] = (char)c;
			q.local = str_of(copy);
			said = back(secret, q, NOW);
			if (i == 4 && (c == '+' || c == '-'))
				assert_string_equal(said, "anna@a.test");
			else if (strcmp(said, "not") != 0 && strcmp(said, "forged") != 0)
				fail_msg("%s came back as %s", copy, said);
		}
	for (int upper = 0; upper < 2; upper++) {
		char *copy = str_cstr(&a, p.local);
		struct path q = p;

		for (size_t i = 0; copy[i] != '\0'; i++)
			copy[i] = (char)(upper ? toupper(copy[i]) : tolower(copy[i]));
		q.local = str_of(copy);
		assert_true(str_eq_nocase(str_of(back(secret, q, NOW)), STR("anna@a.test")));
	}
}

static void what_is_none(void **state)
{
	static const struct { const char *address, *want; } cases[] = {
		{ "anna@ours.test", "not" }, { "SRS0@ours.test", "not" }, { "SRS0=@ours.test", "not" }, { "SRS2=x=y@ours.test", "not" },
		{ "SRS0=x@ours.test", "forged" }, { "SRS0=x=y=z=u@ours.test", "forged" }, { "SRS0=AAAAAAAA=AA=a.test=u@ours.test", "forged" },
		{ "SRS1=AAAAAAAA=first.test==x@ours.test", "forged" }, { "SRS1=====@ours.test", "forged" }, { "SRS0=====@ours.test", "forged" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(back(secret, path(cases[i].address), NOW), cases[i].want);
}

/* The hash of an SRS1 is not good for an SRS0 that says the same. */
static void forms_do_not_stand_for_each_other(void **state)
{
	struct path p = forwarded(secret, "SRS0=nhNl=TF=a.test=anna@first.test", "ours.test");
	char *copy = str_cstr(&a, p.local);

	(void)state;
	copy[3] = '0';
	p.local = str_of(copy);
	assert_string_equal(back(secret, p, NOW), "forged");
}

static void what_cannot_be_rewritten(void **state)
{
	struct path null = { .is_null = true, .text = STR(""), .local = STR(""), .domain = STR("") }, out, longest;
	char local[260];

	(void)state;
	assert_false(srs_forward(&a, secret, &null, STR("ours.test"), NOW, &out));
	memset(local, 'x', sizeof(local));
	assert_true(path_build(&a, (str){ local, 240 }, STR("a.test"), &longest));
	assert_false(srs_forward(&a, secret, &longest, STR("ours.test"), NOW, &out));
	assert_true(path_build(&a, (str){ local, 200 }, STR("a.test"), &longest));
	assert_true(srs_forward(&a, secret, &longest, STR("ours.test"), NOW, &out));
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(its_form_is_the_usual_one),
		cmocka_unit_test(how_old_it_may_be),
		cmocka_unit_test(through_several_forwarders),
		cmocka_unit_test(senders_of_other_forwarders),
		cmocka_unit_test(every_changed_octet_is_seen),
		cmocka_unit_test(what_is_none),
		cmocka_unit_test(forms_do_not_stand_for_each_other),
		cmocka_unit_test(what_cannot_be_rewritten),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
