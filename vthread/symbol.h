/* SPDX-License-Identifier: MIT */
/*
 * Names for addresses of code: function, file and line.
 *
 * libdw (elfutils) finds them in the symbol tables and the DWARF of the running program and of what it has
 * loaded, later too; stripped files' in /usr/lib/debug, by their build IDs.  Not libbacktrace, which Debian has in
 * gcc alone and not as a library; not the names of libunwind or dladdr, which know no static function, no file and no
 * line.  Without libdw (the build option `symbols`) dladdr's must do.
 *
 * Nothing is loaded before the first call.  What has been stays: the tables of each object that a pc lay in, by mmap
 * mostly.  Nothing is asked of the network (debuginfod), for a dump must not wait for it.
 *
 * Any thread; a mutex of our own serialises them, as libdw wants it.  A call takes microseconds, the first for an
 * object milliseconds, so whoever names many remembers what it has been told (docs/thread-dump.md).  Not in signal
 * handlers.
 */
#ifndef VTHREAD_SYMBOL_H
#define VTHREAD_SYMBOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Own copies: objects may be unloaded, and their tables with them.  What is too long is cut. */
struct symbol {
    uintptr_t offset;   /* of the pc from the function's beginning, or from the object's if that has no name */
    int line;           /* 0: unknown */
    char function[128]; /* as the linker calls it (C++: mangled); "": unknown, as all of them may be */
    char file[192];     /* of the source, as the compiler was told it */
    char object[128];   /* the program or library, a path */
};

/* What a pc is: of a call, as all of a backtrace but the one where a signal came, or of an instruction. */
enum symbol_pc { SYMBOL_RETURN_ADDRESS, SYMBOL_INSTRUCTION };

/* Always fills *ret; false: nothing is known of it, and all is empty.  The line is that of the call. */
bool symbol_find(uintptr_t pc, enum symbol_pc kind, struct symbol *ret);

/* "function+0x12 (file.c:34)", or as much of it as is known, at least the address.  Returns ret. */
char *symbol_text(uintptr_t pc, const struct symbol *symbol, char *ret, size_t size);

/* Gives back what was loaded; the next call loads it again. */
void symbol_forget(void);

#endif
