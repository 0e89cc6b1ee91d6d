"""Messages that are unpacked when somebody wants to look into them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message

from onet_ros.scene import CloudError

_LITTLE_ENDIAN = 1  # bit of the second byte
_STAMP = 4  # where it begins, after the encapsulation header


@dataclass(frozen=True)
class PackedMessage:
    """A message that begins with a std_msgs/Header, in the bytes that came by DDS.

    To make a Python object of a cloud of 6 MB takes several times as long as to take its bytes, and while a node is
    busy most clouds are superseded before anybody looks at them.

    Attributes:
        message_type: of the topic.
        data: plain CDR.
        stamp: of the header.
        frame_id: of the header; empty where the bytes end before.
    """

    message_type: type
    data: bytes = field(repr=False)
    stamp: Time
    frame_id: str

    @classmethod
    def of(cls, message_type: type, data: bytes) -> PackedMessage:
        """From what a raw subscription is given."""
        order = "<" if len(data) > 1 and data[1] & _LITTLE_ENDIAN else ">"
        seconds = nanoseconds = 0
        frame_id = b""
        if len(data) >= _STAMP + 12:
            seconds, nanoseconds, length = struct.unpack_from(f"{order}iII", data, _STAMP)
            frame_id = data[_STAMP + 12 : _STAMP + 12 + length].rstrip(b"\0")
        return cls(message_type, data, Time(sec=seconds, nanosec=nanoseconds), frame_id.decode(errors="replace"))

    def unpacked(self) -> Any:
        """The message.

        Raises:
            CloudError: the bytes are not those of such a message.
        """
        try:
            return deserialize_message(self.data, self.message_type)
        except Exception as error:
            raise CloudError(f"{len(self.data)} bytes are not a {self.message_type.__name__}: {error}") from error
