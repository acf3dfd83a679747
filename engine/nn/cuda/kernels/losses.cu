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
DEVICE void add_absolute_errors(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  each_column(a.rows, a.columns, [&](long long j, const Lane& rows) {
    const double total = rows.sum(0.0, [&](long long i) { return formula::absolute_error(a(i, j), y(i, j)); });
    if (rows.lane == 0 && j >= 0) totals[ERRORS + j] += total;
  });
}

template <class T>
DEVICE void add_squared_errors(const Call& call, Scratch*) {
  const auto a = matrix<T>(call, 0), y = matrix<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  each_column(a.rows, a.columns, [&](long long j, const Lane& rows) {
    const double total = rows.sum(0.0, [&](long long i) { return formula::squared_error(a(i, j), y(i, j)); });
    if (rows.lane == 0 && j >= 0) totals[ERRORS + a.columns + j] += total;
  });
}
