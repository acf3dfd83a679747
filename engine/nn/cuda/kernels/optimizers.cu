// Optimizers.

template <class T, class Prepare>
DEVICE void prepare(const Call& call, Scratch*, Prepare coefficients_of) {
  const auto coefficients = vector<double>(call, 0), settings = vector<double>(call, 1), rates = vector<double>(call, 2);
  const auto memory = vector<double>(call, 3);
  const auto place = vector<long long>(call, 4);
  once([&] {
    memory[STEP] += 1.0;
    coefficients_of(settings, rates[place[FIRST] / call.whole[0]], memory, coefficients);
  });
}

template <class T>
struct Coefficients {
  T values[COEFFICIENTS];

  DEVICE explicit Coefficients(const Vector<double>& given) {
    for (int k = 0; k < COEFFICIENTS; ++k) values[k] = T(given[k]);
  }
  DEVICE T operator[](int k) const { return values[k]; }
};

template <class T, class Rule>
DEVICE void update_without_moments(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const Coefficients<T> c(vector<double>(call, 3));
  each(w.size, [&](long long k) { w[k] = rule(w[k], g[k], c); });
}

template <class T, class Rule>
DEVICE void update_with_one_moment(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const auto moments = matrix<T>(call, 2);
  const Coefficients<T> c(vector<double>(call, 3));
  each(w.size, [&](long long k) {
    const auto changed = rule(w[k], g[k], moments(0, k), c);
    w[k] = changed.first;
    moments(0, k) = changed.second;
  });
}

template <class T, class Rule>
DEVICE void update_with_two_moments(const Call& call, Scratch*, Rule rule) {
  const auto w = vector<T>(call, 0), g = vector<T>(call, 1);
  const auto moments = matrix<T>(call, 2);
  const Coefficients<T> c(vector<double>(call, 3));
  each(w.size, [&](long long k) {
    const auto changed = rule(w[k], g[k], moments(0, k), moments(1, k), c);
    w[k] = changed.first;
    moments(0, k) = changed.second;
    moments(1, k) = changed.third;
  });
}
