/* A test program for the scan, which is not part of the C core. tests/scan/test_memory.py builds and runs this program.
 *
 * The program is linked with the system's SQLite library and with sanitizers. The program runs one scan of one file.
 * Then the program repeats the scan and makes the first allocation fail, then the second, and so on, until every
 * allocation has failed once. The scan allocates memory through SQLite, so SQLite's own allocations fail in turn, too.
 * After each failure, the handle must be able to run the same scan again, and no statement may be left open. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { DATABASE = 1, HEAD, RANGE, INSTANCE_STATE, NOW, AGING, LIMIT, MOVING, FIRST_LANE };

static sqlite3_mem_methods real;
static long allocations;  /* number of allocations since the last reset */
static long failing = -1; /* index of the allocation that fails */

static int fails(void) { return allocations++ == failing; }
static void *failing_malloc(int size) { return fails() ? 0 : real.xMalloc(size); }
static void *failing_realloc(void *old, int size) { return fails() ? 0 : real.xRealloc(old, size); }

int claims_core_loaded(void) { return 1; }

static void demand(int holds, const char *what, int code) {
  if (holds) return;
  fprintf(stderr, "allocation %ld failing: %s (code %d)\n", failing, what, code);
  exit(1);
}

typedef struct {
  char **argv;
  int64_t *lanes;
  int64_t lanes_len;
} question;

static int answer(const question *q, claims_scan *scan, const int64_t **ids, int64_t *ids_len) {
  return claims_scan_ready(scan, q->lanes, q->lanes_len, atoll(q->argv[NOW]), atoll(q->argv[AGING]),
                           atoll(q->argv[LIMIT]), atoi(q->argv[MOVING]), ids, ids_len);
}

static void demand_whole(sqlite3 *db, int code, const int64_t *ids, int64_t ids_len, const int64_t *whole,
                         int64_t whole_len) {
  demand(code == SQLITE_OK, "the scan failed", code);
  demand(ids_len == whole_len && (ids_len == 0 || memcmp(ids, whole, (size_t)ids_len * sizeof *ids) == 0),
         "the scan returned other ids", code);
  for (sqlite3_stmt *s = 0; (s = sqlite3_next_stmt(db, s)) != 0;)
    demand(!sqlite3_stmt_busy(s), "a statement is open", code);
}

/* Opens a handle and scans. If an allocation failed, scans again. Returns whether an allocation failed. */
static int round_fails(const question *q, sqlite3 *db, const int64_t *whole, int64_t whole_len) {
  claims_scan *scan = 0;
  const int64_t *ids = 0;
  int64_t ids_len = 0;
  allocations = 0;
  int code = claims_scan_open(db, q->argv[HEAD], q->argv[RANGE], q->argv[INSTANCE_STATE], &scan);
  demand((code == SQLITE_OK) == (scan != 0), "a handle without success, or none with it", code);
  if (code == SQLITE_OK) {
    code = answer(q, scan, &ids, &ids_len);
    demand(code == SQLITE_OK || ids_len == 0, "ids with an error", code);
  }
  int failed = allocations > failing;
  demand(code == SQLITE_OK || (failed && ((code & 0xff) == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM)),
         "not reported as out of memory", code);
  long turn = failing;
  failing = -1;
  if (code != SQLITE_OK && scan != 0) code = answer(q, scan, &ids, &ids_len);
  failing = turn;
  if (scan != 0) demand_whole(db, code, ids, ids_len, whole, whole_len);
  claims_scan_close(scan);
  demand(sqlite3_next_stmt(db, 0) == 0, "a statement outlives its handle", code);
  return failed;
}

int main(int argc, char **argv) {
  if (argc < FIRST_LANE) return 2;
  demand(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) == SQLITE_OK, "no allocator", 0);
  sqlite3_mem_methods faulty = real;
  faulty.xMalloc = failing_malloc;
  faulty.xRealloc = failing_realloc;
  demand(sqlite3_config(SQLITE_CONFIG_MALLOC, &faulty) == SQLITE_OK, "the allocator can't be replaced", 0);

  question q = {argv, calloc((size_t)argc, sizeof(int64_t)), argc - FIRST_LANE};
  for (int i = 0; i < q.lanes_len; i++) q.lanes[i] = atoll(argv[FIRST_LANE + i]);
  sqlite3 *db = 0;
  int code = sqlite3_open_v2(argv[DATABASE], &db, SQLITE_OPEN_READWRITE, 0);
  demand(code == SQLITE_OK, "the file can't be opened", code);
  sqlite3_extended_result_codes(db, 1);
  /* Without the lookaside buffer, SQLite makes all its allocations through the allocator above. */
  sqlite3_db_config(db, SQLITE_DBCONFIG_LOOKASIDE, (void *)0, 0, 0);

  claims_scan *scan = 0;
  const int64_t *ids = 0;
  int64_t whole_len = 0;
  code = claims_scan_open(db, argv[HEAD], argv[RANGE], argv[INSTANCE_STATE], &scan);
  if (code == SQLITE_OK) code = answer(&q, scan, &ids, &whole_len);
  demand(code == SQLITE_OK, sqlite3_errmsg(db), code);
  int64_t *whole = calloc((size_t)whole_len + 1, sizeof *whole);
  for (int64_t i = 0; i < whole_len; i++) {
    whole[i] = ids[i];
    printf("%lld\n", (long long)ids[i]);
  }
  claims_scan_close(scan);

  for (failing = 0; round_fails(&q, db, whole, whole_len); failing++) {
  }
  fprintf(stderr, "%ld allocations failed in turn\n", failing);
  free(whole);
  free(q.lanes);
  return sqlite3_close(db);
}
