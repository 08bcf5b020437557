// What this machine's processor and its system allow; compiled for any x86-64, so that asking is always safe.
extern "C" int hrm_supports(int precision) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return 0;
  if (precision == 0 || precision == 3) return __builtin_cpu_supports("avx512vnni") != 0;
  if (precision == 1) return __builtin_cpu_supports("avx512bf16") != 0;
  return precision == 2;
}
