/* SPDX-License-Identifier: ISC */
/*
 * The tricks are a table: a form of recipient with places for a domain here
 * (%h), an account here (%a, its local part %u), this host (%m), and somebody
 * outside (%o, its local part %x, its domain %d).  Any thread, own arena.
 */
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/session/internal.h"
#include "smtpd/session/relay_test.h"

#define OUTSIDE_LOCAL  "relay-test"
#define OUTSIDE_DOMAIN "outside.invalid"

static const struct { const char *name, *rcpt; } forms[] = {
	{ "outside",                      "<%o>" },
	{ "outside, capitals",            "<RELAY-TEST@OUTSIDE.INVALID>" },
	{ "outside, root dot",            "<%o.>" },
	{ "outside, quoted",              "<\"%x\"@%d>" },
	{ "outside, no brackets",         "%o" },
	{ "outside, spaces",              "< %o >" },
	{ "outside, whole quoted",        "<\"%o\">" },
	{ "outside, subdomain of ours",   "<%x@%d.%h>" },
	{ "outside, ours as subdomain",   "<%x@%h.%d>" },
	{ "outside, looks like ours",     "<%x@not%h>" },
	{ "outside, postmaster there",    "<postmaster@%d>" },
	{ "outside, display name",        "%u <%o>" },
	{ "outside, two addresses",       "<%a>,<%o>" },
	{ "outside, two in brackets",     "<%a,%o>" },
	{ "outside, second at",           "<%a@%d>" },
	{ "outside, at and ours",         "<%o@%h>" },
	{ "outside, at and this host",    "<%o@%m>" },
	{ "outside, at and literal",      "<%o@[127.0.0.1]>" },
	{ "percent hack",                 "<%x%%%d@%h>" },
	{ "percent hack, this host",      "<%x%%%d@%m>" },
	{ "percent hack, no domain",      "<%x%%%d>" },
	{ "percent hack, literal",        "<%x%%%d@[127.0.0.1]>" },
	{ "percent hack, v6 literal",     "<%x%%%d@[IPv6:::1]>" },
	{ "percent hack, localhost",      "<%x%%%d@localhost>" },
	{ "percent hack, twice",          "<%x%%%d%%%h@%h>" },
	{ "percent hack, quoted",         "<\"%x%%%d\"@%h>" },
	{ "percent hack, whole quoted",   "<\"%x%%%d@%h\">" },
	{ "percent hack, plus form",      "<%u+%x%%%d@%h>" },
	{ "percent hack, postmaster",     "<postmaster%%%d@%h>" },
	{ "percent hack, from an account","<%u%%%d@%h>" },
	{ "percent hack, escaped",        "<%x\\%%%d@%h>" },
	{ "bang path",                    "<%d!%x>" },
	{ "bang path at ours",            "<%d!%x@%h>" },
	{ "bang path at this host",       "<%d!%x@%m>" },
	{ "bang path, two hops",          "<%h!%d!%x@%h>" },
	{ "bang path, ours first",        "<%h!%x@%d>" },
	{ "bang path, quoted",            "<\"%d!%x\"@%h>" },
	{ "bang path and percent",        "<%d!%x%%%d@%h>" },
	{ "bang path, literal",           "<%d!%x@[127.0.0.1]>" },
	{ "source route",                 "<@%h:%o>" },
	{ "source route, this host",      "<@%m:%o>" },
	{ "source route, two hops",       "<@%h,@%m:%o>" },
	{ "source route, outside first",  "<@%d,@%h:%o>" },
	{ "source route, literal",        "<@[127.0.0.1]:%o>" },
	{ "source route and percent",     "<@%h:%x%%%d@%h>" },
	{ "source route and bang",        "<@%h:%d!%x@%h>" },
	{ "source route in a local part", "<\"@%h:%x\"@%d>" },
	{ "source route, quoted at ours", "<\"@%d:%x\"@%h>" },
	{ "source route, no brackets",    "@%h:%o" },
	{ "quoted address at ours",       "<\"%o\"@%h>" },
	{ "quoted address at this host",  "<\"%o\"@%m>" },
	{ "quoted address, escaped at",   "<\"%x\\@%d\"@%h>" },
	{ "quoted address in brackets",   "<\"<%o>\"@%h>" },
	{ "escaped at",                   "<%x\\@%d@%h>" },
	{ "plus form with an address",    "<%u+%x=%d@%h>" },
	{ "plus form, quoted address",    "<\"%u+%o\"@%h>" },
	{ "colon in the local part",      "<%d:%x@%h>" },
	{ "double colon (DECnet)",        "<%d::%x@%h>" },
	{ "literal",                      "<%x@[192.0.2.1]>" },
	{ "literal of this machine",      "<%x@[127.0.0.1]>" },
	{ "v6 literal",                   "<%x@[IPv6:2001:db8::1]>" },
	{ "v4-mapped literal",            "<%x@[IPv6:::ffff:192.0.2.1]>" },
	{ "literal without brackets",     "<%x@192.0.2.1>" },
	{ "number as a domain",           "<%x@#3221225985>" },
	{ "localhost",                    "<%x@localhost>" },
	{ "this host",                    "<%x@%m>" },
	{ "comment",                      "<%x@%d(@%h)>" },
	{ "comment at the end",           "<%o(%h)>" },
	{ "trailing space and ours",      "<%x@%d @%h>" },
	{ "tab",                          "<%x@%d\t@%h>" },
	{ "semicolon",                    "<%u@%h;%o>" },
	{ "pipe",                         "<\"|%x\"@%h>" },
	{ "file",                         "<\"/tmp/%x\"@%h>" },
	{ "include",                      "<\":include:/tmp/%x\"@%h>" },
	{ "rewritten sender, forged",     "<SRS0=AAAA=AA=%d=%x@%h>" },
	{ "rewritten sender, twice",      "<SRS1=AAAA=%d==AAAA=AA=%d=%x@%h>" },
};

