/* SPDX-License-Identifier: ISC */
/*
 * arc_chain: the sets of a header, collected and their structure checked
 * (RFC 8617 4.2, 5.2 steps 1 to 3), and what a chain is worth to who trusts
 * its sealers.
 *
 * All of it happens before DNS is asked or a byte is hashed; how many fields
 * and bytes are looked at is capped first.  Any thread.
 */
#include <string.h>

#include "modules/arc/arc.h"
#include "smtpd/mail/tags.h"

enum part { RESULTS, MESSAGE, SEAL, PARTS };

static const char *const names[PARTS] = {
	[RESULTS] = "ARC-Authentication-Results",
	[MESSAGE] = "ARC-Message-Signature",
	[SEAL] = "ARC-Seal",
};

const char *arc_result_word(enum arc_result r)
{
	static const char *const words[] = {
		[ARC_NONE] = "none", [ARC_PASS] = "pass", [ARC_FAIL] = "fail",
	};

	return words[r];
}

const char *arc_cv_word(enum arc_cv cv)
{
	static const char *const words[] = {
		[ARC_CV_NONE] = "none", [ARC_CV_PASS] = "pass", [ARC_CV_FAIL] = "fail",
	};

	return words[cv];
}

static bool part_of(const struct field *f, enum part *part)
{
	if (!str_starts_nocase(f->name, "ARC-"))
		return false;
	for (size_t p = 0; p < PARTS; p++)
		if (field_is(f, names[p])) {
			*part = (enum part)p;
			return true;
		}
	return false;
}

/* The first fault stands: what is found later often only follows from it. */
static void failed(struct arc_chain *c, str reason)
{
	if (c->result == ARC_FAIL)
		return;
	c->result = ARC_FAIL;
	c->reason = reason;
}

/* ---- collecting ------------------------------------------------------------ */

/* i= of a message signature or a seal, and the seal's cv=. */
static bool tags_read(const struct field *f, unsigned *instance, str *cv)
{
	struct arena scratch;       /* values are views into the field */
	struct tags t;
	uint32_t n = 0;
	str text;

	arena_init(&scratch, ARENA_UNBOUNDED);
	tags_parse(&scratch, f->value, &t);
	bool good = tags_get(&t, "i", &text) && text.n <= 2 && str_to_u32(text, &n) && n > 0 &&
		    n <= ARC_SETS_MAX;

	if (!tags_get(&t, "cv", cv))
		*cv = STR_NONE;
	arena_fini(&scratch);
	*instance = n;
	return good;
}

static bool cv_read(str text, enum arc_cv *out)
{
	for (int cv = ARC_CV_NONE; cv <= ARC_CV_FAIL; cv++)
		if (str_is_nocase(text, arc_cv_word((enum arc_cv)cv))) {
			*out = (enum arc_cv)cv;
			return true;
		}
	return false;
}

static void field_collect(struct arena *a, const struct field *f, enum part part,
			  struct arc_chain *c)
{
	unsigned i = 0;
	str cv = STR_NONE, payload = STR_NONE;

	if (part == RESULTS ? !arc_results_read(f->value, &i, &payload) : !tags_read(f, &i, &cv)) {
		failed(c,
		       arena_printf(a, "%s has no instance number (i=) from 1 to 50", names[part]));
		return;
	}
	struct arc_set *s = &c->sets[i - 1];
	const struct field **const slots[PARTS] = { &s->results, &s->message, &s->seal };
	const struct field **slot = slots[part];

	if (i > c->length)
		c->length = i;
	if (*slot != NULL) {
		failed(c, arena_printf(a, "%s stands twice with i=%u", names[part], i));
		return;
	}
	*slot = f;
	if (part == RESULTS)
		s->payload = payload;
	if (part == SEAL && !cv_read(cv, &s->cv))
		failed(c,
		       arena_printf(a,
				    "the seal of i=%u says neither cv=none nor cv=pass nor cv=fail",
				    i));
}

/* ---- structure ------------------------------------------------------------- */

static bool set_complete(struct arena *a, struct arc_chain *c, unsigned i)
{
	const struct arc_set *s = &c->sets[i - 1];
	const struct field *const parts[PARTS] = { s->results, s->message, s->seal };

	for (size_t p = 0; p < PARTS; p++)
		if (parts[p] == NULL) {
			failed(c, arena_printf(a, "the chain is broken: %s of i=%u is missing",
					       names[p], i));
			return false;
		}
	return true;
}

