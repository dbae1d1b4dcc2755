/* SPDX-License-Identifier: ISC */
/*
 * keeper: the split, and the server's side of the talk.
 *
 * The parent becomes the keeper (keeper_root.c), the child the server, which
 * proves to itself that root cannot be had again before it returns.  No thread
 * exists before the split; afterwards the server's main thread alone asks.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <dirent.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/keeper_inside.h"

#define PATIENCE_S 30      /* for an answer; reading a configuration takes milliseconds */

static int keeper_sock = -1;
static uint32_t serial;
static pthread_t main_thread;

static enum err say(str *why, enum err e, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static enum err say(str *why, enum err e, const char *format, ...)
{
	static char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	*why = str_of(text);
	return e;
}

/* ---- before the split --------------------------------------------------------- */

static bool is_empty(int fd)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	DIR *dir = own >= 0 ? fdopendir(own) : NULL;
	const struct dirent *d;
	bool empty = dir != NULL;

	while (empty && (d = readdir(dir)) != NULL)
		empty = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
	if (dir != NULL)
		closedir(dir);
	else if (own >= 0)
		close(own);
	return empty;
}

/* Gives a new or empty directory to the user.  Root's own with something in it
 * may be /etc, by a slip of the pen. */
static enum err hand_over(int fd, str path, const struct keeper_plan *plan, str *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return say(why, ERR_IO, "%.*s: %s", STR_ARG(path), strerror(errno));
	if (st.st_uid == plan->uid)
		return OK;
	if (st.st_uid != 0 || !is_empty(fd))
		return say(why, ERR_DENIED,
		           "the state directory %.*s belongs to user id %u: give it to %s with "
		           "`chown -R %s %.*s`, or name another one",
		           STR_ARG(path), (unsigned)st.st_uid, plan->user ? plan->user : "the server's user",
		           plan->user ? plan->user : "USER", STR_ARG(path));
	if (fchmod(fd, 0700) != 0 || fchown(fd, plan->uid, plan->gid) != 0)
		return say(why, err_of_errno(errno), "the state directory %.*s cannot be given away: %s",
		           STR_ARG(path), strerror(errno));
	return OK;
}

static enum err make_state(const struct keeper *k, str *why)
{
	for (size_t i = 0; i < k->names.state.n; i++) {
		str path = k->names.state.v[i];
		int fd = keeper_walk_dir(path);
		enum err e;

		if (fd < 0)
			return say(why, err_of_errno(errno),
			           "the state directory %.*s cannot be made or opened: %s: name another one",
			           STR_ARG(path), strerror(errno));
		e = hand_over(fd, path, k->plan, why);
		close(fd);
		if (e != OK)
			return e;
	}
	return OK;
}

/* ---- the two halves -------------------------------------------------------------- */

/* Descriptors 0 to 2 stay, standard input as /dev/null; of the others only the
 * keeper's two. */
static void close_the_rest(int a, int b)
{
	unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0)
		dup2(null, STDIN_FILENO);
	close_range(3, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
}

static bool has_capability(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { { 0 }, { 0 } };

	return syscall(SYS_capget, &head, data) != 0 || (data[0].permitted | data[1].permitted) != 0 ||
	       (data[0].effective | data[1].effective) != 0;
}

static enum err drop_root(const struct keeper_plan *p, pid_t keeper, str *why)
{
	uid_t r, e, s;
	int groups = p->user != NULL ? initgroups(p->user, p->gid) : setgroups(1, &p->gid);

