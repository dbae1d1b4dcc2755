/* SPDX-License-Identifier: ISC */
/*
 * Who exists cannot be told: not by the time that a wrong password takes, not by
 * SCRAM's steps, not by what a malformed exchange is answered.
 *
 * Time is the process' own processor time, so that a busy machine is not taken
 * for a difference; names take turns, medians are compared, and a round that was
 * disturbed all the same is made again.
 */
#include <time.h>

#include "tests/unit/auth/auth_help.h"

#define SSHA "{SSHA}dm2U645IleECKvOANCNiFr38UpOV56Pu"                 /* wonderland */
#define CRYPT "{SHA512-CRYPT}$6$rounds=1000$saltstring$JnP.5CpjHyOb3MZlgSdxSS8QLMJqDUPOwt1VtO2ocUeIwc4T/p4qlJzWZwRxoGqcZowugIQeRV32oS5b9oiNF."
#define TRIES  200
#define ROUNDS 3
#define APART  5                       /* percent */

static struct house house;

static const char *const names[] = {
	"alice@home.test", "nobody@home.test", "device@home.test", "kept@home.test", "upgraded@home.test",
	"alice@nowhere.test",
};

static void add_devices(struct buf *b, struct arena *a)
{
	for (int i = 0; i < 3; i++) {
		char password[DEVICE_TEXT + 1];
		struct quick q;
		str hash;

		device_draw(password);
		quick_make(str_of(password), &q);
		hash = quick_text(a, &q);
		buf_addf(b, "device+%d@home.test:%s::::::user=device@home.test postern_hash=%.*s\n", i,
		         verifier_of(a, password), STR_ARG(hash));
	}
}

static int begin(void **state)
{
	struct arena a;
	struct buf b;
	bool changed;
	str why = STR_NONE;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	crypt_setup();
	buf_init(&b, BUF_UNBOUNDED);
	buf_addf(&b, "alice@home.test:%s::::::\ndevice@home.test:%s::::::\n", verifier_of(&a, "wonderland"),
	         verifier_of(&a, "looking glass"));
	buf_addf(&b, "kept@home.test:" CRYPT "::::::\nupgraded@home.test:" SSHA "::::::\n");
	add_devices(&b, &a);
	house_make(&house, str_cstr(&a, buf_str(&b)));
	house.conf.upgrade = true;
	house_open_or_fail(&house);
	assert_int_equal(plain_says(&house, "upgraded@home.test", "wonderland"), AUTH_PASSED);
	assert_int_equal(auth_look_again(house.auth, true, &changed, &a, &why), OK);
	assert_true(changed);
	buf_fini(&b);
	arena_fini(&a);
	return 0;
}

static int end(void **state)
{
	(void)state;
	house_end(&house);
	return 0;
}

/* ---- time ----------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t plain_takes(const char *name)
{
	uint64_t began = now_ns();

	assert_int_equal(plain_says(&house, name, "not the password"), AUTH_REFUSED);
	return now_ns() - began;
}

static uint64_t scram_takes(const char *name)
{
	char first[600], last[5000];
	struct talk t;
	uint64_t began;
	str said;

	snprintf(first, sizeof(first), "n,,n=%s,r=abcdefghijklmnop", name);
	said = str_of(first);
	talk_new(&t, &house);
	began = now_ns();
	assert_int_equal(talk_begin(&t, "SCRAM-SHA-256", &said), AUTH_MORE);
	snprintf(last, sizeof(last), "c=biws,%.*s,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	         (int)(strchr(t.text, ',') - t.text), t.text);
	assert_int_equal(talk_step(&t, str_of(last)), AUTH_REFUSED);
	talk_end(&t);
	return now_ns() - began;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t median(uint64_t *v)
{
	qsort(v, TRIES, sizeof(v[0]), by_size);
	return v[TRIES / 2];
}

/* The slowest name's median is how many percent above the quickest's? */
static double apart(uint64_t (*takes)(const char *))
{
	static uint64_t took[COUNT(names)][TRIES];
	uint64_t least = UINT64_MAX, most = 0;

	for (size_t i = 0; i < TRIES; i++)
		for (size_t k = 0; k < COUNT(names); k++)
			took[(i + k) % COUNT(names)][i] = takes(names[(i + k) % COUNT(names)]);
	for (size_t k = 0; k < COUNT(names); k++) {
		uint64_t m = median(took[k]);

		print_message("%-20s %8.1f us\n", names[k], (double)m / 1000);
		least = m < least ? m : least;
		most = m > most ? m : most;
	}
	return ((double)most / (double)least - 1) * 100;
}

