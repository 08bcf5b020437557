// What this machine's processor and its system allow; compiled for any x86-64, so that asking is always safe.
//
// `variant`: 0 the kernel of simd512.hpp, 1 that of simd256.hpp, in the order of VARIANTS in build.py.
extern "C" int hrm_supports(int precision, int variant) {
  __builtin_cpu_init();
  if (variant == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return 0;
  if (precision == 0 || precision == 3) return __builtin_cpu_supports("avx512vnni") != 0;
  if (precision == 1) return __builtin_cpu_supports("avx512bf16") != 0;
  return precision == 2;
}
