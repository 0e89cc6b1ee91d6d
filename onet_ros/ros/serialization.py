"""Large arrays in ROS messages without one Python object per point.

rclpy serialises a message by visiting every element of every list as a Python object: 100 ms for the 30,000 points of a
10,000-triangle marker. A publisher also takes bytes that are already serialised. So here

* `put_array` puts a NumPy array into a list field of a message and `take_array` reads such a field as a NumPy array;
* `serialize` writes the message as rclpy does, and copies those arrays as one block each.

The layout is read from the message types themselves (`SLOT_TYPES`), not written down here, so that a field that another
ROS distribution adds to a message is written too. The encoding is plain CDR version 1, little endian, as in the OMG
specification DDSI-RTPS, section 10: a primitive is aligned to its own size, counted from the end of the 4-byte
encapsulation header; a string is its length with the closing NUL, the bytes, and NUL; a sequence is its length and its
elements; a nested message has no header of its own.
"""

from __future__ import annotations

import array
import functools
import importlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rosidl_parser import definition

_ENCAPSULATION = b"\x00\x01\x00\x00"  # plain CDR, little endian, no options
_PADDING = b"\x00"
LARGE = 4096  # bytes of a block that is not copied together with what is around it
# Type codes of the struct module; NumPy and array.array read them too.
_CODES = {
    "boolean": "?",
    "octet": "B",
    "uint8": "B",
    "int8": "b",
    "uint16": "H",
    "int16": "h",
    "uint32": "I",
    "int32": "i",
    "uint64": "Q",
    "int64": "q",
    "float": "f",
    "double": "d",
}


class _Stream:
    """What is written one after the other: small things together, large blocks where they are until all is known.

    Attributes:
        tail: of what is written, what came after the last large block.
    """

    def __init__(self) -> None:
        self.tail = bytearray(_ENCAPSULATION)
        self._parts: list[Any] = []
        self._before = -len(_ENCAPSULATION)  # bytes before the tail, by which alignment counts

    def align(self, size: int) -> None:
        """Fill up to a multiple of `size`."""
        self.tail += _PADDING * (-(self._before + len(self.tail)) % size)

    def block(self, numbers: np.ndarray) -> None:
        """The numbers as they are in memory."""
        data = np.ascontiguousarray(numbers).data.cast("B")
        if data.nbytes < LARGE:
            self.tail += data
            return
        self._parts += [self.tail, data]
        self._before += len(self.tail) + data.nbytes
        self.tail = bytearray()

    def joined(self) -> bytes:
        """All of it, copied once."""
        return b"".join([*self._parts, self.tail])


Writer = Callable[[_Stream, Any], None]


