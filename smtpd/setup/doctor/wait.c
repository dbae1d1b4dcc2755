/* SPDX-License-Identifier: ISC */
/*
 * --wait: the records that the configuration calls for, asked again and again until
 * those that mail needs are there; each is told as it comes.  A round begins with a
 * resolver that remembers nothing, and asks the domain's own servers where it can.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/control.h"
#include "smtpd/base/json.h"
#include "smtpd/setup/doctor/checks.h"
#include "smtpd/setup/doctor/practice.h"
#include "smtpd/setup/doctor/records.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define FIRST_PAUSE_MS 2000
#define PAUSE_MOST_MS  60000

struct waiting {
	struct practice *practice;
	bool    json;
	bool   *there;                     /* parallel to practice->wanted */
	size_t  missing;                   /* of those that mail needs */
	size_t  rounds;
	bool    running;                   /* a server, which lets keys out */
	str     mute;                      /* a domain whose managed keys do not sign yet; empty: none */
};

/* ---- one look ---------------------------------------------------------------------------------------- */

/* A key is there when every server that answers shows it. */
static enum record_sight key_look(struct exam *e, const struct wanted *w, str *seen)
{
	const struct servers_seen *s = exam_servers(e);
	const struct shown *shown;

	if (s == NULL)
		return RECORD_WAITS;
	shown = servers_shown(s, w->name, DNS_TXT);
	if (shown == NULL || shown->look.sight == GATE_NOWHERE)
		return record_look(e, w, seen);
	*seen = shown->look.said;
	return shown->look.sight == GATE_SHOWN ? RECORD_THERE : shown->look.sight == GATE_OTHER ? RECORD_OTHER : RECORD_UNKNOWN;
}

static enum doctor_verdict weigh(const struct wanted *w, enum record_sight sight)
{
	if (sight == RECORD_THERE)
		return DOCTOR_OK;
	/* Another SPF or DMARC record is its owner's choice; doctor says whether it is a good one. */
	if (sight == RECORD_OTHER && !w->key && strcmp(w->type, "TXT") == 0)
		return DOCTOR_OK;
	return record_is_needed(w) ? DOCTOR_WARNING : DOCTOR_NOTE;
}

/* One finding for each record, in their order. */
static void look(struct exam *e)
{
	for (size_t i = 0; i < e->doctor->nwanted; i++) {
		const struct wanted *w = &e->doctor->wanted[i];
		enum record_sight sight;
		str seen = STR_NONE;

		if (!str_eq(w->domain, e->subject))
			continue;
		sight = w->key ? key_look(e, w, &seen) : record_look(e, w, &seen);
		if (sight != RECORD_WAITS)
			exam_found(e, weigh(w, sight), SAYS(e, "%.*s %s", STR_ARG(w->name), w->type), seen, STR_NONE);
	}
}

static const struct check checks[] = { { "awaited", CHECK_OWN, false, look, "the records that are waited for" }, { 0 } };

/* ---- telling ------------------------------------------------------------------------------------------- */

static void tell_one(const struct waiting *w, const struct finding *f)
{
	if (w->json)
		return;
	if (f->verdict == DOCTOR_OK)
		printf("ok       %.*s\n", STR_ARG(f->about));
	else if (w->rounds == 0)
		printf("waiting  %.*s%s%.*s%s\n", STR_ARG(f->about), f->seen.n > 0 ? ": " : "", STR_ARG(str_head(f->seen, 200)),
		       f->verdict == DOCTOR_NOTE ? "  (mail does not need it)" : "");
	fflush(stdout);
}

static int show(struct doctor *d, void *arg)
{
	struct waiting *w = arg;
	size_t at = 0;

	w->missing = 0;
	for (size_t i = 0; i < d->n; i++)
		for (size_t k = 0; k < d->v[i].n && at < d->nwanted; k++, at++) {
			const struct finding *f = &d->v[i].v[k];
			bool there = f->verdict == DOCTOR_OK;

			if (there != w->there[at] || w->rounds == 0)
				tell_one(w, f);
			w->there[at] = there;
			w->missing += f->verdict == DOCTOR_WARNING;
		}
	return EXIT_DONE;
}

