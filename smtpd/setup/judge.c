/* SPDX-License-Identifier: ISC */
/*
 * judge: see judge.h.  A loop of its own, run until each stage has answered;
 * a reject in one stage does not spare the later ones.  The verb's thread.
 */
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "modules/adsp/adsp.h"
#include "modules/authn.h"
#include "modules/dmarc/dmarc.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/senderid/senderid.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/envelope_words.h"
#include "smtpd/setup/judge.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define MODULES_MOST 32

static int read_options(struct judge *j, int argc, char **argv)
{
	enum { IP, HELO, MAIL_FROM, RCPT_TO, AUTHSERV_ID, RESOLVER, NOW, CANONICAL, JSON };
	static const struct option options[] = {
		{ "ip", required_argument, NULL, IP },
		{ "helo", required_argument, NULL, HELO },
		{ "mail-from", required_argument, NULL, MAIL_FROM },
		{ "rcpt-to", required_argument, NULL, RCPT_TO },
		{ "authserv-id", required_argument, NULL, AUTHSERV_ID },
		{ "resolver", required_argument, NULL, RESOLVER },
		{ "now", required_argument, NULL, NOW },
		{ "canonical", required_argument, NULL, CANONICAL },
		{ "json", no_argument, NULL, JSON },
		{ "config", required_argument, NULL, 'c' },
		{ 0 },
	};
	const char **values[] = {
		[IP] = &j->ip, [HELO] = &j->helo, [MAIL_FROM] = &j->mail_from, [RCPT_TO] = &j->rcpt_to,
		[AUTHSERV_ID] = &j->authserv_id, [RESOLVER] = &j->resolver, [NOW] = &j->now, [CANONICAL] = &j->canonical,
	};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, "+:c:", options, NULL)) != -1) {
		if (c == ':')
			return verb_misused(j->verb, "%s needs a value", argv[optind - 1]);
		if (c == '?')
			return verb_misused(j->verb, "unknown option %s", argv[optind - 1]);
		if (c == JSON)
			j->json = true;
		else
			*(c == 'c' ? &j->file : values[c]) = optarg;
	}
	if (j->canonical != NULL && strcmp(j->verb, "explain") != 0)
		return verb_misused(j->verb, "--canonical belongs to explain");
	if (optind < argc)
		return verb_misused(j->verb, "unexpected word \"%s\"", argv[optind]);
	if (j->ip == NULL || j->helo == NULL || j->mail_from == NULL)
		return verb_misused(j->verb, "--ip, --helo and --mail-from are all needed (--mail-from '' is the null sender)");
	return EXIT_DONE;
}

/* ---- who talks ------------------------------------------------------------ */

static int read_envelope(struct judge *j)
{
	struct sockaddr_storage ip = { 0 };
	uint64_t now;

	if (!envelope_ip(j->ip, &ip))
		return verb_misused(j->verb, "--ip %s is not an IPv4 or IPv6 address", j->ip);
	if (j->now != NULL && (!str_to_u64(str_of(j->now), &now) || now > (uint64_t)1 << 52))
		return verb_misused(j->verb, "--now %s is no number of seconds since 1970", j->now);
	if (j->now != NULL)
		clock_fix((int64_t)now);
	memcpy(&j->peer.addr, &ip, sizeof(j->peer.addr));
	j->peer.ip = str_of(j->ip);
	j->peer.helo = str_of(j->helo);
	j->peer.ehlo = true;
	envelope_path(&j->arena, str_of(j->mail_from), &j->msg.sender);
	if (j->rcpt_to != NULL)
		envelope_path(&j->arena, str_of(j->rcpt_to), &j->rcpt);
	return EXIT_DONE;
}

/* ---- the settings --------------------------------------------------------- */

