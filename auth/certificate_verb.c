/* SPDX-License-Identifier: ISC */
/*
 * postern account certificate issue|list|revoke: the office's own authority.
 *
 *   STATE/ca/ca.pem       the authority and its list of revoked certificates: what
 *                         tls { client-ca } names, read again when it changes
 *   STATE/ca/ca.key       its key
 *   STATE/ca/certificates SERIAL ADDRESS ISSUED EXPIRES [REVOKED] a line
 *
 * The first certificate makes the authority.  All changes are made under the lock
 * of `certificates`.  A client's key is in its .p12 file alone.  No threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/verb_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"
#include "smtpd/base/tls_ca.h"

#define AUTHORITY_DAYS 3650
#define CLIENT_DAYS    730

/* ---- the list ------------------------------------------------------------------------ */

struct issued {
	str     serial, address;       /* address as accounts are compared */
	int64_t when, expires, revoked;    /* revoked 0: it counts */
};

static bool take_issued(struct work *w, str line, struct issued *out)
{
	str word, rest = line;

	memset(out, 0, sizeof(*out));
	if (!str_cut(&rest, ' ', &out->serial) || !str_cut(&rest, ' ', &word) ||
	    !accounts_key(&w->arena, fields_unescape(&w->arena, word), &out->address) ||
	    !str_cut(&rest, ' ', &word) || !fields_time(word, false, &out->when) ||
	    !str_cut(&rest, ' ', &word) || !fields_time(word, false, &out->expires))
		return false;
	return !str_cut(&rest, ' ', &word) || fields_time(word, false, &out->revoked);
}

static void put_issued(struct work *w, const struct issued *i, struct buf *out)
{
	char t[FIELDS_TIME];
	str address = fields_escape(&w->arena, i->address);

	buf_addf(out, "%.*s %.*s", STR_ARG(i->serial), STR_ARG(address));
	buf_addf(out, " %.*s", STR_ARG(fields_time_text(i->when, t)));
	buf_addf(out, " %.*s", STR_ARG(fields_time_text(i->expires, t)));
	if (i->revoked > 0)
		buf_addf(out, " %.*s", STR_ARG(fields_time_text(i->revoked, t)));
	buf_add_char(out, '\n');
}

/* All of them; *n < 0: a line is damaged, which has been said. */
static struct issued *take_list(struct work *w, const char *file, str text, long *n)
{
	struct issued *v;
	size_t lines = 1;
	str line;

	*n = 0;
	for (size_t i = 0; i < text.n; i++)
		lines += text.p[i] == '\n';
	v = ARENA_ARRAY(&w->arena, struct issued, lines);
	for (int number = 1; v != NULL && str_cut(&text, '\n', &line); number++) {
		if (str_trim(line).n == 0 || line.p[0] == '#')
			continue;
		if (!take_issued(w, line, &v[*n])) {
			fail_str(REFUSED, w,
				 arena_printf(&w->arena,
					      "%s:%d: this is no line such as SERIAL ADDRESS "
					      "ISSUED EXPIRES: mend it, or put a # in front",
					      file, number));
			*n = -1;
			return NULL;
		}
		++*n;
	}
	return v;
}

static char *in_folder(struct work *w, const char *name)
{
	return str_cstr(&w->arena, arena_printf(&w->arena, "%s/%s", w->tools->ca, name));
}

/* ---- files ------------------------------------------------------------------------------ */

/* New in the old one's place, for the owner of the folder alone. */
static int write_whole(struct work *w, const char *path, str bytes)
{
	struct account_file f;
	str why;
	enum err e = account_file_open(&f, path, false, &w->arena, &why);

	if (e == OK)
		e = account_file_write(&f, bytes, &w->arena, &why);
	account_file_close(&f);
	return e == OK ? DONE : fail_str(status_of(e), w, why);
}

static int read_whole(struct work *w, const char *path, str *text)
{
	struct account_file f;
	str why;
	enum err e = account_file_open(&f, path, false, &w->arena, &why);

	account_file_close(&f);
	*text = f.text;
	return e == OK ? DONE : fail_str(status_of(e), w, why);
}

