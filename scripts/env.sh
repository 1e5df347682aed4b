# Where tests find their tools. Sourced by the scripts beside it; nothing of this lies in the source tree.
windrow_cache=${XDG_CACHE_HOME:-$HOME/.cache}/windrow
windrow_tools=$windrow_cache/tools
windrow_venv=$windrow_cache/venv
export WINDROW_TEST_PYTHON=${WINDROW_TEST_PYTHON:-$windrow_venv/bin/python}
export PATH=$PATH:$windrow_tools/bin
