// Patterns: what a GPU does in parallel where the CPU loops. Formulas go in from outside; none stands here.
//
// Every pattern has the arguments of the kernels that are made of it, in their order, as a Call. It is right for any
// number of blocks and threads, as long as the threads of a block are a power of two of at least 32. Sums are taken in an
// order that depends on these numbers alone, so that the same run gives the same bits.

#define DEVICE __device__ __forceinline__

// What the Python side fills in, in this layout.
struct Array {
  void* data;
  long long rows, columns;
};

struct Call {
  long long code;
  Array arrays[6];
  long long whole[2];
  double numbers[2];
};

// What blocks leave for the last of them.
const int MOST_BLOCKS = 1024;
const int MOST_THREADS = 1024;

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

//FORMULAS//

// Ways to go through arrays.

// k / n and k % n. A GPU divides numbers of 64 bits many times slower than those of 32, which nearly all are.
DEVICE long long quotient(long long k, long long n) {
  return ((k | n) >> 31) ? k / n : (long long)((unsigned int)k / (unsigned int)n);
}

DEVICE long long rest(long long k, long long n) {
  return ((k | n) >> 31) ? k % n : (long long)((unsigned int)k % (unsigned int)n);
}

template <class Body>
DEVICE void each(long long n, Body body) {
  const long long stride = (long long)gridDim.x * blockDim.x;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < n; k += stride) body(k);
}

template <class Body>
DEVICE void once(Body body) {
  if (blockIdx.x == 0 && threadIdx.x == 0) body();
}

struct Add {
  template <class S>
  DEVICE S operator()(S a, S b) const {
    return a + b;
  }
};

struct Larger {
  template <class S>
  DEVICE S operator()(S a, S b) const {
    return larger(a, b);
  }
};

// Combines the values of `lanes` threads that stand `apart` from each other; each of them gets the result. `lane` is the
// thread's number among them. All threads of the block take part, in groups of their own.
template <class S, class Combine>
DEVICE S combine(S mine, int lane, int lanes, int apart, Combine both) {
  __shared__ S shared[MOST_THREADS];
  const int at = threadIdx.x;
  __syncthreads();
  shared[at] = mine;
  __syncthreads();
  for (int half = lanes / 2; half > 0; half /= 2) {
    if (lane < half) shared[at] = both(shared[at], shared[at + half * apart]);
    __syncthreads();
  }
  return shared[at - lane * apart];
}

