# SPDX-License-Identifier: Apache-2.0
# What deploy.sh checks of docker/ that needs more than a program: compose file and Kubernetes manifests against their
# schemas (unknown fields are errors), flags and variables that lipstreamd knows, ports that agree, and limits of time
# that stay on the right side of the server's own.
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys

import _stubs
from _stubs import check, finish, skip

try:
    import jsonschema
    import kubernetes_validate
    import yaml
except ImportError as e:
    skip("%s is not installed (docker/deps.sh --test)" % e.name)

DOCKER = os.path.join(_stubs.ROOT, "docker")
OTHERS = {  # flags of programs that are not ours
    "Dockerfile": {"build", "check", "prefix", "strip", "test", "rm", "install", "read-only", "tmpfs", "build-arg", "gpus",
                   "runtime", "wheels", "tls", "ca", "server", "from", "interval", "timeout", "start-period", "retries"},
    "compose.yaml": {"build", "scale", "server", "ca", "cert", "key", "server-name", "log-level"},
    "kustomization.yaml": {"from-file", "build-arg"},
    "lipstream.yaml": {"server", "ca", "cert", "key", "server-name"},
    "envoy.yaml": {"log-level"},
    "lipstreamd.service": {"now"},
}


def files():
    """Every file of docker/ that speaks of lipstreamd to somebody who runs it."""
    for folder, _, names in os.walk(DOCKER):
        if os.path.basename(folder) in ("tls", "grafana"):
            continue
        for name in names:
            if name.endswith((".yaml", ".yml", ".service", ".conf", ".env", ".md")) or name == "Dockerfile":
                yield os.path.join(folder, name)


def read(*path):
    with open(os.path.join(DOCKER, *path)) as file:
        return file.read()


def documents(*path):
    return [d for d in yaml.safe_load_all(read(*path)) if d]


