/* SPDX-License-Identifier: ISC */
/*
 * exchange: a mechanism by the first byte, then responses, each behind its
 * length.  Nobody gets in who does not say the password: no account has the
 * certificate, no token is signed.  Nothing is left over, each exchange ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define PASSWORD "wonderland"
#define STEPS    8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* RFC 8037 A.2: what is signed by it, no input is. */
static const char key_text[] =
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static struct auth *auth;

static void open_once(void)
{
	static char folder[] = "/tmp/postern-fuzz-XXXXXX", file[64];
	static str names[] = { { "PLAIN", 5 }, { "LOGIN", 5 }, { "SCRAM-SHA-256", 13 }, { "SCRAM-SHA-256-PLUS", 18 },
	                       { "EXTERNAL", 8 }, { "OAUTHBEARER", 11 }, { "XOAUTH2", 7 } };
	static char keys[80];
	struct auth_conf conf = { .mechanisms = { names, COUNT(names) }, .iterations = 1, .memory_ms = 1000 };
	static struct arena a;
	struct verifier v;
	FILE *out;
	str why;

	crypt_setup();
	log_level_set(LOG_ERROR);
	arena_init(&a, ARENA_UNBOUNDED);
	must(mkdtemp(folder) != NULL);
	snprintf(file, sizeof(file), "%s/accounts", folder);
	must(verifier_make(&a, STR(PASSWORD), 1, &v) == OK);
	out = fopen(file, "w");
	must(out != NULL);
	fprintf(out, "a@b.test:%.*s\n", STR_ARG(verifier_text(&a, &v)));
	fclose(out);
	conf.accounts = str_of(file);
	snprintf(keys, sizeof(keys), "%s/keys", folder);
	out = fopen(keys, "w");
	must(out != NULL);
	fputs(key_text, out);
	fclose(out);
	conf.oauth = (struct oauth_conf){ .issuer = STR("i"), .audience = STR("a"), .user_claim = STR("email"),
		                          .keys = str_of(keys) };
	auth = auth_open(&conf, STR("mail.b.test"), desk_open("login", 1), &a, &why);
	must(auth != NULL);
	unlink(file);
	unlink(keys);
	snprintf(file, sizeof(file), "%s/accounts.secret", folder);
	unlink(file);
	rmdir(folder);
}

/* As try.c cuts them: no longer than a line carries, NULs in PLAIN only. */
static str next_response(str *in, bool is_plain, char copy[RESPONSE_MAX + 1])
{
	size_t n = in->n > 1 ? (size_t)(uint8_t)in->p[0] << 8 | (uint8_t)in->p[1] : 0;
	str part = str_head(str_skip(*in, 2), n);

	*in = str_skip(*in, 2 + part.n);
	if (part.n > RESPONSE_MAX)
		part.n = RESPONSE_MAX;
	for (size_t i = 0; i < part.n; i++)
		copy[i] = part.p[i] == '\0' && !is_plain ? '0' : part.p[i];
	return (str){ copy, part.n };
}

static void speak(const char *mechanism, str in)
{
	static str stranger = { "c@b.test", 8 };
	static const struct auth_channel channel = { .ip = "192.0.2.7", .binding_type = "tls-exporter",
		                                     .binding = { "01234567890123456789012345678901", 32 },
		                                     .certificate = { &stranger, 1 } };
	struct judge judge = { .auth = auth, .seat = auth_sit(auth), .channel = &channel, .now_ms = 1 };
	bool is_plain = strcmp(mechanism, "PLAIN") == 0, knows = memmem(in.p, in.n, PASSWORD, strlen(PASSWORD)) != NULL;
	struct claim claim = { .n = 0 };
	struct exchange *x = exchange_new(auth, &channel, &claim);
	static char copy[RESPONSE_MAX + 1];
	struct heard h;
	str response = next_response(&in, is_plain, copy);
	int steps = 0;

	must(x != NULL);
	judge.table = auth_table(auth, judge.seat);
	exchange_begin(x, &judge, mechanism, &response, &h);
	while (h.says == AUTH_MORE && steps++ < STEPS) {
		response = next_response(&in, is_plain, copy);
		exchange_step(x, &judge, response, &h);
	}
	must(steps <= STEPS && h.says != AUTH_NO_MECH && claim.n <= sizeof(claim.name));
	must(h.says != AUTH_PASSED || (knows && str_is(h.login, "a@b.test")));
	auth_table_done(judge.seat);
	exchange_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (auth == NULL)
		open_once();
	if (n > 1)
		speak(auth_known_mechanisms[data[0] % 7], (str){ (const char *)data + 1, n - 1 });
	return 0;
}
