// Activations.

// Below what a network can put out; no infinity, which has no name here.
const double LOWEST = sizeof(Number) == 4 ? -3.4e38 : -1.7e308;

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
