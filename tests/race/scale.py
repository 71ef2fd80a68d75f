"""Large configurations: memory, how soon a change serves, and what requests notice of it."""

import json
import os
import socket
import ssl
import subprocess
import threading
import time

from proxies import HOST, Sekisho, secret, virtual_service


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def milliseconds(values):
    return " | ".join(f"{percentile(values, part) * 1000:.1f}" for part in (0.5, 0.9, 0.99, 1))


def put(proxy, name, item):
    """A file appears whole, as every careful writer makes it."""
    proxy.write(f"{name}.next", json.dumps(item))
    os.rename(proxy.directory / f"{name}.next", proxy.directory / "resources" / f"{name}.json")


class Asker:
    """Asks for one path after the other over one connection."""

    def __init__(self, proxy):
        context = ssl.create_default_context(cafile=proxy.chain)
        plain = socket.create_connection(("127.0.0.1", proxy.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = context.wrap_socket(plain, server_hostname=HOST)

    def status(self, host, path):
        self.client.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.client.recv(65536)
        head, body = answer.split(b"\r\n\r\n", 1)
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self.client.recv(65536)
        return int(head.split()[1])


def certificates(directory, count):
    """As many self-signed certificates, with one key."""
    directory.mkdir()
    key = directory / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    for at in range(count):
        name = f"more-{at}.example.com"
        subprocess.run(["openssl", "req", "-x509", "-key", key, "-days", "30", "-subj", f"/CN={name}", "-addext",
                        f"subjectAltName=DNS:{name}", "-out", directory / f"{at}.crt"], check=True)
    return key


def memory(name, binary, backend, root):
    """With 10,000 routes and 1,000 certificates, each with a Gateway of its own."""
    key = certificates(root / f"certificates-{name}", 1000)
    proxy = Sekisho(name, binary, root / "memory" / name, "ecdsa", backend, False)
    for at in range(1000):
        host, own = f"more-{at}.example.com", f"more-{at}"
        proxy.write(f"resources/{own}.json", "\n".join(json.dumps(item) for item in [
            secret(own, key.with_name(f"{at}.crt"), key),
            {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": own},
             "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
                 "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                 "tls": {"mode": "SIMPLE", "credentialName": own}, "hosts": [host]}]}},
            virtual_service(own, host, [f"/path/{rule}" for rule in range(10)], gateway=own)]))
    proxy.start()
    time.sleep(3)
    at_first = proxy.memory()
    for change in range(5):
        put(proxy, "changing", virtual_service("changing", "changing.example.com", [f"/{change}"]))
        time.sleep(2)
    changed = proxy.memory()
    proxy.stop()
    proxy.start()
    time.sleep(3)
    again = proxy.memory()
    proxy.stop()
    print(f"| {name} | {at_first / 1024:.0f} MB | {changed / 1024:.0f} MB | {again / 1024:.0f} MB |", flush=True)


def propagation(name, binary, backend, root, changes):
    """How soon a new route serves beside 3,000 others, at rest and while others change all the time."""
    proxy = Sekisho(name, binary, root / "propagation" / name, "ecdsa", backend, False, routes=3000, cpu="0-1")
    proxy.start()
    time.sleep(2)
    asker, odd = Asker(proxy), 0

    def measure(kind):
        nonlocal odd
        took = []
        for at in range(changes):
            host = f"{kind}-{at}.example.com"
            put(proxy, f"{kind}-{at}", virtual_service(f"{kind}-{at}", host, ["/"]))
            began = time.monotonic()
            while (status := asker.status(host, "/bytes/0")) != 200:
                odd += status != 404
                if time.monotonic() - began > 10:
                    raise SystemExit(f"{host} was not served within 10 s: {status}")
                time.sleep(0.0005)
            took.append(time.monotonic() - began)
            time.sleep(0.05)
        return took

    def churn(stop):
        turn = 0
        while not stop.wait(0.1):
            turn += 1
            put(proxy, f"churn-{turn % 50}", virtual_service(f"churn-{turn % 50}", f"churn-{turn % 50}.example.com", [f"/{turn}"]))
            put(proxy, "3", proxy.endpoint_slice(turn))

    rows = [("at rest", measure("idle"))]
    stop = threading.Event()
    churning = threading.Thread(target=churn, args=(stop,))
    churning.start()
    try:
        rows.append(("others change ten times a second", measure("busy")))
    finally:
        stop.set()
        churning.join()
    for kind, took in rows:
        print(f"| {name} | {kind} | {milliseconds(took)} | {odd} |", flush=True)
    proxy.stop()


def under_traffic(name, binary, backend, root, load, edits=25):
    """The route that constant traffic takes is edited five times a second, on the processor that serves it."""
    proxy = Sekisho(name, binary, root / "traffic" / name, "ecdsa", backend, False, routes=3000)
    proxy.start()
    time.sleep(2)

    def edit():
        for turn in range(edits):
            changed = virtual_service("bench", HOST, ["/bytes", "/"] if turn % 2 else ["/"])
            changed["spec"]["http"][0]["headers"] = {"request": {"set": {"x-turn": str(turn)}}}
            put(proxy, "4", changed)
            time.sleep(0.2)

    for kind, beside in (("nothing changes", lambda: None), (f"{edits} edits of their route", edit)):
        editing = threading.Thread(target=beside)
        editing.start()
        times, failed = load(proxy, "/bytes/1024", edits // 5)
        editing.join()
        parts = " | ".join(f"{percentile(times, part):,}" for part in (0.5, 0.99, 0.999, 1))
        print(f"| {name} | {kind} | {parts} | {failed} |", flush=True)
    proxy.stop()
