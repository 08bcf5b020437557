// Vector arithmetic that the kernel is made of, sixteen lanes at a time: one AVX-512 register, or two AVX2 registers.
//
// The same sources are built for both; which processor may run what is asked in cpu.cpp. Invariant: whole-number products
// are the same bits in both, floats differ by rounding only.
#pragma once
#ifdef __AVX512F__
#include "simd512.hpp"
#else
#include "simd256.hpp"
#endif

namespace hrm {

// The lanes that are left of `n` values: 16 or fewer.
static inline uint16_t lanes(int n) { return n >= 16 ? 0xffff : static_cast<uint16_t>((1u << n) - 1u); }

// e^x to about 2 ulp (Cephes' polynomial after reduction by ln 2); under -87 it is 0, -inf included.
static inline f16 exp16(f16 x) {
  const uint16_t vanishing = less(x, all(-87.0f));
  const f16 bounded = min(max(x, all(-87.0f)), all(88.0f));
  const f16 power = nearest(mul(bounded, all(1.44269504f)));
  f16 rest = fnma(power, all(0.693359375f), bounded);
  rest = fnma(power, all(-2.12194440e-4f), rest);
  f16 p = all(1.9875691500e-4f);
  p = fma(p, rest, all(1.3981999507e-3f));
  p = fma(p, rest, all(8.3334519073e-3f));
  p = fma(p, rest, all(4.1665795894e-2f));
  p = fma(p, rest, all(1.6666665459e-1f));
  p = fma(p, rest, all(5.0000001201e-1f));
  p = fma(p, mul(rest, rest), add(rest, all(1.0f)));
  return choose(vanishing, zero(), times_power_of_2(p, power));
}

// x / (1 + e^-x)
static inline f16 silu16(f16 x) { return div(x, add(all(1.0f), exp16(sub(zero(), x)))); }

static inline f16 sigmoid16(f16 x) { return div(all(1.0f), add(all(1.0f), exp16(sub(zero(), x)))); }

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace hrm
