"""Export a trained driver as ONNX models with a model card, in the layout of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from infogail.envs.errors import BadInput, one_line
from infogail.envs.files import check_output, write_atomically
from infogail.learning.networks import Policy, Standardise, encode
from infogail.learning.posterior import MAX_PRECISION, Evidence
from infogail.runs.card import card
from infogail.runs.driver import usual_mix
from infogail.runs.exported import POLICY, POSTERIOR, describe
from infogail.runs.folder import EXPORTED
from infogail.runs.trained import TrainedDriver, load_trained

if TYPE_CHECKING:
    from onnx import ModelProto

CARD = "README.md"
Constant = Tensor | np.ndarray | np.generic
OPERATIONS, LAYOUT = 13, 8
"""Old versions of ONNX's operators and file format, which every runtime knows."""


def export(run: Path, out: Path, licence: str | None = None, force: bool = False) -> list[Path]:
    """Write the driver of `run` into the folder `out`, from which `infogail.load` and others can load it.

    Args:
        licence: of the demonstrations, as the Hub names it; see `card`.
        force: overwrite existing files.

    Returns:
        the files: driver.onnx, posterior.onnx if the driver has one, README.md and config.json.

    Raises:
        InvalidRun, InvalidDemonstrations: `run` is not a run.
        NonEmptyFolder: one of the files exists, and `force` is false.
        BadInput: the extra 'onnx' is not installed.
    """
    driver = load_trained(run)
    models = {POLICY: policy_model(driver)}
    if driver.evidence is not None:
        models[POSTERIOR] = posterior_model(driver)
    contents = {name: model.SerializeToString() for name, model in models.items()}
    spec = driver.task.spec
    sizes, prior = (spec.observation_size, spec.action_size), None if driver.evidence is None else driver.prior
    about = driver.about
    if driver.graded and driver.task.usable_as_traffic:
        about = replace(about, mix=tuple(usual_mix(run, driver).tolist()))  # the demonstrations stay behind
    description = describe(about, prior, sizes, contents)
    contents |= {CARD: card(driver, run, licence).encode(), EXPORTED: description}  # the last makes it valid
    for name in contents:
        check_output(out / name, force)
    for name, data in contents.items():
        write_atomically(out / name, data)
    return [out / name for name in contents]