static void tell_end(const struct waiting *w)
{
	const struct practice *p = w->practice;
	struct json *root = w->json ? json_new_object() : NULL, *list = root != NULL ? json_set_array(root, "records") : NULL;

	for (size_t i = 0; root != NULL && i < p->nwanted; i++) {
		struct json *one = json_add_object(list);

		json_set(one, "name", p->wanted[i].name);
		json_set_c(one, "type", p->wanted[i].type);
		json_set_bool(one, "there", w->there[i]);
		json_set_bool(one, "needed", record_is_needed(&p->wanted[i]));
	}
	if (root != NULL) {
		json_set_bool(root, "complete", w->missing == 0);
		json_set_bool(root, "signing", w->mute.n == 0);
		json_print(root, stdout);
	} else if (w->missing == 0) {
		if (w->mute.n > 0)
			printf("No server runs here: the keys of %.*s sign once one does (`systemctl start postern`).\n", STR_ARG(w->mute));
		puts("Every record that mail needs is there. `postern doctor` looks at everything else.");
	}
}

/* ---- again and again --------------------------------------------------------------------------------------- */

static void pause_for(uint64_t ms)
{
	struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

static int one_round(struct waiting *w)
{
	struct arena a;
	struct doctor d = { .arena = &a, .checks = checks };
	int status;

	arena_init(&a, ARENA_UNBOUNDED);
	status = practice_round(w->practice, &d, show, w);
	arena_fini(&a);
	w->rounds++;
	return status;
}

/* The first domain with managed keys of which none signs. */
static str find_mute(const struct practice *p, struct arena *a)
{
	for (size_t i = 0; i < p->domains.n; i++) {
		struct key_record *v = NULL;
		size_t n = 0, signs = 0;
		str why = STR_NONE;

		if (key_records(p->config, p->domains.v[i], a, &v, &n, &why) != OK)
			continue;
		for (size_t k = 0; k < n; k++)
			signs += v[k].signs;
		if (n > 0 && signs == 0)
			return p->domains.v[i];
	}
	return STR_NONE;
}

/* A running server looks at its managed keys now, instead of when it is due.  False:
 * none runs. */
static bool poke_keys(const struct practice *p)
{
	const char *const words[] = { "key", "step" };
	char *path = str_cstr(p->arena, server_control_path(p->config, p->arena));
	FILE *nowhere = fopen("/dev/null", "w");
	bool runs = path != NULL && nowhere != NULL && control_ask(path, words, COUNT(words), nowhere) >= 0;

	if (nowhere != NULL)
		fclose(nowhere);
	return runs;
}

/* The records are there; then the server lets the keys out, at two looks. */
static void look_at_signing(struct waiting *w)
{
	struct arena a;
	bool was_mute = w->mute.n > 0;

	w->running = poke_keys(w->practice);
	arena_init(&a, ARENA_UNBOUNDED);
	w->mute = find_mute(w->practice, &a);
	arena_fini(&a);
	if (w->missing > 0 || w->json)
		return;
	if (w->mute.n > 0 && !was_mute && w->running)
		printf("waiting  %.*s: the server looks at its keys a second time, then they sign\n", STR_ARG(w->mute));
	else if (was_mute && w->mute.n == 0)
		printf("ok       the keys sign\n");
	fflush(stdout);
}

int practice_wait(struct practice *p, bool json, uint64_t for_ms)
{
	struct waiting w = { .practice = p, .json = json, .there = ARENA_ARRAY(p->arena, bool, p->nwanted + 1) };
	uint64_t pause = FIRST_PAUSE_MS, until = for_ms > 0 ? clock_ms() + for_ms : UINT64_MAX;
	int status = w.there != NULL ? EXIT_DONE : EXIT_LATER;

	while (status == EXIT_DONE) {
		status = one_round(&w);
		if (status == EXIT_DONE)
			look_at_signing(&w);
		if (status != EXIT_DONE || (w.missing == 0 && (w.mute.n == 0 || !w.running)) || clock_ms() + pause > until)
			break;
		pause_for(pause);
		pause = pause < PAUSE_MOST_MS ? pause * 3 / 2 : PAUSE_MOST_MS;
	}
	if (status != EXIT_DONE)
		return status;
	tell_end(&w);
	if (w.missing == 0 && w.mute.n > 0 && w.running)
		return verb_fail(EXIT_LATER, "doctor", "the records are there, and the keys of %.*s do not sign yet: `postern key list` says why",
		                 STR_ARG(w.mute));
	return w.missing == 0 ? EXIT_DONE
	                      : verb_fail(EXIT_LATER, "doctor", "%zu record%s mail needs %s still missing: publish what `postern dns` prints",
	                                  w.missing, w.missing == 1 ? " that" : "s that", w.missing == 1 ? "is" : "are");
}
