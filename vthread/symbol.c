/* SPDX-License-Identifier: MIT */
#include "vthread/symbol.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void copy(char *to, size_t size, const char *from)
{
    if (from != NULL)
        snprintf(to, size, "%s", from);
}

#define COPY(array, from) copy(array, sizeof(array), from)

#ifdef VTHREAD_HAS_SYMBOLS
#include <dwarf.h>
#include <elfutils/libdwfl.h>

static struct {
    pthread_mutex_t lock;
    Dwfl *dwfl;                /* NULL: not loaded */
    unsigned long long loaded; /* objects ever loaded and unloaded, when it was told of them */
} symbols = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int read_counts(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    *(unsigned long long *)arg = info->dlpi_adds + info->dlpi_subs;
    return 1; /* they are the same in each */
}

static unsigned long long objects_loaded(void)
{
    unsigned long long loaded = 0;

    dl_iterate_phdr(read_counts, &loaded);
    return loaded;
}

static bool report(Dwfl *dwfl)
{
    int failed;

    dwfl_report_begin(dwfl);
    failed = dwfl_linux_proc_report(dwfl, getpid());
    return dwfl_report_end(dwfl, NULL, NULL) == 0 && failed == 0;
}

/*
 * libdwfl opens files as it likes, and they stay open.  Programs that the program starts shall not inherit them: where
 * it tells us, the name is opened here, and what else it opens is marked as soon as it is known.
 */
