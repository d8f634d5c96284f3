/* What the C core offers to Python. build_core.py hands the part between the two marks to cffi as it stands. */
#ifndef SQLITE_CLAIMS_CORE_H
#define SQLITE_CLAIMS_CORE_H

#include <stdint.h>

/* cffi: begin */
typedef struct sqlite3 sqlite3;
typedef struct claims_scan claims_scan;

/* Answer of every function while SQLite has not loaded this object as an extension. All other answers are SQLite's
 * own result codes, which are never negative. */
#define CLAIMS_NOT_LOADED -1

int claims_core_loaded(void);
const char *claims_core_message(sqlite3 *db, int code);

int claims_scan_open(sqlite3 *db, const char *head, const char *range, const char *instance_state, claims_scan **scan);
int claims_scan_ready(claims_scan *scan, const int64_t *lanes, int64_t lanes_len, int64_t now, int64_t aging,
                      int64_t limit, int moving, const int64_t **ids, int64_t *ids_len);
void claims_scan_close(claims_scan *scan);
/* cffi: end */

#endif
