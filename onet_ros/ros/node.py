"""The ROS node: what a depth camera sees in, completed meshes out.

A managed node (lifecycle): configuring loads the model and opens the topics, activating listens, deactivating pauses,
cleaning up gives everything back. By default it configures and activates itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import rclpy
import rclpy.logging
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from onet_ros.ros.diagnostics import Diagnostics
from onet_ros.ros.executor import InvalidHandle, NodeExecutor
from onet_ros.ros.large_messages import make_room_for_large_messages
from onet_ros.ros.memory import share_arenas
from onet_ros.ros.parameters import NodeParameters
from onet_ros.ros.pipeline import Pipeline
from onet_ros.ros.requests import RequestError, Requests
from onet_ros.ros.statistics import FrameStatistics, LimitedWarnings
from onet_ros.ros.time_jumps import ClockJumps

SPIN_TIMEOUT = 0.1  # seconds until a signal is noticed
STOP_TIMEOUT = 3.0  # seconds that what is in work is given at the end; launch gets impatient after 5
THREADS = 8  # each kind of request can wait in one, and the rest goes on

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class OnetNode(LifecycleNode):
    """Reconstructs what comes in; its topics, services and parameters are described in docs/interface.md."""

    def __init__(self, node_name: str = "onet", **arguments: Any) -> None:
        """Declare the parameters, offer the services; everything else waits until the node is configured.

        Args:
            node_name: its name, where none is given on the command line.
            arguments: of `rclpy.node.Node`.

        Raises:
            ParameterError: a parameter that may not be.
        """
        super().__init__(node_name, **arguments)
        self.parameters = NodeParameters(self)
        self.statistics = FrameStatistics(LimitedWarnings(self.get_logger().warning))
        self._pipeline: Pipeline | None = None
        self._failure = ""
        self._requests = Requests(self, self.parameters, self.statistics, self._configured_pipeline)
        self._diagnostics = Diagnostics(
            self, self.statistics, self.parameters.node.diagnostics_period, self._describe_state
        )
        self._clock_jumps = ClockJumps(self, self._on_clock_jump)
        _answer_impossible_transitions(self._service_change_state, self.get_logger().warning)

    @property
    def state(self) -> str:
        """Name of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def start(self) -> bool:
        """Configure and activate; False where one of the two failed, which was logged with the reason."""
        if self.trigger_configure() != SUCCESS:
            self.get_logger().error(
                f"mend the parameter and go on with: ros2 lifecycle set {self.get_fully_qualified_name()} configure"
            )
            return False
        return bool(self.trigger_activate() == SUCCESS)

    def close(self) -> bool:
        """Finish what is in work, take published objects back, say what was done; False if it took too long."""
        finished = True
        if self._pipeline is not None:
            finished = self._pipeline.close(STOP_TIMEOUT)
            self._pipeline = None
        self._requests.close()
        self._clock_jumps.close()
        published = self.statistics.snapshot().published
        self.get_logger().info(f"stopped: {published} frames reconstructed, {self.statistics}")
        return finished

    # -- transitions --------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, open the topics."""

        def configure() -> None:
            self._pipeline = Pipeline(self, self.parameters, self.statistics)
            self.parameters.configured = True

        return self._attempt("configure", configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen."""
        return self._attempt("activate", self._configured_pipeline().activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Pause: what is known and published stays."""
        return self._attempt("deactivate", self._configured_pipeline().deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take back what is published, release model and memory."""
        return self._attempt("clean up", self._give_back)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As `on_cleanup`, for good."""
        return self._attempt("shut down", self._give_back)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back, so that the node can be configured again."""
        return self._attempt("recover from an error", self._give_back)

    def _give_back(self) -> None:
        if self._pipeline is not None and not self._pipeline.close(STOP_TIMEOUT):
            raise RuntimeError(f"a cloud has been in work for more than {STOP_TIMEOUT} s: try again")
        self._pipeline = None
        self.parameters.configured = False

    def _attempt(self, what: str, work: Callable[[], None]) -> TransitionCallbackReturn:
        """Do the work of a transition; one that fails leaves the node as it was, with the reason told and kept."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - rclpy would swallow it without a word
            self._failure = f"cannot {what}: {error}"
            self.get_logger().error(self._failure)
            return FAILURE
        self._failure = ""
        return SUCCESS

    # -- for the parts ------------------------------------------------------------------------------------------------

    def _configured_pipeline(self) -> Pipeline:
        if self._pipeline is None:
            raise RequestError(f"the node is {self.state}" + (f", it {self._failure}" if self._failure else ""))
        return self._pipeline

    def _describe_state(self) -> tuple[str, str, dict[str, str]]:
        settings, pipeline = self.parameters.node, self._pipeline
        facts = {
            "model": str(pipeline.model) if pipeline is not None else "",
            "device": settings.device,
            "target frame": settings.target_frame,
            "input": settings.input,
        }
        return self.state, self._failure, facts

    def _on_clock_jump(self, reason: str) -> None:
        if self._pipeline is not None:
            self._pipeline.time_jumped(reason)


def _answer_impossible_transitions(service: Any, warn: Callable[[str], Any]) -> None:
    """Let a request for a transition that the state does not allow be answered with "no".

    rclpy raises an exception out of the executor, which ends the node, and answers nothing.
    """
    answer = service.callback

    def callback(request: Any, response: Any) -> Any:
        try:
            return answer(request, response)
        except Exception as error:  # noqa: BLE001 - RCLError, which rclpy gives no public name
            warn(f"transition {request.transition.label or request.transition.id} is not possible now: {error}")
            response.success = False
            return response

    service.callback = callback


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status: 0, or 1 when it could not start."""
    share_arenas()
    make_room_for_large_messages()
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        # Our own handlers: with rclpy's the context is gone before the last messages can be sent.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = OnetNode()
    except (ValueError, RuntimeError, OSError, ParameterException) as error:
        rclpy.logging.get_logger("onet").fatal(f"cannot start: {error}")
        rclpy.try_shutdown()
        return 1
    executor = NodeExecutor(THREADS)
    executor.add_node(node)
    if node.parameters.node.autostart:
        node.start()
    while not stop.is_set() and node.state != "finalized":
        _spin_once(executor, node)
    node.close()
    executor.shutdown(1.0)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def run() -> NoReturn:
    """`main` as a process: when it is done, the process ends at once.

    A worker that is still busy cannot be ended, and tearing the interpreter down around it would crash. Without one,
    taking torch down needs longer on a busy machine than launch has patience.
    """
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _spin_once(executor: NodeExecutor, node: OnetNode) -> None:
    """Go on whatever a callback raised: a robot keeps its node."""
    try:
        executor.spin_once(SPIN_TIMEOUT)
    except InvalidHandle:
        pass  # a subscription went while it was to be waited for: what deactivating does, in another thread
    except Exception as error:  # noqa: BLE001 - counted, told, and shown in /diagnostics
        node.statistics.error(f"internal error in a callback: {error!r}")


if __name__ == "__main__":
    run()
