/* SPDX-License-Identifier: ISC */
/*
 * doctor: everything about a mail server and its domains that can be looked at
 * from one host, each thing with a name, a verdict, what was seen, and the one
 * thing to do.
 *
 * A check is a pure function: facts in, findings out.  What it knows of this host
 * was collected before (struct host_facts, host.h).  Everything else it asks the
 * table of facts for (facts.h): an answer of DNS, what the authoritative servers
 * show, a talk with a mail server, …  A fact that is not there yet is asked for,
 * and the check is looked at again when it has come.  So all checks run side by
 * side, nothing is asked twice, and a unit test hands in made-up facts.
 *
 * One loop's thread: a verb's, or main's in the server.  What blocks is done on a
 * desk.  Nobody is asked but the resolver that the configuration names, the
 * servers of the domains in question, this host and its smarthost; with `outside`
 * others, too (see outside.c).
 */
#ifndef SETUP_DOCTOR_H
#define SETUP_DOCTOR_H

#include <stdio.h>

#include "smtpd/base/desk.h"
#include "smtpd/setup/config.h"

enum doctor_verdict { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_FAULT };
const char *doctor_word(enum doctor_verdict);          /* "ok", "note", "warning", "fault" */

struct finding {
	enum doctor_verdict verdict;
	bool unknown;        /* it could not be looked at now: a change to or from it is none */
	str  about;          /* which address, name or file of the subject; may be empty */
	str  seen;           /* a sentence without its dot */
	str  todo;           /* the one thing to do; empty: nothing */
};

struct doctor;
struct exam;

/* Whom a check is for. */
enum check_of {
	CHECK_HOST,          /* this host, by its configuration */
	CHECK_OWN,           /* each domain of the configuration */
	CHECK_ANY,           /* those, and a domain that is somebody else's */
};

struct check {
	const char   *name;          /* for --only and scripts */
	enum check_of of;
	bool          wavers;        /* what it sees is of the moment (days left, room): only its verdict is remembered */
	void        (*look)(struct exam *);
	const char   *about;         /* what it looks at, in a few words */
};
extern const struct check doctor_checks[];       /* table.c; ends with .name == NULL */
const struct check *doctor_check(str name);      /* NULL: none */

/* One check of one subject. */
struct exam {
	const struct check *check;
	struct doctor      *doctor;
	str             subject;     /* the domain, A-labels; of CHECK_HOST the host name */
	bool            own;         /* the subject is the configuration's */
	bool            done;        /* its findings are final */
	size_t          waits;       /* facts that it wanted and that are not there yet */
	struct finding *v;
	size_t          n, room;
};

/* A finding; the strings must live as long as the doctor's arena. */
void exam_found(struct exam *, enum doctor_verdict, str about, str seen, str todo);
void exam_unknown(struct exam *, str about, str seen, str todo);   /* a note that nothing could be seen now */
struct arena *exam_arena(const struct exam *);
#define SAYS(exam, ...) arena_printf(exam_arena(exam), __VA_ARGS__)

/* A record that the configuration calls for (wanted.c). */
struct wanted {
	str         domain, name;
	const char *type;
	str         value;           /* as a zone file has it; TXT: the text */
	bool        key, signs;      /* a DKIM key's; one that signs now */
};

struct host_facts;
struct fact;
struct tls_client;
struct sts;
struct direct_conf;

struct doctor {
	/* the question; all of it lives until doctor_end */
	struct arena  *arena;
	struct loop   *loop;                     /* with its dns */
	struct desk   *desk;                     /* NULL: what blocks is not looked at */
	struct tls_client *tls;
	struct sts    *sts;
	const struct config     *config;         /* NULL: there is none; strangers' domains only */
	const struct host_facts *host;           /* NULL: CHECK_HOST is left out */
	const struct direct_conf *direct;
	struct strs    domains;
	const struct wanted *wanted;             /* of the configuration's domains */
	size_t         nwanted;
	const struct check *checks;              /* NULL: doctor_checks */
	struct strs    only;                     /* names of checks; empty: all */
	bool           validates;                /* there is a trust anchor */
	bool           outside;
	uint64_t       timeout_ms;               /* for one talk, one look at servers: 20,000 */
	void         (*done)(struct doctor *);   /* once, later */
	void         (*progressed)(struct doctor *);   /* an exam is done; may be NULL */
	void          *user;
	/* the answer, in the order of the table, domain by domain */
	struct exam   *v;
	size_t         n, finished;
	/* doctor.c's and facts.c's own */
	struct fact   *facts, **facts_tail;
	struct loop_call again;
	const struct fact_source *source;        /* NULL: the real one (look.c) */
	bool           stopped;
};

void doctor_begin(struct doctor *);
/* Nothing fires any more.  What is on the desk still ends and comes home to the loop. */
void doctor_end(struct doctor *);

enum doctor_verdict exam_worst(const struct exam *);
void doctor_count(const struct doctor *, size_t counts[static DOCTOR_FAULT + 1]);

/* ---- show.c --------------------------------------------------------------------------- */

/* Grouped and aligned; `width` 0: lines are not broken.  `all`: what is ok, too. */
void doctor_print(const struct doctor *, FILE *, size_t width);
/* One document: {"verdict", "faults", …, "checks": [{"check", "subject", "about",
 * "verdict", "seen", "todo"}]}. */
void doctor_print_json(const struct doctor *, FILE *);

#endif
