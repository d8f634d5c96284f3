/* A VFS that gathers the -wal frames of a COMMIT and writes up to 64 KiB of frames with one system call.
 *
 * SQLite writes every page of a commit with two calls: one for a header of 24 bytes and one for the page. That makes
 * twelve system calls to claim and complete one task. This VFS gathers the header and page bytes from the commit hook
 * on. When the last -wal frame of the transaction is complete, the VFS writes all gathered bytes, and returns the
 * result of this write to SQLite. So the file has the content that SQLite expects whenever SQLite reads the file or
 * lets other processes read it. COMMIT reports every failed write.
 *
 * The VFS gathers nothing outside of a commit. If the changed pages of a transaction don't fit into the cache, SQLite
 * writes -wal frames before the COMMIT. The VFS writes these frames to the file at once, because no call informs the
 * VFS of a later rollback. After a rollback, other processes may write to the same place in the file.
 *
 * If the VFS detects a state that only a bug here or a changed SQLite can cause, the current call fails, and nothing is
 * gathered from then on. A write of an unknown form ends the gathering, too, but no call fails then.
 *
 * If each commit is synced, the VFS appends zeros to the file before SQLite needs the space. The VFS appends as many
 * zeros as the file has bytes, but at most one megabyte at a time. A sync after appended bytes has to write the file's
 * new length, too. A sync after overwritten bytes doesn't have to do this (79 to 91 µs instead of 143 to 192 µs on
 * ext4). SQLite reads the -wal up to the first frame with a wrong checksum, and a frame of zeros has a wrong checksum.
 *
 * The system's VFS handles all other files, and all locks. */
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

/* The state of a connection, which the connection's hooks use, too. This state exists as long as the connection. PRAGMA
 * journal_mode can close the connection's -wal earlier and open a new -wal. */
typedef struct {
  sqlite3 *db;
  sqlite3_int64 start;      /* file offset of the held bytes */
  sqlite3_int64 frame_size; /* size of a -wal frame, including its header */
  int held_len;
  int committing;    /* true from the commit hook until the last frame of the transaction is written */
  int begun;         /* true once the commit has begun to write */
  int spilled;       /* number of pages written before the commit hook */
  int frame_commits; /* true if the current frame is the last of the transaction */
  int over;          /* true if nothing is gathered any more */
  unsigned char held[HELD_MAX];
} gathering;

typedef struct {
  sqlite3_file base;  /* the part that SQLite uses; the system VFS's file follows the struct in memory */
  gathering *commit;  /* null: this file's writes are not gathered */
  sqlite3_int64 size; /* last known length of the file in bytes */
  int grows;          /* true if zeros are appended ahead of the writes */
} wal_file;

static sqlite3_vfs *system_vfs;

static sqlite3_file *system_file(sqlite3_file *file) { return (sqlite3_file *)((wal_file *)file + 1); }

/* Returns how many pages SQLite wrote early because the cache was full; -1 if SQLite doesn't count these pages. */
static int spilled(sqlite3 *db) {
  int pages = 0, unused = 0;
  int code = sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_SPILL, &pages, &unused, 0);
  return code == SQLITE_OK ? pages : -1;
}

static void end_gathering(gathering *commit) {
  commit->over = 1;
  commit->committing = commit->frame_commits = commit->held_len = 0;
}

/* Drops held bytes that SQLite regards as written. The bytes can't be written any more, because other processes may
 * have written to the same place in the file in the meantime. */
static int fail(gathering *commit, const char *when) {
  sqlite3_log(SQLITE_IOERR_WRITE, "sqlite_claims: a commit has not ended as it should, seen %s: %d bytes left", when,
              commit->held_len);
  end_gathering(commit);
  return SQLITE_IOERR_WRITE;
}

/* Returns whether the current write belongs to a commit. The commit hook alone doesn't show this, because an empty
 * COMMIT calls the hook and then writes nothing. In that case, the next write can come from a later statement whose
 * changed pages don't fit into the cache. SQLite counts each such page before it writes the page. So a changed count
 * shows that the write doesn't belong to the commit. */