static const char *const senders[] = { "<>", "<%o>", "<%a>", "<%x@%h>", "<%x@localhost>", "<%x@[127.0.0.1]>", "<%x>" };

struct places {
	const struct directory *directory;
	str here, host, account, user;
	const struct device_conf *device;     /* who asks; NULL: a stranger */
};

static str fill(struct arena *a, const struct places *p, const char *form)
{
	struct buf out;
	str text;

	buf_init(&out, 4096);
	for (const char *c = form; *c != '\0'; c++) {
		if (*c != '%') {
			buf_add_char(&out, *c);
			continue;
		}
		switch (*++c) {
		case 'h': buf_add(&out, p->here); break;
		case 'm': buf_add(&out, p->host); break;
		case 'a': buf_add(&out, p->account); break;
		case 'u': buf_add(&out, p->user); break;
		case 'x': buf_add(&out, STR(OUTSIDE_LOCAL)); break;
		case 'd': buf_add(&out, STR(OUTSIDE_DOMAIN)); break;
		case 'o': buf_add(&out, STR(OUTSIDE_LOCAL "@" OUTSIDE_DOMAIN)); break;
		default:  buf_add_char(&out, '%'); break;
		}
	}
	text = str_keep(a, buf_str(&out));
	buf_fini(&out);
	return text;
}

/* Admitted as a stranger's: an end is let through when it is outside and what
 * the stranger wrote, not what the configuration names. */
static void look_at_end(const struct directory *d, struct relay_trick *t, const struct path *end)
{
	bool is_theirs = str_eq_nocase(end->domain, STR(OUTSIDE_DOMAIN)) || end->is_literal;

	t->leads_to = end->text;
	if (is_theirs && directory_domain(d, end->domain) == NULL)
		t->let_through = true;
}

