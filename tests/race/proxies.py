"""The racers: equal configurations for the gateway, nginx and HAProxy, and their processes."""

import base64
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time

HOST = "bench.example.com"
# Connections to the backend that are kept.
KEPT = 128


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificate(directory, kind):
    """A self-signed certificate; returns the files of chain, key, and both."""
    algorithm = ["-newkey", "rsa:2048"] if kind == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    chain, key, both = (directory / f"{kind}.{end}" for end in ("crt", "key", "pem"))
    subprocess.run(
        ["openssl", "req", "-x509", *algorithm, "-nodes", "-days", "30", "-subj", f"/CN={HOST}",
         "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", key, "-out", chain],
        check=True, stderr=subprocess.DEVNULL)
    both.write_text(chain.read_text() + key.read_text())
    return chain, key, both


def client_certificates(directory):
    """An authority, and a client's certificate with its key in one file, by it."""
    authority, key, client = (directory / name for name in ("authority.crt", "authority.key", "client.pem"))
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    quiet = {"check": True, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-x509", *new, "-days", "30", "-subj", "/CN=authority", "-keyout", key, "-out", authority], **quiet)
    request, own, issued = (directory / name for name in ("client.csr", "client.key", "client.crt"))
    subprocess.run(["openssl", "req", *new, "-subj", "/CN=client", "-keyout", own, "-out", request], **quiet)
    extensions = directory / "client.ext"
    extensions.write_text("basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n")
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", key, "-CAcreateserial",
                    "-days", "30", "-extfile", extensions, "-out", issued], **quiet)
    client.write_text(issued.read_text() + own.read_text())
    return authority, client


class Proxy:
    """A proxy under test: one worker on CPU 0, listening for TLS on 127.0.0.1."""

    def __init__(self, name, directory, kind, backend, log):
        self.name, self.kind, self.backend, self.log = name, kind, backend, log
        self.directory = directory
        directory.mkdir(parents=True)
        self.port = free_port()
        self.chain, self.key, self.both = certificate(directory, kind)
        self.authority, self.client = client_certificates(directory) if kind == "mutual" else (None, None)
        self.environment = dict(os.environ)
        self.command = self.configure()
        self.process = None

    cpu = "0"
    host = HOST

    def start(self):
        """Starts it, and returns the seconds until it answered."""
        began = time.monotonic()
        with (self.directory / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", self.cpu, *self.command], cwd=self.directory, env=self.environment, stdout=log, stderr=log)
        context = ssl.create_default_context(cafile=self.chain)
        if self.client:
            context.load_cert_chain(self.client)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as plain:
                    with context.wrap_socket(plain, server_hostname=HOST) as client:
                        client.sendall(f"GET /bytes/0 HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode())
                        if client.recv(4096).startswith(b"HTTP/1.1 200"):
                            return time.monotonic() - began
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() - began > 60:
                raise SystemExit(f"{self.name} does not serve:\n{(self.directory / 'log').read_text()[-4000:]}")
            time.sleep(0.002)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def processes(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [str(self.process.pid), *children]

    def cpu_seconds(self):
        """utime and stime of the proxy and its workers."""
        ticks = 0
        for process in self.processes():
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Resident memory in KB, pages of files left out: what the proxy itself needs."""
        total = 0
        for process in self.processes():
            status = pathlib.Path(f"/proc/{process}/status").read_text()
            total += int(status.split("RssAnon:")[1].split()[0])
        return total

    def write(self, name, text):
        (self.directory / name).write_text(text)
        return str(self.directory / name)


class Nginx(Proxy):
    def configure(self):
        return ["nginx", "-p", str(self.directory), "-c", self.write("nginx.conf", f"""
daemon off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 8192; }}
http {{
    access_log {"access.log" if self.log else "off"};
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    keepalive_timeout 60s; keepalive_requests 1000000000; http2_max_concurrent_streams 100;
    client_header_timeout 10s; client_body_timeout 30s; send_timeout 300s; client_max_body_size 0; proxy_max_temp_file_size 0;
    large_client_header_buffers 8 16k;
    upstream backend {{
        server 127.0.0.1:{self.backend};
        keepalive {KEPT}; keepalive_requests 1000000000; keepalive_timeout 60s;
    }}
    server {{
        listen 127.0.0.1:{self.port} ssl http2 backlog=4096;
        server_name {HOST};
        ssl_certificate {self.chain}; ssl_certificate_key {self.key};
        {f"ssl_verify_client on; ssl_client_certificate {self.authority};" if self.authority else ""}
        ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; ssl_session_timeout 12h;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1; proxy_connect_timeout 10s; proxy_read_timeout 300s; proxy_send_timeout 300s;
            proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Request-Id $request_id;
        }}
    }}
}}
""")]


class Haproxy(Proxy):
    def configure(self):
        return ["haproxy", "-db", "-f", self.write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn 8192
    tune.ssl.cachesize 0
    tune.h2.max-concurrent-streams 100
    {"log stdout len 4096 format raw local0" if self.log else ""}
defaults
    mode http
    {"log global" if self.log else ""}
    {"option httplog" if self.log else ""}
    timeout client 300s
    timeout server 300s
    timeout connect 10s
    timeout http-request 10s
    timeout http-keep-alive 60s
    option forwardfor
    http-reuse always
frontend tls
    bind 127.0.0.1:{self.port} ssl crt {self.both} {f"ca-file {self.authority} verify required" if self.authority else ""} alpn h2,http/1.1 ssl-min-ver TLSv1.2 backlog 4096
    http-request del-header x-forwarded-for
    http-request set-header x-forwarded-proto https
    http-request set-header x-request-id %[uuid()]
    use_backend all if {{ hdr(host) -i {HOST} }}
backend all
    server one 127.0.0.1:{self.backend} pool-max-conn {KEPT}
""")]


