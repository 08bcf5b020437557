// Skinny matrix products: a few rows of activations times a packed weight matrix, in int8, bf16, int16 or fp32.
//
// All precisions share one shape: a 32-bit group (4, 2 or 1 values of k) of one activation row is broadcast and
// multiplied with the same group of 16 output columns. Weights lie in panels of 32 columns, in the order in which they are
// read: [panel][k group][2][16 columns][group]. int8 weights are stored with 128 added because the instruction takes one
// unsigned side; 128 times the row's sum is taken off again. int16 uses as much of its range as k products of two can be
// added up in 32 bits: 13 bits for k = 32, 10 for k = 1536, both sides. Invariant: a row's result does not depend on other rows.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "simd.hpp"

namespace hrm {

enum Precision { INT8 = 0, BF16 = 1, FP32 = 2, INT16 = 3 };

constexpr int PANEL = 32;  // columns of one panel: two vectors

template <Precision P>
constexpr int group_of() {
  return P == INT8 ? 4 : P == BF16 || P == INT16 ? 2 : 1;
}

// The largest whole number that weights and activations of k inputs are scaled to.
static inline float top_of(Precision p, int k) {
  return p == INT8 ? 127.0f : std::min(32767.0f, std::floor(std::sqrt(2147483647.0f / static_cast<float>(k)) * 0.9999f));
}

struct Linear {
  int n = 0, k = 0;                // columns (outputs) and inputs
  int groups = 0, panels = 0;      // 32-bit groups of one column, panels
  const uint8_t* weights = nullptr;
  const float* scale = nullptr;    // (panels * 32), 1 but for whole numbers
  size_t panel_bytes() const { return static_cast<size_t>(groups) * PANEL * 4; }
};

// Rows of activations as the product reads them, `row_bytes` apart; the buffers belong to the model.
struct Activations {
  uint8_t* values = nullptr;
  float* scale = nullptr;     // one a row, whole numbers only
  int32_t* offset = nullptr;  // 128 * sum of the row, int8 only
};

template <Precision P>
constexpr int row_bytes(int k) {
  return round_up(k, 16) * 4 / group_of<P>();
}

static inline uint16_t bf16_of(float value) {  // round to nearest even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// One row of `k` floats becomes row `row` of `to`, zero up to the next multiple of 16.
template <Precision P>
static inline void convert_row(const float* from, int k, const Activations& to, int row) {
  uint8_t* out = to.values + static_cast<size_t>(row) * row_bytes<P>(k);
  if constexpr (P == FP32) {
    for (int i = 0; i < k; i += 16) store(reinterpret_cast<float*>(out) + i, load(from + i, lanes(k - i)));
  } else if constexpr (P == BF16) {
    for (int i = 0; i < k; i += 16) {
      store_bf16(out + i * 2, load(from + i, lanes(k - i)));
    }
  } else {
    f16 largest = zero();
    for (int i = 0; i < k; i += 16) largest = max(largest, abs(load(from + i, lanes(k - i))));
    const float top = highest_of(largest);
    // What is not finite survives in the residual stream, which is fp32, and so reaches the heads.
    const float whole = top_of(P, k), inverse = top > 0.0f && top <= 3.0e38f ? whole / top : 0.0f;
    i16 sum = izero();
    const f16 factor = all(inverse);
    for (int i = 0; i < k; i += 16) {
      const i16 q = hrm::whole(mul(load(from + i, lanes(k - i)), factor));
      if constexpr (P == INT16) {
        store_int16(out + i * 2, q);
      } else {
        sum = iadd(sum, q);
        store_int8(out + i, q);
      }
    }
    to.scale[row] = top / whole;
    to.offset[row] = P == INT8 ? 128 * isum_of(sum) : 0;
  }
}

template <Precision P>
static inline i16 dot(i16 sum, i16 weights, i16 activation) {
  if constexpr (P == INT8) {
    return dot_int8(sum, weights, activation);
  } else if constexpr (P == INT16) {
    return dot_int16(sum, weights, activation);
  } else if constexpr (P == BF16) {
    return dot_bf16(sum, weights, activation);
  } else {
    return dot_fp32(sum, weights, activation);
  }
}

// ROWS rows times one panel; `finish(row, column vector 0, column vector 1)` gets fp32.
// While it computes, it asks for a share of the panel that comes next (`ahead`), so that memory is read without pauses.
template <Precision P, int ROWS, class Finish>
static inline __attribute__((always_inline)) void panel_product(
    const Linear& w, int panel, const Activations& a, int first, const uint8_t* ahead, Finish finish) {
  i16 sums[ROWS][2];
  const uint8_t* rows[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    sums[r][0] = sums[r][1] = izero();
    rows[r] = a.values + static_cast<size_t>(first + r) * row_bytes<P>(w.k);
  }
  const uint8_t* weights = w.weights + static_cast<size_t>(panel) * w.panel_bytes();
#pragma GCC unroll 2
  for (int g = 0; g < w.groups; ++g) {
    const i16 w0 = iload(weights + g * 128);
    const i16 w1 = iload(weights + g * 128 + 64);
    if (ahead != nullptr) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead + g * 128), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(ahead + g * 128 + 64), _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      int32_t group;
      std::memcpy(&group, rows[r] + g * 4, 4);
      const i16 broadcast = iall(group);
      sums[r][0] = dot<P>(sums[r][0], w0, broadcast);
      sums[r][1] = dot<P>(sums[r][1], w1, broadcast);
    }
  }
  if constexpr (P == INT8 || P == INT16) {
    const f16 scale0 = load(w.scale + panel * PANEL), scale1 = load(w.scale + panel * PANEL + 16);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const i16 offset = iall(a.offset[first + r]);
      const f16 scale = all(a.scale[first + r]);
      finish(first + r, mul(floats(isub(sums[r][0], offset)), mul(scale, scale0)),
             mul(floats(isub(sums[r][1], offset)), mul(scale, scale1)));
    }
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) finish(first + r, as_floats(sums[r][0]), as_floats(sums[r][1]));
  }
}

// Every row times every panel, panel by panel, so that weights are read once. `finish(panel, row, v0, v1)`.
template <Precision P, class Finish>
static inline void product(const Linear& w, const Activations& a, int rows, Finish finish) {
  for (int panel = 0; panel < w.panels; ++panel) {
    const uint8_t* next = w.weights + static_cast<size_t>(panel + 1) * w.panel_bytes();
    auto done = [&](int row, f16 v0, f16 v1) __attribute__((always_inline)) { finish(panel, row, v0, v1); };
    int row = 0;
    constexpr int MOST = ROWS_AT_ONCE, HALF = ROWS_AT_ONCE / 2;
    for (; row + MOST <= rows; row += MOST) panel_product<P, MOST>(w, panel, a, row, row + 2 * MOST > rows ? next : nullptr, done);
    if (row + HALF <= rows) panel_product<P, HALF>(w, panel, a, row, nullptr, done), row += HALF;
    for (; row < rows; ++row) panel_product<P, 1>(w, panel, a, row, nullptr, done);
  }
}

}  // namespace hrm
