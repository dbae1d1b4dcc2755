/* SPDX-License-Identifier: ISC */
/* conf: a file to values, and a file to faults. */
#include "tests/unit/base/conf_help.h"

/* ---- values ------------------------------------------------------------------ */

static void defaults_fill_what_is_not_given(void **state)
{
	struct reading g;

	(void)state;
	reading_begin_text(&g, "hostname = \"mail.example.org\"\n");
	no_faults(&g);
	is_text(g.root.hostname, "mail.example.org");
	assert_int_equal(g.root.listen.n, 2);
	is_text(g.root.listen.v[0], "0.0.0.0:25");
	is_text(g.root.listen.v[1], "[::]:25");
	assert_null(g.root.tls.certificate.p);
	assert_int_equal(g.root.tls.minimum, 0);
	assert_false(g.root.tls.head.given);
	assert_int_equal(g.root.limits.size, 50 << 20);
	assert_int_equal(g.root.limits.wait, 300000);
	assert_int_equal(g.root.limits.errors, 10);
	assert_true(g.root.limits.strict);
	assert_int_equal(g.root.domains.n, 0);
	assert_true(conf_given(&g.root.head, "hostname"));
	assert_false(conf_given(&g.root.head, "listen"));
	arena_fini(&g.arena);
}

static void values_are_what_the_file_says(void **state)
{
	struct reading g;
	struct domain *a, *b;

	(void)state;
	reading_begin_text(&g,
		"\xef\xbb\xbf# a comment { with \" signs\r\n"
		"hostname = mail.example.org // another\r\n"
		"/* a long\n one */ listen = {\n \"127.0.0.1:25\", # first\n unix:/run/x,\n}\n"
		"tls { certificate = '/etc/a b.pem' key = \"/etc/\\\"k\\\".pem\" minimum = 1.3 }\n"
		"limits {\n"
		"  message-size = \"2 MiB\"\n"
		"  wait = 90s\n"
		"  errors = 100 strict = off\n"
		"}\n"
		"domain \"B.example\" { aliases = /etc/aliases }\n"
		"domain \"a.example\" {\n"
		"  deliver { maildir = \"  /m/%u \" }\n"
		"  dkim \"s1\" { key = \"/k1\" }\n"
		"  dkim \"s2\" { key = \"/k2\" }\n"
		"  aliases = {}\n"
		"}\n");
	no_faults(&g);
	is_text(g.root.hostname, "mail.example.org");
	assert_int_equal(g.root.listen.n, 2);
	is_text(g.root.listen.v[1], "unix:/run/x");
	is_text(g.root.tls.certificate, "/etc/a b.pem");
	is_text(g.root.tls.key, "/etc/\"k\".pem");
	assert_int_equal(g.root.tls.minimum, 1);
	assert_int_equal(g.root.tls.head.line, 8);
	assert_int_equal(g.root.limits.size, 2 << 20);
	assert_int_equal(g.root.limits.wait, 90000);
	assert_int_equal(g.root.limits.errors, 100);
	assert_false(g.root.limits.strict);
	assert_int_equal(g.root.domains.n, 2);
	b = g.root.domains.v[0];
	a = g.root.domains.v[1];
	is_text(b->head.title, "B.example");
	assert_int_equal(b->head.line, 14);
	is_text(b->aliases.v[0], "/etc/aliases");
	is_text(b->deliver.maildir, "/var/mail/%d/%u");
	is_text(a->deliver.maildir, "/m/%u");
	assert_int_equal(a->aliases.n, 0);
	assert_true(conf_given(&a->head, "aliases"));
	assert_int_equal(a->dkims.n, 2);
	is_text(((struct dkim *)a->dkims.v[1])->key, "/k2");
	assert_int_equal(a->head.line, 15);
	arena_fini(&g.arena);
}

