/* SPDX-License-Identifier: ISC */
/* The doctor's checks: made-up facts in, verdicts and sentences out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/dnsbl/dnsbl.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/setup/doctor/checks.h"
#include "smtpd/setup/verbs.h"

#define DAY 86400

/* The front door's, which is not linked here. */
const struct module *const builtin_modules[] = { NULL };
const struct verb verbs[] = { { 0 } };

/* ---- a house where all is well ------------------------------------------------------------------ */

static const char *const zone[] = {
	"mail.heal.test A 192.0.2.1", "mail.heal.test AAAA 2001:db8::1", "1.2.0.192.in-addr.arpa PTR mail.heal.test",
	"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mail.heal.test",
	"heal.test MX 10 mail.heal.test", "heal.test TXT v=spf1 mx -all", "heal.test NS ns.heal.test",
	"_dmarc.heal.test TXT v=DMARC1; p=reject; rua=mailto:d@heal.test", "_smtp._tls.heal.test TXT v=TLSRPTv1; rua=mailto:d@heal.test",
	"s1._domainkey.heal.test TXT v=DKIM1; p=AAAA", "test NS ns.test", "test ANY SECURE",
	"2.0.0.127.list.test A 127.0.0.2", "other.test MX 10 mx.other.test", "mx.other.test A 198.51.100.7",
};

static str ours[] = { STR("192.0.2.1"), STR("2001:db8::1") };
static str interfaces[] = { STR("127.0.0.1"), STR("::1"), STR("192.0.2.1"), STR("2001:db8::1") };
static str names[] = { STR("mail.heal.test") };
static struct dnsbl_zone list = { .type = DNSBL_IP, .action = DNSBL_REJECT, .zone = STR("list.test") };
static void *list_v[] = { &list };
static const struct conf_list lists = { list_v, 1 };
static struct domain_section heal = { .name = STR("heal.test") };
static void *domain_v[] = { &heal };

/* Where a case writes what it needs; made anew for each. */
struct house {
	struct host_facts  host;
	struct host_file   files[2];
	struct host_cert   cert;
	struct host_port   port;
	struct config      config;
	struct wanted      wanted[4];
	size_t             nwanted;
	struct talk        talk;
	struct sts_seen    sts;
	struct servers_seen servers;
	str                domain;
	bool               outside, unvalidated, sts_known, servers_known;
	struct arena       arena;
};

static void furnish(struct house *h)
{
	memset(h, 0, sizeof(*h));
	arena_init(&h->arena, ARENA_UNBOUNDED);
	h->domain = STR("heal.test");
	h->host = (struct host_facts){
		.hostname = STR("mail.heal.test"), .addresses = { ours, 2 }, .interfaces = { interfaces, 4 }, .now = 1000 * DAY,
		.clock = { true, true, 12 }, .files = h->files, .nfiles = 2, .accounts = { STR_NONE, 3 }, .relay = { true, STR_NONE, 0 },
		.disk = { STR("/state"), STR_NONE, (uint64_t)9 << 30, 40, 5, 80 }, .limits = { 65536, 2356 }, .certs = &h->cert, .ncerts = 1,
		.resolver = { .anchor = STR("/root.key"), .anchor_wanted = STR("/root.key") }, .ports = &h->port, .nports = 1,
		.zones = &lists, .whoami = STR("who.test"), .outside = STR("other.test"), .mx_port = 25,
	};
	h->files[0] = (struct host_file){ .path = STR("/conf"), .what = "the configuration", .there = true, .ours = true, .mode = 0644, .forbidden = 022 };
	h->files[1] = (struct host_file){ .path = STR("/key"), .what = "a DKIM key", .there = true, .ours = true, .mode = 0600, .forbidden = 077 };
	h->cert = (struct host_cert){ .file = STR("/cert"), .n = 2 };
	h->cert.chain[0] = (struct tls_cert){ STR("CN=mail"), STR("CN=CA"), { names, 1 }, 900 * DAY, 1090 * DAY, STR("0011") };
	h->cert.chain[1] = (struct tls_cert){ STR("CN=CA"), STR("CN=CA"), { NULL, 0 }, 0, 2000 * DAY, STR("2233") };
	h->port = (struct host_port){ .listener = STR("mx"), .family = AF_INET, .port = 25, .at_n = sizeof(struct sockaddr_in) };
	address_parse(STR("192.0.2.1"), 25, &h->port.at);
	h->talk = (struct talk){ .connected = true, .greeted = true, .starttls = true,
		                 .tls = { .on = true, .version = STR("TLSv1.3"), .verified = true } };
	h->config = (struct config){ .hostname = STR("mail.heal.test"), .domains = { domain_v, 1 }, .relay.port = 25 };
	h->wanted[0] = (struct wanted){ STR("heal.test"), STR("heal.test"), "MX", STR("10 mail.heal.test."), false, false };
	h->wanted[1] = (struct wanted){ STR("heal.test"), STR("s1._domainkey.heal.test"), "TXT", STR("v=DKIM1; p=AAAA"), true, true };
	h->nwanted = 2;
}

/* ---- looking ----------------------------------------------------------------------------------------- */

static void over(struct doctor *d)
{
	loop_stop(d->loop);
}

/* The house's zone without the lines that begin with `less`, and with `more`. */
static char *zone_text(const char *less, const char *more)
{
	char *text = calloc(1, 65536);

	for (size_t i = 0; i < COUNT(zone); i++)
		if (less == NULL || strncmp(zone[i], less, strlen(less)) != 0) {
			strcat(text, zone[i]);
			strcat(text, "\n");
		}
	strcat(text, more != NULL ? more : "");
	return text;
}

