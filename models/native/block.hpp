// One post-norm transformer block on rows of tokens: x = rms(x + attention(x)); x = rms(x + swiglu(x)).
//
// Follows models/layers.py: RMSNorm without a weight (eps 1e-5), rotate-half RoPE, attention that isn't causal, gate
// before up. The residual stream, norms, softmax and gates are fp32 whatever the precision of the products.
// Invariant: a row (one observation) never sees another row; a masked token is never looked at.
#pragma once
#include <cmath>
#include <vector>

#include "gemm.hpp"

namespace hrm {

constexpr float RMS_EPS = 1e-5f;

struct Block {
  Linear qkv, out, gate_up, down;
};

struct Stack {
  int dim = 0, heads = 0, inner = 0;
  std::vector<Block> blocks;
  const float* cos = nullptr;  // (tokens, padded half of a head)
  const float* sin = nullptr;
  int head() const { return dim / heads; }
  int half() const { return dim / heads / 2; }
};

// Buffers that blocks work in; sized once for the widest stack and the largest batch.
struct Scratch {
  Activations activations;
  float* wide = nullptr;      // (rows * tokens, max(3 * dim, inner) padded)
  float* narrow = nullptr;    // (rows * tokens, dim padded)
  float* query = nullptr;     // (tokens padded to 16, head padded to 16)
  float* key = nullptr;       // the same
  float* key_columns = nullptr;  // (head padded to 16, tokens padded to 16)
  float* scores = nullptr;    // (tokens padded to 16, tokens padded to 16)
};

static inline void norm_row(float* x, int dim) {
  f16 square = zero();
  for (int i = 0; i < dim; i += 16) {
    const f16 v = load(x + i);
    square = fma(v, v, square);
  }
  const f16 factor = all(1.0f / std::sqrt(sum_of(square) / static_cast<float>(dim) + RMS_EPS));
  for (int i = 0; i < dim; i += 16) store(x + i, mul(load(x + i), factor));
}

// from (tokens, stride) at one head -> to (tokens, padded head), rotated by position and scaled.
static inline void rotate(const Stack& s, const float* from, int stride, int tokens, float scale, float* to, int padded) {
  const int half = s.half(), half_padded = round_up(half, 16);
  for (int t = 0; t < tokens; ++t) {
    const float* row = from + static_cast<size_t>(t) * stride;
    for (int i = 0; i < half; i += 16) {
      const uint16_t mask = lanes(half - i);
      const f16 first = load(row + i, mask), second = load(row + half + i, mask);
      const f16 c = mul(load(s.cos + t * half_padded + i), all(scale));
      const f16 d = mul(load(s.sin + t * half_padded + i), all(scale));
      store(to + t * padded + i, fms(first, c, mul(second, d)), mask);
      store(to + t * padded + half + i, fma(second, c, mul(first, d)), mask);
    }
  }
}

// Four queries against every key: (4, padded tokens) of scores, softmaxed over valid tokens.
static inline void score_rows(const Scratch& w, int first, int tokens, int head, int padded, const uint8_t* valid) {
  const int columns = round_up(tokens, 16);
  for (int j = 0; j < columns; j += 16) {
    f16 sum[4] = {zero(), zero(), zero(), zero()};
    for (int d = 0; d < head; ++d) {
      const f16 keys = load(w.key_columns + d * columns + j);
      for (int i = 0; i < 4; ++i) sum[i] = fma(all(w.query[(first + i) * padded + d]), keys, sum[i]);
    }
    uint16_t seen = lanes(tokens - j);
    if (valid != nullptr) {
      for (int lane = 0; lane < 16 && j + lane < tokens; ++lane)
        if (!valid[j + lane]) seen = static_cast<uint16_t>(seen & ~(1u << lane));
    }
    const f16 never = all(-INFINITY);
    for (int i = 0; i < 4; ++i) store(w.scores + (first + i) * columns + j, choose(seen, sum[i], never));
  }
  for (int i = 0; i < 4; ++i) {
    float* row = w.scores + (first + i) * columns;
    f16 top = all(-INFINITY), total = zero();
    for (int j = 0; j < columns; j += 16) top = max(top, load(row + j));
    const f16 highest = all(highest_of(top));
    for (int j = 0; j < columns; j += 16) {
      const f16 power = exp16(sub(load(row + j), highest));
      total = add(total, power);
      store(row + j, power);
    }
    const f16 share = all(1.0f / sum_of(total));
    for (int j = 0; j < columns; j += 16) store(row + j, mul(load(row + j), share));
  }
}

// scores (tokens, columns) times values (tokens, head) -> out (tokens, head), four queries at a time. A masked token's
// share is zero, and what lies in its place need not be a number.
static inline void mix_values(const Scratch& w, const float* values, int stride, int tokens, int head, float* out, int out_stride, const uint8_t* valid) {
  const int columns = round_up(tokens, 16);
  for (int d = 0; d < head; d += 16) {
    const uint16_t mask = lanes(head - d);
    for (int t = 0; t < tokens; t += 4) {
      f16 sum[4] = {zero(), zero(), zero(), zero()};
      for (int j = 0; j < tokens; ++j) {
        if (valid != nullptr && !valid[j]) continue;
        const f16 v = load(values + static_cast<size_t>(j) * stride + d, mask);
        for (int i = 0; i < 4; ++i) sum[i] = fma(all(w.scores[(t + i) * columns + j]), v, sum[i]);
      }
      for (int i = 0; i < 4 && t + i < tokens; ++i)
        store(out + static_cast<size_t>(t + i) * out_stride + d, sum[i], mask);
    }
  }
}

// qkv (tokens, 3 * dim) of one observation in `w.wide` -> mixed values (tokens, dim) in `w.narrow`.
static inline void attend(const Stack& s, const Scratch& w, int observation, int tokens, int wide_stride, int narrow_stride, const uint8_t* valid) {
  const int head = s.head(), padded = round_up(head, 16), columns = round_up(tokens, 16);
  const float* qkv = w.wide + static_cast<size_t>(observation) * tokens * wide_stride;
  float* out = w.narrow + static_cast<size_t>(observation) * tokens * narrow_stride;
  const float scale = 1.0f / std::sqrt(static_cast<float>(head));
  for (int h = 0; h < s.heads; ++h) {
    rotate(s, qkv + h * head, wide_stride, tokens, scale, w.query, padded);
    rotate(s, qkv + s.dim + h * head, wide_stride, tokens, 1.0f, w.key, padded);
    for (int t = 0; t < columns; t += 16)
      for (int d = 0; d < padded; d += 16) transpose16(w.key + t * padded + d, padded, w.key_columns + d * columns + t, columns);
    for (int t = 0; t < tokens; t += 4) score_rows(w, t, tokens, head, padded, valid);
    mix_values(w, qkv + 2 * s.dim + h * head, wide_stride, tokens, head, out + h * head, narrow_stride, valid);
  }
}

// The tokens that are worked on, as rows of (observations * tokens): all of them where `which` is null.
struct Rows {
  const int32_t* which;
  int count;
  size_t at(int row) const { return which == nullptr ? row : which[row]; }
};

// x (observations * tokens, dim padded) in place, through every block of a stack. `valid` (observations, tokens) or null;
// tokens that are not among `rows` are left as they are, and must be masked.
template <Precision P>
static void run_stack(const Stack& s, const Scratch& w, float* x, int observations, int tokens, const uint8_t* valid, const Rows& rows) {
  const int stride = round_up(s.dim, 16), count = rows.count;
  const int qkv_stride = round_up(3 * s.dim, 16), inner_stride = round_up(s.inner, 16);
  auto add_to_x = [&](int panel, int row, f16 v0, f16 v1) __attribute__((always_inline)) {
    float* at = x + rows.at(row) * stride + panel * PANEL;
    store(at, add(load(at), v0));
    if (panel * PANEL + 16 < stride) store(at + 16, add(load(at + 16), v1));
  };
  for (const Block& block : s.blocks) {
    for (int row = 0; row < count; ++row) convert_row<P>(x + rows.at(row) * stride, s.dim, w.activations, row);
    product<P>(block.qkv, w.activations, count, [&](int panel, int row, f16 v0, f16 v1) __attribute__((always_inline)) {
      float* at = w.wide + rows.at(row) * qkv_stride + panel * PANEL;
      store(at, v0);
      if (panel * PANEL + 16 < qkv_stride) store(at + 16, v1);
    });
    for (int o = 0; o < observations; ++o) attend(s, w, o, tokens, qkv_stride, stride, valid == nullptr ? nullptr : valid + o * tokens);
    for (int row = 0; row < count; ++row) convert_row<P>(w.narrow + rows.at(row) * stride, s.dim, w.activations, row);
    product<P>(block.out, w.activations, count, add_to_x);
    for (int row = 0; row < count; ++row) {
      norm_row(x + rows.at(row) * stride, s.dim);
      convert_row<P>(x + rows.at(row) * stride, s.dim, w.activations, row);
    }
    product<P>(block.gate_up, w.activations, count, [&](int panel, int row, f16 gate, f16 up) __attribute__((always_inline)) {
      store(w.wide + static_cast<size_t>(row) * inner_stride + panel * 16, mul(silu16(gate), up));
    });
    for (int row = 0; row < count; ++row) convert_row<P>(w.wide + static_cast<size_t>(row) * inner_stride, s.inner, w.activations, row);
    product<P>(block.down, w.activations, count, add_to_x);
    for (int row = 0; row < count; ++row) norm_row(x + rows.at(row) * stride, s.dim);
  }
}

}  // namespace hrm
