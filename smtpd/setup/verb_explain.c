/* SPDX-License-Identifier: ISC */
/*
 * postern explain: a verdict told step by step to a person.
 *
 * Who talks, what SPF's terms did, what each signature covers and why it
 * failed, which DMARC records were found on the way up, and what the owner of
 * the domain would have to change.  --canonical DIR writes the bytes that each
 * signature covers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "modules/iprev/iprev.h"
#include "modules/spf/spf.h"
#include "smtpd/setup/judge.h"
#include "smtpd/setup/verbs.h"

/* Peer's text on a person's terminal: one line, no control bytes, not endless. */
static const char *shown(struct arena *a, str s, size_t most)
{
	char *p = arena_alloc(a, most + 4);
	size_t n = 0;

	if (p == NULL)
		return "";
	for (; n < s.n && n < most; n++)
		p[n] = (unsigned char)s.p[n] < ' ' || s.p[n] == 0x7f ? '?' : s.p[n];
	memcpy(p + n, s.n > most ? "..." : "", s.n > most ? 4 : 1);
	return p;
}

/* ---- the connection ------------------------------------------------------- */

static void connection_tell(struct judge *j)
{
	const void *conn = chain_connstate(j->conn, &iprev_module);
	const struct iprev_outcome *o = conn == NULL ? NULL : iprev_state_outcome(conn);

	printf("CLIENT\n  address %s, HELO %s\n", j->ip, shown(&j->arena, j->peer.helo, 200));
	if (o == NULL || o->result == IPREV_NOT_DONE)
		return;
	printf("  iprev=%s", iprev_result_word(o->result));
	if (o->name.n > 0)
		printf(": its name is %s%s", shown(&j->arena, o->name, 200),
		       o->result == IPREV_PASS ? o->helo_matches ? ", the same as in HELO" : ", another than in HELO" : "");
	if (o->reason.n > 0)
		printf(" (%s)", shown(&j->arena, o->reason, 300));
	putchar('\n');
}

/* ---- SPF ------------------------------------------------------------------ */

static void spf_advice(const struct spf_outcome *o, const char *ip)
{
	if (o->result == SPF_FAIL || o->result == SPF_SOFTFAIL || o->result == SPF_NEUTRAL)
		printf("  to change it: if %s may send for %.*s, its owner adds it to the record (ip4: or ip6:, a, mx, include)\n",
		       ip, STR_ARG(o->domain));
	else if (o->result == SPF_NONE)
		printf("  to change it: the owner of %.*s publishes a TXT record that begins with v=spf1\n", STR_ARG(o->domain));
	else if (o->result == SPF_PERMERROR)
		printf("  to change it: the owner of %.*s mends the record\n", STR_ARG(o->domain));
}

static void spf_outcome_tell(struct judge *j, const char *what, const struct spf_outcome *o)
{
	if (o == NULL)
		return;
	printf("  %s: %s for %s", what, spf_result_word(o->result), shown(&j->arena, o->domain, 255));
	if (o->mechanism.n > 0)
		printf(", matched by %s", shown(&j->arena, o->mechanism, 200));
	printf(" (%u look-ups of 10, %u void)\n", o->lookups, o->voids);
	for (size_t i = 0; i < o->nterms; i++) {
		const struct spf_term *t = &o->terms[i];

		printf("    %*s%s: %s -> %s\n", (int)(2 * t->depth), "", shown(&j->arena, t->domain, 255),
		       shown(&j->arena, t->text, 200), shown(&j->arena, t->outcome, 200));
	}
	if (o->reason.n > 0)
		printf("  reason: %s\n", shown(&j->arena, o->reason, 500));
	if (o->explanation.n > 0)
		printf("  the domain's own explanation: %s\n", shown(&j->arena, o->explanation, 500));
	spf_advice(o, j->ip);
}

static void spf_tell(struct judge *j)
{
	const void *state = chain_msg(j->conn, &spf_module);

	if (state == NULL)
		return;
	printf("\nSPF\n");
	spf_outcome_tell(j, j->msg.sender.is_null ? "MAIL FROM <>, so HELO" : "MAIL FROM", spf_state_mfrom(state));
	if (!j->msg.sender.is_null)
		spf_outcome_tell(j, "HELO", spf_state_helo(state));
}

/* ---- DKIM ----------------------------------------------------------------- */

static void to_file(void *arg, str bytes)
{
	fwrite(bytes.p, 1, bytes.n, arg);
}

