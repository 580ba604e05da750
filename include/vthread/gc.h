/* SPDX-License-Identifier: MIT */
/*
 * Collected memory: allocate, share, and never free.  Only where VTHREAD_HAS_GC is 1.
 *
 *     struct node *n = vthread_gc_alloc(sizeof *n);   // zeroed
 *     n->next = list;                                 // pointers in it keep other objects alive
 *     vthread_queue_put_ptr(queue, n);                // so does a queue, a future, a parked thread's frame ...
 *
 * The collector is bdwgc (libgc): conservative, stop-the-world, non-moving.  An object stays while a pointer
 * to it, or to anywhere inside it, is found in one of the *roots*:
 *
 *   - static variables of the program and of every library, also of those loaded later;
 *   - the frames and registers of every virtual thread, whether it runs, waits or is pinned, wherever
 *     its frames happen to be, and those of suspended continuations (continuation.h), but see vthread_gc_cont_new;
 *   - what the library holds of the program's: arguments and copies of them, results that nobody has
 *     joined yet, values of keys, scoped values, elements of queues, tasks and futures, pooled objects;
 *   - the stacks of platform threads that are registered: those that have made any call of this library
 *     since the collector began, or vthread_gc_register_thread;
 *   - other collected objects that are reachable, but for those from vthread_gc_alloc_atomic.
 *
 * Not looked into: memory from malloc (use vthread_gc_alloc_root for what shall hold collected pointers and
 * be freed by hand), mmap, _Thread_local variables (use keys), and pointers that are not aligned as pointers
 * are or are disguised.  Elements of queues that hold pointers must be a multiple of 8 bytes.
 *
 * A program that allocates no collected memory pays nothing: the collector starts with the first allocation. From then
 * on a collection stops all registered threads by a signal (SIGPWR; SIGXCPU lets them go on), so their system calls may
 * return EINTR: a program that has begun must be ready for that in poll, epoll_wait, nanosleep and receiving
 * with a time-out, whatever SA_RESTART says.  Calls of this library take care of it themselves.  These
 * signals must be neither blocked nor handled.
 *
 * An allocation needs about 32 KiB of stack: it may be the one that collects.  Incremental collection
 * (GC_ENABLE_INCREMENTAL) is refused.  GC_DONT_GC and the other environment variables of bdwgc work.
 * docs/collector.md says more, also how to use bdwgc's own functions beside these.
 *
 * Thread-safety: all calls, from any thread.  In the child of a fork allocations fail.
 */
#ifndef VTHREAD_GC_H
#define VTHREAD_GC_H

#include <stddef.h>
#include <stdint.h>

#include <vthread/continuation.h>
#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Allocate an object that is freed when nothing refers to it any more.  Zeroed, aligned to 16 bytes.
 *
 * Returns NULL when out of memory, or when the collector cannot work (the misuse handler is told why).
 *
 * Context: virtual or platform thread, 32 KiB of stack.  Does not switch carriers; may block the OS thread for as
 * long as a collection takes.
 */
VTHREAD_API VTHREAD_NODISCARD void *vthread_gc_alloc(size_t size);

/*
 * The same for data without pointers: text, numbers, pixels.  It is not looked into, which is faster, and
 * no number in it is mistaken for a pointer.  Not zeroed.
 */
VTHREAD_API VTHREAD_NODISCARD void *vthread_gc_alloc_atomic(size_t size);

/*
 * Allocate memory that is a root itself: it is looked into, and stays until vthread_gc_free.  For
 * structures that are managed by hand and refer to collected objects.  Zeroed.
 */
VTHREAD_API VTHREAD_NODISCARD void *vthread_gc_alloc_root(size_t size);

/* Free what vthread_gc_alloc_root returned.  NULL: nothing. */
VTHREAD_API void vthread_gc_free(void *root);

/* A collected copy of a string; NULL when out of memory.  text: not NULL. */
VTHREAD_API VTHREAD_NODISCARD char *vthread_gc_strdup(const char *text);

typedef void vthread_gc_finalizer_t(void *object, void *user);

