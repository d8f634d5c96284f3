/* One task, two workers that claim and settle this task, and the faults that can happen to the workers. Each atomic
 * block is one transaction of the store, because a transaction holds the write lock from its first statement on.
 * test_models.py checks the model as it is and also with each fault that a macro plants. */
#define WORKERS 2
#define EPOCH 8      /* the claims of one boot; the store has 2^32 */
#define CLAIMS 4     /* the most claims of one boot that are explored */
#define CUTS 2       /* power cuts */
#define KILLS 2      /* killed processes */
#define PRUNES 1     /* times that the ended task is pruned, and a task with the same name is added */

#define READY 0
#define CLAIMED 1
#define DONE 2

typedef Row { byte state; byte token; byte floor; byte boot };
Row live;            /* the committed state, which all processes read */
Row disk;            /* the state that the last sync has put on the disk */
bool expired;        /* the lease of the current claim has ended */
bool endless;        /* the lease of the current claim never ends */
byte holder;         /* the worker with the current claim */
byte holder_session; /* the session of that worker */

byte boot = 1, cuts, kills, prunes;
byte session[WORKERS];   /* each process of a worker has a session of its own */
bool has_lock[WORKERS];  /* the worker's process holds the lock of its session */
bool opened[WORKERS];    /* the worker's process has the store open */
byte phase[WORKERS];     /* 0: idle, 1: holds a claim, 2: has committed a result that is not synced yet */
byte token[WORKERS];     /* the token of the claim that the worker holds or believes to hold */
bool found[WORKERS];     /* the worker has found the task in a search */

/* These variables describe the past. The store doesn't know them, and a power cut doesn't undo them. */
byte issued;             /* the largest token of any claim */
byte latest;             /* the number of the latest claim */
byte number[WORKERS];    /* the number of the claim that the worker holds or believes to hold */
bool acknowledged;       /* a worker was told that its result is stored */

#define DEAD (session[holder] != holder_session || !has_lock[holder])
#define DIED (session[holder] != holder_session)
#define FREE (live.state == READY || (live.state == CLAIMED && (expired || DEAD)))
#define FULL (live.token % EPOCH >= CLAIMS || live.floor % EPOCH >= CLAIMS)
#define HELD_BY_DEAD (live.state == CLAIMED && DIED)

#ifdef SETTLE_BY_NAME /* both workers have the same name, like a worker that was restarted */
#define HOLDS(w) (live.state == CLAIMED)
#else
#define HOLDS(w) (live.state == CLAIMED && token[w] == live.token)
#endif

inline sync() { disk.state = live.state; disk.token = live.token; disk.floor = live.floor; disk.boot = live.boot }

inline forget(w) { phase[w] = 0; token[w] = 0; number[w] = 0; found[w] = false; opened[w] = false }

inline open_store(w) {
  if
  :: live.boot != boot ->
#ifndef BOOT_KEEPS_FLOOR
    live.floor = ((live.floor > live.token -> live.floor : live.token) / EPOCH + 1) * EPOCH;
#endif
    if :: live.state == CLAIMED -> live.state = READY :: else fi;
    live.boot = boot;
#ifndef BOOT_IS_NOT_SYNCED
    sync()
#endif
  :: else
  fi;
  opened[w] = true; has_lock[w] = true
}

inline claim(w) {
  assert(live.state != DONE); /* a task with a result is not done again */
  assert(live.state != CLAIMED || expired || DIED); /* nobody takes a task from a live worker with a live lease */
  live.token = (live.token > live.floor -> live.token : live.floor) + 1;
  assert(live.token > issued); /* tokens only grow */
  issued = live.token;
  latest++;
  live.state = CLAIMED; expired = false; holder = w;
  if :: endless = true :: endless = false fi;
  holder_session = session[w];
  token[w] = live.token; number[w] = latest; phase[w] = 1; found[w] = false
}

active [WORKERS] proctype worker() {
  byte me = _pid;
  do
  :: atomic { !opened[me] -> open_store(me) }
#ifdef CLAIM_WITHOUT_CHECK /* the search and the claim are two transactions, and the second one checks nothing */
  :: atomic { opened[me] && phase[me] == 0 && !found[me] && FREE && !FULL -> found[me] = true }
  :: atomic { opened[me] && phase[me] == 0 && found[me] && !FULL -> claim(me) }
#elif defined(DEATH_IS_NOT_NOTICED)
  :: atomic { opened[me] && phase[me] == 0 && !FULL &&
              (live.state == READY || (live.state == CLAIMED && expired)) -> claim(me) }
#else
  :: atomic { opened[me] && phase[me] == 0 && !FULL && FREE -> claim(me) }
#endif
  /* With a claim, a worker renews the claim, completes the task, or releases the task. */
  :: atomic { phase[me] == 1 && HOLDS(me) && expired -> assert(number[me] == latest); expired = false }
  :: atomic { phase[me] == 1 && HOLDS(me) ->
              assert(number[me] == latest); /* only the latest claim can settle the task */
              live.state = DONE; phase[me] = 2
#ifdef ACKNOWLEDGE_BEFORE_SYNC
              ; acknowledged = true
#endif
            }
  :: atomic { phase[me] == 1 && HOLDS(me) -> assert(number[me] == latest); live.state = READY; phase[me] = 0 }
  :: atomic { phase[me] == 1 && !HOLDS(me) -> phase[me] = 0; token[me] = 0 } /* ClaimLostError */
  :: atomic { phase[me] == 2 -> sync();
              /* If the task was pruned in the meantime, the result is gone with the task. */
              if :: live.state == DONE && number[me] == latest -> acknowledged = true :: else fi;
              phase[me] = 0 }
  /* The process is killed. A worker of the same name starts again. */
  :: atomic { kills < KILLS && opened[me] -> kills++; has_lock[me] = false; session[me]++; forget(me) }
#ifdef CLOSE_DROPS_LOCK /* a lock that the kernel drops when other code in the process closes the file */
  :: atomic { has_lock[me] -> has_lock[me] = false }
#endif
  od
}

active proctype faults() {
  byte w;
  do
  :: atomic { live.state == CLAIMED && !expired && !endless -> expired = true }
  :: atomic { live.state == DONE && prunes < PRUNES && !FULL ->
              prunes++;
#ifndef PRUNE_KEEPS_FLOOR
              if :: live.token > live.floor -> live.floor = live.token :: else fi;
#endif
              live.state = READY; live.token = 0; acknowledged = false; sync() }
  /* A power cut keeps the synced state or the state of the last commit. */
  :: atomic { cuts < CUTS ->
              cuts++; boot++;
              if
              :: live.state = disk.state; live.token = disk.token; live.floor = disk.floor; live.boot = disk.boot
              :: sync()
              fi;
              assert(!acknowledged || live.state == DONE); /* an acknowledged result stays */
              w = 0;
              do
              :: w < WORKERS -> session[w]++; has_lock[w] = false; forget(w); w++
              :: else -> break
              od;
              w = 0 }
  od
}

/* The claim of a dead process ends, even if its lease never does. */
ltl dead_claims_end { [] (HELD_BY_DEAD -> <> (!HELD_BY_DEAD || FULL)) }
