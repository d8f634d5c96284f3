/* Record the operations of a process on the files of one folder. From the records, a test rebuilds the disk as a power
 * cut at any moment could have left it. This library is preloaded (LD_PRELOAD). RECORD_FOLDER is the folder, RECORD_LOG
 * the file to which the records are appended.
 *
 * A sync is two records, its begin and its end. When a sync has ended, all data that was written before the sync began
 * is durable. Until then, that data may not be durable. Syncs are only recorded, not performed, so that tests are fast. All other
 * operations are performed. Writes to a mapping are not recorded: the mapped files, -shm and -bell, must not matter
 * after a power cut.
 *
 * With RECORD_FAIL_EVERY=n, every n-th sync of a file fails, counted over all processes. As with the kernel, each
 * descriptor that was open at that time reports the failure once, and descriptors opened later never report the
 * failure. The data that was not synced may be missing for good, since a later sync does not write it. A descriptor
 * that is opened before the store was marked reports the failure, too, because no store can prevent the loss in the
 * microseconds between the failure and the mark. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 1024, INODES = 64 };

/* A record about the folder itself has an empty name. */
struct record {
  int64_t kind; /* 'c'reated, 'w'ritten, 't'runcated, 'u'nlinked, 'r'enamed, sync 'b'egun, and 'e'nded or 'f'ailed */
  int64_t inode;
  int64_t offset; /* offset of a write, new size of a file, or number of a sync */
  int64_t name_len;
  int64_t data_len; /* length of the written data or of the new name */
};

