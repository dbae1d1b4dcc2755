/* SPDX-License-Identifier: ISC */
/*
 * explain_dkim: each signature: what it covers, where its key came from, what
 * was hashed, and why it failed.  --canonical DIR writes the hashed bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/setup/explain.h"
#include "smtpd/setup/verbs.h"

/* ---- the bytes ------------------------------------------------------------------ */

struct dump { FILE *f; uint64_t left; };

/* l= counts octets of the canonical body. */
static void to_file(void *arg, str bytes)
{
	struct dump *d = arg;
	size_t n = bytes.n < d->left ? bytes.n : (size_t)d->left;

	fwrite(bytes.p, 1, n, d->f);
	d->left -= n;
}

static void body_feed(struct story *st, enum canon kind, canon_sink *sink, void *arg)
{
	struct canon_body c;

	canon_body_init(&c, kind);
	canon_body_feed(&c, st->in->body_front, sink, arg);
	canon_body_feed(&c, st->in->body, sink, arg);
	canon_body_end(&c, sink, arg);
}

static FILE *dump_open(struct story *st, size_t i, const char *what)
{
	str name = arena_printf(st->arena, "%s/%zu-%s", st->canonical, i + 1, what);
	char *path = str_cstr(st->arena, name);
	FILE *f = path == NULL ? NULL : fopen(path, "wx");

	if (f == NULL)
		verb_fail(EXIT_FINDING, "explain",
			  "%.*s: %s: name an empty directory that can be written", STR_ARG(name),
			  strerror(errno));
	else
		fprintf(st->out, "  its canonical %s is in %.*s\n", what, STR_ARG(name));
	return f;
}

static void dump_close(FILE *f)
{
	bool failed = ferror(f);

	if (fclose(f) != 0 || failed)
		verb_fail(EXIT_FINDING, "explain",
			  "a file of --canonical could not be written: %s: make room there",
			  strerror(errno));
}

static void canonical_dump(struct story *st, size_t i, const struct dkim_verdict *v)
{
	struct dkim_index *index;
	struct dump d = { NULL, UINT64_MAX };

	if (st->canonical == NULL || v->sig.fault != NULL || v->sig.field == NULL)
		return;
	index = dkim_index_new(st->arena, st->msg->fields, true);
	if (index != NULL && (d.f = dump_open(st, i, "header")) != NULL) {
		dkim_header_bytes(index, &v->sig, to_file, &d);
		dump_close(d.f);
	}
	d = (struct dump){dump_open(st, i, "body"), v->sig.has_length ? v->sig.length : UINT64_MAX};
	if (d.f != NULL) {
		body_feed(st, v->sig.body_canon, to_file, &d);
		dump_close(d.f);
	}
}

/* ---- what could be done about it -------------------------------------------------- */

#define HINTS_MOST 5

static size_t times_in_h(const struct dkim_signature *sig, str name)
{
	size_t n = 0;

	for (size_t i = 0; i < sig->nh; i++)
		n += str_eq_nocase(sig->h[i], name);
	return n;
}

static bool stood_before(const struct dkim_signature *sig, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (str_eq_nocase(sig->h[i], sig->h[at]))
			return true;
	return false;
}

/* Names that h= counts otherwise than the message does. */
static bool count_tell(struct story *st, const struct dkim_signature *sig, str name, size_t have)
{
	size_t want = times_in_h(sig, name);
	const char *shown = explain_shown(st->arena, name, 60);

	if (have == 0 && want == 1)
		fprintf(st->out, "  to look at: h= names %s, which the message does not have: was it "
		       "removed?\n",
		       shown);
	else if (have > 1 && have >= want)
		fprintf(st->out, "  to look at: the message has %zu fields %s, and h= counts %zu: was one "
		       "added?\n",
		       have, shown, want);
	else
		return false;
	return true;
}

static void counts_tell(struct story *st, const struct dkim_signature *sig)
{
	struct dkim_index *index = dkim_index_new(st->arena, st->msg->fields, true);
	size_t told = 0;

	for (size_t i = 0; index != NULL && i < sig->nh && told < HINTS_MOST; i++)
		if (!stood_before(sig, i))
			told += count_tell(st, sig, sig->h[i], dkim_index_count(index, sig->h[i]));
}

static void subject_tell(struct story *st, const struct dkim_signature *sig)
{
	const struct field *f = fields_first(st->msg->fields, "Subject");

	if (f != NULL && times_in_h(sig, STR("Subject")) > 0 && str_starts(str_trim(f->value), "["))
		fprintf(st->out, "  to look at: Subject begins with a word in brackets, as mailing lists put "
		       "one in front\n");
}

static void header_advice(struct story *st, const struct dkim_signature *sig)
{
	counts_tell(st, sig);
	subject_tell(st, sig);
	if (sig->header_canon == CANON_SIMPLE)
		fprintf(st->out, "  to look at: c=simple breaks when a field is folded anew or the case of "
		       "its name changes; relaxed survives that\n");
	fprintf(st->out, "  to look at: fields in h= that servers on the way like to change (Subject tags, "
	       "folded or re-encoded To and Cc, a second field of the same name)%s\n",
	       st->modules != NULL ? "; compare with --canonical DIR" : "");
}

