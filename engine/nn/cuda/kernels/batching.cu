// Loading a mini-batch.

template <class T>
DEVICE void advance(const Call& call, Scratch*) {
  const auto place = vector<long long>(call, 0);
  once([&] {
    place[FIRST] = place[NEXT];
    place[NEXT] += call.whole[0];
  });
}

template <class T>
DEVICE void gather(const Call& call, Scratch*) {
  const auto source = matrix<T>(call, 0), out = matrix<T>(call, 3);
  const auto order = vector<long long>(call, 1), place = vector<long long>(call, 2);
  each(out.size(), [&](long long k) {
    out[k] = source(order[place[FIRST] + quotient(k, out.columns)], rest(k, out.columns));
  });
}

template <class T>
DEVICE void smooth(const Call& call, Scratch*) {
  const auto y = matrix<T>(call, 0);
  const double share = call.numbers[0];
  each(y.size(), [&](long long k) { y[k] = formula::smoothed(y[k], share, y.columns); });
}

template <class T>
DEVICE void divide(const Call& call, Scratch*) {
  const auto shares = vector<T>(call, 0);
  const auto weights = vector<double>(call, 1);
  const auto order = vector<long long>(call, 2), place = vector<long long>(call, 3);
  each(shares.size, [&](long long i) {
    shares[i] = T(over(formula::weight_of_row(weights, order, place, i), shares.size));
  });
}