// finish(Σ value(k)), by one thread.
template <class Value, class Finish>
DEVICE void sum(long long n, Scratch* scratch, Value value, Finish finish) {
  double mine = 0.0;
  each(n, [&](long long k) { mine += value(k); });
  mine = combine(mine, threadIdx.x, blockDim.x, 1, Add());
  if (gridDim.x == 1) {
    if (threadIdx.x == 0) finish(mine);
    return;
  }
  __shared__ bool last;
  if (threadIdx.x == 0) {
    scratch->partial[blockIdx.x] = mine;
    __threadfence();
    last = atomicAdd(&scratch->arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  const volatile double* partial = scratch->partial;
  double total = 0.0;
  for (int block = threadIdx.x; block < gridDim.x; block += blockDim.x) total += partial[block];
  total = combine(total, threadIdx.x, blockDim.x, 1, Add());
  if (threadIdx.x == 0) {
    finish(total);
    scratch->arrived = 0;
  }
}

const int WIDTH = 32;

// body(j, rows): for each column, with the rows that this thread has of it. Neighbouring threads have neighbouring
// columns. Calls of rows.sum are made by all threads of a block; where there is no column left, j is −1.
struct Lane {
  long long first, step, n;
  int lane, lanes, apart;

  template <class Body>
  DEVICE void each(Body body) const {
    for (long long i = first; i < n; i += step) body(i);
  }

  template <class S, class Value>
  DEVICE S sum(S start, Value value) const {
    S mine = start;
    each([&](long long i) { mine += value(i); });
    return combine(mine, lane, lanes, apart, Add());
  }

  template <class S, class Value>
  DEVICE S largest(S start, Value value) const {
    S mine = start;
    each([&](long long i) { mine = larger(mine, value(i)); });
    return combine(mine, lane, lanes, apart, Larger());
  }
};

template <class Body>
DEVICE void each_column(long long rows, long long columns, Body body) {
  const int lane = threadIdx.x / WIDTH, lanes = blockDim.x / WIDTH;
  for (long long tile = blockIdx.x; tile * WIDTH < columns; tile += gridDim.x) {
    const long long j = tile * WIDTH + threadIdx.x % WIDTH;
    const bool there = j < columns;
    body(there ? j : -1, Lane{lane, lanes, there ? rows : 0, lane, lanes, WIDTH});
  }
}

// body(i, columns): the same for each row; the threads of one row lie beside each other.
template <class Body>
DEVICE void each_row(long long rows, long long columns, Body body) {
  const int lane = threadIdx.x % WIDTH, at_once = blockDim.x / WIDTH;
  for (long long tile = blockIdx.x; tile * at_once < rows; tile += gridDim.x) {
    const long long i = tile * at_once + threadIdx.x / WIDTH;
    const bool there = i < rows;
    body(there ? i : -1, Lane{lane, WIDTH, there ? columns : 0, lane, WIDTH, 1});
  }
}

namespace pattern {

// Below what a network can put out; no infinity, which has no name here.
const double LOWEST = sizeof(Number) == 4 ? -3.4e38 : -1.7e308;

// Activations.

template <class T, class Value>
DEVICE void forward_from_output(const Call& call, Scratch*, Value value) {
  const auto z = matrix<T>(call, 0);
  const auto b = vector<T>(call, 1);
  each(z.size(), [&](long long k) { z[k] = value(z[k] + b[rest(k, z.columns)]); });
}

template <class T, class Slope>
DEVICE void backward_from_output(const Call& call, Scratch*, Slope slope) {
  const auto a = matrix<T>(call, 1), delta = matrix<T>(call, 2);
  each(a.size(), [&](long long k) { delta[k] *= slope(a[k]); });
}

template <class T, class Value>
DEVICE void forward_from_input(const Call& call, Scratch*, Value value) {
  const auto z = matrix<T>(call, 0), a = matrix<T>(call, 2);
  const auto b = vector<T>(call, 1);
  each(z.size(), [&](long long k) {
    z[k] += b[rest(k, z.columns)];
    a[k] = value(z[k]);
  });
}

template <class T, class Slope>
DEVICE void backward_from_input(const Call& call, Scratch*, Slope slope) {
  const auto z = matrix<T>(call, 0), delta = matrix<T>(call, 2);
  each(z.size(), [&](long long k) { delta[k] *= slope(z[k]); });
}

template <class T>
DEVICE void softmax_forward(const Call& call, Scratch*) {
  const auto z = matrix<T>(call, 0);
  const auto b = vector<T>(call, 1);
  each_row(z.rows, z.columns, [&](long long i, const Lane& columns) {
    columns.each([&](long long j) { z(i, j) += b[j]; });
    const T largest = columns.largest(T(LOWEST), [&](long long j) { return z(i, j); });
    const T total = columns.sum(T(0), [&](long long j) { return z(i, j) = formula::softmax_power(z(i, j), largest); });
    const T share = T(1) / total;
    columns.each([&](long long j) { z(i, j) *= share; });
  });
}

template <class T>
DEVICE void softmax_backward(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 1), delta = matrix<T>(call, 2);
  each_row(a.rows, a.columns, [&](long long i, const Lane& columns) {
    const T mean = columns.sum(T(0), [&](long long j) { return a(i, j) * delta(i, j); });
    columns.each([&](long long j) { delta(i, j) = formula::softmax_delta(a(i, j), delta(i, j), mean); });
  });
}

// Costs.

template <class T, class Value>
DEVICE void add_cost(const Call& call, Scratch* scratch, Value value) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto weights = vector<double>(call, 2);
  const auto order = vector<long long>(call, 3), place = vector<long long>(call, 4);
  const auto totals = vector<double>(call, 5);
  const double setting = call.numbers[0];
  const auto weighted = [&](long long k) {
    return formula::weight_of_row(weights, order, place, quotient(k, a.columns)) * value(a[k], y[k], setting);
  };
  sum(a.size(), scratch, weighted, [&](double total) { totals[COST] += total; });
}

template <class T, class Slope>
DEVICE void differentiate_cost(const Call& call, Scratch*, Slope slope) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto shares = vector<T>(call, 2);
  const double setting = call.numbers[0];
  each(a.size(), [&](long long k) { y[k] = slope(a[k], y[k], setting) * shares[quotient(k, a.columns)]; });
}

