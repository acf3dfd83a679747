// Loading of a mini-batch.

template <class T>
DEVICE void advance_cursor(const Call& call, Scratch*) {
  const auto cursor = vector<long long>(call, 0);
  single_thread([&] {
    cursor[BATCH_START] = cursor[NEXT_START];
    cursor[NEXT_START] += call.integers[0];
  });
}

template <class T>
DEVICE void gather_rows(const Call& call, Scratch*) {
  const auto source = matrix<T>(call, 0), out = matrix<T>(call, 3);
  const auto order = vector<long long>(call, 1), cursor = vector<long long>(call, 2);
  for_each(out.size(), [&](long long k) {
    out[k] = source(order[cursor[BATCH_START] + quotient(k, out.columns)], remainder(k, out.columns));
  });
}

template <class T>
DEVICE void smooth_labels(const Call& call, Scratch*) {
  const auto y = matrix<T>(call, 0);
  const double smoothing = call.floats[0];
  for_each(y.size(), [&](long long k) { y[k] = formula::smooth_label(y[k], smoothing, y.columns); });
}

template <class T>
DEVICE void compute_batch_weights(const Call& call, Scratch*) {
  const auto batch_weights = vector<T>(call, 0);
  const auto weights = vector<double>(call, 1);
  const auto order = vector<long long>(call, 2), cursor = vector<long long>(call, 3);
  for_each(batch_weights.size, [&](long long i) {
    batch_weights[i] = T(divide(formula::sample_weight(weights, order, cursor, i), batch_weights.size));
  });
}
