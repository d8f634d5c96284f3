/* Records the number of frames in the -wal at each commit. SQLite passes this number to a hook. The hook is written in
 * C, so that a commit needs no call into Python. */
#include <sqlite3ext.h>

#include "core.h"

SQLITE_EXTENSION_INIT3

static int note_frames(void *argument, sqlite3 *db, const char *schema, int frames) {
  (void)db, (void)schema;
  *(int *)argument = frames;
  return SQLITE_OK;
}

int claims_frames_install(sqlite3 *db, int *frames) {
  if (!claims_core_loaded()) return CLAIMS_NOT_LOADED;
  sqlite3_wal_hook(db, note_frames, frames);
  return SQLITE_OK;
}
