/* SPDX-License-Identifier: MIT */
/*
 * Samples: what a carrier is doing just now, whatever that is.
 *
 * A thread that runs is interrupted by a signal, at any instruction, be it in the middle of a switch.  Its handler, on
 * the carrier's signal stack, lays down the registers and copies the stack that the stack pointer is in; the kernel
 * copies, so that no address can be wrong.  It waits for nobody, so the thread is held up for the length of that copy
 * (256 KiB at most, some 20 us).  Nothing is allocated, locked or unwound meanwhile, for the thread may hold any
 * lock.  Unwinding is done later from the copy, by unwind tables that are exact for every instruction; where there
 * are none, it ends.
 *
 *     sampler (one at a time: a lock)  the carrier, in the handler
 *     word := ASKED | ticket
 *     tgkill                           CAS ASKED -> BUSY; registers, copy; word := DONE, wake
 *     (too late? CAS ASKED -> IDLE)
 *     wait for DONE
 *     word := IDLE
 *
 * The sampler is the monitor, for hogs, or somebody who makes a dump.  Either may wait for the other one's sample.
 *
 * Blocked in a system call, a signal might cut that short (nanosleep and poll are not restarted).  There the kernel
 * tells stack pointer and program counter (/proc/self/task/TID/syscall).  The other registers are unknown, and the walk
 * would end at the first frame that needs one: as a rule, that of a function with a frame pointer, which is looked for
 * (frame_pointer.c).
 *
 * The signal is SIGRTMAX - 2.  Carriers block it, as all others, unless somebody wants to hear of hogs or is making a
 * dump; and it is not used if the program has a handler for it.
 */
#ifndef VTHREAD_SAMPLE_H
#define VTHREAD_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>

struct carrier;
struct sample;
struct stack;
struct thread;

/* On a carrier: it may be sampled from now on, or not any more. */
void sample_admit(struct carrier *c, bool wanted);

/* On the monitor.  NULL: the carrier has gone on to another task than `begun` meanwhile, or it cannot be had; late: or
 * only now, for it was not given the CPU in time to answer. */
struct sample *sample_take(struct carrier *c, uint64_t begun, bool computing, bool *ret_late);

/*
 * For dumps: of t, if it is what runs there, on its own stack.  Where it is in a system call, without a signal.  On any
 * platform thread that keeps carriers in being.
 */
struct sample *sample_take_thread(struct carrier *c, struct thread *t);

/* Of a thread that has left its stack for the carrier that calls this: its frames there, or in the innermost
 * continuation that it left from. */
struct sample *sample_of_leaver(struct thread *t, struct stack *s);

/* The same of one that has given its shared stack up, and waits on this very carrier.  NULL: no memory, or a mate is
 * just moving the frames. */
struct sample *sample_of_waiter(struct thread *t, struct stack *s);

/* Return addresses, the first where it stood; how many. */
int sample_unwind(struct sample *sample, void **pcs, int n);

#endif