/*
 * Have fn(object, user) called some time after nothing refers to the object any more.  fn NULL: no more.
 *
 * object: what an allocation here has returned.  It is whole when fn is called, and so is all that it
 * refers to; it is freed by a later collection, unless fn makes it reachable again.  user keeps what it points to
 * alive, so it must not lead back to the object.  Objects that refer to each other are finalized in no particular
 * order.  A second call replaces the first.
 *
 * All finalizers run on one platform thread of their own, one after another, and may use the whole
 * library.  None is called at the end of the program.
 *
 * Returns 0, EINVAL (object is NULL, or not the beginning of a collected object) or ENOMEM.
 */
VTHREAD_API int vthread_gc_set_finalizer(void *object, vthread_gc_finalizer_t *fn, void *user);

/*
 * Make the calling platform thread known to the collector, before it first handles collected
 * pointers that it did not get by a call of this library.  Every call of this library does it, too; on a virtual thread
 * it does nothing.  It ends with the thread.  A thread that has called GC_register_my_thread of bdwgc is left as it is.
 *
 * Returns 0, ENOMEM, or ENOTSUP (the collector cannot work, or this is the child of a fork).
 */
VTHREAD_API int vthread_gc_register_thread(void);

/*
 * Collect now.  Finalizers of what has become unreachable are called soon after.  Nothing happens
 * if nothing was ever allocated here, or with GC_DONT_GC.
 */
VTHREAD_API void vthread_gc_collect(void);

/*
 * vthread_cont_new for a continuation that is collected: a generator that is dropped half-way.
 *
 * Others that are suspended are roots with all their frames, until vthread_cont_free.  This one is kept by pointers to
 * it, like any object from vthread_gc_alloc, and its frames keep what they refer to only as long as it is reachable
 * itself, so they may refer to it, or to what refers to it.  When nothing does any more, its frames are dropped and its
 * stack is used again: nothing in the frames runs, as with vthread_cont_free, which may be called as well, and not after
 * that.  While it runs it is kept.  Scoped values that it has bound are roots.  Those that no collection has found by the
 * time of vthread_runtime_shutdown count as left there.
 *
 * The handle must be kept where the collector looks: not in memory from malloc.
 *
 * Returns as vthread_cont_new; ENOTSUP also if the collector cannot work.
 */
VTHREAD_API int vthread_gc_cont_new(vthread_cont_t **ret_cont, const vthread_cont_scope_t *scope,
                                    void *(*fn)(void *arg), void *arg);

/* ---- leaks ---- */

/* A virtual thread that waits for ever. */
typedef struct vthread_leak {
    vthread_t thread; /* vthread_name, vthread_state and vthread_backtrace tell more */
    uintptr_t reserved[3];
} vthread_leak_t; /* does not name the object: a pointer to it, kept here, would make it reachable */

/*
 * Find the virtual threads that wait for ever: without a deadline, on a sync object (sync.h) in collected
 * memory that no thread can reach but those that wait for ever themselves.  Go's goroutine leak profile, in C.
 *
 * What is found is so: such a wait can end only by vthread_interrupt with the thread's handle, or by the end of the
 * runtime (or by a pointer to the object that is disguised, or kept where the collector does not look).  What is not
 * found may be a leak all the same: the finder is silent about objects in other memory (static, malloc), about queues,
 * joins and parks, about pinned threads, threads on dedicated stacks and inside continuations, whose frames others may
 * point into, about tasks of executors and subtasks, which may be cancelled, and where something merely looks like a
 * pointer.  Nothing is freed or ended: what to do is the program's business.
 *
 * Fills in up to n, and returns how many there are (0: all is well), or -EINVAL (no room for n), -EBUSY (another
 * search is under way), -ENOMEM, or -ENOTSUP (the collector cannot work, is told not to, or this is the child of a
 * fork). Takes two collections; the world stands still in them a little longer than in others.
 *
 * Context: as vthread_gc_alloc.
 */
VTHREAD_API int vthread_find_leaks(vthread_leak_t *ret_leaks, size_t n);

/* The same in words, to a file descriptor: of each its name, its state, the object and the stack. */
VTHREAD_API int vthread_print_leaks(int fd);

#ifdef __cplusplus
}
#endif
#endif
