// Sixteen lanes as two AVX2 registers: what simd512.hpp does in one instruction, for processors without AVX-512.
//
// int16 and fp32 products cost two instructions where AVX-512 has one. Four int8 products can't be added up without
// overflow in 16 bits, so they are widened to 16 bits first: the same whole numbers, at a little more than int16's price.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace hrm {

struct f16 {  // sixteen floats
  __m256 low, high;
};
struct i16 {  // sixteen 32-bit groups: whole numbers, or pairs or fours of smaller ones
  __m256i low, high;
};

constexpr int ROWS_AT_ONCE = 4;  // rows of a panel product whose sums stay in registers
constexpr int CHAINS = 5;        // independent sums that keep the multipliers busy

static inline f16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline f16 all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }

// Bit i of `lanes` becomes lane i of a mask.
static inline __m256i mask8(uint32_t lanes) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(lanes)), bits), bits);
}

static inline f16 load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
static inline f16 load(const float* from, uint16_t lanes) {
  if (lanes == 0xffff) return load(from);
  return {_mm256_maskload_ps(from, mask8(lanes)), _mm256_maskload_ps(from + 8, mask8(lanes >> 8))};
}
static inline void store(float* to, f16 v) {
  _mm256_storeu_ps(to, v.low);
  _mm256_storeu_ps(to + 8, v.high);
}
static inline void store(float* to, f16 v, uint16_t lanes) {
  if (lanes == 0xffff) return store(to, v);
  _mm256_maskstore_ps(to, mask8(lanes), v.low);
  _mm256_maskstore_ps(to + 8, mask8(lanes >> 8), v.high);
}
static inline f16 add(f16 a, f16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
static inline f16 sub(f16 a, f16 b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
static inline f16 mul(f16 a, f16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
static inline f16 div(f16 a, f16 b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
static inline f16 fma(f16 a, f16 b, f16 c) {  // a·b + c
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
static inline f16 fms(f16 a, f16 b, f16 c) {  // a·b − c
  return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
static inline f16 fnma(f16 a, f16 b, f16 c) {  // c − a·b
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
static inline f16 max(f16 a, f16 b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
static inline f16 min(f16 a, f16 b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
static inline f16 abs(f16 v) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, v.low), _mm256_andnot_ps(sign, v.high)};
}
static inline f16 nearest(f16 v) {
  constexpr int how = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(v.low, how), _mm256_round_ps(v.high, how)};
}
static inline __m256 scaled8(__m256 v, __m256 power) {  // by a power of 2 from −126 to 127, built as an exponent
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127));
  return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
static inline f16 times_power_of_2(f16 v, f16 power) { return {scaled8(v.low, power.low), scaled8(v.high, power.high)}; }
static inline uint16_t less(f16 a, f16 b) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ));
  return static_cast<uint16_t>(low | _mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)) << 8);
}
static inline f16 choose(uint16_t lanes, f16 yes, f16 no) {
  return {_mm256_blendv_ps(no.low, yes.low, _mm256_castsi256_ps(mask8(lanes))),
          _mm256_blendv_ps(no.high, yes.high, _mm256_castsi256_ps(mask8(lanes >> 8)))};
}
static inline float sum_of(f16 v) {
  const __m256 eight = _mm256_add_ps(v.low, v.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline float highest_of(f16 v) {
  const __m256 eight = _mm256_max_ps(v.low, v.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline i16 izero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline i16 iall(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
static inline i16 iload(const uint8_t* from) {  // `from` on 64 bytes
  const __m256i* at = reinterpret_cast<const __m256i*>(from);
  return {_mm256_load_si256(at), _mm256_load_si256(at + 1)};
}
static inline i16 iadd(i16 a, i16 b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
static inline i16 isub(i16 a, i16 b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
static inline int32_t isum_of(i16 v) {
  const __m256i eight = _mm256_add_epi32(v.low, v.high);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
}
static inline f16 floats(i16 v) { return {_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high)}; }
static inline i16 whole(f16 v) { return {_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high)}; }
static inline f16 as_floats(i16 v) { return {_mm256_castsi256_ps(v.low), _mm256_castsi256_ps(v.high)}; }
static inline i16 as_groups(f16 v) { return {_mm256_castps_si256(v.low), _mm256_castps_si256(v.high)}; }
static inline __m256i int16_of(i16 v) {  // what does not fit becomes the largest that does
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(v.low, v.high), 0xd8);
}
static inline void store_int16(uint8_t* to, i16 v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), int16_of(v)); }
static inline void store_int8(uint8_t* to, i16 v) {
  const __m256i pairs = int16_of(v);
  const __m128i packed = _mm_packs_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
}
static inline void store_bf16(uint8_t* to, f16 v) {  // round to nearest even
  const i16 bits = as_groups(v);
  auto half = [](__m256i b) {
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  };
  const __m256i packed = _mm256_packus_epi32(half(bits.low), half(bits.high));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(packed, 0xd8));
}

// Products of the values in each group, added to `sum`.
static inline __m256i dot_int8(__m256i sum, __m256i unsigned_, __m256i signed_) {
  const __m256i even = _mm256_and_si256(unsigned_, _mm256_set1_epi16(0xff)), odd = _mm256_srli_epi16(unsigned_, 8);
  const __m256i other_even = _mm256_srai_epi16(_mm256_slli_epi16(signed_, 8), 8), other_odd = _mm256_srai_epi16(signed_, 8);
  return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(even, other_even)), _mm256_madd_epi16(odd, other_odd));
}
static inline __m256i dot_int16(__m256i sum, __m256i a, __m256i b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
static inline __m256i dot_bf16(__m256i sum, __m256i a, __m256i b) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  const __m256 odd = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, upper)),
                                     _mm256_castsi256_ps(_mm256_and_si256(b, upper)), _mm256_castsi256_ps(sum));
  return _mm256_castps_si256(_mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                                             _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)), odd));
}
static inline __m256i dot_fp32(__m256i sum, __m256i a, __m256i b) {
  return _mm256_castps_si256(_mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(sum)));
}
static inline i16 dot_int8(i16 s, i16 a, i16 b) { return {dot_int8(s.low, a.low, b.low), dot_int8(s.high, a.high, b.high)}; }
static inline i16 dot_int16(i16 s, i16 a, i16 b) { return {dot_int16(s.low, a.low, b.low), dot_int16(s.high, a.high, b.high)}; }
static inline i16 dot_bf16(i16 s, i16 a, i16 b) { return {dot_bf16(s.low, a.low, b.low), dot_bf16(s.high, a.high, b.high)}; }
static inline i16 dot_fp32(i16 s, i16 a, i16 b) { return {dot_fp32(s.low, a.low, b.low), dot_fp32(s.high, a.high, b.high)}; }

static inline void hide(i16& v) { asm volatile("" : "+x"(v.low), "+x"(v.high)); }  // taken as changed and used

// Sixteen rows of sixteen floats, `from` rows `stride` floats apart, become columns: to[c * to_stride + r].
static inline void transpose16(const float* from, int stride, float* to, int to_stride) {
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < 16; ++c) to[c * to_stride + r] = from[r * stride + c];
}

}  // namespace hrm
