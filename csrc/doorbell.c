/* The doorbell: counters in a small file that every process of a store maps. Processes sleep on the counters by
 * futexes.
 *
 * A process that makes a change increments a counter and wakes the sleeping processes. A process that searches for work
 * reads the counter before the search. After the search, the process sleeps only if the counter still has the same
 * value, so the process misses no change. The counters are not locks. If a process dies while it sleeps, the count of
 * sleepers stays too high, which costs one system call per ring and nothing else. Every sleep has a time limit.
 *
 * SQLite's busy handler, which waits for the write lock, sleeps on the doorbell, too. SQLite's default handler sleeps
 * up to 100 ms, while other processes take the lock first, again and again. (8 processes on 2 cores: the slowest claim
 * took 633 ms, and the slowest worker did 0.00 times as many tasks as the fastest worker.) A handler that only yields
 * the processor keeps a core busy. */
#define _GNU_SOURCE /* declares syscall() and the clocks under every -std option */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sqlite3ext.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "core.h"

SQLITE_EXTENSION_INIT3

/* At most one of the processes that wait for the write lock is woken in each turn of TURN_US. When each commit woke a
 * process, 8 processes on 2 cores made 2,800 context switches for 1,000 tasks. Most of the woken processes found that a
 * different process had taken the lock already. With turns of 1 ms, the processes make 700 context switches and do 50 %
 * more tasks. (With turns of 2 ms, the processes do another 3 % more tasks. But the slowest process then does 0.67
 * times as many tasks as the fastest process, instead of 0.78 times.) A waiting process that is not woken tries again
 * within NAP_US_MAX. */
enum { NAP_US_MAX = 1000, YIELDS = 2, TURN_US = 1000 };

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#ifdef __linux__
#include <sys/syscall.h>
#endif

#ifdef SYS_futex

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* The constants of the kernel header <linux/futex.h>, which is not installed with every libc. */
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1 };

/* The time argument of the futex system call. On 32-bit machines, the C library's timespec can be wider than this
 * struct. */
typedef struct {
  long seconds;
  long nanoseconds;
} futex_time;

/* A counter and the number of processes that sleep on it. Each counter has its own cache line, since different
 * processes write different counters. */
typedef struct {
  _Alignas(64) _Atomic uint32_t count;
  _Atomic uint32_t sleepers;
} counter;

struct claims_bell {
  counter counters[CLAIMS_BELL_COUNTERS];
  /* The time in microseconds at which a process that waits for the write lock was last woken. It has only 32 bits,
   * since not every 32-bit machine reads and writes 64 bits at once. So the time wraps around after 71 minutes. */
  _Alignas(64) _Atomic uint32_t turn_began;
  _Atomic uint32_t lost; /* the value LOST in the page of memory that has replaced the file */
};

_Static_assert(sizeof(struct claims_bell) <= CLAIMS_BELL_SIZE, "the file must hold the counters");

/* The file can be truncated while it is mapped: by hand, by a clean-up program, or by a failing file system. The next
 * use of the mapping then raises SIGBUS, which by default ends the process. A check of the size before each use would
 * cost a system call, and the file could still be truncated after the check. So a handler for SIGBUS replaces the
 * mapping by a page of memory. Until the file is opened again, this process wakes no other process, as if it had no
 * doorbell. The handler passes every other SIGBUS on to the handler that was installed before. */
enum { LOST = 0x74736f6c, BELLS_MAX = 1024 };
static _Atomic(claims_bell *) bells[BELLS_MAX];
static struct sigaction next_handler;

static int replace_mapping(const char *address) {
  for (int i = 0; i < BELLS_MAX; i++) {
    claims_bell *bell = atomic_load(&bells[i]);
    if (bell == 0 || address < (char *)bell || address >= (char *)bell + CLAIMS_BELL_SIZE) continue;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (mmap(bell, CLAIMS_BELL_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) return 0;
    atomic_store(&bell->lost, LOST);
    return 1;
  }
  return 0;
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
  int code = errno;
  int done = info->si_code > 0 && replace_mapping(info->si_addr); /* si_code > 0: raised by the kernel */
  errno = code;
  if (done) return;
  if (next_handler.sa_flags & SA_SIGINFO) {
    next_handler.sa_sigaction(number, info, context);
  } else if (next_handler.sa_handler == SIG_DFL || next_handler.sa_handler == SIG_IGN) {
    signal(number, SIG_DFL);
    raise(number);
  } else {
    next_handler.sa_handler(number);
  }
}

static void note_bell(claims_bell *bell) {
  static atomic_flag installed = ATOMIC_FLAG_INIT;
  if (!atomic_flag_test_and_set(&installed)) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, 0, &next_handler);
    sigaction(SIGBUS, &action, 0);
  }
  for (int i = 0; i < BELLS_MAX; i++) {
    claims_bell *none = 0;
    if (atomic_compare_exchange_strong(&bells[i], &none, bell)) return;
  }
}

