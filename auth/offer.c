/* SPDX-License-Identifier: ISC */
/*
 * Which mechanisms are offered, to whom.
 *
 * The list is the listener's, or that of auth {}; of it a client hears what can
 * work over his connection: -PLUS with a channel binding, EXTERNAL with a
 * certificate that verified, tokens where somebody can check them, SCRAM where
 * there are verifiers.  Lists that were ever in force stay until the end, each
 * once.  What is offered is asked on the loops, the rest by main.
 */
#include <string.h>

#include "auth/inside.h"

static const char *known(str name)
{
	for (size_t i = 0; auth_known_mechanisms[i] != NULL; i++)
		if (str_is_nocase(name, auth_known_mechanisms[i]))
			return auth_known_mechanisms[i];
	return NULL;
}

static bool cyrus_has(const struct auth *auth, const char *name)
{
	for (str rest = auth->available, word; str_cut(&rest, ' ', &word);)
		if (str_is_nocase(word, name))
			return true;
	return false;
}

/* ---- over one channel ------------------------------------------------------------ */

static bool can_work(const struct auth *auth, const struct auth_channel *c, const char *name)
{
	if (auth->backend == BACKEND_SASLAUTHD && str_starts(str_of(name), "SCRAM-"))
		return false;          /* it says yes or no to a password, and knows no verifiers */
	/* A client would choose it, and nobody who needs a code gets in by it. */
	if (str_starts(str_of(name), "SCRAM-") && auth_needs_codes(auth) && !atomic_load(&auth->scram_always))
		return false;
	if (str_ends_nocase(str_of(name), STR("-PLUS")))
		return c->binding_type != NULL && cyrus_has(auth, name);
	if (strcmp(name, "EXTERNAL") == 0)
		return c->certificate.n > 0;
	if (strcmp(name, "OAUTHBEARER") == 0 || strcmp(name, "XOAUTH2") == 0)
		return atomic_load(&auth->oauth) != NULL;
	return true;
}

/* The i-th of the list that holds here; NULL: the end. */
static bool listed(const struct auth *auth, const struct auth_channel *c, size_t i, const char **name)
{
	if (c->mechanisms.n == 0) {
		*name = atomic_load(&auth->offer)->names[i];
		return *name != NULL;
	}
	*name = i < c->mechanisms.n ? known(c->mechanisms.v[i]) : NULL;
	return i < c->mechanisms.n;
}

str auth_mechanisms(const struct auth *auth, const struct auth_channel *c, struct arena *a)
{
	str text = STR("");
	const char *name;

	for (size_t i = 0; listed(auth, c, i, &name); i++)
		if (name != NULL && can_work(auth, c, name))
			text = arena_printf(a, "%.*s%s%s", STR_ARG(text), text.n > 0 ? " " : "",
			                    name);
	return text;
}

const char *auth_mechanism_named(const struct auth *auth, const struct auth_channel *c, str wanted)
{
	const char *name;

	for (size_t i = 0; listed(auth, c, i, &name); i++)
		if (name != NULL && str_is_nocase(wanted, name) && can_work(auth, c, name))
			return name;
	return NULL;
}

/* ---- lists -------------------------------------------------------------------------- */

enum err auth_can_offer(const struct auth *auth, const struct strs *mechanisms, struct arena *a,
                        str *why)
{
	for (size_t i = 0; i < mechanisms->n; i++) {
		const char *name = known(mechanisms->v[i]);

		/* -PLUS is left out where Cyrus' SCRAM cannot do it. */
		if (name == NULL || cyrus_has(auth, name) || str_ends_nocase(str_of(name), STR("-PLUS")))
			continue;
		*why = arena_printf(a, "Cyrus SASL has no mechanism %s: install libsasl2-modules, "
		                    "or take it out of `mechanisms`", name);
		return ERR_ABSENT;
	}
	return OK;
}

static struct offer *make_offer(struct auth *auth, const struct strs *mechanisms)
{
	struct offer *o = ARENA_NEW(&auth->arena, struct offer);
	size_t n = 0;

	if (o == NULL)
		return NULL;
	o->names = ARENA_ARRAY(&auth->arena, const char *, mechanisms->n + 1);
	if (o->names == NULL)
		return NULL;
	for (size_t i = 0; i < mechanisms->n; i++)
		if (known(mechanisms->v[i]) != NULL)
			o->names[n++] = known(mechanisms->v[i]);
	return o;
}

static bool says_the_same(const struct offer *o, const struct strs *mechanisms)
{
	size_t n = 0;

	for (; n < mechanisms->n && o->names[n] != NULL; n++)
		if (!str_is_nocase(mechanisms->v[n], o->names[n]))
			return false;
	return n == mechanisms->n && o->names[n] == NULL;
}

enum err auth_put_up_offer(struct auth *auth, const struct strs *mechanisms, struct arena *a,
                           str *why)
{
	struct offer *o = auth->offers;
	enum err e = auth_can_offer(auth, mechanisms, a, why);

	if (e != OK)
		return e;
	while (o != NULL && !says_the_same(o, mechanisms))
		o = o->next;
	if (o == NULL) {
		o = make_offer(auth, mechanisms);
		if (o == NULL)
			return ERR_MEMORY;
		o->next = auth->offers;
		auth->offers = o;
	}
	atomic_store(&auth->offer, o);
	return OK;
}
