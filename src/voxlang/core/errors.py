"""Errors that tell the reader what was expected, what came, where, and what to do."""

from __future__ import annotations


class VoxlangError(Exception):
    """A fault that the user can mend: every message has four parts.

    Args:
        expected: what the code needed, with the value in it.
        got: what it received instead, with the value in it.
        where: the file, function or setting concerned.
        do: the next step that mends it.
    """

    def __init__(self, expected: str, *, got: str, where: str, do: str) -> None:
        self.expected, self.got, self.where, self.do = expected, got, where, do
        super().__init__(f"Expected {expected}; got {got}. In: {where}. Do: {do}.")

    def __reduce__(self):
        return _rebuild, (type(self), self.expected, self.got, self.where, self.do)


def _rebuild(cls: type[VoxlangError], expected: str, got: str, where: str, do: str) -> VoxlangError:
    return cls(expected, got=got, where=where, do=do)


class ConfigError(VoxlangError):
    """A setting, preset or command line that cannot be used."""


class GeometryError(VoxlangError):
    """A grid, camera or frame that is not what it claims to be."""


class VolumeError(VoxlangError):
    """A volume, label map or phantom that cannot be read, written or built."""


class TransferFunctionError(VoxlangError):
    """A transfer function that cannot be read or does not describe a function."""


class FieldError(VoxlangError):
    """A stage 1 field that cannot be fitted or loaded."""


class MaskError(VoxlangError):
    """Masks or a mask hierarchy that contradict themselves."""


class ModelMissingError(VoxlangError):
    """Weights or a model library that are not there."""


class WeightsError(VoxlangError):
    """Weights that are broken, unsafe to read, or do not fit the model."""


class MemoryLimitError(VoxlangError):
    """A step that needs more memory than the machine or device has."""


class EncoderMismatchError(VoxlangError):
    """Vectors of two different image-text encoders were about to be compared."""


class CacheError(VoxlangError):
    """A view cache that is stale, foreign or unsafe to read."""


class ArtifactError(VoxlangError):
    """A file of ours whose schema, kind or digest is not the expected one."""


class TrackingError(VoxlangError):
    """A run log that cannot be written, read or shown."""


class QueryError(VoxlangError):
    """A text query that cannot be answered as it was put."""