/* Forked children share this lock, so in every process an operation and its record are one atomic step. */
static struct {
  pthread_mutex_t lock;
  int64_t syncs;
  int64_t failures[INODES]; /* number of failures of the files whose inode has this remainder */
  int64_t marked[INODES];   /* value of failures when the -sessions file was last written */
} *shared;
static pthread_mutex_t *lock;
static int64_t fail_every;
static int64_t heard[DESCRIPTORS_MAX]; /* number of failures that each descriptor has reported */
static const char *folder;
static size_t folder_len;
static int record_fd = -1;
static int64_t syncs;
/* File names by descriptor; NULL for a descriptor of a file outside the folder. */
static char *names[DESCRIPTORS_MAX];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void) {
  pthread_mutexattr_t across;
  pthread_mutexattr_init(&across);
  pthread_mutexattr_setpshared(&across, PTHREAD_PROCESS_SHARED);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) abort();
  lock = &shared->lock;
  pthread_mutex_init(lock, &across);
  folder = getenv("RECORD_FOLDER");
  folder_len = folder ? strlen(folder) : 0;
  fail_every = getenv("RECORD_FAIL_EVERY") ? atoi(getenv("RECORD_FAIL_EVERY")) : 0;
  if (folder) record_fd = REAL(open)(getenv("RECORD_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Return the part of a path after the folder and its slash: "" for the folder itself, NULL for a path outside it. */
static const char *inside(const char *path) {
  if (!folder || strncmp(path, folder, folder_len) != 0) return NULL;
  if (path[folder_len] == 0) return "";
  return path[folder_len] == '/' ? path + folder_len + 1 : NULL;
}

static const char *name_of(int fd) { return fd >= 0 && fd < DESCRIPTORS_MAX ? names[fd] : NULL; }

/* Append a record. The caller holds the lock, so the records are in the order of the operations. */
static void note(char kind, int64_t inode, int64_t offset, const char *name, const void *data, size_t data_len) {
  struct record head = {kind, inode, offset, (int64_t)strlen(name), (int64_t)data_len};
  struct iovec parts[3] = {{&head, sizeof head}, {(void *)name, (size_t)head.name_len}, {(void *)data, data_len}};
  if (writev(record_fd, parts, 3) != (ssize_t)(sizeof head + (size_t)head.name_len + data_len)) abort();
}

static int64_t inode_of(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 ? (int64_t)status.st_ino : -1;
}

static int64_t *failures(int fd) { return &shared->failures[inode_of(fd) % INODES]; }

static int opened(const char *path, int flags, mode_t mode) {
  const char *name = inside(path);
  if (!name) return REAL(open)(path, flags, mode);
  pthread_mutex_lock(lock);
  int fresh = (flags & O_CREAT) && access(path, F_OK) != 0;
  int fd = REAL(open)(path, flags, mode);
  if (fd >= 0 && fd < DESCRIPTORS_MAX) {
    names[fd] = strdup(name);
    heard[fd] = shared->marked[inode_of(fd) % INODES];
    if (fresh) note('c', inode_of(fd), 0, name, "", 0);
    if (!fresh && (flags & O_TRUNC)) note('t', inode_of(fd), 0, name, "", 0);
  }
  pthread_mutex_unlock(lock);
  return fd;
}

#define OPEN(function)                             \
  int function(const char *path, int flags, ...) { \
    va_list more;                                  \
    va_start(more, flags);                         \
    mode_t mode = va_arg(more, mode_t);            \
    va_end(more);                                  \
    return opened(path, flags, mode);              \
  }
OPEN(open)
OPEN(open64)

#define OPEN_AT(function)                                          \
  int function(int at, const char *path, int flags, ...) {         \
    va_list more;                                                  \
    va_start(more, flags);                                         \
    mode_t mode = va_arg(more, mode_t);                            \
    va_end(more);                                                  \
    if (!inside(path)) return REAL(openat)(at, path, flags, mode); \
    return opened(path, flags, mode);                              \
  }
OPEN_AT(openat)
OPEN_AT(openat64)

int close(int fd) {
  if (!name_of(fd)) return REAL(close)(fd);
  pthread_mutex_lock(lock);
  free(names[fd]);
  names[fd] = NULL;
  int result = REAL(close)(fd);
  pthread_mutex_unlock(lock);
  return result;
}

static ssize_t written(int fd, const void *data, size_t length, off_t offset) {
  pthread_mutex_lock(lock);
  ssize_t result = REAL(pwrite)(fd, data, length, offset);
  if (result > 0) note('w', inode_of(fd), offset, name_of(fd), data, (size_t)result);
  if (offset == 0 && strstr(name_of(fd), "-sessions")) memcpy(shared->marked, shared->failures, sizeof shared->marked);
  pthread_mutex_unlock(lock);
  return result;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
  return name_of(fd) ? written(fd, data, length, offset) : REAL(pwrite)(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return pwrite(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
  if (!name_of(fd)) return REAL(write)(fd, data, length);
  int appends = fcntl(fd, F_GETFL) & O_APPEND;
  ssize_t result = written(fd, data, length, lseek(fd, 0, appends ? SEEK_END : SEEK_CUR));
  if (result > 0 && !appends) lseek(fd, result, SEEK_CUR);
  return result;
}

int ftruncate(int fd, off_t length) {
  if (!name_of(fd)) return REAL(ftruncate)(fd, length);
  pthread_mutex_lock(lock);
  int result = REAL(ftruncate)(fd, length);
  if (result == 0) note('t', inode_of(fd), length, name_of(fd), "", 0);
  pthread_mutex_unlock(lock);
  return result;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int unlink(const char *path) {
  const char *name = inside(path);
  if (!name) return REAL(unlink)(path);
  pthread_mutex_lock(lock);
  int result = REAL(unlink)(path);
  if (result == 0) note('u', 0, 0, name, "", 0);
  pthread_mutex_unlock(lock);
  return result;
}

int rename(const char *from, const char *to) {
  const char *name = inside(from), *new_name = inside(to);
  if (!name || !new_name) return REAL(rename)(from, to);
  pthread_mutex_lock(lock);
  int result = REAL(rename)(from, to);
  if (result == 0) note('r', 0, 0, name, new_name, strlen(new_name));
  pthread_mutex_unlock(lock);
  return result;
}

static int synced(int fd) {
  pthread_mutex_lock(lock);
  int64_t number = ++syncs + ((int64_t)getpid() << 32);
  note('b', inode_of(fd), number, name_of(fd), "", 0);
  int fails = fail_every && *name_of(fd) && ++shared->syncs % fail_every == 0;
  pthread_mutex_unlock(lock);
  /* Let other processes run between the begin and the end of the sync. */
  sched_yield();
  pthread_mutex_lock(lock);
  *failures(fd) += fails;
  int hears = heard[fd] != *failures(fd);
  heard[fd] = *failures(fd);
  note(fails ? 'f' : 'e', inode_of(fd), number, name_of(fd), "", 0);
  pthread_mutex_unlock(lock);
  if (hears) errno = EIO;
  return hears ? -1 : 0;
}

int fsync(int fd) { return name_of(fd) ? synced(fd) : REAL(fsync)(fd); }

int fdatasync(int fd) { return name_of(fd) ? synced(fd) : REAL(fdatasync)(fd); }
