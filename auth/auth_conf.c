/* SPDX-License-Identifier: ISC */
/*
 * The options of `auth`.  Tables only.
 */
#include <stddef.h>
#include <string.h>

#include "auth/inside.h"

const char *const auth_known_mechanisms[] = { "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN",
	                                      "EXTERNAL", "OAUTHBEARER", "XOAUTH2", NULL };
static const char *const backends[] = { "file", "saslauthd", "auxprop", NULL };

bool auth_mechanism_good(str value, struct arena *a, str *why)
{
	(void)a;
	for (size_t i = 0; auth_known_mechanisms[i] != NULL; i++)
		if (str_is_nocase(value, auth_known_mechanisms[i]))
			return true;
	*why = STR("must be SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN, EXTERNAL, OAUTHBEARER or "
	           "XOAUTH2");
	return false;
}

static bool plugin_good(str value, struct arena *a, str *why)
{
	(void)a;
	for (size_t i = 0; i < value.n; i++)
		if (!is_alnum(value.p[i]))
			value.n = 0;
	*why = STR("must be the name of one of Cyrus' auxprop plug-ins, such as sasldb, sql or "
	           "ldapdb");
	return value.n > 0 && !str_is_nocase(value, CYRUS_PLUGIN);
}

static bool plugin_option_good(str value, struct arena *a, str *why)
{
	size_t colon = str_find(value, ':');

	(void)a;
	*why = STR("must be a name, a colon and a value, such as \"sasldb_path: /etc/sasldb2\"");
	return colon > 0 && colon < value.n && str_trim(str_skip(value, colon + 1)).n > 0;
}

static bool certificate_name_good(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be san, email or cn");
	return str_is_nocase(value, "san") || str_is_nocase(value, "email") ||
	       str_is_nocase(value, "cn");
}

/* What is asked there decides who logs in: in the clear only on this machine. */
static bool url_good(str value, struct arena *a, str *why)
{
	static const char *const here[] = { "http://127.0.0.1", "http://[::1]", "http://localhost" };

	(void)a;
	*why = STR("must be an https:// URL; http:// is for this machine's own addresses");
	if (str_starts(value, "https://"))
		return value.n > strlen("https://");
	for (size_t i = 0; i < COUNT(here); i++) {
		str rest = str_skip(value, strlen(here[i]));

		if (str_starts(value, here[i]) && (rest.n == 0 || rest.p[0] == '/' || rest.p[0] == ':') &&
		    !str_holds(rest, '@'))
			return true;
	}
	return false;
}

static bool keys_good(str value, struct arena *a, str *why)
{
	if (value.n > 0 && value.p[0] == '/')
		return true;
	if (url_good(value, a, why))
		return true;
	*why = STR("must be a path that begins with /, or an https:// URL");
	return false;
}

static bool path_good(str value, struct arena *a, str *why)
{
	(void)a;
	if (value.n == 0 || value.p[0] == '/')
		return true;
	*why = STR("must be a path that begins with /");
	return false;
}

static bool mark_good(str value, struct arena *a, str *why)
{
	(void)a;
	if (value.n == 1 && str_holds(STR("+-_=."), value.p[0]))
		return true;
	*why = STR("must be one of + - _ = .");
	return false;
}

#define AT(member) offsetof(struct auth_conf, member)

