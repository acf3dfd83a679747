// Activations.

// Below every weighted sum. NVRTC has no name for infinity.
const double LOWEST = sizeof(Number) == 4 ? -3.4e38 : -1.7e308;

template <class T, class Value>
DEVICE void forward_from_output(const Call& call, Scratch*, Value value) {
  const auto z = matrix<T>(call, 0);
  const auto b = vector<T>(call, 1);
  for_each(z.size(), [&](long long k) { z[k] = value(z[k] + b[remainder(k, z.columns)]); });
}

template <class T, class Derivative>
DEVICE void backward_from_output(const Call& call, Scratch*, Derivative derivative) {
  const auto a = matrix<T>(call, 1), delta = matrix<T>(call, 2);
  for_each(a.size(), [&](long long k) { delta[k] *= derivative(a[k]); });
}

template <class T, class Value>
DEVICE void forward_from_input(const Call& call, Scratch*, Value value) {
  const auto z = matrix<T>(call, 0), a = matrix<T>(call, 2);
  const auto b = vector<T>(call, 1);
  for_each(z.size(), [&](long long k) {
    z[k] += b[remainder(k, z.columns)];
    a[k] = value(z[k]);
  });
}

template <class T, class Derivative>
DEVICE void backward_from_input(const Call& call, Scratch*, Derivative derivative) {
  const auto z = matrix<T>(call, 0), delta = matrix<T>(call, 2);
  for_each(z.size(), [&](long long k) { delta[k] *= derivative(z[k]); });
}

template <class T>
DEVICE void softmax_forward(const Call& call, Scratch*) {
  const auto z = matrix<T>(call, 0);
  const auto b = vector<T>(call, 1);
  for_each_row(z.rows, z.columns, [&](long long i, const Lane& columns) {
    columns.for_each([&](long long j) { z(i, j) += b[j]; });
    const T row_max = columns.max(T(LOWEST), [&](long long j) { return z(i, j); });
    const T total = columns.sum(T(0), [&](long long j) { return z(i, j) = formula::softmax_exp(z(i, j), row_max); });
    const T inverse = T(1) / total;
    columns.for_each([&](long long j) { z(i, j) *= inverse; });
  });
}

template <class T>
DEVICE void softmax_backward(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 1), delta = matrix<T>(call, 2);
  for_each_row(a.rows, a.columns, [&](long long i, const Lane& columns) {
    const T weighted_sum = columns.sum(T(0), [&](long long j) { return a(i, j) * delta(i, j); });
    columns.for_each([&](long long j) { delta(i, j) = formula::softmax_delta(a(i, j), delta(i, j), weighted_sum); });
  });
}
