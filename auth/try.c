/* SPDX-License-Identifier: ISC */
/*
 * One exchange (RFC 4954): the loop lends the try to the login desk for each
 * step, and it comes home with the answer.
 *
 * Between steps the Cyrus connection lies still in the try; it is made, used
 * and disposed of on the desk alone.  Whatever is wrong on our side of the desk
 * (desk full, mechanism not offered, a response too long) is answered at the
 * loop's next turn, so that `answered` never fires inside a call.  A try that
 * is ended while it is out, or with a connection in it, becomes a ghost that
 * frees itself when it comes home.  A back end may keep a step for ever: the
 * client hears 454 after `step_ms`, whatever becomes of the step.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define CHANNEL_ROOM ((size_t)32 << 10)

struct auth_try {
	struct job        job;         /* first: it is what travels */
	struct loop_call  soon;        /* answers that need no desk */
	struct auth      *auth;
	struct loop      *loop;
	const struct log *log;
	auth_answered    *answered;
	void             *user;
	struct loop_timer patience;    /* with the desk */
	struct loop_timer slow;        /* a guesser's answer is held back */
	struct auth_channel channel;
	struct arena      kept;        /* what the channel names */
	bool              out;         /* on the desk, or on its way home */
	bool              ghost;
	/* the desk's while it is out */
	struct exchange  *exchange;
	const char       *mechanism;   /* NULL: not one of ours */
	struct claim      claim;
	char             *in;          /* the response */
	size_t            in_n;
	bool              in_given;
	char             *challenge;
	size_t            challenge_n;
	char              login[ADDR_PATH_MAX * 2 + 1];
	size_t            login_n;
	enum auth_says    says;
	const char       *reason;
	int               code;
};

/* ---- on the desk ------------------------------------------------------------------ */

static void forget_response(struct auth_try *t)
{
	crypt_wipe(t->in, t->in_n);
	free(t->in);
	t->in = NULL;
	t->in_n = 0;
}

static bool keep_challenge(struct auth_try *t, str challenge)
{
	free(t->challenge);
	t->challenge = malloc(challenge.n + 1);
	t->challenge_n = 0;
	if (t->challenge == NULL)
		return false;
	if (challenge.n > 0)
		memcpy(t->challenge, challenge.p, challenge.n);
	t->challenge_n = challenge.n;
	return true;
}

static bool keep_login(struct auth_try *t, str login)
{
	if (login.n > sizeof(t->login))
		return false;
	memcpy(t->login, login.p, login.n);
	t->login_n = login.n;
	return true;
}

/* What Cyrus and the table gave is theirs; the try keeps copies. */
static void keep(struct auth_try *t, const struct heard *h)
{
	t->says = h->says;
	t->reason = h->reason;
	t->code = h->code;
	if ((h->says == AUTH_MORE && !keep_challenge(t, h->challenge)) ||
	    (h->says == AUTH_PASSED && !keep_login(t, h->login))) {
		t->says = AUTH_LATER;
		t->reason = "out of memory";
	}
}

static void take_step(struct auth_try *t, const struct judge *judge, struct heard *h)
{
	str in = { t->in, t->in_n };

	if (t->exchange != NULL) {
		exchange_step(t->exchange, judge, in, h);
		return;
	}
	*h = (struct heard){ .says = AUTH_LATER, .reason = "out of memory" };
	t->exchange = exchange_new(t->auth, &t->channel, &t->claim);
	if (t->exchange != NULL)
		exchange_begin(t->exchange, judge, t->mechanism, t->in_given ? &in : NULL, h);
}

static void work(struct job *job)
{
	struct auth_try *t = SUPER(job, struct auth_try, job);
	struct judge judge = { .auth = t->auth, .seat = auth_sit(t->auth), .channel = &t->channel,
		               .now_ms = clock_ms() };
	struct heard heard;

	judge.table = auth_table(t->auth, judge.seat);
	take_step(t, &judge, &heard);
	keep(t, &heard);
	if (heard.says == AUTH_PASSED || heard.says == AUTH_REFUSED)
		logins_note(&judge, &t->claim, &heard, t->mechanism);
	auth_table_done(judge.seat);
	forget_response(t);
	if (t->says == AUTH_MORE)
		return;
	exchange_free(t->exchange);
	t->exchange = NULL;
}

