/* SPDX-License-Identifier: ISC */
/*
 * drop: users of this machine (`postern sendmail`) on the way in.
 *
 * Who connects is known from the socket, or from the owner of the file that he
 * left; nobody logs in.  The session counts as a login of his address: NAME at
 * `sendmail { domain }`, or what `sendmail { user "NAME" {} }` says.  He may send
 * as that, as NAME at the domain, and as what may-send-as grants; root, who can
 * read every key here, as anybody of our domains unless its section says less.
 * Those grants are his alone, not the account's that he counts as.  Loop thread.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/mail/dsn.h"
#include "smtpd/mail/trace.h"
#include "smtpd/session/internal.h"

/* ---- options --------------------------------------------------------------------- */

static bool address_good(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be a mail address such as \"webmaster@example.org\"");
	return value.n == 0 || (path_of(a, value, &p) && p.domain.n > 0);
}

static bool grant_good(str value, struct arena *a, str *why)
{
	struct path p;

	*why = STR("must be a mail address such as \"info@example.org\", or \"@example.org\" for every one of a domain");
	if (value.n > 1 && value.p[0] == '@')
		return domain_valid(str_skip(value, 1));
	return path_of(a, value, &p) && p.domain.n > 0;
}

static bool directory_good(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be a path that begins with /, and at most 90 octets long");
	return value.n == 0 || (value.p[0] == '/' && value.n <= 90);      /* a socket's name has 108 */
}

static bool domain_good(str value, struct arena *a, str *why)
{
	str ascii;

	*why = STR("must be a domain name such as \"example.org\"");
	return value.n == 0 || domain_to_ascii(a, value, &ascii);
}

#define USER_AT(member) offsetof(struct sendmail_user, member)
#define AT(member)      offsetof(struct sendmail_conf, member)

static const struct conf_option user_options[] = {
	{ .name = "address", .type = CONF_STRING, .offset = USER_AT(address), .check = address_good, .example = "webmaster@example.org",
	  .help = "whose login the user counts as, and where mail for the bare name goes; default its name at the domain" },
	{ .name = "may-send-as", .type = CONF_LIST, .offset = USER_AT(may_send_as), .check = grant_good, .example = "info@example.org,shop@example.org",
	  .help = "addresses that the user may send as, too; @example.org is every one of a domain; root: default every one of ours" },
	{ 0 },
};

static const struct conf_section user_section = {
	.name = "user", .options = user_options, .size = sizeof(struct sendmail_user), .titled = true, .offset = AT(users),
	.help = "What one user of this machine has of its own; the title is its login name, such as www-data.",
};

static const struct conf_section *const sections[] = { &user_section, NULL };

static const struct conf_option options[] = {
	{ .name = "directory", .type = CONF_STRING, .offset = AT(directory), .check = directory_good, .example = "/var/spool/postern",
	  .help = "where it leaves mail while the server is down, and finds its socket; a change waits for the next start; default "
	          "/var/spool/postern, with another state directory nowhere" },
	{ .name = "domain", .type = CONF_STRING, .offset = AT(domain), .check = domain_good, .example = "example.org",
	  .help = "what names without a domain belong to; default the first domain" },
	{ .name = "waiting-messages", .type = CONF_NUMBER, .offset = AT(waiting_messages), .fallback = "5000", .least = 1, .most = 100000,
	  .help = "messages of one user that may lie there at once; what is beyond is removed, and the user told" },
	{ .name = "waiting-size", .type = CONF_SIZE, .offset = AT(waiting_bytes), .fallback = "1 GiB", .least = 1 << 20,
	  .help = "and their size" },
	{ 0 },
};

const struct conf_section sendmail_section = {
	.name = "sendmail", .options = options, .sections = sections, .size = sizeof(struct sendmail_conf),
	.help = "Mail from users and programs of this machine, by `postern sendmail` or /usr/sbin/sendmail. They count as logged in, "
	        "each as its own address.",
};

/* ---- who it is -------------------------------------------------------------------- */