static void signature_advice(struct story *st, const struct dkim_verdict *v)
{
	str r = v->reason;

	if (v->result == DKIM_FAIL && str_starts(r, "body hash mismatch: l=")) {
		fprintf(st->out, "  what happened: the body was truncated: its end is missing\n");
	} else if (v->result == DKIM_FAIL && str_starts(r, "body hash") && (st->in == NULL || st->bodies == 0)) {
		fprintf(st->out, "  what happened: the body was changed after it was signed: by a list's footer, a "
		       "disclaimer, a virus scanner's note or a new encoding; sign behind whatever does that\n");
	} else if (v->result == DKIM_FAIL && str_starts(r, "body hash")) {
		st->bodies--;
		explain_body(st, &v->sig);
	} else if (v->result == DKIM_FAIL && str_starts(r, "header mismatch")) {
		header_advice(st, &v->sig);
	} else if (v->result == DKIM_PASS && v->partial) {
		fprintf(st->out, "  to change it: the owner of %.*s signs without l=, so that nothing can be "
		       "appended\n",
		       STR_ARG(v->sig.domain));
	} else if (v->result == DKIM_PERMERROR && v->sig.fault == NULL) {
		fprintf(st->out, "  to change it: the owner of %.*s publishes a usable key at %.*s\n",
		       STR_ARG(v->sig.domain), STR_ARG(dkim_key_name(st->arena, &v->sig)));
	} else if (v->result == DKIM_PERMERROR && v->sig.domain.n > 0) {
		fprintf(st->out, "  to change it: the owner of %.*s mends the program that signs\n",
		       STR_ARG(v->sig.domain));
	} else if (v->result == DKIM_POLICY && v->key_bits > 0) {
		fprintf(st->out, "  to change it: the owner of %.*s signs with an RSA key of 2048 bits and "
		       "the usual exponent\n",
		       STR_ARG(v->sig.domain));
	}
}

/* ---- the telling -------------------------------------------------------------------- */

static void key_tell(struct story *st, const void *state, const struct dkim_verdict *v)
{
	const struct dns_answer *a = dkim_state_answer(state, v);

	if (a == NULL)
		return;
	fprintf(st->out, "  key: TXT %.*s -> %s", STR_ARG(dkim_key_name(st->arena, &v->sig)),
	       dns_status_text(a->status));
	if (a->status == DNS_FOUND)
		fprintf(st->out, ": %s", explain_shown(st->arena, a->rr[0].txt, 100));
	if (a->cname)
		fprintf(st->out, " (an alias of %s)", explain_shown(st->arena, a->canonical, 255));
	putc('\n', st->out);
}

static void body_hash_tell(struct story *st, const void *state, const struct dkim_verdict *v)
{
	str hash = dkim_state_body_hash(state, v);

	if (hash.n == 0)
		return;
	fprintf(st->out, "  body hash: %.*s computed, %.*s in bh=%s\n",
	       STR_ARG(base64_encode(st->arena, hash)),
	       STR_ARG(base64_encode(st->arena, v->sig.bh)),
	       str_eq(hash, v->sig.bh) ? ", the same" : ", different");
}

static void covers_tell(struct story *st, const struct dkim_verdict *v)
{
	static const char *const kinds[] = {
		[CANON_SIMPLE] = "simple", [CANON_RELAXED] = "relaxed", [CANON_NOFWS] = "nofws"};

	if (v->sig.nh == 0)
		return;
	fprintf(st->out, "  covers, in %s/%s form:", kinds[v->sig.header_canon], kinds[v->sig.body_canon]);
	for (size_t i = 0; i < v->sig.nh && i < 50; i++)
		fprintf(st->out, "%s%s", i == 0 ? " " : ", ", explain_shown(st->arena, v->sig.h[i], 60));
	if (v->sig.has_length)
		fprintf(st->out, "; the first %llu octets of the body", (unsigned long long)v->sig.length);
	putc('\n', st->out);
}

static void signature_tell(struct story *st, const void *state, size_t i,
			   const struct dkim_verdict *v)
{
	fprintf(st->out, "  signature %zu: %s", i + 1, dkim_result_word(v->result));
	if (v->sig.domain.n > 0)
		fprintf(st->out, ", d=%.*s", STR_ARG(v->sig.domain));
	if (v->sig.selector.n > 0)
		fprintf(st->out, " s=%.*s", STR_ARG(v->sig.selector));
	if (v->sig.algorithm_text.n > 0)
		fprintf(st->out, " a=%s", explain_shown(st->arena, v->sig.algorithm_text, 40));
	if (v->key_bits > 0)
		fprintf(st->out, ", key of %u bits%s", v->key_bits, v->testing ? ", in testing" : "");
	putc('\n', st->out);
	covers_tell(st, v);
	key_tell(st, state, v);
	body_hash_tell(st, state, v);
	if (v->reason.n > 0)
		fprintf(st->out, "  reason: %s\n", explain_shown(st->arena, v->reason, 500));
	signature_advice(st, v);
	canonical_dump(st, i, v);
}

void explain_dkim(struct story *st)
{
	const void *state = chain_msg(st->conn, &dkim_module);
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	if (!dkim_state_judged(state))
		return;
	fprintf(st->out, "\nDKIM\n");
	if (n == 0)
		fprintf(st->out, "  the message has no DKIM-Signature\n");
	for (size_t i = 0; i < n && i < 20; i++)
		signature_tell(st, state, i, &v[i]);
	if (n > 20)
		fprintf(st->out, "  and %zu more signatures\n", n - 20);
}
