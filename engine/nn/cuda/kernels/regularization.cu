// Penalties, gradient clipping and max-norm.

template <class T, class Derivative, class Penalty>
DEVICE void penalize(const Call& call, Scratch* scratch, Derivative derivative, Penalty penalty) {
  const auto weights = vector<T>(call, 0), gradient = vector<T>(call, 1);
  const auto metric_sums = vector<double>(call, 2);
  const double strength = call.floats[0], m = double(call.integers[0]);
  const auto add_penalty = [&](long long k) {
    gradient[k] += derivative(weights[k], strength);
    return penalty(weights[k]);
  };
  sum(weights.size, scratch, add_penalty, [&](double total) { metric_sums[COST] += m * (strength * total); });
}

template <class T>
DEVICE void compute_norm(const Call& call, Scratch* scratch) {
  const auto x = vector<T>(call, 0);
  const auto norm = vector<double>(call, 1);
  const auto square = [&](long long k) { return double(x[k]) * double(x[k]); };
  sum(x.size, scratch, square, [&](double total) { norm[0] = sqrt(total); });
}

template <class T>
DEVICE void clip_by_value(const Call& call, Scratch*) {
  const auto gradient = vector<T>(call, 0);
  const double limit = call.floats[0];
  for_each(gradient.size, [&](long long k) { gradient[k] = formula::clip_value_to(gradient[k], limit); });
}

template <class T>
DEVICE void clip_by_norm(const Call& call, Scratch*) {
  const auto gradient = vector<T>(call, 0);
  const T scale = T(formula::norm_scale(vector<double>(call, 1)[0], call.floats[0]));
  if (scale < T(1)) for_each(gradient.size, [&](long long k) { gradient[k] *= scale; });
}

template <class T>
DEVICE void clip_row_norms(const Call& call, Scratch*) {
  const auto w = matrix<T>(call, 0);
  for_each_row(w.rows, w.columns, [&](long long i, const Lane& columns) {
    const double squares = columns.sum(0.0, [&](long long j) { return double(w(i, j)) * double(w(i, j)); });
    const T scale = T(formula::norm_scale(sqrt(squares), call.floats[0]));
    if (scale < T(1)) columns.for_each([&](long long j) { w(i, j) *= scale; });
  });
}