bool arc_wants_message(const struct arc_chain *c, unsigned i)
{
	return i <= c->length && c->length - i <= ARC_OLDER_MAX;
}

static void set_read(struct arena *a, struct arc_chain *c, unsigned i)
{
	struct arc_set *s = &c->sets[i - 1];

	dkim_signature_parse(a, s->seal, DKIM_ARC_SEAL, &s->seal_sig);
	if (s->seal_sig.fault != NULL)
		failed(c,
		       arena_printf(a, "the seal of i=%u is malformed: %s", i, s->seal_sig.fault));
	else if (s->cv != (i == 1 ? ARC_CV_NONE : ARC_CV_PASS))
		failed(c, arena_printf(a, "the seal of i=%u says cv=%s: only cv=%s can stand there",
				       i, arc_cv_word(s->cv), i == 1 ? "none" : "pass"));
	if (!arc_wants_message(c, i))
		return;
	dkim_signature_parse(a, s->message, DKIM_ARC_MESSAGE, &s->message_sig);
	if (s->message_sig.fault == NULL)
		return;
	if (i == c->length)
		failed(c, arena_printf(a, "the message signature of i=%u is malformed: %s", i,
				       s->message_sig.fault));
	s->message_check = ARC_BROKEN;
	s->message_why = str_of(s->message_sig.fault);
}

static void structure_check(struct arena *a, struct arc_chain *c)
{
	const struct arc_set *newest = &c->sets[c->length > 0 ? c->length - 1 : 0];

	if (newest->seal != NULL && newest->cv == ARC_CV_FAIL) {
		c->ended = true;
		failed(c, arena_printf(a, "the sealer of i=%u found the chain broken (cv=fail)",
				       c->length));
	}
	for (unsigned i = c->length; i > 0; i--)
		if (set_complete(a, c, i))
			set_read(a, c, i);
}

void arc_read(struct arena *a, const struct fields *fields, struct arc_chain *out)
{
	enum part part;
	size_t n = 0, bytes = 0;

	*out = (struct arc_chain){ .result = ARC_NONE };
	for (size_t i = 0; i < fields->n; i++)
		if (part_of(&fields->v[i], &part)) {
			n++;
			bytes += fields->v[i].raw.n;
		}
	if (n == 0)
		return;
	out->result = ARC_NOT_DONE;
	if (n > PARTS * ARC_SETS_MAX)
		failed(out, arena_printf(a, "there are %zu ARC fields, more than %d sets have", n,
					 ARC_SETS_MAX));
	else if (bytes > ARC_BYTES_MAX)
		failed(out, STR("the ARC fields are larger than any chain needs (512 KiB)"));
	else if ((out->sets = ARENA_ARRAY(a, struct arc_set, ARC_SETS_MAX)) == NULL)
		failed(out, STR("there is no memory left to read the chain"));
	for (size_t i = 0; i < fields->n && out->sets != NULL; i++)
		if (part_of(&fields->v[i], &part))
			field_collect(a, &fields->v[i], part, out);
	if (out->sets != NULL)
		structure_check(a, out);
	if (a->spent) {
		failed(out, STR("there is no memory left to read the chain"));
		out->temporary = true;
	}
}

/* ---- worth ------------------------------------------------------------------ */

unsigned arc_vouches(const struct arc_chain *c, struct arena *a, str from_domain,
		     arc_trusts *trusts, void *user)
{
	if (c->result != ARC_PASS || !c->whole)
		return 0;
	/* Behind the trusted sealers anybody may have written anything. */
	for (unsigned i = c->length; i > 0 && trusts(user, c->sets[i - 1].seal_sig.domain); i--)
		if (arc_results_vouch(a, c->sets[i - 1].payload, from_domain))
			return i;
	return 0;
}

bool arc_may_seal(const struct arc_chain *c)
{
	return !c->ended && !c->temporary && c->length < ARC_SETS_MAX &&
	       (c->result == ARC_NONE || c->result == ARC_PASS || c->result == ARC_FAIL);
}
