"""Objects from cloud to cloud: which is which, which have to be completed anew, and which are gone.

A track is one object over time. It holds what its mesh was completed from, so that a later cloud can be compared with
it: as long as nothing new is seen, nothing has to be done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onet_ros.scene.association import assign
from onet_ros.scene.evidence import SAMPLE, Change, KnownShape, SeenRays, angle_between, sampled
from onet_ros.scene.seen_object import SeenObject
from onet_ros.scene.segmentation import ObjectCluster
from onet_ros.settings import check_settings, setting

NANOSECONDS = 1_000_000_000

# Why an object is to be completed, the most urgent reason first.
NEW, MOVED, MORE_SEEN, NEW_VIEW, REFRESH = REASONS = ("new", "moved", "more seen", "new view", "refresh")

_TESTED = 0.3  # share of an object's points that rays have to come near, so that they say something
_THROUGH = 0.2  # share of these that the camera may see through while the object is still there
_HIDDEN = 0.5  # where more of an object is hidden it need not be found, to be there still
_EXPECTED = (0.8, 0.6)  # least share of the seen points that were foretold: from a known viewpoint, from a new one
_NEW_OBJECT = 1.5  # times the fewest points of a cluster: what flickers about the limit is no new object
_KNOWN = 0.85  # where fewer of the seen points were seen before, there is more to be seen than was


@dataclass(frozen=True)
class TrackingSettings:
    """How objects are followed, and when one is completed anew."""

    same_object_distance: float = setting(
        0.05,
        "An object keeps its number when it moved by less than this since the cloud before, and kept its size",
        unit="m",
        minimum=0.0,
        maximum=1.0,
    )
    moved_distance: float = setting(
        0.004, "An object that moved by less than this, unhidden, stands still", unit="m", minimum=0.0005, maximum=0.1
    )
    updates_per_cloud: int = setting(
        6, "Objects completed anew for one cloud, the others wait for the next; 0 sets no limit", minimum=0, maximum=254
    )
    update_period: float = setting(
        0.2,
        "An object that keeps changing is completed anew no more often than this",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )
    refresh_period: float = setting(
        0.0,
        "An object that stands still is completed anew after this time; 0 leaves it as it is",
        unit="s",
        minimum=0.0,
        maximum=86_400.0,
    )
    max_views: int = setting(
        4,
        "Viewpoints from which an object is completed together, where the camera moves in a fixed frame",
        minimum=1,
        maximum=16,
    )
    new_view_angle: float = setting(
        0.3, "Angle between lines of sight from which on a view is another one", unit="rad", minimum=0.05, maximum=3.1
    )
    keep_hidden: float = setting(
        30.0,
        "In a fixed frame, an object that is hidden or out of view is kept for so long; in any frame, as long as the "
        "clouds show no table",
        unit="s",
        minimum=0.0,
        maximum=86_400.0,
    )
    keep_missing: float = setting(
        0.5,
        "An object is taken away when it was not found for so long though its place was in view, and in the camera's "
        "own frame in any case",
        unit="s",
        minimum=0.0,
        maximum=3600.0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(eq=False)
class Track:
    """One object over time; stamps in nanoseconds, of clouds.

    Attributes:
        number: never given to another object.
        first_seen, last_seen: stamps.
        seen_now: whether it was found in the last cloud.
        shape: what it was completed from, with points of the surface that came of it. Before the first time: what was
            seen last.
        completed: stamp of the cloud that it was completed with; None before the first time.
        proposal: what it would be completed from now.
        reason: why it should be, one of `REASONS`; empty where nothing is to be done.
        due_since: stamp of the cloud that gave the reason.
        missing_since: stamp of the first cloud that shows its place without it; None while it is there or hidden.
        outdated: it is to be completed anew though nothing new was seen.
    """

    number: int
    first_seen: int
    last_seen: int
    shape: KnownShape
    proposal: SeenObject
    reason: str = NEW
    due_since: int = 0
    seen_now: bool = True
    completed: int | None = None
    missing_since: int | None = None
    outdated: bool = False

    @property
    def views(self) -> int:
        """From how many viewpoints it was completed."""
        return len(self.shape.evidence.views)


class Tracks:
    """The objects of a stream of clouds in one frame.

    For each cloud, in this order: `assign` its clusters, `observe` what was seen of them, complete some of those that
    are `due` and say so with `complete`, `expire` what is gone.
    """

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self.settings = settings or TrackingSettings()
        self._tracks: dict[int, Track] = {}
        self._next_number = 0

    def __len__(self) -> int:
        return len(self._tracks)

    def __getitem__(self, number: int) -> Track:
        """Raises KeyError for an object that is not known (any more)."""
        return self._tracks[number]

    def __iter__(self) -> Iterator[Track]:
        """All known objects, oldest first."""
        return iter(tuple(self._tracks.values()))

    def clear(self) -> list[int]:
        """Forget all objects; their numbers, which will not be given again."""
        numbers = list(self._tracks)
        self._tracks.clear()
        return numbers

    def assign(self, clusters: Sequence[ObjectCluster], min_points: int) -> list[tuple[ObjectCluster, Track | None]]:
        """Which object each cluster is, None for a new one; those with most points first (see `association.assign`).

        Args:
            clusters: of one cloud.
            min_points: fewest points of a cluster. Where objects are known already, a new one needs half as many more.
        """
        tracks = list(self._tracks.values())
        pairs = assign(clusters, [track.shape for track in tracks], self.settings.same_object_distance)
        enough = _NEW_OBJECT * min_points if tracks else min_points
        return [
            (cluster, None if number is None else tracks[number])
            for cluster, number in pairs
            if number is not None or len(cluster.indices) >= enough
        ]

    def observe(
        self,
        pairs: Sequence[tuple[SeenObject, Track | None]],
        rays: SeenRays,
        stamp: int,
        fixed_frame: bool,
    ) -> None:
        """Compare what was seen of the objects with what they were completed from.

        Args:
            pairs: what was seen and which object it is, None for a new one.
            rays: of the cloud, in the tracks' frame.
            stamp: of the cloud, nanoseconds.
            fixed_frame: whether objects that stand still do so in this frame, also when the camera moves.
        """
        for track in self._tracks.values():
            track.seen_now = False
        for seen, known in pairs:
            if known is None:
                known = Track(self._next_number, stamp, stamp, KnownShape(seen), seen, due_since=stamp)
                self._tracks[known.number] = known
                self._next_number += 1
            known.seen_now, known.last_seen, known.missing_since = True, stamp, None
            if known.completed is None:
                known.shape, known.proposal, reason = KnownShape(seen), seen, NEW
            else:
                known.proposal, reason = self._judged(known, seen, rays, stamp, fixed_frame)
            if not known.reason:
                known.due_since = stamp
            known.reason = reason

    def due(self, stamp: int) -> list[Track]:
        """The objects to complete now, the most urgent first, no more than `updates_per_cloud`."""
        settings = self.settings
        earliest = stamp - round(settings.update_period * NANOSECONDS)
        waiting = [
            track
            for track in self._tracks.values()
            if track.reason and track.seen_now and (track.completed is None or track.completed <= earliest)
        ]
        waiting.sort(key=lambda track: (REASONS.index(track.reason), track.due_since, track.number))
        return waiting[: settings.updates_per_cloud or None]

    def shown(self) -> list[Track]:
        """All objects that the last cloud showed."""
        return [track for track in self._tracks.values() if track.seen_now]

    def complete(self, track: Track, surface: NDArray[np.float64] | None, stamp: int) -> None:
        """An object was completed from its proposal, or could not be: then it is tried again when more is seen of it.

        Args:
            surface: (S, 3) metres, points of its surface, the tracks' frame; None where there is none.
            stamp: of the cloud, nanoseconds.
        """
        if surface is None and track.reason != MOVED:
            surface = track.shape.surface
        track.shape = KnownShape(track.proposal, surface)
        track.completed, track.reason, track.outdated = stamp, "", False

    def expire(self, rays: SeenRays | None, stamp: int, fixed_frame: bool) -> list[int]:
        """Drop the objects that are gone; their numbers.

        Args:
            rays: of the cloud that did not show them; None for a cloud that says nothing of any object.
            stamp: of the cloud, nanoseconds.
            fixed_frame: as for `observe`.
        """
        gone = [track.number for track in self._tracks.values() if self._is_gone(track, rays, stamp, fixed_frame)]
        for number in gone:
            del self._tracks[number]
        return gone

    def refresh(self) -> None:
        """Have every object completed anew when it is seen next."""
        for track in self._tracks.values():
            track.outdated = True

    def _judged(
        self, track: Track, seen: SeenObject, rays: SeenRays, stamp: int, fixed_frame: bool
    ) -> tuple[SeenObject, str]:
        """What the object would be completed from now, and why it should be (empty: it need not)."""
        settings, change = self.settings, track.shape.change(seen, rays)
        if self._has_moved(change):
            return seen, MOVED
        known_view = change.angle < settings.new_view_angle
        views = list(track.shape.evidence.views)
        if known_view:
            del views[change.nearest]
        earlier = spread(views, seen, track.shape.centre, settings.max_views - 1) if fixed_frame else ()
        proposal = dataclasses.replace(seen, earlier=earlier)
        if change.known < _KNOWN and (known_view or not fixed_frame):
            return proposal, MORE_SEEN
        if not known_view and fixed_frame:
            return proposal, NEW_VIEW
        period = settings.refresh_period * NANOSECONDS
        if track.outdated or (period and stamp - (track.completed or 0) >= period):
            return proposal, REFRESH
        return proposal, ""

    def _has_moved(self, change: Change) -> bool:
        """Whether what was seen before is no longer true."""
        if change.rays.tested >= _TESTED and change.rays.through > _THROUGH:
            return True
        foretold = _EXPECTED[0] if change.angle < self.settings.new_view_angle else _EXPECTED[1]
        return change.expected < foretold or change.shift > self.settings.moved_distance

    def _is_gone(self, track: Track, rays: SeenRays | None, stamp: int, fixed_frame: bool) -> bool:
        if track.seen_now and rays is not None:
            return False
        evidence = rays.look_at(sampled(track.shape.points, SAMPLE)) if rays is not None else None
        if evidence is not None and evidence.tested >= _TESTED and evidence.hidden <= _HIDDEN:
            if track.missing_since is None:
                track.missing_since = stamp
            if stamp - track.missing_since >= self.settings.keep_missing * NANOSECONDS:
                return True
        else:
            track.missing_since = None
        patience = self.settings.keep_hidden if fixed_frame or rays is None else self.settings.keep_missing
        return stamp - track.last_seen > patience * NANOSECONDS


def spread(
    views: Sequence[SeenObject], newest: SeenObject, centre: NDArray[np.float64], count: int
) -> tuple[SeenObject, ...]:
    """At most `count` of the views, oldest first: those that differ most from the newest one and from each other.

    Taken one after the other, each time the one whose line of sight is farthest from those of all taken so far.

    Args:
        centre: (3,) metres, of the object.
    """
    left, taken = list(range(len(views))), [newest]
    kept: list[int] = []
    while left and len(kept) < count:
        farthest = max(left, key=lambda number: min(angle_between(views[number], one, centre) for one in taken))
        left.remove(farthest)
        kept.append(farthest)
        taken.append(views[farthest])
    return tuple(dataclasses.replace(views[number], earlier=()) for number in sorted(kept))
