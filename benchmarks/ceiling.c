/* The C baseline: the store's tables and SQL statements without Python between them. It shows the cost of Python.
 *
 * The baseline is an SQLite extension, so that it runs on the same SQLite library as apsw. benchmarks/ceiling.py builds
 * the extension, passes it the SQL texts of the package, and calls it. The baseline does not check arguments, make
 * records, reload lanes, or store the time of a recent write once a second. */
#include <sqlite3ext.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
SQLITE_EXTENSION_INIT1

#define EXPORT __attribute__((visibility("default")))

/* The statements, in the same order as in ceiling.py. */
enum {
  BEGIN,
  COMMIT,
  LOOK,
  HEAD,
  FOUND,
  CLAIM,
  COMPLETE,
  COUNT_COMPLETED,
  COUNT_ENDED,
  TOKEN_FLOOR,
  NEWEST_TASK,
  INSTANCE,
  ADD_TASK,
  ADD_INPUT,
  COUNT_ADDED,
  STATEMENTS
};
enum { NAME_SIZE = 300, BATCH_MAX = 1000 };

static const int64_t CLAIMED_SIDE = INT64_C(1) << 32;
static const int64_t LEASE_US = INT64_C(30) * 1000 * 1000;

typedef struct {
  int64_t row;
  int64_t token;
  char instance[NAME_SIZE];
  char name[NAME_SIZE];
} claim;

typedef struct {
  sqlite3 *db;
  sqlite3_stmt *statements[STATEMENTS];
  int64_t anchor; /* store time = boot clock + anchor */
  int64_t lane;
  int64_t calls;
  int claims_len;
  claim claims[BATCH_MAX];
} ceiling;