static int find_elf(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base, char **ret_file, Elf **ret_elf)
{
    int fd = name[0] == '/' ? open(name, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return dwfl_linux_proc_find_elf(module, user, name, base, ret_file, ret_elf);
    *ret_file = strdup(name);
    return fd;
}

static int find_debuginfo(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base, const char *file,
                          const char *link, GElf_Word crc, char **ret_name)
{
    /* The standard one asks servers. */
    int fd = dwfl_build_id_find_debuginfo(module, user, name, base, file, link, crc, ret_name);

    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

/* Tell libdwfl what is loaded, if that has changed; NULL: it cannot be told. */
static Dwfl *modules_locked(void)
{
    static const Dwfl_Callbacks callbacks = {
        .find_elf = find_elf,
        .find_debuginfo = find_debuginfo,
    };
    unsigned long long loaded = objects_loaded(); /* before it looks: it may miss none */

    if (symbols.dwfl == NULL)
        symbols.dwfl = dwfl_begin(&callbacks);
    else if (symbols.loaded == loaded)
        return symbols.dwfl;
    if (symbols.dwfl != NULL && !report(symbols.dwfl)) {
        dwfl_end(symbols.dwfl);
        symbols.dwfl = NULL;
    }
    symbols.loaded = loaded;
    return symbols.dwfl;
}

/* To the part of what `die` describes that the address is in; false: there is none. */
static bool descend(Dwarf_Die *die, Dwarf_Addr at)
{
    Dwarf_Die part;
    bool more = dwarf_child(die, &part) == 0;

    while (more && dwarf_haspc(&part, at) <= 0)
        more = dwarf_siblingof(&part, &part) == 0;
    if (more)
        *die = part;
    return more;
}

/*
 * Where the outermost of the calls that the compiler has inlined at this place stands; false: there is none.
 * (Not by dwarf_getscopes, which finds nothing where the inlined function is described in another unit, as it is after
 * link-time optimisation.)
 */
static bool find_inlining_call(Dwarf_Die *unit, Dwarf_Addr at, struct symbol *ret)
{
    Dwarf_Die call = *unit;
    Dwarf_Attribute attribute;
    Dwarf_Word file = 0;
    Dwarf_Word line = 0;
    Dwarf_Files *files;
    size_t count;

    do {
        if (!descend(&call, at))
            return false;
    } while (dwarf_tag(&call) != DW_TAG_inlined_subroutine);
    if (dwarf_formudata(dwarf_attr(&call, DW_AT_call_line, &attribute), &line) != 0 ||
        dwarf_formudata(dwarf_attr(&call, DW_AT_call_file, &attribute), &file) != 0 ||
        dwarf_getsrcfiles(unit, &files, &count) != 0 || file >= count)
        return false;
    COPY(ret->file, dwarf_filesrc(files, file, NULL, NULL));
    ret->line = (int)line;
    return true;
}

/* The unit of compilation that has the address.  clang leaves out the table by which the library finds it. */
static Dwarf_Die *find_unit(Dwfl_Module *module, Dwarf_Addr at, Dwarf_Addr *ret_bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(module, at, ret_bias);

    if (unit != NULL)
        return unit;
    while ((unit = dwfl_module_nextcu(module, unit, ret_bias)) != NULL)
        if (dwarf_haspc(unit, at - *ret_bias) > 0)
            break;
    return unit;
}

static void find_line(Dwfl_Module *module, Dwarf_Addr at, struct symbol *ret)
{
    Dwarf_Addr bias;
    Dwarf_Die *unit = find_unit(module, at, &bias);
    Dwarf_Line *line;

    if (unit == NULL || find_inlining_call(unit, at - bias, ret))
        return;
    line = dwarf_getsrc_die(unit, at - bias);
    if (line != NULL && dwarf_lineno(line, &ret->line) == 0)
        COPY(ret->file, dwarf_linesrc(line, NULL, NULL));
}

static bool find_locked(uintptr_t pc, uintptr_t at, struct symbol *ret)
{
    Dwfl *dwfl = modules_locked();
    Dwfl_Module *module = dwfl != NULL ? dwfl_addrmodule(dwfl, at) : NULL;
    Dwarf_Addr begin, end;
    GElf_Off offset;
    GElf_Sym sym;
    const char *name;

    if (module == NULL)
        return false;
    name = dwfl_module_info(module, NULL, &begin, &end, NULL, NULL, NULL, NULL);
    if (at < begin || at >= end) /* it takes the last one for the rest of the addresses, too */
        return false;
    COPY(ret->object, name);
    name = dwfl_module_addrinfo(module, at, &offset, &sym, NULL, NULL, NULL);
    COPY(ret->function, name);
    ret->offset = name != NULL ? offset + (pc - at) : pc - begin;
    find_line(module, at, ret);
    return true;
}

static bool find_by_library(uintptr_t pc, uintptr_t at, struct symbol *ret)
{
    bool found;

    pthread_mutex_lock(&symbols.lock);
    found = find_locked(pc, at, ret);
    pthread_mutex_unlock(&symbols.lock);
    return found;
}

void symbol_forget(void)
{
    pthread_mutex_lock(&symbols.lock);
    if (symbols.dwfl != NULL)
        dwfl_end(symbols.dwfl);
    symbols.dwfl = NULL;
    pthread_mutex_unlock(&symbols.lock);
}
#else
static bool find_by_library(uintptr_t pc, uintptr_t at, struct symbol *ret)
{
    (void)pc, (void)at, (void)ret;
    return false;
}

void symbol_forget(void)
{
}
#endif

/* What the dynamic linker knows: functions that others may call. */
static bool find_by_linker(uintptr_t pc, uintptr_t at, struct symbol *ret)
{
    Dl_info info;

    if (dladdr((void *)at, &info) == 0)
        return false;
    COPY(ret->object, info.dli_fname);
    COPY(ret->function, info.dli_sname);
    ret->offset = pc - (uintptr_t)(info.dli_saddr != NULL ? info.dli_saddr : info.dli_fbase);
    return true;
}

bool symbol_find(uintptr_t pc, enum symbol_pc kind, struct symbol *ret)
{
    /* Behind a call that does not return there may be another function. */
    uintptr_t at = kind == SYMBOL_RETURN_ADDRESS && pc > 0 ? pc - 1 : pc;

    memset(ret, 0, sizeof *ret);
    return find_by_library(pc, at, ret) || find_by_linker(pc, at, ret);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

char *symbol_text(uintptr_t pc, const struct symbol *symbol, char *ret, size_t size)
{
    if (symbol->function[0] != '\0' && symbol->line > 0)
        snprintf(ret, size, "%s+0x%zx (%s:%d)", symbol->function, (size_t)symbol->offset, last_part(symbol->file),
                 symbol->line);
    else if (symbol->function[0] != '\0')
        snprintf(ret, size, "%s+0x%zx (%s)", symbol->function, (size_t)symbol->offset, last_part(symbol->object));
    else if (symbol->object[0] != '\0')
        snprintf(ret, size, "0x%zx (%s+0x%zx)", (size_t)pc, last_part(symbol->object), (size_t)symbol->offset);
    else
        snprintf(ret, size, "0x%zx", (size_t)pc);
    return ret;
}
