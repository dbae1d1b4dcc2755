/* SPDX-License-Identifier: ISC */
/*
 * The front door: the modules that are built in, the verbs, and nothing else.
 *
 * From here: `serve` (setup/serve.c) starts everything in order; a message
 * then comes in by session/command.c, intake.c and accept.c, is kept by
 * queue/committer.c and leaves by queue/deliver/timetable.c.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modules/adsp/adsp.h"
#include "modules/arc/arc.h"
#include "modules/deny/deny.h"
#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "modules/dnsbl/dnsbl.h"
#include "modules/domainkeys/domainkeys.h"
#include "modules/iprev/iprev.h"
#include "modules/localsender/localsender.h"
#include "modules/senderid/senderid.h"
#include "modules/sender/sender.h"
#include "modules/spf/spf.h"
#include "smtpd/setup/verbs.h"

/* In any order: each says which others it reads, the chain sorts them. */
const struct module *const builtin_modules[] = {
	&iprev_module,
	&deny_module,
	&dnsbl_module,
	&sender_module,
	&spf_module,
	&dkim_module,
	&arc_module,
	&dmarc_module,
	&domainkeys_module,
	&senderid_module,
	&adsp_module,
	&localsender_module,
	NULL,
};

static int run_verify(int argc, char **argv)
{
	return verb_verify(argc, argv, builtin_modules);
}

static int run_explain(int argc, char **argv)
{
	return verb_explain(argc, argv, builtin_modules);
}

#define CONFIG_OPTION "  -c FILE   the configuration, default /etc/postern/postern.conf"
#define SIGN_OPTIONS \
	"  --algorithm A   rsa-sha256 or ed25519-sha256; default: by the key\n" \
	"  --canon H/B     simple or relaxed for header and body; default relaxed/relaxed\n" \
	"  --headers LIST  names between colons\n"
#define JUDGE_OPTIONS \
	"  --ip IP              the client's address\n" \
	"  --helo NAME          what it called itself\n" \
	"  --mail-from ADDR     the envelope sender; '' is the null sender\n" \
	"  --rcpt-to ADDR       an envelope recipient\n" \
	"  --authserv-id ID     our name in Authentication-Results\n" \
	"  --resolver ADDR:PORT send every DNS query to this server\n" \
	"  --now EPOCH          judge as at this time\n" \
	"  --json               print one JSON document\n" \
	CONFIG_OPTION