static int may_hold(gathering *commit) {
  if (commit == 0 || !commit->committing || !sqlite3_get_autocommit(commit->db)) return 0;
  if (!commit->begun) commit->committing = spilled(commit->db) == commit->spilled;
  commit->begun = 1;
  return commit->committing;
}

/* Appends zeros. No other process writes to the file at the same time, because this process holds the write lock. A
 * failure is not reported as an error, because the disk may still have room for the next frames. */
static void grow(sqlite3_file *file, sqlite3_int64 end) {
  static const unsigned char ZEROS[GROWTH_MIN];
  wal_file *wal = (wal_file *)file;
  sqlite3_file *real = system_file(file);
  wal->size = end;
  if (end < GROWTH_MIN || real->pMethods->xFileSize(real, &wal->size) != SQLITE_OK || end < wal->size) return;
  sqlite3_int64 growth = end < GROWTH_MAX ? end : GROWTH_MAX;
  for (sqlite3_int64 at = wal->size; at < end + growth; at += GROWTH_MIN) {
    if (real->pMethods->xWrite(real, ZEROS, sizeof ZEROS, at) != SQLITE_OK) {
      wal->grows = 0;
      return;
    }
    wal->size = at + GROWTH_MIN;
  }
}

static int write_on(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset) {
  wal_file *wal = (wal_file *)file;
  int code = system_file(file)->pMethods->xWrite(system_file(file), data, len, offset);
  if (code == SQLITE_OK && wal->grows && offset + len > wal->size) grow(file, offset + len);
  return code;
}

static int write_held(sqlite3_file *file) {
  gathering *commit = ((wal_file *)file)->commit;
  if (commit == 0 || commit->held_len == 0) return SQLITE_OK;
  if (!may_hold(commit)) return fail(commit, "by the next call");
  int len = commit->held_len;
  commit->held_len = 0;
  int code = write_on(file, commit->held, len, commit->start);
  if (code != SQLITE_OK) commit->committing = 0;
  return code;
}

static void hold(gathering *commit, const void *data, int len, sqlite3_int64 offset) {
  if (commit->held_len == 0) commit->start = offset;
  memcpy(commit->held + commit->held_len, data, (size_t)len);
  commit->held_len += len;
}

static uint32_t page_size_in(const unsigned char *wal_header) {
  return (uint32_t)wal_header[8] << 24 | (uint32_t)wal_header[9] << 16 | (uint32_t)wal_header[10] << 8 | wal_header[11];
}

/* Returns whether a write is the header or the page of a -wal frame. For the header of the -wal itself the result is 0.
 * Any other write, or a -wal with a different page size, ends the gathering. */
static int is_of_frame(gathering *commit, const void *data, int len, sqlite3_int64 offset) {
  sqlite3_int64 page_size = commit->frame_size - FRAME_HEADER;
  if (offset == 0 && len == WAL_HEADER && page_size_in(data) == page_size) return 0;
  sqlite3_int64 within = offset < WAL_HEADER ? -1 : (offset - WAL_HEADER) % commit->frame_size;
  if (within == 0 && len == FRAME_HEADER) {
    commit->frame_commits = memcmp((const char *)data + DATABASE_SIZE, "\0\0\0\0", 4) != 0;
    return 1;
  }
  if (within == FRAME_HEADER && len == page_size) return 1;
  commit->over = 1;
  return 0;
}

