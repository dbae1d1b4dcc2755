/* SPDX-License-Identifier: ISC */
/*
 * reflector: an address here whose answer is a report on the message itself.
 *
 * Its mail comes in and is judged like any other, but lies in no mailbox.  The
 * answer goes to the envelope's sender, so somebody else must not be able to
 * write him in: it goes only where SPF passes for him, or DMARC does for an
 * author of his domain.  It has the null sender, says that a program wrote it,
 * and nothing that a program wrote is answered (RFC 3834), so two reflectors
 * stop after one letter.  Who may not be answered hears so in the session, as
 * early as it is known; when the message has other recipients these get it, and
 * the log alone tells that no report was written.
 *
 * The text is made by the one who knows the modules (setup->reflect) while the
 * message's results are still there, and given to the queue as a letter.  For a
 * message to this address alone 250 means that the letter is stored.  Loop thread.
 */
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/mail/trace.h"
#include "smtpd/session/internal.h"

#define REPORT_MOST ((size_t)256 << 10)
#define ID_MOST     250
#define WHOLE_MOST  ((size_t)16 << 10)

/* ---- whose address it is ------------------------------------------------------------ */

bool reflector_is(const struct txn *t, const struct path *to)
{
	const struct strs *all = t->setup->reflectors;

	for (size_t i = 0; all != NULL && t->setup->reflect != NULL && i < all->n; i++)
		if (str_eq_nocase(all->v[i], to->text))
			return true;
	return false;
}

/* Programs' addresses; people do not have them.  RFC 2142, RFC 3834 2. */
static bool is_a_program(str local)
{
	static const char *const whole[] = {
		"mailer-daemon", "daemon", "bounce", "bounces", "noreply", "no-reply", "do-not-reply", "donotreply", "listserv", "majordomo",
		"autoreply", "auto-reply", "check-auth", "checkauth", "echo", "ping", "reflector",
	};

	for (size_t i = 0; i < COUNT(whole); i++)
		if (str_is_nocase(local, whole[i]))
			return true;
	return str_starts_nocase(local, "owner-") || str_starts_nocase(local, "bounce-") || str_starts_nocase(local, "bounces+") ||
	       str_starts_nocase(local, "prvs=") || srs_is(local) || str_ends_nocase(local, STR("-request")) ||
	       str_ends_nocase(local, STR("-bounces")) || str_ends_nocase(local, STR("-owner"));
}

const char *reflector_refuses_sender(const struct txn *t)
{
	const struct path *from = &t->in.sender;

	if (t->in.origin == FROM_LOGIN)
		return "This address reports on mail that comes from elsewhere: write to it from another server";
	if (from->is_null)
		return "This address answers, and <> cannot be answered";
	if (reflector_is(t, from) || is_a_program(from->local))
		return "This address answers people only, and that sender is a program";
	return NULL;
}

/* ---- the body as it passes ------------------------------------------------------------ */

/* A small one is kept, to find out why a signature's hash is not its. */
void reflector_body(struct txn *t, str piece)
{
	uint64_t at = t->look.bytes;

	body_look_feed(&t->look, piece);
	if (at == 0)
		t->whole = arena_alloc(&t->arena, WHOLE_MOST);
	if (t->whole != NULL && at + piece.n <= WHOLE_MOST)
		memcpy(t->whole + at, piece.p, piece.n);
}

static str whole_body(const struct txn *t)
{
	if (t->whole == NULL || t->look.bytes > WHOLE_MOST)
		return STR_NONE;
	return (str){ t->whole, (size_t)t->look.bytes };
}

/* ---- what is never answered ------------------------------------------------------------ */

static str value_of(struct txn *t, const char *name)
{
	const struct field *f = fields_first(t->in.fields, name);

	return f == NULL ? STR_NONE : field_unfold(&t->arena, f->value);
}

static bool has_list_field(const struct fields *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (str_starts_nocase(f->v[i].name, "List-") || field_is(&f->v[i], "Mailing-List"))
			return true;
	return false;
}

static bool was_here(struct txn *t)
{
	for (size_t i = 0; i < t->in.fields->n; i++)
		if (field_is(&t->in.fields->v[i], "X-Loop") &&
		    str_eq_nocase(field_unfold(&t->arena, t->in.fields->v[i].value), t->reflector->text))
			return true;
	return false;
}

