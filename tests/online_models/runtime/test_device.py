"""Where tables live, and that kernels are made to repeat themselves only where they do not by themselves."""

import os

import pytest
import torch

from online_models import LearnerConfig, OnlineLearner, resolve_device
from tests.support.streams import small_config


class Switches:
    """What ``resolve_device`` switched on in the process."""

    def __init__(self, patch: pytest.MonkeyPatch, *, has_cuda: bool) -> None:
        self.asked: list[bool] = []
        patch.setattr(torch.cuda, "is_available", lambda: has_cuda)
        patch.setattr(torch, "use_deterministic_algorithms", self.asked.append)
        patch.setattr(os, "environ", {})


def test_on_the_cpu_nothing_is_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    switches = Switches(monkeypatch, has_cuda=True)
    assert resolve_device("cpu", deterministic=True) == torch.device("cpu")
    OnlineLearner(small_config(deterministic=True))

    switches_without = Switches(monkeypatch, has_cuda=False)
    assert resolve_device("auto", deterministic=True) == torch.device("cpu")

    assert (switches.asked, switches_without.asked, os.environ) == ([], [], {})


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_on_cuda_deterministic_kernels_are_switched_on_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    switches = Switches(monkeypatch, has_cuda=True)

    assert resolve_device(name) == torch.device("cuda")
    assert (switches.asked, os.environ) == ([], {})
    assert resolve_device(name, deterministic=True) == torch.device("cuda")
    assert (switches.asked, os.environ) == ([True], {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"})


def test_a_workspace_that_was_chosen_already_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    Switches(monkeypatch, has_cuda=True)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"

    resolve_device("cuda", deterministic=True)

    assert os.environ == {"CUBLAS_WORKSPACE_CONFIG": ":16:8"}


def test_it_is_off_unless_asked_for() -> None:
    assert not LearnerConfig().deterministic
