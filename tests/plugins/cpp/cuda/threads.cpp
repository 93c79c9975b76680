// The threads of a block as threads, for the thread sanitizer: it names the two lines of a race.
#include <pthread.h>

#include <atomic>
#include <thread>
#include <vector>

#include "host_launch.h"

namespace cuda_host {
namespace {

pthread_barrier_t meeting;
std::atomic<int> arrived_predicate{0};

}  // namespace

int barrier(int predicate) {
  if (predicate != 0) arrived_predicate = 1;
  pthread_barrier_wait(&meeting);
  const int any = arrived_predicate;
  // Nobody begins the next one before all have read this one's.
  pthread_barrier_wait(&meeting);
  arrived_predicate = 0;
  pthread_barrier_wait(&meeting);
  return any;
}

void run_block(unsigned number, unsigned threads, const std::function<void()>& thread) {
  pthread_barrier_init(&meeting, nullptr, threads);
  std::vector<std::thread> all;
  for (unsigned i = 0; i < threads; ++i) {
    all.emplace_back([&, i] {
      coordinates() = {{i}, {number}};
      thread();
    });
  }
  for (std::thread& one : all) one.join();
  pthread_barrier_destroy(&meeting);
}

}  // namespace cuda_host
