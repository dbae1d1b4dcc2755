/* SPDX-License-Identifier: ISC */
/*
 * One message's whole story.  Where it came from and what was judged is read
 * from the fields that stand in front of it.  Disk or slow desk, verbs.
 */
#include <inttypes.h>

#include "queue/report_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/mail/advice.h"
#include "smtpd/mail/field.h"

#define HEADER_MAX ((size_t)64 << 10)
#define HEADER_FIELDS 1000

static const char *const told[] = { "From", "To", "Cc", "Subject", "Date", "Message-ID" };

struct story {
	const struct queue_entry *e;
	struct fields ours, theirs;      /* prepended here; as it came */
	enum err      read;              /* of its content */
	int64_t       finished, now;     /* when it was; 0: it is not */
	struct arena *a;
	struct buf   *out;
};

/* ---- reading --------------------------------------------------------------------------------- */

static void split_header(struct arena *a, str text, struct fields *out)
{
	struct splitter split;
	str back = STR_NONE;

	splitter_init(&split, a, HEADER_MAX, HEADER_MAX, HEADER_FIELDS);
	splitter_feed(&split, text, &back);
	splitter_end(&split, &back);
	*out = split.fields;
	splitter_fini(&split);
}

static enum err read_header(struct queue *q, struct story *s)
{
	const struct queue_entry *e = s->e;
	size_t want = e->header_bytes < HEADER_MAX ? (size_t)e->header_bytes : HEADER_MAX, got = 0;
	char *p = arena_alloc(s->a, want);
	enum err err;

	if (p == NULL)
		return ERR_MEMORY;
	err = queue_read(q, e->id, e->in_file, 0, p, want, &got);
	if (err == OK)
		split_header(s->a, (str){ p, got }, &s->theirs);
	return err;
}

static str value_of(const struct fields *f, const char *name, struct arena *a)
{
	const struct field *first = fields_first(f, name);

	return first == NULL ? STR_NONE : report_plain(a, str_trim(field_unfold(a, first->value)));
}

/* ---- where it came from ------------------------------------------------------------------------- */

/* "from client.test (ptr.test [192.0.2.1])": what stands before " by ". */
static str came_from(struct story *s)
{
	str v = value_of(&s->ours, "Received", s->a);

	for (size_t i = 0; i + 4 <= v.n; i++)
		if (str_starts(str_skip(v, i), " by "))
			return str_head(v, i);
	return STR_NONE;
}

/* "spf=pass, dkim=pass, dmarc=none": the first word of each result. */
static str judged(struct story *s)
{
	str v = value_of(&s->ours, "Authentication-Results", s->a), part, word, out = STR("");
	bool first = true;

	while (str_cut(&v, ';', &part)) {
		part = str_trim(part);
		word = str_head(part, str_find(part, ' '));
		if (!first && str_holds(word, '='))
			out = arena_printf(s->a, "%.*s%s%.*s", STR_ARG(out), out.n > 0 ? ", " : "", STR_ARG(word));
		first = false;
	}
	return out;
}

static const char *origin(const struct queue_entry *e)
{
	return e->flags & MESSAGE_OWN ? "written by this server" : e->flags & MESSAGE_LOGIN ? "submitted here" : "received";
}

/* ---- in words ------------------------------------------------------------------------------------ */

static void line(struct story *s, const char *name, str value)
{
	if (value.n > 0)
		buf_addf(s->out, "%-11s %.*s\n", name, STR_ARG(value));
}

static bool waits_for_key(const struct queue_entry *e)
{
	for (size_t i = 0; i < e->nrcpts; i++)
		if (queue_rcpt_waits_for_key(e, &e->rcpts[i]))
			return true;
	return false;
}

/* Its time has not come, and the operator has not sent it early. */
static bool waits_still(const struct story *s)
{
	bool waits = s->e->not_before > s->now && s->finished == 0;

	for (size_t i = 0; i < s->e->nrcpts; i++)
		waits = waits && s->e->rcpts[i].tries == 0 && s->e->rcpts[i].state != RCPT_SETTLED;
	return waits;
}

