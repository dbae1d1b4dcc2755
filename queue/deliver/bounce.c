/* SPDX-License-Identifier: ISC */
/*
 * Notices as letters.  Making: timetable; writing: disk desk.
 */
#include "queue/deliver/bounce.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/mail/advice.h"
#include "smtpd/mail/field.h"

#define TEXT_MOST ((size_t)48 << 20)     /* some 10,000 recipients with long answers; a letter holds 64 MiB */

/* ---- who hears ------------------------------------------------------------------------------ */

bool bounce_is_double(const struct queue_entry *e)
{
	return e->sender.n == 0 && (e->flags & (MESSAGE_OWN | MESSAGE_LAST)) == MESSAGE_OWN;
}

bool bounce_is_backscatter(const struct relay_conf *relay, const struct queue_entry *e)
{
	return (e->flags & MESSAGE_FORGED) && e->sender.n > 0 && !relay->notify_forged;
}

bool bounce_wanted(const struct relay_conf *relay, const struct queue_entry *e, const struct queue_rcpt *r, enum dsn_action action)
{
	static const unsigned asked[] = {
		[DSN_FAILED] = RCPT_NOTIFY_FAILURE,    [DSN_DELAYED] = RCPT_NOTIFY_DELAY,
		[DSN_DELIVERED] = RCPT_NOTIFY_SUCCESS, [DSN_RELAYED] = RCPT_NOTIFY_SUCCESS,
		[DSN_EXPANDED] = RCPT_NOTIFY_SUCCESS,
	};
	unsigned notify = r->flags & (RCPT_NOTIFY_NEVER | RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY);

	if (e->sender.n == 0)
		return action == DSN_FAILED && bounce_is_double(e);
	if ((notify & RCPT_NOTIFY_NEVER) || bounce_is_backscatter(relay, e))
		return false;
	if (notify == 0)
		return action == DSN_FAILED || action == DSN_DELAYED;
	return (notify & asked[action]) != 0;
}

/* ---- making ---------------------------------------------------------------------------------------- */

struct bounce *bounce_new(size_t room)
{
	struct bounce *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	arena_init(&b->arena, (size_t)64 << 20);
	b->rcpts = ARENA_ARRAY(&b->arena, struct dsn_rcpt, room);
	b->indexes = ARENA_ARRAY(&b->arena, uint32_t, room);
	if (b->rcpts == NULL || b->indexes == NULL) {
		bounce_free(b);
		return NULL;
	}
	return b;
}

void bounce_free(struct bounce *b)
{
	if (b == NULL)
		return;
	arena_fini(&b->arena);
	free(b);
}

