/* How SQLite gets in: the entry point of the loadable extension.
 *
 * The SQLite that apsw brings exports no symbol. Its table of functions, handed to an extension when it is loaded, is
 * the only way to it. This object is loaded once a process, on a throw-away connection; the table is kept, and serves
 * every connection of that same SQLite. Nothing here may touch a database. */
#include <sqlite3ext.h>

#include "core.h"

SQLITE_EXTENSION_INIT1

/* The newest thing in use, the count of pages that outgrew the cache (wal_file.c), is of this version; before it that
 * count is always 0, and no error. */
enum { SQLITE_VERSION_MIN = 3023000 };

__attribute__((visibility("default"))) int claims_core_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

int claims_core_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  (void)db;
  if (sqlite3_api != 0 && sqlite3_api != api) {
    /* Connections of the first SQLite would be served with the functions of the second. */
    *error = api->mprintf("the C core already serves another SQLite in this process");
    return SQLITE_ERROR;
  }
  if (api->libversion_number() < SQLITE_VERSION_MIN) {
    *error = api->mprintf("SQLite %s is too old for the C core", api->libversion());
    return SQLITE_ERROR;
  }
  SQLITE_EXTENSION_INIT2(api);
  return SQLITE_OK_LOAD_PERMANENTLY;
}

int claims_core_loaded(void) { return sqlite3_api != 0; }

/* Says what a code that one of our functions returned means: the connection's own words where it was SQLite that
 * failed last, else the words for the code. Valid until the connection is used again. */
const char *claims_core_message(sqlite3 *db, int code) {
  if (!claims_core_loaded()) return "the C core is not loaded into SQLite";
  if (db != 0 && sqlite3_extended_errcode(db) == code) return sqlite3_errmsg(db);
  return sqlite3_errstr(code);
}
