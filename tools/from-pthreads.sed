# SPDX-License-Identifier: MIT
# A pthreads program in terms of <vthread/pthread.h>:   sed -E -f from-pthreads.sed program.c > ported.c
# What it does not touch, and a person must, is in docs/from-pthreads.md.
s/<pthread\.h>/<vthread\/pthread.h>/
s/<semaphore\.h>/<vthread\/pthread.h>/
# Two calls with other arguments or another result.
s/\bpthread_barrier_init\(([^,]*), *[^,]*,/vthread_barrier_init(\1,/g
s/\bpthread_barrier_wait\b/vthread_barrier_wait_serial/g
s/\bsem_init\(([^,]*), *0, *([^()]*)\)/vthread_sem_init(\1, \2, NULL)/g
# The rest is names.
s/\bpthread_/vthread_/g
s/\bPTHREAD_/VTHREAD_/g
s/\bsem_(t|destroy|wait|trywait|timedwait|post|getvalue)\b/vthread_sem_\1/g
