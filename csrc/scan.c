/* Finds the tasks that can be claimed, in their exact order, by a k-way merge over the index claims_task_next.
 *
 * A task's rank is priority * weight + next_at. The task with the lowest rank comes first. The weight is the aging
 * interval. Without aging, a task of a higher priority always comes first. Two ranks are compared without computing
 * either rank, so that no value of the columns can cause an overflow. Within one (lane, priority), the index is sorted
 * by next_at. So a merge of these ranges gives the order over all lanes. The merge costs O(ranges + limit), however
 * many tasks the store has.
 *
 * A stream is a sorted sequence of rows that the merge reads. Without aging, a lane is one stream, which is read
 * priority after priority. So a lane costs only one seek at first. With aging, the next task can have any priority, so
 * each (lane, priority) is a separate stream.
 *
 * A stream reads its rows in blocks, whose size doubles up to BLOCK_MAX, and needs a new seek for each block. The
 * alternative is an open cursor for each stream. But then a thousand streams need a thousand statements. With a limited
 * number of statements, the remaining streams still need a seek for each block.
 *
 * The SQL text comes from Python. A function that steps a statement resets the statement before the function returns,
 * so that no read stays open in the caller's transaction. The caller must use a handle from only one thread at a time.
 * sqlite_claims/sqlite/scan/py_scanner.py is the same scan in Python, with the same results. */
#include <sqlite3ext.h>
#include <string.h>

#include "core.h"

SQLITE_EXTENSION_INIT3

enum {
  BLOCK_MAX = 64,         /* largest number of rows in a block */
  KEPT_BYTES_MAX = 65536, /* a larger buffer is freed at the next call */
};

/* The statements. HEAD and RANGE return rows of (priority, next_at, id). */
enum { HEAD, RANGE, INSTANCE_STATE, STATEMENTS };

typedef struct {
  int64_t next_at;
  int64_t id;
} row;

typedef struct {
  row first; /* copy of the first row not yet taken, so that the heap needs no access to the block */
  int64_t lane;
  int64_t priority;
  int64_t taken;  /* number of rows taken so far */
  int64_t block;  /* index of the stream's block in the handle's rows */
  int block_cap;  /* number of rows that fit into the block */
  int block_len;  /* number of rows in the block */
  int block_pos;  /* number of rows of the block already taken */
  int range_done; /* true if the priority has no due rows after the block */
  int lane_done;  /* true if the lane has no due rows after the priority */
} stream;

typedef struct {
  void *items;
  int64_t cap;
} buffer;

struct claims_scan {
  sqlite3_stmt *statements[STATEMENTS];
  buffer streams; /* a heap, once all streams are gathered */
  buffer rows;    /* the streams' blocks */
  buffer ids;     /* the result */
  int64_t streams_len;
  int64_t rows_len;
  int64_t ids_len;
};

/* The arguments of one call. */
typedef struct {
  int64_t aging; /* microseconds of waiting that count as one priority level, 0 for no aging */
  int64_t now;
  int64_t limit;
  int share; /* number of rows in a stream's first block: the limit divided by the number of lanes */
  int moving;
} question;

static int reserve(buffer *b, int64_t len, size_t item_size) {
  if (len <= b->cap) return SQLITE_OK;
  int64_t cap = b->cap * 2 > len ? b->cap * 2 : len + 15;
  void *items = sqlite3_realloc64(b->items, (sqlite3_uint64)cap * item_size);
  if (items == 0) return SQLITE_NOMEM;
  b->items = items;
  b->cap = cap;
  return SQLITE_OK;
}

static void trim(buffer *b, size_t item_size) {
  if ((uint64_t)b->cap * item_size <= KEPT_BYTES_MAX) return;
  sqlite3_free(b->items);
  b->items = 0;
  b->cap = 0;
}

static int bind(sqlite3_stmt *statement, const int64_t *values, int len) {
  int code = SQLITE_OK;
  for (int i = 0; i < len && code == SQLITE_OK; i++) code = sqlite3_bind_int64(statement, i + 1, values[i]);
  return code;
}

/* ---- the streams ---- */

/* Empties the block of a stream, and makes room for `cap` rows in the block. */
static int new_block(claims_scan *scan, stream *s, int cap) {
  if (cap > s->block_cap) {
    int code = reserve(&scan->rows, scan->rows_len + cap, sizeof(row));
    if (code != SQLITE_OK) return code;
    s->block = scan->rows_len;
    s->block_cap = cap;
    scan->rows_len += cap;
  }
  s->block_len = 0;
  s->block_pos = 0;
  return SQLITE_OK;
}

static row *block_of(const claims_scan *scan, const stream *s) { return (row *)scan->rows.items + s->block; }

/* Fills the block with up to `len` rows from a bound statement, and resets the statement. The first row of HEAD sets
 * the stream's priority. The range ends at a row of a different priority, or at a row that is not due. */
