// Vector arithmetic that the kernel is made of: exponential, SiLU, reductions, a 16×16 transposition. AVX-512 only.
#pragma once
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace hrm {

using f16 = __m512;  // sixteen floats

static inline f16 zero() { return _mm512_setzero_ps(); }
static inline f16 all(float v) { return _mm512_set1_ps(v); }

// The lanes that are left of `n` values: 16 or fewer.
static inline __mmask16 lanes(int n) { return n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1u); }

// e^x to about 2 ulp (Cephes' polynomial after reduction by ln 2); under -87 it is 0, -inf included.
static inline f16 exp16(f16 x) {
  const __mmask16 vanishing = _mm512_cmp_ps_mask(x, all(-87.0f), _CMP_LT_OQ);
  const f16 bounded = _mm512_min_ps(_mm512_max_ps(x, all(-87.0f)), all(88.0f));
  const f16 power = _mm512_roundscale_ps(_mm512_mul_ps(bounded, all(1.44269504f)), 0);
  f16 rest = _mm512_fnmadd_ps(power, all(0.693359375f), bounded);
  rest = _mm512_fnmadd_ps(power, all(-2.12194440e-4f), rest);
  f16 p = all(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, rest, all(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, rest, all(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, rest, all(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, rest, all(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, rest, all(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(rest, rest), _mm512_add_ps(rest, all(1.0f)));
  return _mm512_mask_mov_ps(_mm512_scalef_ps(p, power), vanishing, zero());
}

// x / (1 + e^-x)
static inline f16 silu16(f16 x) {
  return _mm512_div_ps(x, _mm512_add_ps(all(1.0f), exp16(_mm512_sub_ps(zero(), x))));
}

static inline f16 sigmoid16(f16 x) {
  return _mm512_div_ps(all(1.0f), _mm512_add_ps(all(1.0f), exp16(_mm512_sub_ps(zero(), x))));
}

// Sixteen rows of sixteen floats, `from` rows `stride` floats apart, become columns: to[c * 16 + r] with `to_stride`.
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

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace hrm