/* Nobody is connected to here: what a check would ask must have been made up. */
static void begin(struct fact *f)
{
	if (f->kind == FACT_TALK || f->kind == FACT_SERVERS)
		fail_msg("nobody has made up what %.*s says", STR_ARG(f->name));
	fact_source.begin(f);
}

static void stop(struct fact *f)
{
	fact_source.stop(f);
}

static void close_all(struct doctor *d)
{
	fact_source.close(d);
}

static const struct fact_source made_up = { begin, stop, close_all };

static void put_facts(struct doctor *d, struct house *h)
{
	static const struct servers_seen nobody = { .e = ERR_BUSY, .why = STR("nobody could be asked") };
	struct sockaddr_storage at = h->port.at;

	fact_put(d, FACT_TALK, fact_address(&h->arena, (struct sockaddr *)&at), 0, &h->talk);
	fact_put(d, FACT_TALK, STR("127.0.0.1:25"), 0, &h->talk);
	fact_put(d, FACT_TALK, STR("198.51.100.7:25"), 0, &h->talk);
	fact_put(d, FACT_SERVERS, h->domain, 0, h->servers_known ? &h->servers : &nobody);
	if (h->sts_known)
		fact_put(d, FACT_STS, h->domain, 0, &h->sts);
}

static void examine(struct house *h, const char *check, const char *less, const char *more, struct doctor *d)
{
	char *text = zone_text(less, more);
	str *only = ARENA_ARRAY(&h->arena, str, 1);
	bool own = str_is(h->domain, "heal.test");

	only[0] = str_of(check);
	*d = (struct doctor){ .arena = &h->arena, .loop = loop_new(0, NULL), .only = { only, 1 }, .host = own ? &h->host : NULL,
		              .config = &h->config, .domains = { &h->domain, 1 }, .wanted = h->wanted, .nwanted = h->nwanted,
		              .validates = !h->unvalidated, .outside = h->outside, .timeout_ms = 1000, .done = over, .source = &made_up };
	d->loop->dns = dns_with(dns_local_source(text), d->loop, 2000);
	put_facts(d, h);
	doctor_begin(d);
	loop_run(d->loop);
	doctor_end(d);
	dns_free(d->loop->dns);
	loop_free(d->loop);
	free(text);
}

static bool contains(str text, const char *what)
{
	return what[0] == '\0' || memmem(text.p, text.n, what, strlen(what)) != NULL;
}

static void print_all(const struct doctor *d)
{
	doctor_print(d, stderr, 0);
}

/* ---- the table --------------------------------------------------------------------------------------------- */

static void no_time_service(struct house *h) { h->host.clock.synced = false; }
static void no_clock(struct house *h) { h->host.clock.known = false; }
static void little_room(struct house *h) { h->host.disk.free_percent = 9; }
static void no_room(struct house *h) { h->host.disk.free_percent = 5; }
static void no_files(struct house *h) { h->host.disk.free_inodes_percent = 1; }
static void no_state(struct house *h) { h->host.disk.why = STR("No such file or directory"); }
static void few_files(struct house *h) { h->host.limits.descriptors = 1024; }
static void open_key(struct house *h) { h->files[1].mode = 0644; }
static void open_conf(struct house *h) { h->files[0].mode = 0666; }
static void strange_key(struct house *h) { h->files[1].ours = false; }
static void hidden_key(struct house *h) { h->files[1].there = false; h->files[1].why = STR("Permission denied"); }
static void bad_accounts(struct house *h) { h->host.accounts.why = STR("/accounts:3: no scheme"); }
static void no_accounts(struct house *h) { h->host.accounts.n = 0; }
static void a_device(struct house *h) { static str v[] = { STR("\"scan\" (192.0.2.9) as a@heal.test") }; h->host.devices = (struct strs){ v, 1 }; }
static void relays(struct house *h) { h->host.relay.through = 2; h->host.relay.why = STR("percent hack: RCPT TO:<a%b@heal.test>"); }
static void relay_unknown(struct house *h) { h->host.relay.known = false; }
static void cert_ends(struct house *h) { h->cert.chain[0].not_after = 1010 * DAY; }
static void cert_ended(struct house *h) { h->cert.chain[0].not_after = 998 * DAY; }
static void cert_early(struct house *h) { h->cert.chain[0].not_before = 1003 * DAY; }
static void chain_ended(struct house *h) { h->cert.chain[1].not_after = 999 * DAY; }
static void chain_broken(struct house *h) { h->cert.chain[0].issuer = STR("CN=Somebody"); }
static void chain_short(struct house *h) { h->cert.n = 1; }
static void cert_gone(struct house *h) { h->cert.why = STR("/cert: No such file"); }
static void cert_other(struct house *h) { static str v[] = { STR("*.test") }; h->cert.chain[0].names = (struct strs){ v, 1 }; }
static void cert_wild(struct house *h) { static str v[] = { STR("*.heal.test") }; h->cert.chain[0].names = (struct strs){ v, 1 }; }
static void self_signed(struct house *h) { h->host.self_signed = true; h->host.ncerts = 0; }
static void closed(struct house *h) { h->talk = (struct talk){ .said = STR("Connection refused") }; }
static void no_tls(struct house *h) { h->talk.tls.on = false; }
static void unverified(struct house *h) { h->talk.tls.verified = false; h->talk.tls.why = "self-signed certificate"; }
static void only_13(struct house *h) { h->host.minimum_13 = true; }
static void behind_nat(struct house *h) { h->host.addresses.n = 0; h->host.interfaces.n = 2; }
static void any_behind_nat(struct house *h) { behind_nat(h); h->port.any = true; address_parse(STR("0.0.0.0"), 25, &h->port.at); }
static void no_anchor(struct house *h) { h->host.resolver.anchor = STR_NONE; }
static void public_resolver(struct house *h) { static str v[] = { STR("1.1.1.1:53 (Cloudflare)") }; h->host.resolver.public_ones = (struct strs){ v, 1 }; }
static void no_lists(struct house *h) { h->host.zones = NULL; }
static void with_smarthost(struct house *h) { h->host.smarthost = STR("198.51.100.7:25"); }
static void dead_smarthost(struct house *h) { with_smarthost(h); closed(h); }
static void outside(struct house *h) { h->outside = true; }
static void outside_closed(struct house *h) { outside(h); closed(h); }
static void unvalidated(struct house *h) { h->unvalidated = true; }
static void other(struct house *h) { h->domain = STR("other.test"); }
static void other_outside(struct house *h) { other(h); outside(h); }
static void gone(struct house *h) { h->domain = STR("gone.test"); }
static void key_by_hand(struct house *h) { h->wanted[1].signs = false; }
static void no_key(struct house *h) { h->nwanted = 1; }
static void srv_wanted(struct house *h) { h->wanted[0] = (struct wanted){ STR("heal.test"), STR("_x._tcp.heal.test"), "SRV", STR("0 1 1 a."), false, false }; }

