/* SPDX-License-Identifier: ISC */
/*
 * The login at a hop (RFC 4954), by Cyrus SASL's client side.
 *
 * One exchange is one `proof`: Cyrus' connection and a copy of the password,
 * both wiped and freed with it.  Every call into Cyrus runs on the disk desk,
 * because SCRAM computes as long as the server wishes (Cyrus refuses beyond
 * 65,536 rounds).  A proof that is out when its connection ends is an orphan;
 * its homecoming frees it.
 *
 * A mechanism that cannot be used to its end (a server that asks for too much,
 * or cannot prove itself) is cancelled and the next one tried.  A refusal by the
 * server is final for this attempt, and a deferral: the login is the operator's
 * to mend, and no sender's fault.  Set up by main; then loop thread and desk.
 */
#include <stdlib.h>
#include <string.h>

#include <sasl/sasl.h>

#include "queue/deliver/client_inside.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

enum { MECH_SCRAM = 1, MECH_PLAIN = 2, MECH_LOGIN = 4 };

static const struct { const char *name; unsigned bit; } mechanisms[] = {     /* best first */
	{ "SCRAM-SHA-256", MECH_SCRAM }, { "PLAIN", MECH_PLAIN }, { "LOGIN", MECH_LOGIN },
};

struct proof {
	struct job      job;
	struct client  *client;        /* NULL: an orphan */
	struct arena    arena;         /* of what goes in and out; wiped */
	sasl_conn_t    *conn;
	sasl_callback_t callbacks[4];
	sasl_secret_t  *password;      /* malloc'ed */
	char           *login, *host;  /* malloc'ed */
	size_t          mechanism;     /* index in the table */
	bool            out;           /* at the desk */
	bool            cancelled;     /* "*" was said */
	str             in, answer;    /* decoded; answer.p == NULL: nothing to say */
	bool            begun;
	int             result;        /* Cyrus' */
};

static bool is_open;

/* ---- what Cyrus asks ----------------------------------------------------------------- */

/* sasl.h has every callback as int (*)(void). */
#define CALLBACK(id_, proc_, context_) \
	((sasl_callback_t){ (id_), (int (*)(void))(void (*)(void))(proc_), (context_) })

static int option_asked(void *context, const char *plugin, const char *name, const char **value, unsigned *n)
{
	(void)context;
	(void)plugin;
	if (strcmp(name, "log_level") != 0)
		return SASL_FAIL;
	*value = "0";
	if (n != NULL)
		*n = 1;
	return SASL_OK;
}

static int file_wanted(void *context, const char *file, sasl_verify_type_t type)
{
	static const char *const names[] = { "libscram.", "libplain.", "liblogin." };
	const char *slash = strrchr(file, '/');

	(void)context;
	file = slash != NULL ? slash + 1 : file;
	for (size_t i = 0; type == SASL_VRFY_PLUGIN && i < COUNT(names); i++)
		if (strncmp(file, names[i], strlen(names[i])) == 0)
			return SASL_OK;
	return SASL_CONTINUE;
}

static int logged(void *context, int level, const char *text)
{
	(void)context;
	if (level == SASL_LOG_ERR && text != NULL)
		log_event(NULL, LOG_DEBUG, "cyrus.said", KV_C("text", text));
	return SASL_OK;
}

static const sasl_callback_t process_callbacks[] = {
	{ SASL_CB_GETOPT, (int (*)(void))(void (*)(void))option_asked, NULL },
	{ SASL_CB_LOG, (int (*)(void))(void (*)(void))logged, NULL },
	{ SASL_CB_VERIFYFILE, (int (*)(void))(void (*)(void))file_wanted, NULL },
	{ SASL_CB_LIST_END, NULL, NULL },
};

/* We act for nobody but ourselves: the authorization identity is empty. */
static int name_asked(void *context, int id, const char **result, unsigned *n)
{
	const struct proof *p = context;

	*result = id == SASL_CB_AUTHNAME ? p->login : "";
	if (n != NULL)
		*n = (unsigned)strlen(*result);
	return SASL_OK;
}

static int password_asked(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	struct proof *p = context;

	(void)conn;
	(void)id;
	*secret = p->password;
	return SASL_OK;
}

bool client_auth_open(void)
{
	if (sasl_client_init(process_callbacks) != SASL_OK)
		return false;
	is_open = true;
	return true;
}