static const struct { const char *text; bool good; uint64_t want; } size_cases[] = {
	{ "1000", true, 1000 }, { "1 B", true, 1 }, { "64 KiB", true, 65536 }, { "64KiB", true, 65536 },
	{ "64k", true, 65536 }, { "2M", true, 2 << 20 }, { "50 MiB", true, 50 << 20 }, { "3 gib", true, 3ULL << 30 },
	{ "0", true, 0 }, { "17179869183 GiB", true, 17179869183ULL << 30 }, { "17179869184 GiB", false, 0 },
	{ "18446744073709551615", true, UINT64_MAX }, { "18446744073709551616", false, 0 },
	{ "", false, 0 }, { "MiB", false, 0 }, { "-1", false, 0 }, { "1.5 MiB", false, 0 }, { "1 TiB", false, 0 },
	{ "1 MiB x", false, 0 }, { "0x10", false, 0 }, { "1 MB", false, 0 },
};

static const struct { const char *text; bool good; uint64_t want; } time_cases[] = {
	{ "250ms", true, 250 }, { "30s", true, 30000 }, { "5m", true, 300000 }, { "4h", true, 14400000 },
	{ "5 d", true, 432000000 }, { "0", true, 0 }, { "5", false, 0 }, { "5w", false, 0 }, { "s", false, 0 },
	{ "1h30m", false, 0 }, { "213503982334d", true, 213503982334ULL * 86400000 }, { "213503982335d", false, 0 },
};

static void sizes_and_times(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(size_cases); i++) {
		uint64_t got = 0;

		if (conf_size(str_of(size_cases[i].text), &got) != size_cases[i].good ||
		    (size_cases[i].good && got != size_cases[i].want))
			fail_msg("size `%s`: got %llu", size_cases[i].text, (unsigned long long)got);
	}
	for (size_t i = 0; i < COUNT(time_cases); i++) {
		uint64_t got = 0;

		if (conf_time(str_of(time_cases[i].text), &got) != time_cases[i].good ||
		    (time_cases[i].good && got != time_cases[i].want))
			fail_msg("time `%s`: got %llu", time_cases[i].text, (unsigned long long)got);
	}
}

static void nearest_word(void **state)
{
	static const char *const words[] = { "certificate", "key", "minimum", "tls", "limits" };
	static const struct { const char *word, *want; } cases[] = {
		{ "certificat", "certificate" }, { "certifciate", "certificate" }, { "CERTIFICATE", "certificate" },
		{ "tsl", "tls" }, { "kye", "key" }, { "limit", "limits" }, { "minimal", "minimum" },
		{ "hostname", NULL }, { "", NULL }, { "xyz", NULL }, { "cert", NULL },
	};
	char longest[80];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *got = conf_nearest(str_of(cases[i].word), words, COUNT(words));

		if ((got == NULL) != (cases[i].want == NULL) || (got != NULL && strcmp(got, cases[i].want) != 0))
			fail_msg("near `%s`: got `%s`", cases[i].word, got != NULL ? got : "nothing");
	}
	memset(longest, 'k', sizeof(longest));
	assert_null(conf_nearest((str){ longest, sizeof(longest) }, words, COUNT(words)));
}

/* ---- faults ------------------------------------------------------------------- */

#define H "hostname = h\n"

