/* SPDX-License-Identifier: ISC */
/*
 * postern dmarc plan: which policy is safe for a domain now, and the next record.
 * Looks at DNS one question after the other; dmarc_plan.c thinks.
 *
 * Since when the present policy has been there is remembered in
 * STATE/dmarc/DOMAIN, "SECONDS POLICY" on one line, written anew when the policy
 * changes.  Where that cannot be written, nothing is remembered.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "modules/dkim/dkim.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/json.h"
#include "smtpd/mail/tags.h"
#include "smtpd/setup/dns/asking.h"
#include "smtpd/setup/dns/dmarc_plan.h"
#include "smtpd/setup/dns/dns_verbs.h"
#include "smtpd/setup/dns/record_forms.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/verbs.h"

struct planner {
	struct asking asking;
	const char *domain, *since, *when;
	bool  json;
	struct arena arena;
	struct plan_facts facts;
	struct dns_answer answer;              /* the last one */
};

/* ---- the command line --------------------------------------------------------------------------- */

static bool day_of(const char *text, int64_t *out)
{
	struct tm day = { 0 };
	const char *end = strptime(text, "%Y-%m-%d", &day);

	if (end == NULL || *end != '\0')
		return false;
	*out = timegm(&day);
	return true;
}

static int read_options(int argc, char **argv, struct planner *p)
{
	enum { RESOLVER, JSON, SINCE, NOW };
	static const struct option options[] = {
		{ "resolver", required_argument, NULL, RESOLVER }, { "json", no_argument, NULL, JSON },
		{ "since", required_argument, NULL, SINCE }, { "now", required_argument, NULL, NOW },
		{ "config", required_argument, NULL, 'c' }, { 0 },
	};
	uint64_t now;
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == ':' || c == '?')
			return verb_misused("dmarc", c == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
		if (c == JSON)
			p->json = true;
		else
			*(c == 'c' ? &p->asking.file : c == RESOLVER ? &p->asking.resolver : c == SINCE ? &p->since : &p->when) = optarg;
	}
	if (argc - optind != 2 || strcmp(argv[optind], "plan") != 0)
		return verb_misused("dmarc", "what is wanted is `plan DOMAIN`");
	p->domain = argv[optind + 1];
	if (p->since != NULL && !day_of(p->since, &p->facts.since))
		return verb_misused("dmarc", "--since %s is not a day, as 2026-11-01", p->since);
	p->facts.now = clock_wall();
	if (p->when != NULL && (!str_to_u64(str_of(p->when), &now) || now > (uint64_t)1 << 52))
		return verb_misused("dmarc", "--now %s is no number of seconds since 1970", p->when);
	if (p->when != NULL)
		p->facts.now = (int64_t)now;
	return EXIT_DONE;
}

/* ---- what DNS has ---------------------------------------------------------------------------------- */

static void checked(struct dmarc_check *c, void *user)
{
	(void)c;
	asking_answered(user);
}

static bool look_at_policy(struct planner *p)
{
	struct dmarc_check *c = dmarc_start(p->asking.loop->dns, &p->arena, p->facts.domain);

	if (c == NULL)
		return false;
	if (!dmarc_finish(c, NULL, 0, checked, &p->asking))
		asking_wait(&p->asking);
	p->facts.seen = dmarc_outcome(c);
	return p->facts.seen != NULL;
}

static void answered(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct planner *p = ask->user;

	p->answer = *answer;
	asking_answered(&p->asking);
}

static const struct dns_answer *ask_txt(struct planner *p, str name)
{
	struct dns_ask ask = { 0 };

	dns_ask(p->asking.loop->dns, &ask, &p->arena, name, DNS_TXT, 0, answered, p);
	asking_wait(&p->asking);
	return &p->answer;
}

static bool same_key(struct planner *p, str shown, str ours)
{
	struct tags a, b;
	str x, y;

	tags_parse(&p->arena, shown, &a);
	tags_parse(&p->arena, ours, &b);
	return tags_get(&a, "p", &x) && tags_get(&b, "p", &y) && str_eq(tags_squeeze(&p->arena, x), tags_squeeze(&p->arena, y));
}

static enum plan_shown look_at_key(struct planner *p, str selector, str record)
{
	const struct dns_answer *a = ask_txt(p, arena_printf(&p->arena, "%.*s._domainkey.%.*s", STR_ARG(selector), STR_ARG(p->facts.domain)));

