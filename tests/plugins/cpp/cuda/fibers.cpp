// The threads of a block as fibers of one thread. A barrier hands over to the next fiber, so a
// block is as fast as its work; run in descending order as well, a kernel that lacks a barrier
// shows a wrong result. Built with -U_FORTIFY_SOURCE, which refuses jumps between stacks.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "host_launch.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
inline void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
inline void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

namespace cuda_host {
namespace {

constexpr size_t kStackBytes = 256 * 1024;

void fail(const char* what) {
  std::printf("FAILED: %s\n", what);
  std::fflush(stdout);
  std::abort();
}

// A stack of execution that can be left and entered again.
struct Fiber {
  Fiber()
      : stack(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0)) {
    if (stack == MAP_FAILED) fail("no memory for a fiber's stack");
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() { munmap(stack, kStackBytes); }

  void* const stack;
  ucontext_t start;
  jmp_buf place;
  void* fake_stack = nullptr;  // the address sanitizer's
  bool started = false, finished = false;
};

class Block {
 public:
  void run(unsigned block, unsigned threads, const std::function<void()>& thread) {
    while (fibers_.size() < threads) fibers_.emplace_back(new Fiber);
    thread_ = &thread;
    coordinates().block.x = block;
    for (unsigned i = 0; i < threads; ++i) fibers_[i]->started = fibers_[i]->finished = false;
    size_t finished = 0;
    while (finished == 0) {
      arrived_predicate_ = 0;
      for (unsigned i = 0; i < threads; ++i) {
        enter(device().reversed ? threads - 1 - i : i);
        finished += current_->finished ? 1 : 0;
      }
      predicate_ = arrived_predicate_;
    }
    if (finished != threads) fail("some threads of a block left while others wait at a barrier");
  }

  int barrier(int predicate) {
    arrived_predicate_ |= predicate != 0 ? 1 : 0;
    leave(&current_->fake_stack);
    return predicate_;
  }

 private:
  void enter(unsigned index) {
    current_ = fibers_[index].get();
    coordinates().thread.x = index;
    if (_setjmp(scheduler_) == 0) {
      __sanitizer_start_switch_fiber(&scheduler_fake_stack_, current_->stack, kStackBytes);
      if (current_->started) _longjmp(current_->place, 1);
      current_->started = true;
      start();
    }
    __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
  }

  void start() {
    getcontext(&current_->start);
    current_->start.uc_stack.ss_sp = current_->stack;
    current_->start.uc_stack.ss_size = kStackBytes;
    current_->start.uc_link = nullptr;
    makecontext(&current_->start, &Block::first_steps, 0);
    setcontext(&current_->start);
  }

  static void first_steps();

  // Back to the scheduler; comes back when the fiber is entered again.
  void leave(void** fake_stack) {
    if (_setjmp(current_->place) == 0) {
      __sanitizer_start_switch_fiber(fake_stack, scheduler_stack_, scheduler_stack_bytes_);
      _longjmp(scheduler_, 1);
    }
    __sanitizer_finish_switch_fiber(current_->fake_stack, nullptr, nullptr);
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  const std::function<void()>* thread_ = nullptr;
  Fiber* current_ = nullptr;
  jmp_buf scheduler_;
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  int arrived_predicate_ = 0, predicate_ = 0;
};

Block& block() {
  static Block block;
  return block;
}

void Block::first_steps() {
  Block& b = block();
  __sanitizer_finish_switch_fiber(nullptr, &b.scheduler_stack_, &b.scheduler_stack_bytes_);
  (*b.thread_)();
  b.current_->finished = true;
  b.leave(nullptr);  // for good: nothing of its fake stack is kept
}

}  // namespace

int barrier(int predicate) { return block().barrier(predicate); }

void run_block(unsigned number, unsigned threads, const std::function<void()>& thread) {
  block().run(number, threads, thread);
}

}  // namespace cuda_host
