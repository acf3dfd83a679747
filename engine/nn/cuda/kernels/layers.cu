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
