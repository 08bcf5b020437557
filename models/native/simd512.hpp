// Sixteen lanes as one AVX-512 register: the operations that the kernel is made of, one instruction each.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace hrm {

using f16 = __m512;   // sixteen floats
using i16 = __m512i;  // sixteen 32-bit groups: whole numbers, or pairs or fours of smaller ones

constexpr int ROWS_AT_ONCE = 8;  // rows of a panel product whose sums stay in registers
constexpr int CHAINS = 16;       // independent sums that keep the multipliers busy

static inline f16 zero() { return _mm512_setzero_ps(); }
static inline f16 all(float v) { return _mm512_set1_ps(v); }
static inline f16 load(const float* from) { return _mm512_loadu_ps(from); }
static inline f16 load(const float* from, uint16_t lanes) { return _mm512_maskz_loadu_ps(lanes, from); }
static inline void store(float* to, f16 v) { _mm512_storeu_ps(to, v); }
static inline void store(float* to, f16 v, uint16_t lanes) { _mm512_mask_storeu_ps(to, lanes, v); }
static inline f16 add(f16 a, f16 b) { return _mm512_add_ps(a, b); }
static inline f16 sub(f16 a, f16 b) { return _mm512_sub_ps(a, b); }
static inline f16 mul(f16 a, f16 b) { return _mm512_mul_ps(a, b); }
static inline f16 div(f16 a, f16 b) { return _mm512_div_ps(a, b); }
static inline f16 fma(f16 a, f16 b, f16 c) { return _mm512_fmadd_ps(a, b, c); }    // a·b + c
static inline f16 fms(f16 a, f16 b, f16 c) { return _mm512_fmsub_ps(a, b, c); }    // a·b − c
static inline f16 fnma(f16 a, f16 b, f16 c) { return _mm512_fnmadd_ps(a, b, c); }  // c − a·b
static inline f16 max(f16 a, f16 b) { return _mm512_max_ps(a, b); }
static inline f16 min(f16 a, f16 b) { return _mm512_min_ps(a, b); }
static inline f16 abs(f16 v) { return _mm512_abs_ps(v); }
static inline f16 nearest(f16 v) { return _mm512_roundscale_ps(v, 0); }
static inline f16 times_power_of_2(f16 v, f16 power) { return _mm512_scalef_ps(v, power); }
static inline uint16_t less(f16 a, f16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline f16 choose(uint16_t lanes, f16 yes, f16 no) { return _mm512_mask_mov_ps(no, lanes, yes); }
static inline float sum_of(f16 v) { return _mm512_reduce_add_ps(v); }
static inline float highest_of(f16 v) { return _mm512_reduce_max_ps(v); }

static inline i16 izero() { return _mm512_setzero_si512(); }
static inline i16 iall(int32_t v) { return _mm512_set1_epi32(v); }
static inline i16 iload(const uint8_t* from) { return _mm512_load_si512(from); }  // `from` on 64 bytes
static inline i16 iadd(i16 a, i16 b) { return _mm512_add_epi32(a, b); }
static inline i16 isub(i16 a, i16 b) { return _mm512_sub_epi32(a, b); }
static inline int32_t isum_of(i16 v) { return _mm512_reduce_add_epi32(v); }
static inline f16 floats(i16 v) { return _mm512_cvtepi32_ps(v); }
static inline i16 whole(f16 v) { return _mm512_cvtps_epi32(v); }
static inline f16 as_floats(i16 v) { return _mm512_castsi512_ps(v); }
static inline void store_int16(uint8_t* to, i16 v) {  // what does not fit becomes the largest that does
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi32_epi16(v));
}
static inline void store_int8(uint8_t* to, i16 v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtsepi32_epi8(v)); }
static inline void store_bf16(uint8_t* to, f16 v) {
  const __m256bh half = _mm512_cvtneps_pbh(v);
  std::memcpy(to, &half, 32);
}

// Products of the values in each group, added to `sum`.
static inline i16 dot_int8(i16 sum, i16 unsigned_, i16 signed_) { return _mm512_dpbusd_epi32(sum, unsigned_, signed_); }
static inline i16 dot_int16(i16 sum, i16 a, i16 b) { return _mm512_dpwssd_epi32(sum, a, b); }
static inline i16 dot_bf16(i16 sum, i16 a, i16 b) {
  return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), (__m512bh)(a), (__m512bh)(b)));
}
static inline i16 dot_fp32(i16 sum, i16 a, i16 b) {
  return _mm512_castps_si512(_mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), _mm512_castsi512_ps(sum)));
}

static inline void hide(i16& v) { asm volatile("" : "+v"(v)); }  // the compiler must take it as changed and used

// Sixteen rows of sixteen floats, `from` rows `stride` floats apart, become columns: to[c * to_stride + r].
static inline void transpose16(const float* from, int stride, float* to, int to_stride) {
  f16 r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(from + i * stride);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_ps(to + i * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_ps(to + (i + 4) * to_stride, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_storeu_ps(to + (i + 8) * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
    _mm512_storeu_ps(to + (i + 12) * to_stride, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

}  // namespace hrm