static const struct { const char *name, *text, *want; } fault_cases[] = {
	{ "four faults of four kinds at once",
	  "hostname = \"h\"\n"
	  "tls { certificat = \"/x\"\n"
	  "      minimum = \"1.1\" }\n"
	  "limits { errors = ten\n"
	  "  errors = 5 }\n"
	  "domian \"x\" { }\n",
	  "main.conf:2: unknown option `certificat` in section `tls`: did you mean `certificate`?\n"
	  "main.conf:3: option `minimum` in section `tls`: `1.1` must be 1.2 or 1.3\n"
	  "main.conf:4: option `errors` in section `limits`: `ten` must be a number\n"
	  "main.conf:5: option `errors` in section `limits` is set again, first at main.conf:4: keep one of the two\n"
	  "main.conf:6: unknown section `domian`: did you mean `domain`?\n" },
	{ "values that are wrong",
	  H "limits {\n message-size = \"10 Mb\"\n wait = 5\n strict = maybe\n errors = 101\n}\n"
	  "domain \"d\" { dkim \"s\" { key = relative } }\n",
	  "main.conf:3: option `message-size` in section `limits`: `10 Mb` must be a size such as 50 MiB, 64 KiB or 1000\n"
	  "main.conf:4: option `wait` in section `limits`: `5` must be a time with its unit, such as 250ms, 30s, 5m, 4h or 5d\n"
	  "main.conf:5: option `strict` in section `limits`: `maybe` must be yes or no\n"
	  "main.conf:6: option `errors` in section `limits`: `101` must be 100 or less\n"
	  "main.conf:8: option `key` in section `dkim`: `relative` must be an absolute path\n" },
	{ "ranges",
	  H "limits { message-size = 1023\n wait = 999ms }\n",
	  "main.conf:2: option `message-size` in section `limits`: `1023` must be between 1 KiB and 1 GiB\n"
	  "main.conf:3: option `wait` in section `limits`: `999ms` must be 1s or more\n" },
	{ "an option twice, also across sections' bodies, and once as an empty list",
	  H "hostname = i\nlisten = {}\nlisten = {\"a\", \"b\"}\n",
	  "main.conf:2: option `hostname` is set again, first at main.conf:1: keep one of the two\n"
	  "main.conf:4: option `listen` is set again, first at main.conf:3: keep one of the two\n" },
	{ "sections twice",
	  H "tls { }\ntls { key = a\n key = b }\ndomain \"a.b\" { }\ndomain \"A.B\" { deliver { } deliver { } }\n",
	  "main.conf:3: section `tls` stands here again, it began at main.conf:2: make one of the two\n"
	  "main.conf:4: option `key` in section `tls` is set again, first at main.conf:3: keep one of the two\n"
	  "main.conf:6: section `domain \"A.B\"` stands here again, it began at main.conf:5: make one of the two\n"
	  "main.conf:6: section `deliver` stands here again, it began at main.conf:6: make one of the two\n" },
	{ "unknown names, nested in titled sections, each time they stand",
	  H "domain \"a\" { colour = red\n deliver { maildri = x } }\n"
	  "domain \"b\" { colour = { a, b }\n nonsense \"t\" { x = 1 y { z = 2 } } dkim \"s\" { kye = k }\n}\n",
	  "main.conf:2: unknown option `colour` in section `domain`: known here: aliases, deliver, dkim\n"
	  "main.conf:3: unknown option `maildri` in section `deliver`: did you mean `maildir`?\n"
	  "main.conf:4: unknown option `colour` in section `domain`: known here: aliases, deliver, dkim\n"
	  "main.conf:5: unknown section `nonsense` in section `domain`: known here: aliases, deliver, dkim\n"
	  "main.conf:5: unknown option `kye` in section `dkim`: did you mean `key`?\n" },
	{ "names in the wrong place",
	  H "certificate = x\nkey = x\ntls { domain \"x\" { }\n hostname = h }\n",
	  "main.conf:2: unknown option `certificate`: it belongs in section `tls`\n"
	  "main.conf:3: unknown option `key`: it belongs in section `tls`\n"
	  "main.conf:4: unknown section `domain` in section `tls`: it belongs at the top, outside all sections (is a `}` missing before it?)\n"
	  "main.conf:5: unknown option `hostname` in section `tls`: it belongs at the top, outside all sections (is a `}` missing before it?)\n" },
	{ "names in the wrong shape",
	  "hostname { a = 1 }\ntls = x\ntls \"x\" { }\ndomain { }\ndomain = y\nlimits { strict = { yes, no }\n errors = {} }\n",
	  "main.conf:1: unknown section `hostname`: it is an option: hostname = VALUE\n"
	  "main.conf:1: `hostname` is missing\n"
	  "main.conf:2: unknown option `tls`: it is a section without a title: tls { … }\n"
	  "main.conf:3: unknown section `tls`: it is a section without a title: tls { … }\n"
	  "main.conf:4: unknown section `domain`: it is a section with a title: domain \"NAME\" { … }\n"
	  "main.conf:5: unknown option `domain`: it is a section with a title: domain \"NAME\" { … }\n"
	  "main.conf:6: option `strict` in section `limits` takes one value, not a list: strict = VALUE\n"
	  "main.conf:7: option `errors` in section `limits` takes one value, not a list: errors = VALUE\n" },
	{ "a path in a name reaches no other section",
	  H "tls { }\ntls|key = x\n\"hostname\" = y\n",
	  "main.conf:3: unknown option `tls?key`: known here: hostname, listen, tls, limits, domain\n"
	  "main.conf:4: unknown option `?hostname?`: did you mean `hostname`?\n" },
	{ "faults between options",
	  "tls {\n certificate = x\n}\n",
	  "main.conf:1: `hostname` is missing\n"
	  "main.conf:2: `certificate` needs a `key`\n" },
	{ "an empty title",
	  H "domain \"\" { }\n", "main.conf:2: section `domain` needs a title: domain \"NAME\" { … }\n" },
	{ "a brace that is never closed",
	  "hostname = h\nlimits { errors = x\ntls {\n minimum = 2\n",
	  "main.conf:2: option `errors` in section `limits`: `x` must be a number\n"
	  "main.conf:2: section `limits` that begins here is never closed: a `}` is missing\n"
	  "main.conf:3: unknown section `tls` in section `limits`: it belongs at the top, outside all sections (is a `}` missing before it?)\n"
	  "main.conf:3: section `tls` that begins here is never closed: a `}` is missing\n" },
	{ "a brace too many", H "}\ntls { minimum = 9 }\n",
	  "main.conf:2: `}` closes nothing: remove it, or open its section with `{`\n"
	  "main.conf:3: option `minimum` in section `tls`: `9` must be 1.2 or 1.3\n" },
	{ "equal signs and values that are missing",
	  "hostname \"h\"\nlisten a\nhostname h2\ntls { key\n minimum = }\nlimits = \nlimits { errors =\n strict = 9 }\nx",
	  "main.conf:1: `hostname` needs `=` before its value, or `{` if it is a section\n"
	  "main.conf:2: `listen` needs `=` before its value, or `{` if it is a section\n"
	  "main.conf:3: `hostname` needs `=` before its value, or `{` if it is a section\n"
	  "main.conf:4: `key` needs `=` before its value, or `{` if it is a section\n"
	  "main.conf:5: `minimum` needs a value after `=`\n"
	  "main.conf:6: `limits` needs a value after `=`\n"
	  "main.conf:7: `errors` needs a value after `=`\n"
	  "main.conf:8: option `strict` in section `limits`: `9` must be yes or no\n"
	  "main.conf:9: `x` needs `=` and a value, or `{` if it is a section\n" },
	{ "a brace out of place takes its partner with it",
	  H "{ }\ntls { { minimum = 9 } key = a }\n",
	  "main.conf:2: `{` stands where the name of an option or section should\n"
	  "main.conf:3: option `minimum` in section `tls`: `9` must be 1.2 or 1.3\n"
	  "main.conf:3: `{` stands where the name of an option or section should\n" },
	{ "lists that are broken",
	  H "listen = { a b, , c\ntls { minimum = { 1.2 1.3\n key = k }\n",
	  "main.conf:2: a comma is missing before `b`\n"
	  "main.conf:2: a value is missing before the comma\n"
	  "main.conf:2: the list of `listen` is not closed: put `}` behind its last value\n"
	  "main.conf:3: option `minimum` in section `tls` takes one value, not a list: minimum = VALUE\n"
	  "main.conf:3: a comma is missing before `1.3`\n"
	  "main.conf:3: the list of `minimum` is not closed: put `}` behind its last value\n" },
	{ "quotes, comments and stray signs",
	  "hostname = \"h\nlisten = a*b;\n += \ntls { key = 'k }\n}\n/* the rest",
	  "main.conf:1: the quote that begins here is not closed on its line\n"
	  "main.conf:2: `*` does not belong here: put a value that holds it in quotes\n"
	  "main.conf:2: `;` does not belong here: put a value that holds it in quotes\n"
	  "main.conf:2: `b` needs a value after `=`\n"
	  "main.conf:3: `+=` is not known: write the whole list with `=`\n"
	  "main.conf:4: the quote that begins here is not closed on its line\n"
	  "main.conf:6: the comment that begins here has no end: close it with */\n" },
	{ "append", H "listen += { a }\n", "main.conf:2: `+=` is not known: write the whole list with `=`\n" },
	{ "escapes that make other bytes", "hostname = \"a\\0b\\x00\\nc\"\n",
	  "main.conf:1: option `hostname`: `a?0b?x00?c` must be one line without control characters\n"
	  "main.conf:1: a backslash stands before a number: write the character itself, or \\\\ for a backslash\n"
	  "main.conf:1: a backslash stands before a number: write the character itself, or \\\\ for a backslash\n" },
	{ "the environment is closed", "hostname = \"${HOME}\"\nlisten = ${HOME}\n",
	  "main.conf:1: `${HOME}` is not expanded: set `environment = yes` at the top to allow it\n"
	  "main.conf:2: `${HOME}` is not expanded: set `environment = yes` at the top to allow it\n" },
	{ "the environment lacks it", "environment = yes\nhostname = \"${POSTERN_NO_SUCH}\"\nlisten = \"${HOME\"\n",
	  "main.conf:2: `${POSTERN_NO_SUCH}` is not set in the environment: set it, or write ${POSTERN_NO_SUCH:-VALUE}\n"
	  "main.conf:3: `${` has no `}`: write ${NAME}, or $\\{ for the two signs\n" },
	{ "environment is an option like others", H "environment = perhaps\nenvironment = yes\ntls { environment = yes }\n",
	  "main.conf:2: option `environment`: must be yes or no\n"
	  "main.conf:3: option `environment` is set again: keep one of the two\n"
	  "main.conf:4: unknown option `environment` in section `tls`: it belongs at the top, outside all sections (is a `}` missing before it?)\n" },
	{ "include is a function", H "include = \"x\"\ninclude()\ninclude(a, b)\ninclude(\"absent.conf\")\nfoo(\"x\")\n",
	  "main.conf:2: unknown option `include`: another file is read by include(\"FILE\")\n"
	  "main.conf:3: `include` needs one file: include(\"FILE\")\n"
	  "main.conf:4: `include` needs one file: include(\"FILE\")\n"
	  "main.conf:5: cannot include `absent.conf`: No such file or directory\n"
	  "main.conf:6: `foo` needs `=` and a value, or `{` if it is a section\n" },
	{ "control characters", "hostname = \"a\001b\"\nlisten = a\002b\n",
	  "main.conf:1: there is a control character (0x01): remove it\n"
	  "main.conf:2: there is a control character (0x02): remove it\n"
	  "main.conf:2: `b` needs `=` and a value, or `{` if it is a section\n" },
	{ "signs that touch", "hostname = a\"x = b\" { }\n",
	  "main.conf:1: unknown section `?x???b?`: known here: hostname, listen, tls, limits, domain\n" },
};

