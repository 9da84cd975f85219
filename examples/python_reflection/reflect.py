"""Ask a ReviewLens server what it offers, and call it with JSON, without its protos: what grpcurl does, in Python.

    python reflect.py list
    python reflect.py describe reviewlens.v1.ReviewAnalysisService
    python reflect.py describe reviewlens.v1.AnalyzeRequest
    python reflect.py call reviewlens.v1.ReviewAnalysisService/Analyze '{"reviews": [{"text": "배송이 빨라요"}]}'

It learns the messages from the server's reflection service. A method that takes a stream is called with any number of
JSON objects. The token, if the server wants one, is in REVIEWLENS_TOKEN. Exit status: 0 all well, 2 refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def connect(target: str, ca_file: Path | None, token: str) -> grpc.Channel:
    """A channel to the server; not encrypted without ``ca_file``. A token goes over TLS only."""
    if ca_file is None:
        if token:
            raise SystemExit("a token is sent over TLS only: give the certificate of the server's authority with --ca")
        return grpc.insecure_channel(target)
    credentials = grpc.ssl_channel_credentials(ca_file.read_bytes())
    if token:
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return grpc.secure_channel(target, credentials)


def describe(pool: DescriptorPool, symbol: str) -> str:
    """A service, message or enum as a proto file would have it. Raises KeyError when the server has no such symbol."""
    for find in (pool.FindServiceByName, pool.FindMessageTypeByName, pool.FindEnumTypeByName):
        try:
            descriptor: ServiceDescriptor | Descriptor | EnumDescriptor = find(symbol)
            break
        except KeyError:
            continue
    else:
        raise KeyError(symbol)
    if isinstance(descriptor, ServiceDescriptor):
        return _block("service", descriptor.full_name, (_method(method) for method in descriptor.methods))
    if isinstance(descriptor, EnumDescriptor):
        return _block("enum", descriptor.full_name, (f"{value.name} = {value.number};" for value in descriptor.values))
    return _block("message", descriptor.full_name, (_field(field) for field in descriptor.fields))


def _block(kind: str, name: str, lines: Iterator[str]) -> str:
    return "\n".join([f"{kind} {name} {{", *(f"  {line}" for line in lines), "}"])


def _method(method: MethodDescriptor) -> str:
    takes, gives = ("stream " * streams for streams in (method.client_streaming, method.server_streaming))
    return f"rpc {method.name}({takes}{method.input_type.full_name}) returns ({gives}{method.output_type.full_name});"


def _field(field: FieldDescriptor) -> str:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return f"map<{_type(key)}, {_type(value)}> {field.name} = {field.number};"
    label = "repeated " * field.is_repeated
    return f"{label}{_type(field)} {field.name} = {field.number};"


def _type(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    return named.full_name if named is not None else SCALARS[field.type]


def call(
    channel: grpc.Channel, pool: DescriptorPool, path: str, documents: Sequence[str], deadline_s: float
) -> Iterator[str]:
    """The answers of ``package.Service/Method`` as JSON.

    Raises KeyError for an unknown method, ParseError for JSON that is not the method's request, grpc.RpcError.
    """
    service, _, name = path.partition("/")
    method = pool.FindServiceByName(service).methods_by_name[name]
    request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    requests = [Parse(document, request_type(), descriptor_pool=pool) for document in documents]
    # Every kind of method is a stream on the wire; one that is none has exactly one message.
    answer = channel.stream_stream(f"/{path}", request_type.SerializeToString, response_type.FromString)
    for response in answer(iter(requests), timeout=deadline_s):
        yield MessageToJson(response, preserving_proto_field_name=True, ensure_ascii=False, descriptor_pool=pool)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="127.0.0.1:8500", help="HOST:PORT (default: %(default)s)")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM of the server's authority; without it: no TLS")
    parser.add_argument("--deadline", type=float, default=30, metavar="SECONDS", help="of the call (default: 30)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the server's services")
    commands.add_parser("describe", help="a service, message or enum").add_argument("symbol")
    calling = commands.add_parser("call", help="call a method with JSON")
    calling.add_argument("method", help="package.Service/Method")
    calling.add_argument("requests", nargs="*", default=["{}"], metavar="JSON", help="default: an empty message")
    arguments = parser.parse_args()
    with connect(arguments.target, arguments.ca, os.environ.get("REVIEWLENS_TOKEN", "")) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        try:
            if arguments.command == "list":
                print("\n".join(sorted(database.get_services())))
            elif arguments.command == "describe":
                print(describe(pool, arguments.symbol))
            else:
                for answer in call(channel, pool, arguments.method, arguments.requests, arguments.deadline):
                    print(answer)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 2
        except (KeyError, ParseError) as error:
            print(f"the server has no such symbol or field: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
