/* SPDX-License-Identifier: MIT */
#include "continuation/sanitizer.h"

#if BUILT_WITH_ASAN

void __asan_get_shadow_mapping(size_t *shadow_scale, size_t *shadow_offset);

NO_SANITIZE static volatile uint8_t *shadow_of(const void *p)
{
    static size_t scale;
    static size_t offset; /* racing initialisations write the same */

    if (scale == 0) {
        size_t s;

        __asan_get_shadow_mapping(&s, &offset);
        scale = s;
    }
    return (volatile uint8_t *)(((uintptr_t)p >> scale) + offset);
}

NO_SANITIZE void sanitizer_frames_leave(void *from, uint32_t bytes, void *shadow)
{
    volatile uint8_t *s = shadow_of(from);
    volatile uint8_t *saved = shadow;

    for (uint32_t i = 0; i < bytes / 8; i++) {
        saved[i] = s[i];
        s[i] = 0;
    }
}

NO_SANITIZE void sanitizer_frames_return(void *to, uint32_t bytes, const void *shadow)
{
    volatile uint8_t *s = shadow_of(to);
    const volatile uint8_t *saved = shadow;

    for (uint32_t i = 0; i < bytes / 8; i++)
        s[i] = saved[i];
}

#endif

#if WITH_VALGRIND

#include <valgrind/memcheck.h>

bool sanitizer_valgrind;

void sanitizer_valgrind_look(void)
{
    sanitizer_valgrind = RUNNING_ON_VALGRIND != 0;
}

uint32_t sanitizer_stack_register_slow(char *limit, char *top)
{
    return (uint32_t)VALGRIND_STACK_REGISTER(limit, top);
}

void sanitizer_stack_deregister_slow(uint32_t id)
{
    VALGRIND_STACK_DEREGISTER(id);
}

void sanitizer_memory_usable_slow(void *p, size_t bytes)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(p, bytes);
}

#endif
