/* The -wal, the database, and the order in which both reach the disk: syncs, failed syncs, checkpoints, and a power cut
 * at any moment. A commit has a number and one frame. Two processes commit, and a third process runs the checkpoints.
 * test_models.py checks the model as it is and also with each fault that a macro plants.
 *
 * The kernel behaves as Linux does: if a page can't be written, the kernel reports this once to each open descriptor,
 * and then treats the page as written. A descriptor that is opened later does not get this report. */
#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef FAILURES
#define FAILURES 2   /* failed syncs; later reports of the same failure don't count */
#endif
#ifndef KILLS
#define KILLS 1      /* killed processes */
#endif
#define PROCESSES 3

#define NONE 0
#define DIRTY 1      /* written to the kernel; the disk may have it or not */
#define LOST 2       /* the disk doesn't have it, but the kernel treats it as written */
#define STORED 3     /* on the disk */

byte frame[COMMITS + 1];  /* the state of the frame of each commit in the -wal */
byte page[COMMITS + 1];   /* the state of the page that the checkpoint of this commit writes to the database */
byte last;                /* the last commit */
byte start;               /* the -wal begins after this commit; the database has the commits before */
byte copied;              /* SQLite has copied the commits up to this one into the database */
byte complete;            /* SQLite has copied the commits up to this one, and has synced the database */
byte highest;             /* the last commit that was ever copied */
byte acknowledged;        /* the last commit whose caller was told that the commit is durable */
bool writer;              /* the write lock is held */

bool pending[PROCESSES];  /* the kernel has a failure to report to the descriptor of a process */
bool has_file[PROCESSES]; /* the process has the -wal open */
byte failures, kills;
bool marked;              /* there is a failed sync from which no process has recovered */
bool later[PROCESSES];    /* the mark was set again after the process had read the number of the failure */

inline open_wal(p) {
  if
  :: !has_file[p] -> has_file[p] = true; pending[p] = false
  :: else
  fi
}

inline change_frames(from, to) {
  i = 1;
  do
  :: i <= last -> if :: frame[i] == from -> frame[i] = to :: else fi; i++
  :: else -> break
  od;
  i = 0
}

inline set_mark() { marked = true; later[0] = true; later[1] = true; later[2] = true }

/* The process that gets a failure sets the mark in the same step. With MARK_IS_LATE, which is not a planted fault but
 * a limit of the store, the process can be killed between the report and the mark. The variable `done` tells whether
 * the sync succeeded. */
inline sync_wal(p) {
  if
  :: !pending[p] && failures < FAILURES ->
    failures++;
    pending[0] = has_file[0]; pending[1] = has_file[1]; pending[2] = has_file[2];
    change_frames(DIRTY, LOST);
    pending[p] = true
  :: true
  fi;
  if
  :: pending[p] ->
    pending[p] = false;
#ifdef MARK_IS_LATE
    if :: kills < KILLS -> kills++; has_file[p] = false; goto idle :: true fi;
#endif
    set_mark(); done = false
  :: else -> change_frames(DIRTY, STORED); done = true
  fi
}

/* The recovery from a failed sync. The first sync gets a failure that was not reported to this process yet. The number
 * of the failure is read before the frames are counted. */
inline recover(p) {
  atomic { open_wal(p); sync_wal(p); done = false };
  atomic {
    later[p] = false;
#ifndef PAGES_ARE_NOT_COPIED_AGAIN
    copied = start;
#endif
    frames = last
  };
  atomic {
    !writer -> writer = true;
#ifndef FRAMES_ARE_NOT_WRITTEN_AGAIN
    i = start + 1;
    do
    :: i <= frames -> if :: frame[i] != STORED -> frame[i] = DIRTY :: else fi; i++
    :: else -> break
    od;
    i = 0;
#endif
    frames = 0
  };
  atomic { sync_wal(p) };
  atomic {
    /* A process that records the recovery from an earlier failure leaves the mark set. */
    if :: done -> marked = later[p] :: else fi;
    writer = false; done = false
  }
}

