/* SPDX-License-Identifier: ISC */
/*
 * drop: mail from users of this machine (`postern sendmail`), with the server up
 * or down.
 *
 * One directory (`sendmail { directory }`, /var/spool/postern), the server's:
 *
 *   BASE          0711   nobody else can make or rename anything in it
 *   BASE/about    0644   "domain example.org": what names without a domain belong to
 *   BASE/socket   0666   while the server runs: SMTP, the peer known by SO_PEERCRED
 *   BASE/drop     3733   while it does not: one file a message
 *
 * What unprivileged local users can and cannot do:
 *
 *   - They can make files in drop (w, x) but not list it (no r), and cannot
 *     rename or remove those of others (sticky).  A name has 64 random bits.
 *   - drop is set-group-id: a file made there gets the server's group, whoever
 *     makes it, and its maker gives that group the right to read (0640).  So the
 *     server reads it without any privilege, other users do not, and no program
 *     is set-id and nothing is opened by root.
 *   - A message is a regular file with one link, of mode 0640 and the server's
 *     group, opened without following links and without waiting; all of it is
 *     asked of the opened descriptor.  Links, pipes, directories, and files that
 *     were made elsewhere and renamed into drop (they have another group) are
 *     removed, never read.
 *   - Whose message it is says the descriptor's owner, and nothing in the file.
 *     What he may call himself is asked by the session that takes it in, as with
 *     a login: session/drop.c.
 *   - The content is read once, into memory, size first, and parsed there; who
 *     alters the file meanwhile alters his own message.
 *   - A message is written as tmp.NAME, synced and renamed to new.NAME: a writer
 *     that was killed leaves a tmp file, which is swept after an hour.
 *   - Nothing of it lies in the state directory, and what comes in from there
 *     meets the same limits as a login's mail.  Of one user as many messages and
 *     bytes may wait as the options say; what is beyond is removed and he is
 *     told.  While the server is down only the file system's own quotas bound
 *     what a user can put there, as in /var/tmp.
 *
 * A file goes after the 250 for its message: a power failure between the two may
 * cost a second copy, never a loss.
 */
#ifndef SETUP_DROP_H
#define SETUP_DROP_H

#include "smtpd/base/arena.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

#define DROP_DIRECTORY "/var/spool/postern"
#define DROP_HEAD_MOST ((size_t)1 << 20)       /* of a file: all before the message */
#define DROP_RCPTS_MOST 20000u

/* One message on its way in.  Addresses without a domain are names of this machine. */
struct drop {
	str         sender;            /* "": the null sender */
	struct strs rcpts;
	str         notify, ret, envid;  /* RFC 3461, as SMTP writes them; or empty */
	str         message;           /* CRLF lines */
};

/* ---- drop_file.c: the file ------------------------------------------------- */

/* Pure; hostile octets.  What it finds points into `file`.  false: `why`. */
bool drop_parse(struct arena *, str file, struct drop *out, const char **why);
void drop_print(struct buf *out, const struct drop *);     /* all before the message */
/* Leaves it in BASE/drop, synced.  false: errno. */
bool drop_leave(const char *base, const struct drop *);

/* ---- drop_letter.c: what a program said becomes a message ------------------- */

struct drop_wish {
	str         user;              /* login name */
	str         domain;            /* of names without one */
	bool        root;              /* may show other names without a domain in From */
	bool        from_given;
	str         from;              /* -f; "" or "<>": the null sender */
	str         full_name;         /* -F */
	bool        read_recipients;   /* -t */
	struct strs rcpts;             /* as on the command line */
	str         text;              /* LF or CRLF lines; no end mark */
};
/* Pure.  Recipients are read, Bcc goes, From comes, names in address fields get
 * their domain.  false: `why`, a sentence. */
bool drop_compose(struct arena *, struct buf *storage, const struct drop_wish *, struct drop *out, str *why);
/* The text up to a line that is a lone dot. */
str  drop_until_dot(str text, bool *dot);
/* A list of recipients as mail programs write it, one or several.  false: `why`. */
bool drop_add_rcpts(struct arena *, str list, str domain, struct strs *, size_t *room, str *why);

/* ---- drop_talk.c: handing it to a server over SMTP -------------------------- */

enum drop_says { DROP_TAKEN, DROP_REFUSED, DROP_LATER };

struct drop_refusal { str rcpt; str said; };   /* rcpt empty: the whole message */
struct drop_answer {
	enum drop_says       says;     /* DROP_TAKEN: all but those in v */
	struct drop_refusal *v;
	size_t               n;
	str                  said;     /* of the last answer, or why there was none */
};
/* Blocking; fd stays the caller's.  Each answer may take patience_s. */
void drop_talk(int fd, unsigned patience_s, struct arena *, const struct drop *, struct drop_answer *);
/* A connection to BASE/socket; -1 with errno. */
int  drop_dial(const char *base);

/* ---- verb_sendmail.c, verb_sendmail_smtp.c ------------------------------------ */

struct submitter {
	struct arena *arena;
	const char   *base;
	str           user, domain;
	bool          root;
};
/* To the server, or, when there is none, into the directory.  An exit status;
 * 1: `said` has lines. */
int submit_drop(struct submitter *, const struct drop *, struct buf *said);
/* -bs: SMTP on standard input and output. */
int sendmail_smtp(struct submitter *);

/* ---- drop_watch.c: the server's side ------------------------------------------ */

struct drops;
struct server;
struct config;
/* Main thread, when the loops run: makes the directories, starts two threads (one
 * that lets users in, one that takes up what lies in drop).  NULL: it is off. */
struct drops *drops_start(struct server *, const struct config *);
/* Another generation: domain and limits. */
void drops_use(struct drops *, const struct config *);
void drops_stop(struct drops *);       /* nobody comes in any more */
void drops_end(struct drops *);        /* waits for both, frees; the loops still run */

/* ---- drop_scan.c: what lies in drop ------------------------------------------- */

struct drop_limits { uint64_t messages, bytes, message; };
enum drop_took { DROP_GONE, DROP_KEPT };
/* One message, whole; says what becomes of its file. */
typedef enum drop_took drop_taker(void *arg, unsigned uid, str file);
/* Of this user so many were removed. */
typedef void drop_thrown(void *arg, unsigned uid, size_t n);

/* Looks through the directory once: takes what is complete, oldest first; removes
 * what is over a limit, strange or left over.  `stop` ends it early. */
void drop_scan(int dir, const struct drop_limits *, bool (*stop)(void *arg), drop_taker *, drop_thrown *, void *arg);

#endif
