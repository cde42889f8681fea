"""Which device the tables live on, and how it reckons."""

import os

import torch

from online_models.errors import ConfigError

__all__ = ["DEVICES", "cpu_facts", "limit_cpu_threads", "memory_bytes", "resolve_device"]

DEVICES = ("auto", "cpu", "cuda")
_CUBLAS_WORKSPACE = ":4096:8"
"""Eight buffers of 4 MiB: with its own choice, cuBLAS may sum in another order from call to call."""


def resolve_device(name: str, *, deterministic: bool = False) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA where there is one.

    Args:
        deterministic: on CUDA, let torch use only kernels that give the same bits each time; a *switch of the whole
            process*, which stays on. It needs ``CUBLAS_WORKSPACE_CONFIG``, which is set here unless it was set
            already, and is in time only if nothing in this process has used CUDA before. On the CPU nothing changes:
            the operations used here give the same bits each time there, with the same number of threads.

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
    if has_cuda and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _CUBLAS_WORKSPACE)
        torch.use_deterministic_algorithms(True)
    return torch.device("cuda" if has_cuda else "cpu")


def limit_cpu_threads(num_threads: int) -> None:
    """Let tensor operations on the CPU use this many threads, in all of the process; 0 leaves torch's own choice."""
    if num_threads:
        torch.set_num_threads(num_threads)


def memory_bytes(device: torch.device) -> dict[str, int]:
    """Return how much of a GPU's memory tensors take, is reserved for them, and there is in total; 0 on the CPU."""
    if device.type != "cuda":
        return {"allocated": 0, "reserved": 0, "total": 0}
    return {
        "allocated": torch.cuda.memory_allocated(device),
        "reserved": torch.cuda.memory_reserved(device),
        "total": torch.cuda.get_device_properties(device).total_memory,
    }


def cpu_facts() -> dict[str, str]:
    """Return what the last bits of a sum on the CPU depend on: the number of threads, and the vector instructions."""
    return {"cpu_threads": str(torch.get_num_threads()), "cpu": torch.backends.cpu.get_cpu_capability()}
