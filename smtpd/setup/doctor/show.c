/* SPDX-License-Identifier: ISC */
/*
 * The findings as a person reads them, subject by subject, and as one JSON
 * document.
 */
#include <string.h>

#include "smtpd/base/json.h"
#include "smtpd/setup/doctor/host.h"
#include "smtpd/setup/doctor/doctor.h"

#define NAME_WIDTH 14          /* "dmarc-reports" and a blank */
#define INDENT     (2 + 8 + 1 + NAME_WIDTH)

/* ---- text ------------------------------------------------------------------------------------------- */

/* Breaks at blanks so that no line is longer than `width`; the first begins at column `at`. */
static void print_wrapped(FILE *out, str text, size_t at, size_t width)
{
	size_t column = at;
	str word;

	while (str_cut(&text, ' ', &word)) {
		if (column > at && width > at && column + 1 + word.n > width) {
			fprintf(out, "\n%*s", (int)at, "");
			column = at;
		}
		column += (size_t)fprintf(out, "%s%.*s", column > at ? " " : "", STR_ARG(word));
	}
	fputc('\n', out);
}

static void print_finding(const struct doctor *d, const struct exam *e, const struct finding *f, FILE *out, size_t width)
{
	str seen = f->about.n > 0 ? arena_printf(d->arena, "%.*s: %.*s", STR_ARG(f->about), STR_ARG(f->seen)) : f->seen;

	fprintf(out, "  %-8s %-*s", doctor_word(f->verdict), NAME_WIDTH, e->check->name);
	print_wrapped(out, seen, INDENT, width);
	if (f->todo.n == 0)
		return;
	fprintf(out, "%*s", INDENT, "");
	print_wrapped(out, arena_printf(d->arena, "-> %.*s", STR_ARG(f->todo)), INDENT, width);
}

static void print_sum(const struct doctor *d, FILE *out)
{
	static const char *const many[] = { "ok", "notes", "warnings", "faults" };
	size_t counts[DOCTOR_FAULT + 1];

	doctor_count(d, counts);
	fprintf(out, "\n");
	for (int v = DOCTOR_FAULT; v >= DOCTOR_OK; v--)
		fprintf(out, "%zu %s%s", counts[v], counts[v] == 1 ? doctor_word((enum doctor_verdict)v) : many[v], v > DOCTOR_OK ? ", " : "\n");
}

void doctor_print(const struct doctor *d, FILE *out, size_t width)
{
	const struct exam *last = NULL;

	for (size_t i = 0; i < d->n; i++) {
		const struct exam *e = &d->v[i];
		bool host = e->check->of == CHECK_HOST;

		if (e->n > 0 && (last == NULL || (last->check->of == CHECK_HOST) != host || !str_eq(last->subject, e->subject))) {
			fprintf(out, "%s%.*s%s\n", last != NULL ? "\n" : "", STR_ARG(e->subject), host ? ", this host" : "");
			last = e;
		}
		for (size_t k = 0; k < e->n; k++)
			print_finding(d, e, &e->v[k], out, width);
	}
	print_sum(d, out);
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

void doctor_print_json(const struct doctor *d, FILE *out)
{
	struct json *root = json_new_object(), *list;
	enum doctor_verdict worst = DOCTOR_OK;
	size_t counts[DOCTOR_FAULT + 1];

	doctor_count(d, counts);
	for (size_t i = 0; i < d->n; i++)
		worst = exam_worst(&d->v[i]) > worst ? exam_worst(&d->v[i]) : worst;
	json_set(root, "host", d->host != NULL ? d->host->hostname : STR_NONE);
	json_set_c(root, "verdict", doctor_word(worst));
	json_set_num(root, "faults", (int64_t)counts[DOCTOR_FAULT]);
	json_set_num(root, "warnings", (int64_t)counts[DOCTOR_WARNING]);
	json_set_num(root, "notes", (int64_t)counts[DOCTOR_NOTE]);
	json_set_num(root, "ok", (int64_t)counts[DOCTOR_OK]);
	list = json_set_array(root, "checks");
	for (size_t i = 0; i < d->n; i++)
		for (size_t k = 0; k < d->v[i].n; k++) {
			const struct finding *f = &d->v[i].v[k];
			struct json *one = json_add_object(list);

			json_set_c(one, "check", d->v[i].check->name);
			json_set(one, "subject", d->v[i].subject);
			json_set(one, "about", f->about.n > 0 ? f->about : STR_NONE);
			json_set_c(one, "verdict", doctor_word(f->verdict));
			json_set_bool(one, "known", !f->unknown);
			json_set(one, "seen", f->seen);
			json_set(one, "todo", f->todo.n > 0 ? f->todo : STR_NONE);
		}
	json_print(root, out);
}
