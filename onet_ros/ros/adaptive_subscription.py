"""A subscription that takes what the publishers offer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from onet_ros.ros.packed_message import PackedMessage

CHECK_PERIOD = 0.5  # seconds between two looks at the publishers


class AdaptiveSubscription:
    """Keeps the newest messages only; reliable when every publisher is, best effort otherwise.

    Best effort matches every publisher, but one lost fragment loses the message: of a driver that has not more shared
    memory than Fast DDS gives it (see `large_messages`), most clouds of 6 MB. Reliable delivery loses none, but does
    not match a publisher that is best effort. So start with best effort, and follow the publishers as they come and go.

    Args:
        node: that subscribes.
        message_type: of the topic.
        topic: relative to the node's namespace, before remapping.
        on_message: called with each message.
        group: callbacks that may not run at the same time.
        depth: messages that wait at most, the newest ones.
        on_lost: called with the number of messages that the middleware has just lost on the way, where it tells.
        packed: messages come as `PackedMessage`; for large ones, of types that begin with a header.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        on_message: Callable[[Any], None],
        group: CallbackGroup,
        depth: int = 1,
        on_lost: Callable[[int], None] | None = None,
        packed: bool = False,
    ) -> None:
        self._node, self._message_type, self.topic = node, message_type, topic
        self._on_message, self._group, self._depth, self._packed = on_message, group, depth, packed
        self._events = None

        def tell_lost(event: Any) -> None:
            if on_lost is not None:
                on_lost(event.total_count_change)

        if on_lost is not None:
            self._events = SubscriptionEventCallbacks(message_lost=tell_lost)
        self._reliability = ReliabilityPolicy.BEST_EFFORT
        self._subscription: Any = None
        self._follow_publishers()
        if self._subscription is None:
            self._subscription = self._subscribe()
        # Real time: with use_sim_time a bag that stands still would stop the timer too.
        self._timer = node.create_timer(
            CHECK_PERIOD, self._follow_publishers, group, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def close(self) -> None:
        """Listen no more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Any:
        qos = QoSProfile(depth=self._depth, history=HistoryPolicy.KEEP_LAST, reliability=self._reliability)
        return self._node.create_subscription(
            self._message_type,
            self.topic,
            self._on_bytes if self._packed else self._on_message,
            qos,
            callback_group=self._group,
            event_callbacks=self._events,
            raw=self._packed,
        )

    def _on_bytes(self, data: bytes) -> None:
        self._on_message(PackedMessage.of(self._message_type, data))

    def _follow_publishers(self) -> None:
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self.topic))
        offers = [publisher.qos_profile.reliability for publisher in publishers]
        if not offers:
            return
        all_reliable = all(offer == ReliabilityPolicy.RELIABLE for offer in offers)
        wanted = ReliabilityPolicy.RELIABLE if all_reliable else ReliabilityPolicy.BEST_EFFORT
        if wanted != self._reliability or self._subscription is None:
            self._reliability = wanted
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()
            manner = "reliably" if all_reliable else "with best effort"
            self._node.get_logger().info(f"messages on {self._node.resolve_topic_name(self.topic)} come {manner}")
