/* SPDX-License-Identifier: MIT */
/* The hook that no C function can be: posix/fork.h. */

    .text

/* pid_t vfork(void) */
    .globl vfork
    .type vfork, %function
    .p2align 4
vfork:
    .cfi_startproc
    hint #34 /* bti c */
    stp x29, x30, [sp, #-16]!
    .cfi_adjust_cfa_offset 16
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    bl fork_vfork
    ldp x29, x30, [sp], #16
    .cfi_restore x30
    .cfi_restore x29
    .cfi_adjust_cfa_offset -16
    mov x16, x0
    br x16
    .cfi_endproc
    .size vfork, . - vfork

    .section .note.GNU-stack, "", %progbits

/* BTI, and not PAC: the return address that is stored here is not signed. */
    .section .note.gnu.property, "a", %note
    .p2align 3
    .word 4, 16, 5
    .asciz "GNU"
    .word 0xc0000000, 4
    .word 1, 0
