"""The stand-ins against records of mmcv's compiled operators."""

import pytest
import torch

from mmseg_domino.operators import which_operators

from .records import CASES, call, recorded


def test_the_stand_ins_are_what_is_tested():
    if which_operators() == "compiled":
        pytest.skip("mmcv has compiled operators here")
    assert which_operators() == "stand-ins"


@pytest.mark.parametrize("operator", CASES)
def test_the_records_are_those_of_the_cases(operator):
    made, stored = list(CASES[operator]()), list(recorded(operator))
    assert [options for _, options in made] == [options for _, options, _ in stored]
    for (inputs, _), (kept, _, _) in zip(made, stored, strict=True):
        assert all(torch.equal(inputs[name], kept[name]) for name in inputs | kept)


@pytest.mark.parametrize("operator", CASES)
def test_outputs_and_gradients_are_those_of_the_compiled_operator(operator, device):
    for inputs, options, expected in recorded(operator):
        # The records keep the order of the names, not that of mmcv's arguments.
        order = ("input", "boxes", "scores", "rois", "offset", "weight", "mask", "bias")
        inputs = {name: inputs[name].to(device) for name in order if name in inputs}
        found = call(operator, inputs, options)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            message = f"{operator} {options}: {name}"
            torch.testing.assert_close(
                found[name].cpu(), tensor, rtol=1e-5, atol=1e-5,
                msg=lambda text, message=message: f"{message}: {text}",
            )  # fmt: skip
