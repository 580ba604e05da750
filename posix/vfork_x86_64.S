/* SPDX-License-Identifier: MIT */
/* The hook that no C function can be: posix/fork.h. */

    .text

/* pid_t vfork(void) */
    .globl vfork
    .type vfork, @function
    .p2align 4
vfork:
    .cfi_startproc
    endbr64
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call fork_vfork
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    jmpq *%rax
    .cfi_endproc
    .size vfork, . - vfork

    .section .note.GNU-stack, "", @progbits

/* GNU property: IBT and SHSTK. */
    .section .note.gnu.property, "a"
    .p2align 3
    .long 4
    .long 16
    .long 5
    .asciz "GNU"
    .long 0xc0000002
    .long 4
    .long 3
    .long 0