static const struct conf_option options[] = {
	{ .name = "accounts", .type = CONF_STRING, .offset = AT(accounts), .check = path_good,
	  .example = "/var/lib/postern/accounts",
	  .help = "the passwd-file of accounts, which Dovecot can share; default: accounts in the "
	          "state directory" },
	{ .name = "app-passwords", .type = CONF_STRING, .offset = AT(devices), .check = path_good,
	  .example = "/var/lib/postern/app-passwords",
	  .help = "the passwd-file of device passwords, which Dovecot can share, too; it may be that of "
	          "accounts; default: app-passwords in the state directory" },
	{ .name = "app-password-mark", .type = CONF_STRING, .offset = AT(mark), .fallback = "+",
	  .check = mark_good,
	  .help = "what stands between account and label in the login name of a new device password, "
	          "as in alice+phone@example.org" },
	{ .name = "upgrade", .type = CONF_BOOL, .offset = AT(upgrade), .fallback = "yes",
	  .help = "whether a password of an older scheme ({SSHA}, {SHA512-CRYPT}, ...) is kept as a "
	          "SCRAM-SHA-256 verifier from its next good login on" },
	{ .name = "scram-beside-totp", .type = CONF_BOOL, .offset = AT(scram_always), .fallback = "no",
	  .help = "whether SCRAM is offered although some account's login needs a code: its mail "
	          "program would choose SCRAM, which has no place for one, and fail" },
	{ .name = "mechanisms", .type = CONF_LIST, .offset = AT(mechanisms),
	  .fallback = "SCRAM-SHA-256-PLUS,SCRAM-SHA-256,PLAIN,LOGIN,EXTERNAL,OAUTHBEARER,XOAUTH2",
	  .check = auth_mechanism_good,
	  .help = "how a mail program may log in, the best first; always behind TLS, and only what "
	          "can work: EXTERNAL with a client certificate, OAUTHBEARER and XOAUTH2 with "
	          "oauth {}" },
	{ .name = "backend", .type = CONF_WORD, .offset = AT(backend), .fallback = "file",
	  .words = backends,
	  .help = "who says whether a password is right, and nobody else: the accounts file; "
	          "saslauthd (PAM, LDAP; PLAIN and LOGIN only); one of Cyrus' auxprop plug-ins. Who "
	          "has an account is the accounts file's to say in any case, there without "
	          "password" },
	{ .name = "saslauthd", .type = CONF_STRING, .offset = AT(saslauthd), .check = path_good,
	  .fallback = "/var/run/saslauthd/mux",
	  .help = "where saslauthd listens; it gets the name before the @ as user and the domain as "
	          "realm (saslauthd -r puts them together again)" },
	{ .name = "auxprop", .type = CONF_STRING, .offset = AT(auxprop), .fallback = "sasldb",
	  .check = plugin_good, .help = "the plug-in: sasldb, sql or ldapdb" },
	{ .name = "auxprop-options", .type = CONF_LIST, .offset = AT(auxprop_options),
	  .check = plugin_option_good, .example = "sasldb_path: /etc/sasldb2",
	  .help = "the plug-in's options, as Cyrus' own files have them" },
	{ .name = "certificate-names", .type = CONF_LIST, .offset = AT(certificate_names),
	  .fallback = "san", .check = certificate_name_good,
	  .help = "where a client certificate names its account, for EXTERNAL: san (its mail "
	          "addresses), email, cn (of its subject)" },
	{ .name = "iterations", .type = CONF_NUMBER, .offset = AT(iterations), .fallback = "4096",
	  .least = 4096, .most = ITERATIONS_MAX,
	  .help = "rounds of PBKDF2 in new verifiers: more is slower, for a guesser and for each "
	          "login" },
	{ .name = "memory", .type = CONF_TIME, .offset = AT(memory_ms), .fallback = "1h",
	  .help = "how long a right password given with PLAIN or LOGIN is remembered (as a keyed "
	          "hash, in memory only); 0s: never" },
	{ 0 },
};

#undef AT
#define AT(member) offsetof(struct oauth_conf, member)

static const struct conf_option oauth_options[] = {
	{ .name = "issuer", .type = CONF_STRING, .offset = AT(issuer),
	  .example = "https://login.example.org/realms/office",
	  .help = "the issuer's name, exactly as its tokens have it in `iss`" },
	{ .name = "keys", .type = CONF_STRING, .offset = AT(keys), .check = keys_good,
	  .example = "https://login.example.org/realms/office/certs",
	  .help = "the issuer's JSON Web Key Set, a URL or a file: tokens that are JWTs (RS256, PS256, "
	          "ES256, EdDSA) are checked with it" },
	{ .name = "introspection", .type = CONF_STRING, .offset = AT(introspection), .check = url_good,
	  .example = "https://login.example.org/realms/office/introspect",
	  .help = "where the issuer judges tokens (RFC 7662): those that are no JWTs, or all where "
	          "there are no keys" },
	{ .name = "client-id", .type = CONF_STRING, .offset = AT(client_id), .example = "postern",
	  .help = "the name that this server has there" },
	{ .name = "client-secret-file", .type = CONF_STRING, .offset = AT(client_secret_file),
	  .check = path_good, .example = "/etc/postern/oauth-secret",
	  .help = "a file with its password in it" },
	{ .name = "audience", .type = CONF_STRING, .offset = AT(audience), .example = "postern",
	  .help = "whom tokens must be meant for (`aud`)" },
	{ .name = "scope", .type = CONF_STRING, .offset = AT(scope), .example = "mail",
	  .help = "what tokens must grant, all of these words; empty: anything" },
	{ .name = "user-claim", .type = CONF_STRING, .offset = AT(user_claim), .fallback = "email",
	  .help = "where a token has its owner's address; an e-mail address that its issuer calls "
	          "unverified is not taken" },
	{ 0 },
};

#undef AT
#define AT(member) offsetof(struct guess_conf, member)