	if (dns_failed(a->status))
		return PLAN_UNKNOWN;
	if (a->status != DNS_FOUND)
		return PLAN_ABSENT;
	return a->n == 1 && same_key(p, a->rr[0].txt, record) ? PLAN_SHOWN : PLAN_OTHER;
}

/* RFC 9990 4: at least one DMARC record there is consent. */
static enum plan_shown look_at_consent(struct planner *p, str host)
{
	const struct dns_answer *a = ask_txt(p, arena_printf(&p->arena, "%.*s._report._dmarc.%.*s", STR_ARG(p->facts.domain), STR_ARG(host)));
	struct dmarc_record consent;

	if (dns_failed(a->status))
		return PLAN_UNKNOWN;
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (dmarc_record_parse(a->rr[i].txt, &consent))
			return PLAN_SHOWN;
	return PLAN_ABSENT;
}

static bool is_within(str name, str domain)
{
	return str_eq_nocase(name, domain) ||
	       (name.n > domain.n && str_ends_nocase(name, domain) && name.p[name.n - domain.n - 1] == '.');
}

static void look_at_reports(struct planner *p)
{
	const struct dmarc_step *own = p->facts.seen->nsteps > 0 ? &p->facts.seen->steps[0] : NULL;
	struct plan_report *v = ARENA_ARRAY(&p->arena, struct plan_report, 10);
	struct dmarc_record rec;
	str uris, uri;

	if (v == NULL || own == NULL || own->records != 1 || !dmarc_record_parse(own->record, &rec))
		return;
	uris = rec.rua;
	p->facts.reports = v;
	while (uris.n > 0 && p->facts.n_reports < 10 && str_cut(&uris, ',', &uri)) {
		struct plan_report *r = &v[p->facts.n_reports];

		uri = str_head(str_trim(uri), str_find(str_trim(uri), '!'));
		if (!str_starts_nocase(uri, "mailto:") || !str_holds(uri, '@'))
			continue;
		r->address = str_skip(uri, sizeof("mailto:") - 1);
		if (!domain_to_ascii(&p->arena, str_skip(r->address, str_rfind(r->address, '@') + 1), &r->host))
			continue;
		r->elsewhere = !is_within(r->host, p->facts.domain) && !is_within(p->facts.domain, r->host);
		r->consent = r->elsewhere ? look_at_consent(p, r->host) : PLAN_SHOWN;
		p->facts.n_reports++;
	}
}

/* ---- what this server does ----------------------------------------------------------------------------- */

static bool signs_by_hand(const struct domain_section *d, const struct key_file *k)
{
	for (size_t i = 0; i < d->dkim.n; i++)
		if (str_eq(d->name, k->domain) && str_eq(((const struct dkim_section *)d->dkim.v[i])->key, k->path))
			return true;
	return false;
}

static int look_at_keys(struct planner *p, const struct domain_section *d)
{
	struct key_files files = { 0 };
	struct key_record *managed = NULL;
	size_t n_managed = 0;
	str why = STR_NONE, record;
	enum err e = key_files_read(p->asking.config->state, p->asking.config, &p->arena, &files, &why);
	struct plan_key *v;

	if (e == OK)
		e = key_records(p->asking.config, d->name, &p->arena, &managed, &n_managed, &why);
	v = ARENA_ARRAY(&p->arena, struct plan_key, files.n + n_managed + 1);
	p->facts.keys = v;
	for (size_t i = 0; e == OK && v != NULL && i < n_managed; i++)
		if (!managed[i].signs)
			p->facts.keys_wait |= managed[i].state <= LIFE_ACTIVE;
		else
			v[p->facts.n_keys++] = (struct plan_key){ managed[i].selector, look_at_key(p, managed[i].selector, managed[i].value) };
	for (size_t i = 0; e == OK && v != NULL && i < files.n; i++)
		if (signs_by_hand(d, &files.v[i]) && dkim_key_record(files.v[i].key, &p->arena, &record) == OK)
			v[p->facts.n_keys++] = (struct plan_key){ files.v[i].selector, look_at_key(p, files.v[i].selector, record) };
	key_files_free(&files);
	return e == OK ? EXIT_DONE : verb_fail(EXIT_FINDING, "dmarc", "%.*s", STR_ARG(why));
}