/* Every module's defaults: an empty file read by their own tables. */
static bool default_confs(struct judge *j)
{
	struct conf_section sections[MODULES_MOST];
	const struct conf_section *list[MODULES_MOST + 1] = { NULL };
	struct conf_section root = { .sections = list, .size = sizeof(struct conf_head) };
	struct conf_faults faults = { 0 };
	size_t offsets[MODULES_MOST] = { 0 }, n = 0, align = _Alignof(max_align_t);

	for (size_t i = 0; j->modules[i] != NULL; i++) {
		must(i < MODULES_MOST);
		if (j->modules[i]->section == NULL)
			continue;
		root.size = (root.size + align - 1) / align * align;
		sections[n] = *j->modules[i]->section;
		sections[n].offset = offsets[i] = root.size;
		list[n] = &sections[n];
		root.size += sections[n++].size;
	}
	char *all = arena_alloc(&j->arena, root.size);

	j->confs = ARENA_ARRAY(&j->arena, const void *, MODULES_MOST);
	if (all == NULL || j->confs == NULL || conf_read("/dev/null", verb_open_file, &root, all, &j->arena, &faults) != OK)
		return false;
	for (size_t i = 0; j->modules[i] != NULL; i++)
		j->confs[i] = offsets[i] > 0 ? all + offsets[i] : NULL;
	return true;
}

static int read_knowledge(struct judge *j, struct config *c)
{
	str why = STR_NONE;
	const char *denied = str_cstr(&j->arena, server_deny_path(c, &j->arena));

	if (knowledge_make(&j->knowledge, c, &j->denied, &j->arena, &why) != OK)
		return verb_fail(EXIT_FINDING, j->verb, "%.*s", STR_ARG(why));
	if (denied != NULL && access(denied, R_OK) == 0)
		atomic_store(&j->denied.table, knowledge_read_denied(c));
	return EXIT_DONE;
}

static int read_configuration(struct judge *j, const char *file)
{
	int status = EXIT_DONE;
	struct config *c = verb_config(j->verb, file, &j->arena, &status);

	if (c == NULL)
		return status;
	j->dns_conf.forward = c->resolver.forward;
	j->dns_conf.trust_anchor = config_trust_anchor(c);
	j->dns_conf.timeout_ms = c->resolver.timeout_ms;
	j->host = c->hostname;
	j->authserv = c->verify->authserv_id.n > 0 ? c->verify->authserv_id : c->hostname;
	j->confs = c->module_confs;
	j->msg.sender_is_local = !j->msg.sender.is_null && config_domain_is_local(c, j->msg.sender.domain);
	return read_knowledge(j, c);
}

/* The historic methods are off in the server unless its configuration says
 * otherwise; here they are always evaluated, and written only where the server
 * would.  The settings are this verb's own. */
static void historic_on(struct judge *j)
{
	for (size_t i = 0; j->modules[i] != NULL; i++) {
		void *conf = (void *)(uintptr_t)j->confs[i];

		if (j->modules[i] == &domainkeys_module)
			((struct domainkeys_conf *)conf)->evaluate = true;
		else if (j->modules[i] == &senderid_module)
			((struct senderid_conf *)conf)->evaluate = true;
		else if (j->modules[i] == &adsp_module)
			((struct adsp_conf *)conf)->evaluate = true;
	}
}

static void name_ourselves(struct judge *j)
{
	char name[256] = "";

	if (j->host.n == 0) {
		gethostname(name, sizeof(name) - 1);
		j->host = str_keep(&j->arena, str_of(name[0] != '\0' ? name : "localhost"));
	}
	if (j->authserv_id != NULL)
		j->authserv = str_of(j->authserv_id);
	if (j->authserv.n == 0)
		j->authserv = j->host;
}

static int read_settings(struct judge *j)
{
	struct endpoint at;
	int status = EXIT_DONE;

	j->dns_conf.timeout_ms = 5000;
	if (j->file != NULL || (j->resolver == NULL && access(CONFIG_FILE, R_OK) == 0))
		status = read_configuration(j, j->file != NULL ? j->file : CONFIG_FILE);
	if (status != EXIT_DONE)
		return status;
	if (j->confs == NULL && !default_confs(j))
		return verb_fail(EXIT_LATER, j->verb, "no memory for the settings: try again later");
	historic_on(j);
	name_ourselves(j);
	if (j->resolver == NULL)
		return EXIT_DONE;
	if (!endpoint_parse(str_of(j->resolver), 53, &at) || at.is_name || at.is_unix)
		return verb_misused(j->verb, "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300", j->resolver);
	j->dns_conf.forward = (struct strs){ 0 };
	j->dns_conf.only = str_of(j->resolver);
	j->dns_conf.trust_anchor = STR_NONE;
	j->dns_conf.local_special = true;
	return EXIT_DONE;
}

