/* SPDX-License-Identifier: MIT */
/*
 * Whose stack pointer is known, and whose frame pointer is not.
 *
 * The kernel tells of a thread in a system call where it stands and what its stack pointer is.  Unwinding gets
 * as far as the first function that finds its frame by the frame pointer (-O0, alloca), which has been in that register
 * ever since: none of the functions beneath has saved it, else it would be known.
 *
 * So it is tried out.  It points to where that function has saved the one of its caller, above which is the return
 * address; and a word in the stack is this return address only if
 *   - a call is before it, and that calls this very function, directly or by the dynamic linker's table; and
 *   - unwinding with it goes all the way to the outermost frame, at the very end of the stack.
 * Where the call goes by a pointer its target cannot be told.  Then no call further out may be one of another function,
 * for what calls that have returned have left looks like a frame, but does not stand on the frames there are.  And of
 * the words that are left, the one counts from which most calls are known to fit: the others are further out, and pass
 * over frames.  If two do, it stays unknown.
 */
#include "vthread/image.h"

#if defined(VTHREAD_HAS_UNWIND) && defined(__x86_64__)
#include <libunwind.h>

enum {
    FRAMES_MAX = 64,
    TRIES_MAX = 32,
    END_BYTES = 1024, /* what there may be between the outermost frame and the end of the stack */
    SURE = FRAMES_MAX + 2,
};

enum call { CALL_NONE, CALL_OTHER, CALL_UNKNOWN, CALL_FITS };

/* So many bytes, of code, or of the dynamic linker's tables; as a number. */
static bool read_bytes(struct image *image, uint64_t address, unsigned bytes, uint64_t *ret_value)
{
    uint64_t low = 0;
    uint64_t high = 0;
    unsigned shift = (unsigned)(address % 8) * 8;

    if (!image_read(image, address - address % 8, &low))
        return false;
    if (address % 8 + bytes > 8 && !image_read(image, address - address % 8 + 8, &high))
        return false;
    *ret_value = low >> shift | (shift > 0 ? high << (64 - shift) : 0);
    if (bytes < 8)
        *ret_value &= ((uint64_t)1 << bytes * 8) - 1;
    return true;
}

/* Where the 32-bit displacement at the address leads to, counted from its end. */
static bool read_relative(struct image *image, uint64_t address, uint64_t *ret_target)
{
    uint64_t value;

    if (!read_bytes(image, address, 4, &value))
        return false;
    *ret_target = address + 4 + (uint64_t)(int64_t)(int32_t)(uint32_t)value;
    return true;
}

/* Does this code jump by a table (a stub of the dynamic linker's), and lead to `start`? */
static bool jumps_to(struct image *image, uint64_t stub, uint64_t start)
{
    uint64_t code;
    uint64_t slot;
    uint64_t target;

    if (read_bytes(image, stub, 4, &code) && code == 0xfa1e0ff3) /* endbr64 */
        stub += 4;
    if (read_bytes(image, stub, 1, &code) && code == 0xf2) /* bnd */
        stub += 1;
    return read_bytes(image, stub, 2, &code) && code == 0x25ff && read_relative(image, stub + 2, &slot) &&
           read_bytes(image, slot, 8, &target) && target == start;
}

/* call *reg, call *(reg), with displacements of all sizes: ff /2, so many bytes long. */
static bool is_indirect_call(uint64_t code, unsigned bytes)
{
    unsigned modrm = code >> 8 & 0xff;
    unsigned mode = modrm >> 6;
    bool has_sib = mode != 3 && (modrm & 7) == 4;
    unsigned displacement = mode == 1 ? 1 : mode == 2 || (mode == 0 && (modrm & 7) == 5) ? 4 : 0;

    return (code & 0xff) == 0xff && (modrm >> 3 & 7) == 2 && bytes == 2 + has_sib + displacement;
}

/* What call returns to this address, and does it call the function that starts there? */
static enum call call_before(struct image *image, uint64_t return_address, uint64_t start)
{
    uint64_t code;
    uint64_t target;

    if (read_bytes(image, return_address - 6, 2, &code) && code == 0x15ff &&
        read_relative(image, return_address - 4, &target) && read_bytes(image, target, 8, &code))
        return code == start ? CALL_FITS : CALL_UNKNOWN;
    if (read_bytes(image, return_address - 5, 1, &code) && code == 0xe8 &&
        read_relative(image, return_address - 4, &target))
        return target == start || jumps_to(image, target, start) ? CALL_FITS : CALL_OTHER;
    for (unsigned bytes = 2; bytes <= 7; bytes++)
        if (read_bytes(image, return_address - bytes, bytes, &code) && is_indirect_call(code, bytes))
            return CALL_UNKNOWN;
    return CALL_NONE;
}

/*
 * With that frame pointer, which is needed from frame number `at` on: how well does the walk fit?  0: not at all.  By
 * how many calls that are known to call the next frame's function; the first of them alone makes it sure.
 */
static int try_out(struct backtracer *b, struct image *image, uint64_t frame_pointer, int at)
{
    struct image_frame frames[FRAMES_MAX];
    int fitting = 1;
    bool whole;
    int n;

    image_set_register(image, UNW_X86_64_RBP, frame_pointer);
    n = image_walk(b, image, frames, FRAMES_MAX, &whole);
    image->known &= ~((uint64_t)1 << UNW_X86_64_RBP);
    if (!whole || n <= at + 1 || image->high - frames[n - 1].sp > END_BYTES)
        return 0;
    if (call_before(image, frames[at + 1].pc, frames[at].start) == CALL_FITS)
        return SURE;
    for (int i = at + 1; i + 1 < n; i++) {
        enum call call = call_before(image, frames[i + 1].pc, frames[i].start);

        if (call < CALL_UNKNOWN)
            return 0;
        fitting += call == CALL_FITS;
    }
    return fitting;
}

void image_find_frame_pointer(struct backtracer *b, struct image *image)
{
    struct image_frame frames[FRAMES_MAX];
    uint64_t found = 0;
    int best = 0;
    int tries = 0;
    bool whole;
    int n = image_walk(b, image, frames, FRAMES_MAX, &whole);

    if (whole || n == 0 || n == FRAMES_MAX || (image->known >> UNW_X86_64_RBP & 1))
        return;
    for (uint64_t at = (frames[n - 1].sp + 15) / 16 * 16; at + 16 <= image->high && tries < TRIES_MAX && best < SURE;
         at += 16) {
        uint64_t return_address;
        int fitting;

        if (!image_read(image, at + 8, &return_address) ||
            call_before(image, return_address, frames[n - 1].start) < CALL_UNKNOWN)
            continue;
        tries++;
        fitting = try_out(b, image, at, n - 1);
        if (fitting > 0 && fitting >= best) {
            found = fitting > best ? at : 0; /* two that fit as well: either may be wrong */
            best = fitting;
        }
    }
    if (found != 0)
        image_set_register(image, UNW_X86_64_RBP, found);
}
#else
void image_find_frame_pointer(struct backtracer *b, struct image *image)
{
    (void)b, (void)image;
}
#endif
