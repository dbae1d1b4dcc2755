/* SPDX-License-Identifier: ISC */
/*
 * What is here: nothing is changed, and nobody asked but DNS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pwd.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smtpd/base/conn.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/dns/asking.h"
#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/setup/setup.h"
#include "smtpd/setup/verbs.h"

#define DNS_PATIENCE_MS 4000

extern char **environ;

/* ---- programs --------------------------------------------------------------------------------- */

bool setup_has_program(const char *name)
{
	static const char beside[] = ":/usr/sbin:/sbin:/usr/local/sbin:/usr/local/bin";
	const char *path = getenv("PATH");
	str rest = str_of(path != NULL ? path : "/usr/bin:/bin"), dir;

	for (int part = 0; part < 2; part++, rest = str_of(beside + 1))
		while (str_cut(&rest, ':', &dir)) {
			char file[4096];

			if (snprintf(file, sizeof(file), "%.*s/%s", STR_ARG(dir), name) < (int)sizeof(file) && access(file, X_OK) == 0)
				return true;
		}
	return false;
}

int setup_shell(const char *command, bool quiet)
{
	static const char with_sbin[] = "PATH=\"$PATH:/usr/sbin:/sbin:/usr/local/sbin:/usr/local/bin\"; export PATH; ";
	char *words = NULL;
	char *argv[] = { (char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", NULL, NULL };
	pid_t pid;
	int status = -1;

	if (asprintf(&words, "%s%s%s", with_sbin, quiet ? "exec >/dev/null 2>&1; " : "", command) < 0)
		return 127;
	argv[2] = words;
	fflush(stdout);
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0)
		pid = -1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	free(words);
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 127;
}

/* ---- words that become paths and names ------------------------------------------------------------ */

/* They go into scripts and the configuration as they are. */
static bool is_plain(const char *path)
{
	for (const char *p = path; *p != '\0'; p++)
		if (!is_alnum(*p) && strchr("/._-+@", *p) == NULL)
			return false;
	return path[0] == '/' && path[1] != '\0';
}

static bool take_path(struct setup *s, const char *option, const char *said, str otherwise, str *out, int *status)
{
	char *whole = NULL;
	bool ok;

	if (said == NULL) {
		*out = otherwise;
		return true;
	}
	if (said[0] != '/') {
		char here[4096];

		if (getcwd(here, sizeof(here)) != NULL && asprintf(&whole, "%s/%s", here, said) < 0)
			whole = NULL;
	}
	*out = str_keep(s->a, str_of(whole != NULL ? whole : said));
	free(whole);
	while (out->n > 1 && out->p[out->n - 1] == '/')
		out->n--;
	ok = out->n > 0 && is_plain(str_cstr(s->a, *out));
	if (!ok)
		*status = verb_misused(SETUP_VERB, "%s %s: take a path of letters, digits and . _ - + @ /", option, said);
	return ok;
}

/* Those of a configuration that is there, as far as it has our three listeners. */
static void find_ports(struct setup *s)
{
	static const char *const names[] = { "mx", "submission", "submissions" };
	static const uint32_t usual[] = { 25, 587, 465 };

	memcpy(s->ports, usual, sizeof(s->ports));
	for (size_t i = 0; s->there != NULL && i < s->there->listeners.n; i++) {
		const struct listener_conf *l = s->there->listeners.v[i];

		for (int k = 0; k < SETUP_PORTS; k++)
			if (str_is(l->head.title, names[k]) && l->address.n > 0)
				str_to_u32(str_skip(l->address.v[0], str_rfind(l->address.v[0], ':') + 1), &s->ports[k]);
	}
	s->own_ports = memcmp(s->ports, usual, sizeof(usual)) != 0;
}

static str usual_mail(const struct setup *s)
{
	const struct domain_section *d = s->there != NULL && s->there->domains.n > 0 ? s->there->domains.v[0] : NULL;
	const str end = STR("/%d/%u");

	if (d != NULL && str_ends_nocase(d->deliver.maildir, end))
		return str_head(d->deliver.maildir, d->deliver.maildir.n - end.n);
	return str_is(s->state, "/var/lib/postern") ? STR("/var/mail") : arena_printf(s->a, "%.*s/mail", STR_ARG(s->state));
}

static bool take_ports(struct setup *s, int *status)
{
	str text = str_of(s->said.ports), word;

	for (int i = 0; s->said.ports != NULL && i < SETUP_PORTS; i++)
		if (!str_cut(&text, ',', &word) || !str_to_u32(word, &s->ports[i]) || s->ports[i] > 65535) {
			*status = verb_misused(SETUP_VERB, "--ports takes three numbers such as 25,587,465");
			return false;
		}
	if (s->said.ports != NULL && text.p != NULL && text.n > 0) {
		*status = verb_misused(SETUP_VERB, "--ports takes three numbers such as 25,587,465");
		return false;
	}
	s->own_ports = s->said.ports != NULL;
	if (!s->own_ports)
		find_ports(s);
	return true;
}

static bool take_domain(struct setup *s, const char *text, const char *what, str *out, int *status)
{
	if (domain_to_ascii(s->a, str_of(text), out) && str_holds(*out, '.'))
		return true;
	*status = verb_misused(SETUP_VERB, "\"%s\" is no %s, such as %s", text, what, strcmp(what, "domain name") == 0 ? "example.org"
	                                                                                                            : "mail.example.org");
	return false;
}

static bool take_account(struct setup *s, int *status)
{
	str said = str_of(s->said.account != NULL ? s->said.account : "postmaster");
	struct path p;

	if (!str_holds(said, '@'))
		said = arena_printf(s->a, "%.*s@%.*s", STR_ARG(said), STR_ARG(s->domain));
	if (!path_of(s->a, said, &p) || !str_eq(p.domain, s->domain)) {
		*status = verb_misused(SETUP_VERB, "--account %s is no address in %.*s", s->said.account, STR_ARG(s->domain));
		return false;
	}
	s->account = p.text;
	return true;
}

static bool take_user(struct setup *s, int *status)
{
	s->user = str_of(s->said.user != NULL ? s->said.user : s->there != NULL ? str_cstr(s->a, s->there->user) : "postern");
	for (size_t i = 0; i < s->user.n; i++)
		if (!is_alnum(s->user.p[i]) && (i == 0 || (s->user.p[i] != '-' && s->user.p[i] != '_'))) {
			*status = verb_misused(SETUP_VERB, "--user %.*s is no name of a user", STR_ARG(s->user));
			return false;
		}
	return true;
}

static bool take_acme(struct setup *s, int *status)
{
	for (const struct acme_tool *t = acme_tools; t->name != NULL; t++)
		if (s->said.acme != NULL ? strcmp(s->said.acme, t->name) == 0 : s->acme == NULL && setup_has_program(t->name))
			s->acme = t;
	if (s->said.acme == NULL)
		return true;
	if (s->acme == NULL) {
		*status = verb_misused(SETUP_VERB, "--acme %s is none of certbot, uacme and lego", s->said.acme);
		return false;
	}
	if (setup_has_program(s->acme->name))
		return true;
	*status = verb_fail(EXIT_FINDING, SETUP_VERB, "%s is not installed: `apt install %s`, then run this again", s->acme->name, s->acme->name);
	return false;
}

/* ---- a configuration that is there ------------------------------------------------------------------ */

static bool read_there(struct setup *s, int *status)
{
	struct conf_faults faults;
	str why = STR_NONE;
	enum err e;

	if (access(s->file, F_OK) != 0)
		return true;
	e = config_read(s->file, verb_open_file, s->a, &s->there, &faults, &why);
	if (e == OK) {
		s->second = !config_domain_is_local(s->there, s->domain);
		if (s->there->domains.n > 0)
			s->first = ((const struct domain_section *)s->there->domains.v[0])->name;
		return true;
	}
	s->there = NULL;
	if (e == ERR_BAD && s->said.force)
		return true;
	if (e == ERR_BAD)
		config_print_faults(&faults, stderr);
	*status = e == ERR_BAD ? verb_fail(EXIT_FINDING, SETUP_VERB, "%s has faults: mend them, or write it anew with --force", s->file)
	                       : verb_fail(EXIT_FINDING, SETUP_VERB, "%.*s", STR_ARG(why));
	return false;
}

static void find_user(struct setup *s)
{
	struct passwd *pw = getpwnam(str_cstr(s->a, s->user));

	s->uid = s->root && pw != NULL ? pw->pw_uid : geteuid();
	s->gid = s->root && pw != NULL ? pw->pw_gid : getegid();
}

/* ---- the host ------------------------------------------------------------------------------------------ */

static void find_addresses(struct setup *s)
{
	struct config nothing = { .state = STR_NONE };
	struct strs found = { 0 };

	dns_wanted_addresses(s->there != NULL ? s->there : &nothing, s->a, &found);
	s->addresses = ARENA_ARRAY(s->a, struct setup_address, found.n + 1);
	for (size_t i = 0; s->addresses != NULL && i < found.n; i++)
		s->addresses[s->naddresses++].text = found.v[i];
	s->behind_nat = s->naddresses == 0;
}

static void find_systemd(struct setup *s)
{
	if (!s->root || !setup_has_program("systemctl"))
		return;
	s->systemd = setup_shell("case $(systemctl is-system-running) in running|degraded|starting|initializing) ;; *) exit 1 ;; esac", true) == 0;
	s->has_unit = s->systemd && str_is(s->etc, SETUP_ETC) && setup_shell("systemctl cat " SETUP_UNIT, true) == 0;
}

static void find_program(struct setup *s)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = '\0';
	s->program = str_keep(s->a, n > 0 && is_plain(path) ? str_of(path) : STR("postern"));
}

