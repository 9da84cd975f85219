"""Who may talk to the front door, and how: TLS, tokens, names of clients. docs/security.md has the threat model.

As a command it makes a token: `python -m server.front_door.security new-token NAME`.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any

import grpc

from client.errors import InvalidInputError
from server.front_door.certificates import server_credentials
from server.front_door.settings import Tls, split_address
from server.front_door.tokens import TokenAuthenticator, current_token_name, new_token, token_authenticator

__all__ = ["TokenAuthenticator", "check_listen", "client_identity", "server_credentials", "token_authenticator"]


def check_listen(listen: str, tls: Tls) -> None:
    """Refuse to serve plain text to other machines.

    Raises:
        InvalidInputError: ``listen`` ("HOST:PORT") is not a loopback address, TLS is off and nobody allowed that.
    """
    host = split_address(listen)[0].strip("[]")
    if tls.certificate_file is not None or tls.allow_plaintext or _is_loopback(host):
        return
    raise InvalidInputError(
        f"listen: {listen} can be reached from other machines, but TLS is off: reviews and tokens would cross the "
        "network in plain text. Set tls.certificate_file and tls.key_file, or tls.allow_plaintext = true where "
        "something else encrypts, as a service mesh does"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_identity(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Who calls: ``certificate:NAME``, else ``token:NAME``, else ``address:HOST``, without its port.

    The certificate's name is its subject's common name, or its first alternative name. gRPC has verified it.
    """
    for key in ("x509_common_name", "x509_subject_alternative_name"):
        for name in context.auth_context().get(key) or ():
            return f"certificate:{name.decode('utf-8', 'replace')}"
    if token := current_token_name.get():
        return f"token:{token}"
    peer = urllib.parse.unquote(context.peer())  # as ipv4:127.0.0.1:50000, ipv6:[::1]:50000 or unix:/path
    kind, _, address = peer.partition(":")
    return f"address:{address.rpartition(':')[0] if kind in ('ipv4', 'ipv6') else peer}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a token; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m server.front_door.security", description="Tokens of clients.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "new-token",
        help="make a client's token",
        description="Make a random token. It is shown this once; the server gets the line, which has only its hash. "
        "To replace a token, add the new line, give the client its token, then remove the old line: the server reads "
        "the file again by itself.",
    )
    command.add_argument("name", metavar="NAME", help="the client, as logs and limits name it: letters, digits and ._-")
    try:
        token, line = new_token(parser.parse_args(arguments).name)
    except InvalidInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"for the client, as metadata `authorization: Bearer TOKEN`:\n  {token}")
    print(f"for the server, a line of auth.tokens_file or of REVIEWLENS_AUTH__TOKENS:\n  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
