#!/usr/bin/env python3
"""Races the gateway against nginx and HAProxy: requests per second of the proxy's own CPU time, as a Markdown table.

Every proxy has one worker on CPU 0; load and backend are on CPU 1. The proxies take turns, round by round; a ratio is
that of two turns of the same round, so that what else happens on the machine falls on both. `--gateway NAME=BINARY`
names further binaries of the gateway, to hold a change against what was.
"""

import argparse
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

import idle
import scale
from proxies import HOST, Bare, Haproxy, Nginx, Sekisho, free_port

# What a browser sends.
HEADERS = [
    "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language: en-US,en;q=0.5",
    "accept-encoding: gzip, deflate, br, zstd",
    "cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    "sec-fetch-dest: document",
    "sec-fetch-mode: navigate",
    "sec-fetch-site: none",
    "priority: u=0, i",
]
SUITE = "TLS_AES_256_GCM_SHA384"


def on_load_cpu(command):
    return subprocess.run(["taskset", "-c", "1", *command], capture_output=True, text=True, check=True).stdout


def wrk(proxy, path, seconds):
    headers = [part for header in [f"Host: {proxy.host}", *HEADERS] for part in ("-H", header)]
    text = on_load_cpu(["wrk", "-t1", "-c64", f"-d{seconds}s", *headers, f"https://127.0.0.1:{proxy.port}{path}"])
    failed = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    failed += sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    return int(re.search(r"(\d+) requests in", text)[1]), failed


def h2load(proxy, path, seconds):
    headers = [part for header in HEADERS for part in ("-H", header)]
    text = on_load_cpu(["h2load", f"-D{seconds}", "-c8", "-m16", f"--tls13-ciphers={SUITE}", *headers,
                        f"--connect-to=127.0.0.1:{proxy.port}", f"https://{HOST}{path}"])
    done = re.search(r"(\d+) succeeded, (\d+) failed", text)
    return int(done[1]), int(done[2])


def at_rate(protocol, rate):
    """Times of requests that come at a rate, in microseconds."""
    def run(proxy, path, seconds):
        headers = [part for header in HEADERS for part in ("-H", header)]
        log = proxy.directory / "times"
        log.unlink(missing_ok=True)
        # h2load looks at its clock every 10 ms: with more clients that ask less often each, requests come more evenly.
        clients = 40
        how = [f"-c{clients}", *(["--h1"] if protocol == "h1" else ["-m16"])]
        on_load_cpu(["h2load", *how, f"-D{seconds}", f"--rps={rate // clients}", f"--tls13-ciphers={SUITE}", *headers,
                     f"--log-file={log}", f"--connect-to=127.0.0.1:{proxy.port}", f"https://{HOST}{path}"])
        rows = [line.split() for line in log.read_text().splitlines()]
        return [int(row[2]) for row in rows], sum(row[1] != "200" for row in rows)
    return run


def s_time(how, version):
    def run(proxy, path, seconds):
        shown = ["-cert", proxy.client, "-key", proxy.client] if proxy.client else []
        # s_time writes `GET … HTTP/1.0` around the path; this way there is a Host.
        page = f"{path} HTTP/1.0\r\nHost: {HOST}\r\nX-Rest:"
        text = on_load_cpu(["openssl", "s_time", f"-{how}", f"-{version}", "-ciphersuites", SUITE, "-time", str(seconds),
                            "-connect", f"127.0.0.1:{proxy.port}", *shown, "-www", page])
        return int(re.search(r"(\d+) connections in \d+ real seconds", text)[1]), 0
    return run


# Name, certificate, access log, load, path.
CELLS = [
    ("h1, 0 KB", "ecdsa", False, wrk, "/bytes/0"),
    ("h1, 1 KB", "ecdsa", False, wrk, "/bytes/1024"),
    ("h2, 0 KB", "ecdsa", False, h2load, "/bytes/0"),
    ("h2, 1 KB", "ecdsa", False, h2load, "/bytes/1024"),
    ("new connections, TLS 1.3, ECDSA", "ecdsa", False, s_time("new", "tls1_3"), "/bytes/0"),
    ("new connections, TLS 1.3, RSA", "rsa", False, s_time("new", "tls1_3"), "/bytes/0"),
    ("new connections, TLS 1.2, ECDSA", "ecdsa", False, s_time("new", "tls1_2"), "/bytes/0"),
    ("h1, 100 KB", "ecdsa", False, wrk, "/bytes/102400"),
    ("h2, 100 KB", "ecdsa", False, h2load, "/bytes/102400"),
    ("new connections, TLS 1.3, mutual", "mutual", False, s_time("new", "tls1_3"), "/bytes/0"),
    ("resumed connections, TLS 1.3, ECDSA", "ecdsa", False, s_time("reuse", "tls1_3"), "/bytes/0"),
    ("resumed connections, TLS 1.2, ECDSA", "ecdsa", False, s_time("reuse", "tls1_2"), "/bytes/0"),
    ("h1, 1 KB, access log", "ecdsa", True, wrk, "/bytes/1024"),
    ("h2, 1 KB, access log", "ecdsa", True, h2load, "/bytes/1024"),
]


