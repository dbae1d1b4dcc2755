#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""stages: where postern's own instructions of one message go.  As root; slow
(valgrind), but what it counts does not depend on what else the machine does.

    tests/bench/stages.py --build build [--works box,judge,send] [--messages 1000] [--top 25]

Each work runs twice under callgrind, with few messages and with many: the
difference is what a message costs, start and stop apart.  The kernel's part
(sockets, disk) is not in it; see `CPU s` of the other tables for all.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import compare  # noqa: E402
from works import WORKS, make_shared  # noqa: E402

# The first that fits FILE:FUNCTION [OBJECT] counts.
STAGES = [
    ("RSA and other keys", r"bn_|BN_|rsa|RSA|ossl_bn|EVP_PKEY|ecp_|EC_|ED25519|x25519|curve25519|sm2|_mont|pkcs1|asn1|ASN1|d2i_|i2d_|x509|X509"),
    ("hashes", r"sha(1|256|512)|SHA(1|256|512)|EVP_Digest|evp_md|EVP_MD|digest_|hmac|HMAC|bodyhash|pbkdf2"),
    ("TLS and ciphers", r"libssl|aes|AES|gcm|GCM|chacha|poly1305|EVP_Cipher|EVP_(En|De)crypt|evp_cipher|/tls_|conn_tls"),
    ("OpenSSL, else", r"libcrypto"),
    ("DNS", r"libunbound|/dns|sldns|ub_"),
    ("LMDB", r"liblmdb|mdb_|queue/store"),
    ("SASL", r"libsasl2|/plugins|sasl"),
    ("memory", r"malloc|calloc|realloc|cfree|_int_free|free\b.*libc|unlink_chunk|arena|sysmalloc|/buf\.c"),
    ("copies", r"mem(cpy|move|set|chr|cmp|rchr)|str(len|chr|cmp|ncmp|casecmp)|__strn"),
    ("printing", r"printf|vfprintf|_itoa|fwrite|snprintf|log_"),
    ("event loop", r"libev|ev_|/loop\.c|mbox|desk|/conn"),
    ("queue", r"queue/(?!deliver)"),
    ("way out, Maildir", r"queue/deliver"),
    ("parsing of mail", r"smtpd/mail"),
    ("modules", r"modules/"),
    ("session", r"smtpd/session|auth/"),
    ("base, else", r"smtpd/base"),
]
LINE = re.compile(r"^\s*([\d,]+)\s+\(\s*[\d.]+%\)\s+(.*)$")


def costs(file):
    """Instructions by FILE:FUNCTION [OBJECT]."""
    out = subprocess.run(["callgrind_annotate", "--auto=no", "--threshold=100", "--show-percs=yes", str(file)],
                         capture_output=True, text=True, check=True).stdout
    found = collections.Counter()
    for line in out.splitlines():
        m = LINE.match(line)
        if m and ":" in m[2] and "PROGRAM TOTALS" not in line:
            found[m[2].strip()] += int(m[1].replace(",", ""))
    return found


def one_run(work, messages, o, secrets):
    with tempfile.TemporaryDirectory(prefix="postern-stages-") as folder:
        pathlib.Path(folder).chmod(0o777)
        o.messages, o.seconds = messages, 0
        got = compare.in_namespaces("postern", work, o, secrets, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out.%p"])
        if "failed" in got:
            sys.exit(f"stages: {work} did not run: {got['failed']}")
        # Root's keeper and the server are two processes.
        return sum((costs(f) for f in pathlib.Path(folder).glob("out.*")), collections.Counter())


def show(work, each, o):
    total = sum(each.values())
    stages = collections.Counter()
    for where, n in each.items():
        stages[next((name for name, pattern in STAGES if re.search(pattern, where)), "the rest")] += n
    print(f"\n**{WORKS[work].title}**: {total:,.0f} instructions a message\n\n| stage | instructions | share |\n|---|---|---|")
    for name, n in stages.most_common():
        print(f"| {name} | {n:,.0f} | {100 * n / total:.1f} % |")
    print("\nThe dearest functions:\n")
    for where, n in each.most_common(o.top):
        print(f"    {n:10,.0f}  {where}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--works", default="box,judge,send")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--top", type=int, default=25)
    parser.add_argument("--per-connection", type=int, default=10)
    parser.add_argument("--disk", default=tempfile.gettempdir())
    o = parser.parse_args()
    many = o.messages
    with tempfile.TemporaryDirectory(prefix="postern-bench-secrets-") as secrets:
        pathlib.Path(secrets).chmod(0o755)
        make_shared(pathlib.Path(secrets), o.build, 4096)
        for work in o.works.split(","):
            few, more = one_run(work, 200, o, secrets), one_run(work, 200 + many, o, secrets)
            show(work, collections.Counter({k: (more[k] - few[k]) / many for k in more if more[k] > few[k]}), o)


if __name__ == "__main__":
    main()
