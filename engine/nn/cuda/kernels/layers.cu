// Dropout, sums over rows and batch normalization.

template <class T>
DEVICE void apply_dropout(const Call& call, Scratch*) {
  const auto source = matrix<T>(call, 0), out = matrix<T>(call, 2);
  const auto optimizer_state = vector<double>(call, 1);
  const long long seed = call.integers[0], first_counter = call.integers[1];
  const double probability = call.floats[0];
  const T scale = T(1.0 / (1.0 - probability));
  const auto key = formula::stream_key(seed, DROPOUT, (long long)optimizer_state[STEP]);
  for_each(out.size(), [&](long long k) {
    out[k] = formula::dropout_value(source[k], key, first_counter + k, probability, scale);
  });
}

template <class T>
DEVICE void sum_rows(const Call& call, Scratch*) {
  const auto delta = matrix<T>(call, 0);
  const auto out = vector<T>(call, 1);
  for_each_column(delta.rows, delta.columns, [&](long long j, const Lane& rows) {
    const T total = rows.sum(T(0), [&](long long i) { return delta(i, j); });
    if (rows.lane == 0 && j >= 0) out[j] = total;
  });
}

template <class T>
DEVICE void normalize_batch(const Call& call, Scratch*) {
  const auto z = matrix<T>(call, 0);
  const auto mean = vector<double>(call, 1), scale = vector<double>(call, 2);
  for_each_column(z.rows, z.columns, [&](long long j, const Lane& rows) {
    const double m = rows.sum(0.0, [&](long long i) { return z(i, j); }) / z.rows;
    const double squares = rows.sum(0.0, [&](long long i) { return (z(i, j) - m) * (z(i, j) - m); });
    const double s = formula::inverse_std(squares / z.rows);
    rows.for_each([&](long long i) { z(i, j) = T(formula::normalize(z(i, j), m, s)); });
    if (rows.lane == 0 && j >= 0) {
      mean[j] = m;
      scale[j] = s;
    }
  });
}

template <class T>
DEVICE void update_running_stats(const Call& call, Scratch*) {
  const auto mean = vector<double>(call, 0), scale = vector<double>(call, 1);
  const auto statistics = vector<T>(call, 2);
  const long long rows = call.integers[0];
  if (rows < 2) return;
  for_each(mean.size, [&](long long j) {
    T& variance = statistics[mean.size + j];
    statistics[j] = formula::ema(statistics[j], mean[j]);
    variance = formula::ema(variance, formula::unbiased_variance(scale[j], rows));
  });
}

template <class T>
DEVICE void normalize_with_running_stats(const Call& call, Scratch*) {
  const auto z = matrix<T>(call, 0);
  const auto statistics = vector<T>(call, 3);
  for_each(z.size(), [&](long long k) {
    const long long j = remainder(k, z.columns);
    const double scale = formula::inverse_std(double(statistics[z.columns + j]));
    z[k] = T(formula::normalize(z[k], double(statistics[j]), scale));
  });
}

template <class T>
DEVICE void scale_by_gamma(const Call& call, Scratch*) {
  const auto x = matrix<T>(call, 0), out = matrix<T>(call, 2);
  const auto gamma = vector<T>(call, 1);
  for_each(x.size(), [&](long long k) { out[k] = gamma[remainder(k, x.columns)] * x[k]; });
}

template <class T>
DEVICE void batch_norm_backward(const Call& call, Scratch*) {
  const auto x = matrix<T>(call, 0), delta = matrix<T>(call, 5);
  const auto gamma = vector<T>(call, 1), b_gradient = vector<T>(call, 3), gamma_gradient = vector<T>(call, 4);
  const auto scale = vector<double>(call, 2);
  const T inverse_m = T(1.0 / x.rows);
  for_each_column(x.rows, x.columns, [&](long long j, const Lane& rows) {
    const T total = rows.sum(T(0), [&](long long i) { return delta(i, j) * x(i, j); });
    rows.for_each([&](long long i) {
      delta(i, j) = T(
          formula::normalize_delta(delta(i, j), x(i, j), gamma[j], scale[j], b_gradient[j], total, inverse_m));
    });
    if (rows.lane == 0 && j >= 0) gamma_gradient[j] = total;
  });
}
