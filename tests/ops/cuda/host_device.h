// Emulates CUDA so that the unchanged source of the kernels runs on the CPU. Blocks run one after the other; the
// threads of a block are fibers, which a scheduler switches at barriers and shuffles. Exact and single-threaded, for
// small tests.

#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

#define DEFORMLAB_LIBRARY deformlab_cuda_on_host
#define DEFORMLAB_DEVICE CPU

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host_device {

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 16);
  State state;
};

constexpr unsigned kWarp = 32;

class Block {
 public:
  // Runs one block. It is an error if threads wait at a barrier that others never reach: on a GPU they would hang.
  void run(unsigned threads, const std::function<void()>& body) {
    body_ = &body;
    while (fibers_.size() < threads) {
      fibers_.push_back(std::make_unique<Fiber>());
    }
    exchange_.resize(threads);
    for (unsigned thread = 0; thread < threads; ++thread) {
      Fiber& fiber = *fibers_[thread];
      fiber.state = State::kReady;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = &scheduler_;
      makecontext(&fiber.context, &Block::enter, 0);
    }
    while (step(threads)) {
    }
    if (error_) {
      std::rethrow_exception(std::exchange(error_, nullptr));
    }
  }

  void wait(State barrier) {
    Fiber& fiber = *fibers_[current_];
    fiber.state = barrier;
    swapcontext(&fiber.context, &scheduler_);
  }

  template <typename T>
  T shuffle_xor(T value, unsigned distance) {
    static_assert(sizeof(T) <= sizeof(exchange_[0]));
    const unsigned self = current_;
    std::memcpy(&exchange_[self], &value, sizeof(T));
    wait(State::kAtWarpBarrier);
    std::memcpy(&value, &exchange_.at(self ^ distance), sizeof(T));
    wait(State::kAtWarpBarrier);  // nobody writes before everybody has read
    return value;
  }

  static Block& instance() {
    static Block block;
    return block;
  }

 private:
  static void enter() {
    Block& block = instance();
    try {
      (*block.body_)();
    } catch (...) {  // cannot leave the fiber
      block.error_ = std::current_exception();
    }
    block.fibers_[block.current_]->state = State::kDone;
  }

  // Lets every ready thread run to its next barrier, in forward and reverse order by turns, to reveal results that
  // depend on the order of threads. Then opens the barriers that all threads have reached. Returns false if all are
  // done.
  bool step(unsigned threads) {
    backwards_ = !backwards_;
    for (unsigned i = 0; i < threads; ++i) {
      current_ = backwards_ ? threads - 1 - i : i;
      if (fibers_[current_]->state == State::kReady) {
        threadIdx = {current_ % blockDim.x, current_ / blockDim.x % blockDim.y, current_ / blockDim.x / blockDim.y};
        swapcontext(&scheduler_, &fibers_[current_]->context);
      }
    }
    bool opened = open(0, threads, State::kAtBlockBarrier);
    for (unsigned first = 0; first < threads; first += kWarp) {
      opened |= open(first, std::min(first + kWarp, threads), State::kAtWarpBarrier);
    }
    if (error_) {
      return false;
    }
    if (!opened && !all(0, threads, State::kDone)) {
      throw std::runtime_error("some threads of a block wait at a barrier that others do not reach");
    }
    return opened;
  }

  bool all(unsigned first, unsigned last, State state) const {
    for (unsigned thread = first; thread < last; ++thread) {
      if (fibers_[thread]->state != state) {
        return false;
      }
    }
    return true;
  }

  bool open(unsigned first, unsigned last, State barrier) {
    if (!all(first, last, barrier)) {
      return false;
    }
    for (unsigned thread = first; thread < last; ++thread) {
      fibers_[thread]->state = State::kReady;
    }
    return true;
  }

  const std::function<void()>* body_ = nullptr;
  std::exception_ptr error_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<uint64_t> exchange_;
  ucontext_t scheduler_;
  unsigned current_ = 0;
  bool backwards_ = false;
};

}  // namespace host_device

inline void __syncthreads() { host_device::Block::instance().wait(host_device::State::kAtBlockBarrier); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  if (mask != 0xffffffffu) {
    throw std::runtime_error("only shuffles of whole warps are known here");
  }
  return host_device::Block::instance().shuffle_xor(value, static_cast<unsigned>(distance));
}

template <typename T>
T atomicAdd(T* target, T value) {
  const T before = *target;
  *target += value;
  return before;
}

struct float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline void atomicAdd(float4* target, float4 value) {
  if (reinterpret_cast<uintptr_t>(target) % sizeof(float4) != 0) {
    throw std::runtime_error("an unaligned vector atomic");
  }
  *target = {target->x + value.x, target->y + value.y, target->z + value.z, target->w + value.w};
}

namespace deformlab {

constexpr bool kHasVectorAtomics = true;

class DeviceScope {
 public:
  explicit DeviceScope(int32_t) {}

  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), int64_t blocks, dim3 threads, Arguments... arguments) const {
    if (blocks < 1 || blocks > INT32_MAX || threads.x * threads.y * threads.z > 1024) {
      throw std::runtime_error("a launch that CUDA refuses");
    }
    gridDim = {static_cast<unsigned>(blocks)};
    blockDim = threads;
    for (unsigned block = 0; block < gridDim.x; ++block) {
      blockIdx = {block};
      host_device::Block::instance().run(threads.x * threads.y * threads.z, [&] { kernel(arguments...); });
    }
  }

  // Small, so that the sizes of the tests need several chunks.
  int64_t cache_bytes() const { return 1 << 12; }
  int64_t min_rows() const { return 5; }
};

}  // namespace deformlab
