/* SPDX-License-Identifier: ISC */
/*
 * What a connection costs that has said EHLO and waits, in bytes of heap, and that
 * nothing of it stays.
 */
#include "tests/unit/session_house.h"

#include <malloc.h>

#include "modules/deny/deny.h"
#include "modules/dnsbl/dnsbl.h"
#include "modules/iprev/iprev.h"

#define MANY 200
#define MOST 2048

static bool is_sanitized(void)
{
#ifdef SANITIZED
	return true;                     /* its allocator weighs otherwise */
#else
	return false;
#endif
}

/* ---- DNS: every name has the answer "no such name" ---------------------------------- */

static void start(struct dns_source *s, struct dns_question *asked)
{
	(void)s;
	dns_question_done(asked, DNS_NXDOMAIN, STR_NONE, false, false, STR_NONE);
}

static void cancel(struct dns_source *s, struct dns_question *asked)
{
	(void)s, (void)asked;
}

static void shut(struct dns_source *s)
{
	(void)s;
}

static struct dns_source nobody = { .start = start, .cancel = cancel, .close = shut };

/* Those who sit at connections, as in the server with its defaults. */
static void seat_real_modules(void)
{
	static const struct module *const modules[] = { &iprev_module, &deny_module, &dnsbl_module, NULL };
	str why = STR_NONE;

	h.loop->dns = dns_with(&nobody, h.loop, 5000);
	assert_non_null(h.loop->dns);
	h.setup.chain = chain_new(modules, NULL, &h.arena, &why);
	assert_non_null(h.setup.chain);
}

static size_t memory(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void open_many(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char ip[32];

		snprintf(ip, sizeof(ip), "192.0.%zu.%zu", 100 + i / 200, i % 200);
		client_from(&h.mx, ip);
		talk(NULL, "220 ");
		talk("EHLO client-with-a-usual-name.example.test", "250-");
		fds[i] = h.fd;
		h.fd = -1;
	}
	UNTIL(dns_out(h.loop->dns) == 0);
}

static void close_many(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	UNTIL(h.front->sessions == NULL);
	turn();
}

static void an_idle_session_weighs_little(void **state)
{
	int    fds[MANY];
	size_t before, each;

	(void)state;
	if (is_sanitized())
		skip();
	seat_real_modules();
	open_many(fds, MANY);            /* libev's tables grow once and stay */
	close_many(fds, MANY);
	before = memory();
	open_many(fds, MANY);
	each = (memory() - before) / MANY;
	print_message("%zu bytes\n", each);
	assert_in_range(each, 500, MOST);
	close_many(fds, MANY);
	assert_in_range(memory(), 0, before + 4096);     /* freed pieces that malloc keeps at hand */
	dns_free(h.loop->dns);
	h.loop->dns = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(an_idle_session_weighs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
