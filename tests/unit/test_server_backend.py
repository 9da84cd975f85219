"""The stand-in backend's reading of config.pbtxt, beside Triton's own Python utilities from the wheel."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import onnxruntime as ort
import pytest

from server.wheel import THREADS_VARIABLE, TritonWheel

GRAPH = {"ids": ("tensor(int64)", ["batch", None]), "probs": ("tensor(float)", ["batch", 3])}


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    """The module, with the wheel's folder of Python utilities on the path as the stub has it."""
    utilities = str(TritonWheel.find().backend_files["python/triton_python_backend_utils.py"].parent)
    sys.path.insert(0, utilities)
    yield importlib.import_module("server.onnxruntime_backend.model")
    sys.path.remove(utilities)


def config(**fields: Any) -> dict[str, Any]:
    """A model configuration as Triton hands it over, with some fields changed."""
    return {
        "max_batch_size": 8,
        "input": [{"name": "ids", "data_type": "TYPE_INT64", "dims": ["-1"]}],
        "output": [{"name": "probs", "data_type": "TYPE_FP32", "dims": ["3"]}],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        **fields,
    }


def parameters(**values: str) -> dict[str, Any]:
    return config(parameters={name: {"string_value": value} for name, value in values.items()})


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "probs", "data_type": "TYPE_FP32", "dims": ["3"], **fields}


def test_session_options_follow_the_configuration(backend: Any) -> None:
    asked = parameters(
        intra_op_thread_count="3",
        inter_op_thread_count="2",
        execution_mode="1",
        enable_mem_arena="false",
        enable_mem_pattern="0",
    )
    asked["optimization"] = {"graph": {"level": -1}}
    asked["parameters"]["session.use_device_allocator_for_initializers"] = {"string_value": "1"}
    options = backend.session_options(asked, None)
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 2
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.use_device_allocator_for_initializers") == "1"


def test_session_options_default_as_the_native_backend_does(backend: Any) -> None:
    options = backend.session_options(config(), None)
    assert options.intra_op_num_threads == 0
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert options.enable_cpu_mem_arena
    assert options.enable_mem_pattern


def test_threads_do_not_spin_for_the_next_batch(backend: Any) -> None:
    options = backend.session_options(config(), None)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_threads_of_the_launcher_go_before_the_configuration(backend: Any) -> None:
    assert backend.THREADS_VARIABLE == THREADS_VARIABLE
    assert backend.session_options(parameters(intra_op_thread_count="3"), "1").intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (parameters(intra_op_thread_count="two"), ["'intra_op_thread_count'", "'two'"]),
        (parameters(inter_op_thread_count="-1"), ["'inter_op_thread_count'", "'-1'"]),
        (parameters(execution_mode="2"), ["'execution_mode'", "'2'", "['0', '1']"]),
        (parameters(enable_mem_arena="maybe"), ["'enable_mem_arena'", "'maybe'"]),
        (parameters(intra_op_threads="1"), ["'intra_op_threads'", "intra_op_thread_count"]),
        (config(optimization={"graph": {"level": 7}}), ["optimization.graph.level", "7"]),
    ],
)
def test_session_options_name_a_bad_parameter(backend: Any, asked: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(backend.ConfigError) as caught:
        backend.session_options(asked, None)
    for part in ["config.pbtxt", *parts]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (config(sequence_batching={"max_sequence_idle_microseconds": 1}), "sequence_batching"),
        (config(model_operations={"op_library_filename": ["x.so"]}), "model_operations"),
        (config(model_transaction_policy={"decoupled": True}), "model_transaction_policy"),
        (config(output=[tensor(reshape={"shape": [1, 3]})]), "output 'probs': reshape"),
        (config(input=[tensor(allow_ragged_batch=True)]), "input 'probs': allow_ragged_batch"),
        (
            parameters(share_session_between_instances="true") | {"instance_group": [{"count": 1}, {"count": 1}]},
            "'share_session_between_instances': is not supported with 2 instances",
        ),
    ],
)
def test_parts_that_only_the_native_backend_has_are_refused(backend: Any, asked: dict[str, Any], named: str) -> None:
    backend.refuse_unsupported(config())
    with pytest.raises(backend.ConfigError, match=named):
        backend.refuse_unsupported(asked)


