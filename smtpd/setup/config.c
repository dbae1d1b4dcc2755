/* SPDX-License-Identifier: ISC */
/*
 * The root of the option tables: each room's own table, hung in, beside what no
 * room owns (config_tables.c).
 *
 * The sections of modules are built into verify {} from the visible array of
 * modules, so that a new module brings its options along and nothing here
 * changes.  Main thread (and keeper).
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "modules/deny/deny.h"
#include "smtpd/base/buf.h"
#include "smtpd/setup/config_inside.h"
#include "smtpd/setup/verbs.h"

/* ---- the root, with the modules' sections hung in -------------------------- */

struct tables {
	struct conf_section modules[MAX_MODULES], auth, limits, allowance, device, listener, relay, forward, submission, sendmail, verify, trust, deny, doctor, root;
	const struct conf_section *verify_sections[MAX_MODULES + 1], *root_sections[32];
	size_t module_offset[MAX_MODULES];
};

static struct conf_section at(const struct conf_section *s, size_t offset)
{
	struct conf_section copy = *s;

	copy.offset = offset;
	return copy;
}

static size_t aligned(size_t n)
{
	return (n + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
}

static void hang_modules_in(struct tables *t)
{
	size_t n = 0, size = aligned(sizeof(struct verify_section));

	for (size_t i = 0; builtin_modules[i] != NULL; i++) {
		const struct conf_section *s = builtin_modules[i]->section;

		must(i < MAX_MODULES);
		if (s == NULL)
			continue;
		t->module_offset[i] = size;
		t->modules[n] = at(s, size);
		t->verify_sections[n] = &t->modules[n];
		size += aligned(s->size);
		n++;
	}
	t->verify = (struct conf_section){
		.name = "verify", .options = config_verify_options, .sections = t->verify_sections, .size = size,
		.help = "How mail from strangers is judged, one section for each method.",
	};
}

/* verify {} is as large as its modules make it, so it lies behind the config. */
static void tables_make(struct tables *t)
{
	memset(t, 0, sizeof(*t));
	hang_modules_in(t);
	t->auth = at(&auth_section, offsetof(struct config, auth));
	t->limits = at(&limits_section, offsetof(struct config, limits));
	t->allowance = at(&allowance_section, offsetof(struct config, allowance));
	t->device = at(&device_section, offsetof(struct config, devices));
	t->listener = at(&listener_section, offsetof(struct config, listeners));
	t->relay = at(&relay_section, offsetof(struct config, relay));
	t->forward = at(&forward_section, offsetof(struct config, forward));
	t->submission = at(&submission_section, offsetof(struct config, submission));
	t->sendmail = at(&sendmail_section, offsetof(struct config, sendmail));
	t->trust = at(&trust_section, offsetof(struct config, trusts));
	t->deny = at(&deny_section, offsetof(struct config, denies));
	t->doctor = at(&doctor_section, offsetof(struct config, doctor));
	t->verify.offset = aligned(sizeof(struct config));
	const struct conf_section *all[] = { &t->listener, &config_tls, &config_domain, &t->auth, &t->limits, &t->allowance, &t->device,
		                             &t->verify, &t->trust, &t->deny, &t->relay, &t->forward, &t->submission, &t->sendmail, &config_queue, &config_resolver, &config_web, &t->doctor,
		                             &config_log };
	memcpy(t->root_sections, all, sizeof(all));
	t->root = (struct conf_section){
		.help = "Every option of postern with its default, as `postern check --sample` prints it. "
			"Options that are commented out have none; they show an example. "
			"A working file needs two lines: hostname, and a domain. See postern.conf(5).",
		.options = config_root_options, .sections = t->root_sections,
		.size = t->verify.offset + t->verify.size,
	};
}

void config_sample(struct buf *out)
{
	struct tables t;

	tables_make(&t);
	conf_sample(&t.root, out);
}

/* The modules' settings lie behind the config, each where its section says. */
static bool find_modules(struct config *c, const struct tables *t, struct arena *a)
{
	size_t n = 0;

	c->verify = (struct verify_section *)((char *)c + t->verify.offset);
	while (builtin_modules[n] != NULL)
		n++;
	c->module_confs = ARENA_ARRAY(a, const void *, n + 1);
	for (size_t i = 0; c->module_confs != NULL && i < n; i++)
		if (builtin_modules[i]->section != NULL)
			c->module_confs[i] = (char *)c->verify + t->module_offset[i];
	return c->module_confs != NULL;
}

enum err config_read(const char *file, conf_open *open_file, struct arena *a, struct config **out,
                     struct conf_faults *faults, str *why)
{
	struct tables *t = ARENA_NEW(a, struct tables);
	struct config *c;
	enum err e;
	int fd;

	*faults = (struct conf_faults){ 0 };
	*why = STR("out of memory");
	if (t == NULL)
		return ERR_MEMORY;
	fd = open_file(str_of(file));
	if (fd < 0) {
		enum err said = err_of_errno(errno);

		*why = arena_printf(a, "%s: %s: %s", file, strerror(errno),
		                    errno == ENOENT ? "name the configuration with -c FILE, or create it"
		                                    : "make it readable for this user, or start as root");
		return said == OK ? ERR_ABSENT : said;
	}
	close(fd);
	tables_make(t);
	c = arena_alloc(a, t->root.size);
	if (c == NULL)
		return ERR_MEMORY;
	e = conf_read(file, open_file, &t->root, c, a, faults);
	c->file = file;
	if (e == ERR_MEMORY || !find_modules(c, t, a))
		return ERR_MEMORY;
	e = config_finish(c, a, faults);
	if (e != OK)
		return e;
	*out = c;
	return faults->n > 0 ? ERR_BAD : OK;
}

void config_print_faults(const struct conf_faults *f, FILE *out)
{
	for (size_t i = 0; i < f->n; i++)
		fprintf(out, "%s:%d: %.*s\n", f->v[i].file ? f->v[i].file : "?", f->v[i].line, STR_ARG(f->v[i].text));
}

const void *config_module(const struct config *c, const struct module *m)
{
	for (size_t i = 0; builtin_modules[i] != NULL; i++)
		if (builtin_modules[i] == m)
			return c->module_confs[i];
	return NULL;
}

bool config_domain_is_local(void *config, str domain)
{
	const struct config *c = config;

	for (size_t i = 0; i < c->domains.n; i++)
		if (str_eq_nocase(((const struct domain_section *)c->domains.v[i])->name, domain))
			return true;
	return false;
}