static void bury(struct job *job)
{
	struct auth_try *t = SUPER(job, struct auth_try, job);

	exchange_free(t->exchange);
	t->exchange = NULL;
}

/* ---- on the loop -------------------------------------------------------------------- */

static void try_free(struct auth_try *t)
{
	loop_timer_stop(&t->patience);
	loop_timer_stop(&t->slow);
	forget_response(t);
	free(t->challenge);
	arena_wipe(&t->kept);
	crypt_wipe(t, sizeof(*t));
	free(t);
}

static void buried(struct baton *b)
{
	try_free(SUPER(SUPER(b, struct job, baton), struct auth_try, job));
}

static void send_out(struct auth_try *t, void (*what)(struct job *),
                     void (*arrived)(struct baton *))
{
	t->out = true;
	t->job.work = what;
	t->job.baton.home = t->loop->mbox;
	t->job.baton.arrived = arrived;
}

static void vanish(struct auth_try *t)
{
	if (t->exchange == NULL) {
		try_free(t);
		return;
	}
	send_out(t, bury, buried);
	desk_submit_anyway(t->auth->login, &t->job);
}

static uint64_t tell(const struct auth_try *t)
{
	const struct auth_event e = {
		.log = t->log, .says = t->says, .name = { t->claim.name, t->claim.n },
		.login = auth_try_login(t), .by = t->claim.stands.by ? t->claim.stands.by->key : STR_NONE,
		.ip = t->channel.ip, .mechanism = t->mechanism,
		.reason = t->reason, .code = t->code, .exists = t->claim.exists,
		.secret = t->claim.secret_seen ? t->claim.secret : NULL,
	};

	return auth_after(t->auth, &e);
}

static void answer(struct auth_try *t)
{
	str challenge = t->says == AUTH_MORE ? (str){ t->challenge, t->challenge_n } : STR_NONE;

	uint64_t slow_ms = 0;

	/* Nobody logs in who has left, but who failed did. */
	if (t->says != AUTH_MORE && !(t->says == AUTH_PASSED && t->ghost))
		slow_ms = tell(t);
	if (t->ghost)
		vanish(t);
	else if (slow_ms > 0)
		loop_timer_set(&t->slow, slow_ms);
	else
		t->answered(t, t->says, challenge, t->user);
}

static void held_back(struct loop_timer *timer)
{
	struct auth_try *t = SUPER(timer, struct auth_try, slow);

	t->answered(t, t->says, STR_NONE, t->user);
}

static void came_home(struct baton *b)
{
	struct auth_try *t = SUPER(SUPER(b, struct job, baton), struct auth_try, job);

	t->out = false;
	loop_timer_stop(&t->patience);
	loop_doing(t->loop, "login");
	answer(t);
}

/* What the step says belongs to the desk until it is home: nothing of it is
 * looked at here. */
static void waited_too_long(struct loop_timer *timer)
{
	struct auth_try *t = SUPER(timer, struct auth_try, patience);

	log_event(t->log, LOG_ERROR, "login.late", KV_C("ip", t->channel.ip),
	          KV_C("mechanism", t->mechanism), KV_N("ms", t->auth->step_ms),
	          KV_C("why", "the back end of auth {} does not answer: look after it"));
	t->answered(t, AUTH_LATER, STR_NONE, t->user);
}

static void soon_came(struct loop_call *call)
{
	answer(SUPER(call, struct auth_try, soon));
}

static void answer_soon(struct auth_try *t, enum auth_says says, const char *reason)
{
	forget_response(t);
	t->says = says;
	t->reason = reason;
	t->code = 0;
	loop_defer(t->loop, &t->soon, soon_came);
}

static bool keep_response(struct auth_try *t, str response)
{
	t->in = malloc(response.n + 1);
	if (t->in == NULL)
		return false;
	if (response.n > 0)
		memcpy(t->in, response.p, response.n);
	t->in_n = response.n;
	return true;
}