static str heals[] = { STR("mail.heal.test") }, others[] = { STR("mx.other.test") };
static void sts(struct house *h)
{
	h->config.web = (struct web_section){ .sts = WEB_STS_OFF };
	h->sts_known = true;
	h->sts = (struct sts_seen){ .policy = { .mode = STS_ENFORCE, .mx = { heals, 1 }, .max_age_s = 604800, .id = STR("1") } };
}
static void sts_other_host(struct house *h) { sts(h); h->sts.policy.mx.v = others; }
static void sts_test_other_host(struct house *h) { sts_other_host(h); h->sts.policy.mode = STS_TESTING; }
static void sts_fault(struct house *h) { sts(h); h->sts.fault = STR("sts-webpki-invalid"); h->sts.why = STR("the certificate is not good"); }
static void sts_not_ours(struct house *h)
{
	sts(h);
	h->config.web = (struct web_section){ .sts = WEB_STS_TESTING, .sts_max_age_ms = 604800000 };
}

#define DMARC "_dmarc.heal.test"
#define STS   "_mta-sts.heal.test TXT v=STSv1; id=1\n"

static const struct {
	const char *what, *check;
	void      (*how)(struct house *);
	const char *less, *more;       /* of the zone */
	enum doctor_verdict verdict;   /* the worst */
	const char *seen, *todo;       /* of the first finding with that verdict */
} cases[] = {
	{ "clock", "clock", NULL, NULL, NULL, DOCTOR_OK, "to 12 ms", "" },
	{ "no time service", "clock", no_time_service, NULL, NULL, DOCTOR_WARNING, "no time service", "systemd-timesyncd" },
	{ "no clock", "clock", no_clock, NULL, NULL, DOCTOR_NOTE, "does not say", "" },
	{ "room", "disk", NULL, NULL, NULL, DOCTOR_OK, "40 % of the room is left, 9216 MiB", "" },
	{ "little room", "disk", little_room, NULL, NULL, DOCTOR_WARNING, "9 %", "make room" },
	{ "no room", "disk", no_room, NULL, NULL, DOCTOR_FAULT, "below 5 % new mail is put off", "make room" },
	{ "no more files", "disk", no_files, NULL, NULL, DOCTOR_FAULT, "1 % of the files", "make room" },
	{ "no state", "disk", no_state, NULL, NULL, DOCTOR_FAULT, "No such file", "make it" },
	{ "limits", "limits", NULL, NULL, NULL, DOCTOR_OK, "65536 files", "" },
	{ "few files", "limits", few_files, NULL, NULL, DOCTOR_WARNING, "may want 2356", "LimitNOFILE=" },
	{ "files", "files", NULL, NULL, NULL, DOCTOR_OK, "(2 looked at)", "" },
	{ "an open key", "files", open_key, NULL, NULL, DOCTOR_FAULT, "0644: others can read", "chmod 0600 /key" },
	{ "an open configuration", "files", open_conf, NULL, NULL, DOCTOR_FAULT, "0666: others can change", "chmod 0644 /conf" },
	{ "somebody else's key", "files", strange_key, NULL, NULL, DOCTOR_FAULT, "belongs to another user", "chown" },
	{ "a key behind a wall", "files", hidden_key, NULL, NULL, DOCTOR_NOTE, "cannot be looked at", "as root" },
	{ "accounts", "accounts", NULL, NULL, NULL, DOCTOR_OK, "(3)", "" },
	{ "bad accounts", "accounts", bad_accounts, NULL, NULL, DOCTOR_FAULT, "/accounts:3", "mend that line" },
	{ "no accounts", "accounts", no_accounts, NULL, NULL, DOCTOR_WARNING, "nobody can log in", "postern account add" },
	{ "no device", "devices", NULL, NULL, NULL, DOCTOR_OK, "no device", "" },
	{ "a device", "devices", a_device, NULL, NULL, DOCTOR_NOTE, "\"scan\" (192.0.2.9)", "to = local" },
	{ "relay", "relay", NULL, NULL, NULL, DOCTOR_OK, "no known relay trick", "" },
	{ "relays", "relay", relays, NULL, NULL, DOCTOR_FAULT, "percent hack", "postern relay-test" },
	{ "relay unknown", "relay", relay_unknown, NULL, NULL, DOCTOR_NOTE, "could not be made", "postern relay-test" },

	{ "certificate", "certificate", NULL, NULL, NULL, DOCTOR_OK, "good for 90 days more", "" },
	{ "ends", "certificate", cert_ends, NULL, NULL, DOCTOR_WARNING, "runs out in 10 days", "renew it" },
	{ "ended", "certificate", cert_ended, NULL, NULL, DOCTOR_FAULT, "ran out 2 days ago", "renew it" },
	{ "early", "certificate", cert_early, NULL, NULL, DOCTOR_FAULT, "not valid before 3 days", "clock" },
	{ "chain ended", "certificate", chain_ended, NULL, NULL, DOCTOR_FAULT, "of its chain ran out 24 hours ago", "renew" },
	{ "chain broken", "certificate", chain_broken, NULL, NULL, DOCTOR_FAULT, "number 1 was not made by number 2", "fullchain" },
	{ "chain short", "certificate", chain_short, NULL, NULL, DOCTOR_WARNING, "without its issuer's", "fullchain" },
	{ "not there", "certificate", cert_gone, NULL, NULL, DOCTOR_FAULT, "No such file", "postern check" },
	{ "two labels", "certificate", cert_other, NULL, NULL, DOCTOR_FAULT, "made for *.test, not for mail.heal.test", "order one" },
	{ "wildcard", "certificate", cert_wild, NULL, NULL, DOCTOR_OK, "good for", "" },
	{ "self-signed", "certificate", self_signed, NULL, NULL, DOCTOR_WARNING, "signed itself", "certbot" },
	{ "ports", "ports", NULL, NULL, NULL, DOCTOR_NOTE, "provider's packet filter", "from another network" },
	{ "closed", "ports", closed, NULL, NULL, DOCTOR_FAULT, "Connection refused", "start the server" },
	{ "behind a NAT", "ports", any_behind_nat, NULL, NULL, DOCTOR_NOTE, "no public address of its own", "-connect mail.heal.test:25" },
	{ "tls", "tls", NULL, NULL, NULL, DOCTOR_OK, "TLSv1.3, the certificate holds", "" },
	{ "no tls", "tls", no_tls, NULL, NULL, DOCTOR_FAULT, "TLS does not begin", "tls = starttls" },
	{ "tls closed", "tls", closed, NULL, NULL, DOCTOR_NOTE, "nothing answers", "`ports`" },
	{ "unverified", "tls", unverified, NULL, NULL, DOCTOR_WARNING, "self-signed certificate", "whole chain" },
	{ "1.3 alone", "tls", only_13, NULL, NULL, DOCTOR_NOTE, "only TLS 1.3", "1.2" },

	{ "validated", "resolver", NULL, NULL, NULL, DOCTOR_OK, "validated", "" },
	{ "no anchor", "resolver", no_anchor, NULL, NULL, DOCTOR_WARNING, "/root.key is not there", "dns-root-data" },
	{ "stripped", "resolver", NULL, "test ANY", NULL, DOCTOR_WARNING, "no answer was validated", "passes DNSSEC on" },
	{ "deaf", "resolver", NULL, "test ", "test ANY TIMEOUT\n", DOCTOR_FAULT, "cannot say what test is", "port 53" },
	{ "public", "resolver", public_resolver, NULL, NULL, DOCTOR_WARNING, "1.1.1.1:53 (Cloudflare)", "of your own" },
	{ "hostname", "hostname", NULL, NULL, NULL, DOCTOR_OK, "leads here", "" },
	{ "no address", "hostname", NULL, "mail.heal.test", NULL, DOCTOR_FAULT, "no address in DNS", "postern dns" },
	{ "elsewhere", "hostname", NULL, "mail.heal.test A ", "mail.heal.test A 192.0.2.77\n", DOCTOR_FAULT, "this host does not have", "correct" },
	{ "half", "hostname", NULL, "mail.heal.test AAAA", NULL, DOCTOR_WARNING, "does not lead to it", "relay's source" },
	{ "nat", "hostname", behind_nat, NULL, NULL, DOCTOR_NOTE, "behind a NAT", "openssl s_client" },
	{ "reverse", "reverse", NULL, NULL, NULL, DOCTOR_OK, "both ways", "" },
	{ "no PTR", "reverse", NULL, "1.2.0.192", NULL, DOCTOR_FAULT, "no PTR record", "ask the provider of 192.0.2.1" },
	{ "no PTR, v6", "reverse", NULL, "1.0.0.0.0.0", NULL, DOCTOR_FAULT, "no PTR record", "ask the provider of 2001:db8::1" },
	{ "another name", "reverse", NULL, "1.2.0.192", "1.2.0.192.in-addr.arpa PTR b.heal.test\nb.heal.test A 192.0.2.1\n", DOCTOR_WARNING,
	  "its name is b.heal.test, and this server says mail.heal.test", "PTR record to mail.heal.test" },
	{ "one of two names", "reverse", NULL, NULL, "1.2.0.192.in-addr.arpa PTR b.heal.test\n", DOCTOR_OK, "both ways", "" },
	{ "not back", "reverse", NULL, "1.2.0.192", "1.2.0.192.in-addr.arpa PTR b.heal.test\n", DOCTOR_FAULT, "does not lead back", "provider" },
	{ "PTR unknown", "reverse", NULL, "1.2.0.192", "1.2.0.192.in-addr.arpa PTR SERVFAIL\n", DOCTOR_NOTE, "DNS gave no answer", "later" },
	{ "clear", "blocklists", NULL, NULL, NULL, DOCTOR_OK, "none of our addresses", "" },
	{ "listed", "blocklists", NULL, NULL, "1.2.0.192.list.test A 127.0.0.4\n1.2.0.192.list.test TXT spam\n", DOCTOR_FAULT, "192.0.2.1 is on the list: spam", "take it off" },
	{ "list is dead", "blocklists", NULL, "2.0.0.127", NULL, DOCTOR_WARNING, "may have ended", "take it out" },
	{ "list is mad", "blocklists", NULL, "2.0.0.127", "*.list.test A 127.0.0.2\n", DOCTOR_WARNING, "the whole world", "take it out" },
	{ "list refuses", "blocklists", NULL, "2.0.0.127", "2.0.0.127.list.test A 127.255.255.254\n", DOCTOR_WARNING, "refuse the resolver", "" },
	{ "list is silent", "blocklists", NULL, "2.0.0.127", "2.0.0.127.list.test ANY TIMEOUT\n", DOCTOR_WARNING, "does not answer", "" },
	{ "no lists", "blocklists", no_lists, NULL, NULL, DOCTOR_NOTE, "no block list", "" },
	{ "outgoing", "outgoing", NULL, NULL, NULL, DOCTOR_NOTE, "was not tried", "--outside` tries it with other.test" },
	{ "outgoing, outside", "outgoing", outside, NULL, NULL, DOCTOR_OK, "can be reached", "" },
	{ "outgoing, closed", "outgoing", outside_closed, NULL, NULL, DOCTOR_FAULT, "port 25", "ask the provider to open port 25" },
	{ "smarthost", "outgoing", with_smarthost, NULL, NULL, DOCTOR_OK, "the smarthost answers", "" },
	{ "dead smarthost", "outgoing", dead_smarthost, NULL, NULL, DOCTOR_FAULT, "the smarthost cannot be reached", "relay's smarthost" },
	{ "asker", "asker", NULL, NULL, NULL, DOCTOR_NOTE, "was not looked at", "--outside" },
	{ "asker is us", "asker", outside, NULL, "who.test TXT 192.0.2.1\n", DOCTOR_OK, "asks DNS itself", "" },
	{ "asker is another", "asker", outside, NULL, "who.test A 198.51.100.9\n", DOCTOR_NOTE, "another address", "" },
	{ "asker is public", "asker", outside, NULL, "who.test TXT 9.9.9.9\n", DOCTOR_WARNING, "Quad9's", "take forward out" },

	{ "mx", "mx", NULL, NULL, NULL, DOCTOR_OK, "this one among them", "" },
	{ "mx elsewhere", "mx", NULL, "heal.test MX", "heal.test MX 10 mx.other.test\n", DOCTOR_FAULT, "brought elsewhere", "postern dns heal.test" },
	{ "no mx", "mx", NULL, "heal.test MX", NULL, DOCTOR_FAULT, "no MX record", "postern dns heal.test" },
	{ "null mx", "mx", NULL, "heal.test MX", "heal.test MX 0 .\n", DOCTOR_FAULT, "takes no mail", "in its place" },
	{ "mx alias", "mx", NULL, "heal.test MX", "heal.test MX 10 www.heal.test\nwww.heal.test CNAME mail.heal.test\n", DOCTOR_FAULT, "an alias", "name mail.heal.test itself" },
	{ "mx without address", "mx", NULL, NULL, "heal.test MX 20 no.heal.test\n", DOCTOR_FAULT, "no address", "A record" },
	{ "mx unknown", "mx", NULL, "heal.test MX", "heal.test MX TIMEOUT\n", DOCTOR_NOTE, "DNS gave no answer", "later" },
	{ "mx forged", "mx", NULL, "heal.test MX", "heal.test MX BOGUS\n", DOCTOR_FAULT, "forged", "DS record" },
	{ "partner", "mx", other, NULL, NULL, DOCTOR_OK, "1 MX host", "" },
	{ "partner, implicit", "mx", other, "other.test MX", "other.test A 198.51.100.7\n", DOCTOR_NOTE, "its own address", "" },
	{ "partner, nothing", "mx", other, "other.test MX", "other.test TXT x\n", DOCTOR_FAULT, "cannot get mail", "" },
	{ "partner, none", "mx", gone, NULL, NULL, DOCTOR_FAULT, "no such domain", "spelled" },
	{ "partner reached", "arrival", other_outside, NULL, NULL, DOCTOR_OK, "can be reached", "" },
	{ "partner not asked", "arrival", other, NULL, NULL, DOCTOR_OK, NULL, "" },
	{ "signed", "dnssec", NULL, NULL, NULL, DOCTOR_OK, "signatures hold", "" },
	{ "unsigned", "dnssec", NULL, "test ANY", NULL, DOCTOR_NOTE, "not signed", "registrar" },
	{ "unseen", "dnssec", unvalidated, NULL, NULL, DOCTOR_NOTE, "cannot be seen", "`resolver`" },
	{ "spf", "spf", NULL, NULL, NULL, DOCTOR_OK, "1 of 10", "" },
	{ "spf fails", "spf", NULL, "heal.test TXT", "heal.test TXT v=spf1 -all\n", DOCTOR_FAULT, "\"fail\"", "ip4:192.0.2.1" },
	{ "spf fails, v6", "spf", NULL, "heal.test TXT", "heal.test TXT v=spf1 ip4:192.0.2.1 ~all\n", DOCTOR_FAULT, "\"softfail\"", "ip6:2001:db8::1" },
	{ "no spf", "spf", NULL, "heal.test TXT", NULL, DOCTOR_FAULT, "no SPF record", "" },
	{ "dkim", "dkim", NULL, NULL, NULL, DOCTOR_OK, "DNS shows the key", "" },
	{ "dkim gone", "dkim", NULL, "s1._domainkey", NULL, DOCTOR_FAULT, "no key there", "character by character" },
	{ "dkim not out yet", "dkim", key_by_hand, "s1._domainkey", NULL, DOCTOR_WARNING, "no key there", "" },
	{ "dkim another", "dkim", NULL, "s1._domainkey", "s1._domainkey.heal.test TXT v=DKIM1; p=aaaa\n", DOCTOR_FAULT, "another key", "" },
	{ "dkim twice", "dkim", NULL, NULL, "s1._domainkey.heal.test TXT v=DKIM1; p=BBBB\n", DOCTOR_FAULT, "more than one", "" },
	{ "no key", "dkim", no_key, NULL, NULL, DOCTOR_WARNING, "leaves unsigned", "postern key list" },
	{ "records", "records", NULL, NULL, NULL, DOCTOR_OK, "1 record is", "" },
	{ "a service unknown", "records", srv_wanted, NULL, NULL, DOCTOR_NOTE, "did not say", "" },

	{ "dmarc", "dmarc", NULL, NULL, NULL, DOCTOR_OK, "the policy is reject", "" },
	{ "dmarc none", "dmarc", NULL, DMARC, DMARC " TXT v=DMARC1; p=none; rua=mailto:d@heal.test\n", DOCTOR_NOTE, "protects nobody", "dmarc plan" },
	{ "dmarc test", "dmarc", NULL, DMARC, DMARC " TXT v=DMARC1; p=reject; t=y; rua=mailto:d@heal.test\n", DOCTOR_NOTE, "(t=y)", "" },
	{ "dmarc mute", "dmarc", NULL, DMARC, DMARC " TXT v=DMARC1; p=reject\n", DOCTOR_NOTE, "no rua=", "add rua" },
	{ "dmarc pct", "dmarc", NULL, DMARC, DMARC " TXT v=DMARC1; p=reject; pct=50; rua=mailto:d@heal.test\n", DOCTOR_NOTE, "pct=", "take it out" },
	{ "dmarc absent", "dmarc", NULL, DMARC, NULL, DOCTOR_WARNING, "no DMARC record", "_dmarc.heal.test" },
	{ "dmarc twice", "dmarc", NULL, NULL, DMARC " TXT v=DMARC1; p=none\n", DOCTOR_FAULT, "2 DMARC records", "one of them" },
	{ "dmarc senseless", "dmarc", NULL, DMARC, DMARC " TXT v=DMARC1; p=perhaps\n", DOCTOR_FAULT, "cannot be read", "anew" },
	{ "dmarc unknown", "dmarc", NULL, DMARC, DMARC " TXT SERVFAIL\n", DOCTOR_NOTE, "DNS gave no answer", "" },
	{ "reports at home", "dmarc-reports", NULL, NULL, NULL, DOCTOR_OK, "stay in the domain", "" },
	{ "reports unwanted", "dmarc-reports", NULL, DMARC, DMARC " TXT v=DMARC1; p=none; rua=mailto:d@other.test!10m\n", DOCTOR_FAULT, "does not say that it takes them", "heal.test._report._dmarc.other.test" },
	{ "reports taken", "dmarc-reports", NULL, DMARC, DMARC " TXT v=DMARC1; p=none; rua=mailto:d@other.test\n*._report._dmarc.other.test TXT v=DMARC1\n", DOCTOR_OK, "take them", "" },
	{ "failures unwanted", "dmarc-reports", NULL, DMARC, DMARC " TXT v=DMARC1; p=none; ruf=mailto:d@other.test\n", DOCTOR_FAULT, "takes them", "" },
	{ "tls reports", "tls-reports", NULL, NULL, NULL, DOCTOR_OK, "reports TLS that fails", "" },
	{ "tls reports twice", "tls-reports", NULL, NULL, "_smtp._tls.heal.test TXT v=TLSRPTv1; rua=mailto:x@heal.test\n", DOCTOR_FAULT, "2 records", "" },
	{ "tls reports to nobody", "tls-reports", NULL, "_smtp._tls", "_smtp._tls.heal.test TXT v=TLSRPTv1;\n", DOCTOR_FAULT, "nobody", "add rua" },

	{ "no sts", "mta-sts", NULL, NULL, NULL, DOCTOR_NOTE, "no MTA-STS policy", "web {}" },
	{ "sts", "mta-sts", sts, NULL, STS, DOCTOR_OK, "mode enforce, for 7 days", "" },
	{ "sts, other hosts", "mta-sts", sts_other_host, NULL, STS, DOCTOR_FAULT, "brings no mail there", "sts-mx" },
	{ "sts testing, other hosts", "mta-sts", sts_test_other_host, NULL, STS, DOCTOR_WARNING, "would bring", "" },
	{ "sts out of reach", "mta-sts", sts_fault, NULL, STS, DOCTOR_FAULT, "the certificate is not good", "mta-sts.heal.test" },
	{ "sts twice", "mta-sts", sts, NULL, STS "_mta-sts.heal.test TXT v=STSv1; id=2\n", DOCTOR_FAULT, "not alone", "leave one" },
	{ "sts of another server", "mta-sts", sts_not_ours, NULL, STS, DOCTOR_WARNING, "is not the configuration's (mode testing", "lead to this host" },

	{ "no tlsa", "tlsa", NULL, NULL, NULL, DOCTOR_NOTE, "no MX host has TLSA records", "publish" },
	{ "tlsa unseen", "tlsa", unvalidated, NULL, NULL, DOCTOR_NOTE, "cannot be looked at", "" },
	{ "tlsa", "tlsa", NULL, NULL, "_25._tcp.mail.heal.test TLSA 3 1 1 0011\n", DOCTOR_OK, "fits the certificate", "" },
	{ "tlsa of the issuer", "tlsa", NULL, NULL, "_25._tcp.mail.heal.test TLSA 2 1 1 2233\n", DOCTOR_OK, "fits the certificate", "" },
	{ "tlsa old and new", "tlsa", NULL, NULL, "_25._tcp.mail.heal.test TLSA 3 1 1 9999\n_25._tcp.mail.heal.test TLSA 3 1 1 0011\n", DOCTOR_OK, "fits", "" },
	{ "tlsa wrong", "tlsa", NULL, NULL, "_25._tcp.mail.heal.test TLSA 3 1 1 2233\n", DOCTOR_FAULT, "no TLSA record fits", "before a new key" },
	{ "tlsa of a whole certificate", "tlsa", NULL, NULL, "_25._tcp.mail.heal.test TLSA 3 0 1 0011\n", DOCTOR_NOTE, "not compared", "deliver-test" },
	{ "tlsa unsigned", "tlsa", NULL, "test ANY", "_25._tcp.mail.heal.test TLSA 3 1 1 0011\n", DOCTOR_WARNING, "DNSSEC does not reach", "sign" },
	{ "tlsa fails", "tlsa", NULL, NULL, "_25._tcp.mail.heal.test TLSA SERVFAIL\n", DOCTOR_FAULT, "fails (", "NXDOMAIN" },
	{ "tlsa of a partner", "tlsa", other, NULL, "_25._tcp.mx.other.test TLSA 3 1 1 0011\n", DOCTOR_OK, "was not tried", "" },
};