const struct verb verbs[] = {
	{ "serve", verb_serve, "[-c FILE]", "Runs the server in the foreground.", CONFIG_OPTION },
	{ "local", verb_local, "[DIR] [--ports MAIL,SUBMISSION,SUBMISSIONS]",
	  "Runs a complete playground on loopback in DIR (default ./run).",
	  "  --ports A,B,C   ports for mail, submission (STARTTLS) and submissions (TLS); 0 is any free one;\n"
	  "                  default 2525,5587,4465" },
	{ "check", verb_check, "[-c FILE]\n--sample", "Reads the configuration and says every fault as FILE:LINE: text.",
	  "  --sample  print a configuration with every option and its default\n" CONFIG_OPTION },
	{ "reload", verb_reload, "[-c FILE]", "Has the running server read its configuration and files again.", CONFIG_OPTION },
	{ "status", verb_status, "[--json] [-c FILE]", "Shows how the running server is doing.", CONFIG_OPTION },
	{ "setup", verb_setup, "DOMAIN [OPTION...]",
	  "Sets up a server for DOMAIN: configuration, keys, certificate, first account, service; prints the DNS records.",
	  "  It changes nothing that is there, shows what differs, and can be run again.\n"
	  "  --hostname NAME      of this mail server; default: what its PTR record says, or mail.DOMAIN\n"
	  "  --etc DIR            of the configuration, default /etc/postern\n"
	  "  --state DIR          of queue, keys and accounts, default /var/lib/postern\n"
	  "  --mail DIR           of the Maildirs, default /var/mail, or mail in another --state\n"
	  "  --user NAME          the server runs as it when root starts it, default postern; made if it is not there\n"
	  "  --account NAME       the first account, default postmaster; its password is made and shown once\n"
	  "  --password-stdin     read that password from standard input instead\n"
	  "  --ports A,B,C        for mail, submission (STARTTLS) and submissions (TLS), default 25,587,465\n"
	  "  --acme TOOL          get a certificate by certbot, uacme or lego, which agrees to its authority's terms\n"
	  "  --webroot DIR        of a web server that has port 80; default: the tool, or postern, answers itself\n"
	  "  --http-port N        where port 80 leads to, default 80\n"
	  "  --certificate FILE   take this certificate (its whole chain), now and with a server that runs\n"
	  "  --key FILE           and its key\n"
	  "  --format F           of the records: form (default), zone or text\n"
	  "  --add                add DOMAIN to a configuration that has others\n"
	  "  --force              write files anew that differ; the old ones stay beside them as FILE.old\n"
	  "  --dry-run            say what would be done, and do nothing\n"
	  "  --wait, --no-wait    wait until DNS shows the records; default: on a terminal\n"
	  "  --resolver ADDR:PORT send every DNS query to this server" },
	{ "doctor", verb_doctor, "[DOMAIN] [--only CHECK,...] [--json] [--outside] [--resolver ADDR:PORT] [-c FILE]\n[DOMAIN] --wait [--for TIME] [--json] [-c FILE]",
	  "Looks at this host and its domains, or at somebody else's DOMAIN, and says how to mend what is wrong.",
	  "  --only CHECK,...     these checks alone\n"
	  "  --outside            also ask and connect to strangers: see postern-doctor(8)\n"
	  "  --wait               watch until DNS shows every record that mail needs\n"
	  "  --for TIME           with --wait: give up after this time, as 30m\n"
	  "  --resolver ADDR:PORT ask this name server instead of the configuration's\n"
	  "  --json               print one JSON document\n" CONFIG_OPTION },
	{ "dns", verb_dns, "[DOMAIN] [--format form|zone|text|json] [-c FILE]",
	  "Prints the DNS records that the configuration calls for, and what web {} serves.",
	  "  --format F   form (default): the fields of a provider's web form; zone: a zone file; text: one line\n"
	  "               for each record; json: one JSON document with all of these\n" CONFIG_OPTION },
	{ "account", verb_account, "add ADDRESS [--require WHAT] [-c FILE]\n"
	  "passwd ADDRESS [-c FILE]\nrequire ADDRESS WHAT [-c FILE]\nlist [ADDRESS] [--json] [-c FILE]\nlogins ADDRESS [--json] [-c FILE]\nremove ADDRESS [-c FILE]\n"
	  "release|drop|lock ADDRESS [-c FILE]\n"
	  "app-password add ADDRESS --label TEXT [--expires DAY] [--from NETWORK[,NETWORK]] [--send-only] [-c FILE]\n"
	  "app-password list [ADDRESS] [--json] [-c FILE]\napp-password remove ADDRESS LABEL [-c FILE]\n"
	  "certificate issue ADDRESS [--out FILE] [--days N] [--legacy] [-c FILE]\n"
	  "certificate list [ADDRESS] [--json] [-c FILE]\ncertificate revoke ADDRESS SERIAL|all [-c FILE]\n"
	  "totp enrol ADDRESS [--qr] [-c FILE]\ntotp remove ADDRESS [-c FILE]",
	  "Manages who may log in and receive.",
	  "  add and passwd ask for the password on a terminal; otherwise they read one line of it from\n"
	  "  standard input.\n"
	  "  WHAT is what a login needs to send: password, app-password, certificate, totp or oauth;\n"
	  "  require also takes default, which is what the domain requires.\n"
	  "  release          the mail held for its allowance goes, and it may send again\n"
	  "  drop             that mail is removed, and it may send again unless it is locked\n"
	  "  lock             its logins are refused from now on, open ones end; release opens it again\n"
	  "  --require WHAT   of a new account\n"
	  "  --label TEXT     which device it is, such as phone\n"
	  "  --expires DAY    the last day of a device password, such as 2027-01-01\n"
	  "  --from NETWORK   it counts from there only, such as 192.0.2.0/24\n"
	  "  --send-only      Dovecot refuses it: it sends and reads nothing\n"
	  "  --out FILE       of a certificate with its key; default ADDRESS.p12\n"
	  "  --days N         how long a certificate counts; default 730\n"
	  "  --legacy         a .p12 file for programs that know no AES there\n"
	  "  --qr             draw the picture although standard output is no terminal\n"
	  "  --json           print one JSON document\n" CONFIG_OPTION },
	{ "key", verb_key, "generate DOMAIN SELECTOR [--algorithm rsa-sha256|ed25519-sha256] [--bits N] [-c FILE]\nlist [DOMAIN [SELECTOR]] [--json] [--now EPOCH] [-c FILE]\nshow DOMAIN [SELECTOR] [-c FILE]\n"
	  "prepare DOMAIN [-c FILE]\nrotate DOMAIN [--force] [-c FILE]\nstep [DOMAIN] [--now EPOCH] [-c FILE]\n"
	  "test DOMAIN [SELECTOR]|--all [--resolver ADDR:PORT] [--json] [-c FILE]\n"
	  "import DOMAIN SELECTOR FILE [-c FILE]\nimport --opendkim KEYTABLE [--signing-table FILE] [-c FILE]",
	  "Makes DKIM keys, shows their DNS records, and moves managed keys through their lives.",
	  "  --algorithm A   rsa-sha256 (default) or ed25519-sha256\n  --bits N        of an RSA key: 1024 to 4096, default 2048\n"
	  "  prepare         of a section keys: make further sets of keys\n"
	  "  rotate          let the next set sign now, if DNS shows it; --force: after one look, not two\n"
	  "  step            one turn of the calendar, as the server takes it\n"
	  "  --now EPOCH     the time that it is, for who has a clock of his own; step takes it where no server runs\n"
	  "  test            ask each authoritative server what it shows; exit status 1 if a key is not shown right\n"
	  "  import          take a private key that was made elsewhere, or all that OpenDKIM's tables name\n"
	  "  --all           every key\n  --resolver A:P  ask it for the servers' addresses\n" CONFIG_OPTION },
	{ "queue", verb_queue, "list [FILTER] [--json] [-c FILE]\nshow ID [--json] [-c FILE]\n"
	  "retry|hold|release|remove ID...|FILTER|--all [-c FILE]\nflush [-c FILE]\n"
	  "check [--json] [-c FILE]\nexport ID [-c FILE] > message.eml\nexport --all DIR [-c FILE]\n"
	  "backup FILE|- [-c FILE]\nrestore FILE [--force] [-c FILE]\nsalvage FILE [-c FILE]",
	  "Shows the queue and acts on it.",
	  "  FILTER is any of these, and a message has to fit all of them:\n"
	  "  --to TEXT      a recipient's address holds TEXT\n"
	  "  --from TEXT    the sender's address holds TEXT; <> is the empty one\n"
	  "  --older TIME   it came so long ago, as in 30m, 2h, 1d\n"
	  "  --state STATE  waiting, staged, held, aside, breaker or damaged\n"
	  "  check          read everything, verify checksums, say what is wrong and what to do\n"
	  "  export         a message as it is stored, of a damaged one as much as is there\n"
	  "  backup         the whole queue as one tar archive, also beside a running server\n"
	  "  restore        a backup becomes the queue of a stopped server; all of it comes back held\n"
	  "    --force      also in the place of a queue that is not empty, which is kept beside it\n"
	  "  salvage        what an old or damaged store holds, into that of a stopped server, held\n"
	  "  --json         print one JSON document\n" CONFIG_OPTION },
	{ "deliver-test", verb_deliver_test, "[--json] [--from ADDR] [--requiretls] [--resolver ADDR:PORT] [-c FILE] DOMAIN|ADDRESS",
	  "Shows how mail for a domain would leave, without sending any.",
	  "  It looks everything up and greets each host in turn: route, MX hosts, DNSSEC, MTA-STS, TLSA, and the\n"
	  "  certificates seen.  Status 1: mail would wait or go back, and why.\n"
	  "  --from ADDR      the envelope sender, where routes ask for it\n"
	  "  --requiretls     as a message that requires TLS all the way\n"
	  "  --resolver ADDR:PORT  send every DNS query to this server\n"
	  "  --json           print one JSON document\n" CONFIG_OPTION },
	{ "relay-test", verb_relay_test, "[-c FILE]", "Tries the known relay tricks on the configuration, in memory.",
	  "  Status 1: a stranger could send to elsewhere, and how; such a server does not start.\n" CONFIG_OPTION },
	{ "deny", verb_deny, "add KIND VALUE [--until DATE|--for TIME] [--reply TEXT] [-c FILE]\nlist [--json] [-c FILE]\nremove KIND VALUE [-c FILE]",
	  "Says who is refused, while the server runs.",
	  "  KIND is client (an address or network), ptr, helo, sender or recipient.\n"
	  "  --until DATE   the last day, such as 2026-12-31, or \"2026-12-31 18:00\"; default: for good\n"
	  "  --for TIME     for so long, such as 4h or 7d\n"
	  "  --reply TEXT   what they hear: a text, or CODE X.Y.Z TEXT\n"
	  "  --json         print one JSON document\n" CONFIG_OPTION },
	{ "log", verb_log, "ID|ADDRESS [--file LOG] [-c FILE]", "Shows a message's life, from the log.",
	  "  --file LOG   the log to look in; default the configuration's, or standard input (-)\n" CONFIG_OPTION },
	{ "verify", run_verify, "--ip IP --helo NAME --mail-from ADDR [OPTION...] < message",
	  "Judges a message as the server would.", JUDGE_OPTIONS },
	{ "explain", run_explain, "--ip IP --helo NAME --mail-from ADDR [OPTION...] < message",
	  "Tells step by step how a message is judged.",
	  "  --canonical DIR      write the bytes that each signature covers to files in DIR\n" JUDGE_OPTIONS },
	{ "spf", verb_spf, "--ip IP --helo NAME --mail-from ADDR [--json] [--resolver ADDR:PORT] [-c FILE]\n"
	  "build [DOMAIN] [--mx] [--a] [--ip NETWORK]... [--include NAME]... [--all fail|softfail] [--json] [--resolver ADDR:PORT] [-c FILE]\n"
	  "check DOMAIN [--json] [--resolver ADDR:PORT] [-c FILE]",
	  "Evaluates SPF alone, writes a record, or draws a domain's include tree.",
	  "  --ip, --helo, --mail-from, --resolver, --json as for verify\n"
	  "  build asks on a terminal who sends; otherwise these say it:\n"
	  "  --mx, --a       the domain's MX hosts; the hosts of its own name\n"
	  "  --ip NETWORK    an address or network, any number of times\n"
	  "  --include NAME  whose record counts, too, any number of times\n"
	  "  --all WORD      what mail from elsewhere is: softfail (default) or fail\n" CONFIG_OPTION },
	{ "dmarc", verb_dmarc, "plan DOMAIN [--since DAY] [--json] [--resolver ADDR:PORT] [--now EPOCH] [-c FILE]",
	  "Says which DMARC policy is safe now, and prints the next record.",
	  "  --since DAY  since when the present policy has been published, as 2026-11-01\n"
	  "  --json       print one JSON document\n"
	  "  --resolver ADDR:PORT  send every DNS query to this server\n"
	  "  --now EPOCH  fix the clock\n" CONFIG_OPTION },
	{ "sign", verb_sign, "--domain D --selector S --key FILE.pem [OPTION...] < message > signed\n"
	  "--domain D [OPTION...] [-c FILE] < message > signed",
	  "Signs a message with DKIM.",
	  SIGN_OPTIONS
	  "  --identity I    i=\n"
	  "  --expire S      x=, seconds from now\n"
	  "  --now EPOCH     t=" },
	{ "seal", verb_seal, "--domain D --selector S --key FILE.pem --authserv-id ID [OPTION...] < message > sealed",
	  "Seals a message with ARC: judges its chain and adds a set.",
	  "  --authserv-id ID  whose Authentication-Results in the message are sealed\n"
	  "  --resolver ADDR:PORT  send every DNS query to this server\n"
	  SIGN_OPTIONS
	  "  --expire S      x= of the message signature, seconds from now\n"
	  "  --now EPOCH     t=, and the time at which the chain is judged\n"
	  CONFIG_OPTION },
	{ "sendmail", verb_sendmail, "[-i] [-t] [-f FROM] [-F NAME] [-c FILE] [RCPT...] < message\n-bs [-c FILE]",
	  "Submits mail from this machine, also when called as sendmail.",
	  "  It needs no server: what it cannot hand over waits in a directory.\n"
	  "  -t        read the recipients from To, Cc and Bcc, too\n"
	  "  -i, -oi   a lone dot is text; otherwise it ends the message\n"
	  "  -f FROM   the envelope sender, -r FROM the same; default: the user's own address\n"
	  "  -F NAME   the name in From, where the message has none\n"
	  "  -bs       speak SMTP on standard input and output\n"
	  "  -N WORDS, -R full|hdrs, -V ID  delivery notices, as SMTP has them (RFC 3461)\n"
	  "  Other options that sendmails know are taken and change nothing.\n" CONFIG_OPTION },
	{ "help", verb_help_verb, "[VERB]", "Shows this list, or all about one verb.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static void list_verbs(FILE *out)
{
	fprintf(out, "postern " POSTERN_VERSION ", a small mail server\n\nusage: postern VERB [OPTION...]\n\n");
	for (const struct verb *v = verbs; v->name != NULL; v++)
		fprintf(out, "  %-12s %s\n", v->name, v->summary);
	fprintf(out, "\n`postern help VERB` tells all about one; `postern local run` shows the whole at work.\n");
}

int verb_help_verb(int argc, char **argv)
{
	const struct verb *v;

	if (argc < 2) {
		list_verbs(stdout);
		return EXIT_DONE;
	}
	v = verb_find(str_of(argv[1]));
	if (v == NULL || argc > 2)
		return verb_misused("help", "there is no verb \"%s\"", argv[argc - 1]);
	verb_help(stdout, v);
	return EXIT_DONE;
}

int verb_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("postern " POSTERN_VERSION);
	return EXIT_DONE;
}

/* /usr/sbin/sendmail may be a link to this program. */
static bool called_as_sendmail(const char *name)
{
	const char *slash = name != NULL ? strrchr(name, '/') : NULL;

	return name != NULL && strcmp(slash != NULL ? slash + 1 : name, "sendmail") == 0;
}

static int run_sendmail(int argc, char **argv)
{
	int status;

	argv[0] = (char *)(uintptr_t)"sendmail";
	if (argc == 2 && strcmp(argv[1], "--help") == 0 && verb_asks_help(argc, argv, &status))
		return status;
	return verb_sendmail(argc, argv);
}

int main(int argc, char **argv)
{
	const struct verb *v;
	int status;

	signal(SIGPIPE, SIG_IGN);
	if (called_as_sendmail(argv[0]))
		return run_sendmail(argc, argv);
	if (argc < 2) {
		list_verbs(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return verb_version(argc - 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return verb_help_verb(1, argv + 1);
	v = verb_find(str_of(argv[1]));
	if (v == NULL) {
		fprintf(stderr, "postern: there is no verb \"%s\": `postern help` lists them\n", argv[1]);
		return EXIT_USAGE;
	}
	if (verb_asks_help(argc - 1, argv + 1, &status))
		return status;
	status = v->run(argc - 1, argv + 1);
	if (fflush(stdout) != 0 && status == EXIT_DONE)
		return verb_fail(EXIT_FINDING, argv[1], "standard output could not be written");
	return status;
}
