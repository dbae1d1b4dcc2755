/* SPDX-License-Identifier: ISC */
/*
 * Names and passwords, judged.
 *
 * A name without an account gets a made-up verifier: salt and keys from an HMAC
 * of the server's secret and the name, the default iteration count.  It is the
 * same each time, looks like a true one, and no password fits it.  So SCRAM
 * fails at the proof and PLAIN costs one PBKDF2, whoever is asked for.
 *
 * Login desk.
 */
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"

static void draw(const struct auth *auth, const char *what, str key, unsigned char out[static 32])
{
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	buf_add(&b, str_of(what));
	buf_add_char(&b, '\0');
	buf_add(&b, key);
	must(!b.failed);
	hmac_sha256((str){ (const char *)auth->secret, sizeof(auth->secret) }, buf_str(&b), out);
	buf_fini(&b);
}

static void make_up(const struct judge *j, str key, struct judged *out)
{
	unsigned char salt[32];

	draw(j->auth, "salt", key, salt);
	memcpy(out->salt, salt, sizeof(out->salt));
	draw(j->auth, "stored", key, out->verifier.stored);
	draw(j->auth, "server", key, out->verifier.server);
	out->verifier.salt = (str){ (const char *)out->salt, sizeof(out->salt) };
	out->verifier.iterations = atomic_load(&j->auth->iterations);
}

/* The made-up one is drawn for everybody, so that nobody is quicker for it. */
void judge_name(const struct judge *j, str key, struct judged *out)
{
	const struct account *a = accounts_find(j->table, key);

	memset(out, 0, sizeof(*out));
	make_up(j, key, out);
	if (a == NULL || !a->can_log_in)
		return;
	out->account = a;
	out->verifier = a->verifier;
}

bool judge_password(const struct judge *j, str key, str password)
{
	uint64_t keep_ms = atomic_load(&j->auth->memory_ms);
	unsigned char tag[TAG_SIZE];
	struct judged who;
	bool right;

	if (password.n > PASSWORD_MAX)
		password.n = 0;        /* no verifier is made of an empty one */
	judge_name(j, key, &who);
	memory_serves(&j->seat->memory, j->table->serial);
	memory_tag(j->auth->memory_key, key, &who.verifier, password, tag);
	if (keep_ms > 0 && memory_holds(&j->seat->memory, tag, j->now_ms)) {
		auth_count(COUNT_REMEMBERED);
		crypt_wipe(tag, sizeof(tag));
		return true;
	}
	right = verifier_check(&who.verifier, password);
	right &= who.account != NULL && password.n > 0;
	if (right)
		memory_keep(&j->seat->memory, tag, j->now_ms, keep_ms);
	crypt_wipe(tag, sizeof(tag));
	return right;
}
