#include "common/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

namespace shiftadd {
namespace cpu {
namespace {

constexpr long kMostThreads = 256;

class ThreadPool {
 public:
  void run(size_t helpers, size_t count, void (*body)(void*, size_t), void* data) {
    std::unique_lock<std::mutex> turn(turn_, std::defer_lock);
    if (helpers == 0 || !turn.try_lock() || !grow(helpers)) {
      if (turn.owns_lock()) turn.unlock();
      for (size_t i = 0; i < count; ++i) body(data, i);
      return;
    }
    const Work work{body, data, count};
    {
      std::lock_guard<std::mutex> lock(state_);
      work_ = work;
      next_ = 0;
      places_ = helpers;
      ++round_;
    }
    wake_.notify_all();
    take_turns(work);
    // From here on no worker joins the round, because it has no work left; the last one to leave
    // reports that it is done.
    std::unique_lock<std::mutex> lock(state_);
    work_.count = 0;
    done_.wait(lock, [this] { return active_ == 0; });
  }

 private:
  struct Work {
    void (*body)(void*, size_t);
    void* data;
    size_t count;
  };

  // Answers whether there are any workers. Where the system has no more threads, or no memory for
  // them, the pool stays smaller but works.
  bool grow(size_t workers) {
    try {
      for (; workers_ < workers; ++workers_) std::thread(&ThreadPool::serve, this).detach();
    } catch (const std::exception&) {
    }
    return workers_ != 0;
  }

  void take_turns(const Work& work) {
    for (size_t i = next_++; i < work.count; i = next_++) work.body(work.data, i);
  }

  void serve() {
    size_t seen = 0;
    std::unique_lock<std::mutex> lock(state_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != seen && work_.count != 0 && places_ != 0; });
      seen = round_;
      --places_;
      ++active_;
      const Work work = work_;
      lock.unlock();
      take_turns(work);
      lock.lock();
      if (--active_ == 0) done_.notify_one();
    }
  }

  std::mutex turn_;   // held by the caller whose work the pool does
  std::mutex state_;  // guards what follows, but for next_
  std::condition_variable wake_, done_;
  Work work_ = {nullptr, nullptr, 0};
  size_t round_ = 0;
  size_t active_ = 0;
  size_t places_ = 0;   // for workers that have not joined the round yet
  size_t workers_ = 0;  // guarded by turn_
  std::atomic<size_t> next_{0};
};

}  // namespace

size_t wanted_threads() {
  const char* wanted = std::getenv("SHIFTADD_NUM_THREADS");
  const long number = wanted ? std::strtol(wanted, nullptr, 10) : 0;
  if (number > 0) return static_cast<size_t>(std::min(number, kMostThreads));
  return std::max(1u, std::thread::hardware_concurrency());
}

void ProcessThreads::run(size_t count, void (*body)(void*, size_t), void* data) {
  // The pool is never destroyed, because its threads may be asleep in it when the process ends.
  static ThreadPool* pool = new ThreadPool;
  pool->run(threads_ - 1, count, body, data);
}

}  // namespace cpu
}  // namespace shiftadd