class Bare(Proxy):
    """hyper and rustls and nothing else, beside the gateway's binary."""

    def __init__(self, name, binary, directory, kind, backend, log):
        self.binary = str(pathlib.Path(binary.partition("?")[0]).resolve().with_name("bare-proxy"))
        super().__init__(name, directory, kind, backend, log)

    def configure(self):
        return [self.binary, str(self.port), str(self.backend), str(self.chain), str(self.key)]


class Sekisho(Proxy):
    """The gateway, with `routes` further rules."""

    def __init__(self, name, binary, directory, kind, backend, log, routes=0, workers=1, cpu="0"):
        # `BINARY?key=value&…`: with these limits.
        binary, _, limits = binary.partition("?")
        self.binary, self.routes, self.workers = str(pathlib.Path(binary).resolve()), routes, workers
        self.limits = {key: json.loads(value) for key, value in (limit.split("=") for limit in limits.split("&") if limit)}
        super().__init__(name, directory, kind, backend, log)
        self.cpu = cpu

    def configure(self):
        self.environment["SEKISHO_LOG"] = "info" if self.log else "info,access=off"
        self.environment["XDG_CACHE_HOME"] = str(self.directory / "cache")
        (self.directory / "cache").mkdir(mode=0o700)
        (self.directory / "resources").mkdir()
        objects = [
            secret("bench", self.chain, self.key, self.authority),
            {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "bench"},
             "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
                 "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                 "tls": {"mode": "MUTUAL" if self.authority else "SIMPLE", "credentialName": "bench"}, "hosts": ["*"]}]}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bench"},
             "spec": {"ports": [{"name": "http", "port": 80, "targetPort": self.backend}]}},
            self.endpoint_slice(0),
            virtual_service("bench", HOST, ["/"]),
            *(virtual_service(f"more-{at}", f"more-{at}.example.com", [f"/path/{rule}" for rule in range(10)])
              for at in range(self.routes // 10)),
        ]
        for at, item in enumerate(objects):
            self.write(f"resources/{at}.json", json.dumps(item))
        bootstrap = {
            "resources": ["resources"], "addresses": ["127.0.0.1"], "ports": {"443": self.port}, "workers": self.workers,
            "admin": {"address": f"127.0.0.1:{free_port()}"}, "limits": {"upstreamIdleConnections": KEPT, **self.limits},
        }
        return [self.binary, "run", "--config", self.write("sekisho.json", json.dumps(bootstrap))]

    def endpoint_slice(self, turn):
        """The backend; another `turn` is another object, of the same meaning."""
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "bench", "labels": {"kubernetes.io/service-name": "bench"},
                             "annotations": {"turn": str(turn)}}, "addressType": "IPv4",
                "ports": [{"name": "http", "port": self.backend, "protocol": "TCP"}],
                "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]}


def secret(name, chain, key, authority=None):
    files = {"tls.crt": chain, "tls.key": key, **({"ca.crt": authority} if authority else {})}
    data = {field: base64.b64encode(file.read_bytes()).decode() for field, file in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "istio-system"}, "data": data}


def virtual_service(name, host, prefixes, gateway="bench"):
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
            "spec": {"hosts": [host], "gateways": [gateway], "http": [
                {"match": [{"uri": {"prefix": prefix}}],
                 "route": [{"destination": {"host": "bench", "port": {"number": 80}}}]} for prefix in prefixes]}}