static int64_t clock_us(clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Binds by a format: i an integer, s a text, b bytes with their length, n NULL. */
static void bind(sqlite3_stmt *statement, const char *format, ...) {
  va_list values;
  va_start(values, format);
  for (int at = 1; *format; at++, format++) {
    if (*format == 'i') sqlite3_bind_int64(statement, at, va_arg(values, int64_t));
    if (*format == 's') sqlite3_bind_text(statement, at, va_arg(values, const char *), -1, SQLITE_STATIC);
    if (*format == 'n') sqlite3_bind_null(statement, at);
    if (*format == 'b') {
      const void *data = va_arg(values, const void *);
      sqlite3_bind_blob(statement, at, data, va_arg(values, int), SQLITE_STATIC);
    }
  }
  va_end(values);
}

/* Runs a statement and ignores its rows. */
static int run(ceiling *c, int which) {
  int code = sqlite3_step(c->statements[which]);
  int reset = sqlite3_reset(c->statements[which]);
  return code == SQLITE_DONE || code == SQLITE_ROW ? reset : code;
}

/* Sets *value to the first column of the first row. */
static int number(ceiling *c, int which, int64_t *value) {
  int code = sqlite3_step(c->statements[which]);
  if (code == SQLITE_ROW) *value = sqlite3_column_int64(c->statements[which], 0);
  sqlite3_reset(c->statements[which]);
  return code == SQLITE_ROW ? SQLITE_OK : code == SQLITE_DONE ? SQLITE_NOTFOUND : code;
}

/* ---- claiming and completing ---- */

/* Adds due rows of one side of the lane to the claims. */
static int scan(ceiling *c, int64_t lane, int64_t now, int limit) {
  sqlite3_stmt *head = c->statements[HEAD];
  int code;
  bind(head, "iii", lane, (int64_t)0, (int64_t)(limit - c->claims_len));
  while (c->claims_len < limit && (code = sqlite3_step(head)) == SQLITE_ROW) {
    if (sqlite3_column_int64(head, 1) <= now) c->claims[c->claims_len++].row = sqlite3_column_int64(head, 2);
  }
  return sqlite3_reset(head);
}

static int take(ceiling *c, claim *one, int64_t now, int64_t wall) {
  sqlite3_stmt *found = c->statements[FOUND];
  bind(found, "i", one->row);
  if (sqlite3_step(found) != SQLITE_ROW) return SQLITE_NOTFOUND;
  snprintf(one->instance, NAME_SIZE, "%s", (const char *)sqlite3_column_text(found, 1));
  snprintf(one->name, NAME_SIZE, "%s", (const char *)sqlite3_column_text(found, 2));
  one->token = sqlite3_column_int64(found, 9) + 1;
  sqlite3_reset(found);
  bind(c->statements[CLAIM], "iiisnii", one->row, (int64_t)0, now + LEASE_US, "worker", wall, wall + LEASE_US);
  return run(c, CLAIM);
}

static int claim_batch(ceiling *c, int limit) {
  int code = run(c, BEGIN);
  if (code) return code;
  int64_t wall = clock_us(CLOCK_REALTIME);
  int64_t now = clock_us(CLOCK_BOOTTIME) + c->anchor;
  bind(c->statements[LOOK], "ii", now, wall);
  code = run(c, LOOK);
  c->claims_len = 0;
  if (code == SQLITE_OK) code = scan(c, c->lane + CLAIMED_SIDE, now, limit);
  if (code == SQLITE_OK) code = scan(c, c->lane, now, limit);
  for (int i = 0; i < c->claims_len && code == SQLITE_OK; i++) code = take(c, &c->claims[i], now, wall);
  return code == SQLITE_OK ? run(c, COMMIT) : code;
}

/* Updates the counter of the instance once per transaction, since all claims belong to one instance. */
static int count(ceiling *c) {
  int64_t instance = 0;
  if (c->claims_len == 1) {
    bind(c->statements[COUNT_COMPLETED], "s", c->claims[0].instance);
    return run(c, COUNT_COMPLETED);
  }
  bind(c->statements[INSTANCE], "s", c->claims[0].instance);
  int code = number(c, INSTANCE, &instance);
  bind(c->statements[COUNT_ENDED], "iiiii", instance, (int64_t)c->claims_len, (int64_t)0, (int64_t)0, (int64_t)0);
  return code == SQLITE_OK ? run(c, COUNT_ENDED) : code;
}

static int complete_batch(ceiling *c) {
  int code = run(c, BEGIN);
  int64_t wall = clock_us(CLOCK_REALTIME);
  for (int i = 0; i < c->claims_len && code == SQLITE_OK; i++) {
    const claim *one = &c->claims[i];
    bind(c->statements[COMPLETE], "iiiiss", one->row, wall, wall, one->token, one->name, one->instance);
    code = run(c, COMPLETE);
    if (code == SQLITE_OK && sqlite3_changes(c->db) != 1) code = SQLITE_CONSTRAINT;
  }
  if (code == SQLITE_OK) code = count(c);
  return code == SQLITE_OK ? run(c, COMMIT) : code;
}

/* Claims and completes `batch` tasks in two transactions, `count` times. */
EXPORT int ceiling_cycles(ceiling *c, int count, int batch) {
  if (batch < 1 || batch > BATCH_MAX) return SQLITE_MISUSE;
  for (int i = 0; i < count; i++) {
    int code = claim_batch(c, batch);
    if (code == SQLITE_OK && c->claims_len < batch) code = SQLITE_NOTFOUND;
    if (code == SQLITE_OK) code = complete_batch(c);
    if (code != SQLITE_OK) return code;
  }
  return SQLITE_OK;
}

/* ---- adding ---- */

/* Adds `count` tasks to the instance "ready" in one transaction. Each task has an input if input_len is not 0. */
EXPORT int ceiling_add(ceiling *c, int count, const void *input, int input_len) {
  int64_t instance = 0, newest = 0, floor = 0;
  char name[NAME_SIZE];
  int code = run(c, BEGIN);
  if (code) return code;
  int64_t wall = clock_us(CLOCK_REALTIME);
  int64_t now = clock_us(CLOCK_BOOTTIME) + c->anchor;
  bind(c->statements[INSTANCE], "s", "ready");
  code = number(c, INSTANCE, &instance);
  if (code == SQLITE_OK) code = number(c, TOKEN_FLOOR, &floor);
  if (code == SQLITE_OK) code = number(c, NEWEST_TASK, &newest);
  c->calls++;
  for (int i = 0; i < count && code == SQLITE_OK; i++) {
    int64_t row = newest + 1 + i;
    snprintf(name, NAME_SIZE, "call-%03lld-task-%07d", (long long)c->calls, i);
    bind(c->statements[ADD_TASK], "iisiiiiiiiiiiinnn", row, instance, name, c->lane, (int64_t)3, (int64_t)1, now, now,
         floor, (int64_t)3, (int64_t)5, (int64_t)1, (int64_t)0, wall);
    code = run(c, ADD_TASK);
  }
  for (int i = 0; i < count && input_len > 0 && code == SQLITE_OK; i++) {
    bind(c->statements[ADD_INPUT], "ib", newest + 1 + i, input, input_len);
    code = run(c, ADD_INPUT);
  }
  bind(c->statements[COUNT_ADDED], "iii", instance, (int64_t)count, (int64_t)0);
  if (code == SQLITE_OK) code = run(c, COUNT_ADDED);
  return code == SQLITE_OK ? run(c, COMMIT) : code;
}

/* ---- opening and closing ---- */

EXPORT void ceiling_close(ceiling *c) {
  for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(c->statements[i]);
  sqlite3_close(c->db);
  sqlite3_free(c);
}

EXPORT const char *ceiling_message(ceiling *c) { return sqlite3_errmsg(c->db); }

/* Opens a new connection to the file of a store, with the store's settings. Returns null after a failure. */
EXPORT ceiling *ceiling_open(const char *path, const char *const *texts, int64_t anchor, int64_t lane,
                             int checkpoint_frames) {
  if (sqlite3_api == 0) return 0;
  ceiling *c = sqlite3_malloc64(sizeof *c);
  if (c == 0) return 0;
  memset(c, 0, sizeof *c);
  c->anchor = anchor;
  c->lane = lane;
  int code = sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE, 0);
  if (code == SQLITE_OK) code = sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_QPSG, 1, (int *)0);
  if (code == SQLITE_OK) code = sqlite3_exec(c->db, "PRAGMA synchronous = NORMAL", 0, 0, 0);
  if (code == SQLITE_OK) code = sqlite3_wal_autocheckpoint(c->db, checkpoint_frames);
  for (int i = 0; i < STATEMENTS && code == SQLITE_OK; i++)
    code = sqlite3_prepare_v3(c->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[i], 0);
  if (code == SQLITE_OK) return c;
  fprintf(stderr, "ceiling: %s\n", sqlite3_errmsg(c->db));
  ceiling_close(c);
  return 0;
}

EXPORT int ceiling_init(sqlite3 *db, char **message, const sqlite3_api_routines *api) {
  (void)db;
  (void)message;
  SQLITE_EXTENSION_INIT2(api);
  return SQLITE_OK;
}