void client_auth_close(void)
{
	if (is_open)
		sasl_client_done();
	is_open = false;
}

/* ---- a proof ---------------------------------------------------------------------------- */

static void proof_free(struct proof *p)
{
	if (p->conn != NULL)
		sasl_dispose(&p->conn);
	if (p->password != NULL) {
		crypt_wipe(p->password->data, p->password->len);
		free(p->password);
	}
	arena_wipe(&p->arena);
	free(p->login);
	free(p->host);
	free(p);
}

static struct proof *proof_new(struct client *c, const struct hop *hop)
{
	struct proof *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	arena_init(&p->arena, (size_t)256 << 10);
	p->client = c;
	p->login = strndup(hop->login.p, hop->login.n);
	p->host = strdup(c->name);
	p->password = malloc(sizeof(*p->password) + hop->password.n);
	if (p->login == NULL || p->host == NULL || p->password == NULL) {
		proof_free(p);
		return NULL;
	}
	p->password->len = hop->password.n;
	memcpy(p->password->data, hop->password.p, hop->password.n);
	p->callbacks[0] = CALLBACK(SASL_CB_USER, name_asked, p);
	p->callbacks[1] = CALLBACK(SASL_CB_AUTHNAME, name_asked, p);
	p->callbacks[2] = CALLBACK(SASL_CB_PASS, password_asked, p);
	p->callbacks[3] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	return p;
}

static void begin(struct proof *p, const char **out, unsigned *n)
{
	const sasl_security_properties_t none = { 0 };   /* no security layer: that is TLS' business */
	const char *chosen = NULL;

	p->result = sasl_client_new("smtp", p->host, NULL, NULL, p->callbacks, 0, &p->conn);
	if (p->result == SASL_OK)
		p->result = sasl_setprop(p->conn, SASL_SEC_PROPS, &none);
	if (p->result == SASL_OK)
		p->result = sasl_client_start(p->conn, mechanisms[p->mechanism].name, NULL, out, n, &chosen);
}

static void work(struct job *j)                                      /* disk desk */
{
	struct proof *p = SUPER(j, struct proof, job);
	const char *out = NULL;
	unsigned n = 0;

	if (!p->begun)
		begin(p, &out, &n);
	else
		p->result = sasl_client_step(p->conn, p->in.n > 0 ? p->in.p : "", (unsigned)p->in.n, NULL, &out, &n);
	p->answer = out != NULL ? str_keep(&p->arena, (str){ out, n }) : STR_NONE;
}

static void done(struct baton *);

static void send_to_desk(struct proof *p)
{
	struct client *c = p->client;

	p->out = true;
	p->job.work = work;
	p->job.baton.home = c->loop->mbox;
	p->job.baton.arrived = done;
	desk_submit_anyway(c->house->disk, &p->job);
}

/* ---- which mechanism ------------------------------------------------------------------------ */

void client_auth_offered(struct client *c, str words)
{
	str word;

	while (str_cut(&words, ' ', &word))
		for (size_t i = 0; i < COUNT(mechanisms); i++)
			if (str_is_nocase(word, mechanisms[i].name))
				c->mechanisms |= mechanisms[i].bit;
}

bool client_auth_wanted(const struct client *c)
{
	const struct hop *hop = c->lease->route.hop;

	return hop != NULL && hop->login.n > 0 && !c->logged_in;
}

/* The password leaves only where the check of the options allowed it. */
static bool is_safe(const struct client *c)
{
	const struct hop *hop = c->lease->route.hop;

	return hop->insecure_login || (c->secured && hop_is_verified(hop));
}

/* 0 … n-1, or n when there is no other. */
static size_t best_mechanism(const struct client *c)
{
	size_t i = 0;

	while (i < COUNT(mechanisms) && !(c->mechanisms & mechanisms[i].bit))
		i++;
	return i;
}

/* ---- talking ------------------------------------------------------------------------------------ */

void client_auth_failed(struct client *c, str said)
{
	const struct hop *hop = c->lease->route.hop;
	struct arena *a = client_arena(c);
	str sentence;

	if (hop->login.n == 0)
		sentence = arena_printf(a, "%s does not let us in: %.*s: add a login and password file to its route",
		                        c->host, STR_ARG(said));
	else
		sentence = arena_printf(a, "%s does not let us in as \"%.*s\": %.*s: mend login and password file of the "
		                        "route, then `postern reload`", c->host, STR_ARG(hop->login), STR_ARG(said));
	log_event(NULL, LOG_ERROR, "relay.login-refused", KV_C("host", c->host), KV("login", hop->login),
	          KV("reply", said));
	c->lease->unreachable = true;
	client_quit(c);
	client_fail_rest(c, FATE_DEFERRED, STR("4.7.8"), sentence);
}