static const struct domain_section *find_section(struct planner *p)
{
	const struct config *c = p->asking.config;
	const struct domain_section *found = NULL;

	for (size_t i = 0; c != NULL && i < c->domains.n; i++)
		if (str_eq(((const struct domain_section *)c->domains.v[i])->name, p->facts.domain))
			found = c->domains.v[i];
	return found;
}

static void find_below(struct planner *p)
{
	const struct config *c = p->asking.config;

	p->facts.below.v = ARENA_ARRAY(&p->arena, str, c->domains.n);
	for (size_t i = 0; p->facts.below.v != NULL && i < c->domains.n; i++) {
		str name = ((const struct domain_section *)c->domains.v[i])->name;

		if (!str_eq(name, p->facts.domain) && is_within(name, p->facts.domain))
			p->facts.below.v[p->facts.below.n++] = name;
	}
}

/* ---- since when ------------------------------------------------------------------------------------------ */

static str policy_words(struct planner *p)
{
	const struct dmarc_step *own = p->facts.seen->nsteps > 0 ? &p->facts.seen->steps[0] : NULL;
	struct dmarc_record r;

	if (own == NULL || own->records != 1 || !dmarc_record_parse(own->record, &r))
		return STR_NONE;
	return arena_printf(&p->arena, "p%d,sp%d,np%d,t%d", (int)r.p, (int)r.sp, (int)r.np, r.testing);
}

static bool remembered(str text, str words, int64_t *since)
{
	uint64_t n;
	str when, line = str_head(text, str_find(text, '\n'));

	if (!str_cut(&line, ' ', &when) || !str_eq(line, words) || !str_to_u64(when, &n) || n > (uint64_t)1 << 52)
		return false;
	*since = (int64_t)n;
	return true;
}

static void remember(struct planner *p)
{
	str state = p->asking.config->state, words = policy_words(p), why = STR_NONE, text = STR_NONE;
	str folder = arena_printf(&p->arena, "%.*s/dmarc", STR_ARG(state));
	str path = arena_printf(&p->arena, "%.*s/%.*s", STR_ARG(folder), STR_ARG(p->facts.domain));
	str fresh = arena_printf(&p->arena, "%.*s.new.%d", STR_ARG(path), (int)getpid());
	char *from = str_cstr(&p->arena, fresh), *to = str_cstr(&p->arena, path);

	if (words.n == 0 || from == NULL || to == NULL)
		return;
	if (file_read(verb_open_file, path, 4096, &p->arena, &text, &why) == OK && remembered(text, words, &p->facts.since))
		return;
	text = arena_printf(&p->arena, "%lld %.*s\n", (long long)p->facts.now, STR_ARG(words));
	if (directory_create(folder, &p->arena, &why) != OK || file_create(fresh, 0600, text, &p->arena, &why) != OK)
		return;
	if (rename(from, to) == 0)
		p->facts.since = p->facts.now;
	else
		unlink(from);
}

/* ---- what comes of it --------------------------------------------------------------------------------------- */

static struct dns_record next_record(struct planner *p, const struct dmarc_plan *plan)
{
	return (struct dns_record){ .name = arena_printf(&p->arena, "_dmarc.%.*s", STR_ARG(p->facts.domain)), .type = "TXT",
		                    .value = plan->record, .note = STR("the next DMARC record") };
}

static str present_text(const struct planner *p)
{
	const struct dmarc_step *own = p->facts.seen->nsteps > 0 ? &p->facts.seen->steps[0] : NULL;

	return own != NULL && own->records == 1 ? own->record : STR_NONE;
}

static void print_words(const struct dmarc_plan *plan, bool against, const char *heading)
{
	bool any = false;

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_word *w = &plan->words[i];

		if (w->against != against)
			continue;
		if (!any)
			printf("\n%s\n", heading);
		any = true;
		printf("  - %.*s\n", STR_ARG(w->text));
		if (w->todo.n > 0)
			printf("    -> %.*s\n", STR_ARG(w->todo));
	}
}

