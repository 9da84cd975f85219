"""Stand-in for Triton's `onnxruntime` backend, for Tritons that come without it (the one in the PyPI wheel).

Triton takes a folder `onnxruntime/model.py` in its backend directory for a backend of that name, so a model repository
that says `backend: "onnxruntime"` loads unchanged here and in NVIDIA's image. This file is copied there and run by
Triton's Python stub: it imports numpy, onnxruntime and Triton's own utilities, nothing of ReviewLens.

It reads what the native backend reads from `config.pbtxt` and refuses, by name, what it would otherwise ignore.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

Config = Mapping[str, Any]
Feed = Mapping[str, npt.NDArray[Any]]

THREADS_VARIABLE = "REVIEWLENS_THREADS"  # set by the launcher; goes before intra_op_thread_count
GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
DATA_TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
}
CUDA_PARAMETERS: dict[str, dict[str, str] | None] = {
    "cudnn_conv_algo_search": {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"},
    "arena_extend_strategy": {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"},
    "gpu_mem_limit": None,
    "do_copy_in_default_stream": None,
}
SESSION_PARAMETERS = (
    "execution_mode",
    "intra_op_thread_count",
    "inter_op_thread_count",
    "enable_mem_arena",
    "enable_mem_pattern",
    "memory.enable_memory_arena_shrinkage",
    "session.use_device_allocator_for_initializers",
    "share_session_between_instances",
)
TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
TENSORRT_PRECISIONS = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}


class ConfigError(ValueError):
    """`config.pbtxt` asks for something that the graph or this backend does not have; names the field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"config.pbtxt: {field}: {problem}")


def parameters_of(config: Config) -> dict[str, str]:
    """The `parameters` of a model configuration.

    Raises:
        ConfigError: a parameter that the backend does not know; the native one would ignore it silently.
    """
    values = {name: str(value["string_value"]) for name, value in config.get("parameters", {}).items()}
    known = {*SESSION_PARAMETERS, *CUDA_PARAMETERS}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"parameters: {unknown[0]!r}", f"is not supported; known are {sorted(known)}")
    return values


def choice(parameters: Mapping[str, str], name: str, default: str, allowed: Mapping[str, Any]) -> Any:
    """What `allowed` holds for a parameter's value.

    Raises:
        ConfigError: the value is not one of `allowed`.
    """
    value = parameters.get(name, default)
    if value.lower() not in allowed:
        raise ConfigError(f"parameters: {name!r}", f"{value!r} is not one of {sorted(allowed)}")
    return allowed[value.lower()]


def switch(parameters: Mapping[str, str], name: str, default: str) -> bool:
    """A boolean parameter, spelled as the native backend allows."""
    return bool(choice(parameters, name, default, {"0": False, "false": False, "1": True, "true": True}))


def count(parameters: Mapping[str, str], name: str) -> int:
    """A parameter that counts threads; 0, the default, leaves it to onnxruntime."""
    value = parameters.get(name, "0")
    if not value.isdecimal():
        raise ConfigError(f"parameters: {name!r}", f"{value!r} is not a whole number, 0 or more")
    return int(value)


def refuse_unsupported(config: Config) -> None:
    """Raise ConfigError for the first part of the configuration that the native backend has and this one does not."""
    for field in ("sequence_batching", "batch_input", "batch_output", "model_operations", "cc_model_filenames"):
        if config.get(field):
            raise ConfigError(field, "is not supported by the embedded Triton; remove it or use NVIDIA's image")
    if config.get("model_transaction_policy", {}).get("decoupled"):
        raise ConfigError("model_transaction_policy", "decoupled is not supported: one answer per request")
    for section in ("input", "output"):
        for tensor in config[section]:
            for field in ("reshape", "is_shape_tensor", "allow_ragged_batch", "optional", "is_non_linear_format_io"):
                if tensor.get(field):
                    raise ConfigError(f"{section} {tensor['name']!r}", f"{field} is not supported")
    instances = sum(int(group.get("count", 1)) for group in config.get("instance_group", []))
    if instances > 1 and switch(parameters_of(config), "share_session_between_instances", "false"):
        raise ConfigError(
            "parameters: 'share_session_between_instances'",
            f"is not supported with {instances} instances, which are processes of their own here; set count: 1",
        )


