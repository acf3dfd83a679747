// Products, in a kernel that makes a whole step; elsewhere they are cuBLAS's. out(i, j) = Σ left(i, k) right(k, j).
// Where there are fewer numbers in the result than threads, several threads share a sum; at least as many as `least`, so
// that threads beside each other read numbers beside each other.

template <class T, class Left, class Right>
DEVICE void product(const Matrix<T>& out, long long inner, int least, Left left, Right right) {
  int parts = 1;
  while (parts * 2 <= inner && (parts * 2 <= least || parts * 2 * out.size() <= blockDim.x)) parts *= 2;
  const int part = threadIdx.x % parts, at_once = blockDim.x / parts;
  for (long long first = (long long)blockIdx.x * at_once; first < out.size(); first += (long long)gridDim.x * at_once) {
    const long long k = first + threadIdx.x / parts;
    T mine = 0;
    if (k < out.size()) {
      const long long i = quotient(k, out.columns), j = rest(k, out.columns);
      for (long long inside = part; inside < inner; inside += parts) mine += left(i, inside) * right(inside, j);
    }
    const T total = parts == 1 ? mine : combine(mine, part, parts, 1, Add());
    if (part == 0 && k < out.size()) out[k] = total;
  }
}

template <class T>
DEVICE void multiply_by_transpose(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), w = matrix<T>(call, 1);
  const auto entry = [&](long long k, long long j) { return w(j, k); };
  product(matrix<T>(call, 2), a.columns, 8, a, entry);
}

template <class T>
DEVICE void multiply_transpose(const Call& call, Scratch*) {
  const auto delta = matrix<T>(call, 0), a = matrix<T>(call, 1);
  const auto entry = [&](long long i, long long k) { return delta(k, i); };
  product(matrix<T>(call, 2), delta.rows, 1, entry, a);
}

template <class T>
DEVICE void multiply_plainly(const Call& call, Scratch*) {
  const auto delta = matrix<T>(call, 0), w = matrix<T>(call, 1);
  product(matrix<T>(call, 2), delta.columns, 1, delta, w);
}

// Operands of products in half precision: out = source · scale, rounded to the nearest 16-bit number, and no farther
// than the largest.

DEVICE unsigned short half_bits(float exact) {
  const float most = 65504.0f;
  const float value = exact > most ? most : (exact < -most ? -most : exact);
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
  const float scale = float(call.numbers[0]);
  each(source.size, [&](long long k) { out[k] = half_bits(float(source[k]) * scale); });
}
