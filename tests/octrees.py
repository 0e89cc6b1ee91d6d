"""Writers of OctoMap's two stream formats, by the rules of the format, for the tests of its reader."""

from __future__ import annotations

import struct

OCTREE_MIDDLE = 2**15  # key of the cell at the origin


def octree_of(cells, free=()):
    """Nested dictionaries of children by number, True or False where all below is occupied or free."""
    root = {}
    for value, keys in ((True, cells), (False, free)):
        for key in keys:
            node = root
            for level in range(15, -1, -1):
                child = sum((int(key[axis]) >> level & 1) << axis for axis in range(3))
                node = node.setdefault(child, {} if level else value)
    return root


def pruned_octree(node):
    if isinstance(node, bool):
        return node
    children = {number: pruned_octree(child) for number, child in node.items()}
    values = list(children.values())
    if len(values) == 8 and all(isinstance(value, bool) and value == values[0] for value in values):
        return values[0]
    return children


def binary_octree(node) -> bytes:
    states = {True: 2, False: 1}
    bits = sum((states[c] if isinstance(c, bool) else 3) << 2 * n for n, c in node.items())
    below = b"".join(binary_octree(node[n]) for n in sorted(node) if not isinstance(node[n], bool))
    return bits.to_bytes(2, "little") + below


def full_octree(node, colour: bytes = b"") -> bytes:
    if isinstance(node, bool):
        return struct.pack("<f", 2.0 if node else -1.0) + colour + b"\0"
    children = sum(1 << n for n in node)
    return (
        struct.pack("<f", 0.5)
        + colour
        + bytes([children])
        + b"".join(full_octree(node[n], colour) for n in sorted(node))
    )