def session_options(config: Config, threads: str | None) -> Any:
    """onnxruntime's session options for a model configuration; `threads` overrides `intra_op_thread_count`."""
    parameters = parameters_of(config)
    options = ort.SessionOptions()
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    if level not in GRAPH_LEVELS:
        raise ConfigError("optimization.graph.level", f"{level} is not one of {sorted(GRAPH_LEVELS)}")
    options.graph_optimization_level = GRAPH_LEVELS[level]
    modes = {"0": ort.ExecutionMode.ORT_SEQUENTIAL, "1": ort.ExecutionMode.ORT_PARALLEL}
    options.execution_mode = choice(parameters, "execution_mode", "0", modes)
    options.intra_op_num_threads = int(threads) if threads else count(parameters, "intra_op_thread_count")
    options.inter_op_num_threads = count(parameters, "inter_op_thread_count")
    options.enable_cpu_mem_arena = switch(parameters, "enable_mem_arena", "true")
    options.enable_mem_pattern = switch(parameters, "enable_mem_pattern", "true")
    # Threads that spin between two batches take the cores from the other model, which is a process of its own here.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    entry = "session.use_device_allocator_for_initializers"
    if entry in parameters:
        options.add_session_config_entry(entry, parameters[entry])
    return options


def execution_providers(config: Config, kind: str, device: str, available: Sequence[str]) -> list[tuple[str, Any]]:
    """onnxruntime's execution providers with their options, most wanted first.

    Args:
        config: the model configuration.
        kind: kind of the model instance; GPU accelerators count only for "GPU", as in the native backend.
        device: number of the GPU.
        available: providers that this build of onnxruntime has.

    Raises:
        ConfigError: an accelerator, one of its parameters or the GPU itself that this build does not serve.
    """
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for accelerator in accelerators.get("cpu_execution_accelerator", []):
        raise ConfigError("cpu_execution_accelerator", f"{accelerator['name']!r} is not supported")
    if kind != "GPU":
        return [("CPUExecutionProvider", {})]
    cuda = {"device_id": device}
    for name, spellings in CUDA_PARAMETERS.items():
        if name in (parameters := parameters_of(config)):
            cuda[name] = choice(parameters, name, "", spellings) if spellings else parameters[name]
    wanted: list[tuple[str, Any]] = [("CUDAExecutionProvider", cuda), ("CPUExecutionProvider", {})]
    for accelerator in accelerators.get("gpu_execution_accelerator", []):
        name, values = accelerator["name"], accelerator.get("parameters", {})
        if name == "cuda":
            cuda.update(values)
        elif name == "tensorrt":
            wanted.insert(0, ("TensorrtExecutionProvider", {"device_id": device, **tensorrt_options(values)}))
        else:
            raise ConfigError("gpu_execution_accelerator", f"{name!r} is not one of ['cuda', 'tensorrt']")
    for provider, _ in wanted:
        if provider not in available:
            raise ConfigError(
                "instance_group: KIND_GPU",
                f"this onnxruntime has no {provider}, only {list(available)}; "
                "install onnxruntime-gpu in place of onnxruntime, or use KIND_CPU",
            )
    return wanted


def tensorrt_options(values: Mapping[str, str]) -> dict[str, str]:
    """Options of onnxruntime's TensorRT provider for the parameters of Triton's `tensorrt` accelerator."""
    options: dict[str, str] = {}
    for name, value in values.items():
        if name == "precision_mode":
            if value not in TENSORRT_PRECISIONS:
                raise ConfigError("tensorrt: precision_mode", f"{value!r} is not one of {list(TENSORRT_PRECISIONS)}")
            options.update(TENSORRT_PRECISIONS[value])
        elif name in TENSORRT_NAMES or name.startswith("trt_"):
            options[TENSORRT_NAMES.get(name, name)] = value
        else:
            raise ConfigError(f"tensorrt: {name!r}", "is not a parameter of the accelerator")
    return options


def check_tensors(config: Config, section: str, graph: Mapping[str, tuple[str, Sequence[int | str | None]]]) -> None:
    """Check the inputs or outputs of the configuration against the graph.

    Args:
        config: the model configuration.
        section: "input" or "output".
        graph: onnxruntime's type and shape (a free dimension is a name or None) of each tensor of the graph.

    Raises:
        ConfigError: names the tensor that is missing on one side, or has another type, rank or size.
    """
    batch = [-1] if config["max_batch_size"] > 0 else []
    for tensor in config[section]:
        field = f"{section} {tensor['name']!r}"
        if tensor["name"] not in graph:
            raise ConfigError(field, f"the ONNX graph has no such {section}; it has {sorted(graph)}")
        graph_type, graph_shape = graph[tensor["name"]]
        if tensor["data_type"] not in DATA_TYPES:
            raise ConfigError(field, f"data_type {tensor['data_type']} is not supported; known are {list(DATA_TYPES)}")
        if DATA_TYPES[tensor["data_type"]] != graph_type:
            raise ConfigError(field, f"data_type {tensor['data_type']} is not the graph's {graph_type}")
        dims = [*batch, *(int(size) for size in tensor["dims"])]
        sizes = [size if isinstance(size, int) else -1 for size in graph_shape]
        if len(dims) != len(sizes) or any(size not in (-1, dim) for dim, size in zip(dims, sizes, strict=True)):
            leading = " with the batch dimension" if batch else ""
            raise ConfigError(field, f"dims {dims}{leading} do not fit the graph's {sizes} (-1 is free)")
    if section == "input" and (missing := sorted(set(graph) - {tensor["name"] for tensor in config["input"]})):
        raise ConfigError("input", f"{missing} of the ONNX graph are missing")


