// What kernels are handed, and the words that formulas use.

#define DEVICE __device__ __forceinline__

// What the Python side fills in, in this layout.
struct Array {
  void* data;
  long long rows, columns;
};

struct Call {
  long long code;
  Array arrays[MOST_ARRAYS];
  long long whole[MOST_NUMBERS];
  double numbers[MOST_NUMBERS];
};

const int MOST_THREADS = 1024;

// What blocks leave for the last of them.
struct Scratch {
  double partial[MOST_BLOCKS];
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
DEVICE Vector<T> vector(const Call& call, int place) {
  const Array& array = call.arrays[place];
  return {static_cast<T*>(array.data), array.rows * array.columns};
}

template <class T>
DEVICE Matrix<T> matrix(const Call& call, int place) {
  const Array& array = call.arrays[place];
  return {static_cast<T*>(array.data), array.rows, array.columns};
}

// Words of formulas.

template <class T>
DEVICE T scalar(double value, T) {
  return static_cast<T>(value);
}

template <class T>
struct is_whole {
  static const bool yes = false;
};
template <>
struct is_whole<long long> {
  static const bool yes = true;
};

template <class A, class B>
DEVICE auto over(A a, B b) {
  static_assert(!(is_whole<A>::yes && is_whole<B>::yes), "whole numbers would be divided without a rest");
  return a / b;
}

template <class T>
DEVICE T larger(T a, T b) {
  return b > a ? b : a;
}

template <class A, class B>
struct Two {
  A first;
  B second;
};

template <class A, class B, class C>
struct Three {
  A first;
  B second;
  C third;
};

template <class A, class B>
DEVICE Two<A, B> tuple_of(A a, B b) {
  return {a, b};
}

template <class A, class B, class C>
DEVICE Three<A, B, C> tuple_of(A a, B b, C c) {
  return {a, b, c};
}
