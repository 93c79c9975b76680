# Builds libshiftadd_tensorrt.so: the CUDA kernels and their binding to TensorRT 8 to 11.
#   cmake ../../plugins -DSHIFTADD_TENSORRT=ON -DSHIFTADD_ONNXRUNTIME=OFF
# On a Jetson everything is found; elsewhere TENSORRT_ROOT names an unpacked TensorRT.
option(SHIFTADD_TENSORRT_HEADERS_ONLY
  "Build without libnvinfer, which the process that loads the library then has to have" OFF)
set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}" CACHE PATH "Folder with TensorRT's include and lib")

find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h
  HINTS ${TENSORRT_ROOT} PATH_SUFFIXES include DOC "Folder of NvInferRuntime.h, TensorRT 8 to 11")
if(NOT TENSORRT_INCLUDE_DIR)
  message(FATAL_ERROR "NvInferRuntime.h not found: set TENSORRT_ROOT to the folder with TensorRT's "
    "include and lib, or TENSORRT_INCLUDE_DIR to the headers' own")
endif()
find_library(TENSORRT_LIBRARY nvinfer
  HINTS ${TENSORRT_ROOT} PATH_SUFFIXES lib lib64 DOC "libnvinfer.so of the same TensorRT")
if(NOT TENSORRT_LIBRARY)
  if(NOT SHIFTADD_TENSORRT_HEADERS_ONLY)
    message(FATAL_ERROR "libnvinfer.so not found: set TENSORRT_LIBRARY to it, or "
      "SHIFTADD_TENSORRT_HEADERS_ONLY=ON for a library that does not load it")
  endif()
  message(WARNING "libnvinfer.so not found: the library will register itself, and log to TensorRT, "
    "only where the process has loaded libnvinfer globally")
endif()

# A Jetson's nvcc is not on PATH.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(CMAKE_CUDA_COMPILER nvcc PATHS /usr/local/cuda/bin)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "nvcc not found: set CMAKE_CUDA_COMPILER to it")
  endif()
endif()
# CMake's own architectures, from 3.18 on, make room for SHIFTADD_CUDA_ARCHS.
set(CMAKE_CUDA_ARCHITECTURES OFF)
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 14)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)

# Jetsons (Nano 53, TX2 62, Xavier 72, Orin 87) and desktops, as far as the compiler knows them.
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 11.4)
  set(known_archs 53 62 72)
elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
  set(known_archs 53 62 72 75 80 86 87)
else()
  set(known_archs 75 80 86 87 90)
endif()
set(SHIFTADD_CUDA_ARCHS "${known_archs}" CACHE STRING
  "Compute capabilities to build for, rising; newer GPUs get PTX of the last")
set(gencode "")
foreach(arch ${SHIFTADD_CUDA_ARCHS})
  set(gencode "${gencode} -gencode arch=compute_${arch},code=sm_${arch}")
  set(newest ${arch})
endforeach()
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS}${gencode} \
-gencode arch=compute_${newest},code=compute_${newest} -Wno-deprecated-gpu-targets")

add_library(shiftadd_tensorrt SHARED
  kernels/cuda/convolution.cu
  kernels/cuda/plan.cu
  tensorrt/blob.cpp
  tensorrt/conv_core.cpp
  tensorrt/fields.cpp
  tensorrt/logger.cpp
  tensorrt/plugin_v2.cpp
  tensorrt/plugin_v3.cpp
  tensorrt/register.cpp
  tensorrt/shapes.cpp)
target_include_directories(shiftadd_tensorrt PRIVATE include kernels/cuda)
target_include_directories(shiftadd_tensorrt SYSTEM PRIVATE
  ${TENSORRT_INCLUDE_DIR} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
# No errors of nvcc's warnings: the host compiler sees what nvcc wrote, too.
target_compile_options(shiftadd_tensorrt PRIVATE
  "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>"
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
# All that is used of libnvinfer is weak, which does not count as needed.
if(TENSORRT_LIBRARY)
  target_link_libraries(shiftadd_tensorrt PRIVATE -Wl,--no-as-needed ${TENSORRT_LIBRARY})
endif()
# nodelete: TensorRT's registry keeps pointers to the creators.
set_target_properties(shiftadd_tensorrt PROPERTIES
  LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/exports_tensorrt.map
  LINK_FLAGS "-Wl,-z,nodelete -Wl,--no-undefined \
-Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/exports_tensorrt.map")