// Measures.

template <class T>
DEVICE long long largest_of_row(const Matrix<T>& a, long long i) {
  long long largest = 0;
  for (long long j = 1; j < a.columns; ++j)
    if (a(i, j) > a(i, largest)) largest = j;
  return largest;
}

template <class T>
DEVICE void count_classes(const Call& call, Scratch* scratch) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  const auto right = [&](long long i) { return largest_of_row(a, i) == largest_of_row(y, i) ? 1.0 : 0.0; };
  sum(a.rows, scratch, right, [&](double total) { totals[CORRECT] += total; });
}

template <class T>
DEVICE void count_sides(const Call& call, Scratch* scratch) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  const auto right = [&](long long k) { return formula::same_side(a[k], y[k]) ? 1.0 : 0.0; };
  sum(a.size(), scratch, right, [&](double total) { totals[CORRECT] += total; });
}

template <class T>
DEVICE void add_absolute_errors(const Call& call, Scratch* scratch) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  const auto error = [&](long long k) { return formula::absolute_error(a[k], y[k]); };
  sum(a.size(), scratch, error, [&](double total) { totals[ABSOLUTE] += total; });
}

template <class T>
DEVICE void add_squared_errors(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  each_column(a.rows, a.columns, [&](long long j, const Lane& rows) {
    const double total = rows.sum(0.0, [&](long long i) { return formula::squared_error(a(i, j), y(i, j)); });
    if (rows.lane == 0 && j >= 0) totals[SQUARED + j] += total;
  });
}

// Loading a mini-batch.

template <class T>
DEVICE void advance(const Call& call, Scratch*) {
  const auto place = vector<long long>(call, 0);
  once([&] {
    place[FIRST] = place[NEXT];
    place[NEXT] += call.whole[0];
  });
}

template <class T>
DEVICE void gather(const Call& call, Scratch*) {
  const auto source = matrix<T>(call, 0), out = matrix<T>(call, 3);
  const auto order = vector<long long>(call, 1), place = vector<long long>(call, 2);
  each(out.size(), [&](long long k) {
    out[k] = source(order[place[FIRST] + quotient(k, out.columns)], rest(k, out.columns));
  });
}

template <class T>
DEVICE void smooth(const Call& call, Scratch*) {
  const auto y = matrix<T>(call, 0);
  const double share = call.numbers[0];
  each(y.size(), [&](long long k) { y[k] = formula::smoothed(y[k], share, y.columns); });
}

template <class T>
DEVICE void divide(const Call& call, Scratch*) {
  const auto shares = vector<T>(call, 0);
  const auto weights = vector<double>(call, 1);
  const auto order = vector<long long>(call, 2), place = vector<long long>(call, 3);
  each(shares.size, [&](long long i) {
    shares[i] = T(over(formula::weight_of_row(weights, order, place, i), shares.size));
  });
}

// Layers.

template <class T>
DEVICE void drop(const Call& call, Scratch*) {
  const auto source = matrix<T>(call, 0), out = matrix<T>(call, 2);
  const auto memory = vector<double>(call, 1);
  const long long seed = call.whole[0], first = call.whole[1];
  const double share = call.numbers[0];
  const T scale = T(1.0 / (1.0 - share));
  const auto mask = formula::key(seed, DROPOUT, (long long)memory[STEP]);
  each(out.size(), [&](long long k) { out[k] = formula::dropped(source[k], mask, first + k, share, scale); });
}

