/* SPDX-License-Identifier: ISC */
/*
 * signing: see signing.h.  Main thread, but for signing_late.
 */
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/mail/addr.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/signing.h"

#define KEY_FILE_MOST   ((size_t)64 << 10)
#define EXPIRE_MARGIN_S ((int64_t)24 * 3600)   /* the next server may queue, too; who verifies may do it late */

/* ---- options ------------------------------------------------------------------------ */

bool signing_expire_ok(str value, struct arena *a, str *why)
{
	uint64_t ms;

	(void)a;
	*why = STR("must be auto, none or a time such as \"7d\"");
	return str_is(value, "auto") || str_is(value, "none") ||
	       (conf_time(value, &ms) && (ms == 0 || (ms >= 1000 && ms <= (uint64_t)10 * 365 * 86400000)));
}

int64_t signing_expire_s(const struct config *c, str value)
{
	uint64_t ms = 0, longest = c->relay.give_up_ms;

	if (str_is(value, "auto")) {
		if (c->relay.give_up_bounce_ms > longest)
			longest = c->relay.give_up_bounce_ms;
		return (int64_t)(longest / 1000) + EXPIRE_MARGIN_S;
	}
	return conf_time(value, &ms) ? (int64_t)(ms / 1000) : 0;
}

static bool is_author(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be an address such as \"news@example.org\", or \"@example.org\" for every one of a domain");
	if (value.n > 1 && value.p[0] == '@')
		return domain_valid(str_skip(value, 1));
	return path_of(a, value, &p) && p.domain.n > 0 && str_eq_nocase(p.text, value);
}

static bool is_destination(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be a domain such as \"example.net\", or \".example.net\" for all below it");
	return domain_valid(str_starts(value, ".") ? str_skip(value, 1) : value);
}

static bool is_selector(str value, struct arena *a, str *why)
{
	size_t star = str_find(value, '*');
	str text = value;

	*why = STR("must be a selector; one * in it stands for any text");
	if (star < value.n)
		text = arena_printf(a, "%.*sx%.*s", STR_ARG(str_head(value, star)), STR_ARG(str_skip(value, star + 1)));
	return domain_valid(text);
}

static bool is_field_name(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be the name of a header field");
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] <= ' ' || value.p[i] > '~' || value.p[i] == ':' || value.p[i] == ';')
			return false;
	return value.n > 0;
}

enum { RELAXED_RELAXED, RELAXED_SIMPLE, SIMPLE_RELAXED, SIMPLE_SIMPLE };
static const char *const canons[] = { "relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple", NULL };
static const char *const identities[] = { "none", "author", NULL };

#define OPT(field, type_, name_, fallback_, help_) \
	.name = (name_), .type = (type_), .offset = offsetof(struct signing_section, field), .fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{ OPT(from, CONF_LIST, "from", NULL, "whose mail is signed so, by the address in From; @example.org is every one of a domain; empty: everybody's"), .check = is_author,
	  .example = "news@example.org" },
	{ OPT(to, CONF_LIST, "to", NULL, "where it goes: every recipient is in one of these domains; .example.net is all below one; empty: anywhere"), .check = is_destination,
	  .example = "example.net,.example.net" },
	{ OPT(selectors, CONF_LIST, "selectors", NULL, "which of the domain's keys sign; one * stands for any text; empty, or while none of these is out: all that are"), .check = is_selector,
	  .example = "NAME" },
	{ OPT(canon, CONF_WORD, "canon", "relaxed/relaxed", "canonical forms of header and body (RFC 6376 3.4)"), .words = canons },
	{ OPT(headers, CONF_LIST, "headers", NULL, "header fields that are signed; a name once more than the field is there forbids another; empty: as the key has it"), .check = is_field_name,
	  .example = "From,From,To,Subject,Date,Message-ID" },
	{ OPT(expire, CONF_STRING, "expire", "auto", "how long a signature is valid (x=), from when the message may leave first: auto (as long as relay {} tries, and a day), none, or a time"), .check = signing_expire_ok },
	{ OPT(identity, CONF_WORD, "identity", "none", "who the signature says it is for (i=): author is the address in From"), .words = identities },
	{ 0 },
};

