// Matrix products in the kernel that runs whole steps; elsewhere cuBLAS computes them.

// Sets out(i, j) to Σ left(i, k) right(k, j). If out has fewer elements than there are threads, several threads share a
// sum: at least `min_threads`, so that adjacent threads read adjacent elements.
template <class T, class Left, class Right>
DEVICE void product(const Matrix<T>& out, long long inner, int min_threads, Left left, Right right) {
  int parts = 1;
  while (parts * 2 <= inner && (parts * 2 <= min_threads || parts * 2 * out.size() <= blockDim.x)) parts *= 2;
  const int part = threadIdx.x % parts, elements_per_block = blockDim.x / parts;
  const long long stride = (long long)gridDim.x * elements_per_block;
  for (long long first = (long long)blockIdx.x * elements_per_block; first < out.size(); first += stride) {
    const long long index = first + threadIdx.x / parts;
    T partial = 0;
    if (index < out.size()) {
      const long long i = quotient(index, out.columns), j = remainder(index, out.columns);
      for (long long k = part; k < inner; k += parts) partial += left(i, k) * right(k, j);
    }
    const T total = parts == 1 ? partial : reduce(partial, part, parts, 1, Add());
    if (part == 0 && index < out.size()) out[index] = total;
  }
}

template <class T>
DEVICE void matmul_nt(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), w = matrix<T>(call, 1);
  const auto w_transposed = [&](long long k, long long j) { return w(j, k); };
  product(matrix<T>(call, 2), a.columns, 8, a, w_transposed);
}

template <class T>
DEVICE void matmul_tn(const Call& call, Scratch*) {
  const auto delta = matrix<T>(call, 0), a = matrix<T>(call, 1);
  const auto delta_transposed = [&](long long i, long long k) { return delta(k, i); };
  product(matrix<T>(call, 2), delta.rows, 1, delta_transposed, a);
}

template <class T>
DEVICE void matmul_nn(const Call& call, Scratch*) {
  const auto delta = matrix<T>(call, 0), w = matrix<T>(call, 1);
  product(matrix<T>(call, 2), delta.columns, 1, delta, w);
}

// Operands of half-precision products: out = source · scale, rounded to the nearest float16, or saturated.

DEVICE unsigned short half_bits(float exact) {
  const float limit = 65504.0f;
  const float value = exact > limit ? limit : (exact < -limit ? -limit : exact);
#ifdef __CUDA_ARCH__
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#else
  const _Float16 half = static_cast<_Float16>(value);
  unsigned short bits;
  __builtin_memcpy(&bits, &half, sizeof bits);
  return bits;
#endif
}

template <class T>
DEVICE void round_to_half(const Call& call, Scratch*) {
  const auto source = vector<T>(call, 0);
  const auto out = vector<unsigned short>(call, 1);
  const float scale = float(call.floats[0]);
  for_each(source.size, [&](long long k) { out[k] = half_bits(float(source[k]) * scale); });
}