static void tell_wait(struct story *s)
{
	char id[QUEUE_ID_TEXT];
	str text = queue_id_text(s->e->id, id);

	line(s, "waits", arena_printf(s->a, "until %.*s, %s: `postern queue remove %.*s` stops it, retry sends it now",
	                              STR_ARG(report_when(s->a, s->e->not_before)),
	                              s->e->flags & MESSAGE_FUTURE ? "as its sender's mail program asked for" : "in its sender's grace time",
	                              STR_ARG(text)));
}

static void tell_flags(struct story *s)
{
	const struct queue_entry *e = s->e;

	if (waits_still(s))
		tell_wait(s);
	if (report_is_breakers(e))
		line(s, "held", arena_printf(s->a, "by the account's circuit breaker: `postern account release %.*s` or `drop` decides",
		                             STR_ARG(report_plain(s->a, e->login))));
	if (waits_for_key(e))
		line(s, "held", arena_printf(s->a, "no DKIM key of %.*s is out: when one is, it is signed and sent; `postern key list` says "
		                             "what is missing, `postern queue release` sends it unsigned", STR_ARG(e->signing.author)));
	if (e->flags & MESSAGE_RESTORED)
		line(s, "held", STR("it came back from a backup, and may have been delivered since: `postern queue release` sends it, remove drops it"));
	if (e->aside)
		line(s, "set aside", STR("the server ended again and again while it was being delivered: `postern queue export` saves it, "
		                         "release tries again, remove drops it"));
	if (e->flags & MESSAGE_REQUIRETLS)
		line(s, "requires", STR("verified TLS all the way (REQUIRETLS)"));
	if (e->damage != NULL)
		line(s, "damaged", arena_printf(s->a, "%s cannot be read: `postern queue export` saves what there is, remove drops it",
		                                e->damage));
}

static void tell_envelope(struct story *s)
{
	const struct queue_entry *e = s->e;
	char id[QUEUE_ID_TEXT];

	line(s, "id", queue_id_text(e->id, id));
	line(s, "arrived", arena_printf(s->a, "%.*s (%.*s ago), %s", STR_ARG(report_when(s->a, e->arrived)),
	                                STR_ARG(report_span(s->a, s->now - e->arrived)), origin(e)));
	if (s->finished != 0)
		line(s, "finished", arena_printf(s->a, "%.*s (%.*s ago)", STR_ARG(report_when(s->a, s->finished)),
		                                 STR_ARG(report_span(s->a, s->now - s->finished))));
	line(s, "came", came_from(s));
	line(s, "checks", judged(s));
	line(s, "size", report_size(s->a, e->head.n + e->bytes));
	line(s, "sender", report_path(s->a, e->sender));
	line(s, "login", report_plain(s->a, e->login));
	line(s, "envelope id", report_plain(s->a, e->envid));
	tell_flags(s);
}

static void tell_header(struct story *s)
{
	if (s->read != OK && s->finished == 0 && s->e->damage == NULL)
		line(s, "damaged", arena_printf(s->a, "its content cannot be read: %s", err_text(s->read)));
	for (size_t i = 0; i < COUNT(told); i++)
		line(s, told[i], value_of(&s->theirs, told[i], s->a));
}

static void tell_attempts(struct story *s, const struct queue_rcpt *r)
{
	for (size_t i = 0; i < r->nattempts; i++) {
		const struct queue_attempt *t = &r->attempts[i];

		if (i == 2 && r->nattempts == QUEUE_ATTEMPTS && r->tries > QUEUE_ATTEMPTS)
			buf_addf(s->out, "    … %" PRIu32 " tries between …\n", r->tries - QUEUE_ATTEMPTS);
		buf_addf(s->out, "    %.*s  %.*s%s%.*s\n", STR_ARG(report_when(s->a, t->at)), STR_ARG(report_plain(s->a, t->host)),
		         t->host.n > 0 ? ": " : "", STR_ARG(report_plain(s->a, t->said)));
	}
	/* What was said since by nobody who was asked: why it is held, or was removed. */
	if (r->said.n > 0 && (r->nattempts == 0 || !str_eq(r->said, r->attempts[r->nattempts - 1].said)))
		buf_addf(s->out, "    %s: %.*s\n", r->state == RCPT_WAITING ? "last answer" : "because", STR_ARG(report_plain(s->a, r->said)));
}