/* It belongs to whom the state belongs to. */
static int make_folder(struct work *w)
{
	const char *slash = strrchr(w->tools->ca, '/');
	char *above =
		str_cstr(&w->arena, str_head(str_of(w->tools->ca), (size_t)(slash - w->tools->ca)));
	struct stat st;

	if (mkdir(w->tools->ca, 0700) != 0) {
		if (errno == EEXIST)
			return DONE;
		return fail_str(REFUSED, w,
				arena_printf(&w->arena,
					     "%s: %s: run this as root or as the server's user",
					     w->tools->ca, strerror(errno)));
	}
	/* The folder above may belong to somebody who would put a link in its place. */
	if (geteuid() == 0 && above != NULL && stat(above, &st) == 0 &&
	    lchown(w->tools->ca, st.st_uid, st.st_gid) != 0)
		return fail_str(REFUSED, w,
				arena_printf(&w->arena, "%s: %s: give it to the server's user",
					     w->tools->ca, strerror(errno)));
	return DONE;
}

/* ---- the authority ------------------------------------------------------------------------- */

struct authority { str cert, key; };   /* PEM; cert with the list of revoked ones behind */

static int make_authority(struct work *w, struct authority *a)
{
	char *cert = NULL, *key = NULL;
	char *name = str_cstr(&w->arena,
			      arena_printf(&w->arena, "%s client certificates", w->tools->issuer));
	enum err e = name != NULL ? tls_ca_make(name, AUTHORITY_DAYS, &cert, &key) : ERR_MEMORY;
	int status;

	if (e != OK)
		return fail(LATER, w, "out of memory: try again");
	a->cert = str_keep(&w->arena, str_of(cert));
	a->key = str_keep(&w->arena, str_of(key));
	crypt_wipe(key, strlen(key));
	free(cert);
	free(key);
	status = write_whole(w, in_folder(w, "ca.key"), a->key);
	return status == DONE ? write_whole(w, in_folder(w, "ca.pem"), a->cert) : status;
}

/* As it lies, or new when there is none and one is wanted. */
static int take_authority(struct work *w, bool wanted, struct authority *a)
{
	int status = read_whole(w, in_folder(w, "ca.key"), &a->key);

	if (status == DONE)
		status = read_whole(w, in_folder(w, "ca.pem"), &a->cert);
	if (status != DONE)
		return status;
	if (a->key.n > 0 && a->cert.n > 0)
		return DONE;
	if (a->key.n > 0 || a->cert.n > 0)
		return fail_str(
			REFUSED, w,
			arena_printf(&w->arena,
				     "%s holds only one of ca.pem and ca.key: put the other "
				     "back, or move both away to begin anew",
				     w->tools->ca));
	return wanted ? make_authority(w, a)
		      : fail(REFUSED, w, "no certificate has been issued yet");
}

static str certificate_alone(str pem)
{
	static const char end[] = "-----END CERTIFICATE-----\n";
	const char *at = memmem(pem.p, pem.n, end, sizeof(end) - 1);

	return at != NULL ? str_head(pem, (size_t)(at - pem.p) + sizeof(end) - 1) : pem;
}

/* ca.pem anew: the authority, and all that is revoked and has not expired. */
static int write_revoked(struct work *w, const struct authority *a, const struct issued *v, long n)
{
	struct tls_revoked *revoked = ARENA_ARRAY(&w->arena, struct tls_revoked, (size_t)n + 1);
	str cert = certificate_alone(a->cert);
	size_t many = 0;
	char *list;
	enum err e;
	int status;

	for (long i = 0; revoked != NULL && i < n; i++)
		if (v[i].revoked > 0)
			revoked[many++] = (struct tls_revoked){str_cstr(&w->arena, v[i].serial),
							       v[i].revoked};
	e = revoked != NULL ? tls_ca_list(cert, a->key, revoked, many, AUTHORITY_DAYS, &list)
			    : ERR_MEMORY;
	if (e != OK)
		return fail_str(e == ERR_BAD ? REFUSED : LATER, w,
				arena_printf(&w->arena,
					     "%s: %s: put ca.pem and ca.key back as they were",
					     w->tools->ca, err_text(e)));
	status = write_whole(w, in_folder(w, "ca.pem"),
			     arena_printf(&w->arena, "%.*s%s", STR_ARG(cert), list));
	free(list);
	return status;
}

