"""The objects of a stream of clouds: each has a number of its own, and is completed when something new is seen of it.

    live = LiveScene(Reconstructor.load("models/default"))
    for stamp, cloud in recording:
        update = live.update(cloud, stamp)                 # update.objects: number, mesh, when it was seen

The second door of the core, beside `Reconstructor`, which knows one cloud only: the node and `onet reconstruct` on
recordings come in here, so that they give the same meshes for the same clouds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.reconstructor import ReconstructedObject, Reconstructor, Scene, failure, find_objects
from onet_ros.scene import (
    ObjectCluster,
    PlaneTracker,
    PointCloud,
    RegionOfInterest,
    SeenObject,
    SeenRays,
    SupportPlane,
    TableTop,
    Track,
    Tracks,
    seen_table,
)
from onet_ros.scene.tracks import MOVED
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import SurfaceError


@dataclass(frozen=True)
class LiveObject:
    """One object as it is known now.

    Attributes:
        number: its own for as long as the scene lives.
        shape: its mesh and all about it, in the frame of the updates; the same object again as long as it is unchanged.
        first_seen, last_seen, completed: stamps, nanoseconds, of the clouds that showed it first and last, and of the
            newest one that went into its shape.
        seen_now: whether the newest cloud shows it.
        views: viewpoints that its shape was completed from.
        waiting: why it is to be completed anew, as soon as its turn comes; empty when it is not.
    """

    number: int
    shape: ReconstructedObject
    first_seen: int
    last_seen: int
    completed: int
    seen_now: bool
    views: int
    waiting: str


@dataclass(frozen=True)
class SceneUpdate:
    """What is known after a cloud.

    Attributes:
        plane: the support plane, or None where the cloud shows none (then nothing else of it counts).
        table: the part of it that the cloud shows.
        objects: all known ones that have a shape, by number.
        completed: numbers of those whose shape is new.
        vanished: numbers of those that are gone since the update before.
        failures: a sentence for each object that was seen but could not be completed, or why there is no plane.
        waiting: how many objects are to be completed and had no turn.
        timings: seconds by stage.
    """

    plane: SupportPlane | None
    objects: list[LiveObject]
    completed: list[int] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    waiting: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    table: TableTop | None = None


class LiveScene:
    """A `Reconstructor` with a memory; to be used from one thread at a time.

    All clouds are in one frame. After a change of the frame, or when time jumped back, `clear` it.
    """

    def __init__(self, reconstructor: Reconstructor) -> None:
        self._reconstructor = reconstructor
        self._tracks = Tracks(reconstructor.settings.tracking)
        self._plane_tracker = PlaneTracker()
        self._shapes: dict[int, ReconstructedObject] = {}
        self._vanished: list[int] = []

    @property
    def reconstructor(self) -> Reconstructor:
        """What completes the objects."""
        return self._reconstructor

    @reconstructor.setter
    def reconstructor(self, reconstructor: Reconstructor) -> None:
        """Go on with another one: all objects are completed anew when they are seen next."""
        self._reconstructor = reconstructor
        self._tracks.settings = reconstructor.settings.tracking
        self._tracks.refresh()

    def clear(self) -> list[int]:
        """Forget everything; the numbers of the objects forgotten, which are not given again."""
        self._plane_tracker = PlaneTracker()
        forgotten = [number for number in self._tracks.clear() if self._shapes.pop(number, None) is not None]
        return [*self._take_vanished(), *forgotten]

    def update(
        self,
        cloud: PointCloud | ArrayLike,
        stamp: int,
        viewpoint: ArrayLike = (0.0, 0.0, 0.0),
        up: ArrayLike | None = None,
        labels: NDArray[np.integer] | None = None,
        fixed_frame: bool = False,
        everything: bool = False,
        region: RegionOfInterest | None = None,
        watch: Stopwatch | None = None,
    ) -> SceneUpdate:
        """Take in the next cloud.

        Args:
            cloud, viewpoint, up, labels: as for `Reconstructor.reconstruct`.
            stamp: nanoseconds, when the cloud was taken; not before the cloud before.
            fixed_frame: whether objects that stand still do so in the cloud's frame, also when the camera moves. Only
                then are several views put together, and objects out of view remembered.
            everything: complete every object that the cloud shows, whatever is known of it.
            region: only those whose middle lies in this box; for `everything`.
            watch: keeps the time instead of one of the call's own. Its stages are also where the work can be stopped,
                by an exception: the objects stay what they were.

        Raises:
            CloudError: there is not one usable point, or the labels are not of the cloud's layout.
        """
        watch = watch or Stopwatch()
        if not isinstance(cloud, PointCloud):
            cloud = PointCloud.from_points(np.asarray(cloud))
        settings = self._reconstructor.settings
        scene = find_objects(cloud, settings, viewpoint, None, up, watch, self._plane_tracker, labels)
        if scene.plane is None:
            self._forget(self._tracks.expire(None, stamp, fixed_frame))
            return SceneUpdate(None, self.objects(), [], self._take_vanished(), [scene.reason], 0, watch.seconds)
        with watch.stage("track"):
            rays = SeenRays(cloud, viewpoint, settings.completion.seed)
            pairs = self._tracks.assign(scene.clusters, settings.segmentation.min_points)
        seen, failures = self._seen(scene, pairs, viewpoint, watch)
        with watch.stage("track"):
            self._tracks.observe(seen, rays, stamp, fixed_frame)
            due = self._shown_in(region) if everything else self._tracks.due(stamp)
        completed, more_failures = self._complete(scene, due, stamp, watch)
        with watch.stage("track"):
            self._forget(self._tracks.expire(rays, stamp, fixed_frame))
        return SceneUpdate(
            plane=scene.plane,
            objects=self.objects(),
            completed=completed,
            vanished=self._take_vanished(),
            failures=failures + more_failures,
            waiting=sum(bool(track.reason) for track in self._tracks),
            timings=watch.seconds,
            table=seen_table(scene.cloud, scene.plane),
        )

    def objects(self) -> list[LiveObject]:
        """All known objects that have a shape, by number."""
        return [
            LiveObject(
                number=track.number,
                shape=self._shapes[track.number],
                first_seen=track.first_seen,
                last_seen=track.last_seen,
                completed=track.completed or 0,
                seen_now=track.seen_now,
                views=track.views,
                waiting=track.reason,
            )
            for track in self._tracks
            if track.number in self._shapes
        ]

    def occupancy(self, points: ArrayLike, numbers: Collection[int] | None = None) -> dict[int, NDArray[np.float32]]:
        """By object, (N,): the probability that it is at each of the points (N, 3), metres, frame of the updates.

        Args:
            numbers: of which objects; None for all.

        Raises:
            KeyError: an object that is not known, or has no shape (yet); it holds the number.
        """
        asked = [track.number for track in self._tracks if track.number in self._shapes]
        if numbers is not None:
            unknown = sorted(set(numbers) - set(asked))
            if unknown:
                raise KeyError(unknown[0])
            asked = [number for number in asked if number in numbers]
        evidence = [self._tracks[number].shape.evidence for number in asked]
        return dict(zip(asked, self._reconstructor.occupancy(evidence, points), strict=True))

    def _seen(
        self, scene: Scene, pairs: list[tuple[ObjectCluster, Track | None]], viewpoint: ArrayLike, watch: Stopwatch
    ) -> tuple[list[tuple[SeenObject, Track | None]], list[str]]:
        clusters = [cluster for cluster, _ in pairs]
        seen, failures = self._reconstructor.seen_objects(scene, clusters, viewpoint, watch, around=False)
        found = [(one, track) for one, (_, track) in zip(seen, pairs, strict=True) if one is not None]
        return found, failures

    def _shown_in(self, region: RegionOfInterest | None) -> list[Track]:
        shown = self._tracks.shown()
        return shown if region is None else [track for track in shown if region.contains(track.shape.centre)]

    def _complete(self, scene: Scene, due: list[Track], stamp: int, watch: Stopwatch) -> tuple[list[int], list[str]]:
        """Complete some objects side by side: the numbers of those that have a new shape, and why others have none."""
        completed, failures = [], []
        if not due:
            return [], []
        proposals = self._reconstructor.looked_around(scene, [track.proposal for track in due], watch)
        results = self._reconstructor.complete_seen(proposals, watch, apart=True)
        for track, proposal in zip(due, proposals, strict=True):
            track.proposal = proposal
        for track, result in zip(due, results, strict=True):
            if isinstance(result, SurfaceError):
                failures.append(failure(track.proposal.points, result))
                if track.reason == MOVED:  # it is no longer where it was, whatever it looks like there
                    self._forget([track.number])
                self._tracks.complete(track, None, stamp)
            else:
                self._tracks.complete(track, np.asarray(result.mesh.vertices), stamp)
                self._shapes[track.number] = result
                completed.append(track.number)
        return completed, failures

    def _forget(self, numbers: list[int]) -> None:
        self._vanished += [number for number in numbers if self._shapes.pop(number, None) is not None]

    def _take_vanished(self) -> list[int]:
        vanished, self._vanished = self._vanished, []
        return [number for number in vanished if number not in self._shapes]