	if (groups != 0 || setresgid(p->gid, p->gid, p->gid) != 0 ||
	    setresuid(p->uid, p->uid, p->uid) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return say(why, ERR_DENIED, "root's rights cannot be given up: %s", strerror(errno));
	if (getresuid(&r, &e, &s) != 0 || r != p->uid || e != p->uid || s != p->uid || setuid(0) == 0 ||
	    setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || (p->gid != 0 && setgid(0) == 0) || has_capability())
		return say(why, ERR_DENIED,
		           "root's rights came back after they were given up: do not start postern in "
		           "an environment that keeps capabilities");
	/* Only now: a change of user clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != keeper)
		return say(why, ERR_CLOSED, "the keeper has gone: start postern again");
	return OK;
}

static enum err become_server(const struct keeper_plan *plan, int sock, pid_t keeper, str *why)
{
	struct timeval patience = { PATIENCE_S, 0 };
	enum err e = drop_root(plan, keeper, why);

	if (e != OK)
		return e;
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
	    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) != 0)
		return say(why, ERR_IO, "the keeper's socket cannot be set up: %s", strerror(errno));
	keeper_sock = sock;
	main_thread = pthread_self();
	return OK;
}

static void keeper_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGCHLD);
}

static enum err split(struct keeper *k, str *why)
{
	int pair[2] = { -1, -1 };
	pid_t self = getpid();
	sigset_t ours, before;

	fflush(NULL);                        /* or both halves would write what is gathered */
	keeper_signals(&ours);
	/* From before the fork, so that no signal is lost between. */
	sigprocmask(SIG_BLOCK, &ours, &before);
	k->signals = signalfd(-1, &ours, SFD_CLOEXEC);
	if (k->signals < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
	    (k->server = fork()) < 0) {
		enum err e = say(why, err_of_errno(errno), "the server cannot be split off: %s",
		                 strerror(errno));

		close(k->signals);
		close(pair[0]);
		close(pair[1]);
		sigprocmask(SIG_SETMASK, &before, NULL);
		return e;
	}
	if (k->server == 0) {
		close(pair[0]);
		close(k->signals);
		sigprocmask(SIG_SETMASK, &before, NULL);
		return become_server(k->plan, pair[1], self, why);
	}
	k->sock = pair[0];
	close_the_rest(k->sock, k->signals);
	prctl(PR_SET_NAME, "postern-keeper", 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	keeper_live(k);
}

enum err keeper_split(const struct keeper_plan *plan, str *why)
{
	struct keeper k = { .plan = plan, .sock = -1, .signals = -1 };
	enum err e;

	*why = STR_NONE;
	must(keeper_sock < 0);
	if (geteuid() != 0)
		return OK;
	if (plan->uid == 0)
		return say(why, ERR_DENIED,
		           "the server must not run as root: set `user` to an account made for it");
	arena_init(&k.arena, ARENA_UNBOUNDED);
	e = keeper_read_names(&k);
	if (e != OK)
		e = say(why, e, "the keeper cannot read the configuration: %s", err_text(e));
	else
		e = make_state(&k, why);
	if (e == OK)
		e = split(&k, why);
	arena_fini(&k.arena);                /* the server's copy; the keeper never comes here */
	return e;
}

bool keeper_present(void)
{
	return keeper_sock >= 0;
}

/* ---- the server asks ------------------------------------------------------------- */

static int take_descriptor(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fd;

	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* One answer; false with errno. */
static bool hear(struct keeper_answer *a, int *fd)
{
	struct iovec iov = { a, sizeof(*a) };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
	                    .msg_controllen = sizeof(control.room) };
	ssize_t n;

	do
		n = recvmsg(keeper_sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(*a)) {
		*fd = take_descriptor(&m);
		return true;
	}
	if (n >= 0)
		errno = EPIPE;
	else if (errno == EAGAIN)
		errno = ETIMEDOUT;
	return false;
}

static bool ask(uint32_t kind, str text, struct keeper_answer *a, int *fd)
{
	struct keeper_ask packet = { .kind = kind, .serial = ++serial };
	ssize_t n;

	must(pthread_equal(pthread_self(), main_thread));
	*fd = -1;
	if (text.n > sizeof(packet.text)) {
		errno = ENAMETOOLONG;
		return false;
	}
	if (text.n > 0)
		memcpy(packet.text, text.p, text.n);
	do
		n = send(keeper_sock, &packet, KEEPER_ASK_HEAD + text.n, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return false;
	while (hear(a, fd)) {
		if (a->serial == packet.serial)
			return true;
		if (*fd >= 0)                /* the answer to an ask that was given up */
			close(*fd);
		*fd = -1;
	}
	return false;
}

static int ask_descriptor(uint32_t kind, str text)
{
	struct keeper_answer a;
	int fd;

	if (!ask(kind, text, &a, &fd))
		return -1;
	if (a.errnum == 0 && fd >= 0)
		return fd;
	if (fd >= 0)
		close(fd);
	errno = a.errnum != 0 ? a.errnum : EMFILE;   /* our table was full: the kernel dropped it */
	return -1;
}

static int open_self(str path)
{
	char text[PATH_MAX];

	if (path.n == 0 || path.n >= sizeof(text) || str_holds(path, '\0')) {
		errno = path.n == 0 ? ENOENT : EINVAL;
		return -1;
	}
	memcpy(text, path.p, path.n);
	text[path.n] = '\0';
	return open(text, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int keeper_open(str path)
{
	return keeper_present() ? ask_descriptor(KEEPER_OPEN, path) : open_self(path);
}

int keeper_listen(str endpoint)
{
	int fd = listen_inherited(endpoint);

	if (fd >= 0)
		return fd;
	return keeper_present() ? ask_descriptor(KEEPER_LISTEN, endpoint) : listen_at(endpoint);
}

void keeper_port_holder(str endpoint, struct port_holder *out)
{
	struct keeper_answer a;
	struct endpoint e;
	int fd;

	*out = (struct port_holder){ 0 };
	if (!keeper_present() && endpoint_parse(endpoint, 0, &e))
		(void)port_holder(e.port, out);
	if (!keeper_present() || !ask(KEEPER_HOLDER, endpoint, &a, &fd))
		return;
	if (fd >= 0)
		close(fd);
	a.holder.who[sizeof(a.holder.who) - 1] = a.holder.stop[sizeof(a.holder.stop) - 1] = '\0';
	*out = a.holder;
}

enum err keeper_reload(void)
{
	struct keeper_answer a;
	int fd;

	if (!keeper_present())
		return OK;
	if (!ask(KEEPER_RELOAD, STR_NONE, &a, &fd))
		return ERR_CLOSED;
	if (fd >= 0)
		close(fd);
	return (enum err)a.errnum;
}
