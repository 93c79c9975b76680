// The choice between the algorithms: register tiles over packed panels, depthwise rows, and the
// rows of a single position.
#include "float/convolution.h"

#include <cstring>

namespace shiftadd {
namespace cpu {
namespace {

// The depthwise kernels copy the whole dilated window, holes included, so its extent is limited.
// They add up its terms one after the other, so the number of terms is limited, too: float32's
// rounding error grows with it.
constexpr int64_t kLargestWindow = 1024;
constexpr int64_t kMostTerms = 1024;

// A group with one input channel and fewer outputs than a tile has rows would leave a tile nearly
// empty.
bool is_depthwise(const ConvGeometry& g, size_t tile_rows) {
  return g.group_channels == 1 && static_cast<size_t>(g.group_out_channels) < tile_rows &&
         g.terms <= kMostTerms && g.dilation_height * (g.kernel_height - 1) < kLargestWindow &&
         g.dilation_width * (g.kernel_width - 1) < kLargestWindow;
}

}  // namespace

Convolution::Convolution(OperatorKind kind, const MicroKernels& kernels,
                         const ConvGeometry& geometry, const float* weights)
    : kind_(kind), kernels_(kernels), depthwise_(is_depthwise(geometry, kernels.tile_rows)) {
  if (depthwise_) {
    const size_t count = static_cast<size_t>(geometry.out_channels * geometry.terms);
    weights_ = AlignedBuffer(count);
    std::memcpy(weights_.data(), weights, count * sizeof(float));
  } else {
    pack_panels(geometry, weights);
    if (is_shift(kind) && kernels.shift_rows != nullptr) pack_codes(geometry, weights);
  }
}

void Convolution::run(const ConvGeometry& geometry, const ConvTensors& tensors,
                      Activation activation, ParallelRunner& runner) const {
  if (geometry.batch == 0) return;
  if (is_dot_product(geometry)) {
    run_position(geometry, tensors, activation, runner);
  } else if (depthwise_) {
    run_depthwise(geometry, tensors, activation, runner);
  } else {
    run_tiles(geometry, tensors, activation, runner);
  }
}

}  // namespace cpu
}  // namespace shiftadd