static void follow(const struct directory *d, struct arena *a, struct relay_trick *t, const struct path *to,
                   const struct directory_answer *found)
{
	struct path *ends;
	size_t n = 0;

	t->answer = "250 2.1.5";
	if (found->says != DIRECTORY_TARGETS) {
		look_at_end(d, t, to);
	} else if (directory_expand(d, a, to, 1000, &ends, &n) == OK) {
		for (size_t i = 0; i < n; i++)
			look_at_end(d, t, &ends[i]);
	}
}

static void try_one(const struct places *p, struct arena *a, struct relay_trick *t)
{
	static const char *const answers[] = {
		[ADMIT_UNKNOWN_USER] = "550 5.1.1", [ADMIT_NO_RELAY] = "550 5.7.1",
	};
	struct directory_answer found = { 0 };
	struct path to, from;
	const char *why;
	enum admit said;
	str rest;

	t->answer = "501 5.1.7";
	if (!path_parse(a, t->sender, true, false, &from, &rest, &why))
		return;
	t->answer = "501 5.1.3";
	if (!path_parse(a, t->rcpt, true, false, &to, &rest, &why) || str_trim(rest).n > 0 || to.is_null ||
	    (to.domain.n == 0 && !path_is_postmaster(&to)))
		return;
	if (to.domain.n == 0)
		to.domain = STR("");
	said = admit_rcpt(p->directory, a, p->device != NULL && device_sends_out(p->device), &to, &found);
	if (said == ADMIT_LOCAL || said == ADMIT_ANYWHERE)
		follow(p->directory, a, t, &to, &found);
	else
		t->answer = answers[said];
}

static str sender_of(struct arena *a, const struct places *p, const char *form)
{
	return p->device != NULL ? arena_printf(a, "<%.*s>", STR_ARG(p->device->as)) : fill(a, p, form);
}

static size_t try_all(const struct places *p, size_t nsenders, relay_seen *seen, void *arg)
{
	size_t through = 0;
	struct arena a;

	for (size_t f = 0; f < COUNT(forms); f++) {
		arena_init(&a, ARENA_UNBOUNDED);
		for (size_t s = 0; s < nsenders; s++) {
			struct relay_trick t = { .name = forms[f].name, .sender = sender_of(&a, p, senders[s]),
			                         .device = p->device != NULL ? p->device->head.title : STR(""),
			                         .rcpt = fill(&a, p, forms[f].rcpt) };

			try_one(p, &a, &t);
			through += t.let_through;
			if (seen != NULL)
				seen(arg, &t);
		}
		arena_fini(&a);
	}
	return through;
}

static size_t try_domain(struct places p, str domain, size_t nsenders, relay_seen *seen, void *arg)
{
	struct arena a;
	size_t through;

	arena_init(&a, ARENA_UNBOUNDED);
	p.here = domain;
	p.user = STR("postmaster");
	p.account = arena_printf(&a, "postmaster@%.*s", STR_ARG(domain));
	through = try_all(&p, nsenders, seen, arg);
	arena_fini(&a);
	return through;
}

size_t relay_test(const struct directory *d, str hostname, const struct strs *domains, relay_seen *seen, void *arg)
{
	const struct places stranger = { .directory = d, .host = hostname };
	size_t through = 0;

	/* The relay rule does not ask who the sender is: all of them once are enough. */
	for (size_t i = 0; i < domains->n; i++)
		through += try_domain(stranger, domains->v[i], i == 0 ? COUNT(senders) : 1, seen, arg);
	return through;
}

size_t relay_test_device(const struct directory *d, str hostname, const struct strs *domains, const struct device_conf *device,
                         relay_seen *seen, void *arg)
{
	const struct places p = { .directory = d, .host = hostname, .device = device };

	/* The few hosts of one that sends out may write to anybody, as a login may. */
	if (domains->n == 0 || (device_sends_out(device) && !device_is_open(device)))
		return 0;
	return try_domain(p, domains->v[0], 1, seen, arg);
}