static void body_feed(struct judge *j, enum canon kind, canon_sink *sink, void *arg)
{
	struct canon_body c;

	canon_body_init(&c, kind);
	canon_body_feed(&c, j->in.body_front, sink, arg);
	canon_body_feed(&c, j->in.body, sink, arg);
	canon_body_end(&c, sink, arg);
}

static FILE *dump_open(struct judge *j, size_t i, const char *what)
{
	str name = arena_printf(&j->arena, "%s/%zu-%s", j->canonical, i + 1, what);
	char *path = str_cstr(&j->arena, name);
	FILE *f = path == NULL ? NULL : fopen(path, "wx");

	if (f == NULL)
		verb_fail(EXIT_FINDING, "explain", "%.*s: %s: name an empty directory that can be written",
		          STR_ARG(name), strerror(errno));
	else
		printf("  its canonical %s is in %.*s\n", what, STR_ARG(name));
	return f;
}

/* The bytes as they were hashed; l= cuts the body's later. */
static void canonical_dump(struct judge *j, size_t i, const struct dkim_verdict *v)
{
	FILE *f;

	if (j->canonical == NULL || v->sig.fault != NULL || v->sig.field == NULL)
		return;
	f = dump_open(j, i, "header");
	if (f != NULL) {
		dkim_header_bytes(dkim_index_new(&j->arena, j->msg.fields, true), &v->sig, to_file, f);
		fclose(f);
	}
	f = dump_open(j, i, "body");
	if (f != NULL) {
		body_feed(j, v->sig.body_canon, to_file, f);
		fclose(f);
	}
}

#define LINES_TRIED 200

static bool hash_is(struct judge *j, const struct dkim_signature *sig, str body)
{
	struct bodyhash *h = bodyhash_new(&j->arena);
	int wish = h == NULL ? -1 : bodyhash_wish(h, sig->body_canon, DIGEST_SHA256, BODYHASH_WHOLE);
	bool same = false;

	if (wish >= 0) {
		bodyhash_feed(h, body);
		bodyhash_end(h);
		same = str_eq(bodyhash_result(h, wish), sig->bh);
	}
	if (h != NULL)
		bodyhash_drop(h);
	return same;
}

/* A footer: the body without its last lines is what was signed. */
static size_t footer_lines(struct judge *j, const struct dkim_signature *sig)
{
	str body = j->in.body;

	if (body.n > (size_t)1 << 20 || j->in.body_front.n > 0)
		return 0;
	for (size_t lines = 1; lines <= LINES_TRIED && body.n > 0; lines++) {
		size_t end = body.n - (body.p[body.n - 1] == '\n');
		size_t at = str_rfind(str_head(body, end), '\n');

		body = str_head(body, at < end ? at + 1 : 0);
		if (hash_is(j, sig, body))
			return lines;
	}
	return 0;
}

/* Every line with the white space at its end taken off. */
static bool trailing_blanks_came(struct judge *j, const struct dkim_signature *sig)
{
	struct buf b;
	str rest = j->in.body, line;
	bool same;

	if (rest.n > (size_t)4 << 20)
		return false;
	buf_init(&b, BUF_UNBOUNDED);
	while (str_cut(&rest, '\n', &line)) {
		while (line.n > 0 && (is_wsp(line.p[line.n - 1]) || line.p[line.n - 1] == '\r'))
			line.n--;
		buf_add(&b, line);
		if (rest.p != NULL)
			buf_add(&b, STR("\r\n"));
	}
	same = hash_is(j, sig, buf_str(&b));
	buf_fini(&b);
	return same;
}

