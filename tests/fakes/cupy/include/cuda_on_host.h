// The extensions of CUDA C++ for the host, which runs one thread after the other. Included before every kernel source.
#pragma once
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <utility>

struct Coordinates {
    unsigned int x, y, z;
};

// Defined by threads.cpp, which runs the threads.
extern Coordinates threadIdx, blockIdx, blockDim, gridDim;
void __syncthreads();

constexpr int warpSize = 32;

// Threads are switched only at barriers, so that every operation is atomic and every store visible to all threads.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline int atomicAdd(int* address, int value) {
    int old = *address;
    *address = old + value;
    return old;
}
inline unsigned int atomicAdd(unsigned int* address, unsigned int value) {
    unsigned int old = *address;
    *address = old + value;
    return old;
}
inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
    unsigned long long old = *address;
    *address = old + value;
    return old;
}

template <typename T> inline T __ldg(const T* address) { return *address; }

// As in CUDA, these have an overload for float, and max and min take mixed types.
using std::abs, std::ceil, std::copysign, std::cos, std::cosh, std::erf, std::erfc, std::exp, std::exp2, std::expm1;
using std::fabs, std::floor, std::fma, std::fmax, std::fmin, std::fmod, std::hypot, std::isfinite, std::isinf;
using std::isnan, std::log, std::log10, std::log1p, std::log2, std::pow, std::rint, std::round, std::signbit, std::sin;
using std::sinh, std::sqrt, std::tan, std::tanh, std::trunc;
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float rsqrt(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }

template <typename A, typename B> inline std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmax(T(a), T(b));
    else return T(a) < T(b) ? T(b) : T(a);
}
template <typename A, typename B> inline std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmin(T(a), T(b));
    else return T(b) < T(a) ? T(b) : T(a);
}

// A kernel's signature for Python, as a number per parameter, and the function by which threads.cpp calls it.
enum Kind : int { VOID, SIGNED, UNSIGNED, FLOATING, STRUCT };

template <typename T> constexpr int kind_of() {
    if (std::is_void_v<T>) return VOID;
    if (std::is_floating_point_v<T>) return FLOATING;
    if (std::is_integral_v<T>) return std::is_signed_v<T> ? SIGNED : UNSIGNED;
    return STRUCT;
}
template <typename T> constexpr int size_of() {
    if constexpr (std::is_void_v<T>) return 0;
    else return sizeof(T);
}

template <typename T> constexpr int code_of(bool pointer) {
    return int(pointer) | kind_of<T>() << 1 | size_of<T>() << 8;
}

template <auto kernel> struct Entry;
template <typename... P, void (*kernel)(P...)> struct Entry<kernel> {
    static const int* signature() {
        static const int table[] = {int(sizeof...(P)), code_of<std::remove_pointer_t<P>>(std::is_pointer_v<P>)...};
        return table;
    }
    static void enter(void** arguments) { call(arguments, std::index_sequence_for<P...>{}); }

private:
    template <std::size_t... I> static void call(void** arguments, std::index_sequence<I...>) {
        kernel(*static_cast<P*>(arguments[I])...);
    }
};

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((section("nabla_shared")))
