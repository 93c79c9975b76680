// A node's packed weights, packed again only when they have changed.
#ifndef SHIFTADD_ONNXRUNTIME_WEIGHT_CACHE_H_
#define SHIFTADD_ONNXRUNTIME_WEIGHT_CACHE_H_

#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "shiftadd/convolution.h"

namespace shiftadd {
namespace ort {

// Packed for a number of input channels, from which the number of terms follows (a short row of
// codes alone does not tell it). Where W is known to be an initializer it is packed once and for
// all. Below API 15 nothing says whether it is: then the bytes that were packed are kept and
// compared at every run, since neither a pointer nor a shape tells whether an allocator handed the
// same memory out with new contents.
template <typename Convolution>
class WeightCache {
 public:
  // The weights of `geometry` from the `bytes` bytes at `w`, by pack() where the last ones are of
  // others. Any number of threads may call it at once. Throws what pack() throws.
  template <typename Pack>
  std::shared_ptr<const Convolution> get(const ConvGeometry& geometry, const void* w, size_t bytes,
                                         bool constant, const Pack& pack) {
    std::lock_guard<std::mutex> lock(packing_);
    bool current = packed_ != nullptr && channels_ == geometry.channels;
    if (current && !constant) {
      current = source_.size() == bytes && std::memcmp(source_.data(), w, bytes) == 0;
    }
    if (!current) {
      std::shared_ptr<const Convolution> fresh = std::make_shared<const Convolution>(pack());
      const char* begin = static_cast<const char*>(w);
      if (!constant) source_.assign(begin, begin + bytes);
      packed_ = std::move(fresh);
      channels_ = geometry.channels;
    }
    return packed_;
  }

 private:
  std::mutex packing_;
  std::shared_ptr<const Convolution> packed_;
  int64_t channels_ = 0;
  std::vector<char> source_;  // empty where W is an initializer
};

}  // namespace ort
}  // namespace shiftadd

#endif  // SHIFTADD_ONNXRUNTIME_WEIGHT_CACHE_H_
