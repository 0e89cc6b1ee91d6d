"""The other end of the soak test: listens to the node, asks it for everything at once, and keeps what it finds."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Point
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from onet_ros import action, srv
from onet_ros.msg import ReconstructedObjects
from onet_ros.ros.conversions import from_pose_msg
from onet_ros.ros.diagnostics import read_accounts
from onet_ros.ros.soak_world import STAYING, SoakWorld
from onet_ros.scene import NANOSECONDS, TrackingSettings

RESET_GRACE = 15.0  # seconds after a reset in which numbers may be new: clouds from before it may still be on their way
SETTLED = 3  # clouds after something came or went until a message has to show it so,
MISSING = TrackingSettings().keep_missing * NANOSECONDS  # and for so long an object that went is kept
ANSWER_TIMEOUT = 90.0  # seconds that a request may take
NEAR = 0.05  # metres from a true object's middle to the middle of what it was taken for

# Names, values that are fine, and values that have to be refused.
PARAMETERS: tuple[tuple[str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    ("marker_lifetime", (5.0, 30.0), (-1.0,)),
    ("segmentation.min_points", (40, 60), (0,)),
    ("extraction.max_triangles", (3000, 5000), (-5,)),
    ("tracking.updates_per_cloud", (2, 6), (9999,)),
    ("completion.seen_distance", (0.004, 0.005), (float("nan"),)),
    ("plane.reuse", (10, 30), (-1,)),
    ("files.density", (500.0, 800.0), (0.0,)),
    ("model", (), ("/elsewhere",)),  # not while it is configured
)


@dataclass
class Findings:
    """What was seen of the node.

    Attributes:
        messages: how many came.
        names: which true object each id was, and how often.
        staying: the ids of the objects that stay, since the last reset.
        faults: sentences on what should not have been.
        requests: how many were answered, by kind.
        memory: (seconds since the start, megabytes) of the node's process, as the system tells.
        longest: seconds that the slowest answer of each kind took.
        settled, wrong: how many messages were looked at when nothing had changed for a while, and a sentence for those
            of them that lacked an object that was there, or had one that was not.
        account: the newest values of the diagnostics.
    """

    messages: int = 0
    names: dict[int, Counter[str]] = field(default_factory=dict)
    staying: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    settled: int = 0
    account: dict[str, str] = field(default_factory=dict)
    accounts: int = 0


class SoakMonitor(Node):
    """Listens to the node and asks it for everything, several things at a time."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__("soak")
        self.findings = Findings()
        self._world, self._random, self._folder = SoakWorld(), random.Random(seed), folder
        self._centres = {name: mesh.bounds.mean(axis=0) for name, mesh in self._world.truth.items()}
        self._reset_at = time.monotonic()
        self._newest = 0
        self._ids: list[int] = []
        self._looks: list[int] = []  # stamps of the clouds of this scene that were told of
        self._pending: dict[Any, tuple[str, float]] = {}
        self.create_subscription(ReconstructedObjects, "onet/objects", self._on_objects, QoSProfile(depth=50))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._set_parameters = self.create_client(SetParameters, "onet/set_parameters")
        self._change_state = self.create_client(ChangeState, "onet/change_state")
        self._reconstruct = self.create_client(srv.Reconstruct, "onet/reconstruct")
        self._clear = self.create_client(Trigger, "onet/clear")
        self._save = self.create_client(srv.SaveMeshes, "onet/save_meshes")
        self._occupancy = self.create_client(srv.QueryOccupancy, "onet/query_occupancy")
        self._action = ActionClient(self, action.Reconstruct, "onet/reconstruct")

    # -- what comes ---------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """From now on the objects may have new ids."""
        self._reset_at = time.monotonic()
        self.findings.staying = {}

    def _has_settled(self, stamp: int) -> bool:
        """Whether this scene was told of for long enough that what is there has to be known."""
        if self._looks and self._world.scene_at(self._looks[-1]) != self._world.scene_at(stamp):
            self._looks = []
        if stamp not in self._looks:  # on request a cloud is reconstructed again, which is no further look
            self._looks.append(stamp)
        return len(self._looks) > SETTLED and stamp - self._looks[0] > MISSING

    def _on_objects(self, message: ReconstructedObjects) -> None:
        found = self.findings
        found.messages += 1
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if stamp < self._newest - 10**9:
            self.reset()
        self._newest = stamp
        self._ids = [item.id for item in message.objects]
        named = self._named(message)
        for number, name in named.items():
            found.names.setdefault(number, Counter())[name] += 1
        # Requests wait for each other: a clear may take effect long after it was asked for, until it is answered.
        clearing = any(kind == "clear" for kind, _ in self._pending.values())
        resetting = clearing or time.monotonic() - self._reset_at < RESET_GRACE
        for number, name in named.items():
            if name in STAYING:
                before = found.staying.setdefault(name, number)
                if resetting:
                    found.staying[name] = number
                elif before != number:
                    found.faults.append(f"{name} was {before} and became {number} at {stamp * 1e-9:.2f}")
                    found.staying[name] = number
        if self._has_settled(stamp) and message.objects and not resetting and not message.waiting:
            found.settled += 1
            there, shown = sorted(self._world.objects_at(stamp)), sorted(named.values())
            if shown != there:
                found.wrong.append(f"at {stamp * 1e-9:.2f} {', '.join(there)} were there, and {', '.join(shown)} shown")

    def _named(self, message: ReconstructedObjects) -> dict[int, str]:
        """The true object that each of a message's objects stands for; without those that stand for none."""
        centres = {item.id: from_pose_msg(item.pose)[:3, 3] for item in message.objects}
        named = {}
        for number, centre in centres.items():
            distances = {name: float(np.linalg.norm(centre - true)) for name, true in self._centres.items()}
            name = min(distances, key=lambda one: distances[one])
            if distances[name] < NEAR:
                named[number] = name
        return named

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for values in read_accounts(message):
            self.findings.account, self.findings.accounts = values, self.findings.accounts + 1
            dropped = sum(int(value) for key, value in values.items() if key.startswith("dropped: "))
            left = int(values["received"]) - int(values["published"]) - dropped - int(values["waiting"])
            if left or not 0 <= int(values["waiting"]) <= 3:
                self.findings.faults.append(f"{left} clouds not accounted for, {values['waiting']} waiting: {values}")
            if values["dropped: internal error"] != "0":
                self.findings.faults.append(f"internal error: {values['last error']}")

    # -- what is asked ------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Ask for one thing more, chosen at random, without waiting for the answer; and look after those under way."""
        self._look_after_answers()
        if len(self._pending) < 5:
            chosen = self._random.choices(
                (
                    self._ask_parameters,
                    self._ask_reconstruct,
                    self._ask_occupancy,
                    self._ask_save,
                    self._ask_action,
                    self._ask_clear,
                    self._ask_pause,
                ),
                weights=(6, 5, 6, 3, 3, 0.4, 0.6),
            )
            chosen[0]()

    def _expect(self, kind: str, future: Any) -> None:
        self._pending[future] = (kind, time.monotonic())

    def _look_after_answers(self) -> None:
        for future, (kind, since) in list(self._pending.items()):
            if future.done():
                self.findings.requests[kind] += 1
                self.findings.longest[kind] = max(self.findings.longest.get(kind, 0.0), time.monotonic() - since)
                if kind == "clear":
                    self.reset()
                del self._pending[future]
            elif time.monotonic() - since > ANSWER_TIMEOUT:
                self.findings.faults.append(f"no answer to {kind} within {ANSWER_TIMEOUT} s")
                del self._pending[future]

    def pending(self) -> int:
        """Requests that wait for their answer."""
        self._look_after_answers()
        return len(self._pending)

    def _ask_parameters(self) -> None:
        name, fine, bad = self._random.choice(PARAMETERS)
        refuse = not fine or (bad and self._random.random() < 0.3)
        value = self._random.choice(bad if refuse else fine)
        future = self._set_parameters.call_async(
            SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        )
        self._expect("set_parameters", future)

        def check(answered: Any) -> None:
            if answered.result().results[0].successful == refuse and self.state == "active":
                self.findings.faults.append(f"{name} = {value} was {'accepted' if refuse else 'refused'}")

        future.add_done_callback(check)

    @property
    def state(self) -> str:
        """Lifecycle state by the newest diagnostics."""
        return self.findings.account.get("state", "")

    def _ask_reconstruct(self) -> None:
        request = srv.Reconstruct.Request(timeout=2.0)
        if self._random.random() < 0.3:
            request.use_region = True
            request.region_min, request.region_max = Point(x=-0.5, y=-0.5, z=0.2), Point(x=0.1, y=0.5, z=2.0)
        self._expect("reconstruct", self._reconstruct.call_async(request))

    def _ask_occupancy(self) -> None:
        points = [
            self._random.uniform(-0.5, 0.5) + (0.7 if axis == 2 else 0.0) for _ in range(200) for axis in range(3)
        ]
        ids = self._random.sample(self._ids, min(1, len(self._ids))) if self._random.random() < 0.5 else []
        self._expect("query_occupancy", self._occupancy.call_async(srv.QueryOccupancy.Request(points=points, ids=ids)))

    def _ask_save(self) -> None:
        directory = str(self._folder / "meshes") if self._random.random() < 0.8 else "not absolute"
        file_format = self._random.choice(("ply", "stl", "obj", "glb"))
        request = srv.SaveMeshes.Request(directory=directory, format=file_format)
        self._expect("save_meshes", self._save.call_async(request))

    def _ask_action(self) -> None:
        wait = self._random.random() < 0.5  # for a cloud that will not come: to be cancelled
        goal = action.Reconstruct.Goal(timeout=30.0)
        goal.not_before.sec = 2**31 - 1 if wait else 0
        future = self._action.send_goal_async(goal)

        def on_accepted(answered: Any) -> None:
            handle = answered.result()
            if not handle.accepted:
                return
            self._expect("action", handle.get_result_async())
            if wait:
                handle.cancel_goal_async()

        future.add_done_callback(on_accepted)

    def _ask_clear(self) -> None:
        self._expect("clear", self._clear.call_async(Trigger.Request()))

    def _ask_pause(self) -> None:
        """Deactivate, and activate again."""
        future = self._change_state.call_async(ChangeState.Request(transition=Transition(label="deactivate")))
        self._expect("deactivate", future)
        future.add_done_callback(
            lambda _: self._expect(
                "activate",
                self._change_state.call_async(ChangeState.Request(transition=Transition(label="activate"))),
            )
        )