static bool fits(const struct exam *e, const struct finding *f, size_t i)
{
	return e->v != NULL && f->verdict == cases[i].verdict && contains(f->seen, cases[i].seen) && contains(f->todo, cases[i].todo);
}

static void every_check(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct house h;
		struct doctor d;
		bool good = false;

		furnish(&h);
		if (cases[i].how != NULL)
			cases[i].how(&h);
		examine(&h, cases[i].check, cases[i].less, cases[i].more, &d);
		assert_int_equal(d.n, 1);
		for (size_t k = 0; cases[i].seen != NULL && k < d.v[0].n; k++)
			good = good || fits(&d.v[0], &d.v[0].v[k], i);
		if (cases[i].seen == NULL ? d.v[0].n > 0 : !good || exam_worst(&d.v[0]) != cases[i].verdict) {
			print_all(&d);
			fail_msg("%s", cases[i].what);
		}
		arena_fini(&h.arena);
	}
}

/* A warning or a fault without a next step helps nobody. */
static void every_finding_says_what_to_do(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct house h;
		struct doctor d;

		furnish(&h);
		if (cases[i].how != NULL)
			cases[i].how(&h);
		examine(&h, cases[i].check, cases[i].less, cases[i].more, &d);
		for (size_t k = 0; k < d.v[0].n; k++) {
			const struct finding *f = &d.v[0].v[k];

			if ((f->verdict >= DOCTOR_WARNING && f->todo.n == 0) || f->seen.n == 0 || f->seen.p[f->seen.n - 1] == '.') {
				print_all(&d);
				fail_msg("%s", cases[i].what);
			}
		}
		arena_fini(&h.arena);
	}
}