static const struct sendmail_user *section_of(const struct sendmail_conf *c, str name)
{
	for (size_t i = 0; c != NULL && i < c->users.n; i++) {
		const struct sendmail_user *u = c->users.v[i];

		if (str_eq(u->head.title, name))
			return u;
	}
	return NULL;
}

static str home_domain(const struct session_setup *s)
{
	const struct directory_domain *home = directory_home(s->directory);

	if (s->sendmail != NULL && s->sendmail->domain.n > 0)
		return s->sendmail->domain;
	return home != NULL ? home->name : s->hostname;
}

static bool at_home(const struct session_setup *s, struct arena *a, str name, struct path *out)
{
	return path_build(a, name, home_domain(s), out);
}

static str login_of(const struct session_setup *s, struct arena *a, str name)
{
	const struct sendmail_user *u = section_of(s->sendmail, name);
	struct path p;

	if (u != NULL && u->address.n > 0)
		return path_of(a, u->address, &p) ? p.text : STR_NONE;
	return at_home(s, a, name, &p) ? p.text : STR_NONE;
}

bool drop_user_known(struct session *s, str name)
{
	s->peer.local_user = str_keep(&s->arena, name);
	s->peer.login = login_of(s->setup, &s->arena, name);
	if (s->peer.login.n == 0 || s->peer.local_user.n == 0)
		return false;
	log_event(&s->log, LOG_INFO, "user.known", KV("user", name), KV("login", s->peer.login));
	return true;
}

static bool is_granted(const struct sendmail_user *u, const struct path *as)
{
	for (size_t i = 0; u != NULL && i < u->may_send_as.n; i++) {
		str grant = u->may_send_as.v[i];

		if (grant.p[0] == '@' ? str_eq_nocase(str_skip(grant, 1), as->domain) : str_eq_nocase(grant, as->text))
			return true;
	}
	return false;
}

static bool user_may(const struct session_setup *s, struct arena *a, str name, const struct path *as)
{
	const struct sendmail_user *u = section_of(s->sendmail, name);
	struct path own;

	if (as->is_null)
		return false;
	if (at_home(s, a, name, &own) && path_eq_nocase(&own, as))
		return true;
	if (str_is(name, "root") && (u == NULL || !conf_given(&u->head, "may-send-as")))
		return directory_domain(s->directory, as->domain) != NULL || str_eq_nocase(as->domain, home_domain(s));
	return is_granted(u, as);
}

bool peer_may_send_as(const struct session_setup *s, struct arena *a, const struct peer *p, const struct path *as)
{
	return may_send_as(s, a, p->login, as) || (p->local_user.n > 0 && user_may(s, a, p->local_user, as));
}

/* "<root>" is no path of SMTP's; the name goes on as it would at home. */
static bool parse_bare(const struct session *s, struct arena *a, str in, struct path *out, str *rest, const char **why)
{
	size_t end = str_find(in, '>');
	str name = str_head(str_skip(in, 1), end > 0 ? end - 1 : 0), made;

	if (end == in.n || in.p[0] != '<' || str_holds(name, '@'))
		return false;
	made = arena_printf(a, "<%.*s@%.*s%.*s", STR_ARG(name), STR_ARG(home_domain(s->setup)), STR_ARG(str_skip(in, end)));
	return made.n > 0 && path_parse(a, made, true, false, out, rest, why);
}

bool drop_path_parse(const struct session *s, struct arena *a, str in, struct path *out, str *rest, const char **why)
{
	bool local = s->peer.local_user.n > 0, bare = false;
	struct directory_answer found = { 0 };
	const struct sendmail_user *u;

	if (!path_parse(a, in, true, false, out, rest, why)) {
		bare = local && parse_bare(s, a, str_trim(in), out, rest, why);
		if (!bare)
			return false;
	}
	u = local ? section_of(s->setup->sendmail, out->local) : NULL;
	if (u == NULL || u->address.n == 0 || !str_eq_nocase(out->domain, home_domain(s->setup)))
		return true;
	if (!bare)
		directory_find(s->setup->directory, a, out, &found);
	return (!bare && found.says != DIRECTORY_UNKNOWN) || path_of(a, u->address, out);
}