/* ---- the stages ----------------------------------------------------------- */

/* Until somebody says loop_stop; once for each wait. */
static void wait_here(struct judge *j)
{
	j->loop->stopping = false;
	loop_run(j->loop);
}

static void stage_done(struct chain_conn *c, void *user)
{
	(void)c;
	loop_stop(user);
}

/* What a module that only marks had to say is known to that module alone. */
static str quarantine_reason(struct judge *j, const struct verdict *v)
{
	str said = STR_NONE;

	if (v->module != NULL && strcmp(v->module, dmarc_module.name) == 0)
		said = dmarc_state_decision(chain_msg(j->conn, &dmarc_module));
	return said.n > 0 ? said : arena_printf(&j->arena, "marked by %s", v->module != NULL ? v->module : "the chain");
}

static void stage(struct judge *j, enum say say)
{
	if (say == SAY_WAIT)
		wait_here(j);
	const struct verdict *v = chain_verdict(j->conn);

	if (v->say <= j->verdict.say)
		return;
	j->verdict = *v;
	j->reason = v->text.n > 0 ? str_keep(&j->arena, v->text) : quarantine_reason(j, v);
}

static void header_through(struct judge *j)
{
	struct fields *f = &j->in.splitter.fields;

	message_in_split(&j->in, &j->arena);
	j->msg.fields = f;
	for (size_t i = 0; i < f->n; i++) {
		f->v[i].omitted = authn_forged(&j->arena, &f->v[i], j->authserv, j->host);
		chain_header(j->conn, &f->v[i]);
	}
	from_judge(&j->arena, f, &j->msg.from);
	chain_body_next(j->conn);
}

static void body_through(struct judge *j)
{
	str pieces[] = { j->in.body_front, j->in.body };

	for (size_t i = 0; i < COUNT(pieces); i++) {
		if (pieces[i].n == 0)
			continue;
		bodyhash_feed(j->msg.hashes, pieces[i]);
		chain_body(j->conn, pieces[i]);
		j->msg.body_bytes += pieces[i].n;
	}
	bodyhash_end(j->msg.hashes);
}

static bool reads_on(struct judge *j)
{
	struct read_on r = { 0 };

	read_on_feed(&r, j->in.body_front);
	return j->in.splitter.no_blank && read_on_feed(&r, j->in.body);
}

/* The server refuses before it judges (CONTRACT, Limits); here both are told. */
static void limits_weigh(struct judge *j)
{
	if (j->verdict.say >= SAY_REJECT || (j->in.splitter.over == SPLIT_OK && !reads_on(j)))
		return;
	j->verdict = (struct verdict){ .say = SAY_REJECT, .code = 554, .esc = "5.6.0" };
	j->reason = j->in.splitter.over != SPLIT_OK
	          ? STR("The header is over its limits; what lies behind them was not judged")
	          : STR("The header ends at a line that is no field, and more fields follow; a mail program may show those");
}

static void message_through(struct judge *j)
{
	stage(j, chain_connect(j->conn, stage_done, j->loop));
	stage(j, chain_helo(j->conn, j->peer.helo, stage_done, j->loop));
	stage(j, chain_mail(j->conn, &j->msg, &j->arena, &j->log, stage_done, j->loop));
	if (j->rcpt_to != NULL) {
		j->msg.rcpts = &j->rcpt;
		stage(j, chain_rcpt(j->conn, &j->rcpt, stage_done, j->loop));
		j->msg.nrcpts = 1;
	}
	header_through(j);
	body_through(j);
	stage(j, chain_message(j->conn, stage_done, j->loop));
	limits_weigh(j);
	j->field = authn_field(j->conn, &j->arena, j->authserv, STR_NONE);
}