def options(variables=None):
    """lipstreamd's options as it understands them: flag -> value."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("LIPSTREAM_")}
    text = subprocess.run([os.path.join(_stubs.BUILD, "lipstreamd"), "--print-config"], env={
        **env, **{k: str(v) for k, v in (variables or {}).items()}}, capture_output=True, text=True, timeout=60)
    check("lipstreamd takes these variables", text.returncode == 0, (variables, text.stderr))
    return dict(re.findall(r"^([a-z0-9-]+) = ?(.*)$", text.stdout, re.M))


def seconds(text):
    found = re.fullmatch(r"([0-9.]+)(ms|s|m|h)?", str(text))
    return float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, None: 1}[found[2]]


# --- schemas ---------------------------------------------------------------------------------------------
def test_compose():
    # Read as a file: the package's own program needs packages that nothing here does.
    package = importlib.metadata.distribution("check-jsonschema")
    path = package.locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    with open(path) as file:
        schema = json.load(file)
    validator = jsonschema.validators.validator_for(schema)(schema)
    compose = yaml.safe_load(read("compose.yaml"))
    check("compose.yaml fits its schema", not list(validator.iter_errors(compose)),
          [(e.json_path, e.message[:200]) for e in validator.iter_errors(compose)])
    wrong = {**compose, "services": {"x": {"image": "y", "replica": 3}}}
    check("the schema refuses unknown fields", list(validator.iter_errors(wrong)))
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            path = volume.split(":")[0]
            check("compose.yaml: %s is there" % path, not path.startswith("./") or path == "./envoy/tls" or
                  os.path.exists(os.path.join(DOCKER, path)))
    for inline in compose["configs"].values():
        check("inline files are YAML", yaml.safe_load(inline["content"])["apiVersion"] == 1)
    return compose


def patched(resources, kustomization):
    """What kustomize makes of JSON patches of the kinds used here."""
    for entry in kustomization.get("patches", []):
        found = [r for r in resources if r["kind"] == entry["target"]["kind"] and
                 r["metadata"]["name"] == entry["target"]["name"]]
        check("the patch of %s has one target" % entry["target"], len(found) == 1, len(found))
        for step in yaml.safe_load(entry["patch"]):
            *way, last = [p.replace("~1", "/") for p in step["path"].split("/")[1:]]
            at = found[0]
            for key in way:
                at = at[int(key) if isinstance(at, list) else key]
            check("%s is there to %s" % (step["path"], step["op"]), last in at, sorted(at))
            if step["op"] == "remove":
                del at[last]
            else:
                at[last] = step["value"]
    return resources


def test_kubernetes():
    base = documents("kubernetes", "kustomization.yaml")[0]
    resources = lambda: [d for name in base["resources"] for d in documents("kubernetes", name)]
    overlay = documents("kubernetes-cpu", "kustomization.yaml")[0]
    check("kustomize finds the base beside the cpu variant, not above", overlay["resources"] == ["../kubernetes"])
    for folder in ("kubernetes", "kubernetes-cpu"):
        if shutil.which("kubectl"):
            made = subprocess.run(["kubectl", "kustomize", os.path.join(DOCKER, folder)], capture_output=True, text=True)
            check("kubectl takes docker/%s" % folder, made.returncode == 0 and "kind: Deployment" in made.stdout,
                  made.stderr[-300:])
    cpu = patched(resources(), overlay)
    for variant, found in (("base", resources()), ("cpu", cpu)):
        for r in found:
            name = "%s: %s %s" % (variant, r["kind"], r["metadata"]["name"])
            try:
                kubernetes_validate.validate(r, "1.32", strict=True)
                check(name, True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as e:
                check(name, False, e.message[:500])
    try:
        kubernetes_validate.validate({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"},
                                      "spec": {"clusterIp": "None"}}, "1.32", strict=True)
        check("the schemas refuse unknown fields", False)
    except kubernetes_validate.ValidationError:
        pass
    check("the cpu variant asks for no GPU", "nvidia.com/gpu" not in json.dumps(cpu) and
          "nvidia.com/gpu" in json.dumps(resources()))
    for r in resources():
        if r["kind"] == "Deployment":
            test_pod(r["metadata"]["name"], r["spec"]["template"]["spec"])
    return {(r["kind"], r["metadata"]["name"]): r for r in resources()}


def test_pod(name, pod):
    """What Pod Security's level restricted asks for, and a little more."""
    check(name + ": non-root with the default seccomp profile", pod["securityContext"]["runAsNonRoot"] and
          pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault")
    for c in pod["containers"] + pod.get("initContainers", []):
        own = c["securityContext"]
        check("%s/%s: restricted" % (name, c["name"]), own["allowPrivilegeEscalation"] is False and
              own["readOnlyRootFilesystem"] and own["capabilities"]["drop"] == ["ALL"], own)
        check("%s/%s: memory is limited" % (name, c["name"]), "memory" in c["resources"]["limits"])
        known = {v["name"] for v in pod["volumes"]}
        check("%s/%s: its volumes are there" % (name, c["name"]),
              {m["name"] for m in c["volumeMounts"]} <= known)


# --- what belongs together -------------------------------------------------------------------------------
def test_names(known):
    for path in files():
        with open(path) as file:
            text = file.read()
        name = os.path.relpath(path, DOCKER)
        variables = {v.lower().replace("_", "-") for v in re.findall(r"\bLIPSTREAM_([A-Z0-9_]+)", text)}
        check(name + ": variables", variables - {"server", "token"} <= set(known),
              variables - set(known))
        flags = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", text)) - OTHERS.get(os.path.basename(path), set())
        flags -= {"hash-token", "check", "print-config", "help"}
        if not name.endswith(".md"):
            check(name + ": flags", flags <= set(known), flags - set(known))


def test_ports(known, compose, kubernetes):
    grpc_port, admin_port = (int(known[f].rsplit(":", 1)[1]) for f in ("listen", "admin-listen"))
    dockerfile = read("Dockerfile")
    check("Dockerfile exposes both", re.search(r"^EXPOSE %d %d$" % (grpc_port, admin_port), dockerfile, re.M))
    check("Dockerfile: health asks the gRPC port", '"127.0.0.1:%d"' % grpc_port in dockerfile)
    replica = compose["services"]["lipstream"]
    check("compose: health asks the gRPC port", "--server=127.0.0.1:%d" % grpc_port in replica["healthcheck"]["test"])
    check("compose: endpoints", str(grpc_port) in compose["services"]["endpoints"]["entrypoint"])
    check("Prometheus asks the admin port", yaml.safe_load(read("prometheus", "prometheus.yml"))["scrape_configs"][0]
          ["dns_sd_configs"][0]["port"] == admin_port)
    envoy = yaml.safe_load(read("envoy", "envoy.yaml"))
    front = [l["address"]["socket_address"]["port_value"] for l in envoy["static_resources"]["listeners"]]
    check("compose publishes Envoy's", "%d:%d" % (front[0], front[0]) in compose["services"]["envoy"]["ports"])
    ports = {p["name"]: p["port"] for p in kubernetes["Service", "lipstream"]["spec"]["ports"]}
    check("Kubernetes: the Service's", ports == {"grpc": grpc_port, "admin": admin_port}, ports)
    pod = kubernetes["Deployment", "lipstream"]["spec"]["template"]["spec"]["containers"][0]
    check("Kubernetes: the pod's", {p["name"]: p["containerPort"] for p in pod["ports"]} == ports)
    box = kubernetes["Deployment", "envoy"]["spec"]["template"]["spec"]["containers"][0]
    check("Kubernetes: Envoy's", box["ports"][0]["containerPort"] == front[0])


def test_times(known, compose, kubernetes):
    stop = lambda o: (int(o["drain-delay"]) + int(o["drain-timeout"])) / 1000
    unit = dict(re.findall(r"^([A-Za-z]+)=(.*)$", read("systemd", "lipstreamd.service"), re.M))
    env = options(dict(re.findall(r"^(LIPSTREAM_\w+)=(.*)$", read("systemd", "lipstreamd.env"), re.M)))
    check("systemd waits for the drain", float(unit["TimeoutStopSec"]) >= stop(env) + 10, stop(env))
    replica = compose["services"]["lipstream"]
    check("compose waits for the drain", seconds(replica["stop_grace_period"]) >=
          stop(options(replica["environment"])) + 10)
    here = options(replica["environment"])
    room = re.fullmatch(re.escape(here["spool-dir"]) + r":size=(\d+)g,.*", replica["tmpfs"][0])
    check("compose: the spool has room for spool-total-max",
          room and int(room[1]) << 30 > int(here["spool-total-max"]), here["spool-total-max"])
    pod = kubernetes["Deployment", "lipstream"]["spec"]["template"]["spec"]
    there = options(kubernetes["ConfigMap", "lipstream"]["data"])
    check("Kubernetes waits for the drain", pod["terminationGracePeriodSeconds"] >= stop(there) + 10)
    size = pod["volumes"][0]["emptyDir"]["sizeLimit"]
    check("the spool has room for spool-total-max", int(size[:-2]) << 30 > int(there["spool-total-max"]), size)

    envoy = yaml.safe_load(read("envoy", "envoy.yaml"))
    cluster = envoy["static_resources"]["clusters"][0]
    up = cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
    up = up["explicit_http_config"]["http2_protocol_options"]
    http = envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    ms = lambda flag: int(known[flag]) / 1000
    check("Envoy: silence is the server's to end", seconds(http["stream_idle_timeout"]) >
          max(ms("input-idle-max"), ms("output-idle-max")))
    check("Envoy: length is the server's to end",
          seconds(http["common_http_protocol_options"]["max_stream_duration"]) > ms("session-max"))
    check("Envoy pings no faster than it may",
          seconds(up["connection_keepalive"]["interval"]) > ms("ping-interval-min"))
    streams = int(known["streams-max"]) or 2 * int(known["sessions-max"]) + 100
    check("Envoy opens no more streams than it may", up["max_concurrent_streams"] <= streams)
    headers = http["max_request_headers_kb"] * 1024 + \
        32 * http["common_http_protocol_options"]["max_headers_count"] + 1024
    check("Envoy passes no more metadata than it may", headers < int(known["metadata-bytes-max"]), headers)
    check("none holds up another on its connection", up["initial_connection_window_size"] >=
          up["max_concurrent_streams"] * up["initial_stream_window_size"])
    check("health checks ask for the service", cluster["health_checks"][0]["grpc_health_check"]["service_name"] ==
          "lipstream.v1.LipSync")


def main():
    known = options()
    compose = test_compose()
    kubernetes = test_kubernetes()
    test_names(known)
    test_ports(known, compose, kubernetes)
    test_times(known, compose, kubernetes)
    finish()


if __name__ == "__main__":
    sys.exit(main())