/* ---- he comes in ---------------------------------------------------------------------- */

static const struct listener_conf sendmail_listener = {
	.head = { .title = { "sendmail", sizeof("sendmail") - 1 } }, .role = ROLE_SUBMISSION, .tls = TLS_NONE,
};

static void turn_away(const struct front_guest *g)
{
	static const char words[] = "421 4.7.0 Too many connections, try again later\r\n";

	(void)!write(g->fd, words, sizeof(words) - 1);
	close(g->fd);
}

static void guest_arrived(struct baton *b)
{
	struct front_guest *g = SUPER(b, struct front_guest, baton);
	const struct sockaddr from = { .sa_family = AF_UNIX };
	struct front *f = front_here();
	struct limits_place place = { 0 };

	if (f == NULL || f->era == NULL || f->stopping)
		close(g->fd);
	else if (g->counted && limits_enter_user(f->era->setup->limits, g->uid, &place) != LIMIT_NONE)
		turn_away(g);
	else
		session_open_user(f, &sendmail_listener, g->fd, &from, &place, str_of(g->name));
	free(g);
}

void front_let_in(struct loop *loop, struct front_guest *g)
{
	g->baton.arrived = guest_arrived;
	loop_send(loop, &g->baton);
}

/* ---- what came back -------------------------------------------------------------------- */

/* Who cannot be written to himself is spoken for by the postmaster. */
static str addressee(const struct session_setup *s, struct arena *a, str name)
{
	str login = login_of(s, a, name);
	struct directory_answer found = { 0 };
	struct path p;

	if (login.n == 0 || !path_of(a, login, &p))
		return arena_printf(a, "postmaster@%.*s", STR_ARG(home_domain(s)));
	directory_find(s->directory, a, &p, &found);
	if (found.says == DIRECTORY_UNKNOWN)
		return arena_printf(a, "postmaster@%.*s", STR_ARG(p.domain));
	return login;
}

static void write_notice(const struct session_setup *s, struct front_notice *n)
{
	struct letter *l = n->letter;
	str to = addressee(s, &l->arena, n->user);
	int64_t now = clock_wall();
	char id[QUEUE_ID_TEXT];
	struct dsn d = {
		.host = s->hostname, .to = login_of(s, &l->arena, n->user), .arrived = now, .now = now, .rcpts = n->rcpts, .nrcpts = n->nrcpts,
		.postmaster = arena_printf(&l->arena, "postmaster@%.*s", STR_ARG(home_domain(s))),
		.original_header = n->header,
	};
	struct buf out;

	d.id = queue_id_text(queue_new_id(s->queue), id);
	d.message_id = arena_printf(&l->arena, "%.*s.dropped@%.*s", STR_ARG(d.id), STR_ARG(s->hostname));
	for (size_t i = 0; i < n->nrcpts; i++) {
		n->rcpts[i].last_try = now;
		if (n->rcpts[i].final.n == 0)
			n->rcpts[i].final = d.to;
		else if (!str_holds(n->rcpts[i].final, '@'))
			n->rcpts[i].final = arena_printf(&l->arena, "%.*s@%.*s", STR_ARG(n->rcpts[i].final), STR_ARG(home_domain(s)));
	}
	buf_init(&out, BUF_UNBOUNDED);
	dsn_write(&out, &d, false);
	l->sender = STR("");
	l->rcpt = to;
	l->text = out.failed ? STR_NONE : str_keep(&l->arena, buf_str(&out));
	buf_fini(&out);
}

static void notice_arrived(struct baton *b)
{
	struct front_notice *n = SUPER(b, struct front_notice, baton);
	struct letter *l = n->letter;
	struct front *f = front_here();

	if (f != NULL && f->era != NULL)
		write_notice(f->era->setup, n);
	if (l->text.n > 0) {
		inject_letter(&l->baton);
		return;
	}
	l->result = ERR_MEMORY;
	mbox_send(l->baton.home, &l->baton);
}

void front_notify(struct loop *loop, struct front_notice *n)
{
	n->baton.arrived = notice_arrived;
	loop_send(loop, &n->baton);
}