static void checked(void *section, struct conf_reader *r)
{
	const struct signing_section *s = section;
	bool from = s->headers.n == 0;

	for (size_t i = 0; i < s->headers.n; i++)
		from = from || str_is_nocase(s->headers.v[i], "From");
	if (!from)
		conf_fault(r, &s->head, "headers", "headers has to hold From (RFC 6376 5.4): add it");
}

const struct conf_section config_signing = {
	.name = "signing", .options = options, .size = sizeof(struct signing_section), .titled = true,
	.offset = offsetof(struct domain_section, signings), .check = checked,
	.help = "How some of this domain's mail is signed. The first that fits counts; what it does not say is as the key's section "
	        "has it. One without from and to is for all the rest.",
};

/* ---- the ring ------------------------------------------------------------------------- */

static struct dkim_rule rule_of(const struct config *c, const struct signing_section *s)
{
	return (struct dkim_rule){
		.from = &s->from, .to = &s->to, .selectors = &s->selectors, .headers = &s->headers,
		.has_canon = conf_given(&s->head, "canon"), .has_expire = conf_given(&s->head, "expire"),
		.has_identity = conf_given(&s->head, "identity"),
		.header_canon = s->canon == RELAXED_RELAXED || s->canon == RELAXED_SIMPLE ? CANON_RELAXED : CANON_SIMPLE,
		.body_canon = s->canon == RELAXED_RELAXED || s->canon == SIMPLE_RELAXED ? CANON_RELAXED : CANON_SIMPLE,
		.expire_s = signing_expire_s(c, s->expire), .author = s->identity == 1,
	};
}

/* A domain without keys is left to the one above it. */
enum err signing_add(struct dkim_keyring *ring, const struct config *c, const struct domain_section *d, struct arena *a)
{
	enum err e = OK;

	(void)a;
	if (d->keys.head.given)
		e = dkim_keyring_policy(ring, d->name, d->keys.unsigned_mail == UNSIGNED_HOLD);
	else if (d->dkim.n == 0)
		return OK;
	for (size_t i = 0; i < d->signings.n && e == OK; i++) {
		struct dkim_rule rule = rule_of(c, d->signings.v[i]);

		e = dkim_keyring_rule(ring, d->name, &rule);
	}
	return e;
}

/* ---- late mail --------------------------------------------------------------------------- */

void signing_late(void *ring, struct late *l)
{
	const struct queue_entry *e = l->entry;
	struct path *rcpts = ARENA_ARRAY(l->arena, struct path, e->nrcpts);
	struct dkim_late w = {
		.head = e->head, .header = l->header, .hashes = e->signing.hashes, .rcpts = rcpts, .nrcpts = e->nrcpts,
		.now = l->now,
	};
	enum err err;

	if (rcpts == NULL && e->nrcpts > 0) {
		l->why = str_of(err_text(ERR_MEMORY));
		return;
	}
	for (size_t i = 0; i < e->nrcpts; i++)
		path_of(l->arena, e->rcpts[i].address, &rcpts[i]);
	err = dkim_sign_late(ring, l->arena, &w);
	l->hold = w.hold;
	l->why = err == ERR_ABSENT
	       ? arena_printf(l->arena, "%.*s: `postern key list` says what is missing, `postern queue release` sends it unsigned",
	                      STR_ARG(w.why)) : w.why;
	if (err != OK)
		return;
	l->head = w.fresh;
	l->until = w.until == INT64_MAX ? 0 : w.until;
}

/* ---- private keys --------------------------------------------------------------------------- */

static bool is_private(int fd, str file, struct arena *a, str *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 077) == 0)
		return true;
	*why = arena_printf(a, "%.*s: others than its owner may open it (%04o), and whoever reads it signs as you: %s`chmod 0600 %.*s`",
	                    STR_ARG(file), (unsigned)st.st_mode & 07777,
	                    geteuid() != 0 && st.st_uid != geteuid() ? "give it to the server's user, then " : "", STR_ARG(file));
	return false;
}

/* What is no key at all is for its reader to say. */
enum err signing_key_text(conf_open *open_file, str file, struct arena *a, str *pem, str *why)
{
	enum err e = file_read(open_file, file, KEY_FILE_MOST, a, pem, why);
	int fd = e == OK && memmem(pem->p, pem->n, "PRIVATE KEY", 11) != NULL ? open_file(file) : -1;

	if (fd >= 0 && !is_private(fd, file, a, why))
		e = ERR_BAD;
	if (fd >= 0)
		close(fd);
	return e;
}
