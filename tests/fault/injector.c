/* Make one system call on the files of a folder fail. This library is loaded before the C library (LD_PRELOAD). Python
 * code chooses the call that fails.
 *
 * The folder is INJECT_FOLDER. A system call is counted, and may fail, if it names a path below that folder or a
 * descriptor that was opened there. An allocation is counted if the calling code is SQLite's (in apsw's shared object).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

int __fxstat64(int version, int fd, struct stat64 *status);
int __xstat64(int version, const char *path, struct stat64 *status);
int __lxstat64(int version, const char *path, struct stat64 *status);

enum {
  OPEN,
  READ,
  WRITE,
  SYNC,
  TRUNCATE,
  LOCK,
  MAP,
  STAT,
  UNLINK,
  RENAME,
  READLINK,
  ALLOCATE_ROOM,
  MALLOC,
  FUTEX,
  CALLS
};

#define DESCRIPTORS 4096

static char watched[DESCRIPTORS];
static long counts[CALLS];
static int armed = -1; /* index of the system call that must fail; -1: none */
static long left;      /* number of these calls that succeed before the failing call */
static int code;       /* errno of the failure; 0: a read or write transfers only half of the bytes */
static int sticky;     /* true if all later calls of the same kind fail, too */
static long failed;
static char *sqlites_begin, *sqlites_end; /* address range of SQLite's machine code */

void inject_reset(void) {
  armed = -1;
  failed = 0;
  memset(counts, 0, sizeof counts);
}

void inject_arm(int call, long nth, int errno_, int all_later) {
  inject_reset();
  left = nth;
  code = errno_;
  sticky = all_later;
  armed = call;
}

long inject_count(int call) { return counts[call]; }

long inject_failed(void) { return failed; }

void inject_sqlite(void *begin, void *end) {
  sqlites_begin = begin;
  sqlites_end = end;
}

static int is_below(const char *path) {
  const char *folder = getenv("INJECT_FOLDER");
  return folder != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_watched(int fd) { return fd >= 0 && fd < DESCRIPTORS && watched[fd]; }

/* Count a system call. Return whether the call must fail, and set errno. A short read or write does not count as a
 * failure: the caller checks is_short. */
static int fails(int call) {
  counts[call]++;
  if (armed != call || left-- > 0) {
    return 0;
  }
  failed++;
  if (!sticky) {
    armed = -1;
  }
  errno = code;
  return 1;
}

#define REAL(name)                                      \
  static __typeof__(name) *real;                        \
  if (real == NULL) {                                   \
    real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
  }

static int noted(int fd, const char *path) {
  if (fd >= 0 && fd < DESCRIPTORS) {
    watched[fd] = (char)is_below(path);
  }
  return fd;
}

#define MODE(flags)                      \
  mode_t mode = 0;                       \
  if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list rest;                        \
    va_start(rest, flags);               \
    mode = va_arg(rest, mode_t);         \
    va_end(rest);                        \
  }

#define WRAP_OPEN(name)                          \
  int name(const char *path, int flags, ...) {   \
    REAL(name)                                   \
    MODE(flags)                                  \
    if (is_below(path) && fails(OPEN)) {         \
      return -1;                                 \
    }                                            \
    return noted(real(path, flags, mode), path); \
  }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(name)                                  \
  int name(int folder, const char *path, int flags, ...) { \
    REAL(name)                                             \
    MODE(flags)                                            \
    if (is_below(path) && fails(OPEN)) {                   \
      return -1;                                           \
    }                                                      \
    return noted(real(folder, path, flags, mode), path);   \
  }
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

int close(int fd) {
  REAL(close)
  if (fd >= 0 && fd < DESCRIPTORS) {
    watched[fd] = 0;
  }
  return real(fd);
}

/* If code is 0, the call transfers only half of the bytes. */
#define WRAP_TRANSFER(name, call, buffer_type, ...)                                  \
  ssize_t name(int fd, buffer_type buffer, size_t size __VA_OPT__(, ) __VA_ARGS__) { \
    REAL(name)                                                                       \
    if (is_watched(fd) && fails(call)) {                                             \
      if (code != 0) {                                                               \
        return -1;                                                                   \
      }                                                                              \
      size = (size + 1) / 2;                                                         \
    }                                                                                \
    return real(fd, buffer, size __VA_OPT__(, at));                                  \
  }
WRAP_TRANSFER(read, READ, void *)
WRAP_TRANSFER(pread, READ, void *, off_t at)
WRAP_TRANSFER(pread64, READ, void *, off64_t at)
WRAP_TRANSFER(write, WRITE, const void *)
WRAP_TRANSFER(pwrite, WRITE, const void *, off_t at)
WRAP_TRANSFER(pwrite64, WRITE, const void *, off64_t at)

