# SPDX-License-Identifier: Apache-2.0
# Authorities, certificates, tokens and JWTs for tests: made new in a folder of their own each time, valid
# for an hour unless told so. Another program than ours makes them (cryptography, PyJWT), so that both sides
# must agree on the formats.
import datetime
import hashlib
import ipaddress
import json
import os
import time

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = 3600


def write(path, data, mode=0o600):
    """Whole or not at all, as an operator's tool would: a reload never sees half a file."""
    part = path + ".part"
    with open(part, "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(part, mode)
    os.rename(part, path)
    return path


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name):
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _time(offset_s):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(seconds=offset_s)


def pem_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Authority:
    """ca.cert is the path of its own certificate."""

    def __init__(self, folder, name="test authority"):
        self.folder, self.key, self.name = folder, ec.generate_private_key(ec.SECP256R1()), name
        builder = self._builder(_name(name), self.key.public_key(), -HOUR, HOUR)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.cert = write(os.path.join(folder, name.replace(" ", "_") + ".pem"), self._pem(), 0o644)

    def _pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject, public_key, begins_s, ends_s):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(_name(self.name))
                .public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(_time(begins_s)).not_valid_after(_time(ends_s)))

    def issue(self, file, *names, client=False, kind="ec", begins_s=-HOUR, ends_s=HOUR):
        """Paths of a certificate and its key, file.pem and file.key."""
        key = (ec.generate_private_key(ec.SECP256R1()) if kind == "ec"
               else rsa.generate_private_key(65537, 2048))
        use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = self._builder(_name(names[0] if names else file), key.public_key(), begins_s, ends_s)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        path = os.path.join(self.folder, file)
        return (write(path + ".pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644),
                write(path + ".key", pem_key(key)))


def token_line(name, token, scopes):
    return "%s %s %s\n" % (name, hashlib.sha256(token.encode()).hexdigest(), scopes)


class Issuer:
    """Signs JWTs; jwks() is its set."""

    def __init__(self, issuer="https://issuer.test", audience="lipstream", ids=("r", "e", "d")):
        self.issuer, self.audience, self.ids = issuer, audience, ids
        self.keys = {"RS256": rsa.generate_private_key(65537, 2048),
                     "ES256": ec.generate_private_key(ec.SECP256R1()),
                     "EdDSA": ed25519.Ed25519PrivateKey.generate()}

    def jwks(self):
        keys = []
        for kid, (alg, key) in zip(self.ids, self.keys.items()):
            public = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(key.public_key()))
            public.pop("key_ops", None)
            keys.append({**public, "kid": kid, "alg": alg, "use": "sig"})
        return json.dumps({"keys": keys})

    def sign(self, alg="EdDSA", header=None, key=None, **claims):
        """Claims given as None are left out."""
        all_claims = {"iss": self.issuer, "aud": self.audience, "sub": "anna", "scope": "sync info",
                      "exp": int(time.time()) + HOUR, **claims}
        kid = dict(zip(self.keys, self.ids)).get(alg)
        head = {"kid": kid, **(header or {})}
        return jwt.encode({k: v for k, v in all_claims.items() if v is not None},
                          self.keys[alg] if key is None else key, algorithm=alg,
                          headers={k: v for k, v in head.items() if v is not None})
