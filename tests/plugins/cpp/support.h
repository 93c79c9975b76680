// What the C++ test programs share: counting checks; drawing, naming and walking convolutions.
#ifndef SHIFTADD_TESTS_CPP_SUPPORT_H_
#define SHIFTADD_TESTS_CPP_SUPPORT_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "shiftadd/convolution.h"

namespace shiftadd {
namespace test {

struct Counts {
  int checks = 0;
  int failures = 0;
};

inline Counts& counts() {
  static Counts counts;
  return counts;
}

// Prints `what` unless the condition holds.
inline void expect(bool condition, const std::string& what) {
  ++counts().checks;
  if (condition) return;
  ++counts().failures;
  std::printf("FAILED: %s\n", what.c_str());
}

// Prints the last line, which the Python tests read; the program's exit status.
inline int report(unsigned seed) {
  std::printf("%d checks, %d failures, seed %u\n", counts().checks, counts().failures, seed);
  return counts().failures == 0 ? 0 : 1;
}

// A copy of an array that ends where its page does, with one behind that nobody may touch: what
// sanitizers do not see, a masked load or another processor's code, ends there, too.
template <typename T>
class Guarded {
 public:
  explicit Guarded(const std::vector<T>& values) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = values.size() * sizeof(T);
    const size_t inside = (bytes + page - 1) / page * page;
    size_ = inside + page;
    pages_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages_ == MAP_FAILED || mprotect(pages_ + inside, page, PROT_NONE) != 0) {
      std::perror("guard page");
      std::abort();
    }
    data_ = reinterpret_cast<T*>(pages_ + inside - bytes);
    if (bytes != 0) std::memcpy(data_, values.data(), bytes);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(pages_, size_); }

  T* data() const { return data_; }

 private:
  char* pages_;
  size_t size_;
  T* data_;
};

inline std::string describe(OperatorKind kind, const ConvGeometry& g) {
  return std::string(operator_name(kind)) + " X " +
         detail::text({g.batch, g.channels, g.height, g.width}) + " kernel " +
         detail::text({g.kernel_height, g.kernel_width}) + " to " +
         detail::text({g.out_channels, g.out_height, g.out_width}) + " group " +
         detail::text(g.group) + " strides " + detail::text({g.stride_height, g.stride_width}) +
         " dilations " + detail::text({g.dilation_height, g.dilation_width});
}

inline int64_t draw(std::mt19937& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

// The largest sizes that draw_geometry draws.
struct Sizes {
  int64_t depthwise_groups;
  int64_t group_channels, group_rows;            // usually
  int64_t deep_channels_from, deep_channels_to;  // now and then, to take a sum in several blocks
  int64_t deep_rows;                             // and channels in several tasks
  int64_t extent, deep_extent, wide_extent;      // beyond what one output needs
};

// Any convolution: dense, grouped or depthwise, pointwise or not, of any stride, padding, dilation.
// Its attributes, without those of an operator, go to *drawn where that is given.
inline ConvGeometry draw_geometry(std::mt19937& random, const Sizes& sizes,
                                  ConvAttributes* drawn = nullptr) {
  const auto one_in = [&](int64_t count) { return draw(random, 1, count) == 1; };
  ConvAttributes a;
  a.kernel_shape = {draw(random, 1, 4), draw(random, 1, 5)};
  if (one_in(3)) a.kernel_shape = {1, 1};
  a.dilations = {draw(random, 1, 2), draw(random, 1, 3)};
  a.strides = {one_in(3) ? draw(random, 2, 3) : 1, one_in(3) ? draw(random, 2, 4) : 1};
  a.pads.assign(4, 0);
  if (one_in(2)) {
    for (int64_t& pad : a.pads) pad = draw(random, 0, 3);
  }
  const bool depthwise = one_in(3);
  const bool deep = !depthwise && one_in(6);
  const bool wide = !deep && one_in(10);
  a.group = depthwise           ? draw(random, 1, sizes.depthwise_groups)
            : deep || one_in(2) ? 1
                                : draw(random, 2, 5);
  int64_t channels = depthwise ? 1
                     : deep    ? draw(random, sizes.deep_channels_from, sizes.deep_channels_to)
                               : draw(random, 1, sizes.group_channels);
  if (!depthwise && one_in(2)) channels = (channels + 7) / 8 * 8;
  const int64_t rows = draw(random, 1, depthwise ? 2 : deep ? sizes.deep_rows : sizes.group_rows);
  const bool position = one_in(8);  // a window as large as the image, or its holes in the padding
  if (position) {
    if (one_in(2)) a.dilations = {1, 1};
    a.pads.assign(4, 0);
    for (size_t axis = 0; axis < 2; ++axis) {
      a.pads[axis + 2] = (a.dilations[axis] - 1) * (a.kernel_shape[axis] - 1);
    }
  }
  const auto extent = [&](size_t axis) {
    const int64_t window = a.dilations[axis] * (a.kernel_shape[axis] - 1) + 1;
    if (position) return window - a.pads[axis + 2];
    const int64_t least = std::max<int64_t>(window - a.pads[axis] - a.pads[axis + 2], 0);
    if (one_in(2)) return least;
    return least + draw(random, 0,
                        wide   ? sizes.wide_extent
                        : deep ? sizes.deep_extent
                               : sizes.extent);
  };
  if (drawn != nullptr) *drawn = a;
  return resolve_geometry(OperatorKind::kAdderConv, "case", a,
                          {draw(random, 0, 3), a.group * channels, extent(0), extent(1)},
                          {a.group * rows, channels, a.kernel_shape[0], a.kernel_shape[1]});
}

// A geometry to pack weights for: of the case's only what packing may know, as one packed
// convolution runs images of any size.
inline ConvGeometry packing_geometry(const ConvGeometry& g) {
  ConvGeometry packing = g;
  packing.batch = 0;
  packing.height = packing.width = 1;
  packing.out_height = packing.out_width = 7;
  packing.stride_height = packing.stride_width = 2;
  packing.pad_top = packing.pad_left = 1;
  return packing;
}

// Calls visit(x index, w index) for the terms of output (n, m, i, j), in NCHW; x is -1 in padding.
template <typename Visit>
void for_each_term(const ConvGeometry& g, int64_t n, int64_t m, int64_t i, int64_t j,
                   const Visit& visit) {
  const int64_t taps = g.kernel_height * g.kernel_width;
  for (int64_t term = 0; term < g.terms; ++term) {
    const int64_t tap = term % taps;
    const int64_t channel = m / g.group_out_channels * g.group_channels + term / taps;
    const int64_t row = i * g.stride_height - g.pad_top + tap / g.kernel_width * g.dilation_height;
    const int64_t column =
        j * g.stride_width - g.pad_left + tap % g.kernel_width * g.dilation_width;
    const bool inside = row >= 0 && row < g.height && column >= 0 && column < g.width;
    const int64_t x = ((n * g.channels + channel) * g.height + row) * g.width + column;
    visit(inside ? x : -1, m * g.terms + term);
  }
}

}  // namespace test
}  // namespace shiftadd

#endif  // SHIFTADD_TESTS_CPP_SUPPORT_H_