static void faults_are_all_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(fault_cases); i++) {
		struct reading g;
		char *got;

		reading_begin_text(&g, fault_cases[i].text);
		got = faults_text(&g.faults);
		assert_int_equal(g.e, ERR_BAD);
		if (strcmp(got, fault_cases[i].want) != 0) {
			print_error("%s:\n", fault_cases[i].name);
			assert_string_equal(got, fault_cases[i].want);
		}
		free(got);
		arena_fini(&g.arena);
	}
}

/* One after the other, and a good file at the end: nothing is left behind in
 * libconfuse's globals by a broken one. */
static void a_good_file_reads_after_every_bad_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(fault_cases); i++) {
		struct reading g;

		reading_begin_text(&g, fault_cases[i].text);
		arena_fini(&g.arena);
		reading_begin_text(&g, "hostname = 'h'\n");
		no_faults(&g);
		arena_fini(&g.arena);
	}
}

/* Whatever is cut off anywhere: it ends, with a value or a fault. */
static void every_prefix_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(fault_cases); i++) {
		for (size_t n = 1; n <= strlen(fault_cases[i].text); n++) {
			struct reading g;

			reading_begin(&g, (const struct file[]){ { "main.conf", fault_cases[i].text, n }, { 0 } });
			assert_true((g.e == OK) == (g.faults.n == 0));
			arena_fini(&g.arena);
		}
	}
}

