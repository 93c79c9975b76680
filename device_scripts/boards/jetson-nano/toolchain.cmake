# CMake toolchain for the Jetson Nano: a Cortex-A57, and Ubuntu 18.04's glibc 2.27.
#
# The compiler is the Clang of the PyPI package ziglang, which has the C library's stubs for every
# glibc and a C++ library of its own that is linked in: no sysroot and no cross-compiler package is
# needed, and the result runs on the board's own libraries. ZIG_PYTHON, from the environment, is the
# interpreter that has the package.
# slow_paired_128: a Cortex-A57 needs three micro-operations to load two 128-bit registers at once,
# one more than for two loads, and issues three a cycle (llvm-mca; see `make bench-a57`).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

if(NOT DEFINED ENV{ZIG_PYTHON})
  message(FATAL_ERROR "set ZIG_PYTHON, in the environment, to an interpreter that has ziglang")
endif()
set(CMAKE_CXX_COMPILER "$ENV{ZIG_PYTHON}")
set(CMAKE_CXX_COMPILER_ARG1
  "-m ziglang c++ -target aarch64-linux-gnu.2.27 -mcpu=cortex_a57+slow_paired_128")
# Links against the system's unwinder (plugins/cmake/libgcc_s.cpp).
set(SHIFTADD_SYSTEM_UNWINDER ON)
set(CMAKE_CXX_ARCHIVE_CREATE "\"$ENV{ZIG_PYTHON}\" -m ziglang ar qcs <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")
# The C++ library comes with debugging symbols, ten times the size of all else.
set(SHIFTADD_STRIP ON)