/* Only PLAIN has NULs (RFC 4616 2); elsewhere Cyrus would see less than was sent. */
static bool response_fits(const struct auth_try *t, str response)
{
	return response.n <= RESPONSE_MAX &&
	       (str_is(str_of(t->mechanism), "PLAIN") || !str_holds(response, '\0'));
}

static void step_out(struct auth_try *t, str response)
{
	if (!response_fits(t, response)) {
		answer_soon(t, AUTH_MALFORMED, "malformed response");
		return;
	}
	if (!keep_response(t, response)) {
		answer_soon(t, AUTH_LATER, "out of memory");
		return;
	}
	send_out(t, work, came_home);
	loop_timer_set(&t->patience, t->auth->step_ms);
	if (desk_submit(t->auth->login, &t->job) == OK)
		return;
	loop_timer_stop(&t->patience);
	t->out = false;
	answer_soon(t, AUTH_LATER, "too many logins at once");
}

static bool keep_channel(struct auth_try *t, const struct auth_channel *c)
{
	str *names = ARENA_ARRAY(&t->kept, str, c->certificate.n + 1);

	if (names == NULL)
		return false;
	t->channel = *c;
	/* Cyrus knows of the binding only if the client was told of -PLUS. */
	if (auth_mechanism_named(t->auth, c, STR("SCRAM-SHA-256-PLUS")) == NULL)
		t->channel.binding_type = NULL;
	t->channel.ip = str_cstr(&t->kept, str_of(c->ip));
	t->channel.binding = str_keep(&t->kept, c->binding);
	t->channel.certificate.v = names;
	for (size_t i = 0; i < c->certificate.n; i++)
		names[i] = str_keep(&t->kept, c->certificate.v[i]);
	return !t->kept.spent;
}

struct auth_try *auth_try_new(struct auth *auth, struct loop *loop, const struct auth_channel *c,
                              auth_answered *answered, void *user)
{
	struct auth_try *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->auth = auth;
	t->loop = loop;
	t->answered = answered;
	t->user = user;
	arena_init(&t->kept, CHANNEL_ROOM);
	loop_timer_init(&t->patience, loop, "login.patience", waited_too_long);
	loop_timer_init(&t->slow, loop, "login.slow", held_back);
	if (keep_channel(t, c))
		return t;
	try_free(t);
	return NULL;
}

void auth_try_begin(struct auth_try *t, str mechanism, const str *initial)
{
	must(!t->out && t->exchange == NULL && !t->ghost);
	t->mechanism = auth_mechanism_named(t->auth, &t->channel, mechanism);
	t->channel.mechanisms = (struct strs){ 0 };    /* the listener's: it may go before the try */
	t->in_given = initial != NULL;
	if (t->mechanism == NULL)
		answer_soon(t, AUTH_NO_MECH, "mechanism not offered");
	else
		step_out(t, initial ? *initial : STR_NONE);
}

void auth_try_step(struct auth_try *t, str response)
{
	must(!t->out && t->exchange != NULL && !t->ghost && t->says == AUTH_MORE);
	t->in_given = true;
	step_out(t, response);
}

str auth_try_login(const struct auth_try *t)
{
	return t->says == AUTH_PASSED ? (str){ t->login, t->login_n } : STR_NONE;
}

struct auth_login auth_try_stands(const struct auth_try *t)
{
	return t->says == AUTH_PASSED ? t->claim.stands : (struct auth_login){ 0 };
}

str auth_try_mechanism(const struct auth_try *t)
{
	return str_of(t->mechanism);
}

void auth_try_log(struct auth_try *t, const struct log *log)
{
	t->log = log;
}

void auth_try_end(struct auth_try *t)
{
	if (t == NULL)
		return;
	must(!t->ghost);
	t->ghost = true;
	t->log = NULL;
	loop_timer_stop(&t->patience);
	loop_timer_stop(&t->slow);
	loop_undefer(&t->soon);
	if (!t->out)
		vanish(t);
}
