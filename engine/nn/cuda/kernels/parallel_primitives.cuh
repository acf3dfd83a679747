// Ways to go through arrays.

// k / n and k % n. A GPU divides numbers of 64 bits many times slower than those of 32, which nearly all are.
DEVICE long long quotient(long long k, long long n) {
  return ((k | n) >> 31) ? k / n : (long long)((unsigned int)k / (unsigned int)n);
}

DEVICE long long rest(long long k, long long n) {
  return ((k | n) >> 31) ? k % n : (long long)((unsigned int)k % (unsigned int)n);
}

template <class Body>
DEVICE void each(long long n, Body body) {
  const long long stride = (long long)gridDim.x * blockDim.x;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < n; k += stride) body(k);
}

template <class Body>
DEVICE void once(Body body) {
  if (blockIdx.x == 0 && threadIdx.x == 0) body();
}

struct Add {
  template <class S>
  DEVICE S operator()(S a, S b) const {
    return a + b;
  }
};

struct Larger {
  template <class S>
  DEVICE S operator()(S a, S b) const {
    return larger(a, b);
  }
};

// Combines the values of `lanes` threads that stand `apart` from each other; each of them gets the result. `lane` is the
// thread's number among them. All threads of the block take part, in groups of their own.
template <class S, class Combine>
DEVICE S combine(S mine, int lane, int lanes, int apart, Combine both) {
  __shared__ S shared[MOST_THREADS];
  const int at = threadIdx.x;
  __syncthreads();
  shared[at] = mine;
  __syncthreads();
  for (int half = lanes / 2; half > 0; half /= 2) {
    if (lane < half) shared[at] = both(shared[at], shared[at + half * apart]);
    __syncthreads();
  }
  return shared[at - lane * apart];
}

// finish(Σ value(k)), by one thread.
template <class Value, class Finish>
DEVICE void sum(long long n, Scratch* scratch, Value value, Finish finish) {
  double mine = 0.0;
  each(n, [&](long long k) { mine += value(k); });
  mine = combine(mine, threadIdx.x, blockDim.x, 1, Add());
  if (gridDim.x == 1) {
    if (threadIdx.x == 0) finish(mine);
    return;
  }
  __shared__ bool last;
  if (threadIdx.x == 0) {
    scratch->partial[blockIdx.x] = mine;
    __threadfence();
    last = atomicAdd(&scratch->arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  const volatile double* partial = scratch->partial;
  double total = 0.0;
  for (int block = threadIdx.x; block < gridDim.x; block += blockDim.x) total += partial[block];
  total = combine(total, threadIdx.x, blockDim.x, 1, Add());
  if (threadIdx.x == 0) {
    finish(total);
    scratch->arrived = 0;
  }
}

// body(j, rows): for each column, with the rows that this thread has of it. Neighbouring threads have neighbouring
// columns. Calls of rows.sum are made by all threads of a block; where there is no column left, j is −1.
struct Lane {
  long long first, step, n;
  int lane, lanes, apart;

  template <class Body>
  DEVICE void each(Body body) const {
    for (long long i = first; i < n; i += step) body(i);
  }

  template <class S, class Value>
  DEVICE S sum(S start, Value value) const {
    S mine = start;
    each([&](long long i) { mine += value(i); });
    return combine(mine, lane, lanes, apart, Add());
  }

  template <class S, class Value>
  DEVICE S largest(S start, Value value) const {
    S mine = start;
    each([&](long long i) { mine = larger(mine, value(i)); });
    return combine(mine, lane, lanes, apart, Larger());
  }
};

template <class Body>
DEVICE void each_column(long long rows, long long columns, Body body) {
  const int lane = threadIdx.x / WIDTH, lanes = blockDim.x / WIDTH;
  for (long long tile = blockIdx.x; tile * WIDTH < columns; tile += gridDim.x) {
    const long long j = tile * WIDTH + threadIdx.x % WIDTH;
    const bool there = j < columns;
    body(there ? j : -1, Lane{lane, lanes, there ? rows : 0, lane, lanes, WIDTH});
  }
}

// body(i, columns): the same for each row; the threads of one row lie beside each other.
template <class Body>
DEVICE void each_row(long long rows, long long columns, Body body) {
  const int lane = threadIdx.x % WIDTH, at_once = blockDim.x / WIDTH;
  for (long long tile = blockIdx.x; tile * at_once < rows; tile += gridDim.x) {
    const long long i = tile * at_once + threadIdx.x / WIDTH;
    const bool there = i < rows;
    body(there ? i : -1, Lane{lane, WIDTH, there ? columns : 0, lane, WIDTH, 1});
  }
}
