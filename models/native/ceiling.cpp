// How fast one thread of this machine can multiply and read at all: what a runtime's time is measured against.
#include <chrono>
#include <vector>

#include "gemm.hpp"

namespace hrm {

static double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Chains of products whose operands are in registers or the nearest cache: no product can go faster.
template <Precision P>
static double peak(double seconds) {
  constexpr int ROUNDS = 20000;
  i16 sums[CHAINS];
  for (auto& sum : sums) sum = izero();
  i16 left = iall(0x01010101), right = iall(0x02020202);
  const auto start = std::chrono::steady_clock::now();
  double done = 0.0, elapsed = 0.0;
  while (elapsed < seconds) {
    for (int round = 0; round < ROUNDS; ++round) {
      hide(left), hide(right);
#pragma GCC unroll 16
      for (int i = 0; i < CHAINS; ++i) sums[i] = dot<P>(sums[i], left, right);
    }
    done += 2.0 * ROUNDS * CHAINS * 16 * group_of<P>();
    elapsed = hrm::seconds_since(start);
  }
  for (auto& sum : sums) hide(sum);
  return done / elapsed / 1e9;
}

}  // namespace hrm

extern "C" {

// Billions of operations a second (a multiplication and an addition are two).
double hrm_peak(int precision, double seconds) {
  if (precision == hrm::INT8) return hrm::peak<hrm::INT8>(seconds);
  if (precision == hrm::BF16) return hrm::peak<hrm::BF16>(seconds);
  if (precision == hrm::INT16) return hrm::peak<hrm::INT16>(seconds);
  return hrm::peak<hrm::FP32>(seconds);
}

// Billions of bytes a second, read again and again from a buffer of so many.
double hrm_bandwidth(uint64_t bytes, double seconds) {
  std::vector<float> buffer(bytes / 4, 1.0f);
  const size_t whole = buffer.size() / 128 * 128;
  using hrm::f16;
  constexpr int STREAMS = 4;
  f16 sums[STREAMS];
  for (auto& sum : sums) sum = hrm::zero();
  const auto start = std::chrono::steady_clock::now();
  double done = 0.0, elapsed = 0.0;
  while (elapsed < seconds) {
    for (size_t i = 0; i < whole; i += 128) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) sums[j % STREAMS] = hrm::add(sums[j % STREAMS], hrm::load(buffer.data() + i + j * 16));
    }
    done += 4.0 * whole;
    elapsed = hrm::seconds_since(start);
  }
  volatile float used = 0.0f;
  for (auto& sum : sums) used = used + hrm::sum_of(sum);
  return done / elapsed / 1e9;
}

}  // extern "C"