static void every_check_has_a_case(void **state)
{
	(void)state;
	for (const struct check *c = doctor_checks; c->name != NULL; c++) {
		bool has = strcmp(c->name, "servers") == 0;       /* below */

		for (size_t i = 0; i < COUNT(cases); i++)
			has = has || strcmp(cases[i].check, c->name) == 0;
		if (!has)
			fail_msg("%s", c->name);
	}
}

/* ---- name servers -------------------------------------------------------------------------------------------- */

static struct direct_server both[2] = {
	{ .name = STR("ns1.test"), .address = STR("192.0.2.53") }, { .name = STR("ns2.test"), .address = STR("192.0.2.54") },
};

/* What each says, over UDP and over TCP; NULL: it does not answer; "-": it refuses. */
struct said { const char *udp, *tcp; };

static struct direct_reply reply(struct house *h, const struct direct_server *s, bool tcp, const char *text)
{
	struct direct_reply r = { .server = s, .tcp = tcp, .status = DNS_TIMEOUT, .why = STR("no answer in time") };

	if (text == NULL)
		return r;
	r.authoritative = text[0] != '-';
	r.status = text[0] == '-' ? DNS_SERVFAIL : text[0] == '\0' ? DNS_NODATA : DNS_FOUND;
	r.why = STR_NONE;
	r.n = r.status == DNS_FOUND;
	r.records = ARENA_ARRAY(&h->arena, str, 1);
	r.records[0] = str_of(text);
	return r;
}