void bounce_add(struct bounce *b, uint32_t index, const struct queue_rcpt *r, enum dsn_action action, str status, str said,
                str remote, int64_t until)
{
	b->indexes[b->n] = index;
	b->rcpts[b->n++] = (struct dsn_rcpt){
		.final = str_keep(&b->arena, r->address), .orcpt = str_keep(&b->arena, r->orcpt), .action = action,
		.status = str_keep(&b->arena, status), .said = str_keep(&b->arena, said),
		.remote = str_keep(&b->arena, remote),
		.advice = action == DSN_FAILED || action == DSN_DELAYED ? advice_for(status, said).sender : STR_NONE,
		.last_try = clock_wall(), .will_retry_until = until,
	};
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static bool is_ascii(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

/* The original's first `want` octets of content, from memory or from the store. */
static enum err read_content(struct bounce *b, size_t want, str *out)
{
	const struct queue_entry *e = b->entry;
	size_t got = 0, at = 0;
	enum err err = OK;
	char *p;

	if (e->content.p != NULL) {
		*out = str_head(e->content, want);
		return OK;
	}
	p = arena_alloc(&b->arena, want);
	if (p == NULL)
		return ERR_MEMORY;
	for (; at < want && err == OK; at += got) {
		err = queue_read(b->queue, e->id, e->in_file, at, p + at, want - at, &got);
		if (got == 0)
			break;
	}
	*out = (str){ p, at };
	return err;
}

static bool wants_whole(const struct bounce *b)
{
	/* RFC 8689 5: who did not reach the right server is not told more than needed. */
	return b->settles && (b->entry->flags & MESSAGE_RET_FULL) && !(b->entry->flags & MESSAGE_REQUIRETLS) &&
	       b->entry->bytes <= BOUNCE_WHOLE_MOST;
}

static str subject_of(struct arena *a, str header)
{
	const struct field *f;
	struct splitter s;
	str back, subject = STR_NONE;

	splitter_init(&s, a, BOUNCE_HEADER_MOST * 2, BOUNCE_HEADER_MOST, 2000);
	splitter_feed(&s, header, &back);
	splitter_end(&s, &back);
	f = fields_first(&s.fields, "Subject");
	if (f != NULL)
		subject = field_unfold(a, f->value);
	splitter_fini(&s);
	return subject;
}

static str header_of(struct bounce *b, str content)
{
	const struct queue_entry *e = b->entry;
	str own = str_head(content, e->header_bytes < BOUNCE_HEADER_MOST ? (size_t)e->header_bytes : BOUNCE_HEADER_MOST);
	char *p = arena_alloc(&b->arena, e->head.n + own.n);

	if (p == NULL)
		return STR_NONE;
	if (e->head.n > 0)
		memcpy(p, e->head.p, e->head.n);
	if (own.n > 0)
		memcpy(p + e->head.n, own.p, own.n);
	return (str){ p, e->head.n + own.n };
}

static str message_id(struct bounce *b, str id)
{
	return arena_printf(&b->arena, "%llu.%.*s.%zu@%.*s", (unsigned long long)clock_wall_us(), STR_ARG(id), b->n,
	                    STR_ARG(b->setup->hostname));
}

static const struct directory_domain *domain_of(const struct bounce *b, str address)
{
	return directory_domain(b->setup->directory, str_skip(address, str_rfind(address, '@') + 1));
}

/* A notice is signed like all mail from here: its author is at a domain that
 * has keys, the sender's own or the one that the message was for. */
static str postmaster(struct bounce *b)
{
	const struct directory_domain *d = domain_of(b, b->entry->sender);

	if (d == NULL && b->n > 0)
		d = domain_of(b, b->rcpts[0].final);
	if (d == NULL)
		d = directory_home(b->setup->directory);
	return d ? arena_printf(&b->arena, "postmaster@%.*s", STR_ARG(d->name)) : STR_NONE;
}

static void write_text(struct bounce *b, struct letter *l, str content)
{
	const struct queue_entry *e = b->entry;
	char id[QUEUE_ID_TEXT];
	struct dsn d = {
		.host = b->setup->hostname, .postmaster = postmaster(b), .id = queue_id_text(e->id, id), .envid = e->envid,
		.to = l->rcpt,
		.original_header = header_of(b, content), .arrived = e->arrived, .now = clock_wall(),
		.rcpts = b->rcpts, .nrcpts = b->n, .utf8 = !is_ascii(e->sender),
	};
	struct buf out;

	d.subject_of = subject_of(&b->arena, d.original_header);
	d.message_id = message_id(b, d.id);
	buf_init(&out, TEXT_MOST);
	dsn_write(&out, &d, wants_whole(b));
	if (wants_whole(b)) {
		buf_add(&out, e->head);
		buf_add(&out, content);
		dsn_end(&out, &d);
	}
	l->text = out.failed ? STR_NONE : str_keep(&l->arena, buf_str(&out));
	l->utf8 = d.utf8;
	l->flags |= b->entry->flags & MESSAGE_REQUIRETLS;      /* RFC 8689 5 */
	buf_fini(&out);
}

static enum err write_letter(struct bounce *b, struct letter *l)
{
	const struct queue_entry *e = b->entry;
	size_t want = wants_whole(b) ? (size_t)e->bytes
	                             : e->header_bytes < BOUNCE_HEADER_MOST ? (size_t)e->header_bytes : BOUNCE_HEADER_MOST;
	str content;
	enum err err = read_content(b, want, &content);

	if (err == ERR_MEMORY)
		return err;
	if (err != OK)                 /* what cannot be read cannot be quoted; the sender hears all the same */
		content = STR_NONE;
	l->rcpt = str_keep(&l->arena, bounce_is_double(e) ? postmaster(b) : e->sender);
	l->flags = bounce_is_double(e) ? MESSAGE_LAST : 0;
	write_text(b, l, content);
	if (b->settles) {
		l->settles_id = e->id;
		l->nsettles = b->n;
		l->settles = ARENA_ARRAY(&l->arena, uint32_t, b->n);
		l->settles_said = ARENA_ARRAY(&l->arena, str, b->n);
		l->settles_host = ARENA_ARRAY(&l->arena, str, b->n);
		for (size_t i = 0; i < b->n && !l->arena.spent; i++) {
			l->settles[i] = b->indexes[i];
			l->settles_said[i] = str_keep(&l->arena, b->rcpts[i].said);
			l->settles_host[i] = str_keep(&l->arena, b->rcpts[i].remote);
		}
	}
	return l->text.n == 0 || l->arena.spent || b->arena.spent ? ERR_MEMORY : OK;
}

void bounce_work(struct job *j)
{
	struct bounce *b = SUPER(j, struct bounce, job);
	struct letter *l = letter_new();

	b->result = l != NULL ? write_letter(b, l) : ERR_MEMORY;
	if (b->result != OK) {
		letter_free(l);
		l = NULL;
	}
	b->letter = l;
}
