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
    for (int i = 0; i < k; i += 16) _mm512_storeu_ps(reinterpret_cast<float*>(out) + i, _mm512_maskz_loadu_ps(lanes(k - i), from + i));
  } else if constexpr (P == BF16) {
    for (int i = 0; i < k; i += 16) {
      const __m256bh half = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(lanes(k - i), from + i));
      std::memcpy(out + i * 2, &half, 32);
    }
  } else {
    f16 largest = zero();
    for (int i = 0; i < k; i += 16) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_loadu_ps(lanes(k - i), from + i)));
    const float top = _mm512_reduce_max_ps(largest);
    // What is not finite survives in the residual stream, which is fp32, and so reaches the heads.
    const float whole = top_of(P, k), inverse = top > 0.0f && top <= 3.0e38f ? whole / top : 0.0f;
    __m512i sum = _mm512_setzero_si512();
    const f16 factor = all(inverse);
    for (int i = 0; i < k; i += 16) {
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes(k - i), from + i), factor));
      if constexpr (P == INT16) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * 2), _mm512_cvtsepi32_epi16(q));
      } else {
        sum = _mm512_add_epi32(sum, q);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm512_cvtsepi32_epi8(q));
      }
    }
    to.scale[row] = top / whole;
    to.offset[row] = P == INT8 ? 128 * _mm512_reduce_add_epi32(sum) : 0;
  }
}

template <Precision P>
static inline __m512i dot(__m512i sum, __m512i weights, __m512i activation) {
  if constexpr (P == INT8) {
    return _mm512_dpbusd_epi32(sum, weights, activation);
  } else if constexpr (P == INT16) {
    return _mm512_dpwssd_epi32(sum, weights, activation);
  } else if constexpr (P == BF16) {
    return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)(weights), (__m512bh)(activation)));
  } else {
    return _mm512_castps_si512(
        _mm512_fmadd_ps(_mm512_castsi512_ps(weights), _mm512_castsi512_ps(activation), _mm512_castsi512_ps(sum)));
  }
}

// ROWS rows times one panel; `finish(row, column vector 0, column vector 1)` gets fp32.
// While it computes, it asks for a share of the panel that comes next (`ahead`), so that memory is read without pauses.
template <Precision P, int ROWS, class Finish>
static inline __attribute__((always_inline)) void panel_product(
    const Linear& w, int panel, const Activations& a, int first, const uint8_t* ahead, Finish finish) {
  __m512i sums[ROWS][2];
  const uint8_t* rows[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    rows[r] = a.values + static_cast<size_t>(first + r) * row_bytes<P>(w.k);
  }
  const uint8_t* weights = w.weights + static_cast<size_t>(panel) * w.panel_bytes();
#pragma GCC unroll 2
  for (int g = 0; g < w.groups; ++g) {
    const __m512i w0 = _mm512_load_si512(weights + g * 128);
    const __m512i w1 = _mm512_load_si512(weights + g * 128 + 64);
    if (ahead != nullptr) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead + g * 128), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(ahead + g * 128 + 64), _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      int32_t group;
      std::memcpy(&group, rows[r] + g * 4, 4);
      const __m512i broadcast = _mm512_set1_epi32(group);
      sums[r][0] = dot<P>(sums[r][0], w0, broadcast);
      sums[r][1] = dot<P>(sums[r][1], w1, broadcast);
    }
  }
  if constexpr (P == INT8 || P == INT16) {
    const f16 scale0 = _mm512_loadu_ps(w.scale + panel * PANEL), scale1 = _mm512_loadu_ps(w.scale + panel * PANEL + 16);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
      const __m512i offset = _mm512_set1_epi32(a.offset[first + r]);
      const f16 scale = all(a.scale[first + r]);
      finish(first + r, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][0], offset)), _mm512_mul_ps(scale, scale0)),
             _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][1], offset)), _mm512_mul_ps(scale, scale1)));
    }
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) finish(first + r, _mm512_castsi512_ps(sums[r][0]), _mm512_castsi512_ps(sums[r][1]));
  }
}

// Every row times every panel, panel by panel, so that weights are read once. `finish(panel, row, v0, v1)`.
template <Precision P, class Finish>
static inline void product(const Linear& w, const Activations& a, int rows, Finish finish) {
  for (int panel = 0; panel < w.panels; ++panel) {
    const uint8_t* next = w.weights + static_cast<size_t>(panel + 1) * w.panel_bytes();
    auto done = [&](int row, f16 v0, f16 v1) __attribute__((always_inline)) { finish(panel, row, v0, v1); };
    int row = 0;
    for (; row + 8 <= rows; row += 8) panel_product<P, 8>(w, panel, a, row, row + 16 > rows ? next : nullptr, done);
    if (row + 4 <= rows) panel_product<P, 4>(w, panel, a, row, nullptr, done), row += 4;
    for (; row < rows; ++row) panel_product<P, 1>(w, panel, a, row, nullptr, done);
  }
}

}  // namespace hrm
