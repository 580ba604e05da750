/* SPDX-License-Identifier: MIT */
/*
 * The state word of a thread (vthread/word.h): park × unpark × timer × interrupt,
 * with sequentially consistent memory but without a bound on interleavings.
 *
 * A lost wake-up is an invalid end state: the thread waits for ever.
 * Mutants: NO_RECHECK (PARKING to PARKED without looking at the permit),
 * NO_SEQUENCE (timers wake whatever wait there is).
 */
#define WAITS 3

mtype = { ACTIVE, PARKED, TERMINATED };

/* One word: changed only by the atomic steps below, each one compare-and-swap. */
mtype state = ACTIVE;
bool permit = false;
bool interrupted = false;
bool wake = false;
byte sequence = 0;

chan runnable = [2] of { byte };       /* the run queue of this one thread: reasons */
chan timers = [WAITS] of { byte }; /* numbers of timed waits */

#define BY_UNPARK 1
#define BY_TIMER 2
#define BY_INTERRUPT 3

byte granted = 0;    /* permits given that had an effect */
byte consumed = 0;
bool timed = false;  /* is the present wait a timed one? */

inline do_unpark()
{
    atomic {
        if
        :: state == PARKED ->
            state = ACTIVE;
            granted++;
            runnable!BY_UNPARK
        :: state == ACTIVE ->
            if
            :: permit -> skip
            :: else -> permit = true; granted++
            fi
        :: else -> skip
        fi
    }
}

/* The thread and its carriers. */
proctype thread()
{
    byte i;
    byte reason;

    for (i : 1 .. WAITS) {
        timed = (i == 2);
        if
        :: timed -> timers!sequence + 1
        :: else -> skip
        fi;
        /* word_commit_park: one step; a mutant looks, and then stores. */
        reason = 0;
#ifdef NO_RECHECK
        if
        :: permit || interrupted || wake -> reason = 255
        :: else -> skip
        fi;
        atomic {
            if
            :: reason == 0 -> state = PARKED; sequence++
            :: else -> skip
            fi
        }
#else
        atomic {
            if
            :: permit || interrupted || wake -> reason = 255
            :: else -> state = PARKED; sequence++
            fi
        }
#endif
        if
        :: reason == 0 -> runnable?reason
        :: else ->
            /* word_end_wait */
            atomic {
                sequence++;
                if
                :: permit -> permit = false; reason = BY_UNPARK
                :: !permit && wake -> reason = BY_TIMER
                :: else -> reason = BY_INTERRUPT
                fi;
                wake = false
            }
        fi;
        assert(state == ACTIVE);
        if
        :: reason == BY_UNPARK -> consumed++
        :: reason == BY_TIMER -> assert(timed) /* never by a timer of another wait */
        :: reason == BY_INTERRUPT -> atomic { assert(interrupted); interrupted = false }
        fi
    }
    assert(consumed <= granted);
    state = TERMINATED
}

proctype timer()
{
    byte number;

end:
    do
    :: timers?number ->
        atomic {
            if
#ifdef NO_SEQUENCE
            :: state == PARKED -> state = ACTIVE; runnable!BY_TIMER
            :: state == ACTIVE -> wake = true
#else
            :: state == PARKED && sequence == number -> state = ACTIVE; runnable!BY_TIMER
            :: state == ACTIVE && sequence + 1 == number -> wake = true
#endif
            :: else -> skip
            fi
        }
    od
}

proctype interrupter()
{
    atomic {
        if
        :: state == TERMINATED -> skip
        :: else ->
            interrupted = true;
            if
            :: state == PARKED -> state = ACTIVE; runnable!BY_INTERRUPT
            :: else -> skip
            fi
        fi
    }
}

/* For as long as the thread lives: so a wait without end is a lost wake-up. */
proctype unparker()
{
    byte i;

    for (i : 1 .. WAITS) {
        do_unpark();
        /* The next one only once this one had an effect, or else they would merge. */
        (!permit || state == TERMINATED)
    }
}

init {
    atomic {
        run thread();
        run timer();
        run interrupter();
        run unparker()
    }
}