class StructArray(Sequence[Any]):
    """A list of equal messages of fixed size (points, colours, triangles), held as one array.

    It is a proper sequence of messages, so that rclpy can also serialise a message that holds one, only slowly.
    """

    def __init__(self, message_type: Any, values: np.ndarray) -> None:
        """values: (N, K), the K numbers of each message in the order of its fields."""
        dtype, width = _fixed_layout(message_type)
        if values.ndim != 2 or values.shape[1] != width:
            raise ValueError(f"{message_type.__name__} elements need shape (N, {width}), got {values.shape}")
        self.message_type = message_type
        self.values = np.ascontiguousarray(values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return StructArray(self.message_type, self.values[index])
        return _message_from_numbers(self.message_type, iter(self.values[index].tolist()))


def put_array(message: Any, field: str, values: np.ndarray) -> None:
    """Set a sequence field from an array: (N,) for a sequence of numbers, (N, K) for a sequence of K-number messages.

    Raises:
        TypeError: the field is not a sequence of numbers or of fixed-size messages.
        ValueError: the array has another shape.
    """
    element = _element_type(message, field)
    if isinstance(element, definition.BasicType):
        if values.ndim != 1:
            raise ValueError(f"{type(message).__name__}.{field} needs shape (N,), got {values.shape}")
        setattr(message, field, _number_array(element, values))
    else:
        # Past the property: its type check, which ROS 2 Humble always runs, would make every element.
        setattr(message, f"_{field}", StructArray(_message_type(element), values))


def take_array(message: Any, field: str) -> np.ndarray:
    """Array of a sequence field, as `put_array` takes it. Slow for messages that rclpy made: for tools and tests."""
    element, value = _element_type(message, field), getattr(message, field)
    if isinstance(value, StructArray):
        return value.values
    if isinstance(element, definition.BasicType):
        return np.array(value, dtype=_dtype(element))
    dtype, width = _fixed_layout(_message_type(element))
    numbers = [list(_numbers_of_message(item)) for item in value]
    return np.array(numbers, dtype=dtype).reshape(-1, width)


def serialize(message: Any) -> bytes:
    """Plain CDR of a message, for `Publisher.publish`.

    The bytes are those of `rclpy.serialization.serialize_message`, but for the padding: zeros here, whatever the memory
    held before there.
    """
    stream = _Stream()
    message_type: Any = type(message)
    _message_writer(message_type)(stream, message)
    return stream.joined()


# -- types ------------------------------------------------------------------------------------------------------------


def _fields(message_type: Any) -> list[tuple[str, Any]]:
    return list(zip(message_type.get_fields_and_field_types(), message_type.SLOT_TYPES, strict=True))


def _message_type(slot: Any) -> Any:
    return getattr(importlib.import_module(".".join(slot.namespaces)), slot.name)


def _element_type(message: Any, field: str) -> Any:
    slot = dict(_fields(type(message)))[field]
    if not isinstance(slot, definition.AbstractSequence):
        raise TypeError(f"{type(message).__name__}.{field} is not a sequence but {slot}")
    return slot.value_type


def _dtype(slot: Any) -> np.dtype[Any]:
    return np.dtype(f"<{_CODES[slot.typename]}")


@functools.cache
def _fixed_layout(message_type: Any) -> tuple[np.dtype[Any], int]:
    """dtype and number of the numbers in a message made of numbers of one type only, as Point, ColorRGBA, MeshTriangle.

    With one type there is no padding between the numbers: an array of such messages is one aligned block.
    """
    dtypes: list[np.dtype[Any]] = []
    for name, slot in _fields(message_type):
        count = 1
        if isinstance(slot, definition.Array):
            slot, count = slot.value_type, slot.size
        if isinstance(slot, definition.NamespacedType):
            dtype, inner = _fixed_layout(_message_type(slot))
            dtypes += [dtype] * inner * count
        elif isinstance(slot, definition.BasicType):
            dtypes += [_dtype(slot)] * count
        else:
            raise TypeError(f"{message_type.__name__}.{name} has no fixed size")
    if len(set(dtypes)) != 1:
        raise TypeError(f"{message_type.__name__} is not made of numbers of one type")
    return dtypes[0], len(dtypes)


def _message_from_numbers(message_type: Any, numbers: Iterator[Any]) -> Any:
    message = message_type()
    for name, slot in _fields(message_type):
        if isinstance(slot, definition.NamespacedType):
            setattr(message, name, _message_from_numbers(_message_type(slot), numbers))
        elif isinstance(slot, definition.Array):
            setattr(message, name, [next(numbers) for _ in range(slot.size)])
        else:
            setattr(message, name, next(numbers))
    return message


def _numbers_of_message(message: Any) -> Iterator[Any]:
    for name, slot in _fields(type(message)):
        value = getattr(message, name)
        if isinstance(slot, definition.NamespacedType):
            yield from _numbers_of_message(value)
        elif isinstance(slot, definition.Array):
            yield from value
        else:
            yield value


def _number_array(slot: Any, values: np.ndarray) -> Any:
    """The list of numbers that rclpy copies fastest: array.array, which has no booleans."""
    numbers = np.ascontiguousarray(values, dtype=_dtype(slot))
    return numbers.tolist() if slot.typename == "boolean" else array.array(_CODES[slot.typename], numbers.tobytes())


# -- writers, one made per type ---------------------------------------------------------------------------------------


@functools.cache
def _message_writer(message_type: Any) -> Writer:
    fields = [(name, _slot_writer(slot)) for name, slot in _fields(message_type)]

    def write(stream: _Stream, message: Any) -> None:
        for name, write_field in fields:
            write_field(stream, getattr(message, name))
        if not fields:  # C++ has no empty struct: an empty message is one zero byte
            stream.tail.append(0)

    return write


def _slot_writer(slot: Any) -> Writer:
    if isinstance(slot, definition.BasicType) and slot.typename in _CODES:
        return _number_writer(_CODES[slot.typename])
    if isinstance(slot, definition.AbstractString):
        return _write_string
    if isinstance(slot, definition.NamespacedType):
        return _message_writer(_message_type(slot))
    if isinstance(slot, (definition.Array, definition.AbstractSequence)):
        return _list_writer(slot.value_type, counted=not isinstance(slot, definition.Array))
    raise TypeError(f"no CDR encoding for fields of type {slot}")


def _number_writer(code: str) -> Writer:
    packer = struct.Struct(f"<{code}")

    def write(stream: _Stream, value: Any) -> None:
        stream.align(packer.size)
        stream.tail += value if isinstance(value, bytes) else packer.pack(value)  # rclpy holds a `byte` as bytes

    return write


_write_count = _number_writer("I")


def _write_string(stream: _Stream, value: str) -> None:
    encoded = value.encode()
    _write_count(stream, len(encoded) + 1)
    stream.tail += encoded + b"\0"


def _list_writer(element: Any, counted: bool) -> Writer:
    """Writer of a sequence (counted) or of an array of fixed length."""
    write_element = _slot_writer(element)
    is_number = isinstance(element, definition.BasicType) and element.typename != "octet"

    def write(stream: _Stream, values: Any) -> None:
        if counted:
            _write_count(stream, len(values))
        if isinstance(values, StructArray):
            _write_block(stream, values.values)
        elif is_number:
            _write_block(stream, np.asarray(values, dtype=_dtype(element)))
        else:
            for value in values:
                write_element(stream, value)

    return write


def _write_block(stream: _Stream, numbers: np.ndarray) -> None:
    if numbers.size:  # the first element is what is aligned: an empty list adds no padding
        stream.align(numbers.dtype.itemsize)
        stream.block(numbers)
