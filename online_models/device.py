"""Which device the tables live on."""

import torch

from online_models.errors import ConfigError

__all__ = ["DEVICES", "limit_cpu_threads", "resolve_device"]

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA where there is one.

    Raises:
        ConfigError: the name is unknown, or CUDA was asked for and this process sees none.
    """
    if name not in DEVICES:
        raise ConfigError(f"device: expected one of {', '.join(DEVICES)}, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device: expected a CUDA device, got none that torch {torch.__version__} can use; "
            "take device = cpu or auto, or install a CUDA build of torch and its driver"
        )
    has_cuda = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if has_cuda else "cpu")


def limit_cpu_threads(num_threads: int) -> None:
    """Let tensor operations on the CPU use this many threads, in all of the process; 0 leaves torch's own choice."""
    if num_threads:
        torch.set_num_threads(num_threads)