class TritonPythonModel:
    """One instance of a model: an onnxruntime session in a process of its own."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the model file.

        Raises:
            ConfigError: names the field of config.pbtxt that does not fit the graph or is not supported.
        """
        config: Config = json.loads(args["model_config"])
        refuse_unsupported(config)
        path = Path(args["model_repository"], args["model_version"], config["default_model_filename"] or "model.onnx")
        path = path / "model.onnx" if path.is_dir() else path
        if not path.is_file():
            raise ConfigError("default_model_filename", f"{path} does not exist")
        providers = execution_providers(
            config, args["model_instance_kind"], args["model_instance_device_id"], ort.get_available_providers()
        )
        options = session_options(config, os.environ.get(THREADS_VARIABLE))
        self._session = ort.InferenceSession(path, options, providers=providers)
        # onnxruntime falls back to the CPU, with no more than a warning, when a GPU provider does not start.
        if self._session.get_providers()[0] != providers[0][0]:
            raise ConfigError("instance_group: KIND_GPU", f"{providers[0][0]} did not start; see the lines above")
        check_tensors(config, "input", {t.name: (t.type, t.shape) for t in self._session.get_inputs()})
        check_tensors(config, "output", {t.name: (t.type, t.shape) for t in self._session.get_outputs()})
        self._name = args["model_name"]
        self._batched = config["max_batch_size"] > 0
        self._run_options = ort.RunOptions()
        entry = "memory.enable_memory_arena_shrinkage"
        if entry in (parameters := parameters_of(config)):
            self._run_options.add_run_config_entry(entry, parameters[entry])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer a batch of requests, in order, with one run per input shape."""
        feeds = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        groups: dict[Any, list[int]] = {}
        for index, feed in enumerate(feeds):
            shapes = tuple((name, array.shape[1:]) for name, array in sorted(feed.items()))
            groups.setdefault(shapes if self._batched else index, []).append(index)
        responses: dict[int, Any] = {}
        for members in groups.values():
            answers = self._answer([requests[i] for i in members], [feeds[i] for i in members])
            responses.update(zip(members, answers, strict=True))
        return [responses[index] for index in range(len(requests))]

    def _answer(self, requests: Sequence[Any], feeds: Sequence[Feed]) -> list[Any]:
        """Responses to requests of one shape; an error stays with the request that causes it."""
        names = sorted({name for request in requests for name in request.requested_output_names()})
        try:
            rows = self._run(names, feeds)
        except Exception as error:  # noqa: BLE001 - whatever the graph raises, the other requests are answered
            if len(requests) > 1:
                return [self._answer([request], [feed])[0] for request, feed in zip(requests, feeds, strict=True)]
            code = pb_utils.TritonError.INVALID_ARG if isinstance(error, InvalidArgument) else None
            message = f"{self._name}: {error}"
            failure = pb_utils.TritonError(message, code) if code else pb_utils.TritonError(message)
            return [pb_utils.InferenceResponse(error=failure)]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(names, row, strict=True)]) for row in rows
        ]

    def _run(self, names: Sequence[str], feeds: Sequence[Feed]) -> list[Sequence[npt.NDArray[Any]]]:
        """One run over feeds of equal shape; the outputs `names` for each feed."""
        merged = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]} if feeds[1:] else feeds[0]
        outputs = self._session.run(names, merged, self._run_options)
        if not self._batched:
            return [outputs]
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])
        for name, output in zip(names, outputs, strict=True):
            if len(output) != ends[-1]:
                raise ValueError(f"output {name!r} has {len(output)} rows for a batch of {ends[-1]}")
        return list(zip(*(np.split(output, ends[:-1]) for output in outputs), strict=True))
