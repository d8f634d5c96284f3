/* What the C core offers to Python. build_core.py hands the part between the two marks to cffi as it stands. */
#ifndef SQLITE_CLAIMS_CORE_H
#define SQLITE_CLAIMS_CORE_H

#include <stdint.h>

/* cffi: begin */
typedef struct sqlite3 sqlite3;
typedef struct claims_scan claims_scan;

/* Answer of every function while SQLite has not loaded this object as an extension. Other answers are SQLite's
 * own result codes, which are never negative. */
#define CLAIMS_NOT_LOADED -1
#define CLAIMS_HOOKED -2 /* of claims_wal_install alone */

int claims_core_loaded(void);
const char *claims_core_message(sqlite3 *db, int code);

int claims_scan_open(sqlite3 *db, const char *head, const char *range, const char *instance_state, claims_scan **scan);
int claims_scan_ready(claims_scan *scan, const int64_t *lanes, int64_t lanes_len, int64_t now, int64_t aging,
                      int64_t limit, int moving, const int64_t **ids, int64_t *ids_len);
void claims_scan_close(claims_scan *scan);

typedef struct claims_bell claims_bell;

#define CLAIMS_BELL_SIZE 4096
#define CLAIMS_BELL_COUNTERS 3
#define CLAIMS_BELL_READY 0
#define CLAIMS_BELL_COMMITS 1
#define CLAIMS_BELL_WRITER 2

/* Answers errno, 0 for success. The file must be CLAIMS_BELL_SIZE long, and its space allocated. */
int claims_bell_open(int descriptor, claims_bell **bell);
void claims_bell_close(claims_bell *bell);
/* Whether the file was cut short while it was mapped: then the bell rings for nobody, and has to be opened anew. */
int claims_bell_is_lost(claims_bell *bell);
uint32_t claims_bell_read(claims_bell *bell, int which);
void claims_bell_ring(claims_bell *bell, int which);
void claims_bell_wait(claims_bell *bell, int which, uint32_t seen, int64_t us_max);

/* How a connection waits for the file's one writer: at most us_max. Lives at least as long as the connection. */
typedef struct {
  claims_bell *bell;
  int64_t us_max;
  int64_t deadline_us;
  uint32_t seen;
} claims_waiter;

int claims_waiter_install(sqlite3 *db, claims_waiter *waiter);

/* Keeps *frames at the length of the -wal, as of this connection's last commit. Lives as long as the connection. */
int claims_frames_install(sqlite3 *db, int *frames);

/* The name of the VFS that a connection has to be opened with to have its commits gathered; null where it can't be. */
const char *claims_wal_vfs(void);
int claims_wal_install(sqlite3 *db, int page_size, int grows);
/* cffi: end */

#endif
