"""Pickles that hold only builtins and numpy arrays, and a reader that can do nothing but read them.

A pickle is a program. Before a single instruction runs, the whole of it is scanned: only instructions that push plain
values or build containers are allowed, and the three names that numpy needs to rebuild an array. The reader then binds
those names to stand-ins of ours that merely record shape, type and bytes, so that neither numpy's C code nor any other
importable function ever sees what the file says. Files are written with pickle protocol 3, where a name is a literal
inside its instruction and cannot be computed.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from typing import Any

import numpy as np

from voxlang.core.errors import CacheError

PROTOCOL = 3

_VALUES = {"NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES"}
_TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_CONTAINERS = {"MARK", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"}
_MEMO = {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
_ARRAYS = {"GLOBAL", "REDUCE", "BUILD"}
_ALLOWED = frozenset({"PROTO", "STOP"} | _VALUES | _BYTES | _TUPLES | _CONTAINERS | _MEMO | _ARRAYS)
_RECONSTRUCT = ("numpy._core.multiarray _reconstruct", "numpy.core.multiarray _reconstruct")
_NAMES = frozenset((*_RECONSTRUCT, "numpy ndarray", "numpy dtype"))
_DTYPES = frozenset(("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"))

_READ_FAULTS = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
    struct.error,
)
"""What a malformed program can raise in the pickle machine."""


def dump_plain(value: Any) -> bytes:
    """Pickle a nest of dicts, lists, tuples, str, bytes, int, float, bool, None and numpy arrays.

    Raises:
        CacheError: the value holds anything else, which `load_plain` would refuse.
    """
    data = pickle.dumps(value, protocol=PROTOCOL)
    load_plain(data, where="the value to be pickled")
    return data


def load_plain(data: bytes, *, where: str) -> Any:
    """Read a pickle of `dump_plain`.

    Args:
        data: the bytes.
        where: the file's name, for the error.

    Raises:
        CacheError: it is cut short or malformed, or holds anything but builtins and numpy arrays; in the latter case
            nothing of it has been executed.
    """
    _scan(data, where=where)
    try:
        return _with_arrays(_Reader(io.BytesIO(data)).load(), where)
    except _READ_FAULTS as error:
        raise _malformed(f"{type(error).__name__}: {error}", where) from error


def _scan(data: bytes, *, where: str) -> None:
    """Refuse a program that could do more than build plain values, without running it."""
    end = 0
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if opcode.name not in _ALLOWED:
                raise _unsafe(f"the instruction {opcode.name} at byte {position}", where)
            if opcode.name == "PROTO" and argument != PROTOCOL:
                raise _unsafe(f"pickle protocol {argument}", where)
            if opcode.name == "GLOBAL" and argument not in _NAMES:
                raise _unsafe(f"the name {argument.replace(' ', '.', 1)!r} at byte {position}", where)
            if opcode.name.endswith("BINPUT") and argument > count:
                raise _unsafe(f"memo slot {argument} at instruction {count}", where)
            end = position + 1
    except _READ_FAULTS as error:
        raise _malformed(f"{type(error).__name__}: {error}", where) from error
    if end != len(data):
        raise _malformed(f"{len(data) - end} bytes after the end", where)


class _NdarrayName:
    """Stands for the type numpy.ndarray, which a pickled array names but never calls."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("numpy.ndarray is only named in a plain pickle")

    def __setstate__(self, state: Any) -> None:
        raise TypeError("numpy.ndarray has no state in a plain pickle")


class _Dtype:
    """Stands for numpy.dtype: records its code and byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or code not in _DTYPES:
            raise TypeError(f"an array of type {code!r}; plain numbers are {', '.join(sorted(_DTYPES))}")
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", "|") or any(state[2:5]):
            raise TypeError("a structured or big-endian array type")
        self.order = state[1]


class _Array:
    """Stands for numpy's _reconstruct: records shape, type, order and bytes of an array."""

    __slots__ = ("state",)

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        if kind is not _NdarrayName or shape != (0,) or code != b"b":
            raise TypeError("an array rebuilt in an unusual way")
        self.state: tuple | None = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise TypeError("an array with an unusual state")
        _, shape, dtype, fortran, data = state
        sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not sizes or not isinstance(dtype, _Dtype) or type(fortran) is not bool or not isinstance(data, bytes):
            raise TypeError("an array whose state is not shape, type, order, bytes")
        self.state = (shape, dtype, fortran, data)

    def build(self) -> np.ndarray:
        """The array itself, writable."""
        if self.state is None:
            raise TypeError("an array without a state")
        shape, dtype, fortran, data = self.state
        kind = np.dtype(dtype.order + dtype.code)
        return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C").copy(order="C")


class _Reader(pickle.Unpickler):
    """Knows three names, and they are ours."""

    def find_class(self, module: str, name: str) -> type:
        full = f"{module} {name}"
        if full in _RECONSTRUCT:
            return _Array
        if full == "numpy ndarray":
            return _NdarrayName
        if full == "numpy dtype":
            return _Dtype
        raise pickle.UnpicklingError(f"the name {module}.{name}")


def _with_arrays(value: Any, where: str) -> Any:
    """Replace the recorded arrays by arrays, and refuse stand-ins in any other place. Containers may not be shared."""
    seen: set[int] = set()

    def visit(node: Any) -> Any:
        if isinstance(node, _Array):
            return node.build()
        if isinstance(node, dict | list | tuple):
            if node != () and id(node) in seen:
                raise TypeError("a container that is used twice")
            seen.add(id(node))
        if isinstance(node, dict):
            if not all(isinstance(k, str | int) for k in node):
                raise TypeError("a dictionary whose keys are not text or integers")
            return {k: visit(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return type(node)(visit(v) for v in node)
        if node is None or isinstance(node, bool | int | float | str | bytes):
            return node
        raise TypeError(f"a loose {type(node).__name__}")

    return visit(value)


def _unsafe(what: str, where: str) -> CacheError:
    return CacheError(
        "a pickle of builtins and numpy arrays only",
        got=f"{what}; nothing of the file was executed",
        where=where,
        do="delete the file if you do not know who wrote it, and run stage 2 again",
    )


def _malformed(what: str, where: str) -> CacheError:
    return CacheError("a whole view cache", got=what, where=where, do="delete the file and run stage 2 again")
