# shellcheck shell=bash
# What the scripts have to know of the Jetson Nano and of the systems that it runs. A bundle has the
# folder of its own board only; this file is read by lib/common.sh.

# Read by the scripts that source this file.
# shellcheck disable=SC2034
{
  board_title='Jetson Nano'
  # The systems that the bundle is made for, for the messages.
  board_system='JetPack 4.6'
  board_releases='L4T 32.6 or 32.7'
  board_multiarch=aarch64-linux-gnu
  # The oldest TensorRT that the plugins are for, and the first system that has it: JetPack 4.6
  # (L4T 32.6.1) has TensorRT 8.0.1.
  tensorrt_least=8.2
  tensorrt_system='JetPack 4.6.1 (L4T 32.7.1)'

  # MiB of disk that an installation takes: without CUDA, with it, and where it is there already.
  disk_cpu_mib=400
  disk_gpu_mib=1000
  disk_again_mib=50
  # MiB of memory and swap that PyCUDA and TensorRT's builder want, and of swap that is made for them.
  build_memory_mib=3072
  swap_mib=4096
  # MiB that one compiler of the plugins takes.
  compiler_mib=1200
}

# is_supported L4T: whether the bundle is made for this release.
is_supported() {
  [[ $1 == 32.6.* || $1 == 32.7.* ]]
}

# jetpack_of L4T: the JetPack that has this release. Others than the supported ones can be tried.
jetpack_of() {
  case $1 in
    32.6.1) echo 4.6 ;;
    32.7.[1-6]) echo "4.6.${1##*.}" ;;
    32.*) echo "4" ;;
    34.* | 35.*) echo "5" ;;
    36.*) echo "6" ;;
    38.*) echo "7" ;;
    *) ;;
  esac
}

# compute_capability CHIPS: that of the GPU, without its point, by the device tree's names of the
# chip. The bundle runs on other Jetsons too, where it is not tried.
compute_capability() {
  case $1 in
    *tegra210*) echo 53 ;;
    *tegra186*) echo 62 ;;
    *tegra194*) echo 72 ;;
    *tegra234*) echo 87 ;;
    *) ;;
  esac
}

# pins GROUP PYTHON: the Python packages of GROUP, which is tools (pip's own), cpu or gpu, for PYTHON,
# such as "3.6". Those that a package asks for are included, so that pip has nothing to choose. Each
# has a wheel for aarch64, PyCUDA and pytools excepted. Prints nothing for a Python without pins.
pins() {
  case $1-$2 in
    # The last that support Python 3.6.
    tools-3.6) echo pip==21.3.1 setuptools==59.6.0 wheel==0.37.1 ;;
    cpu-3.6) echo numpy==1.19.5 Pillow==8.4.0 onnxruntime==1.10.0 flatbuffers==2.0.7 protobuf==3.19.6 ;;
    gpu-3.6) echo pycuda==2022.1 pytools==2022.1.12 Mako==1.1.6 MarkupSafe==2.0.1 appdirs==1.4.4 \
      platformdirs==2.4.0 dataclasses==0.8 typing-extensions==4.1.1 ;;
    # JetPack 5 and 6.
    tools-3.8 | tools-3.10) echo pip==24.0 setuptools==69.5.1 wheel==0.43.0 ;;
    cpu-3.8 | cpu-3.10) echo numpy==1.24.4 Pillow==10.4.0 onnxruntime==1.16.3 flatbuffers==24.3.25 \
      protobuf==4.25.3 coloredlogs==15.0.1 humanfriendly==10.0 packaging==24.1 sympy==1.12 mpmath==1.3.0 ;;
    gpu-3.8 | gpu-3.10) echo pycuda==2024.1 pytools==2024.1.10 Mako==1.3.5 MarkupSafe==2.1.5 \
      appdirs==1.4.4 platformdirs==4.2.2 typing-extensions==4.12.2 ;;
    *) ;;
  esac
}