def number(value):
    return f"{value:,.0f}"


def spread(values, form=lambda value: f"{value:.2f}"):
    return f"{form(statistics.median(values))} ({form(min(values))} to {form(max(values))})"


def race(cells, fleets, rounds, seconds):
    """Requests per CPU second of every cell and round, by proxy."""
    print("| cell | proxy | requests per CPU-second | ours ÷ its, same round | busy | failed |\n|---|---|---|---|---|---|")
    for name, kind, log, load, path in cells:
        fleet = fleets(kind, log)
        rates, busy, failures = ({proxy.name: [] for proxy in fleet} for _ in range(3))
        for turn in range(rounds + 1):
            for proxy in fleet[turn % len(fleet):] + fleet[:turn % len(fleet)]:
                cpu, began = proxy.cpu_seconds(), time.monotonic()
                done, failed = load(proxy, path, seconds)
                cpu, took = proxy.cpu_seconds() - cpu, time.monotonic() - began
                if turn > 0:  # the first one warms up
                    rates[proxy.name].append(done / cpu)
                    busy[proxy.name].append(cpu / took)
                    failures[proxy.name].append(failed)
        for proxy in fleet:
            ratios = [ours / its for ours, its in zip(rates[fleet[0].name], rates[proxy.name])]
            print(f"| {name} | {proxy.name} | {spread(rates[proxy.name], number)} | {spread(ratios)} "
                  f"| {statistics.median(busy[proxy.name]):.2f} | {sum(failures[proxy.name])} |", flush=True)


def latency(fleet, rounds, seconds):
    """How long requests take that come at a rate which leaves proxy and load mostly idle."""
    print("\n| cell | proxy | p50 µs | p99 | p99.9 | most | failed |\n|---|---|---|---|---|---|---|")
    for protocol, rate in (("h1", 4000), ("h2", 4000)):
        load = at_rate(protocol, rate)
        times, failures = ({proxy.name: [] for proxy in fleet} for _ in range(2))
        for turn in range(rounds):
            for proxy in fleet[turn % len(fleet):] + fleet[:turn % len(fleet)]:
                took, failed = load(proxy, "/bytes/1024", seconds)
                times[proxy.name].extend(took)
                failures[proxy.name].append(failed)
        for proxy in fleet:
            parts = " | ".join(number(scale.percentile(times[proxy.name], part)) for part in (0.5, 0.99, 0.999, 1))
            print(f"| {protocol}, 1 KB, {number(rate)} a second | {proxy.name} | {parts} | {sum(failures[proxy.name])} |", flush=True)


def against_first(title, entries, rounds, seconds, factor=lambda proxy: 1):
    """Requests per CPU second of several of the gateway, and their ratio to the first of them."""
    print(f"\n| {title} | requests per CPU-second | against the first, same round | failed |\n|---|---|---|---|")
    rates, failures = ({name: [] for name, _, _ in entries} for _ in range(2))
    for turn in range(rounds + 1):
        for name, proxy, path in entries[turn % len(entries):] + entries[:turn % len(entries)]:
            cpu = proxy.cpu_seconds()
            done, failed = wrk(proxy, path, seconds)
            if turn > 0:
                rates[name].append(done / (proxy.cpu_seconds() - cpu) * factor(proxy))
                failures[name].append(failed)
    for name, proxy, _ in entries:
        ratios = [its / first for its, first in zip(rates[name], rates[entries[0][0]])]
        print(f"| {name} | {spread(rates[name], number)} | {spread(ratios)} | {sum(failures[name])} |", flush=True)
        proxy.stop()


def many_routes(binary, backend, root, rounds, seconds):
    """First and last of few and many routes, each asked for in the sandbox with every request, and remembered."""
    entries = []
    for count, limits in ((10, "?routeDecisions=0"), (1000, "?routeDecisions=0"), (10_000, "?routeDecisions=0"), (10_000, "")):
        last = count // 10 - 1
        kind = "asked for each time" if limits else "remembered"
        for which, host, path in (("first", "more-0.example.com", "/path/0"), ("last", f"more-{last}.example.com", "/path/9")):
            directory = root / "routes" / f"{count}-{which}-{kind[0]}"
            proxy = Sekisho("sekisho", binary + limits, directory, "ecdsa", backend, False, routes=count)
            proxy.host = host
            proxy.start()
            entries.append((f"{which} of {number(count)} routes, {kind}", proxy, path))
    against_first("h1, 0 KB", entries, rounds, seconds)


