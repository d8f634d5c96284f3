/* One write a commit: a VFS that hands the kernel in one piece what a COMMIT appends to the -wal.
 *
 * SQLite writes every page of a commit in two pieces, a header of 24 bytes and the page: twelve system calls to claim
 * and complete one task. Here they are gathered from the commit hook on and written when the frame is whole that ends
 * the transaction; not before that does SQLite hear whether it went well. So what it believes of the file is true
 * whenever it looks at it or lets others look, and whatever fails, fails within COMMIT.
 *
 * Nothing is held outside of a commit: a transaction that outgrows the cache writes frames before its end, and when it
 * is rolled back no call tells this file so, while others write in the same place. Those frames go straight on.
 *
 * For who syncs each commit the file grows ahead, by zeros: as many as there are bytes, at most a megabyte at a time. A
 * sync of what was appended has to wait for the file's new length too, one of what was written over doesn't (143 to 192
 * µs against 79 to 91, by ext4). A frame of zeros is none to SQLite, which reads up to the first whose checksum is
 * wrong.
 *
 * All other files are the system's VFS's own, and so are all locks. */
#include <sqlite3ext.h>
#include <string.h>

#include "core.h"

SQLITE_EXTENSION_INIT3

enum {
  WAL_HEADER = 32,
  FRAME_HEADER = 24,
  DATABASE_SIZE = 4,
  HELD_MAX = 65536,
  GROWTH_MIN = 65536,
  GROWTH_MAX = 1 << 20
};

typedef struct {
  sqlite3_file base; /* what SQLite takes it for; the system's file stands behind the struct */
  sqlite3 *db;
  unsigned char *held; /* null: nothing is ever held */
  int64_t start;       /* where in the file the held bytes belong */
  int64_t frame_size;  /* its header included */
  sqlite3_int64 size;  /* of the file, as far as is known */
  int held_len;
  int committing;    /* since the commit hook, until the frame that ends the transaction is written */
  int begun;         /* to write what that commit appends */
  int spilled;       /* pages, before the commit hook */
  int frame_commits; /* the frame under way is that one */
  int grows;         /* in large steps, ahead of what is written */
} wal_file;

static sqlite3_vfs *system_vfs;

static sqlite3_file *system_file(sqlite3_file *file) { return (sqlite3_file *)((wal_file *)file + 1); }

static int spilled(sqlite3 *db) {
  int pages = 0, unused = 0;
  sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_SPILL, &pages, &unused, 0);
  return pages;
}

/* An empty COMMIT calls the hook and writes nothing, so the hook alone doesn't tell. What comes next may be a statement
 * that is a transaction by itself, and outgrows the cache: that is counted before it is written. */
static int may_hold(wal_file *wal) {
  if (!wal->committing || !sqlite3_get_autocommit(wal->db)) return 0;
  if (!wal->begun) wal->committing = spilled(wal->db) == wal->spilled;
  wal->begun = 1;
  return wal->committing;
}

/* Nobody else writes here meanwhile: who appends to the -wal holds the writer's lock. Where there is no room for zeros
 * there may be some for frames. */
static void grow(sqlite3_file *file, int64_t end) {
  static const unsigned char ZEROS[GROWTH_MIN];
  wal_file *wal = (wal_file *)file;
  sqlite3_file *real = system_file(file);
  wal->size = end;
  if (end < GROWTH_MIN || real->pMethods->xFileSize(real, &wal->size) != SQLITE_OK || end < wal->size) return;
  int64_t growth = end < GROWTH_MAX ? end : GROWTH_MAX;
  for (int64_t at = wal->size; at < end + growth; at += (int64_t)sizeof ZEROS) {
    if (real->pMethods->xWrite(real, ZEROS, sizeof ZEROS, at) != SQLITE_OK) {
      wal->grows = 0;
      return;
    }
    wal->size = at + (int64_t)sizeof ZEROS;
  }
}

static int write_on(sqlite3_file *file, const void *data, int len, int64_t offset) {
  wal_file *wal = (wal_file *)file;
  int code = system_file(file)->pMethods->xWrite(system_file(file), data, len, offset);
  if (code == SQLITE_OK && wal->grows && offset + len > wal->size) grow(file, offset + len);
  return code;
}

/* What is left of a commit that failed is dropped: others may have written there since. */
static int write_held(sqlite3_file *file) {
  wal_file *wal = (wal_file *)file;
  int len = wal->held_len > 0 && may_hold(wal) ? wal->held_len : 0;
  wal->held_len = 0;
  return len > 0 ? write_on(file, wal->held, len, wal->start) : SQLITE_OK;
}

static void hold(wal_file *wal, const void *data, int len, int64_t offset) {
  if (wal->held_len == 0) wal->start = offset;
  memcpy(wal->held + wal->held_len, data, (size_t)len);
  wal->held_len += len;
}

