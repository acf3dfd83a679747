// Runs the threads of a launch one after the other, in a random order, which a kernel must not rely on.
//
// A fiber calls the kernel for one thread after the other. At a barrier it is suspended in its current thread, and
// another fiber continues with the remaining threads; when all threads are at the barrier, they are resumed in a new
// order. A kernel without barriers is thus a plain loop on a single fiber. Operations that only a missing barrier would
// order run in a wrong order here.
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <ucontext.h>

struct Coordinates {
    unsigned int x, y, z;
};
Coordinates threadIdx, blockIdx, blockDim, gridDim;

extern char __start_nabla_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_nabla_shared[] __attribute__((weak, visibility("hidden")));

namespace {

enum Outcome : int { DONE, BARRIER_MISSED, NO_STACK, ILLEGAL_ACCESS };
constexpr unsigned MAX_THREADS = 1024;
constexpr std::size_t STACK_BYTES = 128 << 10, PAGE_BYTES = 4096;

struct Fiber {
    jmp_buf state;
    ucontext_t start;
    bool is_started;
};

Fiber fibers[MAX_THREADS];
char* stacks;
jmp_buf scheduler;
sigjmp_buf escape;
char signal_stack[64 << 10];
unsigned current_fiber, next_thread, thread_count, finished_threads, suspended_count, next_resumed, resumed_count;
unsigned thread_order[MAX_THREADS], resumed[MAX_THREADS], suspended[MAX_THREADS];
Coordinates thread_indices[MAX_THREADS];
void (*kernel)(void**);
void** kernel_arguments;
std::uint64_t random_state;

std::uint64_t random_bits() {  // SplitMix64
    std::uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void shuffle(unsigned* items, unsigned count) {
    for (unsigned i = count; i > 1; --i) {
        unsigned j = static_cast<unsigned>((random_bits() >> 32) * i >> 32), swapped = items[i - 1];
        items[i - 1] = items[j];
        items[j] = swapped;
    }
}

Coordinates to_coordinates(std::uint64_t index, const Coordinates& extent) {
    return {unsigned(index % extent.x), unsigned(index / extent.x % extent.y), unsigned(index / extent.x / extent.y)};
}

// Resumes the next fiber at the barrier, or returns to the scheduler after the last one.
[[noreturn]] void switch_fiber() {
    if (next_resumed == resumed_count) _longjmp(scheduler, 1);
    current_fiber = resumed[next_resumed++];
    _longjmp(fibers[current_fiber].state, 1);
}

void run_fiber() {
    for (;;) {
        while (next_thread < thread_count) {
            threadIdx = thread_indices[thread_order[next_thread++]];
            kernel(kernel_arguments);
            ++finished_threads;
        }
        if (!_setjmp(fibers[current_fiber].state)) switch_fiber();
    }
}

__attribute__((noinline)) void resume(unsigned fiber) {
    current_fiber = fiber;
    if (_setjmp(scheduler)) return;
    if (fibers[fiber].is_started) _longjmp(fibers[fiber].state, 1);
    fibers[fiber].is_started = true;
    ucontext_t& start = fibers[fiber].start;
    getcontext(&start);
    start.uc_stack.ss_sp = stacks + fiber * (STACK_BYTES + PAGE_BYTES) + PAGE_BYTES;
    // Stacks that start at the same offset in their pages would compete for the same cache lines.
    start.uc_stack.ss_size = STACK_BYTES - fiber * 448 % 8192;
    start.uc_link = nullptr;
    makecontext(&start, run_fiber, 0);
    setcontext(&start);
}

Outcome run_block() {
    // Shared memory is uninitialized; as floating-point numbers these bytes are NaN.
    if (__start_nabla_shared) std::memset(__start_nabla_shared, 0xff, __stop_nabla_shared - __start_nabla_shared);
    next_thread = finished_threads = suspended_count = next_resumed = resumed_count = 0;
    shuffle(thread_order, thread_count);
    for (unsigned fiber = 0; next_thread < thread_count;) resume(fiber++);
    while (suspended_count) {
        if (finished_threads) return BARRIER_MISSED;
        resumed_count = suspended_count;
        std::memcpy(resumed, suspended, resumed_count * sizeof *resumed);
        suspended_count = 0;
        shuffle(resumed, resumed_count);
        next_resumed = 1;
        resume(resumed[0]);
    }
    return DONE;
}

Outcome run_blocks() {
    const std::uint64_t blocks = std::uint64_t(gridDim.x) * gridDim.y * gridDim.z;
    std::uint64_t block = random_bits() % blocks, step = blocks * 618 / 1000 + 1;
    // The steps visit all blocks if step and number of blocks have no common divisor.
    for (;; ++step) {
        std::uint64_t a = blocks, b = step;
        while (b) { std::uint64_t remainder = a % b; a = b; b = remainder; }
        if (a == 1) break;
    }
    for (std::uint64_t i = 0; i < blocks; ++i) {
        blockIdx = to_coordinates(block, gridDim);
        Outcome outcome = run_block();
        if (outcome != DONE) return outcome;
        block = (block + step) % blocks;
    }
    return DONE;
}

void handle_signal(int) { siglongjmp(escape, 1); }

bool allocate_stacks() {
    if (stacks) return true;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* mapping = mmap(nullptr, MAX_THREADS * (STACK_BYTES + PAGE_BYTES), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mapping == MAP_FAILED) return false;
    stacks = static_cast<char*>(mapping);
    // A guard page below the first stack only: one per stack would split the mapping into thousands, which are limited.
    mprotect(stacks, PAGE_BYTES, PROT_NONE);
    return true;
}

}  // namespace

void __syncthreads() {
    const Coordinates index = threadIdx;
    suspended[suspended_count++] = current_fiber;
    if (!_setjmp(fibers[current_fiber].state)) switch_fiber();
    threadIdx = index;
}

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED long long nabla_shared_bytes() {
    return __start_nabla_shared ? __stop_nabla_shared - __start_nabla_shared : 0;
}

EXPORTED int nabla_launch(void (*enter)(void**), const unsigned* grid, const unsigned* block, void** values,
                          std::uint64_t seed) {
    if (!allocate_stacks()) return NO_STACK;
    kernel = enter, kernel_arguments = values, random_state = seed;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {block[0], block[1], block[2]};
    thread_count = block[0] * block[1] * block[2];
    Coordinates index = {0, 0, 0};
    for (unsigned i = 0; i < thread_count; ++i) {
        thread_order[i] = i, thread_indices[i] = index;
        if (++index.x == blockDim.x) index.x = 0, ++index.y;
        if (index.y == blockDim.y) index.y = 0, ++index.z;
    }

    stack_t alternate_stack = {}, previous_stack;
    alternate_stack.ss_sp = signal_stack, alternate_stack.ss_size = sizeof signal_stack;
    sigaltstack(&alternate_stack, &previous_stack);
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction action = {}, previous_actions[3];
    action.sa_handler = handle_signal, action.sa_flags = SA_ONSTACK;
    for (int i = 0; i < 3; ++i) sigaction(signals[i], &action, &previous_actions[i]);

    Outcome outcome = sigsetjmp(escape, 1) ? ILLEGAL_ACCESS : run_blocks();

    for (int i = 0; i < 3; ++i) sigaction(signals[i], &previous_actions[i], nullptr);
    sigaltstack(&previous_stack, nullptr);
    if (outcome != DONE)
        for (Fiber& fiber : fibers) fiber.is_started = false;
    return outcome;
}
