/* Chance: everything follows from the round's seed, on every machine. */
#ifndef EDDY_MODEL_CHANCE_H
#define EDDY_MODEL_CHANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static uint64_t chance_state;

static uint32_t chance(uint32_t below)
{
    chance_state = chance_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((chance_state >> 33) % below);
}

static void chance_begin(uint64_t seed)
{
    chance_state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < 4; i++) chance(2);
}

static bool once_in(uint32_t times)
{
    return chance(times) == 0;
}

/* Sizes at the edges now and then, else small ones. */
static size_t chance_size(void)
{
    static const size_t edges[] = { 0, 1, 2, SIZE_MAX, SIZE_MAX - 1, (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
                                    65535, 65536, 65537 };
    return once_in(8) ? edges[chance(sizeof edges / sizeof edges[0])] : chance(30);
}

/* Text with separators in it, to be fed and written; the same place is used each time. */
static const char *chance_bytes(size_t *len)
{
    static char bytes[4096];
    *len = once_in(200) ? chance(sizeof bytes) : once_in(10) ? chance(150) : chance(24);
    for (size_t i = 0; i < *len; i++) bytes[i] = "aaabbbc\n"[chance(8)];
    return bytes;
}

#endif