static struct shown shown(struct house *h, const char *name, enum dns_type type, const struct said *v)
{
	struct shown s = { .wish = { .name = str_of(name), .type = type }, .replies = ARENA_ARRAY(&h->arena, struct direct_reply, 4), .n = 4 };

	for (size_t i = 0; i < 2; i++) {
		s.replies[2 * i] = reply(h, &both[i], false, v[i].udp);
		s.replies[2 * i + 1] = reply(h, &both[i], true, v[i].tcp);
	}
	return s;
}

#define SOA5 "ns1. host. 5 1 1 1 1"
#define SOA4 "ns1. host. 4 1 1 1 1"
#define SAME(x) { { x, x }, { x, x } }

static void servers_agree_or_not(void **state)
{
	static const struct { const char *what; struct said soa[2], mx[2]; size_t n; bool nameless; enum err e; enum doctor_verdict worst; const char *seen; } table[] = {
		{ "all agree", SAME(SOA5), SAME("10 a."), 2, false, OK, DOCTOR_OK, "2 servers at 2 addresses agree" },
		{ "a record differs", SAME(SOA5), { { "10 a.", "10 a." }, { "10 b.", "10 b." } }, 2, false, OK, DOCTOR_FAULT, "shows 10 a.; ns2.test (192.0.2.54) shows 10 b." },
		{ "a record lacks", SAME(SOA5), { { "10 a.", "10 a." }, { "", "" } }, 2, false, OK, DOCTOR_FAULT, "shows nothing" },
		{ "one lags", { { SOA5, SOA5 }, { SOA4, SOA4 } }, SAME("10 a."), 2, false, OK, DOCTOR_FAULT, "one lags behind" },
		{ "one is down", { { SOA5, SOA5 }, { NULL, NULL } }, { { "10 a.", "10 a." }, { NULL, NULL } }, 2, false, OK, DOCTOR_WARNING, "it does not answer: no answer in time" },
		{ "one is lame", { { SOA5, SOA5 }, { "-", "-" } }, { { "10 a.", "10 a." }, { "-", "-" } }, 2, false, OK, DOCTOR_FAULT, "does not serve heal.test" },
		{ "no TCP", { { SOA5, SOA5 }, { SOA5, NULL } }, SAME("10 a."), 2, false, OK, DOCTOR_WARNING, "over TCP" },
		{ "no UDP", { { SOA5, SOA5 }, { NULL, SOA5 } }, SAME("10 a."), 2, false, OK, DOCTOR_WARNING, "over UDP" },
		{ "one alone", SAME(SOA5), SAME("10 a."), 1, false, OK, DOCTOR_WARNING, "one name server alone" },
		{ "one without address", SAME(SOA5), SAME("10 a."), 1, true, OK, DOCTOR_FAULT, "has no address" },
		{ "not delegated", SAME(SOA5), SAME("10 a."), 2, false, ERR_ABSENT, DOCTOR_FAULT, "nobody has delegated it" },
		{ "not known", SAME(SOA5), SAME("10 a."), 2, false, ERR_BUSY, DOCTOR_NOTE, "could not be found" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		static str without[] = { STR("ns2.test") };
		struct house h;
		struct doctor d;
		bool good = false;

		furnish(&h);
		struct shown sets[] = { shown(&h, "heal.test", DNS_SOA, table[i].soa), shown(&h, "heal.test", DNS_NS, (struct said[2])SAME("ns1.test.")),
			                shown(&h, "heal.test", DNS_MX, table[i].mx) };

		h.servers_known = true;
		h.servers = (struct servers_seen){ .e = table[i].e, .zone = { .name = STR("heal.test"), .servers = both, .n = table[i].n },
			                           .v = sets, .n = COUNT(sets) };
		if (table[i].nameless)
			h.servers.zone.nameless = (struct strs){ without, 1 };
		/* With another serial the SOA records differ, too: that is said as what it is. */
		examine(&h, "servers", NULL, NULL, &d);
		for (size_t k = 0; k < d.v[0].n; k++)
			good = good || contains(d.v[0].v[k].seen, table[i].seen);
		if (!good || (exam_worst(&d.v[0]) != table[i].worst && strcmp(table[i].what, "one lags") != 0)) {
			print_all(&d);
			fail_msg("%s", table[i].what);
		}
		arena_fini(&h.arena);
	}
}

/* ---- resolvers that all the world uses --------------------------------------------------------------------------- */

static void public_resolvers(void **state)
{
	(void)state;
	assert_string_equal(host_public_resolver(STR("8.8.8.8:53")), "Google");
	assert_string_equal(host_public_resolver(STR("8.8.8.8")), "Google");
	assert_string_equal(host_public_resolver(STR("[2620:fe::fe]:53")), "Quad9");
	assert_null(host_public_resolver(STR("127.0.0.1:53")));
	assert_null(host_public_resolver(STR("unix:/run/dns")));
	assert_null(host_public_resolver(STR("dns.google:53")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_check), cmocka_unit_test(every_finding_says_what_to_do), cmocka_unit_test(every_check_has_a_case),
		cmocka_unit_test(servers_agree_or_not), cmocka_unit_test(public_resolvers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
