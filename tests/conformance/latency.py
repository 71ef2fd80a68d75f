#!/usr/bin/env python3
"""How soon a change is served, beside many routes, and how many generations a burst of objects makes:

    rig run tests/conformance/latency.py [ROUTES [CHANGES]]

Every route is a redirect, so that what is measured is the gateway alone. The time is from the API server's answer to a
change of one route, at which its watches are told too, to the first answer of the gateway that shows it.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROUTES = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
CHANGES = int(sys.argv[2]) if len(sys.argv) > 2 else 200
KINDS = "/apis/gateway.networking.k8s.io/v1/namespaces/default/"
WRITERS = 8


class Api:
    """The API server, with the kubeconfig's identity; each thread has a connection of its own."""

    def __init__(self):
        view = subprocess.run(["kubectl", "config", "view", "--raw", "-o", "json", "--flatten"], capture_output=True, check=True)
        config = json.loads(view.stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.address = urllib.parse.urlsplit(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=authority)
        self.token = user.get("token")
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
                for part in ("client-certificate-data", "client-key-data"):
                    pem.write(base64.b64decode(user[part]) + b"\n")
                pem.flush()
                self.tls.load_cert_chain(pem.name)
        self.own = threading.local()

    def ask(self, method, path, body=None, content="application/json"):
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPSConnection(self.address.hostname, self.address.port, context=self.tls)
        headers = {"content-type": content, "accept": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        self.own.connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self.own.connection.getresponse()
        answer = json.loads(response.read())
        if response.status >= 300 and response.status != 409:
            sys.exit(f"{method} {path}: {response.status} {answer.get('message')}")
        return answer


def route(number, target):
    rule = {"filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": target}}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"latency-{number}"},
        "spec": {"parentRefs": [{"name": "latency"}], "hostnames": [f"host-{number}.example.com"], "rules": [rule]},
    }


class Gateway:
    """The gateway's listener, over one connection."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, 80)

    def target(self, number):
        self.connection.request("GET", "/", headers={"host": f"host-{number}.example.com"})
        response = self.connection.getresponse()
        response.read()
        return urllib.parse.urlsplit(response.getheader("location", "")).hostname


def generation(admin):
    connection = http.client.HTTPConnection(admin)
    connection.request("GET", "/status")
    return json.loads(connection.getresponse().read())["generation"]


def until(what, patience=120):
    deadline = time.monotonic() + patience
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > deadline:
            sys.exit("it does not come to pass")
        time.sleep(0.05)


def main():
    api = Api()
    with open(os.environ["RIG_CONFIG"]) as file:
        config = json.load(file)
    admin = config["admin"]["address"]
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "latency"},
        "spec": {
            "gatewayClassName": config["gateway"]["className"],
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    }
    api.ask("POST", KINDS + "gateways", gateway)
    addresses = until(lambda: api.ask("GET", KINDS + "gateways/latency").get("status", {}).get("addresses"))
    client = Gateway(addresses[0]["value"])

    before, began = generation(admin), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(lambda number: api.ask("POST", KINDS + "httproutes", route(number, "first.example")), range(ROUTES)))
    took = time.monotonic() - began
    until(lambda: client.target(ROUTES - 1) == "first.example")
    print(f"{ROUTES} routes created in {took:.1f} s, served {time.monotonic() - began - took:.1f} s later, "
          f"in {generation(admin) - before} generations")
    written = time.monotonic()
    last = KINDS + f"httproutes/latency-{ROUTES - 1}"
    until(lambda: api.ask("GET", last).get("status", {}).get("parents"), 600)
    print(f"the last status written {time.monotonic() - written:.0f} s after that")

    # The first connection was idle for long.
    client = Gateway(addresses[0]["value"])
    times = []
    for change in range(CHANGES):
        number, target = change * 7919 % ROUTES, f"target-{change}.example"
        patch = {"spec": route(number, target)["spec"]}
        api.ask("PATCH", KINDS + f"httproutes/latency-{number}", patch, "application/merge-patch+json")
        began = time.monotonic()
        while client.target(number) != target:
            if time.monotonic() - began > 10:
                sys.exit(f"change {change} is not served after 10 s")
            time.sleep(0.001)
        times.append(time.monotonic() - began)
        time.sleep(0.1)
    times.sort()
    at = lambda share: 1000 * times[min(len(times) - 1, int(share * len(times)))]
    print(f"{CHANGES} changes: median {at(0.5):.0f} ms, 90 % {at(0.9):.0f} ms, 99 % {at(0.99):.0f} ms, longest {1000 * times[-1]:.0f} ms")


main()
