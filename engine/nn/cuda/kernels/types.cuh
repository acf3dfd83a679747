// Arguments of kernels, and functions that translated formulas call.

#define DEVICE __device__ __forceinline__

// Written by StepTrace.encode in Python, which relies on this layout.
struct Array {
  void* data;
  long long rows, columns;
};

struct Call {
  long long code;
  Array arrays[MAX_ARRAYS];
  long long integers[MAX_SCALARS];
  double floats[MAX_SCALARS];
};

const int MAX_THREADS = 1024;

// Partial sums of all blocks, for the last one to add up. `arrived` counts the blocks that have stored theirs.
struct Scratch {
  double partial[MAX_BLOCKS];
  unsigned int arrived;
};

template <class T>
struct Vector {
  T* data;
  long long size;
  DEVICE T& operator[](long long k) const { return data[k]; }
};

template <class T>
struct Matrix {
  T* data;
  long long rows, columns;
  DEVICE T& operator()(long long i, long long j) const { return data[i * columns + j]; }
  DEVICE T& operator[](long long k) const { return data[k]; }
  DEVICE long long size() const { return rows * columns; }
};

template <class T>
DEVICE Vector<T> vector(const Call& call, int index) {
  const Array& array = call.arrays[index];
  return {static_cast<T*>(array.data), array.rows * array.columns};
}

template <class T>
DEVICE Matrix<T> matrix(const Call& call, int index) {
  const Array& array = call.arrays[index];
  return {static_cast<T*>(array.data), array.rows, array.columns};
}

// Functions that translated formulas call.

template <class T>
DEVICE T scalar(double value, T) {
  return static_cast<T>(value);
}

template <class T>
struct is_integer {
  static const bool value = false;
};
template <>
struct is_integer<long long> {
  static const bool value = true;
};

template <class A, class B>
DEVICE auto divide(A a, B b) {
  static_assert(!(is_integer<A>::value && is_integer<B>::value), "integer division would truncate");
  return a / b;
}

template <class T>
DEVICE T max_of(T a, T b) {
  return b > a ? b : a;
}

template <class A, class B>
struct Pair {
  A first;
  B second;
};

template <class A, class B, class C>
struct Triple {
  A first;
  B second;
  C third;
};

template <class A, class B>
DEVICE Pair<A, B> tuple_of(A a, B b) {
  return {a, b};
}

template <class A, class B, class C>
DEVICE Triple<A, B, C> tuple_of(A a, B b, C c) {
  return {a, b, c};
}
