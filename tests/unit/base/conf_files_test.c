/* SPDX-License-Identifier: ISC */
/* conf: files that name others, that are no text, and too much of them. */
#include <fcntl.h>
#include <stdio.h>

#include "tests/unit/base/conf_help.h"

/* ---- several files ------------------------------------------------------------- */

static const struct {
	const char *name;
	struct file files[5];
	const char *want;
} include_cases[] = {
	{ "relative names are beside the file that says them; lines go on after it",
	  { { "main.conf", "hostname = h\ninclude(\"d/a.conf\")\nlimits { errors = x }\n", 0 },
	    { "d/a.conf", "\n\ntls { minimum = 8\n include \"b.conf\"\n kye = 1 }\n", 0 },
	    { "d/b.conf", "\n\n\n\n\nkey = a\ncertificat = b\n", 0 } },
	  "d/a.conf:3: option `minimum` in section `tls`: `8` must be 1.2 or 1.3\n"
	  "d/a.conf:5: unknown option `kye` in section `tls`: did you mean `key`?\n"
	  "d/b.conf:7: unknown option `certificat` in section `tls`: did you mean `certificate`?\n"
	  "main.conf:3: option `errors` in section `limits`: `x` must be a number\n" },
	{ "a setting in two files",
	  { { "main.conf", "hostname = h\ninclude(\"/a.conf\")\ndomain 'd' { }\n", 0 },
	    { "/a.conf", "\nhostname = i\ndomain 'd' { }\n", 0 } },
	  "/a.conf:2: option `hostname` is set again, first at main.conf:1: keep one of the two\n"
	  "main.conf:3: section `domain \"d\"` stands here again, it began at /a.conf:3: make one of the two\n" },
	{ "a circle",
	  { { "main.conf", "hostname = h\ninclude('a.conf')\n", 0 }, { "a.conf", "include('b.conf')", 0 },
	    { "b.conf", "\ninclude('main.conf')", 0 } },
	  "b.conf:2: `main.conf` includes itself: remove one of the two includes\n" },
	{ "a file's braces are its own",
	  { { "main.conf", "hostname = h\ntls {\ninclude('a.conf')\n", 0 }, { "a.conf", "}\nlimits {", 0 } },
	  "a.conf:1: `}` closes nothing: remove it, or open its section with `{`\n"
	  "a.conf:2: unknown section `limits` in section `tls`: it belongs at the top, outside all sections (is a `}` missing before it?)\n"
	  "a.conf:2: section `limits` that begins here is never closed: a `}` is missing\n"
	  "main.conf:2: section `tls` that begins here is never closed: a `}` is missing\n" },
	{ "environment allowed in another file, faults at their own lines",
	  { { "main.conf", "environment = yes\ninclude('a.conf')\n", 0 },
	    { "a.conf", "hostname = \"${POSTERN_TEST_HOST}\"\nlimits { errors = ${POSTERN_TEST_HOST:-7} }\n", 0 } },
	  "a.conf:2: option `errors` in section `limits`: `mail.test` must be a number\n" },
};

static void includes(void **state)
{
	(void)state;
	setenv("POSTERN_TEST_HOST", "mail.test", 1);
	for (size_t i = 0; i < COUNT(include_cases); i++) {
		struct reading g;
		char *got;

		reading_begin(&g, include_cases[i].files);
		got = faults_text(&g.faults);
		if (strcmp(got, include_cases[i].want) != 0) {
			print_error("%s:\n", include_cases[i].name);
			assert_string_equal(got, include_cases[i].want);
		}
		free(got);
		arena_fini(&g.arena);
	}
}

static void included_values_and_empty_files(void **state)
{
	static const struct file in[] = {
		{ "/etc/main.conf", "include \"a.conf\"\ninclude(\"empty.conf\")\nenvironment = on\n"
		                    "domain 'x' { include(\"dkim.conf\") }\ndomain 'y' { include(\"dkim.conf\") }\n", 0 },
		{ "/etc/a.conf", "hostname = \"${POSTERN_UNSET:-mail}.${POSTERN_TEST_HOST}$\\{x}\"\n", 0 },
		{ "/etc/dkim.conf", "dkim \"s\" { key = /k }\n", 0 },
		{ "/etc/empty.conf", " ", 0 },
		{ 0 },
	};
	struct reading g;
	struct domain *y;

	(void)state;
	setenv("POSTERN_TEST_HOST", "test", 1);
	files = in;
	arena_init(&g.arena, ARENA_UNBOUNDED);
	g.e = conf_read("/etc/main.conf", open_fake, &root_section, &g.root, &g.arena, &g.faults);
	no_faults(&g);
	is_text(g.root.hostname, "mail.test${x}");
	y = g.root.domains.v[1];
	is_text(((struct dkim *)y->dkims.v[0])->key, "/k");
	assert_string_equal(((struct dkim *)y->dkims.v[0])->head.file, "/etc/dkim.conf");
	arena_fini(&g.arena);
}

/* Each file includes the next one twice: bounded in depth and in number. */
static void include_bombs_end(void **state)
{
	static char names[12][16], texts[12][64];
	struct file in[13] = { 0 };
	struct reading g;
	char *got;

	(void)state;
	for (int i = 0; i < 12; i++) {
		snprintf(names[i], sizeof(names[i]), "f%d", i);
		snprintf(texts[i], sizeof(texts[i]), "include('f%d')\ninclude('f%d')\n", i + 1, i + 1);
		in[i] = (struct file){ i == 0 ? "main.conf" : names[i], texts[i], 0 };
	}
	reading_begin(&g, in);
	got = faults_text(&g.faults);
	assert_int_equal(g.e, ERR_BAD);
	assert_non_null(strstr(got, "f8:1: `f9` is included more than 8 files deep"));
	free(got);
	arena_fini(&g.arena);
}

