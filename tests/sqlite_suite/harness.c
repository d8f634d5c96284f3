/* Included at the end of SQLite's amalgamation by run.py: puts csrc/wal_file.c between SQLite and every VFS, and
 * gathers the commits of every connection. SQLite's tests set commit hooks and rollback hooks of their own, so
 * wal_file.c gets separate hooks here. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
  int grows;      /* true: append zeros to the -wal, as a store with durability="full" does */
  int any_disk;   /* true: gather on disks without the property POWERSAFE_OVERWRITE, too */
  long installed; /* connections whose commits were gathered */
  long commits;   /* commits of these connections */
  long pieces;    /* pieces of frames that were held back */
  long writes;    /* writes of held pieces */
  long held;      /* pieces that were still held after a commit */
  long failures;  /* states that wal_file.c regards as impossible */
} claims_test;

static int claimsTestKeep(sqlite3 *db, const char *name, int args, int encoding, void *gathering, ...) {
  (void)name, (void)args, (void)encoding;
  sqlite3_free(db->pClaims);
  db->pClaims = gathering;
  db->xClaimsCommit = 0;
  db->xClaimsRollback = 0;
  claims_test.installed++;
  return SQLITE_OK;
}

static void *claimsTestCommitHook(sqlite3 *db, int (*hook)(void *), void *argument) {
  void *before = db->xClaimsCommit ? db->pClaims : 0;
  (void)argument;
  db->xClaimsCommit = hook;
  return before;
}

static void *claimsTestRollbackHook(sqlite3 *db, void (*hook)(void *), void *argument) {
  void *before = db->xClaimsRollback ? db->pClaims : 0;
  (void)argument;
  db->xClaimsRollback = hook;
  return before;
}

int claims_core_loaded(void) { return 1; }

#define sqlite3_create_function_v2 claimsTestKeep
#define sqlite3_commit_hook claimsTestCommitHook
#define sqlite3_rollback_hook claimsTestRollbackHook
#include "wal_file.c"
#undef sqlite3_create_function_v2
#undef sqlite3_commit_hook
#undef sqlite3_rollback_hook

static void claimsTestReport(void) {
  const char *path = getenv("CLAIMS_TEST_COUNTS");
  FILE *file = path ? fopen(path, "a") : 0;
  if (file == 0) return;
  fprintf(file, "%ld %ld %ld %ld %ld %ld\n", claims_test.installed, claims_test.commits, claims_test.pieces,
          claims_test.writes, claims_test.held, claims_test.failures);
  fclose(file);
}

/* Called before each commit, after the test's own commit hook. A -wal that two connections share belongs to the
 * connection that opened the -wal, so the commits of such connections are not gathered. */
int claimsTestCommit(sqlite3 *db) {
  Btree *btree = db->aDb[0].pBt;
  if (btree != 0 && !sqlite3BtreeSharable(btree)) {
    claims_wal_install(db, sqlite3BtreeGetPageSize(btree), claims_test.grows);
  }
  if (db->xClaimsCommit == 0) return 0;
  claims_test.commits++;
  return db->xClaimsCommit(db->pClaims);
}

/* Called after each commit that succeeded. */
void claimsTestCommitted(sqlite3 *db) {
  gathering *commit = db->pClaims;
  if (commit != 0 && db->autoCommit && commit->held_len > 0) claims_test.held++;
}

void claimsTestRollback(sqlite3 *db) {
  if (db->xClaimsRollback != 0) db->xClaimsRollback(db->pClaims);
}

typedef struct {
  sqlite3_vfs vfs;
  sqlite3_vfs *real;
} wrapped_vfs;

static int claimsTestOpen(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *flags_out) {
  system_vfs = ((wrapped_vfs *)vfs)->real;
  return open_file(vfs, name, file, flags, flags_out);
}

/* Returns a copy of a VFS that opens each -wal through wal_file.c. A test may free a VFS and create another one at the
 * same address, so each call copies the functions again. */
sqlite3_vfs *claimsTestWrap(sqlite3_vfs *real) {
  static wrapped_vfs wrapped[100];
  static int started = 0;
  int i = 0;
  if (!started) {
    started = 1;
    claims_test.grows = getenv("CLAIMS_TEST_GROWS") != 0;
    claims_test.any_disk = getenv("CLAIMS_TEST_ANY_DISK") != 0;
    atexit(claimsTestReport);
  }
  if (real == 0) return 0;
  while (i < 99 && wrapped[i].real != 0 && wrapped[i].real != real) i++;
  wrapped[i].real = real;
  wrapped[i].vfs = *real;
  wrapped[i].vfs.szOsFile += (int)sizeof(wal_file);
  wrapped[i].vfs.xOpen = claimsTestOpen;
  return &wrapped[i].vfs;
}