/* A sanitizer's own work is not the server's. */
#ifdef SANITIZED
#define SKIP_WHEN_SANITIZED() skip()
#else
#define SKIP_WHEN_SANITIZED() (void)0
#endif

static void expect_same_time(uint64_t (*takes)(const char *))
{
	double percent = 100;

	for (int i = 0; i < ROUNDS && percent >= APART; i++)
		percent = apart(takes);
	if (percent >= APART)
		fail_msg("the medians are %.1f %% apart", percent);
}

static void plain_takes_as_long_for_everybody(void **state)
{
	(void)state;
	SKIP_WHEN_SANITIZED();
	expect_same_time(plain_takes);
}

static void scram_takes_as_long_for_everybody(void **state)
{
	(void)state;
	SKIP_WHEN_SANITIZED();
	expect_same_time(scram_takes);
}

/* ---- answers -------------------------------------------------------------------------- */

/* %s is the name; responses parted by newlines, "@" alone: none at all. */
static const struct { const char *mechanism, *said; bool nul; } malformed[] = {
	{ "PLAIN", "%s", false }, { "PLAIN", "|%s|", true }, { "PLAIN", "|%s", true }, { "PLAIN", "||%s", true },
	{ "PLAIN", "%s|%s|x", true }, { "PLAIN", "bob@home.test|%s|x", true }, { "PLAIN", "|%s|a|b", true },
	{ "PLAIN", "|%s|x\r\n", true },
	{ "LOGIN", "@\n%s\n", false }, { "LOGIN", "@\n%s\nx", false }, { "LOGIN", "%s\n\nx", false },
	{ "SCRAM-SHA-256", "n,,n=%s", false }, { "SCRAM-SHA-256", "n,,n=%s,r=", false },
	{ "SCRAM-SHA-256", "n,a=%s,n=%s,r=abc", false }, { "SCRAM-SHA-256", "n,,n=%s,r=abc\n", false },
	{ "SCRAM-SHA-256", "n,,n=%s,r=abc\nc=biws,r=abc,p=AAAA", false },
	{ "SCRAM-SHA-256", "n,,n=%s,r=abc\nc=biws,r=abc", false }, { "SCRAM-SHA-256", "y,,n=%s,r=abc\n\x01", false },
	{ "SCRAM-SHA-256", "p=tls-unique,,n=%s,r=abc", false }, { "SCRAM-SHA-256", "n,,m=x,n=%s,r=abc", false },
	{ "SCRAM-SHA-256", "n,,n=%s,r=abc\nc=AAAA,r=abc,p=AAAA", false },
};

/* What is heard, step by step; a challenge by its length, for salts differ. */
static void hear(size_t which, const char *name, char *out, size_t room)
{
	char text[1200], *at = text, *one;
	struct talk t;
	bool begun = false;

	snprintf(text, sizeof(text), malformed[which].said, name, name, name);
	talk_new(&t, &house);
	out[0] = '\0';
	while ((one = strsep(&at, "\n")) != NULL) {
		size_t n = strlen(one), used = strlen(out);
		str said = { one, n };
		enum auth_says says;

		for (size_t i = 0; malformed[which].nul && i < n; i++)
			one[i] = one[i] == '|' ? '\0' : one[i];
		says = begun ? talk_step(&t, said) : talk_begin(&t, malformed[which].mechanism,
		                                                strcmp(one, "@") == 0 ? NULL : &said);
		begun = true;
		snprintf(out + used, room - used, "%d/%zu ", says, t.n);
		if (says != AUTH_MORE)
			break;
	}
	talk_end(&t);
}

/* Names of one length, so that only what they are can differ. */
static void a_malformed_exchange_tells_nobody_apart(void **state)
{
	static const char *const same[] = { "alice@home.test", "nobod@home.test", "devic@home.test", "keptt@home.test" };

	(void)state;
	for (size_t i = 0; i < COUNT(malformed); i++) {
		char first[400], other[400];

		hear(i, same[0], first, sizeof(first));
		assert_null(strstr(first, "1/"));          /* AUTH_PASSED */
		for (size_t k = 1; k < COUNT(same); k++) {
			hear(i, same[k], other, sizeof(other));
			if (strcmp(first, other) != 0)
				fail_msg("%s \"%s\": %s hears %s, %s hears %s", malformed[i].mechanism,
				         malformed[i].said, same[0], first, same[k], other);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_malformed_exchange_tells_nobody_apart, begin, end),
		cmocka_unit_test_setup_teardown(plain_takes_as_long_for_everybody, begin, end),
		cmocka_unit_test_setup_teardown(scram_takes_as_long_for_everybody, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
