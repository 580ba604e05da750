/* SPDX-License-Identifier: MIT */
/*
 * Queues: threads hand elements to one another, in order, and wait for one another.
 *
 *     #include <vthread/queue.h>
 *
 *     struct job { int number; };
 *
 *     static void *worker(void *arg)
 *     {
 *         vthread_queue_t *jobs = arg;
 *         struct job job;
 *
 *         while (vthread_queue_take(jobs, &job) == 0)
 *             ;
 *         return NULL;
 *     }
 *
 *     int main(void)
 *     {
 *         vthread_queue_t *jobs;
 *         vthread_t thread;
 *
 *         if (vthread_queue_new(&jobs, sizeof(struct job), 16) != 0 ||
 *             vthread_create(&thread, NULL, worker, jobs) != 0)
 *             return 1;
 *         for (int i = 0; i < 100; i++)
 *             vthread_queue_put(jobs, &(struct job){i});
 *         vthread_queue_close(jobs);
 *         vthread_join(thread, NULL);
 *         return vthread_queue_free(jobs);
 *     }
 *
 * Elements are copied in and out, so they may be locals on any kind of stack.  What an
 * element points to is shared: it must not be a local of a virtual thread whose stack is
 * SHARED.  Whoever waits is served in the order of coming; elements leave in the order they came.
 *
 * Every call may be made from virtual and platform threads.  put, take, select and close may
 * switch: they may wait for one another for a moment, whatever the deadline.
 *
 * What ends a wait, besides what it waits for:
 *     EINTR      the thread was interrupted, before the call or in it; clears the flag
 *     ETIMEDOUT  the deadline passed; VTHREAD_NOW only tries
 *     ECANCELED  the queue is closed
 *     ENOMEM     no memory for waiting (put and take need some for elements of more than 32 bytes only,
 *                select always), or for an unbounded queue to grow
 *     EDEADLK    on a carrier's own stack (in a callback of the runtime)
 * Then nothing has been put or taken.
 */
#ifndef VTHREAD_QUEUE_H
#define VTHREAD_QUEUE_H

#include <vthread/vthread.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Thread-safety: any number of threads may use a queue at once, but for _free. */
typedef struct vthread_queue vthread_queue_t;

/* For capacity: as many as there is memory for; put never waits. */
#define VTHREAD_UNBOUNDED SIZE_MAX

/*
 * A queue for elements of so many bytes (at least 1), of which it holds `capacity`.  With
 * 0 it is synchronous: put waits until somebody has taken the element.
 *
 * Returns 0, EINVAL or ENOMEM.  To be given to vthread_queue_free.
 */
VTHREAD_API int vthread_queue_new(vthread_queue_t **ret_queue, size_t elem_bytes, size_t capacity);

/*
 * Free it with whatever it holds.  NULL: nothing.  0, or EBUSY: somebody waits in it.
 *
 * No other call may be under way, but that a put whose element has been taken is through with
 * the queue: whoever waits for one result in a queue may take it and free the queue.
 */
VTHREAD_API int vthread_queue_free(vthread_queue_t *queue);

/* Put *elem at the end; waits while the queue is full.  0, or what is listed above. */
VTHREAD_API int vthread_queue_put(vthread_queue_t *queue, const void *elem);
VTHREAD_API int vthread_queue_put_until(vthread_queue_t *queue, const void *elem, int64_t deadline_ns);

/* Take the oldest into *ret_elem; waits while there is none.  A closed queue is emptied first. */
VTHREAD_API int vthread_queue_take(vthread_queue_t *queue, void *ret_elem);
VTHREAD_API int vthread_queue_take_until(vthread_queue_t *queue, void *ret_elem, int64_t deadline_ns);

/*
 * The same for queues of pointers (elem_bytes == sizeof(void *), else EINVAL), which are
 * looked at: EFAULT if it points into the calling virtual thread's own stack.
 */
VTHREAD_API int vthread_queue_put_ptr(vthread_queue_t *queue, void *ptr);
VTHREAD_API int vthread_queue_put_ptr_until(vthread_queue_t *queue, void *ptr, int64_t deadline_ns);
VTHREAD_API int vthread_queue_take_ptr(vthread_queue_t *queue, void **ret_ptr);
VTHREAD_API int vthread_queue_take_ptr_until(vthread_queue_t *queue, void **ret_ptr, int64_t deadline_ns);

/*
 * From now on put fails with ECANCELED, and so does take once the queue is empty; all who wait in
 * vain are woken.  Closed again: nothing.  0, EDEADLK, ENOTSUP (the child of a fork); or, if this is a
 * platform thread's first call of the library, what vthread_create may return.
 */
VTHREAD_API int vthread_queue_close(vthread_queue_t *queue);

/* Elements in it just now. */
VTHREAD_API size_t vthread_queue_len(vthread_queue_t *queue);

/* ---- several at once ---- */

typedef enum vthread_queue_op {
    VTHREAD_QUEUE_TAKE = 0,
    VTHREAD_QUEUE_PUT = 1,
} vthread_queue_op_t;

typedef struct vthread_queue_case {
    vthread_queue_t *queue; /* NULL: never ready */
    vthread_queue_op_t op;
    int result; /* of the case that was selected: 0, or ECANCELED: its queue is closed */
    void *elem; /* put from here / taken into here */
} vthread_queue_case_t;

/*
 * Wait until one of n cases can be done, and do that one and no other (Go's select).  Of
 * several that are ready each has the same chance.  A case whose queue is closed is ready,
 * with the result ECANCELED; set its queue to NULL to select without it.
 *
 * Returns the index of the case selected, or -EINTR, -ETIMEDOUT, -ENOMEM, -EINVAL (an op or
 * elem is wrong), -EDEADLK; then nothing has been done.
 */
VTHREAD_API int vthread_queue_select(vthread_queue_case_t *cases, size_t n);
VTHREAD_API int vthread_queue_select_until(vthread_queue_case_t *cases, size_t n, int64_t deadline_ns);

#ifdef __cplusplus
}
#endif

#endif
