/* SPDX-License-Identifier: ISC */
/*
 * What is forwarded, copied, or has been here before: senders, fields and flags
 * of each recipient, as the queue gets them.
 */
#include "tests/unit/session_house.h"

#define MESSAGE "Subject: x\r\n\r\nhello\r\n"
#define DAY     ((int64_t)86400)

static void say_message(const char *sender, const char *rcpts, const char *header, const char *want)
{
	char line[400], from[400];
	str list = str_of(rcpts), word;

	snprintf(from, sizeof(from), "MAIL FROM:<%s>", sender);
	talk(from, "250");
	while (str_cut(&list, ' ', &word)) {
		snprintf(line, sizeof(line), "RCPT TO:<%.*s>%s", STR_ARG(str_head(word, str_find(word, '/'))),
		         word.n > str_find(word, '/') ? " NOTIFY=" : "");
		if (word.n > str_find(word, '/'))
			strncat(line, str_skip(word, str_find(word, '/') + 1).p, str_skip(word, str_find(word, '/') + 1).n);
		talk(line, "250");
	}
	talk("DATA", "354");
	client_say(header);
	talk(MESSAGE ".", want);
}

static const char *rcpt_head(const char *address)
{
	for (size_t i = 0; i < last_stored()->nrcpts; i++)
		if (strcmp(last_stored()->rcpts[i].text, address) == 0)
			return last_stored()->rcpts[i].head;
	fail_msg("%s is no recipient", address);
	return NULL;
}

static size_t rcpt_of(const char *address)
{
	for (size_t i = 0; i < last_stored()->nrcpts; i++)
		if (strcmp(last_stored()->rcpts[i].text, address) == 0)
			return i;
	fail_msg("%s is no recipient", address);
	return 0;
}

static unsigned flags_of(const char *address)
{
	return last_stored()->rcpts[rcpt_of(address)].flags;
}

static const char *sender_of(const char *address)
{
	return last_stored()->rcpts[rcpt_of(address)].sender;
}

/* ---- senders ------------------------------------------------------------------------------ */

static void strangers_get_a_sender_of_ours(void **state)
{
	struct arena a;
	struct path  made, back;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	client_hello();
	say_message("x@far.test", "sales@here.test", "", "250");
	assert_int_equal(last_stored()->nrcpts, 2);
	assert_string_equal(last_stored()->from, "x@far.test");
	assert_string_equal(sender_of("alice@here.test"), "");
	assert_false(flags_of("alice@here.test") & (RCPT_OWN_SENDER | RCPT_OWN_HEAD));
	assert_true(flags_of("far@elsewhere.test") & RCPT_OWN_SENDER);
	assert_true(path_of(&a, str_of(sender_of("far@elsewhere.test")), &made));
	assert_true(str_is(made.domain, "here.test"));
	assert_int_equal(srs_return(&a, house_secret, &made, clock_wall(), 21, &back), SRS_GOOD);
	assert_true(str_is(back.text, "x@far.test"));
	assert_string_equal(rcpt_head("far@elsewhere.test"), "Delivered-To: sales@here.test\r\n");
	assert_string_equal(last_stored()->content, MESSAGE);
	arena_fini(&a);
}

static void who_keeps_his_sender(void **state)
{
	static const char *const senders[] = { "", "bob@here.test", "someone@office.test" };

	(void)state;
	client_hello();
	for (size_t i = 0; i < COUNT(senders); i++) {
		say_message(senders[i], "sales@here.test", "", "250");
		assert_false(flags_of("far@elsewhere.test") & RCPT_OWN_SENDER);
		assert_string_equal(rcpt_head("far@elsewhere.test"), "Delivered-To: sales@here.test\r\n");
	}
	h.forward.srs = false;
	say_message("x@far.test", "sales@here.test", "", "250");
	assert_false(flags_of("far@elsewhere.test") & RCPT_OWN_SENDER);
}

static void the_option_names_the_domain(void **state)
{
	const char *made;

	(void)state;
	h.forward.srs_domain = STR("office.test");
	client_hello();
	say_message("x@far.test", "sales@here.test", "", "250");
	made = sender_of("far@elsewhere.test");
	assert_string_equal(made + strlen(made) - 12, "@office.test");
}

/* ---- bounces that come back ------------------------------------------------------------------- */

static const char *srs_address(const unsigned char *secret, const char *origin, int64_t ago)
{
	static char line[400];
	struct path from, made;
	struct arena a;

	arena_init(&a, ARENA_UNBOUNDED);
	assert_true(path_of(&a, str_of(origin), &from));
	assert_true(srs_forward(&a, secret, &from, STR("here.test"), clock_wall() - ago, &made));
	snprintf(line, sizeof(line), "RCPT TO:<%.*s>", STR_ARG(made.text));
	arena_fini(&a);
	return line;
}

