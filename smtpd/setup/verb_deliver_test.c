/* SPDX-License-Identifier: ISC */
/*
 * postern deliver-test: how mail for a domain would leave, without sending any.
 * Works beside a running server and without one.
 */
#include <getopt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/deliver_test.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define VERB "deliver-test"

struct wanted {
	const char *file, *resolver, *from;
	bool        json;
	unsigned    flags;
};

static int read_options(int argc, char **argv, struct wanted *w)
{
	enum { RESOLVER, FROM, REQUIRETLS, JSON };
	static const struct option options[] = {
		{ "resolver", required_argument, NULL, RESOLVER },
		{ "from", required_argument, NULL, FROM },
		{ "requiretls", no_argument, NULL, REQUIRETLS },
		{ "json", no_argument, NULL, JSON },
		{ "config", required_argument, NULL, 'c' },
		{ 0 },
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		switch (c) {
		case ':':
			return verb_misused(VERB, "%s needs a value", argv[optind - 1]);
		case '?':
			return verb_misused(VERB, "unknown option %s", argv[optind - 1]);
		case RESOLVER:
			w->resolver = optarg;
			break;
		case FROM:
			w->from = optarg;
			break;
		case REQUIRETLS:
			w->flags = MESSAGE_REQUIRETLS;
			break;
		case JSON:
			w->json = true;
			break;
		default:
			w->file = optarg;
		}
	}
	if (argc - optind != 1)
		return verb_misused(VERB, "name one domain or address");
	return EXIT_DONE;
}

/* DOMAIN, or ADDRESS. */
static bool read_target(struct arena *a, str word, struct path *out)
{
	if (str_holds(word, '@'))
		return path_of(a, word, out) && out->domain.n > 0;
	return path_of(a, arena_printf(a, "postmaster@%.*s", STR_ARG(word)), out);
}

/* ---- the configuration ----------------------------------------------------------------- */

/* Without a file: every default, and this machine's name, in place of a file. */
static int open_defaults(str path)
{
	char name[256] = "";
	str ascii = STR_NONE;
	struct arena a;
	int fd = memfd_create("postern.conf", MFD_CLOEXEC);

	(void)path;
	arena_init(&a, 4096);
	gethostname(name, sizeof(name) - 1);
	if (fd >= 0) {
		if (!domain_to_ascii(&a, str_of(name), &ascii) || !str_holds(ascii, '.'))
			ascii = STR("localhost.localdomain");
		dprintf(fd, "hostname = \"%.*s\"\ndomain \"nobody.invalid\" { }\n", STR_ARG(ascii));
		lseek(fd, 0, SEEK_SET);
	}
	arena_fini(&a);
	return fd;
}

static struct config *default_config(struct arena *a, int *status)
{
	struct conf_faults faults;
	struct config *c = NULL;
	str why = STR_NONE;

	if (config_read("the defaults", open_defaults, a, &c, &faults, &why) == OK)
		return c;
	*status = verb_fail(EXIT_FINDING, VERB, "this machine's name is no host name: name a configuration with -c");
	return NULL;
}

static bool add_domains(struct directory *d, const struct config *c)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *s = c->domains.v[i];
		const struct directory_domain entry = { .name = s->name, .place = s->place, .route = s->route };

		if (directory_add_domain(d, &entry) != OK)
			return false;
	}
	return true;
}

static int read_records(const struct config *c, struct arena *a, struct dns_conf *dns)
{
	str text, line, why = STR_NONE;

	if (c->resolver.records.n == 0)
		return EXIT_DONE;
	if (file_read(verb_open_file, c->resolver.records, 1 << 20, a, &text, &why) != OK)
		return verb_fail(EXIT_FINDING, VERB, "%.*s", STR_ARG(why));
	dns->local_special = true;
	dns->local.v = ARENA_ARRAY(a, str, text.n / 4 + 1);
	while (dns->local.v != NULL && str_cut(&text, '\n', &line))
		if (str_trim(line).n > 0 && line.p[0] != '#')
			dns->local.v[dns->local.n++] = str_trim(line);
	return EXIT_DONE;
}

