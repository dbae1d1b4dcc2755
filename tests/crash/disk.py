# SPDX-License-Identifier: ISC
"""A disk that forgets: what tests/crash/journal_shim.c wrote down, cut at any
place, and the tree that a file system may hold after the power has gone there.

The rules are the strictest that POSIX allows: contents are kept from fsync or
fdatasync of the file (or syncfs) on, a name from fsync of its directory (or
syncfs) on, a rename as a whole; what is written through O_DSYNC at once.  What
was not synced is lost, or, with `luck`, here and there kept, a write in pieces
of 512 octets.
"""
import os
import struct

HEAD = struct.Struct("=IIQQII")
OPEN, WRITE, TRUNCATE, ALLOCATE, SYNC, SYNCFS, RENAME, LINK, UNLINK, MKDIR, ACK = range(1, 12)
NEW, EMPTY, NAMELESS, DIRECT, FOLDER = 1, 2, 4, 8, 16
SECTOR = 512


def journal(path):
    """[(kind, flags, inode, offset, first, second)]"""
    data, at, all_ = memoryview(open(path, "rb").read()), 0, []
    while at + HEAD.size <= len(data):
        kind, flags, inode, offset, a, b = HEAD.unpack_from(data, at)
        at += HEAD.size
        if at + a + b > len(data):
            break
        all_.append((kind, flags, inode, offset, bytes(data[at:at + a]), bytes(data[at + a:at + a + b])))
        at += a + b
    return all_


class File:
    def __init__(self, kept=b""):
        self.kept, self.pending = bytearray(kept), []     # (offset, data), (size, None), or ("at least", size)

    def write(self, offset, data, direct):
        if direct:
            self.put(offset, data)
        self.pending.append((offset, data))

    def put(self, offset, data):
        if len(self.kept) < offset + len(data):
            self.kept.extend(bytes(offset + len(data) - len(self.kept)))
        self.kept[offset:offset + len(data)] = data

    def do(self, change):
        what, data = change
        if what == "at least":
            self.kept.extend(bytes(max(0, data - len(self.kept))))
        elif data is None:
            del self.kept[what:]
            self.kept.extend(bytes(what - len(self.kept)))
        else:
            self.put(what, data)

    def sync(self):
        for change in self.pending:
            self.do(change)
        self.pending = []

    def after(self, luck):
        """What is left of it."""
        if luck is None:
            return bytes(self.kept)
        for what, data in self.pending:
            if data is None or what == "at least":
                self.do((what, data))
                continue
            for i in range(0, len(data), SECTOR):
                if luck.random() < 0.5:
                    self.put(what + i, data[i:i + SECTOR])
        return bytes(self.kept)


class Disk:
    """`tree` as it was when the journal began; then step by step."""

    def __init__(self, tree):
        self.root = str(tree)
        self.files, self.names, self.folders = {}, {}, set()   # number -> File; path -> number; paths
        self.of_inode, self.changes, self.acks, self.last = {}, [], [], 0
        for folder, _, names in os.walk(self.root):
            self.folders.add(folder)
            for name in names:
                path = os.path.join(folder, name)
                self.names[path] = self.file(os.stat(path).st_ino, open(path, "rb").read())
        self.begun = (dict(self.names), set(self.folders))

    def file(self, inode, kept=b""):
        self.last += 1
        self.files[self.last] = File(kept)
        self.of_inode[inode] = self.last
        return self.last

    def change(self, kind, number, *paths):
        """One change of names: [durable, kind, number, paths, the folders that it touches]."""
        self.changes.append([False, kind, number, paths, {os.path.dirname(p) for p in paths}])

    def step(self, record):
        kind, flags, inode, offset, a, b = record
        if kind == OPEN:
            number = self.file(inode) if flags & NEW else self.of_inode[inode]
            if flags & EMPTY:
                self.files[number].pending.append((0, None))
            if flags & NEW and not flags & NAMELESS:
                self.change(LINK, number, a.decode())
        elif kind == WRITE:
            self.files[self.of_inode[inode]].write(offset, a, flags & DIRECT)
        elif kind == TRUNCATE:
            self.files[self.of_inode[inode]].pending.append((offset, None))
        elif kind == ALLOCATE:
            self.files[self.of_inode[inode]].pending.append(("at least", offset))
        elif kind == SYNC and flags & FOLDER:
            for c in self.changes:
                c[0] = c[0] or a.decode() in c[4]
        elif kind == SYNC:
            if inode in self.of_inode:
                self.files[self.of_inode[inode]].sync()
        elif kind == SYNCFS:
            for f in self.files.values():
                f.sync()
            for c in self.changes:
                c[0] = True
        elif kind == RENAME:
            self.change(RENAME, self.of_inode.get(inode), a.decode(), b.decode())
        elif kind == LINK:
            self.change(LINK, self.of_inode[inode], b.decode())
        elif kind == UNLINK:
            self.change(UNLINK, None, a.decode())
        elif kind == MKDIR:
            self.change(MKDIR, None, b.decode())
        elif kind == ACK:
            self.acks.append(a.decode("latin-1"))

    def tree(self, luck=None):
        """(path -> contents, folders) as the next start finds them."""
        names, folders = dict(self.begun[0]), set(self.begun[1])
        for durable, kind, number, paths, _ in self.changes:
            if not durable and (luck is None or luck.random() < 0.5):
                continue
            if kind == MKDIR:
                folders.add(paths[0])
            elif kind == LINK:
                names[paths[0]] = number
            elif kind == UNLINK:
                names.pop(paths[0], None)
                folders.discard(paths[0])
            else:
                names.pop(paths[0], None)
                names[paths[1]] = number
        reached = {p for p in folders if all(q in folders for q in self.above(p))}
        contents = {n: f.after(luck) for n, f in self.files.items() if n in names.values()}
        return {p: contents[n] for p, n in names.items() if n is not None and os.path.dirname(p) in reached}, reached

    def above(self, path):
        while len(path) > len(self.root):
            path = os.path.dirname(path)
            yield path
