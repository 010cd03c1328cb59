"""Which torch device a setting means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxlang.core.errors import ConfigError

if TYPE_CHECKING:
    import torch


def device_of(device: str | torch.device, *, where: str = "device") -> torch.device:
    """The device that a setting means: "auto" is CUDA where there is one, else the CPU.

    Args:
        device: auto, or a name of torch's.
        where: the setting, for errors.

    Raises:
        ConfigError: no name of a device, or a CUDA device on a machine without.
    """
    import torch

    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError("auto, cpu, cuda or cuda:N", got=repr(device), where=where, do="use one of these") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "a CUDA device", got="none that torch can see", where=f"{where}={device}", do="use auto or cpu"
        )
    return found


def quick_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is quick there: on a GPU, and on processors with AVX-512; others imitate it, slowly."""
    import torch

    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"


def bfloat16_where_quick(device: torch.device, *, wanted: bool) -> torch.autocast:
    """Autocast in bfloat16 if it is wanted and quick there; else a context that changes nothing."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and quick_bfloat16(device))
