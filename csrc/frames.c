/* Records the length of the -wal at each commit. SQLite passes it to a hook, which is in C so that a commit costs no
 * call into Python. */
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