#define WRAP_DESCRIPTOR(name, call, parameters, arguments)      \
  int name parameters {                                         \
    REAL(name)                                                  \
    return is_watched(fd) && fails(call) ? -1 : real arguments; \
  }
WRAP_DESCRIPTOR(fsync, SYNC, (int fd), (fd))
WRAP_DESCRIPTOR(fdatasync, SYNC, (int fd), (fd))
WRAP_DESCRIPTOR(ftruncate, TRUNCATE, (int fd, off_t size), (fd, size))
WRAP_DESCRIPTOR(ftruncate64, TRUNCATE, (int fd, off64_t size), (fd, size))
WRAP_DESCRIPTOR(fstat, STAT, (int fd, struct stat *status), (fd, status))
WRAP_DESCRIPTOR(fstat64, STAT, (int fd, struct stat64 *status), (fd, status))

/* Programs that were built with older C libraries call fstat64 by this name. */
WRAP_DESCRIPTOR(__fxstat64, STAT, (int version, int fd, struct stat64 *status), (version, fd, status))

#define WRAP_ROOM(name, offset)                                                \
  int name(int fd, offset at, offset size) {                                   \
    REAL(name)                                                                 \
    return is_watched(fd) && fails(ALLOCATE_ROOM) ? code : real(fd, at, size); \
  }
WRAP_ROOM(posix_fallocate, off_t)
WRAP_ROOM(posix_fallocate64, off64_t)

#define WRAP_FCNTL(name)                                                                                        \
  int name(int fd, int command, ...) {                                                                          \
    REAL(name)                                                                                                  \
    va_list rest;                                                                                               \
    va_start(rest, command);                                                                                    \
    void *argument = va_arg(rest, void *);                                                                      \
    va_end(rest);                                                                                               \
    int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW; \
    /* Calls that release a lock never fail, because they do not fail on any kernel. */                         \
    if (locks && is_watched(fd) && ((struct flock *)argument)->l_type != F_UNLCK && fails(LOCK)) {              \
      return -1;                                                                                                \
    }                                                                                                           \
    return real(fd, command, argument);                                                                         \
  }
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)

#define WRAP_MAP(name, offset)                                                                       \
  void *name(void *where, size_t size, int protection, int flags, int fd, offset at) {               \
    REAL(name)                                                                                       \
    return is_watched(fd) && fails(MAP) ? MAP_FAILED : real(where, size, protection, flags, fd, at); \
  }
WRAP_MAP(mmap, off_t)
WRAP_MAP(mmap64, off64_t)

#define WRAP_PATH(name, call, parameters, arguments)            \
  int name parameters {                                         \
    REAL(name)                                                  \
    return is_below(path) && fails(call) ? -1 : real arguments; \
  }
WRAP_PATH(stat, STAT, (const char *path, struct stat *status), (path, status))
WRAP_PATH(stat64, STAT, (const char *path, struct stat64 *status), (path, status))
WRAP_PATH(lstat, STAT, (const char *path, struct stat *status), (path, status))
WRAP_PATH(lstat64, STAT, (const char *path, struct stat64 *status), (path, status))
WRAP_PATH(__xstat64, STAT, (int version, const char *path, struct stat64 *status), (version, path, status))
WRAP_PATH(__lxstat64, STAT, (int version, const char *path, struct stat64 *status), (version, path, status))
WRAP_PATH(unlink, UNLINK, (const char *path), (path))
WRAP_PATH(rename, RENAME, (const char *path, const char *target), (path, target))
WRAP_PATH(link, RENAME, (const char *path, const char *target), (path, target))

ssize_t readlink(const char *path, char *buffer, size_t size) {
  REAL(readlink)
  int concerns = is_below(path) || (strncmp(path, "/proc/self/fd/", 14) == 0 && is_watched(atoi(path + 14)));
  return concerns && fails(READLINK) ? -1 : real(path, buffer, size);
}

static int is_sqlites(void *caller) { return (char *)caller >= sqlites_begin && (char *)caller < sqlites_end; }

void *malloc(size_t size) {
  REAL(malloc)
  return is_sqlites(__builtin_return_address(0)) && fails(MALLOC) ? NULL : real(size);
}

void *realloc(void *memory, size_t size) {
  REAL(realloc)
  return is_sqlites(__builtin_return_address(0)) && fails(MALLOC) ? NULL : real(memory, size);
}

/* In a Python process, only the C core calls syscall(), for its futexes. */
long syscall(long number, ...) {
  REAL(syscall)
  long arguments[6];
  va_list rest;
  va_start(rest, number);
  for (int i = 0; i < 6; i++) {
    arguments[i] = va_arg(rest, long);
  }
  va_end(rest);
  if (number == SYS_futex && fails(FUTEX)) {
    return -1;
  }
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
