"""Idle TLS connections: opened, asked once, and then held."""

import contextlib
import socket
import ssl

from proxies import HOST


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def http1(client):
    client.sendall(f"GET /bytes/1024 HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 1024:
        answer += client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer


def http2(client):
    # :method GET, :scheme https, :path and :authority literally (RFC 7541).
    path = b"/bytes/1024"
    head = b"\x82\x87\x44" + bytes([len(path)]) + path + b"\x41" + bytes([len(HOST)]) + HOST.encode()
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(4, 1, 0) + frame(1, 5, 1, head))
    came, data = b"", 0
    while data < 1024:
        came += client.recv(65536)
        while len(came) >= 9 and len(came) >= 9 + int.from_bytes(came[:3], "big"):
            size = int.from_bytes(came[:3], "big")
            data += size if came[3] == 0 else 0
            came = came[9 + size:]


@contextlib.contextmanager
def held(proxy, protocol, count):
    """As many connections to a proxy as said, each of which has had one answer."""
    context = ssl.create_default_context(cafile=proxy.chain)
    context.set_alpn_protocols(["h2" if protocol is http2 else "http/1.1"])
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", proxy.port))
            client = stack.enter_context(context.wrap_socket(plain, server_hostname=HOST))
            protocol(client)
        yield
