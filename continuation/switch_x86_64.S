/* SPDX-License-Identifier: MIT */
/* The continuation's half of the switch; continuation/switch.h has the drawing. */

    .text

/* int switch_out(struct switch_frame *frame, void *value) */
    .globl switch_out
    .hidden switch_out
    .type switch_out, @function
    .p2align 4
switch_out:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movq %rsp, 8(%rdi)
    movq %rsi, %rax
    movq (%rdi), %rsp
    popq %rcx
    notrack jmpq *%rcx
    .cfi_endproc
    .size switch_out, . - switch_out

/* void *switch_over(void **save, void *sp, uint32_t *left, void *value) */
    .globl switch_over
    .hidden switch_over
    .type switch_over, @function
    .p2align 4
switch_over:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    movl $0, (%rdx) /* stores are seen in order here: a release */
    movq %rcx, %rax
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .cfi_endproc
    .size switch_over, . - switch_over

/* int switch_swap(void **save, void *sp, intptr_t value) */
    .globl switch_swap
    .hidden switch_swap
    .type switch_swap, @function
    .p2align 4
switch_swap:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    movl %edx, %eax
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    notrack jmpq *%rcx
    .cfi_endproc
    .size switch_swap, . - switch_swap

/* Entered by switch_in with r12 = fn, r13 = arg, r15 = finish, rsp = top. */
    .globl switch_start
    .hidden switch_start
    .type switch_start, @function
    .p2align 4
switch_start:
    .cfi_startproc
    .cfi_undefined rip
    .cfi_undefined rbp
    endbr64
    xorl %ebp, %ebp
    movq %r13, %rdi
    xorl %r13d, %r13d /* the argument is fn's alone: a collector shall not find it here for ever */
    /* finish is called from the same place as fn: the return address at the top of the stack must be
     * the same for all who run on it, whatever they are at. */
1:  call *%r12
    .globl switch_started
    .hidden switch_started
switch_started:
    movq %rax, %rdi
    movq %r15, %r12
    jmp 1b
    .cfi_endproc
    .size switch_start, . - switch_start

    .section .note.GNU-stack, "", @progbits

/* GNU property: IBT (bit 0) but not SHSTK (bit 1). */
    .section .note.gnu.property, "a"
    .p2align 3
    .long 4
    .long 16
    .long 5
    .asciz "GNU"
    .long 0xc0000002
    .long 4
    .long 1
    .long 0