/* ---- what is no text, and too much of it ------------------------------------------ */

static void one_fault(struct reading *g, const char *want)
{
	char *got = faults_text(&g->faults);

	assert_string_equal(got, want);
	assert_int_equal(g->e, ERR_BAD);
	free(got);
	arena_fini(&g->arena);
}

static void files_that_cannot_be_read(void **state)
{
	static const char nul[] = "hostname = h\n\0x = \"a\0b\"\n", utf16[] = "\xff\xfeh\0o\0";
	char *big = malloc((4 << 20) + 1);
	struct reading g;

	(void)state;
	reading_begin(&g, (const struct file[]){ { 0 } });
	one_fault(&g, "main.conf:1: cannot be read: No such file or directory\n");

	memset(big, '#', (4 << 20) + 1);
	reading_begin(&g, (const struct file[]){ { "main.conf", big, (4 << 20) + 1 }, { 0 } });
	one_fault(&g, "main.conf:1: cannot be read: it is larger than 4 MiB\n");
	memcpy(big, "hostname=h\n", 11);
	reading_begin(&g, (const struct file[]){ { "main.conf", big, 4 << 20 }, { 0 } });
	no_faults(&g);
	arena_fini(&g.arena);
	free(big);

	reading_begin(&g, (const struct file[]){ { "main.conf", nul, sizeof(nul) - 1 }, { 0 } });
	one_fault(&g, "main.conf:2: unknown option `x`: known here: hostname, listen, tls, limits, domain\n"
	              "main.conf:2: there is a NUL byte: write the file as plain UTF-8 text\n");
	reading_begin(&g, (const struct file[]){ { "main.conf", utf16, sizeof(utf16) - 1 }, { 0 } });
	assert_int_equal(g.e, ERR_BAD);
	arena_fini(&g.arena);
}

static int open_plain(str path)
{
	char name[256];

	snprintf(name, sizeof(name), "%.*s", STR_ARG(path));
	return open(name, O_RDONLY | O_CLOEXEC);
}

static void a_directory_is_no_file(void **state)
{
	char dir[] = "/tmp/conf-XXXXXX";
	struct reading g;
	char want[128];

	(void)state;
	assert_non_null(mkdtemp(dir));
	arena_init(&g.arena, ARENA_UNBOUNDED);
	g.e = conf_read(dir, open_plain, &root_section, &g.root, &g.arena, &g.faults);
	rmdir(dir);
	snprintf(want, sizeof(want), "%s:1: cannot be read: Is a directory\n", dir);
	one_fault(&g, want);
}

static void much_of_everything(void **state)
{
	struct reading g;
	struct buf b;
	char *text;

	(void)state;
	buf_init(&b, BUF_UNBOUNDED);
	buf_addf(&b, "hostname = h\n");
	for (int i = 0; i < 2000; i++)
		buf_addf(&b, "domain \"d%d\" { aliases = {a, b, c} dkim \"s\" { key = \"/k%d\" } }\n", i, i);
	reading_begin(&g, (const struct file[]){ { "main.conf", buf_str(&b).p, b.n }, { 0 } });
	no_faults(&g);
	assert_int_equal(g.root.domains.n, 2000);
	is_text(((struct domain *)g.root.domains.v[1999])->head.title, "d1999");
	arena_fini(&g.arena);

	buf_clear(&b);
	for (int i = 0; i < 150; i++)
		buf_addf(&b, "nonsense%d = 1\n", i);
	reading_begin(&g, (const struct file[]){ { "main.conf", buf_str(&b).p, b.n }, { 0 } });
	assert_int_equal(g.e, ERR_BAD);
	assert_true(g.faults.n >= 100);
	text = faults_text(&g.faults);
	assert_non_null(strstr(text, "main.conf:1: more than 100 names are unknown"));
	free(text);
	arena_fini(&g.arena);

	buf_clear(&b);
	for (int i = 0; i < 100; i++)
		buf_addf(&b, "tls { ");
	reading_begin(&g, (const struct file[]){ { "main.conf", buf_str(&b).p, b.n }, { 0 } });
	assert_int_equal(g.e, ERR_BAD);
	arena_fini(&g.arena);
	buf_fini(&b);
}

static void a_small_arena_is_no_memory(void **state)
{
	static const struct file in[] = { { "main.conf", "hostname = h\ntls { kye = 1 }\ndomain d { }\n", 0 }, { 0 } };

	(void)state;
	for (size_t budget = 0; budget < 20000; budget += 97) {
		struct reading g;

		files = in;
		arena_init(&g.arena, budget);
		g.e = conf_read("main.conf", open_fake, &root_section, &g.root, &g.arena, &g.faults);
		assert_true(g.e == (g.arena.spent ? ERR_MEMORY : ERR_BAD));
		arena_fini(&g.arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(includes),
		cmocka_unit_test(included_values_and_empty_files),
		cmocka_unit_test(include_bombs_end),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(a_directory_is_no_file),
		cmocka_unit_test(much_of_everything),
		cmocka_unit_test(a_small_arena_is_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
