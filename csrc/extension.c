/* The entry point of the loadable extension, through which the core reaches SQLite.
 *
 * The SQLite in apsw exports no symbols. The only way to its functions is the table that it passes to an extension when
 * it loads it. This object is loaded once in a process, on a temporary connection. The table is kept, and serves every
 * connection of that SQLite. Nothing here may touch a database. */
#include <sqlite3ext.h>

#include "core.h"

SQLITE_EXTENSION_INIT1

/* The newest feature in use is the count of pages that outgrew the cache (wal_file.c). Older versions always return 0
 * for it, without an error. */
enum { SQLITE_VERSION_MIN = 3023000 };

__attribute__((visibility("default"))) int claims_core_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

int claims_core_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  (void)db;
  if (sqlite3_api != 0 && sqlite3_api != api) {
    /* Otherwise connections of the first SQLite would be used with the functions of the second. */
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

/* Returns the message for a code that one of these functions returned: the connection's message if SQLite's last error
 * has that code, else a general one. Valid until the connection is used again. */
const char *claims_core_message(sqlite3 *db, int code) {
  if (!claims_core_loaded()) return "the C core is not loaded into SQLite";
  if (db != 0 && sqlite3_extended_errcode(db) == code) return sqlite3_errmsg(db);
  return sqlite3_errstr(code);
}
