# SPDX-License-Identifier: Apache-2.0
# Who may call, end to end: TLS and client certificates, tokens, JWTs, scopes on both ports, what a reload
# changes under a running stream, and which starts are refused. Callers are gRPC for Python, grpcurl,
# Python's ssl, OpenSSL's s_client and our own client.
import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import warnings

import grpc

import _stubs
from _stubs import BUILD, CLIENT, ROOT, check, pb, pb_grpc

try:
    import jwt
    from _certs import HOUR, Authority, Issuer, token_line, write
except ImportError as error:
    _stubs.skip("%s (docker/deps.sh --test brings it)" % error)

HERE = tempfile.mkdtemp(prefix="lipstream-auth-")
warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.1 is asked for on purpose
TOKENS = {name: "%s-token-0123456789-%s" % (name, "x" * 8) for name in ("all", "sync", "info", "admin")}
SCOPES = {"all": "sync,info,admin", "sync": "sync", "info": "info", "admin": "admin"}
OK, UNAUTHENTICATED, DENIED = (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED,
                               grpc.StatusCode.PERMISSION_DENIED)


def path(name):
    return os.path.join(HERE, name)


def read(name):
    with open(name, "rb") as file:
        return file.read()


def write_tokens(names=TOKENS, tokens=TOKENS):
    return write(path("tokens"), "# who, what, may\n" + "".join(
        token_line(name, tokens[name], SCOPES[name]) for name in names))


def secure_channel(server, token=None, pair=None):
    """pair: paths of a client's certificate and key."""
    creds = grpc.ssl_channel_credentials(read(ca.cert), read(pair[1]) if pair else None,
                                         read(pair[0]) if pair else None)
    if token:
        creds = grpc.composite_channel_credentials(creds, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(server.address, creds, [("grpc.use_local_subchannel_pool", 1),
                                                       ("grpc.enable_http_proxy", 0)])


def outcome(call):
    """The status and the reason of what call() does, and its text."""
    result = _stubs.Result()
    try:
        list(call())
        result.code = OK
    except grpc.RpcError as error:
        _stubs.take_error(result, error)
    return result


def ask_info(channel, metadata=None):
    def call():
        yield pb_grpc.LipSyncStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=10,
                                                         metadata=metadata)
    return outcome(call)


def ask_sync(channel, metadata=None):
    """A call that the server refuses in any case: a wrong first message is INVALID_ARGUMENT."""
    def call():
        yield from pb_grpc.LipSyncStub(channel).Sync(iter([pb.SyncRequest(audio=pb.InputChunk())]),
                                                     timeout=10, metadata=metadata)
    return outcome(call)


def ask_reflection(channel, metadata=None):
    ask = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                                lambda m: m, lambda m: m)
    return outcome(lambda: ask(iter([b"\x3a\x00"]), timeout=10, metadata=metadata))


def bearer(token):
    return [("authorization", "Bearer " + token)]


def whole_call(channel):
    return _stubs.sync(channel, _stubs.container_config(), _stubs.media("voice.wav"),
                       _stubs.media("face.mp4"))


def tls_flags(pair):
    return ["--tls-cert", pair[0], "--tls-key", pair[1]]


# --- TLS -------------------------------------------------------------------------------------------------
def handshake(server, version=None, suites=None, pair=None):
    """(version, ALPN, serial number) or the error's text."""
    context = ssl.create_default_context(cafile=ca.cert)
    context.set_alpn_protocols(["h2"])
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    if version:
        context.minimum_version = context.maximum_version = version
    if suites:
        context.set_ciphers(suites)
    if pair:
        context.load_cert_chain(*pair)
    try:
        with socket.create_connection(("127.0.0.1", server.port), 5) as plain, \
                context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            return (secure.version(), secure.selected_alpn_protocol(),
                    int(secure.getpeercert()["serialNumber"], 16))
    except OSError as error:
        return str(error)


