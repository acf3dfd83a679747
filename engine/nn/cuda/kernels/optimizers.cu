// Optimizers.

template <class T, class Prepare>
DEVICE void prepare(const Call& call, Scratch*, Prepare compute_coefficients) {
  const auto coefficients = vector<double>(call, 0), settings = vector<double>(call, 1);
  const auto rates = vector<double>(call, 2), optimizer_state = vector<double>(call, 3);
  const auto cursor = vector<long long>(call, 4);
  single_thread([&] {
    optimizer_state[STEP] += 1.0;
    compute_coefficients(settings, rates[cursor[BATCH_START] / call.integers[0]], optimizer_state, coefficients);
  });
}

template <class T>
struct Coefficients {
  T values[MAX_COEFFICIENTS];

  DEVICE explicit Coefficients(const Vector<double>& source) {
    for (int k = 0; k < MAX_COEFFICIENTS; ++k) values[k] = T(source[k]);
  }
  DEVICE T operator[](int k) const { return values[k]; }
};

template <class T, class Rule>
DEVICE void update_without_moments(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const Coefficients<T> c(vector<double>(call, 3));
  for_each(w.size, [&](long long k) { w[k] = rule(w[k], g[k], c); });
}

template <class T, class Rule>
DEVICE void update_with_one_moment(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const auto moments = matrix<T>(call, 2);
  const Coefficients<T> c(vector<double>(call, 3));
  for_each(w.size, [&](long long k) {
    const auto updated = rule(w[k], g[k], moments(0, k), c);
    w[k] = updated.first;
    moments(0, k) = updated.second;
  });
}

template <class T, class Rule>
DEVICE void update_with_two_moments(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const auto moments = matrix<T>(call, 2);
  const Coefficients<T> c(vector<double>(call, 3));
  for_each(w.size, [&](long long k) {
    const auto updated = rule(w[k], g[k], moments(0, k), moments(1, k), c);
    w[k] = updated.first;
    moments(0, k) = updated.second;
    moments(1, k) = updated.third;
  });
}