def workers(binary, backend, root, rounds, seconds):
    """One worker, and two that share both processors with load and backend."""
    entries = []
    for count, cpu in ((1, "0"), (2, "0-1")):
        proxy = Sekisho("sekisho", binary, root / "workers" / str(count), "ecdsa", backend, False, workers=count, cpu=cpu)
        proxy.start()
        entries.append((f"{count} of them", proxy, "/bytes/1024"))
    against_first("workers: what they would do with a processor each", entries, rounds, seconds, lambda proxy: proxy.workers)


def rest(build, connections):
    """What a fresh process of each needs: memory, time to start, CPU at idle."""
    print("\n| proxy | first answer | again | CPU at idle | memory at rest | per idle h1 | per idle h2 |\n|---|---|---|---|---|---|---|")
    for proxy in build("rest"):
        first = proxy.start()
        proxy.stop()
        again = proxy.start()
        time.sleep(1)
        cpu, memory = proxy.cpu_seconds(), proxy.memory()
        time.sleep(5)
        cpu = (proxy.cpu_seconds() - cpu) / 5
        per = []
        for protocol in (idle.http1, idle.http2):
            proxy.stop()
            proxy.start()
            time.sleep(0.5)
            before = proxy.memory()
            with idle.held(proxy, protocol, connections):
                per.append((proxy.memory() - before) / connections)
        proxy.stop()
        print(f"| {proxy.name} | {first * 1000:.0f} ms | {again * 1000:.0f} ms | {cpu * 100:.1f} % | {memory / 1024:.1f} MB "
              f"| {per[0]:.1f} KB | {per[1]:.1f} KB |", flush=True)


def large(gateways, backend, root):
    """Large configurations, of the gateways alone."""
    print("\n| proxy | 10,000 routes, 1,000 certificates | after 5 changes | from a full cache |\n|---|---|---|---|")
    for name, binary in gateways:
        scale.memory(name, binary, backend, root)
    print("\n| proxy | a new route beside 3,000 | p50 ms | p90 | p99 | most | odd answers |\n|---|---|---|---|---|---|---|")
    for name, binary in gateways:
        scale.propagation(name, binary, backend, root, 100)
    print("\n| proxy | 4,000 requests a second beside 3,000 routes | p50 µs | p99 | p99.9 | most | failed |\n|---|---|---|---|---|---|---|")
    for name, binary in gateways:
        scale.under_traffic(name, binary, backend, root, at_rate("h2", 4000))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", action="append", default=[], metavar="NAME=BINARY[?LIMIT=VALUE&…]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of one turn")
    parser.add_argument("--cells", default="", help="a regular expression that their names match; `none` for none")
    parser.add_argument("--alone", action="store_true", help="without nginx and HAProxy")
    parser.add_argument("--bare", action="store_true", help="hyper and rustls without a gateway too")
    parser.add_argument("--rest", action="store_true", help="memory and start too")
    parser.add_argument("--large", action="store_true", help="large configurations too")
    parser.add_argument("--more", action="store_true", help="latency, many routes, and two workers too")
    options = parser.parse_args()
    gateways = [gateway.split("=", 1) for gateway in options.gateway] or [["sekisho", "target/release/sekisho"]]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    root = pathlib.Path(tempfile.mkdtemp(prefix="race-"))
    source = pathlib.Path(__file__).with_name("backend.c")
    subprocess.run(["cc", "-O2", "-Wall", "-o", root / "backend", source], check=True)
    port = free_port()
    backend = subprocess.Popen(["taskset", "-c", "1", root / "backend", str(port)])
    running = {}

    def build(where, kind="ecdsa", log=False):
        ours = [Sekisho(name, binary, root / where / name, kind, port, log)
                for name, binary in gateways]
        others = [] if options.alone else [
            Nginx("nginx", root / where / "nginx", kind, port, log),
            Haproxy("haproxy", root / where / "haproxy", kind, port, log)]
        if options.bare and kind != "mutual" and not log:
            others.append(Bare("bare hyper", gateways[0][1], root / where / "bare", kind, port, log))
        return ours + others

    def fleets(kind, log):
        if (kind, log) not in running:
            running[kind, log] = build(f"{kind}-{log}", kind, log)
            for proxy in running[kind, log]:
                proxy.start()
        return running[kind, log]

    try:
        race([cell for cell in CELLS if re.search(options.cells, cell[0])], fleets, options.rounds, options.seconds)
        if options.more:
            latency(fleets("ecdsa", False), options.rounds, options.seconds)
            many_routes(gateways[0][1], port, root, options.rounds, options.seconds)
            workers(gateways[0][1], port, root, options.rounds, options.seconds)
        if options.rest:
            rest(build, 1000)
        if options.large:
            large(gateways, port, root)
    finally:
        for proxy in [proxy for fleet in running.values() for proxy in fleet]:
            proxy.stop()
        backend.kill()
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
