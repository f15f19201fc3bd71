"""The example sites of `etc/examples`, made complete: passwords, keys and certificates that they name."""

from __future__ import annotations

import re
import shutil
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "etc" / "examples").glob("*.toml"))


def install_example(example: Path, folder: Path, *, on_loopback: bool = False) -> Path:
    """Copy an example with all files that it names; return the path of its configuration.

    `on_loopback`: its listeners and peers are on this machine, its serial ports are files.
    """
    text = example.read_text()
    if on_loopback:
        text = re.sub(r"192\.0\.2\.(\d+)", r"127.0.2.\1", text)  # 127.0.0.0/8 is all loopback
        text = re.sub(r"wss://[a-z.]+/", "ws://127.0.0.1:1/", text)
        text = text.replace("[web]", "[web]\nport = 0").replace("port = 443", "port = 0")
        text = re.sub(r'"/dev/serial/[^"]*"', f'"{folder}/ttyUSB0"', text)
        if "[listen]" not in text:
            text += "\n[listen]\nport = 0\n"
    path = folder / example.name
    path.write_text(f'{text}\n[store]\ndirectory = "state"\n')
    for name in re.findall(r'^(?:password_file) = "([^"]*)"', text, re.M):
        write_secret(folder / name, b"correct-horse-battery-staple")
    config = tomllib.loads(text)
    if "signing" in config:
        assert (
            main(["keys", "new", "--holder", config["site"]["id"], str(folder / config["signing"]["key"])])
            == 0
        )
    if "certificate" in config.get("listen", {}):
        write_certificate(folder / config["listen"]["certificate"], folder / config["listen"]["key"])
    shutil.copy(example.with_suffix(".day.csv"), folder)
    return path


def write_secret(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o640)


def write_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate for a year and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway.example")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=400))
        .sign(private, hashes.SHA256())
    )
    write_secret(certificate, signed.public_bytes(serialization.Encoding.PEM))
    write_secret(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
