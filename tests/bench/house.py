# SPDX-License-Identifier: ISC
"""The house that one server is measured in: a network, a mount and a process
namespace of its own, a fresh ext4 image, and a DNS server that knows the zones
of the work.  All of it ends with the namespace.

ext4 avoids inodes that were deleted within minutes, so an old file system
falsifies; and what other servers of this machine do must not be seen.
"""

import contextlib
import grp
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import time

INODE_BYTES = 4096                    # of the file system to an inode
IMAGE_BYTES = 6 << 30                 # sparse
NOBODY = 65534
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name, folders=()):
    return shutil.which(name, path=":".join([*map(str, folders), PATH]))


def run(*words, **more):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_port(port, host="127.0.0.1", patience=30):
    """Until somebody greets there."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((host, port), 5) as s:
            s.settimeout(10)
            if s.recv(1):
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody greets at {host}:{port}")


class House:
    """Inside the namespaces already (see compare.py)."""

    def __init__(self, folder):
        self.outer = pathlib.Path(folder)
        self.dir = self.outer / "disk"
        self.dir.mkdir()
        run("ip", "link", "set", "lo", "up")
        image = self.outer / "image"
        with open(image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        run("mkfs.ext4", "-q", "-F", "-i", INODE_BYTES, "-E", "lazy_itable_init=1,lazy_journal_init=1", image)
        # The rest of the inode tables is written by a thread of the kernel: not now.
        run("mount", "-o", "loop,noinit_itable", image, self.dir)
        os.chmod(self.dir, 0o755)

    def serve_names(self, zones):
        """nsd at 127.0.0.1:53, which everybody here asks."""
        folder = self.dir / "names"
        folder.mkdir()
        text = f"""server:
    ip-address: 127.0.0.1
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{folder}"
    database: ""
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    zonelistfile: "{folder}/zone.list"
    logfile: "{folder}/log"
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""
        for name, lines in zones.items():
            (folder / name).write_text("$TTL 3600\n@ SOA ns.example. hostmaster.example. 1 3600 600 864000 3600\n@ NS ns.example.\n" + lines)
            text += f'zone:\n    name: "{name}"\n    zonefile: "{name}"\n'
        (folder / "nsd.conf").write_text(text)
        self.names = subprocess.Popen([program("nsd"), "-d", "-c", folder / "nsd.conf"])
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:5\n")
        self.ask_here()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.2)
                with contextlib.suppress(OSError):
                    s.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\0\0\6\0\1", ("127.0.0.1", 53))
                    s.recv(512)
                    return
            time.sleep(0.02)
        raise RuntimeError("nsd does not answer: " + (folder / "log").read_text())

    def ask_here(self):
        """Resolvers of this house ask nsd."""
        known = pathlib.Path(os.path.realpath("/etc/resolv.conf"))
        if not known.exists():
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch()
        run("mount", "--bind", self.dir / "names" / "resolv.conf", known)

    # ---- for servers that are unpacked, not installed: all of it in this mount namespace alone

    def know_users(self, users):
        """{name: number, or None for any that is free}"""
        free = (n for n in range(59999, 50000, -1) if not is_taken(n))
        numbers = {name: next(free) if n is None else n for name, n in users.items()}
        for file, form in (("passwd", "{0}:x:{1}:{1}::/:/bin/false\n"), ("group", "{0}:x:{1}:\n")):
            text = pathlib.Path("/etc", file).read_text()
            (self.dir / file).write_text(text + "".join(form.format(*item) for item in numbers.items()))
            run("mount", "--bind", self.dir / file, f"/etc/{file}")

    def lay_over(self, folder, at):
        """What is in `folder` is seen in `at`, too."""
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={folder}:{at}", at)

    def cover(self, at):
        """`at` is empty, and on this house's disk."""
        folder = self.dir / at.strip("/").replace("/", "-")
        folder.mkdir(mode=0o755)
        run("mount", "--bind", folder, at)
        if os.path.realpath("/etc/resolv.conf").startswith(at + "/"):
            self.ask_here()

    # ---- what processes of the house have used -------------------------------------

    def processes(self, but=()):
        """Everybody but us, the DNS server and `but`."""
        mine = {os.getpid(), 1, self.names.pid, *but}
        children = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    children[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        return [p for p, parent in children.items() if p not in mine and parent not in {self.names.pid, *but}]

    def cpu_seconds(self, but=()):
        """Of those that live and of those that they have buried.  Orphans that ended
        are still there: pid 1, that is we, buries none.  What we have buried is
        load, which is not the server."""
        ticks = 0
        for pid in self.processes(but):
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_kib(self, but=(), what="Pss"):
        kib = 0
        for pid in self.processes(but):
            with contextlib.suppress(OSError):
                for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith(what + ":"):
                        kib += int(line.split()[1])
        return kib


def is_taken(number):
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwuid(number))
    with contextlib.suppress(KeyError):
        return bool(grp.getgrgid(number))
    return False


def files_in(folder):
    """Messages of a Maildir; those that nobody has looked at."""
    try:
        with os.scandir(folder) as entries:
            return sum(1 for _ in entries)
    except FileNotFoundError:
        return 0