bool setup_look(struct setup *s, int *status)
{
	s->root = geteuid() == 0;
	s->terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
	if (!take_domain(s, s->said.domain, "domain name", &s->domain, status) ||
	    !take_path(s, "--etc", s->said.etc, STR(SETUP_ETC), &s->etc, status))
		return false;
	s->file = str_cstr(s->a, setup_in_etc(s, "postern.conf"));
	s->first = s->domain;
	if (!read_there(s, status) || !take_ports(s, status) || !take_account(s, status) || !take_user(s, status) ||
	    !take_acme(s, status))
		return false;
	if (!take_path(s, "--state", s->said.state, s->there != NULL ? s->there->state : STR("/var/lib/postern"), &s->state, status))
		return false;
	if (!take_path(s, "--mail", s->said.mail, usual_mail(s), &s->mail, status) ||
	    (s->said.webroot != NULL && !take_path(s, "--webroot", s->said.webroot, STR_NONE, &(str){ 0 }, status)))
		return false;
	if (s->said.hostname != NULL && !take_domain(s, s->said.hostname, "host name", &s->hostname, status))
		return false;
	find_program(s);
	find_user(s);
	find_addresses(s);
	find_systemd(s);
	return true;
}

/* ---- DNS ----------------------------------------------------------------------------------------------- */

