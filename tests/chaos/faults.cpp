// Preloaded into a service: calls on some files fail with EIO as long as the file NABLA_FAULTS exists. It has the call,
// "write", "sync" or "read", and a part of the paths of the files, such as "sync journal.sqlite". With "once" after them
// the first call that fails removes the file.
#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

bool fails(const char* call, int descriptor) {
    const char* rule = std::getenv("NABLA_FAULTS");
    if (!rule || access(rule, F_OK) != 0) return false;
    char which[16], part[256], times[8], path[4096];
    std::FILE* file = std::fopen(rule, "r");
    if (!file) return false;
    const int found = std::fscanf(file, "%15s %255s %7s", which, part, times);
    std::fclose(file);
    if (found < 2 || std::strcmp(which, call) != 0) return false;
    const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
    const ssize_t length = readlink(link.c_str(), path, sizeof path - 1);
    if (length < 0) return false;
    path[length] = 0;
    if (!std::strstr(path, part)) return false;
    if (found == 3 && std::strcmp(times, "once") == 0 && std::remove(rule) != 0) return false;
    errno = EIO;
    return true;
}

template <class Call>
Call next(const char* name) {
    return reinterpret_cast<Call>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* from, size_t size) {
    static const auto call = next<ssize_t (*)(int, const void*, size_t)>("write");
    return fails("write", descriptor) ? -1 : call(descriptor, from, size);
}

ssize_t pwrite64(int descriptor, const void* from, size_t size, off64_t at) {
    static const auto call = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
    return fails("write", descriptor) ? -1 : call(descriptor, from, size, at);
}

ssize_t pwrite(int descriptor, const void* from, size_t size, off_t at) { return pwrite64(descriptor, from, size, at); }

ssize_t read(int descriptor, void* to, size_t size) {
    static const auto call = next<ssize_t (*)(int, void*, size_t)>("read");
    // The rule itself is read with a call inside the C library, which does not come here.
    return fails("read", descriptor) ? -1 : call(descriptor, to, size);
}

ssize_t pread64(int descriptor, void* to, size_t size, off64_t at) {
    static const auto call = next<ssize_t (*)(int, void*, size_t, off64_t)>("pread64");
    return fails("read", descriptor) ? -1 : call(descriptor, to, size, at);
}

ssize_t pread(int descriptor, void* to, size_t size, off_t at) { return pread64(descriptor, to, size, at); }

int fsync(int descriptor) {
    static const auto call = next<int (*)(int)>("fsync");
    return fails("sync", descriptor) ? -1 : call(descriptor);
}

int fdatasync(int descriptor) {
    static const auto call = next<int (*)(int)>("fdatasync");
    return fails("sync", descriptor) ? -1 : call(descriptor);
}

}  // extern "C"
