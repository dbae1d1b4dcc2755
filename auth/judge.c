/* SPDX-License-Identifier: ISC */
/*
 * Names and passwords, judged.
 *
 * A name without an account gets a made-up verifier: salt and keys from an HMAC
 * of the server's secret and the name, the iteration count that most accounts
 * have.  It is the same each time, looks like a true one, and no password fits
 * it.  An account that may not log in by its verifier alone (a code or a device
 * password is wanted, or its scheme is older) shows a made-up one, too.
 *
 * Time tells no names: a refusal costs one check of each kind that stands in the
 * file, whoever is asked for, and as many quick hashes as the account with the
 * most device passwords has.  With one kind, as `postern account` makes them,
 * that is one PBKDF2.
 *
 * Login desk.
 */
#include <netinet/in.h>
#include <arpa/inet.h>
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"

/* ---- made-up verifiers ------------------------------------------------------------ */

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

static unsigned usual_iterations(const struct judge *j)
{
	for (size_t i = 0; i < j->table->ncosts; i++)
		if (j->table->costs[i].kind == KEPT_SCRAM)
			return j->table->costs[i].rounds;
	return atomic_load(&j->auth->iterations);
}

static void make_up(const struct judge *j, str key, struct judged *out)
{
	unsigned char salt[32];

	draw(j->auth, "salt", key, salt);
	memcpy(out->salt, salt, sizeof(out->salt));
	draw(j->auth, "stored", key, out->verifier.stored);
	draw(j->auth, "server", key, out->verifier.server);
	out->verifier.salt = (str){ (const char *)out->salt, sizeof(out->salt) };
	out->verifier.iterations = usual_iterations(j);
}

/* By its verifier and nothing else? */
static bool shows_verifier(const struct account *a)
{
	if (a == NULL || !a->can_log_in || a->kept != KEPT_SCRAM)
		return false;
	return account_is_device(a) || a->require == REQUIRE_PASSWORD ||
	       a->require == REQUIRE_CERTIFICATE;
}

/* The made-up one is drawn for everybody, so that nobody is quicker for it. */
void judge_name(const struct judge *j, str key, struct judged *out)
{
	const struct account *a = accounts_find(j->table, key);

	memset(out, 0, sizeof(*out));
	make_up(j, key, out);
	if (!shows_verifier(a))
		return;
	out->account = a;
	out->verifier = a->verifier;
}

/* ---- beside the password -------------------------------------------------------------- */

static bool address_of(const char *ip, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (ip != NULL && inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		out->ss_family = AF_INET;
		return true;
	}
	out->ss_family = AF_INET6;
	return ip != NULL && inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1;
}

static bool comes_from(const struct fields *f, const char *ip)
{
	struct sockaddr_storage at;

	if (f->nnets == 0)
		return true;
	if (!address_of(ip, &at))
		return false;
	for (size_t i = 0; i < f->nnets; i++)
		if (cidr_holds(&f->nets[i], (const struct sockaddr *)&at))
			return true;
	return false;
}

static bool has_certificate(const struct judge *j, const struct account *owner)
{
	const struct strs *names = &j->channel->certificate;
	struct arena a;
	bool found = false;
	str key;

	arena_init(&a, 64 << 10);
	for (size_t i = 0; i < names->n && !found; i++)
		found = accounts_key(&a, names->v[i], &key) && str_eq(key, owner->key);
	arena_fini(&a);
	return found;
}

static const char *judge_device(const struct judge *j, const struct account *d)
{
	if (d->fields.expires > 0 && clock_wall() > d->fields.expires)
		return "the device password has expired";
	if (!comes_from(&d->fields, j->channel->ip))
		return "not from a network of this device password";
	if (d->owner->require == REQUIRE_CERTIFICATE && !has_certificate(j, d->owner))
		return "no certificate of this account";
	return d->owner->require == REQUIRE_OAUTH ? "this account logs in by tokens only" : NULL;
}

static const char *judge_main(const struct judge *j, const struct account *a)
{
	if (!comes_from(&a->fields, j->channel->ip))
		return "not from a network of this account";
	switch (a->require) {
	case REQUIRE_APP_PASSWORD:
		return "the main password is not for sending: a device password is required";
	case REQUIRE_CERTIFICATE:
		return has_certificate(j, a) ? NULL : "no certificate of this account";
	case REQUIRE_OAUTH:
		return "this account logs in by tokens only";
	default:
		return NULL;
	}
}

