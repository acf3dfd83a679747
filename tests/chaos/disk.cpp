// Preloaded into a process, records all that it and its children do to the files in one directory, in one order.
//
// A record is a line of text, then its data: kind, path, other path, offset, length of data, result. The log is locked
// while the real call is made, so that the order of records is the order of effects. With NABLA_CHAOS_KILL=N the
// process that made operation number N is killed right after it.
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

template <class Function> Function real(Function, const char *name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) static const auto call = real(&::name, #name)

std::string directory() {
    const char *name = getenv("NABLA_CHAOS_DIRECTORY");
    return name ? name : "";
}

// Path relative to the directory; empty if it is not in it.
std::string within(const std::string &path) {
    const std::string root = directory() + "/";
    return root.size() > 1 && path.compare(0, root.size(), root) == 0 ? path.substr(root.size()) : "";
}

std::string of_descriptor(int descriptor) {
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, target, sizeof target);
    const std::string found = length < 0 ? "" : std::string(target, length);
    const std::string gone = " (deleted)"; // its content is never read again
    const bool deleted = found.size() > gone.size() && found.compare(found.size() - gone.size(), gone.size(), gone) == 0;
    return deleted ? "" : found;
}

std::string absolute(int at, const char *path) {
    if (path[0] == '/') return path;
    char here[PATH_MAX];
    return (at == AT_FDCWD ? std::string(getcwd(here, sizeof here)) : of_descriptor(at)) + "/" + path;
}

std::string inside(int at, const char *path) {
    const std::string found = absolute(at, path);
    return found == directory() ? "." : within(found);
}

std::string inside(int descriptor) {
    const std::string found = of_descriptor(descriptor);
    return found == directory() ? "." : within(found);
}

// Holds the log while an operation is made; `done` writes the record.
class Operation {
  public:
    Operation(const char *kind, std::string path, std::string other = "") : kind(kind), path(path), other(other) {
        static const auto open_real = reinterpret_cast<int (*)(const char *, int, ...)>(dlsym(RTLD_NEXT, "open"));
        log = open_real(getenv("NABLA_CHAOS_LOG"), O_WRONLY | O_APPEND | O_CLOEXEC);
        flock(log, LOCK_EX);
    }

    void done(long result, off_t offset = 0, const void *data = nullptr, size_t length = 0) {
        static const auto write_real = reinterpret_cast<decltype(&::writev)>(dlsym(RTLD_NEXT, "writev"));
        char line[2 * PATH_MAX + 100];
        const int size = snprintf(line, sizeof line, "%s\t%s\t%s\t%lld\t%zu\t%ld\n", kind, path.c_str(), other.c_str(),
                                  static_cast<long long>(offset), length, result);
        const iovec parts[] = {{line, static_cast<size_t>(size)}, {const_cast<void *>(data), length}};
        const int error = errno;
        if (write_real(log, parts, length ? 2 : 1) < 0) abort();
        if (is_the_last()) kill(getpid(), SIGKILL);
        errno = error;
    }

    ~Operation() {
        static const auto close_real = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "close"));
        const int error = errno;
        close_real(log);
        errno = error;
    }

  private:
    // One byte for each operation so far, of all processes.
    static bool is_the_last() {
        const char *number = getenv("NABLA_CHAOS_KILL");
        if (!number) return false;
        static const auto open_real = reinterpret_cast<int (*)(const char *, int, ...)>(dlsym(RTLD_NEXT, "open"));
        static const auto write_real = reinterpret_cast<decltype(&::writev)>(dlsym(RTLD_NEXT, "writev"));
        static const auto close_real = reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "close"));
        const std::string name = std::string(getenv("NABLA_CHAOS_LOG")) + ".count";
        const int count = open_real(name.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        char byte = 0;
        const iovec part = {&byte, 1};
        struct stat now;
        if (write_real(count, &part, 1) != 1 || fstat(count, &now) != 0) abort();
        close_real(count);
        return now.st_size == atol(number);
    }

    const char *kind;
    std::string path, other;
    int log;
};

template <class Real> ssize_t written(int descriptor, off_t offset, const void *data, size_t length, Real make) {
    const std::string path = inside(descriptor);
    if (path.empty()) return make();
    Operation operation("write", path);
    if (offset < 0) {
        const bool appends = fcntl(descriptor, F_GETFL) & O_APPEND;
        struct stat now;
        offset = appends && fstat(descriptor, &now) == 0 ? now.st_size : lseek(descriptor, 0, SEEK_CUR);
    }
    const ssize_t result = make();
    if (result > 0) operation.done(result, offset, data, result);
    return result;
}

