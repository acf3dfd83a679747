// Runs the threads of a launch one after another, in an order that a kernel must not rely on.
//
// A fiber calls the kernel for thread after thread. At a barrier it parks with the thread it is at, and another fiber
// goes on with the rest; when every thread has parked, all go on in a new order. A kernel without barriers is so a
// plain loop on a single fiber. What a missing barrier would have ordered comes out in the wrong order here.
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

enum Outcome : int { DONE, BARRIER_MISSED, NO_STACK, STRAY_ACCESS };
constexpr unsigned MOST = 1024;
constexpr std::size_t STACK = 128 << 10, PAGE = 4096;

struct Fiber {
    jmp_buf here;
    ucontext_t birth;
    bool alive;
};

Fiber fibers[MOST];
char* stacks;
jmp_buf scheduler;
sigjmp_buf escape;
char signal_stack[64 << 10];
unsigned current, next_thread, threads, finished, parked_fibers, next_turn, waiting;
unsigned order[MOST], turn[MOST], parked[MOST];
Coordinates seats[MOST];
void (*body)(void**);
void** arguments;
std::uint64_t state;

std::uint64_t draw() {  // splitmix64
    std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void shuffle(unsigned* items, unsigned count) {
    for (unsigned i = count; i > 1; --i) {
        unsigned j = static_cast<unsigned>((draw() >> 32) * i >> 32), kept = items[i - 1];
        items[i - 1] = items[j];
        items[j] = kept;
    }
}

Coordinates place(std::uint64_t index, const Coordinates& extent) {
    return {unsigned(index % extent.x), unsigned(index / extent.x % extent.y), unsigned(index / extent.x / extent.y)};
}

// To the next of those that are to go on, or back to where they were woken.
[[noreturn]] void pass_on() {
    if (next_turn == waiting) _longjmp(scheduler, 1);
    current = turn[next_turn++];
    _longjmp(fibers[current].here, 1);
}

void live() {
    for (;;) {
        while (next_thread < threads) {
            threadIdx = seats[order[next_thread++]];
            body(arguments);
            ++finished;
        }
        if (!_setjmp(fibers[current].here)) pass_on();
    }
}

__attribute__((noinline)) void resume(unsigned fiber) {
    current = fiber;
    if (_setjmp(scheduler)) return;
    if (fibers[fiber].alive) _longjmp(fibers[fiber].here, 1);
    fibers[fiber].alive = true;
    ucontext_t& birth = fibers[fiber].birth;
    getcontext(&birth);
    birth.uc_stack.ss_sp = stacks + fiber * (STACK + PAGE) + PAGE;
    // Tops that lie alike in their pages would all want the same lines of the processor's cache.
    birth.uc_stack.ss_size = STACK - fiber * 448 % 8192;
    birth.uc_link = nullptr;
    makecontext(&birth, live, 0);
    setcontext(&birth);
}

Outcome run_block() {
    // What shared memory holds at first is nothing to rely on: as floating-point numbers these bytes are NaN.
    if (__start_nabla_shared) std::memset(__start_nabla_shared, 0xff, __stop_nabla_shared - __start_nabla_shared);
    next_thread = finished = parked_fibers = next_turn = waiting = 0;
    shuffle(order, threads);
    for (unsigned fresh = 0; next_thread < threads;) resume(fresh++);
    while (parked_fibers) {
        if (finished) return BARRIER_MISSED;
        waiting = parked_fibers;
        std::memcpy(turn, parked, waiting * sizeof *turn);
        parked_fibers = 0;
        shuffle(turn, waiting);
        next_turn = 1;
        resume(turn[0]);
    }
    return DONE;
}

Outcome run_blocks() {
    const std::uint64_t blocks = std::uint64_t(gridDim.x) * gridDim.y * gridDim.z;
    std::uint64_t block = draw() % blocks, step = blocks * 618 / 1000 + 1;
    // Such steps visit all when they and the number of blocks have no common divisor.
    for (;; ++step) {
        std::uint64_t a = blocks, b = step;
        while (b) { std::uint64_t rest = a % b; a = b; b = rest; }
        if (a == 1) break;
    }
    for (std::uint64_t i = 0; i < blocks; ++i) {
        blockIdx = place(block, gridDim);
        Outcome outcome = run_block();
        if (outcome != DONE) return outcome;
        block = (block + step) % blocks;
    }
    return DONE;
}

void leave(int) { siglongjmp(escape, 1); }

bool stacks_exist() {
    if (stacks) return true;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* found = mmap(nullptr, MOST * (STACK + PAGE), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (found == MAP_FAILED) return false;
    stacks = static_cast<char*>(found);
    // One mapping: a closed page between any two would make thousands, of which a process may have so many only.
    mprotect(stacks, PAGE, PROT_NONE);
    return true;
}

}  // namespace

void __syncthreads() {
    const Coordinates mine = threadIdx;
    parked[parked_fibers++] = current;
    if (!_setjmp(fibers[current].here)) pass_on();
    threadIdx = mine;
}

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED long long nabla_shared_bytes() {
    return __start_nabla_shared ? __stop_nabla_shared - __start_nabla_shared : 0;
}

EXPORTED int nabla_launch(void (*enter)(void**), const unsigned* grid, const unsigned* block, void** values,
                          std::uint64_t seed) {
    if (!stacks_exist()) return NO_STACK;
    body = enter, arguments = values, state = seed;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {block[0], block[1], block[2]};
    threads = block[0] * block[1] * block[2];
    Coordinates seat = {0, 0, 0};
    for (unsigned i = 0; i < threads; ++i) {
        order[i] = i, seats[i] = seat;
        if (++seat.x == blockDim.x) seat.x = 0, ++seat.y;
        if (seat.y == blockDim.y) seat.y = 0, ++seat.z;
    }

    stack_t apart = {}, stack_before;
    apart.ss_sp = signal_stack, apart.ss_size = sizeof signal_stack;
    sigaltstack(&apart, &stack_before);
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction caught = {}, before[3];
    caught.sa_handler = leave, caught.sa_flags = SA_ONSTACK;
    for (int i = 0; i < 3; ++i) sigaction(signals[i], &caught, &before[i]);

    Outcome outcome = sigsetjmp(escape, 1) ? STRAY_ACCESS : run_blocks();

    for (int i = 0; i < 3; ++i) sigaction(signals[i], &before[i], nullptr);
    sigaltstack(&stack_before, nullptr);
    if (outcome != DONE)
        for (Fiber& fiber : fibers) fiber.alive = false;
    return outcome;
}