@pytest.mark.parametrize(
    ("section", "changed", "parts"),
    [
        ("input", {"name": "tokens", "data_type": "TYPE_INT64", "dims": ["-1"]}, ["'tokens'", "['ids']"]),
        ("output", tensor(name="scores"), ["'scores'", "['probs']"]),
        ("output", tensor(data_type="TYPE_FP16"), ["'probs'", "TYPE_FP16", "tensor(float)"]),
        ("output", tensor(data_type="TYPE_STRING"), ["'probs'", "TYPE_STRING is not supported"]),
        ("output", tensor(dims=["4"]), ["'probs'", "[-1, 4]", "[-1, 3]"]),
        ("output", tensor(dims=["-1"]), ["'probs'", "[-1, -1]", "[-1, 3]"]),
        ("output", tensor(dims=["3", "2"]), ["'probs'", "[-1, 3, 2]", "[-1, 3]"]),
    ],
)
def test_tensor_that_the_graph_does_not_have_is_named(
    backend: Any, section: str, changed: dict[str, Any], parts: list[str]
) -> None:
    graph = {name: GRAPH[name] for name in (["ids"] if section == "input" else ["probs"])}
    backend.check_tensors(config(), section, graph)
    with pytest.raises(backend.ConfigError) as caught:
        backend.check_tensors(config(**{section: [changed]}), section, graph)
    for part in [section, *parts]:
        assert part in str(caught.value)


def test_input_that_only_the_graph_has_is_named(backend: Any) -> None:
    graph = {"ids": GRAPH["ids"], "mask": GRAPH["ids"]}
    with pytest.raises(backend.ConfigError, match=r"input: \['mask'\] of the ONNX graph are missing"):
        backend.check_tensors(config(), "input", graph)


GPU_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def accelerated(name: str, **values: str) -> dict[str, Any]:
    accelerators = {"gpu_execution_accelerator": [{"name": name, "parameters": values}]}
    return config(optimization={"execution_accelerators": accelerators})


def test_gpu_accelerators_become_providers_in_order(backend: Any) -> None:
    asked = accelerated("tensorrt", precision_mode="FP16", max_workspace_size_bytes="9", trt_cuda_graph_enable="1")
    asked["parameters"] = {"arena_extend_strategy": {"string_value": "1"}, "gpu_mem_limit": {"string_value": "5"}}
    tensorrt = {
        "device_id": "1",
        "trt_fp16_enable": "1",
        "trt_max_workspace_size": "9",
        "trt_cuda_graph_enable": "1",
    }
    cuda = {"device_id": "1", "arena_extend_strategy": "kSameAsRequested", "gpu_mem_limit": "5"}
    assert backend.execution_providers(asked, "GPU", "1", GPU_BUILD) == [
        ("TensorrtExecutionProvider", tensorrt),
        ("CUDAExecutionProvider", cuda),
        ("CPUExecutionProvider", {}),
    ]


def test_cpu_instances_ignore_gpu_accelerators_as_the_native_backend_does(backend: Any) -> None:
    asked = accelerated("cuda", use_tf32="1")
    assert backend.execution_providers(asked, "CPU", "0", GPU_BUILD) == [("CPUExecutionProvider", {})]


@pytest.mark.parametrize(
    ("asked", "kind", "parts"),
    [
        (config(), "GPU", ["KIND_GPU", "no CUDAExecutionProvider", "onnxruntime-gpu"]),
        (accelerated("openvino"), "GPU", ["'openvino'", "['cuda', 'tensorrt']"]),
        (accelerated("tensorrt", precision_mode="FP4"), "GPU", ["precision_mode", "'FP4'"]),
        (accelerated("tensorrt", workspace="1"), "GPU", ["'workspace'"]),
        (
            config(optimization={"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}),
            "CPU",
            ["cpu_execution_accelerator", "'openvino'"],
        ),
    ],
)
def test_accelerator_that_the_build_lacks_is_named(
    backend: Any, asked: dict[str, Any], kind: str, parts: list[str]
) -> None:
    with pytest.raises(backend.ConfigError) as caught:
        backend.execution_providers(asked, kind, "0", ["CPUExecutionProvider"])
    for part in parts:
        assert part in str(caught.value)