static void tell_rcpt(struct story *s, const struct queue_rcpt *r)
{
	struct advice advice = r->said.n > 0 ? advice_for(STR_NONE, r->said) : (struct advice){ STR_NONE, STR_NONE };

	buf_addf(s->out, "\n%.*s\n    %s", STR_ARG(report_path(s->a, r->address)), report_state(r));
	if (r->state == RCPT_WAITING)
		buf_addf(s->out, ", next try %.*s (%.*s)", STR_ARG(report_when(s->a, r->next)),
		         STR_ARG(report_next(s->a, r, s->now)));
	if (r->tries > 0 || r->state == RCPT_WAITING)
		buf_addf(s->out, ", %" PRIu32 " tr%s so far", r->tries, r->tries == 1 ? "y" : "ies");
	if (r->changed != 0)
		buf_addf(s->out, ", last change %.*s", STR_ARG(report_when(s->a, r->changed)));
	buf_add_char(s->out, '\n');
	tell_attempts(s, r);
	if (advice.operator.n > 0)
		buf_addf(s->out, "    what to do: %.*s\n", STR_ARG(advice.operator));
	if (r->place.n > 0)
		buf_addf(s->out, "    in the mailbox, not yet shown: %.*s\n", STR_ARG(report_plain(s->a, r->place)));
	if (r->orcpt.n > 0)
		buf_addf(s->out, "    first addressed to: %.*s\n", STR_ARG(report_plain(s->a, r->orcpt)));
	if (r->flags & RCPT_QUARANTINE)
		buf_add(s->out, STR("    goes to Junk\n"));
	if (r->delay_told)
		buf_add(s->out, STR("    the sender has been told of the delay\n"));
}

/* ---- show ----------------------------------------------------------------------------------------- */

static void as_json(struct story *s)
{
	struct json *j = json_new_object(), *header;
	str from = came_from(s), checks = judged(s);

	report_json(j, s->e, s->now);
	json_set_bool(j, "damaged", s->finished == 0 && s->read != OK);
	if (s->finished != 0)
		json_set_num(j, "finished", s->finished);
	else
		json_set_null(j, "finished");
	json_set(j, "came", from.n > 0 ? from : STR_NONE);
	json_set(j, "checks", checks.n > 0 ? checks : STR_NONE);
	header = json_set_object(j, "header");
	for (size_t i = 0; i < COUNT(told); i++)
		json_set(header, told[i], value_of(&s->theirs, told[i], s->a));
	report_add_json(s->out, j);
	buf_add_char(s->out, '\n');
}

static void in_words(struct story *s)
{
	tell_envelope(s);
	tell_header(s);
	for (size_t i = 0; i < s->e->nrcpts; i++)
		tell_rcpt(s, &s->e->rcpts[i]);
}

enum err queue_report_show(struct queue *q, uint64_t id, bool json, struct buf *out)
{
	struct queue_entry *e = NULL;
	struct story s = { .out = out, .now = clock_wall() };
	enum err err = queue_load(q, id, &e);
	struct arena a;

	if (err == ERR_ABSENT)
		err = queue_finished(q, id, &e, &s.finished);
	if (err != OK)
		return err;
	arena_init(&a, ARENA_UNBOUNDED);
	s.a = &a;
	s.e = e;
	s.read = s.finished == 0 && e->damage == NULL ? read_header(q, &s) : OK;
	split_header(&a, e->head, &s.ours);
	if (json)
		as_json(&s);
	else
		in_words(&s);
	arena_fini(&a);
	queue_entry_free(e);
	return out->failed ? ERR_MEMORY : OK;
}