/* The server has done this long before. */
static void zones_tested(struct dnsbl_tests *t, void *user)
{
	(void)t;
	loop_stop(user);
}

static void test_zones(struct judge *j)
{
	struct dnsbl_tests *t = NULL;

	for (size_t i = 0; j->modules[i] != NULL; i++)
		if (j->modules[i] == &dnsbl_module)
			t = dnsbl_tests_start(j->confs[i], j->loop->dns, zones_tested, j->loop);
	if (t != NULL)
		wait_here(j);
	dnsbl_tests_end(t);
}

static int judge_with(struct judge *j, void (*show)(struct judge *))
{
	str why = STR_NONE;
	int status = EXIT_DONE;

	j->chain = chain_new(j->modules, j->confs, &j->arena, &why);
	if (j->chain == NULL)
		return verb_fail(EXIT_FINDING, j->verb, "%.*s", STR_ARG(why));
	chain_trust(j->chain, j->knowledge.trust);
	test_zones(j);
	j->log = (struct log){ .id = STR("verify") };
	j->msg.id = STR("verify");
	j->msg.origin = FROM_STRANGER;
	j->msg.now = clock_wall();
	j->msg.host = j->host;
	j->msg.authserv_id = j->authserv;
	j->msg.hashes = bodyhash_new(&j->arena);
	j->conn = chain_open(j->chain, j->loop, &j->peer, &j->arena, &j->log);
	if (j->conn == NULL || j->msg.hashes == NULL)
		return verb_fail(EXIT_LATER, j->verb, "no memory: try again later");
	chain_thorough(j->conn, true);
	message_through(j);
	if (j->arena.spent)
		status = verb_fail(EXIT_LATER, j->verb, "no memory: try again later");
	else
		show(j);
	bodyhash_drop(j->msg.hashes);
	chain_close(j->conn);
	return status;
}

static int judge_on_a_loop(struct judge *j, void (*show)(struct judge *))
{
	str why = STR_NONE;
	int status;

	j->loop = loop_new(0, NULL);
	if (j->loop == NULL)
		return verb_fail(EXIT_LATER, j->verb, "no memory: try again later");
	j->loop->dns = dns_new(&j->dns_conf, j->loop, &j->arena, &why);
	if (j->loop->dns == NULL)
		status = verb_fail(EXIT_LATER, j->verb, "%.*s", STR_ARG(why));
	else {
		if (strcmp(j->verb, "explain") == 0)
			dns_seen_watch(&j->seen, &j->arena, j->loop->dns);
		status = judge_with(j, show);
		dns_free(j->loop->dns);
	}
	loop_free(j->loop);
	return status;
}

int judge_run(struct judge *j, const char *verb, int argc, char **argv, const struct module *const *modules,
              void (*show)(struct judge *))
{
	const char *why = NULL;
	int status;

	*j = (struct judge){ .verb = verb, .modules = modules };
	status = read_options(j, argc, argv);
	if (status != EXIT_DONE)
		return status;
	crypt_setup();
	arena_init(&j->arena, ARENA_UNBOUNDED);
	status = read_envelope(j);
	if (status == EXIT_DONE)
		status = read_settings(j);
	if (status == EXIT_DONE && !message_in_read(&j->in, STDIN_FILENO, &why))
		status = verb_fail(EXIT_LATER, verb, "standard input could not be read: %s", why);
	if (status == EXIT_DONE)
		status = judge_on_a_loop(j, show);
	message_in_fini(&j->in);
	deny_table_free(atomic_load(&j->denied.table));
	knowledge_free(&j->knowledge);
	arena_fini(&j->arena);
	return status;
}

const char *judge_action(const struct judge *j)
{
	static const char *const words[] = {
		[SAY_NEXT] = "accept", [SAY_QUARANTINE] = "quarantine", [SAY_DEFER] = "defer", [SAY_REJECT] = "reject",
	};

	return words[j->verdict.say];
}