static const char *automatic(struct txn *t)
{
	str submitted = value_of(t, "Auto-Submitted"), precedence = value_of(t, "Precedence");
	str word = str_trim(str_head(submitted, str_find(submitted, ';')));

	if (fields_first(t->in.fields, "Auto-Submitted") != NULL && !str_is_nocase(word, "no"))
		return "A program wrote it (Auto-Submitted)";
	if (has_list_field(t->in.fields))
		return "It came by a mailing list (List-)";
	if (str_is_nocase(precedence, "bulk") || str_is_nocase(precedence, "list") || str_is_nocase(precedence, "junk") ||
	    str_is_nocase(precedence, "auto_reply"))
		return "It is bulk mail (Precedence)";
	if (fields_first(t->in.fields, "X-Auto-Response-Suppress") != NULL || fields_first(t->in.fields, "X-Autoreply") != NULL)
		return "It asks for no answer (X-Auto-Response-Suppress)";
	if (str_starts_nocase(value_of(t, "Content-Type"), "multipart/report"))
		return "It is a report";
	if (was_here(t))
		return "It went in a circle (X-Loop)";
	return NULL;
}

/* ---- who has proved that the sender is his -------------------------------------------------- */

static str said_of(const struct judged *j, const char *method)
{
	for (size_t i = 0; i < j->n; i++)
		if (str_is(str_of(j->v[i].key), method))
			return str_head(j->v[i].s, str_find(j->v[i].s, ','));
	return STR("none");
}

/* One of several signatures is enough. */
static str said_of_all(const struct judged *j, const char *method)
{
	for (size_t i = 0; i < j->n; i++) {
		str rest = str_is(str_of(j->v[i].key), method) ? j->v[i].s : STR_NONE, word;

		while (str_cut(&rest, ',', &word))
			if (str_is(word, "pass"))
				return word;
	}
	return said_of(j, method);
}

/* Its own, or below it. */
static bool is_within(str domain, str parent)
{
	if (parent.n == 0 || !str_ends_nocase(domain, parent))
		return false;
	return domain.n == parent.n || domain.p[domain.n - parent.n - 1] == '.';
}

static bool is_proved(const struct txn *t, const struct judged *j)
{
	if (str_is(said_of(j, "spf"), "pass"))
		return true;
	return str_is(said_of(j, "dmarc"), "pass") && is_within(t->in.sender.domain, t->in.from.domain);
}

/* ---- may it be answered? ---------------------------------------------------------------------- */

static bool no(struct answer *why, const char *reason, str text)
{
	*why = (struct answer){ .code = 550, .esc = "5.7.1", .text = text, .reason = reason };
	return false;
}

static bool is_left(struct txn *t, struct answer *why)
{
	const struct limits_conf *l = t->setup->limits;
	str sender = str_keep_lower(&t->arena, t->in.sender.text);

	switch (reflect_limit_take(l, &t->peer->addr.sa, sender, t->in.now)) {
	case REFLECT_SENDER:
		return no(why, "reports of a sender",
		          arena_printf(&t->arena, "Enough reports for today: a sender gets %llu a day, try again tomorrow",
		                       (unsigned long long)l->reflector_sender));
	case REFLECT_NETWORK:
		return no(why, "reports of a network",
		          arena_printf(&t->arena, "Enough reports for today: a network gets %llu a day, try again tomorrow",
		                       (unsigned long long)l->reflector_network));
	default:
		return true;
	}
}

static bool may_answer(struct txn *t, const struct judged *j, struct answer *why)
{
	const char *said = reflector_refuses_sender(t);

	if (said == NULL)
		said = automatic(t);
	if (said != NULL)
		return no(why, "automatic", arena_printf(&t->arena, "%s, so no report is sent", said));
	if (!is_proved(t, j))
		return no(why, "unproved",
		          arena_printf(&t->arena, "No report is sent, because anybody could have written this sender: neither SPF (%.*s) "
		                       "nor DMARC (%.*s) passes for it", STR_ARG(said_of(j, "spf")), STR_ARG(said_of(j, "dmarc"))));
	return is_left(t, why);
}

/* ---- the letter --------------------------------------------------------------------------------- */

/* What a reply may name: one id, printable, as it stands there. */
static str id_of(struct txn *t)
{
	str id = value_of(t, "Message-ID");

	if (id.n < 3 || id.n > ID_MOST || id.p[0] != '<' || id.p[id.n - 1] != '>')
		return STR_NONE;
	for (size_t i = 0; i < id.n; i++)
		if (id.p[i] <= ' ' || id.p[i] > '~' || (i > 0 && i + 1 < id.n && (id.p[i] == '<' || id.p[i] == '>')))
			return STR_NONE;
	return id;
}

