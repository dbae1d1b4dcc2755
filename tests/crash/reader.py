# SPDX-License-Identifier: ISC
"""Who reads the mailboxes while the server is killed beneath them.

A reader with a habit is a thread that waits on inotify: whatever comes into
new/ it reads and, at once, marks as seen (into cur/), files away (into another
folder), or deletes.  Without a habit it looks when it is asked.  It remembers
each message it met: take() gives (mailbox, subject) -> digests of the texts.
"""
import ctypes
import hashlib
import os
import re
import select
import threading
import time

HABITS = (None, "seen", "filed", "deleted")
MOVED_TO, CREATE = 0x80, 0x100
LIBC = ctypes.CDLL(None, use_errno=True)


class Reader:
    def __init__(self, mailboxes, habit=None):
        """mailboxes: name -> its Maildir, made by its first message."""
        self.mailboxes, self.habit, self.lock = mailboxes, habit, threading.Lock()
        self.met, self.late_ms = {}, []
        self.ending, self.thread = threading.Event(), None

    def start(self):
        """From when all Maildirs exist."""
        if self.habit is None:
            return
        self.fd = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        for folder in self.mailboxes.values():
            if not (folder / "new").is_dir():
                continue
            (folder / ".Done" / "cur").mkdir(parents=True, exist_ok=True)
            watch = LIBC.inotify_add_watch(self.fd, os.fsencode(folder / "new"), MOVED_TO | CREATE)
            assert watch >= 0, os.strerror(ctypes.get_errno())
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ending.is_set():
            if select.select([self.fd], [], [], 0.05)[0]:
                os.read(self.fd, 65536)
                woken = time.perf_counter()
                with self.lock:
                    self.look()
                self.late_ms.append((time.perf_counter() - woken) * 1000)

    def look(self):
        for mailbox, folder in self.mailboxes.items():
            new = folder / "new"
            for name in os.listdir(new) if new.is_dir() else []:
                self.meet(mailbox, folder, new / name)

    def meet(self, mailbox, folder, file):
        header, _, text = file.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
        if self.thread is None:
            file.unlink()
        elif self.habit == "seen":
            os.rename(file, folder / "cur" / (file.name + ":2,S"))
        elif self.habit == "filed":
            os.rename(file, folder / ".Done" / "cur" / (file.name + ":2,S"))
        else:
            file.unlink()
        # a notice: the subject of what it returns
        token = re.search(rb"^Subject: (token-\S+)", header + b"\n" + text, re.M).group(1).decode()
        self.met.setdefault((mailbox, token), []).append(hashlib.sha256(text).hexdigest())

    def take(self):
        with self.lock:
            self.look()
            met, self.met = self.met, {}
            return met

    def close(self):
        if self.thread is not None:
            self.ending.set()
            self.thread.join()
            os.close(self.fd)