static void print(struct planner *p, const struct dmarc_plan *plan)
{
	struct dns_record r = next_record(p, plan);
	str present = present_text(p);

	printf("%.*s: %.*s.\n", STR_ARG(p->facts.domain), STR_ARG(plan->summary));
	if (present.n > 0)
		printf("\nDNS has now:\n  %.*s\n", STR_ARG(present));
	print_words(plan, true, plan->has_record ? "Against a step up:" : "To be done before the step after this one:");
	print_words(plan, false, "Seen:");
	if (plan->record.n == 0)
		return;
	printf("\n");
	record_print_forms(&r, p->facts.domain, &p->arena);
}

static void print_json(struct planner *p, const struct dmarc_plan *plan)
{
	struct json *root = json_new_object(), *list;
	struct dns_record r = next_record(p, plan);
	str present = present_text(p);

	json_set(root, "domain", p->facts.domain);
	json_set_c(root, "step", plan_step_word(plan->step));
	json_set(root, "summary", plan->summary);
	json_set(root, "present", present.n > 0 ? present : STR_NONE);
	json_set_c(root, "present_policy", dmarc_policy_word(plan->present));
	json_set_c(root, "safe_policy", dmarc_policy_word(plan->safe));
	if (p->facts.since > 0)
		json_set_num(root, "since", p->facts.since);
	json_set_num(root, "wait_days", plan->wait_days);
	if (plan->record.n > 0)
		dns_record_json(&r, p->facts.domain, &p->arena, json_set_object(root, "next"));
	else
		json_set_null(root, "next");
	list = json_set_array(root, "seen");
	for (size_t i = 0; i < plan->n; i++) {
		struct json *one = json_add_object(list);

		json_set_bool(one, "against", plan->words[i].against);
		json_set(one, "text", plan->words[i].text);
		json_set(one, "todo", plan->words[i].todo.n > 0 ? plan->words[i].todo : STR_NONE);
	}
	json_print(root, stdout);
}

/* ---- the verb ----------------------------------------------------------------------------------------------- */

static int look(struct planner *p)
{
	const struct domain_section *d = find_section(p);
	const struct domain_section plain = { .name = p->facts.domain };
	int status = EXIT_DONE;

	p->facts.ours = d != NULL;
	p->facts.first = dns_dmarc_text(&plain, &p->arena);
	if (d != NULL && d->dmarc.reports.n > 0) {
		struct domain_section asks = { .name = d->name, .dmarc = { .reports = d->dmarc.reports } };

		p->facts.first = dns_dmarc_text(&asks, &p->arena);
	}
	if (!look_at_policy(p))
		return verb_fail(EXIT_LATER, "dmarc", "no memory: try again later");
	if (p->facts.seen->nsteps > 0 && dns_failed(p->facts.seen->steps[0].status))
		return verb_fail(EXIT_LATER, "dmarc", "DNS did not answer for _dmarc.%.*s (%s): try again later", STR_ARG(p->facts.domain),
		                 dns_status_text(p->facts.seen->steps[0].status));
	p->facts.spf = spf_tree_wait(&p->asking, &p->arena, p->facts.domain, STR_NONE);
	look_at_reports(p);
	if (d == NULL)
		return EXIT_DONE;
	find_below(p);
	status = look_at_keys(p, d);
	if (status == EXIT_DONE && p->since == NULL)
		remember(p);
	return status;
}

static int plan(struct planner *p)
{
	struct dmarc_plan made;
	int status;

	if (!domain_to_ascii(&p->arena, str_of(p->domain), &p->facts.domain))
		return verb_misused("dmarc", "\"%s\" is not a domain name", p->domain);
	status = asking_open(&p->asking, &p->arena);
	if (status != EXIT_DONE)
		return status;
	status = look(p);
	if (status == EXIT_DONE && dmarc_plan_make(&p->facts, &p->arena, &made) != OK)
		status = verb_fail(EXIT_LATER, "dmarc", "no memory: try again later");
	if (status == EXIT_DONE && p->json)
		print_json(p, &made);
	else if (status == EXIT_DONE)
		print(p, &made);
	asking_close(&p->asking);
	return status;
}

int verb_dmarc(int argc, char **argv)
{
	struct planner p = { .asking = { .verb = "dmarc", .wants_config = true } };
	int status = read_options(argc, argv, &p);

	if (status != EXIT_DONE)
		return status;
	crypt_setup();
	arena_init(&p.arena, ARENA_UNBOUNDED);
	status = plan(&p);
	arena_fini(&p.arena);
	return status;
}