static void try_mechanism(struct client *c, str why_not)
{
	size_t i = best_mechanism(c);

	client_auth_forget(c);
	if (i == COUNT(mechanisms) || !is_safe(c)) {
		client_auth_failed(c, i < COUNT(mechanisms) ? STR("the connection is not safe enough for a password")
		                                            : why_not);
		return;
	}
	c->mechanisms &= ~mechanisms[i].bit;
	c->proof = proof_new(c, c->lease->route.hop);
	if (c->proof == NULL) {
		client_next_host(c, true, STR("4.3.0"), STR("out of memory"));
		return;
	}
	c->proof->mechanism = i;
	send_to_desk(c->proof);
}

void client_auth_say(struct client *c)
{
	try_mechanism(c, STR("it offers none of SCRAM-SHA-256, PLAIN and LOGIN"));
}

/* Cyrus will not go on: RFC 4954 4, "*" ends the exchange. */
static void cancel(struct proof *p)
{
	p->cancelled = true;
	if (p->begun)
		conn_write(p->client->conn, STR("*\r\n"));
	else
		try_mechanism(p->client, STR("its mechanisms cannot be used here"));
}

static void say_answer(struct proof *p)
{
	struct client *c = p->client;
	str text = base64_encode(&p->arena, p->answer);

	if (p->begun)
		conn_writef(c->conn, "%.*s\r\n", STR_ARG(text));
	else if (p->answer.p == NULL)
		conn_writef(c->conn, "AUTH %s\r\n", mechanisms[p->mechanism].name);
	else
		conn_writef(c->conn, "AUTH %s %.*s\r\n", mechanisms[p->mechanism].name,
		            STR_ARG(text.n > 0 ? text : STR("=")));
	p->begun = true;
}

static void done(struct baton *b)
{
	struct proof *p = SUPER(SUPER(b, struct job, baton), struct proof, job);

	p->out = false;
	if (p->client == NULL)
		proof_free(p);
	else if ((p->result != SASL_OK && p->result != SASL_CONTINUE) || p->arena.spent)
		cancel(p);
	else
		say_answer(p);
}

static enum state_id accepted(struct client *c)
{
	/* A server that knows SCRAM proves that it knows the password, too. */
	if (c->proof->result != SASL_OK) {
		client_auth_failed(c, STR("it did not prove that it knows the password itself"));
		return ST_DONE;
	}
	client_auth_forget(c);
	c->logged_in = true;
	/* RFC 4954 4: what was offered may have changed, but not behind our TLS. */
	client_ready(c);
	return ST_DONE;
}

static enum state_id challenged(struct client *c, const struct reply *r)
{
	struct proof *p = c->proof;

	if (p->cancelled || !base64_decode(&p->arena, r->text, false, &p->in)) {
		client_next_host(c, true, STR("4.5.0"), STR("It answers AUTH with what is no challenge"));
		return ST_DONE;
	}
	send_to_desk(p);
	return ST_SAME;
}

enum state_id client_auth_heard(struct client *c, const struct reply *r)
{
	struct proof *p = c->proof;
	str said = client_reply_said(client_arena(c), r);

	if (p == NULL || p->out || r->code == 421) {
		client_next_host(c, true, STR("4.5.0"), said);
		return ST_DONE;
	}
	if (r->code == 334)
		return challenged(c, r);
	if (r->code == 235)
		return accepted(c);
	if (p->cancelled || r->code == 504) {      /* this mechanism will not do */
		try_mechanism(c, said);
		return ST_DONE;
	}
	if (r->code / 100 == 4)
		client_next_host(c, true, client_reply_status(client_arena(c), r), said);
	else
		client_auth_failed(c, said);
	return ST_DONE;
}

void client_auth_forget(struct client *c)
{
	struct proof *p = c->proof;

	c->proof = NULL;
	if (p == NULL)
		return;
	p->client = NULL;
	if (!p->out)
		proof_free(p);
}
