// How the training kernel spreads the rows of a matrix over threads.
#ifndef SHIFTADD_KERNELS_CPU_SHARE_ROWS_H_
#define SHIFTADD_KERNELS_CPU_SHARE_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#include "common/rounding.h"

namespace shiftadd {
namespace cpu {

// Calls work(begin, end) for equal shares of [0, rows), which are whole tiles except for the last
// one, and returns when all calls have. work must not throw. Each call starts its own threads,
// because each says how many it wants: a layer of a training step takes milliseconds, the start of
// a thread some ten microseconds.
template <typename Work>
void share_rows(std::int64_t rows, std::int64_t tile, int threads, const Work& work) {
  const std::int64_t tiles = divide_up(rows, tile);
  const std::int64_t workers = std::max<std::int64_t>(1, std::min<std::int64_t>(threads, tiles));
  const std::int64_t share = divide_up(tiles, workers) * tile;
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(workers));
  for (std::int64_t i = 1; i < workers; ++i) {
    const std::int64_t begin = i * share;
    if (begin >= rows) break;
    const std::int64_t end = std::min(rows, begin + share);
    try {
      pool.emplace_back([&work, begin, end] { work(begin, end); });
    } catch (const std::exception&) {  // no thread to be had: this one does the work
      work(begin, end);
    }
  }
  work(0, std::min(rows, share));
  for (std::thread& worker : pool) worker.join();
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_SHARE_ROWS_H_