static void bounces_find_back(void **state)
{
	static const unsigned char other[SRS_SECRET] = "thirty-two octets of someone els";
	static const struct { const char *name, *sender, *origin, *want, *to; int64_t ago; bool forged; } cases[] = {
		{ "a bounce", "", "x@far.test", "250 2.1.5", "x@far.test", 0, false },
		{ "after three weeks", "", "x@far.test", "250 2.1.5", "x@far.test", 21 * DAY, false },
		{ "after four", "", "x@far.test", "550 5.7.1", NULL, 28 * DAY, false },
		{ "not made here", "", "x@far.test", "550 5.7.1", NULL, 0, true },
		{ "no bounce", "y@far.test", "x@far.test", "550 5.7.1", NULL, 0, false },
		{ "through two forwarders", "", "SRS0=AAAA=BB=far.test=x@first.test", "250 2.1.5", "SRS0=AAAA=BB=far.test=x@first.test",
		  0, false },
		{ "to us after all", "", "bob@here.test", "250 2.1.5", "bob@here.test", 0, false },
		{ "to nobody of us", "", "nobody@here.test", "550 5.1.1", NULL, 0, false },
		{ "to us again and again", "", "SRS0=AAAA=BB=far.test=x@here.test", "550 5.1.1", NULL, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char from[300];

		client_hello();
		snprintf(from, sizeof(from), "MAIL FROM:<%s>", cases[i].sender);
		talk(from, "250");
		talk(srs_address(cases[i].forged ? other : house_secret, cases[i].origin, cases[i].ago), cases[i].want);
		if (cases[i].to == NULL)
			continue;
		talk("DATA", "354");
		talk(MESSAGE ".", "250");
		assert_int_equal(last_stored()->nrcpts, 1);
		assert_string_equal(last_stored()->rcpts[0].text, cases[i].to);
		assert_false(last_stored()->rcpts[0].flags & RCPT_OWN_SENDER);
	}
}

static void other_senders_by_option(void **state)
{
	(void)state;
	h.forward.srs_bounces_only = false;
	client_hello();
	talk("MAIL FROM:<y@far.test>", "250");
	talk(srs_address(house_secret, "x@far.test", 0), "250");
	talk("DATA", "354");
	talk(MESSAGE ".", "250");
	assert_string_equal(last_stored()->rcpts[0].text, "x@far.test");
	assert_true(last_stored()->rcpts[0].flags & RCPT_OWN_SENDER);
}

/* Nobody gets a relay out of it. */
static void no_other_domain_is_reached(void **state)
{
	static const char *const tries[] = {
		"SRS0=AAAAAAAA=AA=victim.test=x@here.test", "SRS0=x@here.test", "SRS1=AAAAAAAA=victim.test==x@here.test",
		"srs0=aaaaaaaa=aa=victim.test=x@office.test",
	};
	char line[300];

	(void)state;
	client_hello();
	talk("MAIL FROM:<>", "250");
	for (size_t i = 0; i < COUNT(tries); i++) {
		snprintf(line, sizeof(line), "RCPT TO:<%s>", tries[i]);
		talk(line, "550 5.7.1");
	}
	talk("RCPT TO:<SRS0=AAAAAAAA=AA=victim.test=x@far.test>", "550 5.7.1");
}

/* ---- what has been here -------------------------------------------------------------------------- */

static void loops_end(void **state)
{
	static const struct { const char *rcpts, *header, *want; const char *looped, *fine; } cases[] = {
		{ "alice@here.test", "Delivered-To: alice@here.test\r\n", "554 5.4.6", NULL, NULL },
		{ "alice@here.test", "Delivered-To: ALICE@here.test\r\n", "554 5.4.6", NULL, NULL },
		{ "alice@here.test", "Delivered-To: bob@here.test\r\n", "250", NULL, "alice@here.test" },
		{ "alice+x@here.test", "Delivered-To: alice@here.test\r\n", "250", NULL, "alice+x@here.test" },
		{ "alice@here.test bob@here.test", "Delivered-To: alice@here.test\r\n", "250", "alice@here.test", "bob@here.test" },
		{ "both@here.test", "Delivered-To: alice@here.test\r\n", "250", "alice@here.test", "bob@here.test" },
		{ "sales@here.test", "Delivered-To: sales@here.test\r\n", "554 5.4.6", NULL, NULL },
		{ "sales@here.test bob@here.test", "Delivered-To: sales@here.test\r\n", "250", "far@elsewhere.test", "bob@here.test" },
		{ "sales@here.test", "Delivered-To: far@elsewhere.test\r\n", "250", NULL, "far@elsewhere.test" },
	};

	(void)state;
	client_hello();
	for (size_t i = 0; i < COUNT(cases); i++) {
		say_message("x@far.test", cases[i].rcpts, cases[i].header, cases[i].want);
		if (cases[i].looped != NULL && !(flags_of(cases[i].looped) & RCPT_LOOPS))
			fail_msg("%s: %s", cases[i].rcpts, cases[i].looped);
		if (cases[i].fine != NULL && (flags_of(cases[i].fine) & RCPT_LOOPS))
			fail_msg("%s: %s", cases[i].rcpts, cases[i].fine);
	}
}

/* ---- what nobody would take ---------------------------------------------------------------------- */

static void doomed(void **state)
{
	static const struct { int option; const char *rcpts, *want; unsigned flags; } cases[] = {
		{ DOOMED_SEND, "sales@here.test", "250", 0 },
		{ DOOMED_KEEP, "sales@here.test", "250", RCPT_DOOMED_HELD },
		{ DOOMED_BOUNCE, "sales@here.test", "250", RCPT_DOOMED },
		{ DOOMED_BOUNCE, "outer@here.test", "550 5.7.26", 0 },
		{ DOOMED_KEEP, "outer@here.test", "250", RCPT_DOOMED_HELD },
	};

	(void)state;
	add_alias((struct directory *)(uintptr_t)h.setup.directory, "outer@here.test", 1, (const char *const[]){ "far@elsewhere.test" });
	module.fragile = "p=reject";
	client_hello();
	for (size_t i = 0; i < COUNT(cases); i++) {
		h.forward.doomed = cases[i].option;
		say_message("x@far.test", cases[i].rcpts, "", cases[i].want);
		if (strcmp(cases[i].want, "250") == 0 &&
		    (flags_of("far@elsewhere.test") & (RCPT_DOOMED | RCPT_DOOMED_HELD)) != cases[i].flags)
			fail_msg("case %zu: %u", i, flags_of("far@elsewhere.test"));
	}
	assert_false(flags_of("far@elsewhere.test") & RCPT_LOOPS);
	module.fragile = NULL;
	say_message("x@far.test", "sales@here.test", "", "250");
	assert_false(flags_of("far@elsewhere.test") & (RCPT_DOOMED | RCPT_DOOMED_HELD));
}

/* ---- aliases and reports (RFC 3461 5.2.7) ---------------------------------------------------------- */

static void success_ends_at_an_alias_of_several(void **state)
{
	(void)state;
	client_hello();
	say_message("x@far.test", "both@here.test/SUCCESS,FAILURE", "", "250");
	assert_int_equal(last_stored()->nrcpts, 3);
	assert_true(flags_of("both@here.test") & RCPT_EXPANDED);
	assert_true(flags_of("both@here.test") & RCPT_NOTIFY_SUCCESS);
	assert_int_equal(flags_of("bob@here.test"), RCPT_LOCAL | RCPT_NOTIFY_FAILURE);
	assert_string_equal(last_stored()->rcpts[rcpt_of("bob@here.test")].orcpt, "rfc822;both@here.test");
	say_message("x@far.test", "both@here.test/SUCCESS", "", "250");
	assert_int_equal(flags_of("alice@here.test"), RCPT_LOCAL | RCPT_NOTIFY_NEVER);
	say_message("x@far.test", "both@here.test/FAILURE", "", "250");
	assert_int_equal(last_stored()->nrcpts, 2);
	/* One for one keeps all it was told. */
	say_message("x@far.test", "abuse@here.test/SUCCESS", "", "250");
	assert_int_equal(last_stored()->nrcpts, 1);
	assert_int_equal(flags_of("alice@here.test"), RCPT_LOCAL | RCPT_NOTIFY_SUCCESS);
	assert_string_equal(last_stored()->rcpts[0].orcpt, "rfc822;abuse@here.test");
	say_message("x@far.test", "alice@here.test ALICE@here.test both@here.test", "", "250");
	assert_int_equal(last_stored()->nrcpts, 2);
	assert_string_equal(last_stored()->rcpts[0].orcpt, "");
}

/* ---- copies ---------------------------------------------------------------------------------------- */

static void copies_tell_the_envelope(void **state)
{
	const char *head;

	(void)state;
	client_hello();
	say_message("x@far.test", "carol@copied.test bob@here.test", "X-Postern-Copy-From: <forged@far.test>\r\n", "250");
	assert_int_equal(last_stored()->nrcpts, 3);
	assert_int_equal(flags_of("archive@here.test"), RCPT_LOCAL | RCPT_NOTIFY_NEVER | RCPT_COPY | RCPT_OWN_SENDER | RCPT_OWN_HEAD);
	assert_string_equal(sender_of("archive@here.test"), "");
	head = rcpt_head("archive@here.test");
	assert_non_null(strstr(head, "X-Postern-Copy-Id: q"));
	assert_non_null(strstr(head, "X-Postern-Copy-Client: [192.0.2.1] helo=\"client.test\"\r\n"));
	assert_non_null(strstr(head, "X-Postern-Copy-From: <x@far.test>\r\n"));
	assert_non_null(strstr(head, "X-Postern-Copy-To: <carol@copied.test>\r\n"));
	assert_null(strstr(head, "Login"));
	assert_string_equal(rcpt_head("bob@here.test"), "");
	assert_string_equal(last_stored()->content, MESSAGE);
}

static void what_goes_out_is_copied_whole(void **state)
{
	const char *head;

	(void)state;
	client_login("carol@copied.test");
	say_message("carol@copied.test", "y@far.test bob@here.test", "From: carol@copied.test\r\n", "250");
	head = rcpt_head("archive@here.test");
	assert_non_null(strstr(head, "X-Postern-Copy-Login: carol@copied.test\r\n"));
	assert_non_null(strstr(head, "X-Postern-Copy-To: <y@far.test>, <bob@here.test>\r\n"));
	assert_int_equal(last_stored()->nrcpts, 3);
}

static void copied_once(void **state)
{
	char field[300];
	const char *end;

	(void)state;
	client_hello();
	/* Who is a recipient anyway gets one message, with the fields. */
	say_message("x@far.test", "carol@copied.test archive@here.test", "", "250");
	assert_int_equal(last_stored()->nrcpts, 2);
	assert_int_equal(flags_of("archive@here.test"), RCPT_LOCAL | RCPT_OWN_HEAD);
	assert_non_null(strstr(rcpt_head("archive@here.test"), "X-Postern-Copy-To: <carol@copied.test>\r\n"));
	/* A copy that comes back is none again; a forged mark does not help. */
	end = strstr(rcpt_head("archive@here.test"), "\r\n");
	snprintf(field, sizeof(field), "%.*s\r\n", (int)(end - rcpt_head("archive@here.test")), rcpt_head("archive@here.test"));
	say_message("x@far.test", "carol@copied.test", field, "250");
	assert_int_equal(last_stored()->nrcpts, 1);
	field[strlen(field) - 3] ^= 1;
	say_message("x@far.test", "carol@copied.test", field, "250");
	assert_int_equal(last_stored()->nrcpts, 2);
}

/* It goes out by its domain's route and comes in again: copied the first time. */
static void a_route_does_not_copy_twice(void **state)
{
	char field[300];
	const char *head;

	(void)state;
	client_login("carol@copied.test");
	say_message("carol@copied.test", "bob@office.test", "From: carol@copied.test\r\n", "250");
	assert_true(flags_of("bob@office.test") & RCPT_ROUTE);
	assert_false(flags_of("archive@here.test") & RCPT_ROUTE);
	head = rcpt_head("bob@office.test");
	assert_true(strncmp(head, "X-Postern-Copy-Id: ", 19) == 0);
	snprintf(field, sizeof(field), "%s", head);
	client_hello();
	say_message("carol@copied.test", "carol@copied.test", field, "250");
	assert_int_equal(last_stored()->nrcpts, 1);
	assert_null(strstr(last_stored()->content, "X-Postern"));
}

/* ---- quarantine ------------------------------------------------------------------------------------- */

static void quarantine_is_told_in_a_field(void **state)
{
	(void)state;
	client_hello();
	say_message("x@far.test", "alice@here.test", "X-Postern-Quarantine: yes\r\n", "250");
	assert_null(strstr(last_stored()->head, "X-Postern-Quarantine"));
	assert_string_equal(last_stored()->content, MESSAGE);
	module.say[ON_MESSAGE] = SAY_QUARANTINE;
	say_message("x@far.test", "alice@here.test carol@copied.test", "", "250");
	assert_true(strncmp(last_stored()->head, "X-Postern-Quarantine: yes; by=test", 34) == 0);
	assert_true(flags_of("alice@here.test") & RCPT_QUARANTINE);
	assert_false(flags_of("archive@here.test") & RCPT_QUARANTINE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(strangers_get_a_sender_of_ours), HOUSE_TEST(who_keeps_his_sender), HOUSE_TEST(the_option_names_the_domain),
		HOUSE_TEST(bounces_find_back), HOUSE_TEST(other_senders_by_option), HOUSE_TEST(no_other_domain_is_reached),
		HOUSE_TEST(loops_end), HOUSE_TEST(doomed), HOUSE_TEST(success_ends_at_an_alias_of_several),
		HOUSE_TEST(copies_tell_the_envelope), HOUSE_TEST(what_goes_out_is_copied_whole), HOUSE_TEST(copied_once),
		HOUSE_TEST(a_route_does_not_copy_twice), HOUSE_TEST(quarantine_is_told_in_a_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
