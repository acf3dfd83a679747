// Parallel loops and reductions over arrays.

// k / n and k % n. A GPU divides 64-bit integers many times slower than 32-bit ones, which nearly always suffice.
DEVICE long long quotient(long long k, long long n) {
  return ((k | n) >> 31) ? k / n : (long long)((unsigned int)k / (unsigned int)n);
}

DEVICE long long remainder(long long k, long long n) {
  return ((k | n) >> 31) ? k % n : (long long)((unsigned int)k % (unsigned int)n);
}

template <class Body>
DEVICE void for_each(long long n, Body body) {
  const long long stride = (long long)gridDim.x * blockDim.x;
  for (long long k = (long long)blockIdx.x * blockDim.x + threadIdx.x; k < n; k += stride) body(k);
}

template <class Body>
DEVICE void single_thread(Body body) {
  if (blockIdx.x == 0 && threadIdx.x == 0) body();
}

struct Add {
  template <class S>
  DEVICE S operator()(S a, S b) const {
    return a + b;
  }
};

struct Max {
  template <class S>
  DEVICE S operator()(S a, S b) const {
    return max_of(a, b);
  }
};

// Reduces the values of a group of `lanes` threads that are `stride` threads apart; each of them gets the result. `lane`
// is the thread's index in its group. All threads of the block must call it, each for its group.
template <class S, class Operation>
DEVICE S reduce(S value, int lane, int lanes, int stride, Operation operation) {
  __shared__ S shared[MAX_THREADS];
  const int index = threadIdx.x;
  __syncthreads();
  shared[index] = value;
  __syncthreads();
  for (int half = lanes / 2; half > 0; half /= 2) {
    if (lane < half) shared[index] = operation(shared[index], shared[index + half * stride]);
    __syncthreads();
  }
  return shared[index - lane * stride];
}

// Calls finish(Σ value(k)) in one thread, of the block that is the last to contribute.
template <class Value, class Finish>
DEVICE void sum(long long n, Scratch* scratch, Value value, Finish finish) {
  double block_sum = 0.0;
  for_each(n, [&](long long k) { block_sum += value(k); });
  block_sum = reduce(block_sum, threadIdx.x, blockDim.x, 1, Add());
  if (gridDim.x == 1) {
    if (threadIdx.x == 0) finish(block_sum);
    return;
  }
  __shared__ bool last;
  if (threadIdx.x == 0) {
    scratch->partial[blockIdx.x] = block_sum;
    __threadfence();
    last = atomicAdd(&scratch->arrived, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  const volatile double* partial = scratch->partial;
  double total = 0.0;
  for (int block = threadIdx.x; block < gridDim.x; block += blockDim.x) total += partial[block];
  total = reduce(total, threadIdx.x, blockDim.x, 1, Add());
  if (threadIdx.x == 0) {
    finish(total);
    scratch->arrived = 0;
  }
}

// The elements of a row or column that one thread works on: first, first + step, … below n. `lanes` threads, which are
// `stride` threads apart, share a row or column; `lane` is the thread's index among them. All threads of a block must
// call `sum` and `max`, which reduce over the whole row or column.
struct Lane {
  long long first, step, n;
  int lane, lanes, stride;

  template <class Body>
  DEVICE void for_each(Body body) const {
    for (long long i = first; i < n; i += step) body(i);
  }

  template <class S, class Value>
  DEVICE S sum(S start, Value value) const {
    S total = start;
    for_each([&](long long i) { total += value(i); });
    return reduce(total, lane, lanes, stride, Add());
  }

  template <class S, class Value>
  DEVICE S max(S start, Value value) const {
    S largest = start;
    for_each([&](long long i) { largest = max_of(largest, value(i)); });
    return reduce(largest, lane, lanes, stride, Max());
  }
};

// Calls body(j, rows) for each column; adjacent threads take adjacent columns. Threads without a column get j = −1.
template <class Body>
DEVICE void for_each_column(long long rows, long long columns, Body body) {
  const int lane = threadIdx.x / WIDTH, lanes = blockDim.x / WIDTH;
  for (long long tile = blockIdx.x; tile * WIDTH < columns; tile += gridDim.x) {
    const long long j = tile * WIDTH + threadIdx.x % WIDTH;
    const bool in_range = j < columns;
    body(in_range ? j : -1, Lane{lane, lanes, in_range ? rows : 0, lane, lanes, WIDTH});
  }
}

// Calls body(i, columns) for each row; the threads of a row are adjacent. Threads without a row get i = −1.
template <class Body>
DEVICE void for_each_row(long long rows, long long columns, Body body) {
  const int lane = threadIdx.x % WIDTH, rows_per_block = blockDim.x / WIDTH;
  for (long long tile = blockIdx.x; tile * rows_per_block < rows; tile += gridDim.x) {
    const long long i = tile * rows_per_block + threadIdx.x / WIDTH;
    const bool in_range = i < rows;
    body(in_range ? i : -1, Lane{lane, WIDTH, in_range ? columns : 0, lane, WIDTH, 1});
  }
}