template <class T>
DEVICE void sum_rows(const Call& call, Scratch*) {
  const auto delta = matrix<T>(call, 0);
  const auto out = vector<T>(call, 1);
  each_column(delta.rows, delta.columns, [&](long long j, const Lane& rows) {
    const T total = rows.sum(T(0), [&](long long i) { return delta(i, j); });
    if (rows.lane == 0 && j >= 0) out[j] = total;
  });
}

template <class T>
DEVICE void standardize(const Call& call, Scratch*) {
  const auto z = matrix<T>(call, 0);
  const auto mean = vector<double>(call, 1), scale = vector<double>(call, 2);
  each_column(z.rows, z.columns, [&](long long j, const Lane& rows) {
    const double m = rows.sum(0.0, [&](long long i) { return z(i, j); }) / z.rows;
    const double squares = rows.sum(0.0, [&](long long i) { return (z(i, j) - m) * (z(i, j) - m); });
    const double s = formula::scale_of(squares / z.rows);
    rows.each([&](long long i) { z(i, j) = T(formula::standardized(z(i, j), m, s)); });
    if (rows.lane == 0 && j >= 0) {
      mean[j] = m;
      scale[j] = s;
    }
  });
}

template <class T>
DEVICE void remember(const Call& call, Scratch*) {
  const auto mean = vector<double>(call, 0), scale = vector<double>(call, 1);
  const auto statistics = vector<T>(call, 2);
  const long long rows = call.whole[0];
  if (rows < 2) return;
  each(mean.size, [&](long long j) {
    T& variance = statistics[mean.size + j];
    statistics[j] = formula::following(statistics[j], mean[j]);
    variance = formula::following(variance, formula::unbiased_variance(scale[j], rows));
  });
}

template <class T>
DEVICE void standardize_as_remembered(const Call& call, Scratch*) {
  const auto z = matrix<T>(call, 0);
  const auto statistics = vector<T>(call, 3);
  each(z.size(), [&](long long k) {
    const long long j = rest(k, z.columns);
    const double scale = formula::scale_of(double(statistics[z.columns + j]));
    z[k] = T(formula::standardized(z[k], double(statistics[j]), scale));
  });
}

template <class T>
DEVICE void multiply(const Call& call, Scratch*) {
  const auto x = matrix<T>(call, 0), out = matrix<T>(call, 2);
  const auto gamma = vector<T>(call, 1);
  each(x.size(), [&](long long k) { out[k] = gamma[rest(k, x.columns)] * x[k]; });
}

template <class T>
DEVICE void through_batch_norm(const Call& call, Scratch*) {
  const auto x = matrix<T>(call, 0), delta = matrix<T>(call, 5);
  const auto gamma = vector<T>(call, 1), b_gradient = vector<T>(call, 3), gamma_gradient = vector<T>(call, 4);
  const auto scale = vector<double>(call, 2);
  const T share = T(1.0 / x.rows);
  each_column(x.rows, x.columns, [&](long long j, const Lane& rows) {
    const T total = rows.sum(T(0), [&](long long i) { return delta(i, j) * x(i, j); });
    rows.each([&](long long i) {
      delta(i, j) = T(
          formula::standardized_delta(delta(i, j), x(i, j), gamma[j], scale[j], b_gradient[j], total, share));
    });
    if (rows.lane == 0 && j >= 0) gamma_gradient[j] = total;
  });
}

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

// Penalties and limits.

template <class T>
DEVICE void penalize_magnitudes(const Call& call, Scratch* scratch) {
  const auto weights = vector<T>(call, 0), gradient = vector<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  const double strength = call.numbers[0], m = double(call.whole[0]);
  const auto penalty = [&](long long k) {
    gradient[k] += formula::magnitude_slope(weights[k], strength);
    return formula::magnitude_penalty(weights[k]);
  };
  sum(weights.size, scratch, penalty, [&](double total) { totals[COST] += m * (strength * total); });
}

