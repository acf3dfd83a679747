// 16-bit floating-point numbers for loads and stores; kernels calculate with wider types.
#pragma once

struct __half {
    _Float16 bits;
};
typedef __half half;

static inline __half __float2half(float value) { return __half{static_cast<_Float16>(value)}; }
static inline __half __float2half_rn(float value) { return __float2half(value); }
static inline __half __double2half(double value) { return __half{static_cast<_Float16>(value)}; }
static inline float __half2float(__half value) { return static_cast<float>(value.bits); }
