/* SPDX-License-Identifier: ISC */
/*
 * deny_file: the two places where entries are written down: sections of the
 * configuration and the lines of STATE/deny.  Pure.
 */
#include <inttypes.h>
#include <stddef.h>

#include "modules/deny/deny.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

/* ---- the section ------------------------------------------------------------ */

#define CHECK(kind_, KIND)                                                  \
	static bool kind_##_check(str value, struct arena *a, str *why)     \
	{                                                                   \
		return deny_value_check(KIND, value, a, why);               \
	}
CHECK(client, DENY_CLIENT)
CHECK(ptr, DENY_PTR)
CHECK(helo, DENY_HELO)
CHECK(sender, DENY_SENDER)
CHECK(recipient, DENY_RECIPIENT)

static bool reply_check(str value, struct arena *a, str *why)
{
	return value.n == 0 || deny_reply_check(value, a, why);
}

#define OPT(field, type_, name_, help_, check_, example_)                                   \
	.name = (name_), .type = (type_), .offset = offsetof(struct deny_section, field),   \
	.help = (help_), .check = (check_), .example = (example_)

static const struct conf_option options[] = {
	{OPT(client, CONF_LIST, "client", "addresses and networks of clients", client_check,
	     "192.0.2.0/24")},
	{OPT(ptr, CONF_LIST, "ptr",
	     "names of clients, as their address has them in DNS: host.example.org is that name, "
	     ".example.org all below it, * any run of characters",
	     ptr_check, "*.dynamic.example.org")},
	{OPT(helo, CONF_LIST, "helo", "names in HELO and EHLO, written the same way", helo_check,
	     "localhost")},
	{OPT(sender, CONF_LIST, "sender",
	     "addresses in MAIL FROM: user@example.org, @example.org for the whole domain, "
	     "<> for the null sender",
	     sender_check, "@spam.example")},
	{OPT(recipient, CONF_LIST, "recipient",
	     "recipients, written the same way; postmaster and abuse stay reachable",
	     recipient_check, "former@example.org")},
	{OPT(reply, CONF_STRING, "reply",
	     "what they hear, a text or CODE X.Y.Z TEXT; empty: 550 5.7.1 and a general text",
	     reply_check, "550 5.7.1 Mail from you is not wanted here")},
	{0},
};

static const struct {
	enum deny_kind kind;
	size_t offset;
} lists[] = {
	{DENY_CLIENT, offsetof(struct deny_section, client)},
	{DENY_PTR, offsetof(struct deny_section, ptr)},
	{DENY_HELO, offsetof(struct deny_section, helo)},
	{DENY_SENDER, offsetof(struct deny_section, sender)},
	{DENY_RECIPIENT, offsetof(struct deny_section, recipient)},
};

static void checked(void *section, struct conf_reader *r)
{
	const struct deny_section *d = section;

	bool somebody = false;

	for (size_t i = 0; i < COUNT(lists); i++)
		somebody = somebody || conf_given(&d->head, deny_kind_word(lists[i].kind));
	if (!somebody)
		conf_fault(r, &d->head, NULL,
			   "nobody is denied: add client, ptr, helo, sender or recipient");
}

const struct conf_section deny_section = {
	.name = "deny",
	.options = options,
	.size = sizeof(struct deny_section),
	.titled = true,
	.check = checked,
	.help = "Strangers who are refused, before any question to DNS but the one for ptr; any "
		"one of the values is enough. `postern deny` adds more while the server runs.",
};

static const struct strs *list_of(const struct deny_section *d, size_t i)
{
	return (const struct strs *)((const char *)d + lists[i].offset);
}

struct deny_entry *deny_from_sections(const struct conf_list *sections, struct arena *a, size_t *n)
{
	struct deny_entry *v;
	size_t room = 1;

	*n = 0;
	for (size_t i = 0; i < sections->n; i++)
		for (size_t k = 0; k < COUNT(lists); k++)
			room += list_of(sections->v[i], k)->n;
	v = ARENA_ARRAY(a, struct deny_entry, room);
	for (size_t i = 0; v != NULL && i < sections->n; i++) {
		const struct deny_section *d = sections->v[i];

		for (size_t k = 0; k < COUNT(lists); k++)
			for (size_t j = 0; j < list_of(d, k)->n; j++)
				v[(*n)++] = (struct deny_entry){.kind = lists[k].kind,
								.value = list_of(d, k)->v[j],
								.name = d->head.title,
								.reply = d->reply};
	}
	return v;
}

/* ---- the file ---------------------------------------------------------------- */

static bool time_read(str word, int64_t *out)
{
	uint64_t n;

	*out = 0;
	if (str_is(word, "-"))
		return true;
	if (!str_to_u64(word, &n) || n > (uint64_t)1 << 52)
		return false;
	*out = (int64_t)n;
	return true;
}

static bool is_text(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

static bool line_read(str line, struct arena *a, struct deny_entry *e)
{
	str word, until, added, why;

	*e = (struct deny_entry){ .name = STR("run time") };
	if (!str_cut(&line, '\t', &word) || !deny_kind_read(word, &e->kind) ||
	    !str_cut(&line, '\t', &e->value) || !str_cut(&line, '\t', &until) ||
	    !time_read(until, &e->until) || !str_cut(&line, '\t', &added) ||
	    !time_read(added, &e->added))
		return false;
	e->reply = line.p != NULL ? line : STR_NONE;
	return deny_value_check(e->kind, e->value, a, &why) && is_text(e->reply) &&
	       (e->reply.n == 0 || deny_reply_check(e->reply, a, &why));
}

/* And one more, which who changes the file may fill. */
static size_t count_lines(str text)
{
	size_t n = 2;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

struct deny_entry *deny_file_read(str text, struct arena *a, size_t *n, size_t *bad)
{
	struct deny_entry *v = ARENA_ARRAY(a, struct deny_entry, count_lines(text));
	size_t number = 0;
	str line;

	*n = *bad = 0;
	while (v != NULL && str_cut(&text, '\n', &line)) {
		number++;
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (str_trim(line).n == 0 || line.p[0] == '#')
			continue;
		if (line_read(line, a, &v[*n]))
			(*n)++;
		else if (*bad == 0)
			*bad = number;
	}
	return v;
}

static void put_time(struct buf *out, int64_t t)
{
	if (t == 0)
		buf_addf(out, "\t-");
	else
		buf_addf(out, "\t%" PRId64, t);
}

void deny_file_write(const struct deny_entry *v, size_t n, struct buf *out)
{
	buf_addf(out, "# Who is refused, as `postern deny` wrote it: kind, value, end, beginning, "
		      "reply.\n");
	for (size_t i = 0; i < n; i++) {
		buf_addf(out, "%s\t%.*s", deny_kind_word(v[i].kind), STR_ARG(v[i].value));
		put_time(out, v[i].until);
		put_time(out, v[i].added);
		if (v[i].reply.n > 0)
			buf_addf(out, "\t%.*s", STR_ARG(v[i].reply));
		buf_add_char(out, '\n');
	}
}
