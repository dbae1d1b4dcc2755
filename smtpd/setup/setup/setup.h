/* SPDX-License-Identifier: ISC */
/*
 * setup: a new server on one host, from its name to its first mail.
 *
 *   verb_setup.c   the words, and the order of everything
 *   facts.c        what is here: addresses, names, a configuration, programs, systemd
 *   ask.c          questions, on a terminal only
 *   texts.c        the files that are written, as texts
 *   files.c        directories, files and the server's user: made, kept, or shown to differ
 *   certificate.c  a certificate for the server, and what gets the next ones
 *   challenge*.c   answers an authority on port 80 for uacme (RFC 8555 8.3)
 *   begin.c        keys, the first account, the service
 *   tell.c         the records to publish and the steps that are left
 *
 * Nothing that is there is changed without --force (--add adds a domain), and then the
 * old file stays beside the new one as FILE.old.  Every file is written under another
 * name, synced and renamed; it can be ended at any point and run again.  One thread.
 */
#ifndef SETUP_SETUP_H
#define SETUP_SETUP_H

#include <stdio.h>
#include <sys/types.h>

#include "smtpd/setup/config.h"

#define SETUP_VERB "setup"
#define SETUP_ETC  "/etc/postern"
#define SETUP_UNIT "postern.service"
#define SETUP_TIMER "postern-certificate.timer"

enum { SETUP_MAIL, SETUP_SUBMISSION, SETUP_SUBMISSIONS, SETUP_PORTS };

struct acme_tool {
	const char *name;
	bool        renews;            /* Debian's package has a timer of its own */
};
extern const struct acme_tool acme_tools[];          /* ends with .name == NULL */

struct setup_address { str text, ptr; bool ptr_known; };

struct setup {
	struct arena *a;

	/* the words */
	struct {
		const char *domain, *hostname, *etc, *state, *mail, *user, *account, *ports, *format, *acme, *webroot,
		           *certificate, *key, *resolver;
		uint64_t http_port;
		bool password_stdin, force, dry, add, wait, no_wait;
	} said;

	/* what is here, and what follows: facts.c, ask.c */
	bool        root, terminal;
	str         program;           /* this one, for scripts */
	str         domain, hostname, etc, state, mail, user, account;
	const char *file;              /* ETC/postern.conf */
	bool        own_ports;
	uint32_t    ports[SETUP_PORTS];
	struct setup_address *addresses;  /* public ones of the interfaces */
	size_t      naddresses;
	bool        behind_nat;
	bool        resolves;          /* the host name has an address in DNS */
	bool        systemd, has_unit;
	const struct acme_tool *acme;  /* --acme, or the first that is installed; NULL: none */
	struct config *there;          /* as it stands; NULL: no file */
	bool        second;            /* it does not have the domain yet */
	str         first;             /* its first domain, else the one that is set up */
	uid_t       uid;               /* of the server */
	gid_t       gid;

	/* what came of it */
	bool        differs;           /* something there is not as it would be written */
	bool        changed;           /* the configuration was written */
	bool        running;
	bool        certified;         /* ETC/tls/certificate.pem is an authority's */
	bool        own_certificate;   /* the configuration uses that file */
	bool        wants_start;       /* it is left to a person */
	str         password;          /* made here; to be shown once */
	struct config *config;         /* as it is now; NULL: --dry-run */
};

/* "  wrote     PATH   what it is"; with --dry-run: "  would …". */
void setup_tell(const struct setup *, const char *done, const char *would, str what, const char *about);
void setup_there(const struct setup *, str what, const char *about);
/* Prints the fault and gives false. */
bool setup_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- facts.c ---- */
bool setup_look(struct setup *, int *status);        /* false: *status */
/* Asks DNS for PTR records and the host's addresses. */
bool setup_ask_dns(struct setup *, int *status);
bool setup_resolves(struct setup *);                 /* asks again */
bool setup_has_program(const char *name);
/* Runs `sh -c`; its exit status, 127: it cannot be. */
int  setup_shell(const char *command, bool quiet);

/* ---- ask.c ---- */
bool setup_ask(struct setup *);                      /* false: end of input */

/* ---- texts.c ---- */
str  text_configuration(const struct setup *);
str  text_domain(const struct setup *);              /* the section alone */
str  text_aliases(const struct setup *);
str  text_deploy(const struct setup *);              /* ETC/tls/deploy */
str  text_certbot_hook(const struct setup *);
str  text_renew(const struct setup *);               /* ETC/tls/renew: uacme, lego */
str  text_uacme_hook(const struct setup *);          /* ETC/uacme/hook */
str  text_timer(const struct setup *);
str  text_timer_service(const struct setup *);
str  setup_aliases_path(const struct setup *);
str  setup_certificate_path(const struct setup *);
str  setup_drop_path(const struct setup *);          /* empty: the default place will do */
str  setup_in_etc(const struct setup *, const char *name);

/* ---- files.c ---- */
bool setup_user(struct setup *);
bool setup_directories(struct setup *);
/* As `owner` (root otherwise keeps it). */
bool setup_directory(struct setup *, str path, mode_t, bool for_server, const char *about);
enum put { PUT_FAILED, PUT_DONE, PUT_SAME, PUT_DIFFERS };
enum put setup_put(struct setup *, str path, mode_t, str text, const char *about);
/* In the place of what is there, which stays beside it as FILE.old. */
bool setup_replace(struct setup *, str path, mode_t, str text, const char *about);
bool setup_aliases(struct setup *);
bool setup_configuration(struct setup *);            /* writes it, or adds the domain; reads it again */
void print_difference(str there, str would);         /* difference.c */

/* ---- certificate.c ---- */
bool setup_certificate(struct setup *);              /* one to begin with */
bool setup_take_certificate(struct setup *);         /* --certificate, --key */
bool setup_hooks(struct setup *);
bool setup_names_our_certificate(const struct setup *, const struct config *);
/* What a person would type for the first certificate. */
str  setup_acme_command(const struct setup *);
bool setup_acme_run(struct setup *);

/* ---- challenge.c ---- */
int  setup_challenge(int argc, char **argv);
/* challenge_request.c */
bool challenge_token(str);
bool challenge_asked(str request, str token);        /* the request's head asks for this token */

/* ---- begin.c ---- */
bool setup_keys(struct setup *);
bool setup_account(struct setup *);
bool setup_start(struct setup *);
bool setup_runs(const struct setup *);               /* a server answers in its state directory */

/* ---- tell.c ---- */
bool setup_print_records(struct setup *);
void setup_print_steps(struct setup *);

#endif
