// How the training kernels spread the rows of a matrix over threads.
#ifndef SHIFTADD_KERNELS_CPU_SHARE_ROWS_H_
#define SHIFTADD_KERNELS_CPU_SHARE_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace shiftadd {
namespace cpu {

// How many threads `rows` are worth, at least one, where none is to get less than `tile` rows.
inline std::int64_t worker_count(std::int64_t rows, std::int64_t tile, int threads) {
  const std::int64_t tiles = (rows + tile - 1) / tile;
  return std::max<std::int64_t>(1, std::min<std::int64_t>(threads, tiles));
}

// Calls work(worker, begin, end) for equal shares of [0, rows), multiples of `tile`, and returns when
// all have. work must not throw. Threads are started a call: a training step's layer takes
// milliseconds, a start some ten microseconds.
template <typename Work>
void share_rows(std::int64_t rows, std::int64_t tile, std::int64_t workers, const Work& work) {
  const std::int64_t tiles = (rows + tile - 1) / tile;
  const std::int64_t share = (tiles + workers - 1) / workers * tile;
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(workers));
  for (std::int64_t i = 1; i < workers; ++i) {
    const std::int64_t begin = std::min(rows, i * share);
    const std::int64_t end = std::min(rows, begin + share);
    try {
      pool.emplace_back([&work, i, begin, end] { work(i, begin, end); });
    } catch (const std::exception&) {  // no thread to be had: this one does the work
      work(i, begin, end);
    }
  }
  work(0, 0, std::min(rows, share));
  for (std::thread& worker : pool) worker.join();
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_SHARE_ROWS_H_
