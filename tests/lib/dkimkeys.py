# SPDX-License-Identifier: ISC
"""The keys of RFC 8463 A.1 and A.2, published for tests, and files that hold them."""
import base64

import pytest

RSA_PEM = b'''-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
'''
RSA_PUBLIC = ('MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi'
              'Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZy'
              'VYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB')
SEED_25519 = b'nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A='
PUBLIC_25519 = '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo='
PEM_25519 = b'-----BEGIN PRIVATE KEY-----\n' + base64.b64encode(
    bytes.fromhex('302e020100300506032b657004220420') + base64.b64decode(SEED_25519)) + b'\n-----END PRIVATE KEY-----\n'


@pytest.fixture(scope='module')
def key_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('keys')
    for name, text in (('rsa', RSA_PEM), ('ed', PEM_25519)):
        (folder / name).write_bytes(text)
    return {name: str(folder / name) for name in ('rsa', 'ed')}


def text_in(records):
    """For dkim: looks a key up in a table of TXT records."""
    return lambda name, timeout=5: records.get(name.decode().rstrip('.'), '').encode() or None