static int wal_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset) {
  wal_file *wal = (wal_file *)file;
  int code = SQLITE_OK;
  if (wal->held_len > 0 && (offset != wal->start + wal->held_len || len > HELD_MAX - wal->held_len))
    code = write_held(file);
  if (code != SQLITE_OK) return code;
  int64_t within = wal->held != 0 ? (offset - WAL_HEADER) % wal->frame_size : 0;
  int is_frame = within == 0 ? len >= FRAME_HEADER : within >= FRAME_HEADER;
  if (!may_hold(wal) || !is_frame || offset < WAL_HEADER || within + len > wal->frame_size || len > HELD_MAX) {
    code = write_held(file);
    return code == SQLITE_OK ? write_on(file, data, len, offset) : code;
  }
  if (within == 0) wal->frame_commits = memcmp((const char *)data + DATABASE_SIZE, "\0\0\0\0", 4) != 0;
  hold(wal, data, len, offset);
  if (!wal->frame_commits || within + len < wal->frame_size) return SQLITE_OK;
  code = write_held(file);
  wal->committing = wal->frame_commits = 0;
  return code;
}

static int wal_read(sqlite3_file *file, void *data, int len, sqlite3_int64 offset) {
  int code = write_held(file);
  return code == SQLITE_OK ? system_file(file)->pMethods->xRead(system_file(file), data, len, offset) : code;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size) {
  int code = write_held(file);
  ((wal_file *)file)->size = size;
  return code == SQLITE_OK ? system_file(file)->pMethods->xTruncate(system_file(file), size) : code;
}

static int wal_sync(sqlite3_file *file, int flags) {
  int code = write_held(file);
  return code == SQLITE_OK ? system_file(file)->pMethods->xSync(system_file(file), flags) : code;
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *size) {
  int code = write_held(file);
  return code == SQLITE_OK ? system_file(file)->pMethods->xFileSize(system_file(file), size) : code;
}

static int wal_close(sqlite3_file *file) {
  sqlite3_free(((wal_file *)file)->held);
  return system_file(file)->pMethods->xClose(system_file(file));
}

static int wal_lock(sqlite3_file *file, int level) {
  return system_file(file)->pMethods->xLock(system_file(file), level);
}

static int wal_unlock(sqlite3_file *file, int level) {
  return system_file(file)->pMethods->xUnlock(system_file(file), level);
}

static int wal_check_lock(sqlite3_file *file, int *held) {
  return system_file(file)->pMethods->xCheckReservedLock(system_file(file), held);
}

static int wal_control(sqlite3_file *file, int what, void *argument) {
  return system_file(file)->pMethods->xFileControl(system_file(file), what, argument);
}

static int wal_sector_size(sqlite3_file *file) { return system_file(file)->pMethods->xSectorSize(system_file(file)); }

static int wal_traits(sqlite3_file *file) {
  return system_file(file)->pMethods->xDeviceCharacteristics(system_file(file));
}

static const sqlite3_io_methods WAL_METHODS = {
    .iVersion = 1, /* without shared memory, which belongs to the database's own file */
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_check_lock,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector_size,
    .xDeviceCharacteristics = wal_traits,
};

static int open_file(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *flags_out) {
  (void)vfs;
  if (!(flags & SQLITE_OPEN_WAL)) return system_vfs->xOpen(system_vfs, name, file, flags, flags_out);
  memset(file, 0, sizeof(wal_file));
  int code = system_vfs->xOpen(system_vfs, name, system_file(file), flags, flags_out);
  if (system_file(file)->pMethods != 0) file->pMethods = &WAL_METHODS; /* else there is nothing to close */
  return code;
}

static int begin_commit(void *argument) {
  wal_file *wal = argument;
  wal->committing = 1;
  wal->held_len = wal->frame_commits = wal->begun = 0;
  wal->spilled = spilled(wal->db);
  return 0;
}

static void roll_back(void *argument) {
  wal_file *wal = argument;
  wal->committing = wal->held_len = wal->frame_commits = 0;
}

/* Gathers the commits of a connection from now on, and lets the -wal grow ahead where asked to. Without a word it
 * doesn't where that is no gain or not safe. */
int claims_wal_install(sqlite3 *db, int page_size, int grows) {
  if (!claims_core_loaded()) return CLAIMS_NOT_LOADED;
  sqlite3_file *file = 0;
  int code = sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
  if (code != SQLITE_OK || file == 0 || file->pMethods != &WAL_METHODS) return code;
  /* Without this trait SQLite pads what it syncs, and splits writes where the padding begins. */
  if (!(wal_traits(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE)) return SQLITE_OK;
  wal_file *wal = (wal_file *)file;
  if (wal->held != 0) return SQLITE_OK;
  wal->held = sqlite3_malloc(HELD_MAX);
  if (wal->held == 0) return SQLITE_NOMEM;
  wal->frame_size = FRAME_HEADER + page_size;
  wal->db = db;
  wal->grows = grows;
  sqlite3_commit_hook(db, begin_commit, wal);
  sqlite3_rollback_hook(db, roll_back, wal);
  return SQLITE_OK;
}

/* Makes the VFS known to SQLite, by its name alone: who doesn't ask for it gets the system's as ever. */
const char *claims_wal_vfs(void) {
  static sqlite3_vfs vfs;
  if (vfs.zName != 0) return vfs.zName;
  system_vfs = claims_core_loaded() ? sqlite3_vfs_find(0) : 0;
  if (system_vfs == 0) return 0;
  vfs = *system_vfs;
  vfs.pNext = 0;
  vfs.zName = "sqlite-claims";
  vfs.szOsFile += (int)sizeof(wal_file);
  vfs.xOpen = open_file;
  if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) vfs.zName = 0;
  return vfs.zName;
}
