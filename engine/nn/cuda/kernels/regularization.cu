// Penalties and limits.

template <class T, class Slope, class Penalty>
DEVICE void penalize(const Call& call, Scratch* scratch, Slope slope, Penalty penalty_of) {
  const auto weights = vector<T>(call, 0), gradient = vector<T>(call, 1);
  const auto totals = vector<double>(call, 2);
  const double strength = call.numbers[0], m = double(call.whole[0]);
  const auto penalty = [&](long long k) {
    gradient[k] += slope(weights[k], strength);
    return penalty_of(weights[k]);
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
