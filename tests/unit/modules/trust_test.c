/* SPDX-License-Identifier: ISC */
/*
 * trust: whom entries fit, and for whom a signing domain speaks.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "modules/author.h"
#include "modules/trust.h"
#include "smtpd/base/err.h"

static str clients[] = { { "192.0.2.0/24", 12 }, { "2001:db8::/32", 13 } };
static str more_clients[] = { { "192.0.2.7", 9 } };
static str domains[] = { { "Lists.Example", 13 }, { "*.wide.example", 14 } };
static str sealers[] = { { "b\xc3\xbc" "cher.example", 15 } };
static str some[] = { { "spf", 3 }, { "DMARC", 5 } };
static str other[] = { { "dnsbl", 5 } };

static struct trust_section sections[] = {
	{ .head = { .title = { "one", 3 } }, .client = { clients, 2 }, .skip = { some, 2 } },
	{ .head = { .title = { "two", 3 } }, .client = { more_clients, 1 }, .dkim_domain = { domains, 2 }, .skip = { other, 1 } },
	{ .head = { .title = { "three", 5 } }, .arc_sealer = { sealers, 1 } },
};
static void *list[] = { &sections[0], &sections[1], &sections[2] };

static void entries_fit(void **state)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	const struct trust_entry *e;
	struct arena a;
	struct trust *t;
	str why = STR_NONE;

	(void)state;
	arena_init(&a, 1 << 16);
	t = trust_new(&(struct conf_list){ list, COUNT(list) }, &a, &why);
	assert_non_null(t);
	inet_pton(AF_INET, "192.0.2.7", &v4.sin_addr);
	e = trust_client(t, (struct sockaddr *)&v4);
	assert_true(str_is(trust_name(e), "one"));
	assert_true(trust_skips(e, "spf") && trust_skips(e, "dmarc") && !trust_skips(e, "dnsbl"));
	e = trust_client_next(t, e, (struct sockaddr *)&v4);
	assert_true(str_is(trust_name(e), "two"));
	assert_null(trust_client_next(t, e, (struct sockaddr *)&v4));
	inet_pton(AF_INET, "198.51.100.7", &v4.sin_addr);
	assert_null(trust_client(t, (struct sockaddr *)&v4));
	assert_true(str_is(trust_name(trust_dkim(t, STR("LISTS.example"))), "two"));
	assert_non_null(trust_dkim(t, STR("a.wide.example")));
	assert_null(trust_dkim(t, STR("wide.example")));
	assert_null(trust_dkim(t, STR("x.lists.example")));
	assert_null(trust_dkim(t, STR("notlists.example")));
	assert_true(str_is(trust_name(trust_sealer(t, STR("xn--bcher-kva.example"))), "three"));
	assert_null(trust_sealer(t, STR("lists.example")));          /* another kind of trust */
	assert_null(trust_dkim(NULL, STR("lists.example")));
	arena_fini(&a);
}

static void a_domain_speaks_for_its_own(void **state)
{
	static const struct { const char *list_id, *domain; bool is; } lists[] = {
		{ "The list <dev.lists.example>", "lists.example", true }, { "<lists.example>", "lists.example", true },
		{ "dev.lists.example", "lists.example", true }, { "<dev.evil.example>", "lists.example", false },
		{ "\"<dev.lists.example>\" <dev.evil.example>", "lists.example", false },
		{ "<devlists.example>", "lists.example", false }, { "<>", "lists.example", false }, { "<x.lists.example>", "", false },
	};
	struct message in = { .from = { .state = FROM_GOOD, .domain = { "mail.example", 12 } } };

	(void)state;
	assert_true(author_is_within(&in, STR("mail.example")));
	assert_true(author_is_within(&in, STR("example")));
	assert_false(author_is_within(&in, STR("il.example")));
	assert_false(author_is_within(&in, STR("x.mail.example")));
	in.from.state = FROM_SEVERAL_DOMAINS;
	assert_false(author_is_within(&in, STR("mail.example")));
	assert_false(list_is_within(&in, STR("mail.example")));      /* no header yet */
	for (size_t i = 0; i < COUNT(lists); i++) {
		struct field f = { .name = STR("List-Id"), .value = str_of(lists[i].list_id) };
		struct fields all = { .v = &f, .n = 1 };

		in.fields = &all;
		if (list_is_within(&in, str_of(lists[i].domain)) != lists[i].is)
			fail_msg("%s by %s", lists[i].list_id, lists[i].domain);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_fit),
		cmocka_unit_test(a_domain_speaks_for_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
