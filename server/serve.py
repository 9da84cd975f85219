"""Serve a model repository with the embedded Triton in the foreground: `python -m server.serve --help`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import tritonclient.grpc as triton_grpc

from client.errors import EmbeddedTritonError
from server.embedded import CHANNEL_ARGUMENTS, EmbeddedTriton

DESCRIPTION = """\
Serve a model repository with a real NVIDIA Triton server, on this machine only (127.0.0.1), until Ctrl-C or SIGTERM.
Triton's log goes to stderr; the address and the models that are ready go to stdout."""

EXAMPLES = """\
examples:
  python -m server.serve                               # model_repository/ on the ports perf_analyzer expects
  python -m server.serve --grpc-port 0                 # any free port; stdout says which
  python client/analyze.py --url localhost:8001 "핏이 예뻐요"
  curl localhost:8002/metrics

exit status: 0 after Ctrl-C or SIGTERM, 1 when the server ended by itself, 2 when it did not start.
For production, run NVIDIA's tritonserver image on the same repository."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; the exit status."""
    options = _parser().parse_args(arguments)
    triton = EmbeddedTriton(
        options.model_repository,
        startup_timeout_s=options.startup_timeout,
        log_verbose=options.log_verbose,
        threads=options.threads,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        drain_s=options.drain,
        on_log=_to_stderr,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same way out as Ctrl-C
    ready = False
    try:
        with triton:
            ready = True
            print(f"ready: gRPC {triton.grpc_url}, metrics {triton.metrics_url}", flush=True)
            for name, version, state in ready_models(triton.grpc_url):
                print(f"  {name} version {version}: {state}", flush=True)
            triton.wait()
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 0
    except EmbeddedTritonError as error:
        print(f"error: {error}", file=sys.stderr)
    return 1 if ready else 2


def ready_models(url: str) -> list[tuple[str, str, str]]:
    """Name, version and state of each model of a running Triton."""
    with triton_grpc.InferenceServerClient(url, channel_args=CHANNEL_ARGUMENTS) as client:
        index = client.get_model_repository_index(client_timeout=5)
    return sorted((model.name, model.version, model.state) for model in index.models)


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads the log any more; the server goes on
        print(line, file=sys.stderr, flush=True)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads (1 or more)")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server.serve",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--model-repository", type=Path, default=Path("model_repository"), metavar="FOLDER", help="default: %(default)s"
    )
    add("--grpc-port", type=_port, default=8001, metavar="PORT", help="0 takes a free one (default: %(default)s)")
    add("--metrics-port", type=_port, default=8002, metavar="PORT", help="0 takes a free one (default: %(default)s)")
    add("--threads", type=_threads, metavar="N", help="threads per model instance (default: the models' configuration)")
    add("--startup-timeout", type=float, default=60, metavar="S", help="seconds for loading (default: %(default)s)")
    add("--drain", type=float, default=10, metavar="S", help="seconds for requests to finish (default: %(default)s)")
    add("--log-verbose", action="store_true", help="log each request")
    return parser


if __name__ == "__main__":
    sys.exit(main())