static int read_resolver(const struct wanted *w, const struct config *c, struct arena *a, struct dns_conf *dns)
{
	struct endpoint at;

	*dns = (struct dns_conf){ .forward = c->resolver.forward, .trust_anchor = config_trust_anchor(c),
	                          .timeout_ms = c->resolver.timeout_ms };
	if (w->resolver == NULL)
		return read_records(c, a, dns);
	if (!endpoint_parse(str_of(w->resolver), 53, &at) || at.is_name || at.is_unix)
		return verb_misused(VERB, "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300", w->resolver);
	*dns = (struct dns_conf){ .only = str_of(w->resolver), .local_special = true, .timeout_ms = c->resolver.timeout_ms };
	return EXIT_DONE;
}

/* ---- the test ------------------------------------------------------------------------------ */

static int run(struct deliver_test *t, const struct wanted *w)
{
	deliver_test_run(t);
	if (w->json)
		deliver_test_print_json(t);
	else
		deliver_test_print(t);
	return t->end == TEST_SENT || t->end == TEST_LOCAL ? EXIT_DONE : EXIT_FINDING;
}

static int with_tls(struct deliver_test *t, const struct wanted *w, const struct config *c)
{
	const struct sts_conf sts = server_sts_conf(c);
	struct desk *slow = desk_open("slow", 1);
	str why = STR_NONE;
	int status;

	t->tls = tls_client_new();
	if (t->tls != NULL && !tls_client_trust(t->tls, c->relay.ca, t->arena, &why))
		fprintf(stderr, "postern " VERB ": %.*s: no certificate verifies by it; install ca-certificates, or name a file with "
		        "relay's ca\n", STR_ARG(why));
	t->sts = slow != NULL ? sts_new(t->loop, NULL, slow, slow, &sts) : NULL;
	if (t->tls == NULL || t->sts == NULL) {
		status = verb_fail(EXIT_LATER, VERB, "no memory: try again later");
	} else {
		sts_begin(t->sts);
		status = run(t, w);
		sts_end(t->sts);
	}
	if (slow != NULL)
		desk_close(slow);
	conn_leave_now(t->loop);
	tls_client_free(t->tls);
	return status;
}

static int with_loop(struct deliver_test *t, const struct wanted *w, const struct config *c, const struct dns_conf *dns)
{
	str why = STR_NONE;
	int status;

	t->loop = loop_new(0, NULL);
	if (t->loop == NULL)
		return verb_fail(EXIT_LATER, VERB, "no memory: try again later");
	t->loop->dns = dns_new(dns, t->loop, t->arena, &why);
	if (t->loop->dns == NULL) {
		loop_free(t->loop);
		return verb_fail(EXIT_LATER, VERB, "%.*s", STR_ARG(why));
	}
	t->dnssec = dns->trust_anchor.n > 0;
	status = with_tls(t, w, c);
	dns_free(t->loop->dns);
	loop_free(t->loop);
	if (t->sts != NULL)
		sts_free(t->sts);
	return status;
}

static int test(const struct wanted *w, str word, struct arena *a)
{
	int status = EXIT_DONE;
	struct config *c = w->file != NULL || access(CONFIG_FILE, R_OK) == 0
	                   ? verb_config(VERB, w->file != NULL ? w->file : CONFIG_FILE, a, &status) : default_config(a, &status);
	struct deliver_setup setup = { 0 };
	struct deliver_test t = { .arena = a, .setup = &setup, .flags = w->flags };
	struct directory *directory;
	struct dns_conf dns;

	if (c == NULL)
		return status;
	directory = directory_new(a, '\0');
	if (directory == NULL || !add_domains(directory, c))
		return verb_fail(EXIT_LATER, VERB, "no memory: try again later");
	if (!read_target(a, word, &t.to))
		return verb_misused(VERB, "\"%.*s\" is neither a domain nor an address", STR_ARG(word));
	t.from = str_of(w->from != NULL ? w->from : "");
	setup = (struct deliver_setup){ .relay = &c->relay, .directory = directory, .hostname = c->hostname };
	status = read_resolver(w, c, a, &dns);
	return status != EXIT_DONE ? status : with_loop(&t, w, c, &dns);
}

int verb_deliver_test(int argc, char **argv)
{
	struct wanted w = { 0 };
	struct arena a;
	int status = read_options(argc, argv, &w);

	if (status != EXIT_DONE)
		return status;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	status = test(&w, str_of(argv[optind]), &a);
	arena_fini(&a);
	return status;
}