static int read_rows(claims_scan *scan, int which, const question *q, stream *s, int len) {
  sqlite3_stmt *statement = scan->statements[which];
  row *block = block_of(scan, s);
  int code = SQLITE_ROW;
  while (s->block_len < len && !s->range_done && (code = sqlite3_step(statement)) == SQLITE_ROW) {
    int64_t priority = sqlite3_column_int64(statement, 0);
    row r = {sqlite3_column_int64(statement, 1), sqlite3_column_int64(statement, 2)};
    if (which == HEAD && s->block_len == 0) {
      if (priority <= s->priority) {
        code = SQLITE_CORRUPT; /* see next_block */
        break;
      }
      s->priority = priority;
    }
    if (priority == s->priority && r.next_at <= q->now) {
      block[s->block_len++] = r;
    } else {
      s->range_done = 1;
    }
  }
  sqlite3_reset(statement);
  return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

/* Moves to the lane's next priority that has due rows. If no further priority has due rows, the block is empty
 * afterwards. */
static int next_priority(claims_scan *scan, const question *q, stream *s) {
  int len = q->share;
  int code = new_block(scan, s, len);
  while (code == SQLITE_OK && s->block_len == 0 && !s->lane_done) {
    const int64_t values[] = {s->lane, s->priority, len};
    s->range_done = 0;
    code = bind(scan->statements[HEAD], values, 3);
    if (code == SQLITE_OK) code = read_rows(scan, HEAD, q, s, len);
    if (s->block_len < len && !s->range_done) s->range_done = s->lane_done = 1;
  }
  return code;
}

/* Reads the stream's next block within the same priority.
 *
 * In a damaged index, rows may be out of order, and values may not be integers (SQLite converts such values). So the
 * scan checks that the end of each block comes after the end of the previous block, and that each new priority is
 * larger than the previous priority. Without these checks the scan might never end. */
static int next_block(claims_scan *scan, const question *q, stream *s) {
  const row last = block_of(scan, s)[s->block_len - 1];
  int64_t len = s->taken > q->share ? s->taken : q->share;
  if (!q->moving && len > q->limit - scan->ids_len) len = q->limit - scan->ids_len;
  if (len > BLOCK_MAX) len = BLOCK_MAX;
  int code = new_block(scan, s, (int)len);
  if (code == SQLITE_OK) {
    const int64_t values[] = {s->lane, s->priority, last.next_at, last.id, q->now, len};
    code = bind(scan->statements[RANGE], values, 6);
  }
  if (code == SQLITE_OK) code = read_rows(scan, RANGE, q, s, (int)len);
  if (s->block_len < len) s->range_done = 1;
  if (code != SQLITE_OK || s->block_len == 0) return code;
  const row end = block_of(scan, s)[s->block_len - 1];
  return end.next_at > last.next_at || (end.next_at == last.next_at && end.id > last.id) ? SQLITE_OK : SQLITE_CORRUPT;
}

/* Removes the first row from a stream. If the removed row was the stream's last row, the block is empty afterwards. */
static int advance(claims_scan *scan, const question *q, stream *s) {
  int code = SQLITE_OK;
  s->taken++;
  if (++s->block_pos == s->block_len && !s->range_done) code = next_block(scan, q, s);
  if (code == SQLITE_OK && s->block_pos == s->block_len)
    code = q->aging ? new_block(scan, s, 0) : next_priority(scan, q, s);
  if (code == SQLITE_OK && s->block_len > 0) s->first = block_of(scan, s)[s->block_pos];
  return code;
}

/* ---- the heap ---- */

/* Returns whether the first row of stream a has a lower rank than the first row of stream b. Rows with the same rank
 * are ordered by id. Suppose stream a has the higher priority number. Then a comes before b only if
 * b's next_at - a's next_at >= (a's priority - b's priority) * aging. */
static int comes_before(const question *q, const stream *a, const stream *b) {
  if (a->priority < b->priority) return !comes_before(q, b, a);
  if (a->first.next_at > b->first.next_at) return 0;
  uint64_t earlier = (uint64_t)b->first.next_at - (uint64_t)a->first.next_at;
  uint64_t levels = (uint64_t)a->priority - (uint64_t)b->priority;
  uint64_t behind = 0;
  if (levels > 0 && (q->aging == 0 || __builtin_mul_overflow(levels, (uint64_t)q->aging, &behind))) return 0;
  return earlier > behind || (earlier == behind && a->first.id < b->first.id);
}

static void sift_down(const question *q, stream *heap, int64_t len, int64_t at) {
  const stream moved = heap[at];
  for (int64_t child = 2 * at + 1; child < len; child = 2 * at + 1) {
    if (child + 1 < len && comes_before(q, &heap[child + 1], &heap[child])) child++;
    if (!comes_before(q, &heap[child], &moved)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
}

static int gather_lane(claims_scan *scan, const question *q, int64_t lane) {
  int64_t priority = 0;
  for (;;) {
    int code = reserve(&scan->streams, scan->streams_len + 1, sizeof(stream));
    if (code != SQLITE_OK) return code;
    stream *s = (stream *)scan->streams.items + scan->streams_len;
    memset(s, 0, sizeof *s);
    s->lane = lane;
    s->priority = priority;
    code = next_priority(scan, q, s);
    if (code != SQLITE_OK || s->block_len == 0) return code;
    s->first = block_of(scan, s)[0];
    scan->streams_len++;
    if (!q->aging || s->lane_done) return SQLITE_OK;
    priority = s->priority;
  }
}

/* ---- the merge ---- */

/* Sets *yes to 1 if the task's instance is in progress, else to 0. */
static int may_run(claims_scan *scan, int64_t id, int *yes) {
  sqlite3_stmt *statement = scan->statements[INSTANCE_STATE];
  int code = bind(statement, &id, 1);
  if (code != SQLITE_OK) return code;
  code = sqlite3_step(statement);
  *yes = code == SQLITE_ROW && sqlite3_column_int64(statement, 0) == 0;
  sqlite3_reset(statement);
  return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

static int take_first(claims_scan *scan, const question *q) {
  stream *heap = scan->streams.items;
  int yes = 1;
  int code = q->moving ? may_run(scan, heap[0].first.id, &yes) : SQLITE_OK;
  if (code == SQLITE_OK && yes) {
    code = reserve(&scan->ids, scan->ids_len + 1, sizeof(int64_t));
    if (code == SQLITE_OK) ((int64_t *)scan->ids.items)[scan->ids_len++] = heap[0].first.id;
  }
  if (code != SQLITE_OK || scan->ids_len == q->limit) return code;
  code = advance(scan, q, &heap[0]);
  if (code == SQLITE_OK && heap[0].block_len == 0) heap[0] = heap[--scan->streams_len];
  if (code == SQLITE_OK) sift_down(q, heap, scan->streams_len, 0);
  return code;
}

/* ---- the functions that Python calls ---- */

/* Returns the ids of up to `limit` tasks that can be claimed at `now`, in order. *ids stays valid until the next call.
 *
 * lanes: the lanes to search, without duplicates. aging: microseconds of waiting that count as one priority level, 0
 * for no aging. moving: 1 if an instance is moving, so that the state of each row's instance has to be read, else 0. */
int claims_scan_ready(claims_scan *scan, const int64_t *lanes, int64_t lanes_len, int64_t now, int64_t aging,
                      int64_t limit, int moving, const int64_t **ids, int64_t *ids_len) {
  if (!claims_core_loaded()) return CLAIMS_NOT_LOADED;
  if (scan == 0 || lanes_len < 0 || aging < 0) return SQLITE_MISUSE;
  question q = {.aging = aging, .now = now, .limit = limit, .share = 1, .moving = moving};
  if (lanes_len > 0 && limit / lanes_len > 1)
    q.share = limit / lanes_len < BLOCK_MAX ? (int)(limit / lanes_len) : BLOCK_MAX;

  trim(&scan->streams, sizeof(stream));
  trim(&scan->rows, sizeof(row));
  trim(&scan->ids, sizeof(int64_t));
  scan->streams_len = scan->rows_len = scan->ids_len = 0;

  int code = SQLITE_OK;
  for (int64_t i = 0; i < lanes_len && limit > 0 && code == SQLITE_OK; i++) code = gather_lane(scan, &q, lanes[i]);
  for (int64_t i = scan->streams_len / 2; i-- > 0;) sift_down(&q, scan->streams.items, scan->streams_len, i);
  while (code == SQLITE_OK && scan->streams_len > 0 && scan->ids_len < limit) code = take_first(scan, &q);
  *ids = scan->ids.items;
  *ids_len = code == SQLITE_OK ? scan->ids_len : 0;
  return code;
}

/* Frees the handle and its statements. Call this function before the connection is closed, because SQLite doesn't close
 * a connection with open statements. */
void claims_scan_close(claims_scan *scan) {
  if (scan == 0) return;
  for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(scan->statements[i]);
  sqlite3_free(scan->streams.items);
  sqlite3_free(scan->rows.items);
  sqlite3_free(scan->ids.items);
  sqlite3_free(scan);
}

/* Opens a handle for one connection of the SQLite library that loaded the C core. *scan is null after a failure. */
int claims_scan_open(sqlite3 *db, const char *head, const char *range, const char *instance_state, claims_scan **scan) {
  *scan = 0;
  if (!claims_core_loaded()) return CLAIMS_NOT_LOADED;
  const char *texts[STATEMENTS] = {head, range, instance_state};
  claims_scan *made = sqlite3_malloc64(sizeof *made);
  if (made == 0) return SQLITE_NOMEM;
  memset(made, 0, sizeof *made);
  for (int i = 0; i < STATEMENTS; i++) {
    int code = sqlite3_prepare_v3(db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &made->statements[i], 0);
    if (code != SQLITE_OK) {
      claims_scan_close(made);
      return code;
    }
  }
  *scan = made;
  return SQLITE_OK;
}