class Graph:
    """An ONNX graph under construction; values are known by name."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise BadInput(f"export: needs onnx ({one_line(error)}); run: pip install 'infogail[onnx]'") from error
        self.onnx: Any = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Constant) -> str:
        """A new constant."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def apply(self, operator: str, *inputs: str | Constant, output: str = "", **attributes: Any) -> str:
        """A new value, called `output` if that is given."""
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        result = output or f"value_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, names, [result], **attributes))
        return result

    def standardise(self, module: Standardise, x: str) -> str:
        """(B, F) → (B, F)."""
        return self.apply("Div", self.apply("Sub", x, module.mean), module.scale)

    def network(self, net: nn.Sequential, x: str) -> str:
        """What a multilayer perceptron makes of x."""
        for layer in net:
            if isinstance(layer, nn.Linear):
                x = self.apply("Gemm", x, layer.weight.detach(), layer.bias.detach(), transB=1)
            else:
                x = self.apply({nn.ReLU: "Relu", nn.Tanh: "Tanh"}[type(layer)], x)
        return x

    def model(self, inputs: Sequence[tuple[str, int | None, Any]], output: tuple[str, int], text: str) -> ModelProto:
        """The model of the graph; inputs by name, size (None for one number per row) and type, with a free batch axis.

        Raises:
            onnx.checker.ValidationError: it is not a valid model.
        """
        make = self.onnx.helper.make_tensor_value_info
        given = [make(name, kind, ["batch"] if size is None else ["batch", size]) for name, size, kind in inputs]
        result = make(output[0], self.onnx.TensorProto.FLOAT, ["batch", output[1]])
        graph = self.onnx.helper.make_graph(self.nodes, "infogail", given, [result], self.constants)
        operators = [self.onnx.helper.make_opsetid("", OPERATIONS)]
        model = self.onnx.helper.make_model(
            graph, opset_imports=operators, ir_version=LAYOUT, producer_name="infogail", doc_string=text
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model


def policy_model(driver: TrainedDriver) -> ModelProto:
    """observation (B, F) and code (B,) → action (B, A): the mean, in [-1, 1], or, of discrete ones, the likeliest."""
    policy, graph, spec = driver.policy, Graph(), driver.task.spec
    x = graph.standardise(policy.standardise, "observation")
    x = _with_code(graph, policy, x)
    x = graph.network(policy.net, x)
    if policy.categories:
        _likeliest(graph, policy.categories, x)
    else:
        graph.apply("Clip", x, np.float32(-1.0), np.float32(1.0), output="action")
    code = graph.onnx.TensorProto.FLOAT if driver.graded else graph.onnx.TensorProto.INT64
    inputs = [("observation", spec.observation_size, graph.onnx.TensorProto.FLOAT), ("code", None, code)]
    return graph.model(inputs, ("action", spec.action_size), f"Driver of {driver.task.name}")


def _with_code(graph: Graph, policy: Policy, x: str) -> str:
    """The network's input (B, F + C), see `Policy.inputs`."""
    if policy.num_codes == 1:
        return x
    if policy.graded:
        code = graph.apply("Unsqueeze", "code", np.array([1]))
    else:
        code = graph.apply("Gather", encode(torch.arange(policy.num_codes), policy.num_codes, False), "code")
    return graph.apply("Concat", x, code, axis=1)


def _likeliest(graph: Graph, categories: tuple[int, ...], logits: str) -> None:
    """The likeliest alternative of each choice as one-hot, one after another; see `Categorical.mode`."""
    parts, first = [], 0
    for count in categories:
        own = graph.apply("Slice", logits, np.array([first]), np.array([first + count]), np.array([1]))
        chosen = graph.apply("ArgMax", own, axis=1, keepdims=0)
        parts.append(graph.apply("Gather", np.eye(count, dtype=np.float32), chosen))
        first += count
    graph.apply("Concat", *parts, output="action", axis=1)


def posterior_model(driver: TrainedDriver) -> ModelProto:
    """observation (B, F) and action (B, A) → log Q(c|s) (B, K); actions matter to a posterior of pairs only."""
    evidence, graph, spec = driver.evidence, Graph(), driver.task.spec
    assert evidence is not None
    pair = graph.apply("Concat", "observation", "action", axis=1)
    x = graph.standardise(evidence.standardise, graph.apply("Gather", pair, evidence.features, axis=1))
    x = _bounded(graph, evidence, graph.network(evidence.net, x))
    graph.apply("LogSoftmax", x, output="log_posterior", axis=1)
    kind = graph.onnx.TensorProto.FLOAT
    inputs = [("observation", spec.observation_size, kind), ("action", spec.action_size, kind)]
    return graph.model(inputs, ("log_posterior", driver.num_codes), f"Posterior of {driver.task.name}")


def _bounded(graph: Graph, evidence: Evidence, x: str) -> str:
    """(B, K), as `Evidence.evidence_of_inputs` makes it of the network's output."""
    if evidence.levels is not None:
        ends = np.array([0]), np.array([1]), np.array([2])
        slope = graph.apply("Tanh", graph.apply("Slice", x, *ends[:2], np.array([1])))
        precision = graph.apply("Sigmoid", graph.apply("Slice", x, *ends[1:], np.array([1])))
        risen = graph.apply("Mul", slope, MAX_PRECISION * evidence.levels[None])
        return graph.apply(
            "Sub", risen, graph.apply("Mul", precision, 0.5 * MAX_PRECISION * evidence.levels[None] ** 2)
        )
    if evidence.max_evidence is None:
        return x
    return graph.apply("Mul", graph.apply("Tanh", x), np.float32(evidence.max_evidence))
