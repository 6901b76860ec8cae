/* Makes reads of chosen files fail as a disk does: with EIO, as long as a mark stands.
   LOGMILL_TEST_FAULT is a part of their paths, LOGMILL_TEST_MARK the file that is the mark; where
   LOGMILL_TEST_ONCE is set the first read that fails takes the mark away. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int fd) {
    const char *part = getenv("LOGMILL_TEST_FAULT"), *mark = getenv("LOGMILL_TEST_MARK");
    if (part == NULL || mark == NULL || access(mark, F_OK) != 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strstr(path, part) == NULL) return 0;
    if (getenv("LOGMILL_TEST_ONCE") != NULL && unlink(mark) != 0) return 0;
    errno = EIO;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t read(int fd, void *bytes, size_t count) {
    REAL(read);
    return fails(fd) ? -1 : real(fd, bytes, count);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t from) {
    REAL(pread64);
    return fails(fd) ? -1 : real(fd, bytes, count, from);
}

ssize_t readv(int fd, const struct iovec *parts, int count) {
    REAL(readv);
    return fails(fd) ? -1 : real(fd, parts, count);
}