/* ---- faults found later, and the sample ---------------------------------------------- */

static void faults_found_later_stand_in_order(void **state)
{
	struct reading g;
	char *got;

	(void)state;
	reading_begin_text(&g, "hostname = h\ntls {\n certificate = c\n key = k\n}\n");
	no_faults(&g);
	conf_fault_add(&g.faults, &g.arena, &g.root.tls.head, "key", "no file `%s`", "k");
	conf_fault_add(&g.faults, &g.arena, &g.root.tls.head, NULL, "the section");
	conf_fault_add(&g.faults, &g.arena, &g.root.tls.head, "minimum", "is not given");
	conf_fault_add(&g.faults, &g.arena, &g.root.head, "hostname", "first");
	got = faults_text(&g.faults);
	assert_string_equal(got, "main.conf:1: first\nmain.conf:2: the section\nmain.conf:2: is not given\n"
	                         "main.conf:4: no file `k`\n");
	free(got);
	arena_fini(&g.arena);
}

static void the_sample_is_a_file_with_every_default(void **state)
{
	struct reading bare, full;
	struct buf b;
	struct domain *d;

	(void)state;
	buf_init(&b, BUF_UNBOUNDED);
	conf_sample(&root_section, &b);
	assert_false(b.failed);
	buf_add_char(&b, 0);
	reading_begin_text(&full, buf_str(&b).p);
	no_faults(&full);
	reading_begin_text(&bare, "hostname = mail.example.org\n");
	assert_true(str_eq(full.root.hostname, bare.root.hostname));
	assert_int_equal(full.root.listen.n, bare.root.listen.n);
	assert_true(str_eq(full.root.listen.v[1], bare.root.listen.v[1]));
	assert_memory_equal(&full.root.limits.size, &bare.root.limits.size,
	                    sizeof(struct limits) - offsetof(struct limits, size));
	assert_int_equal(full.root.tls.minimum, bare.root.tls.minimum);
	assert_null(full.root.tls.key.p);
	assert_int_equal(full.root.domains.n, 1);
	d = full.root.domains.v[0];
	is_text(d->head.title, "example.org");
	is_text(d->deliver.maildir, "/var/mail/%d/%u");
	assert_int_equal(d->dkims.n, 1);
	for (const char *const *want = (const char *const[]){ "# A sample.\n", "# This host's \"name\".\n",
	     "hostname = \"mail.example.org\"\n", "listen = {\"0.0.0.0:25\", \"[::]:25\"}\n",
	     "#\tcertificate = \"\"\n", "#\t\tkey = \"/etc/postern/mail.pem\"\n", "\tminimum = 1.2\n", "# One of 1.2, 1.3.\n",
	     "\tmessage-size = \"50 MiB\"\n", "\twait = 5m\n", "domain \"example.org\" {\n", NULL }; *want != NULL; want++)
		if (strstr(buf_str(&b).p, *want) == NULL)
			fail_msg("the sample lacks `%s`:\n%s", *want, buf_str(&b).p);
	arena_fini(&bare.arena);
	arena_fini(&full.arena);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_fill_what_is_not_given),
		cmocka_unit_test(values_are_what_the_file_says),
		cmocka_unit_test(sizes_and_times),
		cmocka_unit_test(nearest_word),
		cmocka_unit_test(faults_are_all_told),
		cmocka_unit_test(a_good_file_reads_after_every_bad_one),
		cmocka_unit_test(every_prefix_ends),
		cmocka_unit_test(faults_found_later_stand_in_order),
		cmocka_unit_test(the_sample_is_a_file_with_every_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
