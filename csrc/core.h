/* The interface of the C core for Python. build_core.py passes the lines between the two "cffi" comments to cffi. */
#ifndef SQLITE_CLAIMS_CORE_H
#define SQLITE_CLAIMS_CORE_H

#include <stdint.h>

/* cffi: begin */
typedef struct sqlite3 sqlite3;
typedef struct claims_scan claims_scan;

/* Until SQLite has loaded the core as an extension, every function that returns a result code returns
 * CLAIMS_NOT_LOADED. All other result codes are SQLite's own codes, which are never negative. */
#define CLAIMS_NOT_LOADED -1
#define CLAIMS_HOOKED -2 /* returned by claims_wal_install alone */

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

/* Returns errno, or 0 for success. The file must be CLAIMS_BELL_SIZE bytes long, with its disk space allocated. */
int claims_bell_open(int descriptor, claims_bell **bell);
void claims_bell_close(claims_bell *bell);
/* Returns whether the file was truncated while it was mapped. Then the bell wakes no process until the file is opened
 * again. */
int claims_bell_is_lost(claims_bell *bell);
uint32_t claims_bell_read(claims_bell *bell, int which);
void claims_bell_ring(claims_bell *bell, int which);
void claims_bell_wait(claims_bell *bell, int which, uint32_t seen, int64_t us_max);

/* The state of a connection that waits for the write lock, for at most us_max. The struct must exist as long as the
 * connection. */
typedef struct {
  claims_bell *bell;
  int64_t us_max;
  int64_t deadline_us;
  uint32_t seen;
} claims_waiter;

int claims_waiter_install(sqlite3 *db, claims_waiter *waiter);

/* Makes each commit of this connection set *frames to the number of frames in the -wal. *frames must exist as long as
 * the connection. */
int claims_frames_install(sqlite3 *db, int *frames);

/* Returns the name of the VFS that can gather a connection's commits; null if the VFS can't be registered. */
const char *claims_wal_vfs(void);
int claims_wal_install(sqlite3 *db, int page_size, int grows);
/* cffi: end */

#endif