static void forget_bell(claims_bell *bell) {
  for (int i = 0; i < BELLS_MAX; i++) {
    claims_bell *found = bell;
    if (atomic_compare_exchange_strong(&bells[i], &found, 0)) return;
  }
}

int claims_bell_open(int descriptor, claims_bell **bell) {
  void *mapped = mmap(0, CLAIMS_BELL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) return errno;
  *bell = mapped;
  note_bell(mapped);
  /* Some kernels and sandboxes have no futexes. Without futexes each sleep would return at once, so a waiting process
   * would run a busy loop. */
  if (syscall(SYS_futex, &(*bell)->counters[0].count, FUTEX_WAKE, 0, 0, 0, 0) >= 0) return 0;
  int code = errno;
  claims_bell_close(mapped);
  return code;
}

void claims_bell_close(claims_bell *bell) {
  forget_bell(bell);
  munmap(bell, CLAIMS_BELL_SIZE);
}

int claims_bell_is_lost(claims_bell *bell) { return atomic_load(&bell->lost) == LOST; }

uint32_t claims_bell_read(claims_bell *bell, int which) { return atomic_load(&bell->counters[which].count); }

static void ring(counter *c, int wake_max) {
  atomic_fetch_add(&c->count, 1);
  if (atomic_load(&c->sleepers) != 0) syscall(SYS_futex, &c->count, FUTEX_WAKE, wake_max, 0, 0, 0);
}

static void wake_a_writer(claims_bell *bell, int turn_is_over) {
  counter *c = &bell->counters[CLAIMS_BELL_WRITER];
  if (atomic_load(&c->sleepers) == 0) return;
  uint32_t now = (uint32_t)now_us();
  if (!turn_is_over && now - atomic_load(&bell->turn_began) < TURN_US) return;
  atomic_store(&bell->turn_began, now);
  ring(c, 1);
}

void claims_bell_ring(claims_bell *bell, int which) {
  if (which != CLAIMS_BELL_READY) wake_a_writer(bell, which == CLAIMS_BELL_WRITER);
  if (which != CLAIMS_BELL_WRITER) ring(&bell->counters[which], INT_MAX);
}

void claims_bell_wait(claims_bell *bell, int which, uint32_t seen, int64_t us_max) {
  counter *c = &bell->counters[which];
  futex_time left = {(long)(us_max / 1000000), (long)(us_max % 1000000 * 1000)};
  atomic_fetch_add(&c->sleepers, 1);
  syscall(SYS_futex, &c->count, FUTEX_WAIT, seen, &left, 0, 0);
  /* The number of sleepers can be 0 here, because the mapping may have been replaced during the sleep. */
  uint32_t sleepers = atomic_load(&c->sleepers);
  while (sleepers != 0 && !atomic_compare_exchange_weak(&c->sleepers, &sleepers, sleepers - 1)) continue;
}

#else

/* On a system without futexes, Python polls: see sqlite/doorbell.py. */
int claims_bell_open(int descriptor, claims_bell **bell) {
  (void)descriptor, (void)bell;
  return ENOSYS;
}
void claims_bell_close(claims_bell *bell) { (void)bell; }
int claims_bell_is_lost(claims_bell *bell) { return (void)bell, 0; }
uint32_t claims_bell_read(claims_bell *bell, int which) { return (void)bell, (void)which, 0; }
void claims_bell_ring(claims_bell *bell, int which) { (void)bell, (void)which; }
void claims_bell_wait(claims_bell *bell, int which, uint32_t seen, int64_t us_max) {
  (void)bell, (void)which, (void)seen, (void)us_max;
}

#endif

static int wait_for_writer(void *argument, int tries) {
  claims_waiter *waiter = argument;
  int64_t now = now_us();
  if (tries == 0) waiter->deadline_us = now + waiter->us_max;
  int64_t left = waiter->deadline_us - now;
  if (left <= 0) return 0;
  if (tries < YIELDS) {
    sched_yield();
  } else {
    /* `seen` was read before the latest attempt to take the lock, which failed. If the counter has changed since that
     * read, the wait returns at once. */
    claims_bell_wait(waiter->bell, CLAIMS_BELL_WRITER, waiter->seen, left < NAP_US_MAX ? left : NAP_US_MAX);
  }
  waiter->seen = claims_bell_read(waiter->bell, CLAIMS_BELL_WRITER);
  return 1;
}

int claims_waiter_install(sqlite3 *db, claims_waiter *waiter) {
  if (!claims_core_loaded()) return CLAIMS_NOT_LOADED;
  return sqlite3_busy_handler(db, wait_for_writer, waiter);
}