def test_versions(server):
    modern = handshake(server)
    check("tls: 1.3 by default", modern[:2] == ("TLSv1.3", "h2"), modern)
    older = handshake(server, ssl.TLSVersion.TLSv1_2)
    check("tls: 1.2", older[:2] == ("TLSv1.2", "h2"), older)
    for name, version, suites in (("1.1", ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
                                  ("CBC", ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256"),
                                  ("no forward secrecy", ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256")):
        old = handshake(server, version, suites)
        check("tls: refused: " + name, isinstance(old, str), old)
    if shutil.which("openssl"):
        for flag, want in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            run = subprocess.run(["openssl", "s_client", "-connect", server.address, flag, "-alpn", "h2",
                                  "-CAfile", ca.cert, "-verify_return_error", "-verify_ip", "127.0.0.1"],
                                 input=b"", capture_output=True, timeout=20)
            check("tls: s_client " + flag, run.returncode == 0 and want.encode() in run.stdout
                  and b"ALPN protocol: h2" in run.stdout, run.stdout[-500:])
    with grpc.insecure_channel(server.address) as channel:
        check("tls: plain is refused", ask_info(channel).code == grpc.StatusCode.UNAVAILABLE)


# --- tokens, JWTs, scopes --------------------------------------------------------------------------------
def test_tokens(server):
    bad = grpc.StatusCode.INVALID_ARGUMENT  # it came as far as the first message
    with secure_channel(server) as channel:
        check("health is open", _stubs.serving(channel))
        check("health is open to a bad token", health_with(channel, "Bearer nonsense-nonsense-nonsense"))
        for name, metadata, info, sync in (
                ("no token", None, UNAUTHENTICATED, UNAUTHENTICATED),
                ("all", bearer(TOKENS["all"]), OK, bad),
                ("sync", bearer(TOKENS["sync"]), DENIED, bad),
                ("info", bearer(TOKENS["info"]), OK, DENIED),
                ("admin", bearer(TOKENS["admin"]), DENIED, DENIED),
                ("two tokens", bearer(TOKENS["all"]) + bearer(TOKENS["sync"]), UNAUTHENTICATED, UNAUTHENTICATED),
                ("lower case", [("authorization", "bearer " + TOKENS["all"])], OK, bad),
                ("another scheme", [("authorization", "Basic " + TOKENS["all"])], UNAUTHENTICATED,
                 UNAUTHENTICATED),
                ("unknown", bearer("unknown-token-0123456789"), UNAUTHENTICATED, UNAUTHENTICATED),
                ("empty", [("authorization", "")], UNAUTHENTICATED, UNAUTHENTICATED),
                ("prefix", bearer(TOKENS["all"][:-1]), UNAUTHENTICATED, UNAUTHENTICATED)):
            for ask, want, what in ((ask_info, info, "info"), (ask_reflection, info, "reflection"),
                                    (ask_sync, sync, "sync")):
                got = ask(channel, metadata)
                reason = {UNAUTHENTICATED: "UNAUTHENTICATED", DENIED: "SCOPE_MISSING"}.get(want)
                check("token %s: %s" % (name, what), got.code == want
                      and (not reason or (got.reason, got.domain) == (reason, "lipstream")), got)
        got = ask_sync(channel, bearer(TOKENS["info"]))
        check("token: the missing scope is named", "needs the scope sync" in got.text
              and "of info have info" in got.text, got)
    with secure_channel(server, TOKENS["sync"]) as channel:
        check("token: a whole call", whole_call(channel).ok())


def health_with(channel, value):
    ask = channel.unary_unary("/grpc.health.v1.Health/Check", lambda m: m, lambda m: m)
    return ask(b"", timeout=10, metadata=[("authorization", value)]) == b"\x08\x01"


def test_jwts(server):
    now = int(time.time())
    stranger = Issuer()
    good = issuer.sign()
    for alg in ("RS256", "ES256", "EdDSA"):
        with secure_channel(server, issuer.sign(alg)) as channel:
            got = ask_info(channel)
            check("jwt: " + alg, got.code == OK, got)
    with secure_channel(server) as channel:
        for name, token, code, words in (
                ("no kid", issuer.sign("ES256", {"kid": None}), OK, ""),
                ("aud among others", issuer.sign(aud=["x", "lipstream"]), OK, ""),
                ("scopes with prefix", issuer.sign(scope="openid lipstream:info"), OK, ""),
                ("at+jwt", issuer.sign(header={"typ": "at+jwt"}), OK, ""),
                ("just expired", issuer.sign(exp=now - 5), OK, ""),
                ("expired", issuer.sign(exp=now - 120), UNAUTHENTICATED, "expired 12"),
                ("no exp", issuer.sign(exp=None), UNAUTHENTICATED, "no exp"),
                ("not yet", issuer.sign(nbf=now + 120), UNAUTHENTICATED, "not valid before"),
                ("another audience", issuer.sign(aud="other"), UNAUTHENTICATED, "audience"),
                ("another issuer", issuer.sign(iss="https://other"), UNAUTHENTICATED, "issuer"),
                ("no scope", issuer.sign(scope=None), DENIED, "needs the scope info; the credentials of "
                 "anna have none"),
                ("another scope", issuer.sign(scope="sync"), DENIED, "have sync"),
                ("another key", issuer.sign("EdDSA", key=stranger.keys["EdDSA"]), UNAUTHENTICATED,
                 "signature"),
                ("unknown kid", issuer.sign(header={"kid": "other"}), UNAUTHENTICATED, "signature"),
                ("HS256", jwt.encode({"exp": now + HOUR}, "a secret of thirty-two bytes, or more"),
                 UNAUTHENTICATED, "RS256, ES256, EdDSA"),
                ("alg none", jwt.encode({"exp": now + HOUR}, None, "none"), UNAUTHENTICATED,
                 "is not known here|RS256"),
                ("PS256", issuer.sign("PS256", key=issuer.keys["RS256"]), UNAUTHENTICATED, "RS256, ES256"),
                ("crit", issuer.sign(header={"crit": ["exp"]}), UNAUTHENTICATED, "crit"),
                ("cut", good[:-2], UNAUTHENTICATED, "signature"),
                ("changed", good[:-3] + ("A" if good[-3] != "A" else "B") + good[-2:], UNAUTHENTICATED,
                 "signature")):
            got = ask_info(channel, bearer(token))
            check("jwt: " + name, got.code == code and re.search(words, got.text), got)
            check("jwt: %s: not repeated" % name, token not in got.text)


def test_programs(server):
    """The same by grpcurl and by our own client."""
    token_file = write(path("token"), TOKENS["all"] + "\n")
    run = subprocess.run([CLIENT, "info", "--server", server.address, "--ca", ca.cert, "--token-file",
                          token_file], capture_output=True, timeout=20)
    check("client: info", run.returncode == 0 and b"sessions" in run.stdout, run)
    run = subprocess.run([CLIENT, "health", "--server", server.address, "--ca", ca.cert],
                         capture_output=True, timeout=20)
    check("client: health without a token", run.returncode == 0, run)
    run = subprocess.run([CLIENT, "sync", "--server", server.address, "--ca", ca.cert,
                          _stubs.make_media("face.mp4"), _stubs.make_media("voice.wav"), path("out.mp4")],
                         capture_output=True, timeout=20)
    check("client: no token", run.returncode == 26 and b"UNAUTHENTICATED" in run.stderr
          and b"wants the metadata authorization" in run.stderr
          and re.search(rb"\n  session \w{16}\n", run.stderr), run)
    grpcurl = os.path.join(ROOT, "build", "tools", "grpcurl")
    grpcurl = grpcurl if os.path.exists(grpcurl) else shutil.which("grpcurl")
    if not grpcurl:
        print("SKIP: grpcurl with TLS and a token: it is not installed")
        return
    for name, more, want in (("token", ["-H", "authorization: Bearer " + TOKENS["info"]], 0),
                             ("no token", [], 64 + 16)):
        run = subprocess.run([grpcurl, "-cacert", ca.cert, "-format-error", *more, server.address,
                              "lipstream.v1.LipSync/GetServerInfo"], capture_output=True, timeout=20)
        check("grpcurl: " + name, run.returncode == want, run)
        check("grpcurl: %s: words" % name, b"generator" in run.stdout if not want
              else b'"code": 16' in run.stderr, run)


def admin(server, what, token=None):
    found = re.search(r'admin[^\n]*?127\.0\.0\.1:(\d+)', server.stderr())
    if not found:
        return None
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
    connection.request("GET", what, headers={"Authorization": "Bearer " + token} if token else {})
    return connection.getresponse().status


def test_admin(server):
    if admin(server, "/healthz") is None:
        check("admin: its address is in the log", False, server.stderr())
        return
    for what, nobody, info, all_scopes in (("/healthz", 200, 200, 200), ("/readyz", 200, 200, 200),
                                           ("/metrics", 401, 403, 200), ("/configz", 401, 403, 200)):
        got = [admin(server, what, token) for token in (None, TOKENS["info"], TOKENS["admin"])]
        check("admin: " + what, got == [nobody, info, all_scopes], got)
    check("admin: a JWT", admin(server, "/metrics", issuer.sign(scope="admin")) == 200)


# --- reloads ---------------------------------------------------------------------------------------------
def slow_requests(go_on):
    """A call that waits for the test before its second half."""
    yield pb.SyncRequest(config=_stubs.container_config())
    every = _stubs.pieces(_stubs.media("voice.wav"), _stubs.media("face.mp4"), 4096)
    yield from every[:len(every) // 2]
    go_on.wait(30)
    yield from every[len(every) // 2:]


@contextlib.contextmanager
def running_stream(server, token, name):
    """A call that is under way in the body and must end whole."""
    go_on, results = threading.Event(), []
    with secure_channel(server, token) as channel:
        thread = threading.Thread(target=lambda: results.append(
            _stubs.run_call(channel, slow_requests(go_on), 40)))
        thread.start()
        time.sleep(0.5)
        try:
            yield
        finally:
            go_on.set()
            thread.join(45)
        check(name + ": the running stream is whole", results and results[0].ok(),
              results and str(results[0]))


def reload(server, words):
    """SIGHUP; true when the log says so."""
    before = len(server.stderr())
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if re.search(words, server.stderr()[before:]):
            return True
        time.sleep(0.02)
    return False


def test_reload(server, pair):
    serial = handshake(server)[2]
    new = {**TOKENS, "all": "another-token-0123456789-yyyy"}
    newer = Issuer(ids=("r2", "e2", "d2"))
    old_jwt, new_jwt = issuer.sign(), newer.sign()

    def answers(token):
        with secure_channel(server, token) as channel:
            return ask_info(channel).code

    with running_stream(server, TOKENS["all"], "reload"):
        for file, was in ((path("tokens"), "a nonsense\n"), (path("jwks"), "{}"),
                          (pair[0], "no certificate"), (pair[1], "no key")):
            kept = read(file)
            write(file, was)
            check("broken reload: told: " + os.path.basename(file), reload(server, r"error\s+reload"),
                  server.stderr()[-500:])
            check("broken reload: old token", answers(TOKENS["all"]) == OK)
            check("broken reload: old JWT", answers(old_jwt) == OK)
            check("broken reload: old certificate", handshake(server)[2] == serial)
            write(file, kept)
        write_tokens(tokens=new)
        write(path("jwks"), newer.jwks(), 0o644)
        ca.issue("server", "127.0.0.1", "localhost")  # the same files
        check("reload: told", reload(server, "read anew"), server.stderr()[-500:])
        check("reload: new certificate", handshake(server)[2] not in (None, serial))
        check("reload: new token", answers(new["all"]) == OK)
        check("reload: old token", answers(TOKENS["all"]) == UNAUTHENTICATED)
        check("reload: new JWT", answers(new_jwt) == OK)
        check("reload: old JWT", answers(old_jwt) == UNAUTHENTICATED)
    text = server.stderr()
    check("no token in the log", not any(t in text for t in [*TOKENS.values(), *new.values(), old_jwt]))


# --- client certificates ---------------------------------------------------------------------------------
def test_mutual(pair):
    known = ca.issue("known", "caller.test", client=True)
    other_name = ca.issue("other_name", "spiffe://test/other", client=True)
    late = ca.issue("late", "caller.test", client=True, begins_s=-2 * HOUR, ends_s=-HOUR)
    stranger = Authority(HERE, "stranger").issue("stranger", "caller.test", client=True)
    no_client = ca.issue("no_client", "caller.test")
    flags = [*tls_flags(pair), "--tls-client-ca", ca.cert, "--tls-client-names", "caller.test,other"]
    unavailable = grpc.StatusCode.UNAVAILABLE

    with _stubs.start_server(*flags) as server:
        for name, own, want in (("good", known, OK), ("none", None, unavailable),
                                ("another name", other_name, unavailable), ("expired", late, unavailable),
                                ("another authority", stranger, unavailable),
                                ("a server's", no_client, unavailable)):
            with secure_channel(server, None, own) as channel:
                got = ask_info(channel)
                check("mutual: " + name, got.code == want, got)
        with secure_channel(server, None, known) as channel:
            check("mutual: a whole call", whole_call(channel).ok())
            check("mutual: reflection", ask_reflection(channel).code == OK)
            got = ask_info(channel, bearer("a token that nobody asked for".replace(" ", "-")))
            check("mutual: a token is not looked at", got.code == OK, got)
        run = subprocess.run([CLIENT, "info", "--server", server.address, "--ca", ca.cert, "--cert",
                              known[0], "--key", known[1]], capture_output=True, timeout=20)
        check("mutual: our client", run.returncode == 0, run)
        check("mutual: admin port from loopback", admin(server, "/metrics") == 200)
    with _stubs.start_server(*flags, "--tokens", write_tokens()) as server:
        for name, token, want in (("alone", None, UNAUTHENTICATED), ("and a token", TOKENS["all"], OK)):
            with secure_channel(server, token, known) as channel:
                got = ask_info(channel)
                check("mutual and tokens: certificate " + name, got.code == want, got)
        with secure_channel(server, TOKENS["all"]) as channel:
            check("mutual and tokens: token alone", ask_info(channel).code == unavailable)


def test_plain():
    """Without TLS: a line that --hash-token printed, and callers from this machine without a token."""
    token = "plain-token-0123456789+/=="
    run = subprocess.run([os.path.join(BUILD, "lipstreamd"), "--hash-token"], input=token + "\n",
                         capture_output=True, text=True, timeout=20)
    check("hash-token", run.returncode == 0 and token not in run.stdout, run)
    file = write(path("hashed"), run.stdout)
    for flags, nobody in (([], UNAUTHENTICATED), (["--anonymous", "loopback"], OK)):
        with _stubs.start_server("--tokens", file, *flags) as server, server.channel() as channel:
            check("plain %s: nobody" % flags, ask_info(channel).code == nobody)
            check("plain %s: a token" % flags, ask_info(channel, bearer(token)).code == OK)
            check("plain %s: a bad one" % flags,
                  ask_info(channel, bearer(token[:-1])).code == UNAUTHENTICATED)
    with _stubs.start_server("--anonymous", "never") as server, server.channel() as channel:
        check("plain never", ask_info(channel).code == UNAUTHENTICATED and _stubs.serving(channel))


# --- starts that are refused -----------------------------------------------------------------------------
def test_starts(pair):
    tokens = write_tokens()
    late = ca.issue("expired", "127.0.0.1", begins_s=-2 * HOUR, ends_s=-HOUR)
    early = ca.issue("early", "127.0.0.1", begins_s=HOUR, ends_s=2 * HOUR)
    other = ca.issue("other", "127.0.0.1")
    loose = write(path("loose.key"), read(pair[1]), 0o644)
    jwks = write(path("set"), issuer.jwks(), 0o644)
    for name, words, *flags in (
            ("open to all", "--listen 0.0.0.0:0", "--listen", "0.0.0.0:0"),
            ("open to all with TLS", "--listen 0.0.0.0:0", "--listen", "0.0.0.0:0", *tls_flags(pair)),
            ("tokens missing", "No such file", "--tokens", path("nowhere")),
            ("tokens readable by all", "others may read", "--tokens", write(path("open"), "", 0o644)),
            ("tokens malformed", "line 1", "--tokens", write(path("malformed"), "a b c\n")),
            ("keys without issuer", "--jwt-issuer", "--jwks", jwks),
            ("keys malformed", "JWK set", "--jwks", tokens, "--jwt-issuer", "i", "--jwt-audience", "a"),
            ("another's key", "tls-key", "--tls-cert", pair[0], "--tls-key", other[1]),
            ("key missing", "tls-key", "--tls-cert", pair[0]),
            ("key no PEM", "tls-key", "--tls-cert", pair[0], "--tls-key", tokens),
            ("key readable by all", "tls-key", "--tls-cert", pair[0], "--tls-key", loose),
            ("certificate missing", "tls-cert", "--tls-cert", path("nowhere"), "--tls-key", pair[1]),
            ("certificate expired", "expired", *tls_flags(late)),
            ("certificate not valid yet", "tls-cert", *tls_flags(early)),
            ("authorities without certificate", "tls-c", "--tls-client-ca", ca.cert)):
        run = subprocess.run([os.path.join(BUILD, "lipstreamd"), "--listen", "127.0.0.1:0", "--admin-listen",
                              "none", "--model", path("no_model"), *flags], capture_output=True, timeout=30,
                             text=True)
        check("start: %s: status" % name, run.returncode == 1, run)
        check("start: %s: told" % name, words in run.stderr, run.stderr)
        # A model that is not there would be told of if it came first.
        check("start: %s: before the model" % name, "no_model" not in run.stderr, run.stderr)


def main():
    global ca, issuer
    if not os.path.exists(os.path.join(BUILD, "lipstreamd")):
        _stubs.skip("lipstreamd is not built")
    ca, issuer = Authority(HERE), Issuer()
    pair = ca.issue("server", "127.0.0.1", "localhost")
    only = os.environ.get("LS_ONLY", "")
    if not only or only == "server":
        with _stubs.start_server(*tls_flags(pair), "--tokens", write_tokens(), "--jwks",
                                 write(path("jwks"), issuer.jwks(), 0o644), "--jwt-issuer", issuer.issuer,
                                 "--jwt-audience", issuer.audience) as server:
            for test in (test_versions, test_tokens, test_jwts, test_programs, test_admin):
                test(server)
            test_reload(server, pair)
    for name, test in (("mutual", lambda: test_mutual(pair)), ("plain", test_plain),
                       ("starts", lambda: test_starts(pair))):
        if only in name:
            test()
    shutil.rmtree(HERE)
    _stubs.finish()


main()