static int wal_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset) {
  gathering *commit = ((wal_file *)file)->commit;
  if (!may_hold(commit)) {
    int code = write_held(file);
    return code == SQLITE_OK ? write_on(file, data, len, offset) : code;
  }
  int code = SQLITE_OK;
  int follows = offset == commit->start + commit->held_len && len <= HELD_MAX - commit->held_len;
  int is_frame = is_of_frame(commit, data, len, offset);
  if (commit->held_len > 0 && !(follows && is_frame)) code = write_held(file);
  if (code != SQLITE_OK) return code;
  if (!is_frame) {
    if (commit->over) end_gathering(commit);
    return write_on(file, data, len, offset);
  }
  hold(commit, data, len, offset);
  if (!commit->frame_commits || len == FRAME_HEADER) return SQLITE_OK;
  code = write_held(file);
  commit->committing = commit->frame_commits = 0;
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
  gathering *commit = ((wal_file *)file)->commit;
  if (commit != 0 && commit->held_len > 0) fail(commit, "as the -wal is closed");
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
    .iVersion = 1, /* version 1 has no shared memory, which only the database file uses */
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
  if (system_file(file)->pMethods != 0) file->pMethods = &WAL_METHODS; /* null: SQLite doesn't close the file */
  return code;
}

/* The commit hook. If it returns a value other than 0, SQLite turns the COMMIT into a ROLLBACK. */
static int begin_commit(void *argument) {
  gathering *commit = argument;
  if (commit->over) return 0;
  if (commit->held_len > 0 || (commit->committing && commit->begun)) return fail(commit, "by the next commit");
  commit->committing = 1;
  commit->frame_commits = commit->begun = 0;
  commit->spilled = spilled(commit->db);
  return 0;
}

static void roll_back(void *argument) {
  gathering *commit = argument;
  commit->committing = commit->held_len = commit->frame_commits = 0;
}

/* The SQL function claims_gathers(), which returns 1 if the connection's commits are gathered, else 0. The registration
 * of this function also makes the connection the owner of the gathering struct. */
static void report_gathering(sqlite3_context *context, int len, sqlite3_value **values) {
  (void)len, (void)values;
  const gathering *commit = sqlite3_user_data(context);
  sqlite3_result_int(context, !commit->over);
}

/* Gathers the commits of a connection from now on. `grows`: append zeros to the -wal ahead of the writes. If gathering
 * has no advantage or is unsafe, does nothing and returns SQLITE_OK.
 *
 * The connection must have no commit hook and no rollback hook, because SQLite stores only one hook of each kind and
 * doesn't report which function a new hook replaces. If there was such a hook, removes it and returns CLAIMS_HOOKED. */
int claims_wal_install(sqlite3 *db, int page_size, int grows) {
  if (!claims_core_loaded()) return CLAIMS_NOT_LOADED;
  sqlite3_file *file = 0;
  int code = sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
  if (code != SQLITE_OK || file == 0 || file->pMethods != &WAL_METHODS) return code;
  /* On a disk without the property POWERSAFE_OVERWRITE, SQLite pads a commit before the sync, and splits the write at
   * the beginning of the padding. */
  if (!(wal_traits(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE)) return SQLITE_OK;
  wal_file *wal = (wal_file *)file;
  if (wal->commit != 0 || spilled(db) < 0) return SQLITE_OK;
  gathering *commit = sqlite3_malloc(sizeof *commit);
  if (commit == 0) return SQLITE_NOMEM;
  memset(commit, 0, sizeof *commit);
  commit->db = db;
  commit->frame_size = FRAME_HEADER + page_size;
  code = sqlite3_create_function_v2(db, "claims_gathers", 0, SQLITE_UTF8, commit, report_gathering, 0, 0, sqlite3_free);
  if (code != SQLITE_OK) return code; /* SQLite has freed `commit` already */
  int hooked = sqlite3_commit_hook(db, begin_commit, commit) != 0;
  if (sqlite3_rollback_hook(db, roll_back, commit) != 0 || hooked) {
    sqlite3_commit_hook(db, 0, 0);
    sqlite3_rollback_hook(db, 0, 0);
    commit->over = 1;
    return CLAIMS_HOOKED;
  }
  wal->commit = commit;
  wal->grows = grows;
  return SQLITE_OK;
}

/* Registers the VFS with SQLite under a name. A connection that doesn't request this name still uses the system's VFS.
 */
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
