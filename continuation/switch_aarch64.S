/* SPDX-License-Identifier: MIT */
/*
 * The continuation's half of the switch; continuation/switch.h says what it must do.
 *
 * Branch target identification: who called a function here goes on behind that call, where no landing pad is; only
 * `ret` may lead there.  The way to switch_in's label, which has one, is `br x16`.
 */

    .text

/* int switch_out(struct switch_frame *frame, void *value) */
    .globl switch_out
    .hidden switch_out
    .type switch_out, %function
    .p2align 4
switch_out:
    .cfi_startproc
    hint #34 /* bti c */
    sub sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    .cfi_rel_offset x19, 0
    .cfi_rel_offset x20, 8
    .cfi_rel_offset x21, 16
    .cfi_rel_offset x22, 24
    .cfi_rel_offset x23, 32
    .cfi_rel_offset x24, 40
    .cfi_rel_offset x25, 48
    .cfi_rel_offset x26, 56
    .cfi_rel_offset x27, 64
    .cfi_rel_offset x28, 72
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0, #8]
    ldr x3, [x0]
    mov sp, x3
    mov x0, x1
    ldr x16, [sp, #16]
    br x16
    .cfi_endproc
    .size switch_out, . - switch_out

/* void *switch_over(void **save, void *sp, uint32_t *left, void *value) */
    .globl switch_over
    .hidden switch_over
    .type switch_over, %function
    .p2align 4
switch_over:
    .cfi_startproc
    hint #34 /* bti c */
    sub sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    mov x4, sp
    str x4, [x0]
    mov sp, x1
    stlr wzr, [x2]
    mov x0, x3
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .cfi_endproc
    .size switch_over, . - switch_over

/* int switch_swap(void **save, void *sp, intptr_t value) */
    .globl switch_swap
    .hidden switch_swap
    .type switch_swap, %function
    .p2align 4
switch_swap:
    .cfi_startproc
    hint #34 /* bti c */
    sub sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x4, sp
    str x4, [x0]
    mov sp, x1
    mov x0, x2
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .cfi_endproc
    .size switch_swap, . - switch_swap

/* Entered by switch_in with x19 = fn, x20 = arg, x21 = finish, sp = top. */
    .globl switch_start
    .hidden switch_start
    .type switch_start, %function
    .p2align 4
switch_start:
    .cfi_startproc
    .cfi_undefined x30
    hint #36 /* bti j */
    mov x29, xzr
    mov x30, xzr
    mov x0, x20
    mov x20, xzr /* the argument is fn's alone: a collector shall not find it here for ever */
    blr x19
    blr x21
    brk #1
    .cfi_endproc
    .size switch_start, . - switch_start

    .section .note.GNU-stack, "", %progbits

    /* BTI, and not PAC: the return addresses that are stored here are not signed. */
    .section .note.gnu.property, "a", %note
    .p2align 3
    .word 4, 16, 5      /* sizes of name and description; NT_GNU_PROPERTY_TYPE_0 */
    .asciz "GNU"
    .word 0xc0000000, 4 /* GNU_PROPERTY_AARCH64_FEATURE_1_AND; its size */
    .word 1, 0          /* BTI; padding */