template <class T>
DEVICE void penalize_squares(const Call& call, Scratch* scratch) {
  const auto weights = vector<T>(call, 0), gradient = vector<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  const double strength = call.numbers[0], m = double(call.whole[0]);
  const auto penalty = [&](long long k) {
    gradient[k] += formula::square_slope(weights[k], strength);
    return formula::square_penalty(weights[k]);
  };
  sum(weights.size, scratch, penalty, [&](double total) { totals[COST] += m * (strength * total); });
}

template <class T>
DEVICE void measure_length(const Call& call, Scratch* scratch) {
  const auto x = vector<T>(call, 0);
  const auto length = vector<double>(call, 1);
  const auto square = [&](long long k) { return double(x[k]) * double(x[k]); };
  sum(x.size, scratch, square, [&](double total) { length[0] = sqrt(total); });
}

template <class T>
DEVICE void clip_values(const Call& call, Scratch*) {
  const auto gradient = vector<T>(call, 0);
  const double limit = call.numbers[0];
  each(gradient.size, [&](long long k) { gradient[k] = formula::clipped(gradient[k], limit); });
}

template <class T>
DEVICE void shorten(const Call& call, Scratch*) {
  const auto gradient = vector<T>(call, 0);
  const T share = T(formula::share_kept(vector<double>(call, 1)[0], call.numbers[0]));
  if (share < T(1)) each(gradient.size, [&](long long k) { gradient[k] *= share; });
}

template <class T>
DEVICE void limit_rows(const Call& call, Scratch*) {
  const auto w = matrix<T>(call, 0);
  each_row(w.rows, w.columns, [&](long long i, const Lane& columns) {
    const double squares = columns.sum(0.0, [&](long long j) { return double(w(i, j)) * double(w(i, j)); });
    const T share = T(formula::share_kept(sqrt(squares), call.numbers[0]));
    if (share < T(1)) columns.each([&](long long j) { w(i, j) *= share; });
  });
}

// Optimizers.

template <class T, class Prepare>
DEVICE void prepare(const Call& call, Scratch*, Prepare coefficients_of) {
  const auto coefficients = vector<double>(call, 0), settings = vector<double>(call, 1), rates = vector<double>(call, 2);
  const auto memory = vector<double>(call, 3);
  const auto place = vector<long long>(call, 4);
  once([&] {
    memory[STEP] += 1.0;
    coefficients_of(settings, rates[place[FIRST] / call.whole[0]], memory, coefficients);
  });
}

template <class T>
struct Coefficients {
  T values[COEFFICIENTS];

  DEVICE explicit Coefficients(const Vector<double>& given) {
    for (int k = 0; k < COEFFICIENTS; ++k) values[k] = T(given[k]);
  }
  DEVICE T operator[](int k) const { return values[k]; }
};

template <class T, class Rule>
DEVICE void update_without_moments(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const Coefficients<T> c(vector<double>(call, 3));
  each(w.size, [&](long long k) { w[k] = rule(w[k], g[k], c); });
}

template <class T, class Rule>
DEVICE void update_with_one_moment(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const auto moments = matrix<T>(call, 2);
  const Coefficients<T> c(vector<double>(call, 3));
  each(w.size, [&](long long k) {
    const auto changed = rule(w[k], g[k], moments(0, k), c);
    w[k] = changed.first;
    moments(0, k) = changed.second;
  });
}

template <class T, class Rule>
DEVICE void update_with_two_moments(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const auto moments = matrix<T>(call, 2);
  const Coefficients<T> c(vector<double>(call, 3));
  each(w.size, [&](long long k) {
    const auto changed = rule(w[k], g[k], moments(0, k), moments(1, k), c);
    w[k] = changed.first;
    moments(0, k) = changed.second;
    moments(1, k) = changed.third;
  });
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

}  // namespace pattern
