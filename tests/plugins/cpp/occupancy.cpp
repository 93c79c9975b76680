// NVIDIA's own occupancy calculator (cuda_occupancy.h). Reads lines of "capability, threads and
// registers and registers of a block and shared memory of a multiprocessor, reserved shared memory;
// threads, registers, shared memory of a kernel"; prints the warps that are resident for each.
#include <cuda_occupancy.h>

#include <cstdio>

int main() {
  cudaOccDeviceProp device;
  device.maxThreadsPerBlock = 1024;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 * 1024;
  device.numSms = 1;
  int capability, threads, registers, shared;
  while (std::scanf("%d %d %d %d %zu %zu %d %d %d", &capability,
                    &device.maxThreadsPerMultiprocessor, &device.regsPerMultiprocessor,
                    &device.regsPerBlock, &device.sharedMemPerMultiprocessor,
                    &device.reservedSharedMemPerBlock, &threads, &registers, &shared) == 9) {
    device.computeMajor = capability / 10;
    device.computeMinor = capability % 10;
    device.sharedMemPerBlockOptin = device.sharedMemPerBlock;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = shared;
    const cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0) !=
        CUDA_OCC_SUCCESS) {
      return 1;
    }
    std::printf("%d\n", result.activeBlocksPerMultiprocessor * ((threads + 31) / 32));
  }
  return 0;
}
