"""A certificate for 127.0.0.1, the authority that signed it, and a key for every SuperNode."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
PLAIN = serialization.NoEncryption()


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The files of a federation with TLS and authenticated SuperNodes.

    Attributes:
        authority: the certificate that everybody trusts.
        certificate: the SuperLink's, signed by the authority.
        certificate_key: its private key.
        node_keys: one SSH private key per SuperNode; the public key's name ends in ".pub".
    """

    authority: Path
    certificate: Path
    certificate_key: Path
    node_keys: tuple[Path, ...]


def secure(folder: Path, num_nodes: int) -> Security:
    """Write new certificates and keys into a folder, and return where they are."""
    authority_key, server_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback authority")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    authority = (
        certificate(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    server = (
        certificate(server_name, authority_name, server_key.public_key())
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    (folder / "authority.crt").write_bytes(authority.public_bytes(PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(PEM))
    key_format = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "server.key").write_bytes(server_key.private_bytes(PEM, key_format, PLAIN))
    return Security(
        authority=folder / "authority.crt",
        certificate=folder / "server.pem",
        certificate_key=folder / "server.key",
        node_keys=tuple(node_key(folder / f"node-{number}") for number in range(num_nodes)),
    )


def certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def node_key(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, PLAIN))
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_name(f"{path.name}.pub").write_bytes(public)
    return path
