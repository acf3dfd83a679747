// Costs.

template <class T, class Value>
DEVICE void add_cost(const Call& call, Scratch* scratch, Value value) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto weights = vector<double>(call, 2);
  const auto order = vector<long long>(call, 3), cursor = vector<long long>(call, 4);
  const auto metric_sums = vector<double>(call, 5);
  const double parameter = call.floats[0];
  const auto weighted_cost = [&](long long k) {
    return formula::sample_weight(weights, order, cursor, quotient(k, a.columns)) * value(a[k], y[k], parameter);
  };
  sum(a.size(), scratch, weighted_cost, [&](double total) { metric_sums[COST] += total; });
}

template <class T, class Derivative>
DEVICE void differentiate_cost(const Call& call, Scratch*, Derivative derivative) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto batch_weights = vector<T>(call, 2);
  const double parameter = call.floats[0];
  for_each(a.size(), [&](long long k) {
    y[k] = derivative(a[k], y[k], parameter) * batch_weights[quotient(k, a.columns)];
  });
}

// Metrics.

template <class T>
DEVICE long long argmax_of_row(const Matrix<T>& a, long long i) {
  long long largest = 0;
  for (long long j = 1; j < a.columns; ++j)
    if (a(i, j) > a(i, largest)) largest = j;
  return largest;
}

template <class T>
DEVICE void count_categorical_correct(const Call& call, Scratch* scratch) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto metric_sums = vector<double>(call, 2);
  const auto is_correct = [&](long long i) { return argmax_of_row(a, i) == argmax_of_row(y, i) ? 1.0 : 0.0; };
  sum(a.rows, scratch, is_correct, [&](double total) { metric_sums[CORRECT] += total; });
}

template <class T>
DEVICE void count_binary_correct(const Call& call, Scratch* scratch) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto metric_sums = vector<double>(call, 2);
  const auto is_correct = [&](long long k) { return formula::is_binary_correct(a[k], y[k]) ? 1.0 : 0.0; };
  sum(a.size(), scratch, is_correct, [&](double total) { metric_sums[CORRECT] += total; });
}

template <class T>
DEVICE void add_absolute_errors(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto metric_sums = vector<double>(call, 2);
  for_each_column(a.rows, a.columns, [&](long long j, const Lane& rows) {
    const double total = rows.sum(0.0, [&](long long i) { return formula::absolute_error(a(i, j), y(i, j)); });
    if (rows.lane == 0 && j >= 0) metric_sums[ERRORS + j] += total;
  });
}

template <class T>
DEVICE void add_squared_errors(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto metric_sums = vector<double>(call, 2);
  for_each_column(a.rows, a.columns, [&](long long j, const Lane& rows) {
    const double total = rows.sum(0.0, [&](long long i) { return formula::squared_error(a(i, j), y(i, j)); });
    if (rows.lane == 0 && j >= 0) metric_sums[ERRORS + a.columns + j] += total;
  });
}
