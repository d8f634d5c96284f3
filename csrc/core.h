/* The interface of the C core for Python. build_core.py passes the part between the two marks to cffi, unchanged. */
#ifndef SQLITE_CLAIMS_CORE_H
#define SQLITE_CLAIMS_CORE_H

#include <stdint.h>

/* cffi: begin */
typedef struct sqlite3 sqlite3;
typedef struct claims_scan claims_scan;

/* Every function returns this until SQLite has loaded this object as an extension. Other results are SQLite's own
 * codes, which are never negative. */
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

/* Returns errno, 0 for success. The file must be CLAIMS_BELL_SIZE long, and its space allocated. */
int claims_bell_open(int descriptor, claims_bell **bell);
void claims_bell_close(claims_bell *bell);
/* Returns whether the file was cut short while it was mapped. Then the bell wakes nobody, and has to be opened again.
 */
int claims_bell_is_lost(claims_bell *bell);
uint32_t claims_bell_read(claims_bell *bell, int which);
void claims_bell_ring(claims_bell *bell, int which);
void claims_bell_wait(claims_bell *bell, int which, uint32_t seen, int64_t us_max);

/* State of a connection that waits for the write lock, at most us_max. Must live as long as the connection. */
typedef struct {
  claims_bell *bell;
  int64_t us_max;
  int64_t deadline_us;
  uint32_t seen;
} claims_waiter;

int claims_waiter_install(sqlite3 *db, claims_waiter *waiter);

/* Sets *frames to the length of the -wal at each commit of this connection. Must live as long as the connection. */
int claims_frames_install(sqlite3 *db, int *frames);

/* Returns the name of the VFS with which a connection's commits can be gathered; null if there is none. */
const char *claims_wal_vfs(void);
int claims_wal_install(sqlite3 *db, int page_size, int grows);
/* cffi: end */

#endif
