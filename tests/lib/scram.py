# SPDX-License-Identifier: ISC
"""The client's side of SCRAM-SHA-256 (RFC 5802, 7677), one answer for each challenge."""

import base64
import hashlib
import hmac
import os


class Scram:
    def __init__(self, who, password):
        self.password, self.step = password, 0
        self.first = f"n={who},r={base64.b64encode(os.urandom(18)).decode()}"

    def __call__(self, challenge):
        self.step += 1
        if self.step == 1:
            return b"n,," + self.first.encode()
        if self.step == 2:
            return self.prove(challenge.decode())
        assert challenge == b"v=" + base64.b64encode(self.server), "the server does not know the password"
        return b""

    def prove(self, challenge):
        self.given = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(self.given["s"]),
                                     int(self.given["i"]))
        final = f"c=biws,r={self.given['r']}"
        message = f"{self.first},{challenge},{final}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        proof = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        self.server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        return f"{final},p={base64.b64encode(bytes(a ^ b for a, b in zip(key, proof))).decode()}".encode()