static const struct conf_option guess_options[] = {
	{ .name = "address", .type = CONF_NUMBER, .offset = AT(address), .fallback = "10", .most = 1000000,
	  .help = "how many wrong logins an address may bring before it is refused for a while; the "
	          "same wrong password again is not counted, and one that SCRAM hides from the "
	          "server counts half; 0: none is refused" },
	{ .name = "network", .type = CONF_NUMBER, .offset = AT(network), .fallback = "40", .most = 1000000,
	  .help = "the same for all addresses of a /24 (IPv4) or /64 (IPv6) together" },
	{ .name = "account", .type = CONF_NUMBER, .offset = AT(account), .fallback = "30", .most = 1000000,
	  .help = "how many at one name, from wherever, before each weighs three and is answered as "
	          "late as can be; nobody's own login is refused for it; 0: they are not counted" },
	{ .name = "within", .type = CONF_TIME, .offset = AT(within_ms), .fallback = "10m", .least = 1000,
	  .help = "the time that those numbers are for: wrong logins are forgotten at that pace" },
	{ .name = "refuse", .type = CONF_TIME, .offset = AT(refuse_ms), .fallback = "15m",
	  .help = "how long an address or network is refused at submission listeners the first time; "
	          "each time after that twice as long; 0s: never" },
	{ .name = "refuse-most", .type = CONF_TIME, .offset = AT(refuse_most_ms), .fallback = "1d",
	  .help = "how long at most" },
	{ .name = "slowest", .type = CONF_TIME, .offset = AT(slowest_ms), .fallback = "5s", .most = 60000,
	  .help = "how long the answer to a wrong login is held back at most: the third of an address "
	          "by a quarter of a second, then twice as long each time" },
	{ .name = "never", .type = CONF_LIST, .offset = AT(never), .fallback = "127.0.0.0/8,::1",
	  .check = cidr_check,
	  .help = "networks that are neither slowed down nor refused, such as a webmail's host; those "
	          "from which somebody logged in well in the last thirty days are not refused "
	          "anyway" },
	{ 0 },
};

#undef AT

static const struct conf_section guess_section = {
	.name = "guesses",
	.options = guess_options,
	.size = sizeof(struct guess_conf),
	.offset = offsetof(struct auth_conf, guesses),
	.help = "What becomes of those who guess passwords.",
};

static void oauth_checked(void *section, struct conf_reader *r)
{
	const struct oauth_conf *c = section;

	if (c->keys.n == 0 && c->introspection.n == 0 &&
	    c->issuer.n + c->client_id.n + c->audience.n + c->scope.n > 0)
		conf_fault(r, &c->head, NULL, "tokens could not be checked: set keys or introspection");
	if (c->keys.n > 0 && (c->issuer.n == 0 || c->audience.n == 0))
		conf_fault(r, &c->head, "keys", "a token for another service would do here: set issuer "
		           "and audience, too");
	if (c->introspection.n > 0 && c->client_id.n == 0)
		conf_fault(r, &c->head, "introspection", "the issuer answers only those it knows: set "
		           "client-id and client-secret-file");
	if (c->user_claim.n == 0)
		conf_fault(r, &c->head, "user-claim", "must name a claim, such as email");
}

static const struct conf_section oauth_section = {
	.name = "oauth",
	.options = oauth_options,
	.size = sizeof(struct oauth_conf),
	.offset = offsetof(struct auth_conf, oauth),
	.check = oauth_checked,
	.help = "Tokens of a login service instead of passwords: OAUTHBEARER and XOAUTH2.",
};

static const struct conf_section *const sections[] = { &oauth_section, &guess_section, NULL };

static bool only_tokens(const struct strs *list)
{
	for (size_t i = 0; i < list->n; i++)
		if (!str_is_nocase(list->v[i], "OAUTHBEARER") && !str_is_nocase(list->v[i], "XOAUTH2"))
			return false;
	return list->n > 0;
}

static void checked(void *section, struct conf_reader *r)
{
	const struct auth_conf *c = section;

	if (c->mechanisms.n == 0)
		conf_fault(r, &c->head, "mechanisms",
		           "nobody could log in: name at least one of SCRAM-SHA-256, PLAIN, LOGIN");
	if (only_tokens(&c->mechanisms) && c->oauth.keys.n + c->oauth.introspection.n == 0)
		conf_fault(r, &c->head, "mechanisms",
		           "tokens could not be checked: set keys or introspection in oauth {}, or name "
		           "another mechanism, too");
	if (c->certificate_names.n == 0)
		conf_fault(r, &c->head, "certificate-names",
		           "must have at least one of san, email, cn");
	for (size_t i = 0; i < c->mechanisms.n; i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq_nocase(c->mechanisms.v[i], c->mechanisms.v[k]))
				conf_fault(r, &c->head, "mechanisms",
				           "%.*s stands there twice: take one out",
				           STR_ARG(c->mechanisms.v[i]));
}

const struct conf_section auth_section = {
	.name = "auth",
	.options = options,
	.sections = sections,
	.size = sizeof(struct auth_conf),
	.check = checked,
	.help = "Who may log in at submission listeners.",
};
