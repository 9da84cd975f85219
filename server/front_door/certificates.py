"""The server's TLS certificate, read again when its files change."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from client.errors import InvalidInputError
from server.front_door.settings import Tls

LOGGER = logging.getLogger(__name__)


def server_credentials(tls: Tls) -> grpc.ServerCredentials | None:
    """Credentials for ``add_secure_port``; None when no certificate is set.

    Certificate, key and client authorities are read again, at most every ``reload_s`` seconds, when a client connects:
    connections that are open go on, new ones get the new certificate. Files that cannot be used are logged, and the
    last good ones stay. With ``client_ca_file`` a client without a certificate of these authorities cannot connect.

    Raises:
        InvalidInputError: a file cannot be read, or certificate and key are no pair.
    """
    if tls.certificate_file is None or tls.key_file is None:
        return None
    files = CertificateFiles(tls.certificate_file, tls.key_file, tls.client_ca_file, tls.reload_s)
    return grpc.dynamic_ssl_server_credentials(
        files.configuration(),
        files.changed_configuration,  # type: ignore[arg-type]  # may give None for no change, as gRPC documents
        require_client_authentication=tls.client_ca_file is not None,
    )


@dataclass(frozen=True)
class _Contents:
    key: bytes = field(repr=False)
    certificate: bytes
    authorities: bytes | None


class CertificateFiles:
    """The files behind a server's certificate. gRPC asks for changes from threads of its own."""

    def __init__(self, certificate: Path, key: Path, authorities: Path | None, reload_s: float) -> None:
        """Read and check the files.

        Raises:
            InvalidInputError: see ``server_credentials``.
        """
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._reload_s = reload_s
        self._lock = threading.Lock()
        self._contents = self._read()
        self._next_look = time.monotonic() + reload_s
        self._complaint = ""

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What gRPC needs of the files as they were last read."""
        contents = self._contents
        pair = (contents.key, contents.certificate)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=contents.authorities)

    def changed_configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration if the files changed; None when they did not, or cannot be used."""
        with self._lock:
            if time.monotonic() < self._next_look:
                return None
            self._next_look = time.monotonic() + self._reload_s
            try:
                contents = self._read()
            except InvalidInputError as error:
                if str(error) != self._complaint:  # once for each fault, not once for each connection
                    LOGGER.error("the certificate was not reloaded, the last one stays in use: %s", error)
                self._complaint = str(error)
                return None
            self._complaint = ""
            if contents == self._contents:
                return None
            self._contents = contents
            LOGGER.info("certificate reloaded from %s", self._certificate)
            return self.configuration()

    def _read(self) -> _Contents:
        """Contents of the files, checked; they are written one after the other, so this may see half a change."""
        contents = self._read_once()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An encrypted key would otherwise ask for its password on the terminal.
            context.load_cert_chain(self._certificate, self._key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"tls.certificate_file {self._certificate} with tls.key_file {self._key}: {_reason(error)}; give a PEM "
                "certificate chain, the server's first, and its unencrypted PEM key"
            ) from None
        if self._authorities is not None:
            try:
                context.load_verify_locations(self._authorities)
            except (OSError, ValueError) as error:
                raise InvalidInputError(
                    f"tls.client_ca_file {self._authorities}: {_reason(error)}; give PEM certificates of authorities"
                ) from None
        if contents != self._read_once():
            raise InvalidInputError(f"tls.certificate_file {self._certificate}: changed while it was read")
        return contents

    def _read_once(self) -> _Contents:
        return _Contents(
            key=_bytes_of("key_file", self._key),
            certificate=_bytes_of("certificate_file", self._certificate),
            authorities=None if self._authorities is None else _bytes_of("client_ca_file", self._authorities),
        )


def _bytes_of(setting: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"tls.{setting} {file}: cannot be read: {error.strerror}") from None


def _reason(error: Exception) -> str:
    """Why OpenSSL refused, in words: "key values mismatch"."""
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if reason else "not usable PEM"