static bool holds_8bit(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

static void body_advice(struct judge *j, const struct dkim_signature *sig)
{
	const struct field *cte = fields_first(j->msg.fields, "Content-Transfer-Encoding");
	size_t footer = footer_lines(j, sig);

	if (footer > 0) {
		printf("  what happened: without its last %zu line%s the body is the one that was signed; somebody on the way "
		       "appended them (a list footer, a disclaimer)\n", footer, footer == 1 ? "" : "s");
		return;
	}
	if (trailing_blanks_came(j, sig)) {
		printf("  what happened: blanks were added at the ends of lines; a signature with c=relaxed/relaxed survives that\n");
		return;
	}
	if (sig->body_canon == CANON_SIMPLE)
		printf("  what may have happened: c=…/simple breaks by any change of white space or of empty lines; relaxed survives most\n");
	if (cte != NULL && !holds_8bit(j->in.body) && str_is_nocase(str_trim(cte->value), "quoted-printable"))
		printf("  what may have happened: the body is quoted-printable; if it was 8-bit when it was signed, a server on "
		       "the way converted it: signers should send 7-bit text\n");
	if (!j->in.crlf)
		printf("  note: the input has LF line ends; if some lines had other ends before, that alone breaks the hash\n");
}

static void signature_advice(struct judge *j, const struct dkim_verdict *v)
{
	str r = v->reason;

	if (v->result == DKIM_FAIL && str_starts(r, "body hash")) {
		body_advice(j, &v->sig);
	} else if (v->result == DKIM_FAIL && str_starts(r, "header mismatch")) {
		printf("  to look at: fields in h= that servers on the way like to change (Subject tags, folded or re-encoded "
		       "To and Cc, a second field of the same name); compare with --canonical DIR\n");
	} else if (v->result == DKIM_PERMERROR && v->sig.fault == NULL) {
		printf("  to change it: the owner of %.*s publishes a usable key at %.*s\n", STR_ARG(v->sig.domain),
		       STR_ARG(dkim_key_name(&j->arena, &v->sig)));
	} else if (v->result == DKIM_POLICY && v->key_bits > 0) {
		printf("  to change it: the owner of %.*s signs with an RSA key of 2048 bits and the usual exponent\n",
		       STR_ARG(v->sig.domain));
	}
}

static void key_tell(struct judge *j, const void *state, const struct dkim_verdict *v)
{
	const struct dns_answer *a = dkim_state_answer(state, v);

	if (a == NULL)
		return;
	printf("  key: TXT %.*s -> %s", STR_ARG(dkim_key_name(&j->arena, &v->sig)), dns_status_text(a->status));
	if (a->status == DNS_FOUND)
		printf(": %s", shown(&j->arena, a->rr[0].txt, 100));
	if (a->cname)
		printf(" (an alias of %.*s)", STR_ARG(a->canonical));
	putchar('\n');
}

static void body_hash_tell(struct judge *j, const void *state, const struct dkim_verdict *v)
{
	str hash = dkim_state_body_hash(state, v);

	if (hash.n == 0)
		return;
	printf("  body hash: %.*s computed, %.*s in bh=%s\n", STR_ARG(base64_encode(&j->arena, hash)),
	       STR_ARG(base64_encode(&j->arena, v->sig.bh)), str_eq(hash, v->sig.bh) ? ", the same" : ", different");
}

static void covers_tell(struct judge *j, const struct dkim_verdict *v)
{
	static const char *const kinds[] = { [CANON_SIMPLE] = "simple", [CANON_RELAXED] = "relaxed", [CANON_NOFWS] = "nofws" };

	if (v->sig.nh == 0)
		return;
	printf("  covers, in %s/%s form:", kinds[v->sig.header_canon], kinds[v->sig.body_canon]);
	for (size_t i = 0; i < v->sig.nh && i < 50; i++)
		printf("%s%s", i == 0 ? " " : ", ", shown(&j->arena, v->sig.h[i], 60));
	if (v->sig.has_length)
		printf("; the first %llu octets of the body", (unsigned long long)v->sig.length);
	putchar('\n');
}

static void signature_tell(struct judge *j, const void *state, size_t i, const struct dkim_verdict *v)
{
	printf("  signature %zu: %s", i + 1, dkim_result_word(v->result));
	if (v->sig.domain.n > 0)
		printf(", d=%.*s", STR_ARG(v->sig.domain));
	if (v->sig.selector.n > 0)
		printf(" s=%.*s", STR_ARG(v->sig.selector));
	if (v->sig.algorithm_text.n > 0)
		printf(" a=%s", shown(&j->arena, v->sig.algorithm_text, 40));
	if (v->key_bits > 0)
		printf(", key of %u bits%s", v->key_bits, v->testing ? ", in testing" : "");
	putchar('\n');
	covers_tell(j, v);
	key_tell(j, state, v);
	body_hash_tell(j, state, v);
	if (v->reason.n > 0)
		printf("  reason: %s\n", shown(&j->arena, v->reason, 500));
	signature_advice(j, v);
	canonical_dump(j, i, v);
}

static void dkim_tell(struct judge *j)
{
	const void *state = chain_msg(j->conn, &dkim_module);
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	if (!dkim_state_judged(state))
		return;
	printf("\nDKIM\n");
	if (n == 0)
		printf("  the message has no DKIM-Signature\n");
	for (size_t i = 0; i < n && i < 20; i++)
		signature_tell(j, state, i, &v[i]);
}

/* ---- DMARC ---------------------------------------------------------------- */

static void steps_tell(struct judge *j, const struct dmarc_outcome *o)
{
	for (size_t i = 0; i < o->nsteps; i++) {
		const struct dmarc_step *s = &o->steps[i];

		printf("  asked %.*s -> %s", STR_ARG(s->name), dns_status_text(s->status));
		if (s->records > 1)
			printf(": %zu DMARC records, so none counts", s->records);
		else if (s->records == 1)
			printf(": %s", shown(&j->arena, s->record, 200));
		else if (s->status == DNS_FOUND && str_starts(s->name, "_dmarc."))
			printf(": no DMARC record");
		putchar('\n');
	}
}

static void identifiers_tell(const struct dmarc_outcome *o)
{
	static const char *const words[] = {
		[DMARC_UNALIGNED] = "not aligned", [DMARC_ALIGNED] = "aligned", [DMARC_ALIGN_UNKNOWN] = "not known for now",
	};

	for (size_t i = 0; i < o->nids && i < 20; i++) {
		const struct dmarc_identifier *id = &o->ids[i];

		printf("  %s %s %.*s: %s", id->dkim ? "DKIM" : "SPF", id->open ? "left open for" : "passed for",
		       STR_ARG(id->domain), words[id->align]);
		if (id->org.n > 0)
			printf(" (its Organizational Domain is %.*s)", STR_ARG(id->org));
		putchar('\n');
	}
}

static void dmarc_advice(const struct dmarc_outcome *o)
{
	if (o->result == DMARC_NONE)
		printf("  to change it: the owner of %.*s publishes a record at _dmarc.%.*s\n", STR_ARG(o->from_domain),
		       STR_ARG(o->from_domain));
	if (o->result != DMARC_FAIL)
		return;
	printf("  to change it: mail from %.*s is signed with d=%.*s%s, or sent with a MAIL FROM of that domain whose SPF passes\n",
	       STR_ARG(o->from_domain), STR_ARG(o->from_domain),
	       o->parsed != NULL && o->parsed->adkim_strict ? " exactly (adkim=s)" : " or another domain of the same organization");
}

static void dmarc_tell(struct judge *j)
{
	const void *state = chain_msg(j->conn, &dmarc_module);
	const struct dmarc_outcome *o = dmarc_state_outcome(state);

	if (o == NULL)
		return;
	printf("\nDMARC\n");
	if (o->from_domain.n > 0)
		printf("  the Author Domain is %s\n", shown(&j->arena, o->from_domain, 255));
	steps_tell(j, o);
	if (o->policy_domain.n > 0)
		printf("  the record of %.*s applies", STR_ARG(o->policy_domain));
	if (o->policy_domain.n > 0 && o->has_policy)
		printf(": policy %s%s", dmarc_policy_word(o->published), o->testing ? ", in testing (t=y: one level down)" : "");
	if (o->policy_domain.n > 0)
		putchar('\n');
	if (o->org_domain.n > 0)
		printf("  the Organizational Domain is %.*s\n", STR_ARG(o->org_domain));
	identifiers_tell(o);
	printf("  dmarc=%s, disposition %s\n", dmarc_result_word(o->result), dmarc_policy_word(o->disposition));
	if (o->reason.n > 0)
		printf("  reason: %s\n", shown(&j->arena, o->reason, 500));
	if (dmarc_override_word(dmarc_state_override(state)) != NULL)
		printf("  softened: %s\n", dmarc_override_word(dmarc_state_override(state)));
	dmarc_advice(o);
}

static void action_tell(struct judge *j)
{
	printf("\nACTION\n  %s", judge_action(j));
	if (j->verdict.code > 0)
		printf(" with %d %s", j->verdict.code, j->verdict.esc != NULL ? j->verdict.esc : "");
	if (j->reason.n > 0)
		printf(": %s", shown(&j->arena, j->reason, 600));
	putchar('\n');
}

static void show(struct judge *j)
{
	if (j->json) {
		judge_print_json(j);
		return;
	}
	connection_tell(j);
	spf_tell(j);
	dkim_tell(j);
	dmarc_tell(j);
	action_tell(j);
	putchar('\n');
	message_out(stdout, &(struct message_in){ .crlf = false }, j->field);
}

int verb_explain(int argc, char **argv, const struct module *const *modules)
{
	struct judge j;

	return judge_run(&j, "explain", argc, argv, modules, show);
}