active [2] proctype process() {
  byte mine, frames, i;
  bool done;
idle:
  atomic {
    mine = 0;
    if
    :: kills < KILLS && has_file[_pid] -> kills++; has_file[_pid] = false; goto idle
    :: !writer && last < COMMITS -> /* a commit; the -wal starts over if the database has all of its commits */
      if
      :: complete == last && start < last -> start = last; copied = last
      :: true
      fi;
      last++; mine = last; frame[last] = DIRTY
    fi;
#ifdef ACKNOWLEDGE_BEFORE_SYNC
    acknowledged = (mine > acknowledged -> mine : acknowledged)
#endif
  };
sync:
#ifdef MARK_IS_READ_BEFORE_SYNC
  atomic { if :: marked -> goto repair :: else fi };
  atomic { open_wal(_pid); sync_wal(_pid); if :: !done -> goto repair :: else -> done = false fi };
#else
  atomic { open_wal(_pid); sync_wal(_pid); if :: !done -> goto repair :: else -> done = false fi };
#ifndef MARK_IS_IGNORED
  atomic { if :: marked -> goto repair :: else fi };
#endif
#endif
  atomic { acknowledged = (mine > acknowledged -> mine : acknowledged); goto idle };
repair:
  recover(_pid);
  goto sync
}

active proctype checkpointer() {
  byte until, frames, i;
  bool done;
idle:
  atomic { until = 0; copied < last };
#ifdef WAL_IS_OPENED_LATE
  atomic { if :: marked -> goto repair :: else fi };
  atomic { open_wal(_pid) };
#else
  atomic { open_wal(_pid) };
#ifndef CHECKPOINT_IGNORES_MARK
  atomic { if :: marked -> goto repair :: else fi };
#endif
#endif
  atomic { until = last };
#ifndef COPY_BEFORE_SYNC
  atomic { sync_wal(_pid); if :: !done -> goto idle :: else -> done = false fi };
#endif
  atomic { /* A reader may keep the checkpoint from copying all. SQLite then doesn't sync the database. */
    if
    :: until > copied + 1 -> until--
    :: true
    fi;
    i = copied + 1;
    do
    :: i <= until -> if :: page[i] != STORED -> page[i] = DIRTY :: else fi; i++
    :: else -> break
    od;
    i = 0;
    highest = (until > highest -> until : highest);
#ifdef START_OVER_BEFORE_SYNC
    complete = until
#endif
  };
#ifdef COPY_BEFORE_SYNC
  atomic { sync_wal(_pid); if :: !done -> goto idle :: else -> done = false fi };
#endif
  atomic { /* the sync of the database, after which the pages may replace the -wal */
    i = 1;
    if
    :: until == last && failures < FAILURES ->
      failures++; set_mark();
      do
      :: i <= last -> if :: page[i] == DIRTY -> page[i] = LOST :: else fi; i++
      :: else -> break
      od
    :: until == last ->
      do
      :: i <= last -> if :: page[i] == DIRTY -> page[i] = STORED :: else fi; i++
      :: else -> break
      od;
      copied = until; complete = until
    :: until < last -> copied = (until > copied -> until : copied)
    fi;
    i = 0;
    goto idle
  };
repair:
  recover(_pid);
  goto idle
}

/* A power cut at any moment. After a power cut, SQLite reads the frames up to the first frame that is not whole. In the
 * worst case, the disk has none of the frames that were not synced, and all pages that were written to the database. */
active proctype power() {
  byte at;
  do
  :: d_step {
      at = 1;
      do
      :: at <= start -> assert(page[at] == STORED); at++ /* the database alone has these commits */
      :: else -> break
      od;
      do
      :: at <= last && frame[at] == STORED -> at++
      :: else -> break
      od;
      assert(at > acknowledged); /* an acknowledged commit stays */
      assert(at > highest);      /* the database has no page that is newer than the -wal */
      at = 0
    }
  od
}
