"""The reconstruction node, and RViz if wanted.

ros2 launch onet_ros onet.launch.py points:=/camera/depth/color/points target_frame:=base_link rviz:=true
ros2 launch onet_ros onet.launch.py input:=depth depth_image:=/camera/depth/image_rect_raw \
    camera_info:=/camera/depth/camera_info
ros2 launch onet_ros onet.launch.py mode:=image image:=/camera/color/image_raw camera_info:=/camera/color/camera_info \
    mask:=/segmentation/mask target_frame:=base_link
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from onet_ros.resources import data_folder

# Launch arguments that stand for a parameter of the same name; empty leaves it to the parameters file.
TEXTS = ("mode", "model", "device", "input", "target_frame")
SWITCHES = ("autostart", "use_mask", "use_depth", "continuous", "static_camera")
# Topics that the node listens to, by the names that it knows them under.
TOPICS = ("points", "octomap", "image", "depth_image", "camera_info", "mask")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes are made when their values are known."""
    config = data_folder("config")
    arguments = [
        ("namespace", "", "Namespace of the node and its topics, such as robot1"),
        ("points", "points", "Topic of the clouds (sensor_msgs/PointCloud2)"),
        ("octomap", "octomap", "Topic of maps (octomap_msgs/Octomap), for mode:=voxels input:=octomap"),
        ("image", "image", "Topic of pictures (sensor_msgs/Image), for mode:=image"),
        (
            "depth_image",
            "depth_image",
            "Topic of depth images (sensor_msgs/Image), input:=depth, use_depth:=true",
        ),
        (
            "camera_info",
            "camera_info",
            "Topic of their camera (sensor_msgs/CameraInfo), for mode:=image, input:=depth",
        ),
        ("mask", "mask", "Topic of instance masks (sensor_msgs/Image), for use_mask:=true and mode:=image"),
        ("params_file", str(config / "onet.yaml"), "YAML file with parameters; needs only those that differ"),
        ("mode", "", "points, image or voxels: what to complete objects from; empty: as in the parameters file"),
        ("model", "", "Checkpoint folder; empty: as in the parameters file"),
        ("device", "", "torch device such as cpu or cuda; empty: as in the parameters file"),
        ("input", "", "cloud, depth or octomap: what to work on; empty: as in the parameters file"),
        ("target_frame", "", "Frame of the objects, z up, found with tf2; empty: as in the parameters file"),
        ("autostart", "", "false: a lifecycle manager configures the node; empty: as in the parameters file"),
        ("use_mask", "", "true: take the objects from masks; empty: as in the parameters file"),
        ("use_depth", "", "true: scale what pictures show by depth images; empty: as in the parameters file"),
        ("continuous", "", "false: work only when ~/reconstruct asks; empty: as in the parameters file"),
        ("static_camera", "", "true: the camera never moves; empty: as in the parameters file"),
        ("use_sim_time", "false", "Take the time from /clock: for simulators and bags"),
        ("namespaced_tf", "false", "Take transforms from tf and tf_static in the namespace, not from /tf"),
        ("respawn", "false", "Start the node again when it ends"),
        ("log_level", "info", "debug, info, warn, error or fatal"),
        ("rviz", "false", "Start RViz with clouds, meshes and labels"),
        (
            "rviz_config",
            "",
            "Configuration of RViz; empty: one that looks along the camera, or down at the target frame",
        ),
        ("rviz_fixed_frame", "", "Fixed frame of RViz; empty: the target frame, else the camera's"),
        ("camera_frame", "camera_depth_optical_frame", "Frame of the camera, for RViz only"),
    ]
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[Node]:
    """The nodes for the values that the arguments have now."""

    def value(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    overrides = {name: value(name) for name in TEXTS if value(name)}
    overrides.update({name: is_true(name, value(name)) for name in SWITCHES if value(name)})
    overrides["use_sim_time"] = is_true("use_sim_time", value("use_sim_time"))
    remappings = [(name, LaunchConfiguration(name)) for name in TOPICS]
    if is_true("namespaced_tf", value("namespaced_tf")):
        remappings += [("/tf", "tf"), ("/tf_static", "tf_static")]
    onet = Node(
        package="onet_ros",
        executable="onet_node",
        name="onet",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), overrides],
        remappings=remappings,
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        respawn=is_true("respawn", value("respawn")),
        respawn_delay=2.0,
        output="screen",
        emulate_tty=True,
    )
    view = "onet_target_frame.rviz" if value("target_frame") else "onet.rviz"
    fixed_frame = value("rviz_fixed_frame") or value("target_frame") or value("camera_frame")
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=LaunchConfiguration("namespace"),
        parameters=[{"use_sim_time": overrides["use_sim_time"]}],
        remappings=remappings,
        arguments=[
            *("--display-config", value("rviz_config") or str(data_folder("config") / view)),
            *("--fixed-frame", fixed_frame),
        ],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [onet, rviz]


def is_true(name: str, text: str) -> bool:
    """A switch as a boolean; raises ValueError for what is neither."""
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError(f"{name} must be true or false, got {text!r}")