/* The code is used up by this, so it comes last. */
static const char *use_code(const struct account *a, uint64_t step)
{
	uint64_t before = atomic_load(&a->standing->step);

	if (step == 0)
		return "wrong or missing code";
	do
		if (step <= before)
			return "the code was used already";
	while (!atomic_compare_exchange_weak(&a->standing->step, &before, step));
	return NULL;
}

static void stand(const struct judge *j, struct claim *claim, const struct account *a,
		  uint64_t step)
{
	claim->stands = (struct auth_login){ a->standing, a->epoch };
	claim->address = a->owner->address;
	if (a->standing != NULL)
		seen_note(j->auth, a->standing, j->channel->ip, clock_wall(), step);
}

/* ---- passwords ------------------------------------------------------------------------- */

/* The one that fits, or NULL; always as many hashes as the account with most has. */
static const struct account *find_device(const struct judge *j, const struct account *a,
					 str password)
{
	static const struct quick nobodys;
	const struct account *d = a == NULL ? NULL : account_is_device(a) ? a : a->devices;
	const struct account *found = NULL;
	char typed[DEVICE_TEXT + 1];
	unsigned most = j->table->devices_most;

	if (!device_typed(password, typed))
		memset(typed, 0, sizeof(typed));
	for (unsigned i = 0; i < (most > 0 ? most : 1); i++) {
		bool real = d != NULL && d->can_log_in && d->fields.has_quick;
		bool same = quick_check(real ? &d->fields.quick : &nobodys,
		                        (str){ typed, typed[0] ? DEVICE_TEXT : 0 });

		if (real && same && typed[0] != '\0')
			found = d;
		d = d == a ? NULL : d != NULL ? d->next_device : NULL;
	}
	crypt_wipe(typed, sizeof(typed));
	return found;
}

/* Has it a password of its own that costs something to check? */
static bool is_hashed(const struct account *a)
{
	return a != NULL && a->can_log_in && !(account_is_device(a) && a->fields.has_quick);
}

static bool check_own(const struct account *a, str password)
{
	if (a->kept == KEPT_SCRAM)
		return verifier_check(&a->verifier, password);
	return scheme_check(&a->other, password);
}

static bool same_cost(const struct account *a, const struct cost *c)
{
	if (!is_hashed(a))
		return false;
	if (a->kept == KEPT_SCRAM)
		return c->kind == KEPT_SCRAM && c->rounds == a->verifier.iterations;
	return c->kind == a->other.cost.kind && c->how == a->other.cost.how &&
	       c->rounds == a->other.cost.rounds;
}

/* What the account's own check did not cost. */
static void cost_the_rest(const struct judge *j, const struct account *a,
			  const struct verifier *made_up, str password)
{
	const struct accounts *t = j->table;

	for (size_t i = 0; i < t->ncosts; i++) {
		if (same_cost(a, &t->costs[i]))
			continue;
		if (t->costs[i].kind == KEPT_CRYPT) {
			scheme_check(&t->example[i]->other, password);
		} else {
			struct verifier v = *made_up;

			v.iterations = t->costs[i].rounds;
			verifier_check(&v, password);
		}
	}
	if (t->ncosts == 0)
		verifier_check(made_up, password);
}

struct said {                          /* one password, as it was said */
	str password, code;
	const struct account *account; /* NULL: no such name, or no password to check */
	unsigned char tag[TAG_SIZE];
};

/* With TOTP the code stands behind the password. */
static void take_apart(struct said *s, str password)
{
	s->password = password.n > PASSWORD_MAX ? STR_NONE : password;
	if (s->account == NULL || s->account->require != REQUIRE_TOTP ||
	    account_is_device(s->account))
		return;
	if (s->password.n <= CODE_DIGITS)
		return;
	s->code = str_skip(s->password, s->password.n - CODE_DIGITS);
	s->password = str_head(s->password, s->password.n - CODE_DIGITS);
}