static str head_of(struct txn *t, struct arena *a, const struct judged *j)
{
	str id = id_of(t), reply = STR("");

	if (id.n > 0)
		reply = arena_printf(a, "In-Reply-To: %.*s\r\nReferences: %.*s\r\n", STR_ARG(id), STR_ARG(id));
	return arena_printf(a,
		"From: Mail report <%.*s>\r\nTo: <%.*s>\r\nSubject: Your mail: dmarc=%.*s spf=%.*s dkim=%.*s\r\n%.*s%.*s%.*s"
		"Auto-Submitted: auto-replied\r\nX-Auto-Response-Suppress: All\r\nX-Loop: %.*s\r\nMIME-Version: 1.0\r\n"
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
		STR_ARG(t->reflector->text), STR_ARG(t->in.sender.text), STR_ARG(said_of(j, "dmarc")), STR_ARG(said_of(j, "spf")),
		STR_ARG(said_of_all(j, "dkim")), STR_ARG(trace_date(a, clock_wall())),
		STR_ARG(trace_message_id(a, arena_printf(a, "%.*s.report", STR_ARG(t->log.id)), t->reflector->domain)), STR_ARG(reply),
		STR_ARG(t->reflector->text));
}

/* False: no memory. */
static bool write_text(struct txn *t, const struct verdict *v, struct letter *l, const struct judged *j)
{
	struct reflection r = {
		.chain = t->chain, .in = &t->in, .peer = t->peer, .verdict = v, .body = &t->look, .whole = whole_body(t),
		.no_blank = t->split.no_blank,
		.results = authn_field(t->chain, &l->arena, t->in.authserv_id, STR_NONE), .address = t->reflector->text,
		.bytes = t->bytes, .most = REPORT_MOST,
	};
	str head = head_of(t, &l->arena, j), text = t->setup->reflect(&r, &l->arena);

	l->text = arena_printf(&l->arena, "%.*s%.*s", STR_ARG(head), STR_ARG(text));
	return text.n > 0 && !l->arena.spent;
}

static struct letter *write_letter(struct txn *t, const struct verdict *v, const struct judged *j)
{
	struct letter *l = letter_new();

	if (l == NULL)
		return NULL;
	l->sender = STR("");
	l->rcpt = str_keep(&l->arena, t->in.sender.text);
	l->utf8 = t->in.sender.is_utf8 || t->reflector->is_utf8;
	l->flags = MESSAGE_LAST;                 /* no news to anybody when nobody takes it */
	l->baton.home = t->loop->mbox;
	if (write_text(t, v, l, j))
		return l;
	letter_free(l);
	return NULL;
}

bool reflector_write(struct txn *t, const struct verdict *v, struct answer *why)
{
	struct judged j;

	body_look_end(&t->look);
	authn_judged(t->chain, &t->arena, &j);
	if (!may_answer(t, &j, why)) {
		log_event(&t->log, LOG_INFO, "reflector.refused", KV("to", t->in.sender.text), KV("address", t->reflector->text),
		          KV_C("why", why->reason), KV("ip", t->peer->ip));
		return false;
	}
	t->report = write_letter(t, v, &j);
	if (t->report == NULL)
		*why = (struct answer){ .code = 452, .esc = "4.3.1", .reason = "memory",
		                        .text = STR("No memory for a report now, try again later") };
	return t->report != NULL;
}

/* ---- on its way ------------------------------------------------------------------------------------ */

static void log_answered(const struct log *log, const struct letter *l)
{
	char id[QUEUE_ID_TEXT];

	if (l->result == OK)
		log_event(log, LOG_INFO, "reflector.answered", KV("to", l->rcpt), KV("letter", queue_id_text(l->id, id)));
	else
		log_event(log, LOG_WARN, "letter.failed", KV("to", l->rcpt), KV_C("why", err_text(l->result)));
}

static void answered(struct baton *b)
{
	struct letter *l = SUPER(b, struct letter, baton);
	struct txn *t = l->user;

	t->lent = false;
	log_answered(&t->log, l);
	if (l->result != OK)
		txn_refuse(t, 451, "4.3.0", "report", "The report could not be stored, try again later");
	letter_free(l);
	t->then(t);
}

void reflector_send(struct txn *t, void (*then)(struct txn *))
{
	struct letter *l = t->report;

	t->report = NULL;
	t->then = then;
	t->lent = true;
	l->user = t;
	l->baton.arrived = answered;
	inject_letter(&l->baton);
}

static void told(struct baton *b)
{
	struct letter *l = SUPER(b, struct letter, baton);

	log_answered(NULL, l);
	letter_free(l);
}

void reflector_tell(struct txn *t)
{
	struct letter *l = t->report;

	if (l == NULL)
		return;
	t->report = NULL;
	l->baton.arrived = told;
	inject_letter(&l->baton);
}