/* ---- issue ---------------------------------------------------------------------------------- */

/* Not over anything that is there: the key inside is the only one. */
static int write_p12(struct work *w, const struct tls_issue *i, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool good = fd >= 0 && write(fd, i->p12, i->p12_n) == (ssize_t)i->p12_n && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	if (good)
		return DONE;
	return fail_str(REFUSED, w,
			arena_printf(&w->arena, "%s: %s: name another file with --out", path,
				     strerror(errno)));
}

struct issuing { struct tls_issue issue; struct authority authority; const char *out; };

static bool add_issued(struct work *w, str text, void *arg, struct buf *out)
{
	struct issuing *g = arg;
	struct tls_issue *i = &g->issue;
	enum err e;

	if (take_authority(w, true, &g->authority) != DONE)
		return false;
	i->ca_cert = g->authority.cert;
	i->ca_key = g->authority.key;
	e = tls_ca_issue(i);
	if (e != OK) {
		fail_str(REFUSED, w,
			 arena_printf(&w->arena, "%s: %s: put ca.pem and ca.key back as they were",
				      w->tools->ca, err_text(e)));
		return false;
	}
	if (write_p12(w, i, g->out) != DONE)
		return false;
	buf_add(out, text);
	if (text.n > 0 && text.p[text.n - 1] != '\n')
		buf_add_char(out, '\n');
	put_issued(w, &(struct issued){ str_of(i->serial), w->key, i->issued, i->expires, 0 }, out);
	return true;
}

/* Like file_change, for a file that makes no accounts. */
static int list_change(struct work *w, text_change *change, void *arg)
{
	struct account_file f;
	struct buf text;
	str why = STR("out of memory: try again");
	enum err e = account_file_open(&f, in_folder(w, "certificates"), true, &w->arena, &why);
	int status = e == OK ? DONE : fail_str(status_of(e), w, why);

	buf_init(&text, BUF_UNBOUNDED);
	if (status == DONE && !change(w, f.text, arg, &text))
		status = REFUSED;
	else if (status == DONE) {
		e = text.failed ? ERR_MEMORY
				: account_file_write(&f, buf_str(&text), &w->arena, &why);
		status = e == OK ? DONE : fail_str(status_of(e), w, why);
	}
	account_file_close(&f);
	buf_wipe(&text);
	w->changed |= status == DONE;
	return status;
}

static void hint(const struct work *w)
{
	if (w->tools->client_ca[0] == '\0')
		fprintf(stderr,
			"The server does not ask for certificates yet: add client-ca = "
			"\"%s/ca.pem\" to tls {} and "
			"reload.\n",
			w->tools->ca);
	else if (strncmp(w->tools->client_ca, w->tools->ca, strlen(w->tools->ca)) != 0)
		fprintf(stderr,
			"tls { client-ca } names %s: put the certificate of %s/ca.pem into it and "
			"reload, or this one "
			"will not be recognised.\n",
			w->tools->client_ca, w->tools->ca);
}

int certificate_issue(struct work *w)
{
	char password[DEVICE_TEXT + 1];
	struct issuing g = {
		.issue = {.address = str_cstr(&w->arena, w->key),
			  .password = password,
			  .days = w->wishes.days > 0 ? (int)w->wishes.days : CLIENT_DAYS,
			  .legacy = w->wishes.legacy}};
	const struct account *a;
	struct accounts *t;
	bool is_device;
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	is_device = account_is_device(a);
	accounts_free(t);
	if (is_device)
		return fail_address(REFUSED, w, "is a device password", "name its account");
	g.out = w->wishes.out != NULL ? w->wishes.out
	        : str_cstr(&w->arena, arena_printf(&w->arena, "%.*s.p12", STR_ARG(w->key)));
	if (strchr(g.out, '/') != NULL && w->wishes.out == NULL)
		return fail(MISUSED, w, "the address holds a slash: name a file with --out");
	device_draw(password);
	status = make_folder(w);
	if (status == DONE)
		status = list_change(w, add_issued, &g);
	if (status == DONE) {
		printf("file        %s\npassword    %s\nserial      %s\n", g.out, password,
		       g.issue.serial);
		fprintf(stderr, "The password opens the file once it is in the mail program; it is "
				"not shown again. Delete "
				"the file then.\n");
		hint(w);
	}
	free(g.issue.p12);
	crypt_wipe(password, sizeof(password));
	return status;
}

