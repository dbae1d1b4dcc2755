/* SPDX-License-Identifier: ISC */
/*
 * config: the one configuration file, read by the tables of all rooms.
 *
 * Nobody below sees a struct config: each room is given its own part of it.
 * Main thread (and the keeper) only; immutable after config_read.
 */
#ifndef SETUP_CONFIG_H
#define SETUP_CONFIG_H

#include <stdio.h>
#include <sys/types.h>

#include "auth/auth.h"
#include "modules/module.h"
#include "queue/deliver/deliver.h"
#include "smtpd/base/conf.h"
#include "smtpd/session/session.h"
#include "smtpd/setup/doctor/options.h"

#define CONFIG_FILE "/etc/postern/postern.conf"

struct tls_section {
	struct conf_head head;
	struct strs certificate, key;
	int         minimum;            /* 0: TLS 1.2, 1: 1.3 */
	str         client_ca;
};

struct resolver_section {
	struct conf_head head;
	struct strs forward;
	str         trust_anchor;
	uint64_t    timeout_ms;
	str         records;            /* file of local answers, or empty */
	uint64_t    authority_port;     /* where authoritative servers are asked directly */
};

struct log_section {
	struct conf_head head;
	int to, level;
	str file;
};

struct queue_section {
	struct conf_head head;
	uint64_t map_bytes, full_percent, free_disk_percent, keep_finished_ms;
};

enum web_sts { WEB_STS_OFF, WEB_STS_NONE, WEB_STS_TESTING, WEB_STS_ENFORCE };

struct web_section {
	struct conf_head head;
	struct strs address;            /* empty: nothing is served */
	str         imap;               /* HOST or HOST:PORT; empty: ours; "none" */
	int         sts;                /* enum web_sts */
	uint64_t    sts_max_age_ms;
	struct strs sts_mx;             /* empty: hostname */
};

struct dkim_section {                   /* inside domain */
	struct conf_head head;          /* title: the selector */
	str         key;
	int         algorithm;          /* 0: by the key */
	struct strs headers;
	str         expire;             /* signing.h */
	bool        gate;               /* closed when DNS shows another key, or none */
	uint64_t    look_ms;
};

struct signing_section {                /* inside domain: signing.h */
	struct conf_head head;
	struct strs from, to, selectors, headers;
	str         expire;
	int         canon, identity;
};

struct dmarc_section {                  /* inside domain: what `postern dns` prints */
	struct conf_head head;
	int         policy;             /* enum dmarc_policy */
	int         subdomains, missing; /* 0: the same; else enum dmarc_policy + 1 */
	struct strs reports;            /* addresses */
};

struct update_section {                 /* inside keys: the domain's DNS takes updates of ours */
	struct conf_head head;
	str server, key_name, key_algorithm, key_file;
};

struct keys_section {                   /* inside domain: its being there turns rotation on (keys/life.h) */
	struct conf_head head;
	uint64_t    rotate_ms, prepare, look_ms, first_look_ms;
	struct strs algorithms;
	bool        gate, revoke, publish;
	int         unsigned_mail;      /* enum unsigned_mail */
	struct update_section update;
};
enum unsigned_mail { UNSIGNED_SEND, UNSIGNED_HOLD };

struct deliver_section {
	struct conf_head head;
	str      maildir, lmtp, user, group;
	str      mode;
	bool     junk_detail;
};

struct account_section {                /* inside domain: what one account has of its own */
	struct conf_head head;          /* title: the local part, or the whole address */
	str      address;
	struct deliver_section deliver;
	struct allowance_conf allowance;
	struct strs send_as;
	struct grace_conf grace;
	struct place place;             /* made of deliver, and of the domain's where that is silent */
};

struct domain_section {
	struct conf_head head;          /* title: the domain as written */
	str      name;                  /* A-labels */
	struct conf_list dkim, signings, accounts;
	struct keys_section keys;
	struct dmarc_section dmarc;
	str      aliases, catch_all, copy, route, reflector;
	int      require;               /* enum auth_require */
	struct deliver_section deliver;
	struct place place;             /* made of deliver */
};

struct verify_section {                 /* the modules' own sections lie behind it */
	struct conf_head head;
	str      authserv_id;
	bool     trial;
};

struct config {
	struct conf_head head;
	str      hostname, state, user, plus;
	uint64_t loops;
	bool     environment;
	struct conf_list        listeners, domains, trusts, denies, devices;
	struct tls_section      tls;
	struct auth_conf        auth;
	struct limits_conf      limits;
	struct relay_conf       relay;
	struct allowance_conf   allowance;
	struct forward_conf     forward;
	struct submission_conf  submission;
	struct sendmail_conf    sendmail;
	struct resolver_section resolver;
	struct log_section      log;
	struct queue_section    queue;
	struct web_section      web;
	struct doctor_options   doctor;
	struct verify_section  *verify;
	const void            **module_confs;   /* parallel to the built-in modules */

	/* derived */
	const char *file;
	uid_t       uid;
	gid_t       gid;
	bool        self_signed;        /* tls {} names no certificate: ours is used */
	struct account_rights *rights;  /* of the accounts that have a section */
	size_t      nrights;
	struct strs reflectors;         /* addresses, of the domains that have one */
	struct strs secret_files;       /* every file that the server opens: the keeper's list */
};

/* Reads and checks; everything in the arena.  ERR_BAD: `faults` says why, all
 * at once.  ERR_ABSENT etc.: the file itself could not be read, `why`. */
enum err config_read(const char *file, conf_open *, struct arena *, struct config **,
                     struct conf_faults *, str *why);
/* Looks at the world, too: files that must be there and readable, users. */
void     config_check_files(const struct config *, conf_open *, struct arena *, struct conf_faults *);
void     config_print_faults(const struct conf_faults *, FILE *);
/* The sample: etc/postern.conf is this text. */
void     config_sample(struct buf *out);

/* The trust anchor's file when it can be read; else empty: DNSSEC is off, and
 * with it DANE. */
str         config_trust_anchor(const struct config *);
/* The settings of a built-in module; NULL when it has none. */
const void *config_module(const struct config *, const struct module *);
bool     config_domain_is_local(void *config, str domain);

#endif