template <class Real> int synced(int descriptor, Real make) {
    const std::string path = inside(descriptor);
    if (path.empty()) return make();
    Operation operation("sync", path);
    const int result = make();
    if (result == 0) operation.done(result);
    return result;
}

template <class Real> int named(const char *kind, const std::string &path, const std::string &other, Real make) {
    if (path.empty()) return make();
    Operation operation(kind, path, other);
    const int result = make();
    if (result == 0) operation.done(result);
    return result;
}

template <class Real> int opened(int at, const char *name, int flags, Real make) {
    const std::string path = flags & (O_CREAT | O_TRUNC) ? inside(at, name) : "";
    if (path.empty() || path == ".") return make();
    Operation operation("create", path);
    struct stat before;
    const bool existed = fstatat(at, name, &before, 0) == 0;
    const int result = make();
    if (result >= 0 && !existed) operation.done(0);
    if (result >= 0 && existed && flags & O_TRUNC && before.st_size) operation.done(1);
    return result;
}

} // namespace

extern "C" {

ssize_t write(int descriptor, const void *data, size_t length) {
    REAL(write);
    return written(descriptor, -1, data, length, [&] { return call(descriptor, data, length); });
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset) {
    REAL(pwrite);
    return written(descriptor, offset, data, length, [&] { return call(descriptor, data, length, offset); });
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset) {
    REAL(pwrite64);
    return written(descriptor, offset, data, length, [&] { return call(descriptor, data, length, offset); });
}

int fsync(int descriptor) {
    REAL(fsync);
    return synced(descriptor, [&] { return call(descriptor); });
}

int fdatasync(int descriptor) {
    REAL(fdatasync);
    return synced(descriptor, [&] { return call(descriptor); });
}

static int cut(const std::string &path, off_t length, int result) {
    if (result == 0 && !path.empty()) Operation("truncate", path).done(0, length);
    return result;
}

int ftruncate(int descriptor, off_t length) {
    REAL(ftruncate);
    return cut(inside(descriptor), length, call(descriptor, length));
}

int ftruncate64(int descriptor, off64_t length) {
    REAL(ftruncate64);
    return cut(inside(descriptor), length, call(descriptor, length));
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return named("rename", inside(AT_FDCWD, from), inside(AT_FDCWD, to), [&] { return call(from, to); });
}

int renameat(int at, const char *from, int other, const char *to) {
    REAL(renameat);
    return named("rename", inside(at, from), inside(other, to), [&] { return call(at, from, other, to); });
}

int link(const char *from, const char *to) {
    REAL(link);
    return named("link", inside(AT_FDCWD, from), inside(AT_FDCWD, to), [&] { return call(from, to); });
}

int linkat(int at, const char *from, int other, const char *to, int flags) {
    REAL(linkat);
    return named("link", inside(at, from), inside(other, to), [&] { return call(at, from, other, to, flags); });
}

int unlink(const char *path) {
    REAL(unlink);
    return named("unlink", inside(AT_FDCWD, path), "", [&] { return call(path); });
}

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    const char *kind = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
    return named(kind, inside(at, path), "", [&] { return call(at, path, flags); });
}

int rmdir(const char *path) {
    REAL(rmdir);
    return named("rmdir", inside(AT_FDCWD, path), "", [&] { return call(path); });
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return named("mkdir", inside(AT_FDCWD, path), "", [&] { return call(path, mode); });
}

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    return named("mkdir", inside(at, path), "", [&] { return call(at, path, mode); });
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                      \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        const mode_t mode = va_arg(rest, mode_t);                                                                      \
        va_end(rest);                                                                                                  \
        static const auto call = reinterpret_cast<int (*)(const char *, int, ...)>(dlsym(RTLD_NEXT, #name));           \
        return opened(AT_FDCWD, path, flags, [&] { return call(path, flags, mode); });                                 \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int at, const char *path, int flags, ...) {                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        const mode_t mode = va_arg(rest, mode_t);                                                                      \
        va_end(rest);                                                                                                  \
        static const auto call = reinterpret_cast<int (*)(int, const char *, int, ...)>(dlsym(RTLD_NEXT, #name));      \
        return opened(at, path, flags, [&] { return call(at, path, flags, mode); });                                   \
    }
OPENAT(openat)
OPENAT(openat64)
}
