// The whole network: packed weights in one arena, the recurrence of models/core.py, the heads of models/hrm.py.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

#include "block.hpp"

namespace hrm {

// What a network is built from; mirrored field by field in models/runtimes/native.py.
struct Shape {
  int32_t precision, tokens, input_layers;
  int32_t h_dim, h_layers, h_heads, h_inner;
  int32_t l_dim, l_layers, l_heads, l_inner;
  int32_t h_cycles, l_steps, l_reset;  // l_reset: 0 none, 1 soft, 2 hard, 3 learned
  int32_t patch_inputs, coarse_inputs, calendar_inputs;
  float soft_keep, logit_cap;
};

enum Reset { NONE = 0, SOFT = 1, HARD = 2, LEARNED = 3 };
enum Input { PATCH = 0, COARSE = 1, CALENDAR = 2, INPUTS = 3 };

constexpr int ACTIONS = 15, POSITIONS = 3, READINGS = ACTIONS + 1 + POSITIONS + 2;  // policy, quantity, value, Q

// Zeroed memory that lives as long as the model, on huge pages where the system has them.
class Arena {
 public:
  explicit Arena(size_t bytes) : size_(round(bytes, HUGE_PAGE)) {
    base_ = static_cast<uint8_t*>(std::aligned_alloc(HUGE_PAGE, size_));
    if (base_ == nullptr) return;
    madvise(base_, size_, MADV_HUGEPAGE);
    std::memset(base_, 0, size_);
  }
  ~Arena() { std::free(base_); }
  Arena(const Arena&) = delete;
  bool ready() const { return base_ != nullptr; }
  template <class T>
  T* take(size_t count) {
    T* taken = reinterpret_cast<T*>(base_ + used_);
    used_ += round(count * sizeof(T), 64);
    return used_ <= size_ ? taken : nullptr;
  }
  static size_t round(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

 private:
  static constexpr size_t HUGE_PAGE = 2u << 20;
  uint8_t* base_ = nullptr;
  size_t size_ = 0, used_ = 0;
};

// Reads a flat list of floats from front to back; `short_` where it ended too soon.
struct Reader {
  const float* at;
  size_t left;
  bool short_ = false;
  const float* next(size_t count) {
    if (count > left) return short_ = true, nullptr;
    const float* taken = at;
    at += count, left -= count;
    return taken;
  }
};

// One segment's arguments; z_h (rows, tokens, h_dim) and z_l are changed in place, the rest is read or filled.
struct Segment {
  int rows;
  const float* x;
  const uint8_t* valid;  // (rows, tokens), null where every token is valid
  bool whole;            // whether masked tokens think along, which nobody sees but a later bar that unmasks them
  float settled_below;
  float *z_h, *z_l, *change_h, *change_l;  // changes: (rows, h_cycles)
  int64_t* ran;
  float* readings;  // (rows, READINGS)
};

// What the input network starts from; `decision` and `coarse_timeframe` are (rows, l_dim), embeddings looked up.
struct Tokens {
  const float *patches, *coarse, *calendar, *decision, *coarse_timeframe;
};

class Model {
 public:
  // `weights`: see `models/runtimes/native.py` for the order. Null where count or memory is not right.
  static std::unique_ptr<Model> make(const Shape& shape, const float* weights, size_t count);
  bool reserve(int rows);
  void embed(int rows, const Tokens& from, const uint8_t* valid, bool whole, float* x);
  void segment(const Segment& segment);
  std::atomic_flag busy = ATOMIC_FLAG_INIT;

 private:
  Model(const Shape& shape) : s_(shape) {}
  size_t linear_bytes(int n, int k, Precision p) const;
  Linear pack(Reader& from, int n, int k, Precision p, bool gated);
  void pack_stack(Reader& from, Stack& to, int dim, int heads, int inner, int layers);
  size_t stack_bytes(int dim, int heads, int inner, int layers) const;
  template <Precision P> void reset(size_t tokens);
  Rows rows_of(int rows, const uint8_t* valid, bool whole);
  template <Precision P> void cycle(int rows, const uint8_t* valid, const Rows& worked_on);
  template <Precision P> void cycles(const Segment& segment);

  Shape s_;
  std::unique_ptr<Arena> weights_, space_;
  Stack input_, l_, h_;
  Linear projections_[INPUTS], h_to_l_, l_to_h_, gate_, heads_;
  const float *biases_[INPUTS] = {}, *gate_bias_ = nullptr, *heads_bias_ = nullptr, *memory_ = nullptr;
  const float *h_init_ = nullptr, *l_init_ = nullptr;
  int capacity_ = 0;
  Scratch w_;
  float *zh_ = nullptr, *zl_ = nullptr, *crossed_ = nullptr, *drive_ = nullptr, *x_ = nullptr;
  uint8_t* valid_ = nullptr;
  std::vector<int> active_;
  std::vector<int32_t> which_;
};

}  // namespace hrm