struct question { struct asking *asking; struct setup *s; struct setup_address *about; bool found; };

static void answered(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct question *q = ask->user;

	q->found = answer->status == DNS_FOUND && answer->n > 0;
	if (q->about != NULL) {
		q->about->ptr_known = !dns_failed(answer->status);
		q->about->ptr = q->found ? str_keep(q->s->a, answer->rr[0].name) : STR_NONE;
	}
	asking_answered(q->asking);
}

static bool ask(struct question *q, str name, enum dns_type type)
{
	struct dns_ask one = { 0 };

	q->found = false;
	dns_ask(q->asking->loop->dns, &one, q->s->a, name, type, DNS_PATIENCE_MS, answered, q);
	asking_wait(q->asking);
	return q->found;
}

static str reverse_name(struct setup *s, str address)
{
	struct endpoint at;
	str with_port = arena_printf(s->a, str_holds(address, ':') ? "[%.*s]:25" : "%.*s:25", STR_ARG(address));

	if (!endpoint_parse(with_port, 25, &at) || at.is_name || at.is_unix)
		return STR_NONE;
	return dns_reverse_name(s->a, (const struct sockaddr *)&at.at);
}

/* The name that a PTR record gives, this host's own, or mail.DOMAIN. */
static str propose_name(const struct setup *s)
{
	char name[256] = "";
	str own;

	if (s->there != NULL)
		return s->there->hostname;
	for (size_t i = 0; i < s->naddresses; i++)
		if (str_eq_nocase(s->addresses[i].ptr, s->domain) ||
		    (s->addresses[i].ptr.n > s->domain.n && str_ends_nocase(s->addresses[i].ptr, arena_printf(s->a, ".%.*s", STR_ARG(s->domain)))))
			return str_keep_lower(s->a, s->addresses[i].ptr);
	gethostname(name, sizeof(name) - 1);
	own = str_keep_lower(s->a, str_of(name));
	if (domain_valid(own) && str_ends_nocase(own, arena_printf(s->a, ".%.*s", STR_ARG(s->domain))))
		return own;
	return arena_printf(s->a, "mail.%.*s", STR_ARG(s->domain));
}

static bool open_asking(struct setup *s, struct asking *out, int *status)
{
	*out = (struct asking){ .verb = SETUP_VERB, .resolver = s->said.resolver, .file = s->there != NULL ? s->file : NULL };
	*status = asking_open(out, s->a);
	return *status == EXIT_DONE;
}

bool setup_ask_dns(struct setup *s, int *status)
{
	struct asking asking;
	struct question q = { .asking = &asking, .s = s };

	if (!open_asking(s, &asking, status))
		return false;
	for (size_t i = 0; i < s->naddresses; i++) {
		str name = reverse_name(s, s->addresses[i].text);

		q.about = &s->addresses[i];
		if (name.n > 0)
			ask(&q, name, DNS_PTR);
	}
	asking_close(&asking);
	if (s->hostname.n == 0)
		s->hostname = propose_name(s);
	return true;
}

bool setup_resolves(struct setup *s)
{
	struct asking asking;
	struct question q = { .asking = &asking, .s = s };
	int status;

	if (!open_asking(s, &asking, &status))
		return false;
	s->resolves = ask(&q, s->hostname, DNS_A) || ask(&q, s->hostname, DNS_AAAA);
	asking_close(&asking);
	return s->resolves;
}
