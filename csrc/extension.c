/* The entry point of the loadable extension, which gives the C core access to SQLite's functions.
 *
 * The SQLite library in apsw exports no symbols. Its functions are reachable only through a table of pointers, which
 * SQLite passes to an extension when it loads the extension. The C core is loaded once per process, on a temporary
 * connection. The core keeps the table, which is valid for every connection of this SQLite library. The functions in
 * this file must not access a database. */
#include <sqlite3ext.h>

#include "core.h"

SQLITE_EXTENSION_INIT1

/* The newest feature in use is SQLITE_DBSTATUS_CACHE_SPILL, the count of pages that SQLite wrote early because the
 * cache was full (wal_file.c). Older versions always return 0 as this count, without an error. */
enum { SQLITE_VERSION_MIN = 3023000 };

__attribute__((visibility("default"))) int claims_core_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

int claims_core_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  (void)db;
  if (sqlite3_api != 0 && sqlite3_api != api) {
    /* Without this check, the second library's functions would be called on the first library's connections. */
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

/* Returns the message for a result code of a core function. If the connection's last error has this code, returns the
 * message of this error, else a general message. The message is valid until the connection is used again. */
const char *claims_core_message(sqlite3 *db, int code) {
  if (!claims_core_loaded()) return "the C core is not loaded into SQLite";
  if (db != 0 && sqlite3_extended_errcode(db) == code) return sqlite3_errmsg(db);
  return sqlite3_errstr(code);
}
