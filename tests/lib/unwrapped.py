# SPDX-License-Identifier: ISC
"""TLS on behalf of a client that has none."""
import contextlib
import socket
import ssl
import threading


@contextlib.contextmanager
def unwrapped(address, context=None, name=None):
    """The address of a port in front of an implicit TLS one, for one connection of a
    client without TLS of its own.  With a context, the certificate is verified here."""
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    door = socket.create_server(("127.0.0.1", 0))

    def carry(here, there):
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                there.sendall(data)
        with contextlib.suppress(OSError):
            there.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            here, _ = door.accept()
            there = context.wrap_socket(socket.create_connection(address), server_hostname=name)
            threading.Thread(target=carry, args=(here, there), daemon=True).start()
            carry(there, here)

    threading.Thread(target=serve, daemon=True).start()
    yield door.getsockname()
    door.close()
