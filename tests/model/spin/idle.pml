/* SPDX-License-Identifier: MIT */
/*
 * Who sleeps and who is woken (carrier/idle.h): makers of work, carriers that
 * take it, one searcher at a time; sequentially consistent memory.
 *
 * Each carrier has a queue of its own that others steal from.  When everybody
 * sleeps no task may be left: the monitor process looks.
 * Mutants: NO_LOOK (no second look before sleeping), NO_NEXT (a searcher that has
 * found work does not look whether there is more), NO_ROLE (who finds work on the
 * second look does not become a searcher).
 */
#define CARRIERS 3
#define TASKS 3

byte queue[CARRIERS];
byte injected = 0;
byte idle = 0;
byte searching = 0;
bool listed[CARRIERS];
bool token[CARRIERS];
byte busy = 0;      /* carriers that hold a task: each keeps its carrier for ever */
byte made = 0;

inline look_everywhere(found)
{
    found = false;
    k = 0;
    do
    :: k < CARRIERS -> if :: queue[k] > 0 -> found = true :: else -> skip fi; k++
    :: else -> break
    od;
    if :: injected > 0 -> found = true :: else -> skip fi
}

/* M3: read the counts, then choose under the lock. */
inline wake_one()
{
    if
    :: idle > 0 && searching == 0 ->
        atomic {
            k = 0;
            do
            :: k < CARRIERS && !listed[k] -> k++
            :: else -> break
            od;
            if
            :: k < CARRIERS && searching == 0 ->
                listed[k] = false;
                idle--;
                searching++;
                token[k] = true
            :: else -> skip
            fi
        }
    :: else -> skip
    fi
}

proctype carrier(byte me)
{
    bool searches = false;
    bool found;
    byte k;

again:
    /* Own queue, injection, steal: in this order. */
    atomic {
        found = true;
        if
        :: queue[me] > 0 -> queue[me]--
        :: queue[me] == 0 && injected > 0 -> injected--
        :: else ->
            k = 0;
            do
            :: k < CARRIERS && queue[k] == 0 -> k++
            :: else -> break
            od;
            if
            :: k < CARRIERS -> queue[k]--
            :: else -> found = false
            fi
        fi
    }
    if
    :: found ->
        if
        :: searches ->
            searches = false;
            searching--;
#ifndef NO_NEXT
            look_everywhere(found);
            if :: found -> wake_one() :: else -> skip fi
#endif
        :: else -> skip
        fi;
        /* The first task makes another one; every task then computes without end. */
        if
        :: atomic { made == 0 -> made = 1 };
            queue[me]++;
            wake_one()
        :: else -> skip
        fi;
        busy++
    :: else ->
        /* C1 */
        atomic {
            listed[me] = true;
            idle++;
            if :: searches -> searching-- :: else -> skip fi;
            searches = false
        }
        /* C3 */
#ifndef NO_LOOK
        look_everywhere(found);
#else
        found = false;
#endif
        if
        :: found ->
            /* Whoever finds work on the second look searches: makers may have relied on it for more than one task. */
            atomic {
                searches = !listed[me];
                if
                :: listed[me] ->
                    listed[me] = false;
                    idle--;
#ifndef NO_ROLE
                    searches = true;
                    searching++
#endif
                :: else -> skip
                fi;
                token[me] = false
            }
        :: else ->
end:
            /* Asleep until chosen. */
            atomic {
                token[me];
                assert(!listed[me]);
                searches = true;
                token[me] = false
            }
        fi;
        goto again
    fi
}

proctype outside()
{
    byte k;
    byte i;

    for (i : 1 .. TASKS - 1) {
        injected++;
        wake_one()
    }
}

init {
    byte i;

    atomic {
        for (i : 0 .. CARRIERS - 1) {
            run carrier(i)
        }
        run outside()
    }
    /* In the end: as many carriers are busy as there are tasks; TASKS of them, one made by a task. */
    (timeout);
    assert(busy == TASKS)
}
