"""Makes the networks in this folder. Not part of the tests: it needs torch, they don't.

    python -m venv scratch && scratch/bin/pip install torch==2.13.0 onnx onnxscript numpy
    scratch/bin/python tests/data/networks/make.py

Each network is trained for a few seconds to imitate a rule, so that its outputs have the margins that trained
policies have. ``NAME.onnx`` comes out of the exporter named in ``NETWORKS``. Inputs are normal with a
standard deviation of 2, in training as in the tests. ``policy`` has the layers and the two heads of a
Stable-Baselines3 ActorCriticPolicy (MlpPolicy).
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

HERE = Path(__file__).parent


class Policy(nn.Module):
    """Actor and critic over separate trunks, as Stable-Baselines3 builds them by default."""

    def __init__(self):
        super().__init__()
        self.features_extractor = nn.Flatten()
        self.policy_net = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.value_net = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.action = nn.Linear(64, 4)
        self.value = nn.Linear(64, 1)

    def forward(self, observation):
        features = self.features_extractor(observation)
        return self.action(self.policy_net(features)), self.value(self.value_net(features))


def mlp(activation):
    return nn.Sequential(nn.Linear(6, 32), activation, nn.Linear(32, 32), activation, nn.Linear(32, 4))


def conv1d():
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, stride=2, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def conv2d():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU6(), nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 4), nn.Softmax(-1),
    )  # fmt: skip


NETWORKS = {
    "mlp_tanh": (lambda: mlp(nn.Tanh()), (6,), "torchscript"),
    "mlp_relu": (lambda: mlp(nn.ReLU()), (6,), "dynamo"),
    "policy": (Policy, (6,), "torchscript"),
    "conv1d": (conv1d, (2, 16), "torchscript"),
    "conv1d_dynamo": (conv1d, (2, 16), "dynamo"),
    "conv2d": (conv2d, (1, 8, 8), "torchscript"),
}


def rule(x):
    """Four classes: which quarter of the (flattened) input has the largest energy."""
    flat = x.reshape(len(x), -1)
    return np.argmax([part.mean(1) + 0.3 * (part**2).mean(1) for part in np.array_split(flat, 4, axis=1)], 0)


def main():
    for name, (build, shape, exporter) in NETWORKS.items():
        torch.manual_seed(1)
        rng = np.random.default_rng(1)
        x = (2 * rng.normal(size=(6000, *shape))).astype(np.float32)
        labels = torch.tensor(rule(x))
        net, inputs = build(), torch.tensor(x)
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(400):
            pick = torch.randint(0, 5000, (256,))
            out = net(inputs[pick])
            logits = out[0] if isinstance(out, tuple) else out
            loss = (
                nn.functional.nll_loss(torch.log(logits + 1e-9), labels[pick])
                if name == "conv2d"
                else nn.functional.cross_entropy(logits, labels[pick])
            )
            if isinstance(out, tuple):
                loss = loss + nn.functional.mse_loss(out[1][:, 0], inputs[pick].mean(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            out = net(inputs[5000:])
        logits = out[0] if isinstance(out, tuple) else out
        print(name, "accuracy", float((logits.argmax(1) == labels[5000:]).float().mean()))
        path = HERE / f"{name}.onnx"
        outputs = ["action", "value"] if isinstance(out, tuple) else ["action"]
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            torch.onnx.export(
                net, (inputs[:2],), path, input_names=["observation"], output_names=outputs, dynamo=True,
                dynamic_shapes=({0: batch},), external_data=False,
            )  # fmt: skip
        else:
            torch.onnx.export(
                net, (inputs[:1],), path, input_names=["observation"], output_names=outputs, dynamo=False,
                dynamic_axes={"observation": {0: "batch"}}, opset_version=17,
            )  # fmt: skip
        onnx.save(stripped(onnx.load(path)), path)


def stripped(model):
    """Leave out where on this disk the exporter found the code."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input,
                 *model.graph.output, *model.graph.initializer):  # fmt: skip
        del part.metadata_props[:]
        part.doc_string = ""
    return model


main()