static const char *by_main(const struct judge *j, struct claim *claim, const struct said *s)
{
	const struct account *a = s->account;
	uint64_t step = 0;
	const char *why = account_is_device(a) ? judge_device(j, a) : judge_main(j, a);

	if (why == NULL && !account_is_device(a) && a->require == REQUIRE_TOTP) {
		step = code_step(a->code_secret, s->code, clock_wall());
		why = use_code(a, step);
	}
	if (why != NULL)
		return why;
	stand(j, claim, a, step);
	if (a->kept != KEPT_SCRAM && atomic_load(&j->auth->upgrade))
		upgrade_line(j, a, s->password);
	return NULL;
}

static const char *by_device(const struct judge *j, struct claim *claim, const struct account *d)
{
	const char *why = judge_device(j, d);

	if (why == NULL)
		stand(j, claim, d, 0);
	return why;
}

static const char *by_anything(const struct judge *j, struct claim *claim, const struct said *s,
                               const struct account *device, bool right)
{
	if (device != NULL)
		return by_device(j, claim, device);
	if (right)
		return by_main(j, claim, s);
	return s->account != NULL && s->account->can_log_in ? "wrong password" : "no such account";
}

/* What was right but did not suffice must not be told by its quickness. */
const char *judge_password(const struct judge *j, struct claim *claim, str key, str password)
{
	uint64_t keep_ms = atomic_load(&j->auth->memory_ms);
	struct said s = { .account = accounts_find(j->table, key) };
	bool hashed = is_hashed(s.account), known, checked, right;
	const struct account *device;
	struct judged made_up;
	const char *why;

	memset(&made_up, 0, sizeof(made_up));
	make_up(j, key, &made_up);
	take_apart(&s, password);
	memory_serves(&j->seat->memory, j->table->serial);
	memory_tag(j->auth->memory_key, key, hashed ? &s.account->verifier : &made_up.verifier,
		   s.password, s.tag);
	device = find_device(j, s.account, password);
	known = keep_ms > 0 && hashed && memory_holds(&j->seat->memory, s.tag, j->now_ms);
	checked = hashed && !known && device == NULL;
	right = known || (checked && check_own(s.account, s.password) && s.password.n > 0);
	why = by_anything(j, claim, &s, device, right);
	if (why == NULL && right && !known)
		memory_keep(&j->seat->memory, s.tag, j->now_ms, keep_ms);
	if (why == NULL && known && device == NULL)
		auth_count(COUNT_REMEMBERED);
	if (why != NULL && hashed && !checked)
		check_own(s.account, s.password);
	if (why != NULL)
		cost_the_rest(j, s.account, &made_up.verifier, s.password);
	crypt_wipe(s.tag, sizeof(s.tag));
	return why;
}

/* ---- otherwise ----------------------------------------------------------------------------- */

const char *judge_proved(const struct judge *j, struct claim *claim, str key)
{
	const struct account *a = accounts_find(j->table, key);
	const char *why;

	if (a == NULL || !a->can_log_in)
		return "no such account";
	if (!shows_verifier(a) || !crypt_equal(claim->stored, a->verifier.stored, 32))
		return "the password has just been changed";
	why = account_is_device(a) ? judge_device(j, a) : judge_main(j, a);
	if (why == NULL)
		stand(j, claim, a, 0);
	return why;
}

/* Who requires one thing is not let in by another. */
const char *judge_vouched(const struct judge *j, struct claim *claim, str key, enum auth_require by)
{
	const struct account *a = accounts_find(j->table, key);

	if (a == NULL || account_is_device(a) || (a->fields.nologin && !a->fields.send_only))
		return "no such account";
	if (!comes_from(&a->fields, j->channel->ip))
		return "not from a network of this account";
	if (a->require == REQUIRE_CERTIFICATE && by != REQUIRE_CERTIFICATE &&
	    !has_certificate(j, a))
		return "no certificate of this account";
	if (a->require == REQUIRE_CERTIFICATE && by == REQUIRE_CERTIFICATE)
		return "the certificate needs the password, too";
	if (a->require != REQUIRE_PASSWORD && a->require != REQUIRE_CERTIFICATE && a->require != by)
		return "this account logs in another way";
	stand(j, claim, a, 0);
	return NULL;
}
