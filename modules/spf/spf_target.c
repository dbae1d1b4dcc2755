/* SPDX-License-Identifier: ISC */
/*
 * spf_target: macro strings of this check: the values of the letters, the
 * names that domain-specs become (RFC 7208 7.3), the explanation (6.2).
 */
#include "modules/spf/spf_inside.h"
#include "smtpd/base/clock.h"

#define KEEP            512           /* of an expanded name: 253 octets and what cutting at a dot may drop */
#define EXPLANATION_MAX 2048

static bool is_ascii_text(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return true;
}

static bool has_8bit(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

/* Sixteen bytes as nibbles between dots, as ip6.arpa orders them after "r".
 * Capital digits, as the community's suite spells them; DNS does not mind. */
static str nibbles(struct arena *a, const struct in6_addr *ip)
{
	static const char hex[] = "0123456789ABCDEF";
	char              text[63];

	for (size_t i = 0; i < 32; i++) {
		text[2 * i] = hex[i % 2 ? ip->s6_addr[i / 2] & 15 : ip->s6_addr[i / 2] >> 4];
		if (i < 31)
			text[2 * i + 1] = '.';
	}
	return str_keep(a, (str){ text, sizeof(text) });
}

static str *letter(struct spf_macros *m, char c)
{
	return &m->v[c - 'a'];
}

/* <sender> with the quotes of its local part undone; postmaster where it has
 * none (RFC 7208 4.3). */
void spf_macros_init(struct spf_check *c)
{
	struct spf_macros *m = &c->macros;
	bool               helo = c->q.scope == SPF_HELO;
	str                local = c->q.sender.local;

	if (helo || local.n == 0)
		local = STR("postmaster");
	*letter(m, 'l') = local;
	*letter(m, 'o') = c->out.domain;
	*letter(m, 'h') = c->q.helo;
	*letter(m, 'v') = c->v4 ? STR("in-addr") : STR("ip6");
	*letter(m, 'c') = c->ip_text;
	*letter(m, 'r') = c->q.receiver.n > 0 ? c->q.receiver : STR("unknown");
}

/* What has to be written first waits until a macro is there: few records have one. */
static void write_texts(struct spf_check *c)
{
	struct spf_macros *m = &c->macros;
	struct arena      *a = &c->scratch;

	*letter(m, 's') = arena_printf(a, "%.*s@%.*s", STR_ARG(*letter(m, 'l')), STR_ARG(c->out.domain));
	*letter(m, 'i') = c->v4 ? c->ip_text : nibbles(a, &c->ip6);
	*letter(m, 't') = arena_printf(a, "%llu", (unsigned long long)clock_wall());
}

bool spf_needs_names(const struct spf_check *c, str spec)
{
	return !c->names.known && spf_macro_uses(spec, 'p');
}

bool spf_unmatchable(const struct spf_check *c, str spec)
{
	return has_8bit(c->macros.v['l' - 'a']) &&
	       (spf_macro_uses(spec, 'l') || spf_macro_uses(spec, 's'));
}

static struct spf_macros macros_for(struct spf_check *c, str domain)
{
	struct spf_macros m;

	if (letter(&c->macros, 's')->n == 0)
		write_texts(c);
	m = c->macros;
	*letter(&m, 'd') = domain;
	*letter(&m, 'p') = spf_names_best(c, domain);
	return m;
}

/* Labels fall off at the left until 253 octets are left (RFC 7208 7.3). */
static str cut_to_fit(str name)
{
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	while (name.n > SPF_NAME_MAX && str_holds(name, '.'))
		name = str_skip(name, str_find(name, '.') + 1);
	return name;
}

str spf_target(struct spf_check *c, const struct spf_frame *f, str spec)
{
	struct spf_macros m;
	struct buf        out;
	str               name;

	if (spec.n == 0)
		return f->domain;
	m = macros_for(c, f->domain);
	buf_init(&out, SPF_SCRATCH_MAX);
	spf_macro_expand(spec, &m, KEEP, &out);
	name = str_keep(&c->scratch, cut_to_fit(buf_str(&out)));
	if (out.failed)
		c->scratch.spent = true;
	buf_fini(&out);
	return name;
}

str spf_explanation(struct spf_check *c, str domain, str text)
{
	struct spf_macros m;
	struct buf        out;
	str               said = STR_NONE;

	if (!is_ascii_text(text))
		return STR_NONE;
	m = macros_for(c, domain);
	buf_init(&out, EXPLANATION_MAX);
	spf_macro_expand(text, &m, 0, &out);
	if (!out.failed && is_ascii_text(buf_str(&out)))
		said = str_keep(c->arena, buf_str(&out));
	buf_fini(&out);
	return said;
}
