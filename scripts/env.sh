# The project's environment for bash, zsh and sh: the virtual environment, ROS, the messages built by `make messages`.
#     source scripts/env.sh
# Python then finds the code in the source tree first. Sourcing it twice does no harm.

case $- in *u*) _onet_nounset=1; set +u ;; *) _onet_nounset= ;; esac  # colcon's scripts use unset variables

if [ -n "${BASH_SOURCE:-}" ]; then
  _onet_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
elif [ -n "${ZSH_VERSION:-}" ]; then
  eval '_onet_root="$(cd "$(dirname "${(%):-%x}")/.." && pwd)"'  # hidden from shells that cannot parse it
else
  _onet_root="$(pwd)"  # sh does not tell a sourced file its own path: source it from the repository
fi

# A sourced ROS has its own virtual environment (see scripts/bootstrap.py).
if [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ]; then
  VIRTUAL_ENV="$_onet_root/.venv-$ROS_DISTRO"
else
  VIRTUAL_ENV="$_onet_root/.venv"
  if [ -d "$VIRTUAL_ENV/share/rclpy" ]; then
    AMENT_PREFIX_PATH="$VIRTUAL_ENV"
    LD_LIBRARY_PATH="$VIRTUAL_ENV/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export AMENT_PREFIX_PATH LD_LIBRARY_PATH
  fi
fi
export VIRTUAL_ENV
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH

for _onet_prefix in "$_onet_root/.cache/test_interfaces/install" "$_onet_root/install"; do
  if [ -f "$_onet_prefix/local_setup.sh" ]; then
    COLCON_CURRENT_PREFIX="$_onet_prefix"
    . "$_onet_prefix/local_setup.sh"
    unset COLCON_CURRENT_PREFIX
  fi
done

PYTHONPATH="$_onet_root${PYTHONPATH:+:$PYTHONPATH}"  # last, so that it comes first
export PYTHONPATH

if [ -n "$_onet_nounset" ]; then set -u; fi
unset _onet_root _onet_prefix _onet_nounset