/* ---- list ------------------------------------------------------------------------------------ */

static const char *state_of(const struct issued *i)
{
	return i->revoked > 0 ? "revoked" : i->expires < clock_wall() ? "expired" : "valid";
}

static void show(const struct issued *i, struct json *all)
{
	char t[FIELDS_TIME];
	struct json *j;

	if (all == NULL) {
		printf("%.*s\t%.*s\t%s\tissued %.*s", STR_ARG(i->address), STR_ARG(i->serial),
		       state_of(i), STR_ARG(str_head(fields_time_text(i->when, t), 10)));
		printf("\texpires %.*s\n", STR_ARG(str_head(fields_time_text(i->expires, t), 10)));
		return;
	}
	j = json_add_object(all);
	json_set(j, "account", i->address);
	json_set(j, "serial", i->serial);
	json_set_c(j, "state", state_of(i));
	json_set(j, "issued", fields_time_text(i->when, t));
	json_set(j, "expires", fields_time_text(i->expires, t));
	json_set(j, "revoked", i->revoked > 0 ? fields_time_text(i->revoked, t) : STR_NONE);
}

/* Certificates outlive their account, so only who never had one is looked up. */
static int is_known(struct work *w, const struct issued *v, long n)
{
	const struct account *a;
	struct accounts *t;
	int status;

	for (long i = 0; i < n; i++)
		if (str_eq(v[i].address, w->key))
			return DONE;
	status = account_read(w, &t, &a);
	if (status == DONE)
		accounts_free(t);
	return status;
}

int certificate_list(struct work *w)
{
	const char *file = in_folder(w, "certificates");
	struct json *all = NULL;
	struct issued *v;
	struct stat st;
	str text = STR_NONE;
	long n;
	int status =
		stat(w->tools->ca, &st) != 0 && errno == ENOENT ? DONE : read_whole(w, file, &text);

	if (status != DONE)
		return status;
	v = take_list(w, file, text, &n);
	if (n < 0)
		return REFUSED;
	status = w->key.n > 0 ? is_known(w, v, n) : DONE;
	if (status != DONE)
		return status;
	if (w->wishes.json)
		all = json_new_array();
	for (long i = 0; i < n; i++)
		if (w->key.n == 0 || str_eq(v[i].address, w->key))
			show(&v[i], all);
	if (all != NULL)
		json_print(all, stdout);
	return DONE;
}

/* ---- revoke ------------------------------------------------------------------------ */

static bool revoke_some(struct work *w, str text, void *arg, struct buf *out)
{
	struct authority a;
	struct issued *v;
	const char *word = arg != NULL ? arg : w->word;
	long n, found = 0;

	v = take_list(w, in_folder(w, "certificates"), text, &n);
	if (n < 0 || take_authority(w, false, &a) != DONE)
		return false;
	for (long i = 0; i < n; i++) {
		if (!str_eq(v[i].address, w->key) || v[i].revoked > 0 ||
		    (strcmp(word, "all") != 0 && !str_is_nocase(v[i].serial, word)))
			continue;
		v[i].revoked = clock_wall();
		found++;
	}
	if (found == 0 && arg == NULL) {
		fail_address(REFUSED, w, "has no such certificate that is not revoked",
		             "`postern account certificate list` shows those there are");
		return false;
	}
	for (long i = 0; i < n; i++)
		put_issued(w, &v[i], out);
	return write_revoked(w, &a, v, n) == DONE;
}

int certificate_revoke(struct work *w)
{
	struct stat st;

	if (stat(w->tools->ca, &st) != 0 && errno == ENOENT)
		return fail(REFUSED, w, "no certificate has been issued yet");
	return list_change(w, revoke_some, NULL);
}

int certificates_drop(struct work *w)
{
	struct stat st;
	str text;
	int status;

	if (stat(w->tools->ca, &st) != 0 && errno == ENOENT)
		return DONE;
	status = read_whole(w, in_folder(w, "certificates"), &text);
	return status != DONE || text.n == 0 ? status
					     : list_change(w, revoke_some, (char[]){"all"});
}
